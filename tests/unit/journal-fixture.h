/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the journal share: a journal in memory, members that note what they committed, a replay that compares with it, and
 * syncs that are counted, held up and made to fail.
 *
 * It defines fdatasync() for the whole program.
 */
#ifndef DISKGATE_TESTS_JOURNAL_FIXTURE_H
#define DISKGATE_TESTS_JOURNAL_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/journal-file.h"
#include "core/journal.h"
#include "core/livemap.h"
#include "core/log.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define AREA      JOURNAL_AREA_MIN
#define NOTES_MAX 4096

/* --- syncs that are counted, held up and made to fail ------------------------------------------------------------- */

static _Atomic unsigned syncs;
static _Atomic int sync_error;
static _Atomic bool hold_syncs, is_held;

int fdatasync(int fd);
int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    while (atomic_load(&hold_syncs)) {
        atomic_store(&is_held, true);
        usleep(1000);
    }
    int e = atomic_load(&sync_error);
    if (e) {
        errno = e;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* --- members ------------------------------------------------------------------------------------------------------ */

/* What one commit of a member held. */
struct note {
    uint64_t number;
    unsigned char sum[16];
};

/* An overlay without blocks: its map file is the number up to which it was "written". */
struct client {
    struct journal_member member;
    struct journal *journal;
    struct note notes[NOTES_MAX];
    size_t count;
    _Atomic uint64_t noted, mapfile;
    _Atomic int fail;
    _Atomic unsigned checkpoints;
    struct rng rng;
};

static inline int checkpoint(void *arg, uint64_t *ret_number)
{
    struct client *c = arg;
    atomic_fetch_add(&c->checkpoints, 1);
    int r = atomic_load(&c->fail);
    if (r < 0)
        return r;
    *ret_number = atomic_load(&c->noted);
    atomic_store(&c->mapfile, *ret_number);
    return 0;
}

static inline struct client *client_new(struct journal *j, unsigned char id)
{
    struct client *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->member = (struct journal_member){.checkpoint = checkpoint, .arg = c, .id = {id, 7, 7}};
    c->journal = j;
    c->rng.state = check_seed() + id;
    journal_join(j, &c->member);
    return c;
}

static inline void client_end(struct client *c)
{
    journal_leave(c->journal, &c->member);
    free(c);
}

static inline void sum_runs(const struct map_run *runs, size_t n, unsigned char ret[16])
{
    hash128(runs, n * sizeof(*runs), ret);
}

static inline int try_commit(struct client *c, const struct map_run *runs, size_t n)
{
    uint64_t number = 0;
    int r = journal_commit(c->journal, &c->member, runs, n, &number);
    if (r < 0)
        return r;
    CHECK(c->count < NOTES_MAX, "too many commits for this test");
    c->notes[c->count].number = number;
    sum_runs(runs, n, c->notes[c->count++].sum);
    atomic_store(&c->noted, number);
    return 0;
}

static inline int commit_runs(struct client *c, size_t n)
{
    _cleanup_free_ struct map_run *runs = calloc(n, sizeof(*runs));
    for (size_t i = 0; i < n; i++)
        runs[i] = (struct map_run){.blk = rng_next(&c->rng),
                                   .n = 1 + (uint32_t)rng_below(&c->rng, 99),
                                   .state = rng_below(&c->rng, 2) ? BLOCK_PRESENT : BLOCK_ZERO};
    return try_commit(c, runs, n);
}

static inline int commit_random(struct client *c, size_t max)
{
    return commit_runs(c, 1 + rng_below(&c->rng, max));
}

/* --- what a replay gives ------------------------------------------------------------------------------------------ */

struct seen {
    struct client **clients;
    size_t n;
    size_t at[256]; /* next note of each client */
    size_t applied, foreign;
};

static inline int apply(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                        struct err *err)
{
    struct seen *s = arg;
    unsigned char sum[16];
    sum_runs(runs, n, sum);
    s->applied++;
    for (size_t k = 0; k < s->n; k++) {
        struct client *c = s->clients[k];
        if (memcmp(c->member.id, id, 16) != 0)
            continue;
        while (s->at[k] < c->count && c->notes[s->at[k]].number < number)
            s->at[k]++;
        if (s->at[k] < c->count && c->notes[s->at[k]].number == number &&
            memcmp(c->notes[s->at[k]].sum, sum, sizeof(sum)) == 0) {
            s->at[k]++;
            return 0;
        }
    }
    s->foreign++;
    return 0;
}

/* Every commit above @above of each client was seen, and nothing else. */
static inline int replay(int fd, struct client **clients, size_t n, struct seen *s, struct journal_found *found,
                         struct err *err)
{
    *s = (struct seen){.clients = clients, .n = n};
    err->msg[0] = 0;
    int r = journal_replay(fd, "", apply, s, found, err);
    assert_true(r == 0 || err->msg[0]);
    assert_int_equal(s->foreign, 0);
    return r;
}

/* --- fixture ------------------------------------------------------------------------------------------------------ */

struct rig {
    int fd; /* the file, for a look at it */
    struct journal *journal;
    struct client *clients[16];
    size_t n;
    struct err err;
};

static inline int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->fd = memfd_create("journal", MFD_CLOEXEC);
    assert_true(r->fd >= 0);
    log_set_level(LOG_LEVEL_ERROR);
    *state = r;
    return 0;
}

static inline void start_at(struct rig *r, uint64_t number)
{
    if (journal_start(dup(r->fd), "", number, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
}

static inline void start(struct rig *r, size_t clients)
{
    start_at(r, 1);
    for (size_t i = 0; i < clients; i++)
        r->clients[r->n++] = client_new(r->journal, (unsigned char)(i + 1));
}

static inline void stop(struct rig *r)
{
    for (size_t i = 0; i < r->n; i++)
        client_end(r->clients[i]);
    r->n = 0;
    journal_stop(r->journal);
    r->journal = NULL;
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    atomic_store(&sync_error, 0);
    atomic_store(&hold_syncs, false);
    stop(r);
    (void)close(r->fd);
    free(r);
    return 0;
}

static inline void write_some(struct rig *r, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++)
        assert_int_equal(commit_random(r->clients[i % r->n], 10), 0);
}

static inline void flip(struct rig *r, uint64_t off, unsigned char mask)
{
    unsigned char c;
    assert_int_equal(pread_full(r->fd, &c, 1, off), 0);
    c ^= mask;
    assert_int_equal(pwrite_full(r->fd, &c, 1, off), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
