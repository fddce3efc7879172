/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An initiator that keeps a LUN busy and says how much it got done.
 *
 *   iscsi-load [-b BLOCK_BYTES] [-q DEPTH] [-r READ_PERCENT] [-s] [-f FLUSH_EVERY] [-t SECONDS] [-a AREA_BYTES]
 *              [-x SEED] URL
 *
 *   -b   bytes of a command, a multiple of 512, default 4096
 *   -q   commands in flight, default 16
 *   -r   share of reads, 0..100, default 100; the rest are writes
 *   -s   one after the other from the start of the disk, around at the end; default is random, aligned to the block
 *   -f   a SYNCHRONIZE CACHE after each so many writes; default none. It is one of the commands in flight, as a PC's is
 *   -t   how long, default 2
 *   -a   only the first so many bytes of the disk, default all of it
 *   -x   seed of the random places, the same places for the same number
 *
 * Each of the DEPTH slots has its own buffer and issues its next command as soon as the last one is answered. Login and the reading of
 * the capacity do not count. stdout gets one line of JSON: {"seconds", "reads", "writes", "flushes", "bytes"}.
 *
 * Exit status: 0 done; 1 set-up failed, a command was refused or the session was lost; 2 usage.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { SECTOR = 512, DEPTH_MAX = 256, BLOCK_MAX = 16 << 20, STALL_MS = 60000 };

struct options {
    uint64_t block_bytes, area_bytes, seed;
    unsigned depth, read_percent, flush_every;
    double seconds;
    bool is_sequential;
    const char *url;
};

struct load;

struct slot {
    struct load *load;
    unsigned char *buf;
    struct scsi_iovec iov;
};

