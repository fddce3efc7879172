/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The workload on kept overlays: threads that write, zero and flush; what must hold is in overlays.c.
 *
 * The work is done in processes that are killed, some of them while they open the overlays, each going on where the last one stopped; then in
 * one that ends well, then, after a restart of the machine, in one more.
 */
#include "tests/powercut/overlays.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define KILLS   6
#define STRIPES 2 /* threads of an overlay; each writes its own part of the disk */

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

void overlays_work(const char *root, struct rec_log *log, unsigned ops, uint64_t seed)
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
