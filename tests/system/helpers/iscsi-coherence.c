/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An initiator that reads, writes, unmaps and zeroes the same sectors at the same time, and knows which bytes each read may see.
 *
 *   iscsi-coherence [-q DEPTH] [-s SESSIONS] [-t SECONDS] [-a AREA_BYTES] [-r READ_PERCENT] [-x SEED] [-o FILE] BASE URL...
 *
 *   -q   commands in flight in each session, default 16
 *   -s   sessions, default 2; each takes the next URL, and all of them must mean the same disk
 *   -t   how long, default 5; a SIGTERM ends it as well
 *   -a   the first so many bytes of the disk, default 8 MiB
 *   -r   share of reads, 0..100, default 60
 *   -x   seed
 *   -o   at the end all of the area is read (and checked), and stored in FILE
 *   BASE has what is on the disk at the beginning; zeros behind its end
 *
 * Each sector of 512 bytes has a history of changes: when it was sent, when it was answered, what it leaves. Time is a count of events of
 * this process, so "before" is what every session agrees on. A read that was sent at S may see what change C leaves if C was sent before the read's
 * answer came, and there is no other change that was sent after C's answer and answered before S. So a change that was answered is seen by
 * every read that is sent after that, and of one that is in work a read sees each word of 8 bytes old or new.
 *
 * A command that is refused (CHECK CONDITION) is sent again, the same change; it counts as in work all that time. A session that is lost is an error: it is
 * never logged in again.
 *
 * stdout: "ready" when every session has had an answer, at the end one line of JSON: {"reads", "sectors", "writes", "unmaps", "zeroes", "refused"}.
 *
 * Exit status: 0 all reads were right; 1 one was not, stderr tells where, what was read and what was allowed; 2 usage; 3 set-up failed or a session was lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

enum {
    SECTOR = 512,
    WORDS = SECTOR / 8,
    DEPTH_MAX = 64,
    SESSIONS_MAX = 8,
    SECTORS_MAX = 1024, /* of one command */
    CHANGES_MAX = 48,   /* of one sector, in work or still to be seen */
    RETRY_MS = 10,
    STALL_MS = 90000,
};

/* --- what a sector may hold -------------------------------------------------------------------------------------- */

#define IN_WORK    UINT64_MAX
#define STAMP_BASE 0U /* as at the beginning */
#define STAMP_ZERO 1U

struct change {
    uint64_t sent, answered; /* IN_WORK until it is */
    uint64_t stamp;
};

struct sector {
    struct change list[CHANGES_MAX];
    unsigned n;
};

enum verb { READ, WRITE, UNMAP, ZERO, FLUSH };

struct session;

struct slot {
    struct session *session;
    enum verb verb;
    uint64_t lba, stamp, sent;
    uint32_t sectors;
    bool is_busy, is_waiting; /* sent; refused, and to be sent again at retry_ms */
    int64_t retry_ms;
    unsigned char *buf;
};

struct session {
    struct load *load;
    struct iscsi_context *iscsi;
    int lun;
    bool has_answer;
    struct slot slots[DEPTH_MAX];
};

struct load {
    unsigned depth, n_sessions, read_percent;
    double seconds;
    const char *out, *base_path;
    char **urls;
    int n_urls;
    uint64_t area, sectors, random, clock, next_stamp;
    struct sector *map;
    unsigned char *base, *final;
    bool has_failed, is_wrong, is_ending, is_ready;
    uint64_t next_final; /* of the last walk over all */
    uint64_t reads, read_sectors, writes, unmaps, zeroes, refused;
    struct session sessions[SESSIONS_MAX];
};

static volatile sig_atomic_t is_stopped;

