/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workload on kept overlays, and what must hold after a cut in the middle of it.
 *
 * Every sector of every disk carries its overlay, its place and a version, which grows with each write. The log has a note when a
 * write begins, when it was acknowledged, and when a flush begins and has returned. So at each moment it is known for each sector which
 * version was acknowledged before a flush that has returned: the floor. After a cut a sector may be of that version or of any later one
 * that was begun, and nothing else.
 *
 * One of the overlays is made volatile and kept again from time to time. As long as it is volatile, a cut loses it, and it must say so.
 *
 * The work is done in processes that are killed, some of them while they open the overlays, each going on where the last one stopped; then in
 * one that ends well, then, after a restart of the machine, in one more.
 */
#include "tests/powercut/subject.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/journal-file.h"
#include "core/journal.h"
#include "core/overlay.h"
#include "core/recover.h"
#include "core/util.h"

#define TAG      "0badcafe"
#define OVERLAYS 4
#define KILLS    6
#define STRIPES  2 /* threads of an overlay; each writes its own part of the disk */
#define BLOCKS   48ULL
#define DISK     (BLOCKS * BLOCK_BYTES + 3 * SECTOR_BYTES) /* the last block is short */
#define SECTORS  (DISK / SECTOR_BYTES)
#define SLEEPER  1              /* rests for so long that areas of the journal which hold its commits are used again */
#define SWINGER  (OVERLAYS - 1) /* is volatile from time to time */

static const char *const overlays_dirs[] = {
    ".", "overlays", "overlays/pc0", "overlays/pc1", "overlays/pc2", "overlays/pc3", "kept", NULL};

enum note { NOTE_WRITE, NOTE_ZERO, NOTE_ACK, NOTE_FLUSH, NOTE_FLUSHED, NOTE_MODE };

/* --- content ------------------------------------------------------------------------------------------------------ */

struct sector {
    uint64_t overlay, number, version, word[59];
    unsigned char sum[16];
};
_Static_assert(sizeof(struct sector) == SECTOR_BYTES, "one sector");

static void make_sector(uint64_t overlay, uint64_t number, uint64_t version, struct sector *ret)
{
    struct rng rng = {.state = overlay * 1000003 + number * 10007 + version};
    *ret = (struct sector){.overlay = overlay + 1, .number = number, .version = version};
    for (size_t i = 0; i < ARRAY_SIZE(ret->word); i++)
        ret->word[i] = rng_next(&rng);
    hash128(ret, offsetof(struct sector, sum), ret->sum);
}

/* What all overlays lie on. Version 0, as if it were an overlay's of its own. */
static struct blk *make_base(void)
{
    struct sector s;
    int fd = memfd_create("base", MFD_CLOEXEC);
    for (uint64_t i = 0; i < SECTORS; i++) {
        make_sector(OVERLAYS, i, 0, &s);
        CHECK(pwrite_full(fd, &s, sizeof(s), i * SECTOR_BYTES) == 0, "cannot make the base");
    }
    struct blk *b = base_create(fd, DISK, DISK);
    CHECK(b, "out of memory");
    return b;
}

/* --- a root in use ------------------------------------------------------------------------------------------------ */

struct site {
    int overlays_fd, live_fd, kept_fd, journal_fd, dir_fd[OVERLAYS];
    struct blk *base;
    struct journal *journal;
    struct overlay *overlay[OVERLAYS];
    bool is_lost[OVERLAYS]; /* it says so itself */
    struct err err;
};

static int open_folder(const char *root, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0, "cannot open '%s'", path);
    return fd;
}

static void overlays_prepare(const char *root)
{
    char path[512];
    for (const char *const *d = overlays_dirs; *d; d++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, strcmp(*d, ".") == 0 ? "run/live" : *d);
        CHECK(make_dirs(path, 0700) == 0, "cannot make '%s'", path);
    }
}

