/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal: what was committed comes back in order, syncs are shared, areas are used again only when nobody needs them, and
 * damage is told. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "core/bytes.h"
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

static int checkpoint(void *arg, uint64_t *ret_number)
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

static struct client *client_new(struct journal *j, unsigned char id)
{
    struct client *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    c->member = (struct journal_member){.checkpoint = checkpoint, .arg = c, .id = {id, 7, 7}};
    c->journal = j;
    c->rng.state = check_seed() + id;
    journal_join(j, &c->member);
    return c;
}

static void client_end(struct client *c)
{
    journal_leave(c->journal, &c->member);
    free(c);
}

static void sum_runs(const struct map_run *runs, size_t n, unsigned char ret[16])
{
    hash128(runs, n * sizeof(*runs), ret);
}

static int try_commit(struct client *c, const struct map_run *runs, size_t n)
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

static int commit_runs(struct client *c, size_t n)
{
    _cleanup_free_ struct map_run *runs = calloc(n, sizeof(*runs));
    for (size_t i = 0; i < n; i++)
        runs[i] = (struct map_run){.blk = rng_next(&c->rng),
                                   .n = 1 + (uint32_t)rng_below(&c->rng, 99),
                                   .state = rng_below(&c->rng, 2) ? BLOCK_PRESENT : BLOCK_ZERO};
    return try_commit(c, runs, n);
}

static int commit_random(struct client *c, size_t max)
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

static int apply(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
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
static int replay(int fd, struct client **clients, size_t n, struct seen *s, struct journal_found *found,
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

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->fd = memfd_create("journal", MFD_CLOEXEC);
    assert_true(r->fd >= 0);
    log_set_level(LOG_LEVEL_ERROR);
    *state = r;
    return 0;
}

static void start_at(struct rig *r, uint64_t number)
{
    if (journal_start(dup(r->fd), "", number, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
}

static void start(struct rig *r, size_t clients)
{
    start_at(r, 1);
    for (size_t i = 0; i < clients; i++)
        r->clients[r->n++] = client_new(r->journal, (unsigned char)(i + 1));
}

static void stop(struct rig *r)
{
    for (size_t i = 0; i < r->n; i++)
        client_end(r->clients[i]);
    r->n = 0;
    journal_stop(r->journal);
    r->journal = NULL;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    atomic_store(&sync_error, 0);
    atomic_store(&hold_syncs, false);
    stop(r);
    (void)close(r->fd);
    free(r);
    return 0;
}

static void write_some(struct rig *r, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++)
        assert_int_equal(commit_random(r->clients[i % r->n], 10), 0);
}

static void flip(struct rig *r, uint64_t off, unsigned char mask)
{
    unsigned char c;
    assert_int_equal(pread_full(r->fd, &c, 1, off), 0);
    c ^= mask;
    assert_int_equal(pwrite_full(r->fd, &c, 1, off), 0);
}

/* --- order and sharing -------------------------------------------------------------------------------------------- */

static void test_journal_gives_back_all_commits_in_order(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 3);
    write_some(r, 100);
    assert_int_equal(replay(r->fd, r->clients, r->n, &s, &found, &r->err), 0);
    assert_int_equal(s.applied, 100);
    assert_int_equal(found.commits, 100);
    assert_int_equal(found.last_number, 100);
    assert_int_equal(journal_last(r->journal), 100);
}

static void test_journal_takes_the_largest_entry(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 1);
    _cleanup_free_ struct map_run *runs = calloc(JOURNAL_RUNS_MAX, sizeof(*runs));
    for (size_t i = 0; i < JOURNAL_RUNS_MAX; i++)
        runs[i] = (struct map_run){.blk = 3 * i, .n = 2, .state = BLOCK_PRESENT};
    for (int i = 0; i < 4; i++)
        assert_int_equal(try_commit(r->clients[0], runs, JOURNAL_RUNS_MAX), 0);
    assert_int_equal(replay(r->fd, r->clients, r->n, &s, &found, &r->err), 0);
    assert_int_equal(found.last_number, 4);
}

static void *one_commit(void *arg)
{
    int r = commit_random(arg, 10);
    CHECK(r == 0, "a commit failed: %s", strerror(-r));
    return NULL;
}