static void stop(int number)
{
    (void)number;
    is_stopped = 1;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* xorshift64: the same places for the same seed. */
static uint64_t next_random(struct load *l)
{
    l->random ^= l->random << 13;
    l->random ^= l->random >> 7;
    l->random ^= l->random << 17;
    return l->random;
}

static void make_content(const struct load *l, uint64_t lba, uint64_t stamp, unsigned char *ret)
{
    uint64_t words[WORDS] = {0};
    if (stamp == STAMP_BASE) {
        memcpy(ret, l->base + lba * SECTOR, SECTOR);
        return;
    }
    for (int i = 0; i < WORDS && stamp != STAMP_ZERO; i += 2) {
        words[i] = lba;
        words[i + 1] = stamp;
    }
    memcpy(ret, words, SECTOR);
}

/* The oldest moment that a command in work was sent at. */
static uint64_t oldest_sent(const struct load *l)
{
    uint64_t oldest = l->clock;
    for (unsigned i = 0; i < l->n_sessions; i++)
        for (unsigned k = 0; k < l->depth; k++) {
            const struct slot *s = &l->sessions[i].slots[k];
            if ((s->is_busy || s->is_waiting) && s->sent < oldest)
                oldest = s->sent;
        }
    return oldest;
}

/* Can nobody who is sent at @when see change @c any more? */
static bool is_covered(const struct sector *s, const struct change *c, uint64_t when)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->list[i].sent > c->answered && s->list[i].answered < when)
            return true;
    return false;
}

static void prune(struct sector *s, uint64_t when)
{
    bool is_gone[CHANGES_MAX];
    unsigned n = 0;
    for (unsigned i = 0; i < s->n; i++)
        is_gone[i] = is_covered(s, &s->list[i], when);
    for (unsigned i = 0; i < s->n; i++)
        if (!is_gone[i])
            s->list[n++] = s->list[i];
    s->n = n;
}

/* False where a sector's history has no room: too many changes of it are in work. */
static bool begin_change(struct load *l, const struct slot *slot)
{
    uint64_t oldest = oldest_sent(l);
    for (uint32_t i = 0; i < slot->sectors; i++) {
        struct sector *s = &l->map[slot->lba + i];
        if (s->n > CHANGES_MAX / 2)
            prune(s, oldest);
        if (s->n == CHANGES_MAX)
            return false;
    }
    for (uint32_t i = 0; i < slot->sectors; i++) {
        struct sector *s = &l->map[slot->lba + i];
        s->list[s->n++] = (struct change){slot->sent, IN_WORK, slot->stamp};
    }
    return true;
}

static void end_change(struct load *l, const struct slot *slot)
{
    uint64_t when = l->clock++;
    for (uint32_t i = 0; i < slot->sectors; i++) {
        struct sector *s = &l->map[slot->lba + i];
        for (unsigned k = 0; k < s->n; k++)
            if (s->list[k].sent == slot->sent)
                s->list[k].answered = when;
    }
}

static void name_content(const struct load *l, uint64_t lba, const unsigned char *data, char *ret, size_t max)
{
    unsigned char expected[SECTOR];
    uint64_t words[2];
    memcpy(words, data, sizeof(words));
    make_content(l, lba, STAMP_ZERO, expected);
    bool is_zero = memcmp(data, expected, SECTOR) == 0;
    make_content(l, lba, STAMP_BASE, expected);
    if (memcmp(data, expected, SECTOR) == 0)
        (void)snprintf(ret, max, "the base");
    else if (is_zero)
        (void)snprintf(ret, max, "zeros");
    else
        (void)snprintf(ret, max, "what begins as write %" PRIu64 " of sector %" PRIu64, words[1], words[0]);
}

static void tell_wrong(struct load *l, const struct slot *slot, uint64_t lba, const unsigned char *data)
{
    char text[96];
    const struct sector *s = &l->map[lba];
    name_content(l, lba, data, text, sizeof(text));
    fprintf(stderr,
            "iscsi-coherence: a read of %" PRIu32 " sectors from %" PRIu64 ", sent at %" PRIu64 ", answered at %" PRIu64
            ", sees in sector %" PRIu64 " %s; its changes:\n",
            slot->sectors, slot->lba, slot->sent, l->clock, lba, text);
    for (unsigned i = 0; i < s->n; i++) {
        const struct change *c = &s->list[i];
        fprintf(stderr, "  %s %" PRIu64 ", sent at %" PRIu64 ", answered at %" PRId64 "%s\n",
                c->stamp == STAMP_BASE   ? "base"
                : c->stamp == STAMP_ZERO ? "zero"
                                         : "write",
                c->stamp, c->sent, (int64_t)c->answered, is_covered(s, c, slot->sent) ? ", not to be seen" : "");
    }
    l->is_wrong = l->has_failed = true;
}

