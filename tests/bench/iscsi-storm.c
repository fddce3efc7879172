/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A room of PCs that boot at the same moment: replays one recorded boot over many iSCSI sessions and says how long it took.
 *
 *   iscsi-storm [-q DEPTH] TRACE URLS
 *
 *   TRACE   "t_us,op,offset,length" a line, op one of read, write, sync, trim; a line of headings is passed over
 *   URLS    a file with an iSCSI URL a line, one for each PC; - is standard input
 *   -q      commands in flight for each PC, default 4
 *
 *   log in all -> start together -> each replays the trace in its order, as fast as it is answered -> all are done
 *
 * A sync waits for what was sent before, and what comes after waits for it, as a PC does. What is written is a pattern, what is read is
 * thrown away. One thread serves all sessions, so the figure is the same client for every server.
 *
 * stdout gets one line of JSON: {"sessions", "login_s", "seconds", "reads", "read_bytes", "writes", "written_bytes", "syncs",
 * "latency_us": {"p50", "p99", "max"}, "pc_s": {"p50", "max"}, "cpu_s" (of this program)}.
 *
 * Exit status: 0 done; 1 a session could not log in, failed or was lost; 2 usage.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum { SECTOR = 512, DEPTH_MAX = 64, IO_MAX = 16 << 20, PCS_MAX = 4096, STALL_MS = 60000 };
enum kind { OP_READ, OP_WRITE, OP_SYNC, OP_TRIM };

struct op {
    enum kind kind;
    uint64_t lba;
    uint32_t bytes;
};

struct pc;

struct slot {
    struct pc *pc;
    struct slot *next_free;
    unsigned char *buf;
    struct scsi_iovec iov;
    double sent;
};

struct pc {
    struct storm *storm;
    struct iscsi_context *iscsi;
    int lun;
    bool is_logged_in, is_done;
    size_t next; /* operation */
    unsigned in_flight;
    bool is_syncing;
    struct slot slots[DEPTH_MAX], *free;
    double done_at;
};