/* ROOT/journal as diskgate-fs makes it. */
static void site_folders(struct site *s, const char *root)
{
    s->overlays_fd = open_folder(root, "overlays");
    s->live_fd = open_folder(root, "run/live");
    s->kept_fd = open_folder(root, "kept");
    for (unsigned i = 0; i < OVERLAYS; i++)
        s->dir_fd[i] = open_folder(root, overlays_dirs[2 + i]);
    _cleanup_close_ int root_fd = open_folder(root, ".");
    s->journal_fd = openat(root_fd, "journal", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(s->journal_fd >= 0 && fsync(root_fd) == 0, "cannot make the journal");
    s->base = make_base();
}

static struct map_stamp stamp_of(unsigned i)
{
    return (struct map_stamp){
        .overlay_id = {(unsigned char)(i + 1), 0xaa}, .base_identity = "base", .size_bytes = DISK};
}

static int site_open(struct site *s, const char *root, bool swinger_is_kept)
{
    struct recovery found;
    *s = (struct site){0};
    site_folders(s, root);
    int r = recover(s->overlays_fd, s->journal_fd, TAG, &found, &s->err);
    if (r == 0 && found.damaged)
        r = err_set(&s->err, -EBADMSG, "recovery found %llu damaged map files", (unsigned long long)found.damaged);
    if (r == 0)
        r = recover(s->overlays_fd, s->journal_fd, TAG, &found, &s->err);
    if (r == 0 && found.overlays)
        r = err_set(&s->err, -EBADMSG, "a second recovery changed map files");
    if (r == 0)
        r = journal_start(s->journal_fd, TAG, found.next_number, JOURNAL_AREA_MIN, &s->journal, &s->err);
    for (unsigned i = 0; i < OVERLAYS && r == 0; i++) {
        struct overlay_place place = {.dir_fd = s->dir_fd[i],
                                      .live_fd = s->live_fd,
                                      .has_marks = true,
                                      .kept_fd = s->kept_fd,
                                      .journal = s->journal};
        struct map_stamp stamp = stamp_of(i);
        char found_id[UUID_LEN + 1];
        r = overlay_open(&place, &stamp, i != SWINGER || swinger_is_kept, false, s->base, &s->overlay[i], found_id,
                         &s->err);
        bool is_missing =
            r == -EBADMSG && i == SWINGER && swinger_is_kept; /* it was to be kept and had no map file yet */
        if (r == -EOWNERDEAD || is_missing) {
            s->is_lost[i] = true;
            r = 0;
        }
        if (r < 0)
            (void)err_prefix(&s->err, r, "overlay %u", i);
    }
    return r;
}

static int site_close(struct site *s)
{
    int r = 0;
    for (unsigned i = 0; i < OVERLAYS; i++) {
        int e = overlay_close(s->overlay[i], &s->err);
        r = r < 0 ? r : e;
    }
    if (s->journal)
        journal_stop(s->journal);
    else
        (void)close(s->journal_fd);
    for (unsigned i = 0; i < OVERLAYS; i++)
        (void)close(s->dir_fd[i]);
    (void)close(s->overlays_fd);
    (void)close(s->live_fd);
    (void)close(s->kept_fd);
    blk_destroy(s->base);
    return r;
}

/* --- workload ----------------------------------------------------------------------------------------------------- */

/* Lives through the processes. */
struct counters {
    _Atomic uint64_t version[OVERLAYS];
    _Atomic uint64_t flush;
    _Atomic unsigned busy; /* threads of overlays that never sleep */
    _Atomic bool is_kept;  /* the swinger */
};

struct worker {
    struct site *site;
    struct counters *counters;
    unsigned overlay, stripe, ops;
    bool kills; /* ends the process in the middle */
    struct rng rng;
};

static void do_write(struct worker *w, uint64_t first, uint64_t n, bool is_zero_op)
{
    struct blk *b = overlay_blk(w->site->overlay[w->overlay]);
    uint64_t version = atomic_fetch_add(&w->counters->version[w->overlay], 1) + 1;
    rec_note(is_zero_op ? NOTE_ZERO : NOTE_WRITE, w->overlay, first, n, version);
    int r;
    if (is_zero_op) {
        r = blk_zero(b, first * SECTOR_BYTES, n * SECTOR_BYTES);
    } else {
        _cleanup_free_ struct sector *buf = calloc(n, sizeof(*buf));
        for (uint64_t i = 0; i < n; i++)
            make_sector(w->overlay, first + i, version, &buf[i]);
        r = blk_write(b, buf, n * SECTOR_BYTES, first * SECTOR_BYTES);
    }
    CHECK(r == 0, "a write failed: %s", strerror(-r));
    rec_note(NOTE_ACK, w->overlay, first, n, version);
}

static void do_flush(struct worker *w)
{
    uint64_t token = atomic_fetch_add(&w->counters->flush, 1);
    rec_note(NOTE_FLUSH, w->overlay, token, 0, 0);
    int r = blk_flush(overlay_blk(w->site->overlay[w->overlay]));
    CHECK(r == 0, "a flush failed: %s", strerror(-r));
    rec_note(NOTE_FLUSHED, w->overlay, token, 0, 0);
}

/* The catalog says so first, then the overlay follows. To be kept makes durable what is there, as a flush does. */
static void do_swing(struct worker *w)
{
    bool is_kept = !atomic_load(&w->counters->is_kept);
    uint64_t token = atomic_fetch_add(&w->counters->flush, 1);
    struct err err;
    atomic_store(&w->counters->is_kept, is_kept);
    rec_note(NOTE_MODE, w->overlay, is_kept, 0, 0);
    rec_note(NOTE_FLUSH, w->overlay, token, 1, 0);
    CHECK(overlay_set_kept(w->site->overlay[w->overlay], is_kept, &err) == 0, "%s", err.msg);
    rec_note(NOTE_FLUSHED, w->overlay, token, 0, 0);
}

static void one_op(struct worker *w)
{
    uint64_t low = w->stripe * (SECTORS / STRIPES);
    uint64_t room = w->stripe == STRIPES - 1 ? SECTORS - low : SECTORS / STRIPES;
    uint64_t n = rng_below(&w->rng, 4) ? 1 + rng_below(&w->rng, 12) : 8 * (1 + rng_below(&w->rng, 4));
    uint64_t first = low + rng_below(&w->rng, room - n + 1);
    if (n % 8 == 0)
        first = first / 8 * 8 < low ? first : first / 8 * 8; /* whole blocks */
    uint64_t dice = rng_below(&w->rng, 100);
    if (dice < 20)
        do_flush(w);
    else if (w->overlay == SWINGER && w->stripe == 0 && dice < 23)
        do_swing(w);
    else
        do_write(w, first, n, dice < 55);
}

static void sleep_long(const struct worker *w)
{
    uint64_t until = atomic_load(&w->counters->flush) + 200;
    while (atomic_load(&w->counters->busy) > 0 && atomic_load(&w->counters->flush) < until)
        usleep(1000);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < w->ops; i++) {
        if (w->overlay == SLEEPER && i % 20 == 19)
            sleep_long(w);
        one_op(w);
    }
    if (w->overlay != SLEEPER)
        atomic_fetch_sub(&w->counters->busy, 1);
    if (w->kills)
        rec_die();
    return NULL;
}