static void test_journal_flushes_share_the_next_sync(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    pthread_t t[16];
    uint64_t commits, flushes;
    start(r, 16);
    atomic_store(&is_held, false);
    atomic_store(&hold_syncs, true);
    unsigned before = atomic_load(&syncs);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, one_commit, r->clients[i]), 0);
        while (!atomic_load(&is_held))
            usleep(100);
    }
    usleep(100000); /* all but the first gather meanwhile */
    atomic_store(&hold_syncs, false);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    journal_stats(r->journal, &commits, &flushes);
    assert_int_equal(flushes, 16);
    assert_in_range(commits, 2, 4); /* two where the machine is not very busy */
    assert_int_equal(atomic_load(&syncs) - before, commits);
    assert_int_equal(replay(r->fd, r->clients, r->n, &s, &found, &r->err), 0);
    assert_int_equal(s.applied, 16);
    assert_int_equal(found.commits, commits);
}

/* --- areas -------------------------------------------------------------------------------------------------------- */

static void *many_commits(void *arg)
{
    for (unsigned i = 0; i < 300 * check_stress(); i++) {
        int r = commit_random(arg, i % 50 == 0 ? JOURNAL_RUNS_MAX : 600);
        CHECK(r == 0, "a commit failed: %s", strerror(-r));
    }
    return NULL;
}

/* Of each client, every commit that its map file lacks. */
static void assert_nothing_is_missing(struct rig *r, int fd)
{
    struct journal_found found;
    struct seen s;
    uint64_t mapfile[16], want = 0;
    for (size_t i = 0; i < r->n; i++)
        mapfile[i] = atomic_load(&r->clients[i]->mapfile);
    assert_int_equal(replay(fd, r->clients, r->n, &s, &found, &r->err), 0);
    for (size_t i = 0; i < r->n; i++) {
        const struct client *c = r->clients[i];
        want = MAX(want, c->notes[c->count - 1].number);
        assert_true(s.at[i] == c->count || c->notes[c->count - 1].number <= mapfile[i]);
    }
    assert_true(found.last_number == want);
}

static void test_journal_changes_areas_under_load_and_loses_nothing(void **state)
{
    struct rig *r = *state;
    pthread_t t[6];
    start(r, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many_commits, r->clients[i]), 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_nothing_is_missing(r, r->fd);
    assert_true(atomic_load(&r->clients[0]->checkpoints) > 2);
}

/* Runs of one client fill area after area, until @until commits were made or one fails. All are of one size: where one found no room,
 * the next one finds none either. */
static int fill(struct client *c, unsigned until)
{
    int r = 0;
    for (unsigned i = 0; i < until && r == 0; i++)
        r = commit_runs(c, JOURNAL_RUNS_MAX);
    return r;
}

static void test_journal_without_room_refuses_and_goes_on_when_there_is_room(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    assert_int_equal(commit_random(r->clients[1], 10), 0); /* its one commit holds the area */
    atomic_store(&r->clients[1]->fail, -ENOSPC);
    assert_int_equal(fill(r->clients[0], 30), -ENOSPC);
    uint64_t last = journal_last(r->journal);
    assert_int_equal(fill(r->clients[0], 1), -ENOSPC);
    assert_true(journal_last(r->journal) == last);
    assert_int_equal(replay(r->fd, r->clients, r->n, &s, &found, &r->err), 0);
    assert_int_equal(s.at[1], 1); /* it is there still */
    atomic_store(&r->clients[1]->fail, 0);
    while (fill(r->clients[0], 30) == -ENOSPC)
        usleep(10000);
    assert_nothing_is_missing(r, r->fd);
}

static void test_journal_goes_on_without_a_member_that_failed(void **state)
{
    struct rig *r = *state;
    start(r, 2);
    assert_int_equal(commit_random(r->clients[1], 10), 0);
    atomic_store(&r->clients[1]->fail, -EIO);
    assert_int_equal(fill(r->clients[0], 30), 0);
}