struct load {
    const struct options *o;
    struct iscsi_context *iscsi;
    int lun;
    uint64_t blocks, next, random;
    double end;
    unsigned in_flight, since_flush;
    uint64_t reads, writes, flushes;
    bool has_failed;
    struct slot slots[DEPTH_MAX];
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* xorshift64: good enough to spread blocks, the same in each run. */
static uint64_t next_random(struct load *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static void issue(struct slot *s);

static void fail(struct load *l, const char *what)
{
    if (!l->has_failed)
        fprintf(stderr, "iscsi-load: %s: %s\n", what, iscsi_get_error(l->iscsi));
    l->has_failed = true;
}

static void done(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
    struct slot *s = arg;
    (void)iscsi;
    s->load->in_flight--;
    if (command)
        scsi_free_scsi_task(command);
    if (status != SCSI_STATUS_GOOD)
        fail(s->load, "a command failed");
    else if (now() < s->load->end)
        issue(s);
}

static uint64_t next_lba(struct load *l)
{
    uint64_t blk = l->o->is_sequential ? l->next++ % l->blocks : next_random(l) % l->blocks;
    return blk * (l->o->block_bytes / SECTOR);
}

static struct scsi_task *send_read(struct slot *s)
{
    struct load *l = s->load;
    l->reads++;
    return iscsi_read16_iov_task(l->iscsi, l->lun, next_lba(l), (uint32_t)l->o->block_bytes, SECTOR, 0, 0, 0, 0, 0,
                                 done, s, &s->iov, 1);
}

static struct scsi_task *send_write(struct slot *s)
{
    struct load *l = s->load;
    l->writes++;
    l->since_flush++;
    return iscsi_write16_task(l->iscsi, l->lun, next_lba(l), s->buf, (uint32_t)l->o->block_bytes, SECTOR, 0, 0, 0, 0, 0,
                              done, s);
}

static struct scsi_task *send_flush(struct slot *s)
{
    struct load *l = s->load;
    l->flushes++;
    l->since_flush = 0;
    return iscsi_synchronizecache10_task(l->iscsi, l->lun, 0, 0, 0, 0, done, s);
}

static void issue(struct slot *s)
{
    struct load *l = s->load;
    struct scsi_task *task;
    if (l->o->flush_every && l->since_flush >= l->o->flush_every)
        task = send_flush(s);
    else if (next_random(l) % 100 < l->o->read_percent)
        task = send_read(s);
    else
        task = send_write(s);
    if (task)
        l->in_flight++;
    else
        fail(l, "a command could not be sent");
}

/* --- the session ------------------------------------------------------------------------------------------------- */

static int log_in(struct load *l)
{
    l->iscsi = iscsi_create_context("iqn.2026-01.test.diskgate:load");
    struct iscsi_url *url = l->iscsi ? iscsi_parse_full_url(l->iscsi, l->o->url) : NULL;
    if (!url) {
        fprintf(stderr, "iscsi-load: '%s' is no iSCSI URL\n", l->o->url);
        return -1;
    }
    iscsi_set_targetname(l->iscsi, url->target);
    iscsi_set_session_type(l->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(l->iscsi, ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_noautoreconnect(l->iscsi, 1);
    l->lun = url->lun;
    int r = iscsi_full_connect_sync(l->iscsi, url->portal, url->lun);
    iscsi_destroy_url(url);
    if (r != 0)
        fprintf(stderr, "iscsi-load: cannot log in: %s\n", iscsi_get_error(l->iscsi));
    return r != 0 ? -1 : 0;
}

static int learn_size(struct load *l)
{
    struct scsi_task *task = iscsi_readcapacity16_sync(l->iscsi, l->lun);
    struct scsi_readcapacity16 *cap = task && task->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(task) : NULL;
    uint64_t bytes = cap && cap->block_length == SECTOR ? (cap->returned_lba + 1) * SECTOR : 0;
    if (task)
        scsi_free_scsi_task(task);
    if (l->o->area_bytes && l->o->area_bytes < bytes)
        bytes = l->o->area_bytes;
    l->blocks = bytes / l->o->block_bytes;
    if (l->blocks == 0)
        fprintf(stderr, "iscsi-load: the disk has no room for one block, or no sectors of 512 bytes\n");
    return l->blocks == 0 ? -1 : 0;
}

static int make_slots(struct load *l)
{
    for (unsigned i = 0; i < l->o->depth; i++) {
        struct slot *s = &l->slots[i];
        void *p = NULL;
        if (posix_memalign(&p, 4096, l->o->block_bytes) != 0)
            return -1;
        memset(p, (int)(i + 1), l->o->block_bytes); /* never zeros: some stores treat them specially */
        *s = (struct slot){.load = l, .buf = p, .iov = {.iov_base = p, .iov_len = l->o->block_bytes}};
    }
    return 0;
}

static void serve(struct load *l)
{
    while (l->in_flight > 0 && !l->has_failed) {
        struct pollfd p = {.fd = iscsi_get_fd(l->iscsi), .events = (short)iscsi_which_events(l->iscsi)};
        int n = poll(&p, 1, STALL_MS);
        if (n == 0)
            fail(l, "no answer for a minute");
        else if (n < 0 || iscsi_service(l->iscsi, p.revents) < 0)
            fail(l, "the session was lost");
    }
}

static int run(struct load *l)
{
    double start = now();
    l->end = start + l->o->seconds;
    for (unsigned i = 0; i < l->o->depth; i++)
        issue(&l->slots[i]);
    serve(l);
    if (l->has_failed)
        return -1;
    printf("{\"seconds\": %.6f, \"reads\": %" PRIu64 ", \"writes\": %" PRIu64 ", \"flushes\": %" PRIu64
           ", \"bytes\": %" PRIu64 "}\n",
           now() - start, l->reads, l->writes, l->flushes, (l->reads + l->writes) * l->o->block_bytes);
    (void)iscsi_logout_sync(l->iscsi); /* all is measured: the server notices the end of the process as well */
    return 0;
}

/* --- options ----------------------------------------------------------------------------------------------------- */

static bool number(const char *text, uint64_t low, uint64_t high, uint64_t *ret)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    *ret = n;
    return *text >= '0' && *text <= '9' && !*end && n >= low && n <= high;
}

static int parse(int argc, char **argv, struct options *o)
{
    uint64_t n = 0;
    bool ok = true;
    int c;
    *o = (struct options){.block_bytes = 4096, .depth = 16, .read_percent = 100, .seconds = 2};
    while (ok && (c = getopt(argc, argv, "b:q:r:sf:t:a:x:")) != -1) {
        if (c == 'b')
            ok = number(optarg, SECTOR, BLOCK_MAX, &o->block_bytes) && o->block_bytes % SECTOR == 0;
        else if (c == 'q' && (ok = number(optarg, 1, DEPTH_MAX, &n)))
            o->depth = (unsigned)n;
        else if (c == 'r' && (ok = number(optarg, 0, 100, &n)))
            o->read_percent = (unsigned)n;
        else if (c == 's')
            o->is_sequential = true;
        else if (c == 'f' && (ok = number(optarg, 1, 1U << 30, &n)))
            o->flush_every = (unsigned)n;
        else if (c == 't')
            ok = (o->seconds = strtod(optarg, NULL)) > 0;
        else if (c == 'a')
            ok = number(optarg, SECTOR, UINT64_MAX, &o->area_bytes);
        else if (c == 'x')
            ok = number(optarg, 0, UINT32_MAX, &o->seed);
        else
            ok = false;
    }
    if (!ok || argc - optind != 1)
        return -1;
    o->url = argv[optind];
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    if (parse(argc, argv, &o) < 0) {
        fprintf(stderr, "usage: iscsi-load [-b BYTES] [-q DEPTH] [-r READ_PERCENT] [-s] [-f EVERY] [-t SECONDS] "
                        "[-a BYTES] [-x SEED] URL\n");
        return 2;
    }
    static struct load l;
    l.o = &o;
    l.random = 88172645463325252ULL ^ o.seed * 0x9e3779b97f4a7c15ULL;
    if (log_in(&l) < 0 || learn_size(&l) < 0 || make_slots(&l) < 0)
        return 1;
    return run(&l) < 0 ? 1 : 0;
}