struct storm {
    struct op *ops;
    size_t op_count;
    struct pc *pcs;
    size_t pc_count, logged_in, done;
    unsigned depth;
    bool has_failed;
    uint64_t reads, read_bytes, writes, written_bytes, syncs;
    float *latency_us;
    size_t latency_count;
    unsigned char *pattern;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(struct pc *pc, const char *what)
{
    struct storm *s = pc->storm;
    if (!s->has_failed)
        fprintf(stderr, "iscsi-storm: PC %zu: %s: %s\n", (size_t)(pc - s->pcs), what, iscsi_get_error(pc->iscsi));
    s->has_failed = true;
}

/* --- the replay -------------------------------------------------------------------------------------------------- */

static void go_on(struct pc *pc);

static void done(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
    struct slot *slot = arg;
    struct pc *pc = slot->pc;
    struct storm *s = pc->storm;
    (void)iscsi;
    s->latency_us[s->latency_count++] = (float)((now() - slot->sent) * 1e6);
    if (command)
        scsi_free_scsi_task(command);
    pc->in_flight--;
    pc->is_syncing = false; /* a sync is alone in flight */
    slot->next_free = pc->free;
    pc->free = slot;
    if (status != SCSI_STATUS_GOOD)
        fail(pc, "a command failed");
    else
        go_on(pc);
}

static struct scsi_task *send_op(struct slot *slot, const struct op *op)
{
    struct pc *pc = slot->pc;
    struct storm *s = pc->storm;
    slot->sent = now();
    switch (op->kind) {
    case OP_READ:
        s->reads++;
        s->read_bytes += op->bytes;
        slot->iov = (struct scsi_iovec){.iov_base = slot->buf, .iov_len = op->bytes};
        return iscsi_read16_iov_task(pc->iscsi, pc->lun, op->lba, op->bytes, SECTOR, 0, 0, 0, 0, 0, done, slot,
                                     &slot->iov, 1);
    case OP_WRITE:
        s->writes++;
        s->written_bytes += op->bytes;
        return iscsi_write16_task(pc->iscsi, pc->lun, op->lba, s->pattern, op->bytes, SECTOR, 0, 0, 0, 0, 0, done,
                                  slot);
    case OP_TRIM: {
        struct unmap_list list = {.lba = op->lba, .num = op->bytes / SECTOR};
        return iscsi_unmap_task(pc->iscsi, pc->lun, 0, 0, &list, 1, done, slot);
    }
    case OP_SYNC:
        break;
    }
    s->syncs++;
    pc->is_syncing = true;
    return iscsi_synchronizecache10_task(pc->iscsi, pc->lun, 0, 0, 0, 0, done, slot);
}

static void go_on(struct pc *pc)
{
    struct storm *s = pc->storm;
    while (pc->next < s->op_count && pc->free && !pc->is_syncing && !s->has_failed) {
        const struct op *op = &s->ops[pc->next];
        if (op->kind == OP_SYNC && pc->in_flight > 0)
            return;
        struct slot *slot = pc->free;
        pc->free = slot->next_free;
        pc->next++;
        pc->in_flight++;
        if (!send_op(slot, op))
            fail(pc, "a command could not be sent");
    }
    if (pc->next == s->op_count && pc->in_flight == 0 && !pc->is_done) {
        pc->is_done = true;
        pc->done_at = now();
        s->done++;
    }
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

static void logged_in(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
    struct pc *pc = arg;
    (void)iscsi;
    (void)command;
    if (status != 0) {
        fail(pc, "cannot log in");
        return;
    }
    pc->is_logged_in = true;
    pc->storm->logged_in++;
}

static int start_login(struct pc *pc, const char *text, size_t number)
{
    char name[80];
    (void)snprintf(name, sizeof(name), "iqn.2026-01.test.diskgate:pc%zu", number); /* fits */
    pc->iscsi = iscsi_create_context(name);
    struct iscsi_url *url = pc->iscsi ? iscsi_parse_full_url(pc->iscsi, text) : NULL;
    if (!url) {
        fprintf(stderr, "iscsi-storm: '%s' is no iSCSI URL\n", text);
        return -1;
    }
    iscsi_set_targetname(pc->iscsi, url->target);
    iscsi_set_session_type(pc->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(pc->iscsi, ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_noautoreconnect(pc->iscsi, 1);
    pc->lun = url->lun;
    int r = iscsi_full_connect_async(pc->iscsi, url->portal, url->lun, logged_in, pc);
    iscsi_destroy_url(url);
    if (r != 0)
        fail(pc, "cannot connect");
    return r != 0 ? -1 : 0;
}

static int make_slots(struct pc *pc, size_t bytes)
{
    for (unsigned i = 0; i < pc->storm->depth; i++) {
        void *p = malloc(bytes);
        if (!p)
            return -1;
        pc->slots[i] = (struct slot){.pc = pc, .buf = p, .next_free = pc->free};
        pc->free = &pc->slots[i];
    }
    return 0;
}

/* Serve all sessions until @count says that enough have got there. */
static void serve(struct storm *s, const size_t *count)
{
    struct pollfd *p = calloc(s->pc_count, sizeof(*p));
    while (p && *count < s->pc_count && !s->has_failed) {
        for (size_t i = 0; i < s->pc_count; i++)
            p[i] = (struct pollfd){.fd = iscsi_get_fd(s->pcs[i].iscsi),
                                   .events = (short)iscsi_which_events(s->pcs[i].iscsi)};
        int n = poll(p, s->pc_count, STALL_MS);
        if (n == 0)
            fail(&s->pcs[0], "no answer to anybody for a minute");
        for (size_t i = 0; i < s->pc_count && n > 0; i++)
            if (p[i].revents && iscsi_service(s->pcs[i].iscsi, p[i].revents) < 0)
                fail(&s->pcs[i], "the session was lost");
    }
    free(p);
}

/* --- input ------------------------------------------------------------------------------------------------------- */

static bool parse_line(const char *line, struct op *ret)
{
    char word[8];
    uint64_t off, len;
    if (sscanf(line, "%*[0-9.],%7[a-z],%" SCNu64 ",%" SCNu64, word, &off, &len) != 3)
        return false;
    ret->kind = strcmp(word, "read") == 0    ? OP_READ
                : strcmp(word, "write") == 0 ? OP_WRITE
                : strcmp(word, "sync") == 0  ? OP_SYNC
                                             : OP_TRIM;
    ret->lba = off / SECTOR;
    ret->bytes = (uint32_t)len;
    return off % SECTOR == 0 && len % SECTOR == 0 && len <= IO_MAX && (len > 0) == (ret->kind != OP_SYNC) &&
           (ret->kind != OP_TRIM || strcmp(word, "trim") == 0);
}

static int read_trace(struct storm *s, const char *path)
{
    FILE *f = fopen(path, "re");
    char line[256];
    size_t number = 0, room = 0;
    while (f && fgets(line, sizeof(line), f)) {
        struct op op;
        if (number++ == 0 && strncmp(line, "t_us", 4) == 0)
            continue;
        if (!parse_line(line, &op)) {
            fprintf(stderr, "iscsi-storm: line %zu of '%s' is no operation\n", number, path);
            return -1;
        }
        if (s->op_count == room) {
            room = room ? 2 * room : 1024;
            struct op *more = realloc(s->ops, room * sizeof(*more));
            if (!more)
                return -1;
            s->ops = more;
        }
        s->ops[s->op_count++] = op;
    }
    if (!f || s->op_count == 0)
        fprintf(stderr, "iscsi-storm: '%s' cannot be read or is empty\n", path);
    if (f)
        (void)fclose(f); /* it was read only */
    return s->op_count ? 0 : -1;
}

static size_t longest(const struct storm *s)
{
    size_t n = SECTOR;
    for (size_t i = 0; i < s->op_count; i++)
        n = s->ops[i].bytes > n ? s->ops[i].bytes : n;
    return n;
}

static int start_all(struct storm *s, const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char line[1024];
    size_t bytes = longest(s);
    s->pcs = calloc(PCS_MAX, sizeof(*s->pcs));
    s->pattern = malloc(bytes);
    if (!f || !s->pcs || !s->pattern) {
        fprintf(stderr, "iscsi-storm: cannot read '%s'\n", path);
        return -1;
    }
    memset(s->pattern, 0xa5, bytes);
    while (fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = 0;
        if (!line[0])
            continue;
        if (s->pc_count == PCS_MAX)
            return -1;
        struct pc *pc = &s->pcs[s->pc_count];
        pc->storm = s;
        if (make_slots(pc, bytes) < 0 || start_login(pc, line, s->pc_count++) < 0)
            return -1;
    }
    s->latency_us = calloc(s->pc_count * s->op_count + 1, sizeof(*s->latency_us));
    return s->pc_count && s->latency_us ? 0 : -1;
}

/* --- figures ----------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double part(const float *sorted, size_t n, double share)
{
    return n ? (double)sorted[(size_t)((double)(n - 1) * share)] : 0;
}

static void print(struct storm *s, double login_s, double start, double seconds)
{
    struct rusage use;
    float *pc_s = calloc(s->pc_count, sizeof(*pc_s));
    if (!pc_s)
        return;
    for (size_t i = 0; i < s->pc_count; i++)
        pc_s[i] = (float)(s->pcs[i].done_at - start);
    qsort(pc_s, s->pc_count, sizeof(*pc_s), by_size);
    qsort(s->latency_us, s->latency_count, sizeof(*s->latency_us), by_size);
    (void)getrusage(RUSAGE_SELF, &use); /* cannot fail */
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    printf("{\"sessions\": %zu, \"login_s\": %.3f, \"seconds\": %.3f, \"reads\": %" PRIu64 ", \"read_bytes\": %" PRIu64
           ", \"writes\": %" PRIu64 ", \"written_bytes\": %" PRIu64 ", \"syncs\": %" PRIu64
           ", \"latency_us\": {\"p50\": %.0f, \"p99\": %.0f, \"max\": %.0f}, \"pc_s\": {\"p50\": %.3f, \"max\": %.3f}"
           ", \"cpu_s\": %.3f}\n",
           s->pc_count, login_s, seconds, s->reads, s->read_bytes, s->writes, s->written_bytes, s->syncs,
           part(s->latency_us, s->latency_count, 0.5), part(s->latency_us, s->latency_count, 0.99),
           part(s->latency_us, s->latency_count, 1), part(pc_s, s->pc_count, 0.5), part(pc_s, s->pc_count, 1), cpu);
    free(pc_s);
}

int main(int argc, char **argv)
{
    static struct storm s = {.depth = 4};
    int c;
    while ((c = getopt(argc, argv, "q:")) != -1)
        s.depth = c == 'q' ? (unsigned)strtoul(optarg, NULL, 10) : 0;
    if (argc - optind != 2 || s.depth < 1 || s.depth > DEPTH_MAX) {
        fprintf(stderr, "usage: iscsi-storm [-q DEPTH (1..%d)] TRACE URLS\n", DEPTH_MAX);
        return 2;
    }
    double begin = now();
    if (read_trace(&s, argv[optind]) < 0 || start_all(&s, argv[optind + 1]) < 0)
        return 1;
    serve(&s, &s.logged_in);
    double start = now();
    for (size_t i = 0; i < s.pc_count && !s.has_failed; i++)
        go_on(&s.pcs[i]);
    serve(&s, &s.done);
    double end = now();
    for (size_t i = 0; i < s.pc_count && !s.has_failed; i++)
        (void)iscsi_logout_sync(s.pcs[i].iscsi); /* all is measured */
    if (!s.has_failed)
        print(&s, start - begin, start, end - start);
    return s.has_failed ? 1 : 0;
}