static void test_journal_that_is_left_waits_for_nobody(void **state)
{
    struct rig *r = *state;
    start(r, 2);
    assert_int_equal(commit_random(r->clients[1], 10), 0);
    client_end(r->clients[1]);
    r->n = 1;
    assert_int_equal(fill(r->clients[0], 30), 0);
}

/* --- starting anew ------------------------------------------------------------------------------------------------ */

static void test_journal_started_again_is_empty_and_goes_on_counting(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    assert_int_equal(fill(r->clients[0], 9), 0); /* into the other area */
    stop(r);
    start_at(r, 1000);
    assert_int_equal(replay(r->fd, NULL, 0, &s, &found, &r->err), 0);
    assert_int_equal(found.commits, 0);
    r->clients[r->n++] = client_new(r->journal, 9);
    assert_int_equal(commit_random(r->clients[0], 5), 0);
    assert_int_equal(r->clients[0]->notes[0].number, 1000);
    assert_int_equal(replay(r->fd, r->clients, 1, &s, &found, &r->err), 0);
    assert_int_equal(s.applied, 1);
}

static void test_journal_with_a_torn_header_is_made_anew(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    for (unsigned area = 0; area < 2; area++) {
        start(r, 1);
        write_some(r, 3);
        stop(r);
        flip(r, area * AREA + 20, 1);
        start_at(r, 50);
        assert_int_equal(replay(r->fd, NULL, 0, &s, &found, &r->err), 0);
        assert_int_equal(found.commits, 0);
        stop(r);
    }
}

static void test_journal_of_another_size_is_made_anew(void **state)
{
    struct rig *r = *state;
    struct stat st;
    start(r, 1);
    write_some(r, 3);
    stop(r);
    assert_int_equal(journal_start(dup(r->fd), "", 9, AREA + 3 * JOURNAL_BLOCK, &r->journal, &r->err), 0);
    assert_int_equal(fstat(r->fd, &st), 0);
    assert_int_equal(st.st_size, 2 * (AREA + 3 * JOURNAL_BLOCK));
    r->clients[r->n++] = client_new(r->journal, 1);
    write_some(r, 3);
    assert_nothing_is_missing(r, r->fd);
}

static void test_journal_left_by_complete_members_is_empty(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    write_some(r, 6);
    for (size_t i = 0; i < 2; i++)
        journal_saved(r->journal, &r->clients[i]->member, journal_last(r->journal));
    stop(r);
    assert_int_equal(replay(r->fd, NULL, 0, &s, &found, &r->err), 0);
    assert_int_equal(found.commits, 0);
}

static void test_journal_left_by_incomplete_members_is_kept(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    write_some(r, 6);
    journal_saved(r->journal, &r->clients[0]->member, journal_last(r->journal));
    journal_leave(r->journal, &r->clients[0]->member);
    journal_leave(r->journal, &r->clients[1]->member);
    r->n = 0;
    stop(r);
    assert_int_equal(replay(r->fd, r->clients, 2, &s, &found, &r->err), 0);
    assert_int_equal(found.commits, 6);
    free(r->clients[0]);
    free(r->clients[1]);
}

/* --- damage ------------------------------------------------------------------------------------------------------- */

static void test_journal_ignores_a_torn_last_commit(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 1);
    write_some(r, 5);
    for (unsigned off = 0; off < 128; off += 5) {
        flip(r, 5 * JOURNAL_BLOCK + off, 0x10);
        assert_int_equal(replay(r->fd, r->clients, 1, &s, &found, &r->err), 0);
        assert_int_equal(found.last_number, 4);
        flip(r, 5 * JOURNAL_BLOCK + off, 0x10);
    }
}

static void test_journal_with_damage_before_a_good_commit_is_refused(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 1);
    write_some(r, 5);
    for (unsigned commit = 1; commit < 5; commit++) {
        flip(r, commit * JOURNAL_BLOCK + 40, 0x10);
        assert_int_equal(replay(r->fd, r->clients, 1, &s, &found, &r->err), -EBADMSG);
        assert_non_null(strstr(r->err.msg, "journal"));
        flip(r, commit * JOURNAL_BLOCK + 40, 0x10);
    }
}