/* A member that fills the journal, so that its areas change often. Its overlay has no files: a recovery takes it for one that was
 * dropped. */
struct filler {
    struct journal_member member;
    struct site *site;
    struct counters *counters;
    _Atomic uint64_t noted;
    struct map_run runs[JOURNAL_RUNS_MAX / 2];
};

static int save_nothing(void *arg, uint64_t *ret_number)
{
    struct filler *f = arg;
    *ret_number = atomic_load(&f->noted);
    return 0;
}

static void *fill(void *arg)
{
    struct filler *f = arg;
    for (size_t i = 0; i < ARRAY_SIZE(f->runs); i++)
        f->runs[i] = (struct map_run){.blk = 2 * i, .n = 1, .state = BLOCK_PRESENT};
    for (uint64_t next = 0; atomic_load(&f->counters->busy) > 0; usleep(500)) {
        if (atomic_load(&f->counters->flush) < next)
            continue;
        for (unsigned i = 0; i < 10; i++) { /* more than both areas hold */
            uint64_t number;
            int r = journal_commit(f->site->journal, &f->member, f->runs, ARRAY_SIZE(f->runs), &number);
            CHECK(r == 0, "a commit failed: %s", strerror(-r));
            atomic_store(&f->noted, number);
        }
        next = atomic_load(&f->counters->flush) + 150;
    }
    return NULL;
}