/* Each word on its own: while a change is in work, a sector may be cut, as it is in any file. */
static bool is_allowed(const struct load *l, const struct slot *slot, uint64_t lba, const unsigned char *data)
{
    bool is_seen[WORDS] = {false};
    const struct sector *s = &l->map[lba];
    unsigned missing = WORDS;
    for (unsigned i = s->n; i-- > 0 && missing > 0;) {
        unsigned char expected[SECTOR];
        make_content(l, lba, s->list[i].stamp, expected);
        if (is_covered(s, &s->list[i], slot->sent))
            continue;
        for (unsigned k = 0; k < WORDS; k++)
            if (!is_seen[k] && memcmp(expected + k * 8, data + k * 8, 8) == 0) {
                is_seen[k] = true;
                missing--;
            }
    }
    return missing == 0;
}

static void check_read(struct load *l, const struct slot *slot, const unsigned char *data)
{
    for (uint32_t i = 0; i < slot->sectors && !l->is_wrong; i++)
        if (!is_allowed(l, slot, slot->lba + i, data + (size_t)i * SECTOR))
            tell_wrong(l, slot, slot->lba + i, data + (size_t)i * SECTOR);
    l->clock++;
    l->reads++;
    l->read_sectors += slot->sectors;
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static void next_command(struct slot *s);
static void done(struct iscsi_context *iscsi, int status, void *command, void *arg);

static void lose(struct load *l, struct session *x, const char *what)
{
    if (!l->has_failed)
        fprintf(stderr, "iscsi-coherence: %s: %s\n", what, iscsi_get_error(x->iscsi));
    l->has_failed = true;
}

/* The four commands that read; the short one reaches 2^21 sectors and 255 of them. */
static struct scsi_task *send_read(struct slot *s)
{
    struct session *x = s->session;
    uint32_t bytes = s->sectors * SECTOR, lba = (uint32_t)s->lba;
    switch (next_random(x->load) % 4) {
    case 0:
        if (s->sectors < 256 && s->lba + s->sectors < 1U << 21)
            return iscsi_read6_task(x->iscsi, x->lun, lba, bytes, SECTOR, done, s);
        __attribute__((fallthrough));
    case 1:
        return iscsi_read10_task(x->iscsi, x->lun, lba, bytes, SECTOR, 0, 0, 0, 0, 0, done, s);
    case 2:
        return iscsi_read12_task(x->iscsi, x->lun, lba, bytes, SECTOR, 0, 0, 0, 0, 0, done, s);
    default:
        return iscsi_read16_task(x->iscsi, x->lun, s->lba, bytes, SECTOR, 0, 0, 0, 0, 0, done, s);
    }
}

static struct scsi_task *send_write(struct slot *s)
{
    struct session *x = s->session;
    for (uint32_t i = 0; i < s->sectors; i++)
        make_content(x->load, s->lba + i, s->stamp, s->buf + (size_t)i * SECTOR);
    return iscsi_write16_task(x->iscsi, x->lun, s->lba, s->buf, s->sectors * SECTOR, SECTOR, 0, 0, 0, 0, 0, done, s);
}

static struct scsi_task *send_unmap(struct slot *s)
{
    struct session *x = s->session;
    struct unmap_list range = {s->lba, s->sectors};
    return iscsi_unmap_task(x->iscsi, x->lun, 0, 0, &range, 1, done, s);
}

/* Few sectors are written by the server one by one, many are unmapped. */
static struct scsi_task *send_zero(struct slot *s)
{
    struct session *x = s->session;
    memset(s->buf, 0, SECTOR);
    return iscsi_writesame16_task(x->iscsi, x->lun, s->lba, s->buf, SECTOR, s->sectors, 0, s->sectors > 16, 0, 0, done,
                                  s);
}

static void send_command(struct slot *s)
{
    struct session *x = s->session;
    struct scsi_task *task = s->verb == READ    ? send_read(s)
                             : s->verb == WRITE ? send_write(s)
                             : s->verb == UNMAP ? send_unmap(s)
                             : s->verb == ZERO  ? send_zero(s)
                                                : iscsi_synchronizecache10_task(x->iscsi, x->lun, 0, 0, 0, 0, done, s);
    s->is_waiting = false;
    s->is_busy = task != NULL;
    if (!task)
        lose(x->load, x, "a command could not be sent");
}

static void finish(struct slot *s, const struct scsi_task *task)
{
    struct load *l = s->session->load;
    if (s->verb == READ && (!task || task->datain.size != (int)(s->sectors * SECTOR)))
        lose(l, s->session, "a read has not as many bytes as it asked for");
    else if (s->verb == READ)
        check_read(l, s, task->datain.data);
    else if (s->verb != FLUSH)
        end_change(l, s);
    if (s->verb == READ && l->is_ending && !l->has_failed)
        memcpy(l->final + s->lba * SECTOR, task->datain.data, s->sectors * SECTOR);
    l->writes += s->verb == WRITE;
    l->unmaps += s->verb == UNMAP;
    l->zeroes += s->verb == ZERO;
}

static void done(struct iscsi_context *iscsi, int status, void *command, void *arg)
{
    struct slot *s = arg;
    struct scsi_task *task = command;
    struct load *l = s->session->load;
    bool is_lost = status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR || status == SCSI_STATUS_TIMEOUT;
    s->is_busy = false;
    s->session->has_answer = true;
    if (is_lost || !iscsi_is_logged_in(iscsi)) {
        lose(l, s->session, "the session was lost");
    } else if (status == SCSI_STATUS_GOOD) {
        finish(s, task);
    } else {
        l->refused++;
        s->is_waiting = true;
        s->retry_ms = now_ms() + RETRY_MS;
    }
    if (task)
        scsi_free_scsi_task(task);
    if (!s->is_waiting && !l->has_failed)
        next_command(s);
}

/* --- which ------------------------------------------------------------------------------------------------------- */

/* Mostly blocks of 4 KiB; sometimes anything, and more than a direct read may have. */
static void choose_range(struct load *l, struct slot *s)
{
    static const uint32_t sizes[] = {1, 2, 7, 8, 8, 8, 8, 8, 16, 24, 64, 96, 256, 512, SECTORS_MAX};
    uint64_t x = next_random(l);
    s->sectors = sizes[x % (sizeof(sizes) / sizeof(*sizes))];
    if (s->verb == ZERO && (x >> 8) % 2)
        s->sectors = 1 + (uint32_t)(x >> 16) % 12;
    uint64_t room = l->sectors - s->sectors, hot = l->sectors / 8;
    if ((x >> 32) % 2 && hot > s->sectors) /* half of them where the others are, too */
        room = hot - s->sectors;
    s->lba = next_random(l) % (room + 1);
    if ((x >> 33) % 3)
        s->lba -= s->lba % 8;
}

static void choose(struct load *l, struct slot *s)
{
    unsigned n = (unsigned)(next_random(l) % 100), m = (unsigned)(next_random(l) % 100);
    s->verb = n < l->read_percent ? READ : m < 55 ? WRITE : m < 75 ? UNMAP : m < 97 ? ZERO : FLUSH;
    choose_range(l, s);
    s->stamp = s->verb == WRITE ? l->next_stamp++ : STAMP_ZERO;
    s->sent = l->clock++;
    if (s->verb != READ && s->verb != FLUSH && !begin_change(l, s))
        s->verb = READ;
}

/* The whole area once more, after all changes were answered. */
static bool choose_final(struct load *l, struct slot *s)
{
    if (l->next_final == l->sectors)
        return false;
    s->verb = READ;
    s->lba = l->next_final;
    s->sectors = (uint32_t)(l->sectors - s->lba < 64 ? l->sectors - s->lba : 64);
    s->sent = l->clock++;
    l->next_final += s->sectors;
    return true;
}

static void next_command(struct slot *s)
{
    struct load *l = s->session->load;
    if (l->is_ending ? !choose_final(l, s) : is_stopped != 0)
        return;
    if (!l->is_ending)
        choose(l, s);
    send_command(s);
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

static int log_in(struct load *l, struct session *x, const char *text)
{
    x->load = l;
    x->iscsi = iscsi_create_context("iqn.2026-01.test.diskgate:coherence");
    struct iscsi_url *url = x->iscsi ? iscsi_parse_full_url(x->iscsi, text) : NULL;
    if (!url) {
        fprintf(stderr, "iscsi-coherence: '%s' is no iSCSI URL\n", text);
        return -1;
    }
    iscsi_set_targetname(x->iscsi, url->target);
    iscsi_set_session_type(x->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(x->iscsi, ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_noautoreconnect(x->iscsi, 1);
    x->lun = url->lun;
    int r = iscsi_full_connect_sync(x->iscsi, url->portal, url->lun);
    iscsi_destroy_url(url);
    if (r != 0)
        fprintf(stderr, "iscsi-coherence: cannot log in: %s\n", iscsi_get_error(x->iscsi));
    return r;
}

static bool is_idle(const struct load *l)
{
    for (unsigned i = 0; i < l->n_sessions; i++)
        for (unsigned k = 0; k < l->depth; k++)
            if (l->sessions[i].slots[k].is_busy || l->sessions[i].slots[k].is_waiting)
                return false;
    return true;
}

static void send_refused(struct load *l)
{
    for (unsigned i = 0; i < l->n_sessions; i++)
        for (unsigned k = 0; k < l->depth; k++) {
            struct slot *s = &l->sessions[i].slots[k];
            if (!s->is_waiting || now_ms() < s->retry_ms)
                continue;
            if (s->verb == READ)
                s->sent = l->clock++;
            send_command(s);
        }
}

static void say_ready(struct load *l)
{
    for (unsigned i = 0; i < l->n_sessions; i++)
        if (!l->sessions[i].has_answer)
            return;
    if (!l->is_ready) {
        puts("ready");
        fflush(stdout);
    }
    l->is_ready = true;
}

static int serve_once(struct load *l)
{
    struct pollfd p[SESSIONS_MAX];
    for (unsigned i = 0; i < l->n_sessions; i++)
        p[i] = (struct pollfd){iscsi_get_fd(l->sessions[i].iscsi), (short)iscsi_which_events(l->sessions[i].iscsi), 0};
    int n = poll(p, l->n_sessions, RETRY_MS);
    for (unsigned i = 0; i < l->n_sessions && n > 0; i++)
        if (p[i].revents && iscsi_service(l->sessions[i].iscsi, p[i].revents) < 0)
            lose(l, &l->sessions[i], "the session was lost");
    send_refused(l);
    say_ready(l);
    return n;
}

/* Until nothing is in work any more. */
static void serve(struct load *l, int64_t end_ms)
{
    int64_t heard_ms = now_ms();
    while (!is_idle(l) && !l->has_failed) {
        if (serve_once(l) > 0)
            heard_ms = now_ms();
        if (now_ms() >= end_ms)
            is_stopped = 1;
        if (now_ms() - heard_ms > STALL_MS)
            lose(l, &l->sessions[0], "no answer for a long time");
    }
}

static void start_all(struct load *l)
{
    for (unsigned i = 0; i < l->n_sessions; i++)
        for (unsigned k = 0; k < l->depth; k++)
            next_command(&l->sessions[i].slots[k]);
}

/* --- begin and end ----------------------------------------------------------------------------------------------- */

static int read_base(struct load *l)
{
    int fd = open(l->base_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, l->base, l->area, 0);
    if (n < 0)
        fprintf(stderr, "iscsi-coherence: cannot read '%s': %s\n", l->base_path, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return n < 0 ? -1 : 0;
}

static int set_up(struct load *l)
{
    l->sectors = l->area / SECTOR;
    l->map = calloc(l->sectors, sizeof(*l->map));
    l->base = calloc(1, l->area);
    l->final = calloc(1, l->area);
    if (!l->map || !l->base || !l->final || read_base(l) < 0)
        return -1;
    l->clock = 1;
    l->next_stamp = STAMP_ZERO + 1;
    for (uint64_t i = 0; i < l->sectors; i++)
        l->map[i] = (struct sector){.list = {{0, 0, STAMP_BASE}}, .n = 1};
    for (unsigned i = 0; i < l->n_sessions; i++) {
        if (log_in(l, &l->sessions[i], l->urls[i % (unsigned)l->n_urls]) != 0)
            return -1;
        for (unsigned k = 0; k < l->depth; k++) {
            struct slot *s = &l->sessions[i].slots[k];
            s->session = &l->sessions[i];
            s->buf = malloc((size_t)SECTORS_MAX * SECTOR);
            if (!s->buf)
                return -1;
        }
    }
    return 0;
}

static int store_final(const struct load *l)
{
    FILE *f = l->out ? fopen(l->out, "w") : NULL;
    bool is_done = !l->out || (f && fwrite(l->final, 1, l->area, f) == l->area);
    if (f && fclose(f) != 0)
        is_done = false;
    if (!is_done)
        fprintf(stderr, "iscsi-coherence: cannot write '%s': %s\n", l->out, strerror(errno));
    return is_done ? 0 : 3;
}

static int run(struct load *l)
{
    start_all(l);
    serve(l, now_ms() + (int64_t)(l->seconds * 1000));
    if (!l->has_failed) {
        l->is_ending = true;
        start_all(l);
        serve(l, INT64_MAX);
    }
    printf("{\"reads\": %" PRIu64 ", \"sectors\": %" PRIu64 ", \"writes\": %" PRIu64 ", \"unmaps\": %" PRIu64
           ", \"zeroes\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n",
           l->reads, l->read_sectors, l->writes, l->unmaps, l->zeroes, l->refused);
    if (l->is_wrong || l->has_failed)
        return l->is_wrong ? 1 : 3;
    for (unsigned i = 0; i < l->n_sessions; i++)
        (void)iscsi_logout_sync(l->sessions[i].iscsi); /* the server notices the end of the process as well */
    return store_final(l);
}

static bool number(const char *text, uint64_t low, uint64_t high, uint64_t *ret)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    *ret = n;
    return *text >= '0' && *text <= '9' && !*end && n >= low && n <= high;
}

static bool parse(int argc, char **argv, struct load *l)
{
    uint64_t depth = 16, sessions = 2, percent = 60, seed = 1;
    bool ok = true;
    int c;
    l->area = (uint64_t)8 << 20;
    l->seconds = 5;
    while (ok && (c = getopt(argc, argv, "q:s:t:a:r:x:o:")) != -1) {
        if (c == 'q')
            ok = number(optarg, 1, DEPTH_MAX, &depth);
        else if (c == 's')
            ok = number(optarg, 1, SESSIONS_MAX, &sessions);
        else if (c == 't')
            ok = (l->seconds = strtod(optarg, NULL)) > 0;
        else if (c == 'a')
            ok = number(optarg, (uint64_t)SECTORS_MAX * SECTOR, 1U << 30, &l->area) && l->area % SECTOR == 0;
        else if (c == 'r')
            ok = number(optarg, 0, 100, &percent);
        else if (c == 'x')
            ok = number(optarg, 0, UINT32_MAX, &seed);
        else if (c == 'o')
            l->out = optarg;
        else
            ok = false;
    }
    l->depth = (unsigned)depth;
    l->n_sessions = (unsigned)sessions;
    l->read_percent = (unsigned)percent;
    l->random = 88172645463325252ULL ^ seed * 0x9e3779b97f4a7c15ULL;
    if (!ok || argc - optind < 2)
        return false;
    l->base_path = argv[optind];
    l->urls = argv + optind + 1;
    l->n_urls = argc - optind - 1;
    return true;
}

int main(int argc, char **argv)
{
    static struct load l;
    if (!parse(argc, argv, &l)) {
        fprintf(
            stderr,
            "usage: iscsi-coherence [-q DEPTH] [-s SESSIONS] [-t SECONDS] [-a AREA_BYTES] [-r READ_PERCENT] [-x SEED] "
            "[-o FILE] BASE URL...\n");
        return 2;
    }
    (void)signal(SIGTERM, stop);
    (void)signal(SIGPIPE, SIG_IGN);
    if (set_up(&l) < 0)
        return 3;
    return run(&l);
}