/* Of each block the bytes that mean something, and some of the zeros behind them. */
static bool is_worth_a_flip(uint64_t off)
{
    uint64_t at = off % JOURNAL_BLOCK;
    return at < 150 || at >= JOURNAL_BLOCK - 16 || at % 61 == 0;
}

static void test_journal_with_any_flipped_byte_gives_no_foreign_runs(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    write_some(r, 4);
    for (uint64_t off = 0; off < 5 * JOURNAL_BLOCK; off++) {
        if (!is_worth_a_flip(off))
            continue;
        flip(r, off, (unsigned char)(1U << off % 8));
        int e = replay(r->fd, r->clients, r->n, &s, &found, &r->err);
        bool is_version = off >= 8 && off < 16, is_last = off >= 4 * JOURNAL_BLOCK;
        if (off < JOURNAL_BLOCK)
            assert_int_equal(e, is_version ? -EOPNOTSUPP : 0);
        else
            assert_int_equal(e, is_last ? 0 : -EBADMSG);
        if (e == 0)
            assert_int_equal(s.applied, is_last ? 3 : 4); /* a header alone loses nothing */
        flip(r, off, (unsigned char)(1U << off % 8));
    }
}

static void test_journal_cut_at_any_length_gives_no_foreign_runs(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 2);
    write_some(r, 4);
    for (uint64_t len = 0; len < 2 * AREA; len += len < 6 * JOURNAL_BLOCK ? 500 : 100000) {
        int fd = memfd_create("cut", MFD_CLOEXEC);
        _cleanup_free_ char *buf = malloc(len + 1);
        assert_int_equal(pread_full(r->fd, buf, len, 0), 0);
        assert_int_equal(pwrite_full(fd, buf, len, 0), 0);
        int e = replay(fd, r->clients, r->n, &s, &found, &r->err);
        assert_int_equal(e, len < JOURNAL_BLOCK ? 0 : -EBADMSG);
        (void)close(fd);
    }
}

static void test_journal_that_is_a_foreign_file_is_refused(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    char text[16384];
    memset(text, 'x', sizeof(text));
    assert_int_equal(pwrite_full(r->fd, text, sizeof(text), 0), 0);
    assert_int_equal(replay(r->fd, NULL, 0, &s, &found, &r->err), -EBADMSG);
}

static void test_journal_of_a_newer_version_is_refused(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    start(r, 1);
    write_some(r, 2);
    for (unsigned off = 8; off <= 12; off += 4) { /* version, features */
        flip(r, off, 2);
        assert_int_equal(replay(r->fd, r->clients, 1, &s, &found, &r->err), -EOPNOTSUPP);
        flip(r, off, 2);
    }
}

static void test_journal_fails_for_ever_after_a_failed_sync(void **state)
{
    struct rig *r = *state;
    start(r, 2);
    write_some(r, 4);
    atomic_store(&sync_error, EIO);
    assert_int_equal(commit_random(r->clients[0], 3), -EIO);
    atomic_store(&sync_error, 0);
    assert_int_equal(commit_random(r->clients[0], 3), -EIO);
    assert_int_equal(commit_random(r->clients[1], 3), -EIO);
}

static void *expect_eio(void *arg)
{
    int r = commit_random(arg, 3);
    CHECK(r == -EIO, "a commit that was not synced returned %d", r);
    return NULL;
}

static void test_journal_tells_all_who_shared_a_failed_sync(void **state)
{
    struct rig *r = *state;
    pthread_t t[8];
    start(r, 8);
    atomic_store(&is_held, false);
    atomic_store(&hold_syncs, true);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, expect_eio, r->clients[i]), 0);
        while (!atomic_load(&is_held))
            usleep(100);
    }
    atomic_store(&sync_error, EIO);
    atomic_store(&hold_syncs, false);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* --- the golden file ---------------------------------------------------------------------------------------------- */

/* Runs of the commits in tests/data/journal-v*.bin, as make-journal-v*.py says; there is a file for each version. */
static int apply_golden(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                        struct err *err)
{
    char *text = arg;
    size_t at = strlen(text);
    at += (size_t)snprintf(text + at, 1000 - at, "%llu %02x:", (unsigned long long)number, id[15]);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, 1000 - at, " %llu+%u%c", (unsigned long long)runs[i].blk, runs[i].n,
                               runs[i].state == BLOCK_PRESENT ? 'p' : 'z');
    (void)snprintf(text + at, 1000 - at, "\n");
    return 0;
}