/* One process. */
static void life(const char *root, struct counters *c, unsigned ops, uint64_t seed, bool is_killed)
{
    struct site s;
    struct worker w[OVERLAYS * STRIPES];
    pthread_t t[OVERLAYS * STRIPES], filling;
    _cleanup_free_ struct filler *f = calloc(1, sizeof(*f));
    CHECK(f, "out of memory");
    CHECK(site_open(&s, root, c->is_kept) == 0, "%s", s.err.msg);
    atomic_store(&c->busy, (OVERLAYS - 1) * STRIPES);
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
        w[i] = (struct worker){&s, c, i / STRIPES, i % STRIPES, ops, is_killed && i == 0, {seed + i}};
        CHECK(pthread_create(&t[i], NULL, work, &w[i]) == 0, "cannot make a thread");
    }
    f->site = &s;
    f->counters = c;
    f->member = (struct journal_member){.id = {0xff}, .checkpoint = save_nothing, .arg = f};
    journal_join(s.journal, &f->member);
    CHECK(pthread_create(&filling, NULL, fill, f) == 0, "cannot make a thread");
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
        pthread_join(t[i], NULL);
    pthread_join(filling, NULL);
    journal_saved(s.journal, &f->member, UINT64_MAX);
    journal_leave(s.journal, &f->member);
    CHECK(site_close(&s) == 0, "%s", s.err.msg);
}

static void in_process(const char *root, struct rec_log *log, struct counters *c, unsigned ops, uint64_t seed,
                       bool is_killed)
{
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0, "cannot fork");
    if (pid == 0) {
        rec_start(log);
        life(root, c, ops, seed, is_killed);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid, "cannot wait");
    CHECK(is_killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0, "the workload failed");
    rec_mend(log);
}