#define GOLDEN_ROOT "0badcafe" /* in version 2 */

static char *read_golden(const char *name)
{
    const char *dir = getenv("DISKGATE_TEST_DATA");
    int dirfd = open(dir ? dir : "tests/data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *golden;
    size_t len;
    assert_true(dirfd >= 0);
    assert_int_equal(file_read(dirfd, name, 1 << 20, &golden, &len), 0);
    (void)close(dirfd);
    assert_int_equal(len, 2 * 16384);
    return golden;
}

/* Make @fd the journal that the golden file @name is the beginning of. */
static void put_golden(int fd, const char *name)
{
    _cleanup_free_ char *golden = read_golden(name);
    /* The file in the tree is one area's beginning and the other's; the rest of each is zeros. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, 2 * (off_t)AREA), 0);
    assert_int_equal(pwrite_full(fd, golden, 16384, 0), 0);
    assert_int_equal(pwrite_full(fd, golden + 16384, 16384, AREA), 0);
}

static void assert_golden_is_read(struct rig *r, const char *root)
{
    struct journal_found found;
    char text[1000] = "";
    if (journal_replay(r->fd, root, apply_golden, text, &found, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    assert_string_equal(text, "41 01: 7+3p 100+1z\n"
                              "41 02: 0+32768z\n"
                              "42 01: 9+1z\n"
                              "43 02: 4294967296+4294967295p\n");
    assert_int_equal(found.commits, 3);
    assert_int_equal(found.last_number, 43);
    assert_int_equal(found.area[0].commits, 1);
    assert_int_equal(found.area[1].commits, 2);
    assert_int_equal(found.area[0].generation, 7);
    assert_int_equal(found.area[1].generation, 6);
}

static void test_journal_golden_files_are_read_as_the_page_says(void **state)
{
    struct rig *r = *state;
    put_golden(r->fd, "journal-v1.bin");
    assert_golden_is_read(r, "");
    assert_golden_is_read(r, GOLDEN_ROOT); /* it tells no root, so it is taken for ours */
    put_golden(r->fd, "journal-v2.bin");
    assert_golden_is_read(r, "");
    assert_golden_is_read(r, GOLDEN_ROOT);
}

static int apply_nothing(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                         struct err *err)
{
    (void)arg, (void)id, (void)number, (void)runs, (void)n, (void)err;
    fail_msg("a commit of another root was applied");
    return -EINVAL;
}

static void assert_is_foreign(struct rig *r, const char *root)
{
    struct journal_found found;
    r->err.msg[0] = 0;
    assert_int_equal(journal_replay(r->fd, root, apply_nothing, NULL, &found, &r->err), -EEXIST);
    assert_non_null(strstr(r->err.msg, GOLDEN_ROOT));
    assert_non_null(strstr(r->err.msg, root));
    assert_int_equal(found.commits, 0);
    assert_true(strcmp(found.area[0].root, GOLDEN_ROOT) == 0 || strcmp(found.area[1].root, GOLDEN_ROOT) == 0);
}

static void test_journal_of_another_root_is_refused(void **state)
{
    struct rig *r = *state;
    put_golden(r->fd, "journal-v2.bin");
    assert_is_foreign(r, "0badcaff");
    flip(r, 16, 1); /* the one header is torn, the other one tells */
    assert_is_foreign(r, "0badcaff");
    flip(r, 16, 1);
    flip(r, AREA + 16, 1);
    assert_is_foreign(r, "0badcaff");
}

/* Also without commits: ours may have been moved away for it. */
static void test_journal_of_another_root_is_refused_when_it_is_empty(void **state)
{
    struct rig *r = *state;
    if (journal_start(dup(r->fd), GOLDEN_ROOT, 1, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    stop(r);
    assert_is_foreign(r, "12345678");
}

/* A start gives an old journal the newest version and our root, one header after the other. */
static void test_journal_of_version_1_becomes_ours(void **state)
{
    struct rig *r = *state;
    unsigned char block[JOURNAL_BLOCK];
    struct journal_found found;
    struct seen s;
    struct area_head h = {.generation = 8, .area_bytes = AREA, .index = 1, .root = GOLDEN_ROOT};
    put_golden(r->fd, "journal-v1.bin");
    area_head_encode(&h, block);
    assert_int_equal(pwrite_full(r->fd, block, sizeof(block), AREA), 0); /* a power cut between the two */
    s = (struct seen){.n = 0};
    int e = journal_replay(r->fd, GOLDEN_ROOT, apply, &s, &found, &r->err);
    assert_int_equal(e, 0);
    assert_int_equal(found.last_number, 43);
    assert_int_equal(found.area[0].version, 1);
    assert_int_equal(found.area[1].version, 2);
    put_golden(r->fd, "journal-v1.bin");
    if (journal_start(dup(r->fd), GOLDEN_ROOT, 44, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    assert_int_equal(journal_replay(r->fd, GOLDEN_ROOT, apply_nothing, NULL, &found, &r->err), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(found.area[i].version, 2);
        assert_string_equal(found.area[i].root, GOLDEN_ROOT);
        assert_true(found.area[i].generation > 7);
    }
    assert_is_foreign(r, "0badcaff");
}

static void test_journal_writes_what_the_golden_file_has(void **state)
{
    _cleanup_free_ char *golden = read_golden("journal-v2.bin");
    unsigned char block[JOURNAL_BLOCK] = {0}, id[16] = {0};
    area_head_encode(&(struct area_head){.generation = 6, .area_bytes = AREA, .index = 1, .root = GOLDEN_ROOT}, block);
    assert_memory_equal(block, golden + 16384, sizeof(block));
    memset(block, 0, sizeof(block));
    id[15] = 1;
    entry_encode(block + COMMIT_HEAD_BYTES, id, (struct map_run[]){{7, 3, BLOCK_PRESENT}, {100, 1, BLOCK_ZERO}}, 2);
    id[15] = 2;
    entry_encode(block + COMMIT_HEAD_BYTES + ENTRY_HEAD_BYTES + 2 * RUN_BYTES, id,
                 (struct map_run[]){{0, 32768, BLOCK_ZERO}}, 1);
    commit_seal(&(struct commit_head){.generation = 6, .number = 41, .bytes = JOURNAL_BLOCK, .entries = 2}, block);
    assert_memory_equal(block, golden + 16384 + JOURNAL_BLOCK, sizeof(block));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_journal_gives_back_all_commits_in_order),
        TEST(test_journal_takes_the_largest_entry),
        TEST(test_journal_flushes_share_the_next_sync),
        TEST(test_journal_changes_areas_under_load_and_loses_nothing),
        TEST(test_journal_without_room_refuses_and_goes_on_when_there_is_room),
        TEST(test_journal_goes_on_without_a_member_that_failed),
        TEST(test_journal_that_is_left_waits_for_nobody),
        TEST(test_journal_started_again_is_empty_and_goes_on_counting),
        TEST(test_journal_with_a_torn_header_is_made_anew),
        TEST(test_journal_of_another_size_is_made_anew),
        TEST(test_journal_left_by_complete_members_is_empty),
        TEST(test_journal_left_by_incomplete_members_is_kept),
        TEST(test_journal_ignores_a_torn_last_commit),
        TEST(test_journal_with_damage_before_a_good_commit_is_refused),
        TEST(test_journal_with_any_flipped_byte_gives_no_foreign_runs),
        TEST(test_journal_cut_at_any_length_gives_no_foreign_runs),
        TEST(test_journal_that_is_a_foreign_file_is_refused),
        TEST(test_journal_of_a_newer_version_is_refused),
        TEST(test_journal_fails_for_ever_after_a_failed_sync),
        TEST(test_journal_tells_all_who_shared_a_failed_sync),
        TEST(test_journal_golden_files_are_read_as_the_page_says),
        TEST(test_journal_of_another_root_is_refused),
        TEST(test_journal_of_another_root_is_refused_when_it_is_empty),
        TEST(test_journal_of_version_1_becomes_ours),
        cmocka_unit_test(test_journal_writes_what_the_golden_file_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