static void drop_live_maps(const char *root)
{
    _cleanup_close_ int live = open_folder(root, "run/live");
    _cleanup_closedir_ DIR *d = fdopendir(openat(live, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const struct dirent *e; (e = readdir(d));)
        (void)unlinkat(live, e->d_name, 0); /* "." and ".." stay */
}

/* What the log says of the swinger: a process that is killed may have begun a change of mode without a word. */
static bool is_kept_by(const struct rec_log *log)
{
    bool is_kept = true;
    const struct rec *r;
    for (size_t pos = 0; (r = rec_at(log, pos, &pos));)
        if (r->kind == REC_NOTE && r->note[0] == NOTE_MODE)
            is_kept = r->note[2];
    return is_kept;
}

static void overlays_work(const char *root, struct rec_log *log, unsigned ops, uint64_t seed)
{
    struct counters *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(c != MAP_FAILED, "out of memory");
    struct rng rng = {seed};
    c->is_kept = true;
    for (unsigned i = 0; i < KILLS; i++) {
        if (rng_below(&rng, 2)) /* starting takes about a hundred records */
            rec_die_after(log, UINT32_MAX, 1 + rng_below(&rng, 200));
        else /* a name that is not durable is taken for granted by who comes next */
            rec_die_after(log, 1U << REC_CREATE | 1U << REC_RENAME | 1U << REC_UNLINK, 1 + rng_below(&rng, 24));
        in_process(root, log, c, ops / (2 * KILLS), seed + 10 * i, true);
        c->is_kept = is_kept_by(log);
    }
    in_process(root, log, c, ops / 4, seed + 100, false);
    drop_live_maps(root);
    /* The swinger begins empty if it is volatile now, which the checker does not follow through a restart. */
    if (c->is_kept)
        in_process(root, log, c, ops / 4, seed + 200, true);
    (void)munmap(c, sizeof(*c)); /* it is ours */
}

/* --- what is expected --------------------------------------------------------------------------------------------- */

struct version {
    uint64_t number;
    bool is_zero;
};

struct history {
    struct version *version; /* begun, rising */
    size_t count;
    uint64_t acked, floor; /* numbers */
};

#define FLUSHES 64

struct flush {
    uint64_t token, overlay;
    bool is_used;
    uint64_t acked[SECTORS];
};

struct expected {
    struct history history[OVERLAYS][SECTORS];
    struct flush flush[FLUSHES];            /* under way */
    bool swinger_is_kept, swinger_is_ready; /* ready: it has become what the catalog says */
    bool swinger_was_flushed;               /* before it became volatile */
};

static void *expected_create(void)
{
    struct expected *e = calloc(1, sizeof(*e));
    CHECK(e, "out of memory");
    e->swinger_is_kept = e->swinger_is_ready = true;
    return e;
}

static void expected_destroy(void *arg)
{
    struct expected *e = arg;
    for (unsigned i = 0; i < OVERLAYS; i++)
        for (uint64_t k = 0; k < SECTORS; k++)
            free(e->history[i][k].version);
    free(e);
}

static void begin_version(struct history *h, uint64_t number, bool is_zero_op)
{
    h->version = reallocarray(h->version, h->count + 1, sizeof(*h->version));
    CHECK(h->version, "out of memory");
    h->version[h->count++] = (struct version){number, is_zero_op};
}

static void begin_flush(struct expected *e, uint64_t overlay, uint64_t token, bool is_swing)
{
    struct flush *f = e->flush;
    if (overlay == SWINGER && !e->swinger_is_ready && !is_swing)
        return; /* it may have been volatile still */
    while (f < e->flush + FLUSHES && f->is_used && f->token + 1000 > token)
        f++; /* what a killed process left is old */
    CHECK(f < e->flush + FLUSHES, "too many flushes at once");
    f->is_used = true;
    f->token = token;
    f->overlay = overlay;
    for (uint64_t k = 0; k < SECTORS; k++)
        f->acked[k] = e->history[overlay][k].acked;
}

static void end_flush(struct expected *e, uint64_t overlay, uint64_t token)
{
    for (struct flush *f = e->flush; f < e->flush + FLUSHES; f++) {
        if (!f->is_used || f->token != token)
            continue;
        f->is_used = false;
        if (overlay == SWINGER)
            e->swinger_is_ready = true;
        if (overlay != SWINGER || e->swinger_is_kept)
            for (uint64_t k = 0; k < SECTORS; k++)
                e->history[overlay][k].floor = MAX(e->history[overlay][k].floor, f->acked[k]);
    }
}

/* A volatile overlay promises nothing, and what it promised before is over. */
static void change_mode(struct expected *e, bool is_kept)
{
    e->swinger_is_kept = is_kept;
    e->swinger_is_ready = e->swinger_was_flushed = false;
    for (uint64_t k = 0; k < SECTORS; k++) {
        e->swinger_was_flushed |= e->history[SWINGER][k].floor > 0;
        e->history[SWINGER][k].floor = 0;
    }
    for (struct flush *f = e->flush; f < e->flush + FLUSHES; f++)
        f->is_used &= f->overlay != SWINGER;
}

static void expected_step(void *arg, const struct rec *r)
{
    struct expected *e = arg;
    if (r->kind != REC_NOTE)
        return;
    uint64_t overlay = r->note[1], first = r->note[2], n = r->note[3], number = r->note[4];
    switch ((enum note)r->note[0]) {
    case NOTE_WRITE:
    case NOTE_ZERO:
        for (uint64_t k = first; k < first + n; k++)
            begin_version(&e->history[overlay][k], number, r->note[0] == NOTE_ZERO);
        break;
    case NOTE_ACK:
        for (uint64_t k = first; k < first + n; k++)
            e->history[overlay][k].acked = number;
        break;
    case NOTE_FLUSH:
        begin_flush(e, overlay, r->note[2], r->note[3]);
        break;
    case NOTE_FLUSHED:
        end_flush(e, overlay, r->note[2]);
        break;
    case NOTE_MODE:
        change_mode(e, r->note[2]);
        break;
    }
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

/* Which version is this? -1: zeros, -2: none of ours. */
static int64_t version_of(const struct sector *s, unsigned overlay, uint64_t number)
{
    struct sector want;
    if (is_zero(s, sizeof(*s)))
        return -1;
    make_sector(s->overlay - 1 == OVERLAYS ? OVERLAYS : overlay, number, s->version, &want);
    return memcmp(&want, s, sizeof(want)) == 0 ? (int64_t)s->version : -2;
}

static bool is_allowed(const struct history *h, int64_t version)
{
    if (version == 0)
        return h->floor == 0;
    for (size_t i = h->count; i-- > 0 && h->version[i].number >= h->floor;)
        if (version == -1 ? h->version[i].is_zero : h->version[i].number == (uint64_t)version && !h->version[i].is_zero)
            return true;
    return false;
}

static bool was_written(const struct expected *e, unsigned i)
{
    for (uint64_t k = 0; k < SECTORS; k++)
        if (e->history[i][k].acked)
            return true;
    return false;
}

/* Only an overlay that is not kept, or was not yet, may be lost. A volatile one that was written must be; from the moment on when it is
 * volatile, not only called so. Before, what was flushed must not be followed by an empty disk either. */
static bool check_loss(const struct expected *e, bool is_lost, unsigned i, char *why, size_t len)
{
    bool may = i == SWINGER && !(e->swinger_is_kept && e->swinger_is_ready);
    bool must =
        i == SWINGER && !e->swinger_is_kept && (e->swinger_was_flushed || (e->swinger_is_ready && was_written(e, i)));
    if (is_lost ? may : !must)
        return true;
    (void)snprintf(why, len, "overlay %u %s", i, is_lost ? "says that it is lost" : "was lost and does not say so");
    return false;
}

static bool check_overlay(const struct expected *e, struct overlay *o, unsigned i, char *why, size_t len)
{
    static struct sector buf[SECTORS];
    int r = blk_read(overlay_blk(o), buf, DISK, 0);
    if (r < 0) {
        (void)snprintf(why, len, "overlay %u cannot be read: %s", i, strerror(-r));
        return false;
    }
    for (uint64_t k = 0; k < SECTORS; k++) {
        const struct history *h = &e->history[i][k];
        int64_t version = version_of(&buf[k], i, k);
        if (is_allowed(h, version))
            continue;
        (void)snprintf(why, len, "overlay %u sector %llu: %s%lld where version %llu was flushed and %llu begun", i,
                       (unsigned long long)k,
                       version == -2   ? "foreign bytes "
                       : version == -1 ? "zeros "
                                       : "version ",
                       (long long)version, (unsigned long long)h->floor,
                       (unsigned long long)(h->count ? h->version[h->count - 1].number : 0));
        return false;
    }
    return true;
}

static bool check_once(const struct expected *e, const char *root, char *why, size_t len)
{
    struct site s;
    if (site_open(&s, root, e->swinger_is_kept) < 0) {
        (void)snprintf(why, len, "refused: %.300s", s.err.msg);
        (void)site_close(&s); /* it failed already */
        return false;
    }
    bool ok = true;
    for (unsigned i = 0; i < OVERLAYS && ok; i++)
        ok = check_loss(e, s.is_lost[i], i, why, len) && (s.is_lost[i] || check_overlay(e, s.overlay[i], i, why, len));
    if (site_close(&s) < 0 && ok) {
        (void)snprintf(why, len, "an overlay cannot be closed: %.300s", s.err.msg);
        ok = false;
    }
    return ok;
}

/* Live maps of another boot, which say nonsense. */
static void put_stale_maps(const char *root)
{
    _cleanup_close_ int live = open_folder(root, "run/live");
    for (unsigned i = 0; i < OVERLAYS; i++) {
        struct map_stamp stamp = stamp_of(i);
        struct livemap *m;
        char name[UUID_LEN + 8], text[UUID_LEN + 1];
        uuid_encode(stamp.overlay_id, text);
        (void)snprintf(name, sizeof(name), "%s.live", text);
        int fd = openat(live, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && livemap_create(fd, &stamp, &m, NULL) == 0, "cannot make a live map");
        CHECK(livemap_prepare(m, 0, BLOCKS, BLOCK_PRESENT) == 0, "cannot make a live map");
        livemap_set_present(m, 0, BLOCKS);
        CHECK(pwrite_full(fd, "another boot id", 16, 16) == 0, "cannot make a live map");
        livemap_close(m);
    }
}

static bool overlays_check(const void *e, const char *root, struct rng *rng, char *why, size_t len)
{
    if (rng_below(rng, 4) == 0)
        put_stale_maps(root);
    bool ok = check_once(e, root, why, len);
    if (ok && rng_below(rng, 8) == 0) { /* a clean end changes nothing either */
        drop_live_maps(root);
        ok = check_once(e, root, why, len);
    }
    drop_live_maps(root);
    return ok;
}

static void overlays_open_once(const void *expected, const char *root)
{
    const struct expected *e = expected;
    struct site s;
    if (site_open(&s, root, e->swinger_is_kept) == 0 || s.journal)
        (void)site_close(&s); /* what it leaves is what is looked at */
}

const struct subject overlays_subject = {
    .name = "kept overlays",
    .dirs = overlays_dirs,
    .no_garbage = ".data", /* a block that is written in place has nothing that could tell */
    .prepare = overlays_prepare,
    .work = overlays_work,
    .expect = expected_create,
    .step = expected_step,
    .forget = expected_destroy,
    .check = overlays_check,
    .open_once = overlays_open_once,
};
