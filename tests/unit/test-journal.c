/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal: what was committed comes back in order, syncs are shared, and areas are used again only when nobody needs them. */
#include <pthread.h>
#include <sys/stat.h>

#include "tests/unit/journal-fixture.h"

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

struct committer {
    pthread_t thread;
    struct client *client;
    _Atomic pid_t tid; /* 0 until it commits */
};

static void *one_commit(void *arg)
{
    struct committer *c = arg;
    atomic_store(&c->tid, gettid());
    int r = commit_random(c->client, 10);
    CHECK(r == 0, "a commit failed: %s", strerror(-r));
    return NULL;
}

/* True if a thread sleeps: behind its tid there is only the journal that it can wait for. */
static bool sleeps(const struct committer *c)
{
    char path[64], text[256] = "";
    if (atomic_load(&c->tid) == 0)
        return false;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)atomic_load(&c->tid));
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    const char *state = strrchr(text, ')');
    return state && state[1] == ' ' && state[2] == 'S';
}

/* Until all but the first have gathered behind its sync: they sleep at many looks in a row. */
static void await_gathering(const struct committer *c, size_t n)
{
    for (unsigned looks = 0; looks < 20; usleep(1000)) {
        size_t asleep = 0;
        for (size_t i = 1; i < n; i++)
            asleep += sleeps(&c[i]);
        looks = asleep == n - 1 ? looks + 1 : 0;
    }
}

static void test_journal_flushes_share_the_next_sync(void **state)
{
    struct rig *r = *state;
    struct journal_found found;
    struct seen s;
    struct committer t[16] = {0};
    uint64_t commits, flushes;
    start(r, 16);
    atomic_store(&is_held, false);
    atomic_store(&hold_syncs, true);
    unsigned before = atomic_load(&syncs);
    for (size_t i = 0; i < 16; i++) {
        t[i].client = r->clients[i];
        assert_int_equal(pthread_create(&t[i].thread, NULL, one_commit, &t[i]), 0);
        while (!atomic_load(&is_held))
            usleep(100);
    }
    await_gathering(t, 16);
    atomic_store(&hold_syncs, false);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(pthread_join(t[i].thread, NULL), 0);
    journal_stats(r->journal, &commits, &flushes);
    assert_int_equal(flushes, 16);
    assert_int_equal(commits, 2);
    assert_int_equal(atomic_load(&syncs) - before, commits);
    assert_int_equal(replay(r->fd, r->clients, r->n, &s, &found, &r->err), 0);
    assert_int_equal(s.applied, 16);
    assert_int_equal(found.commits, commits);
}

/* What a process wrote that was killed may not be durable; with both headers on their way a power cut could leave none. */
static void test_journal_start_makes_durable_what_is_there_before_it_writes(void **state)
{
    struct rig *r = *state;
    unsigned char before[2][JOURNAL_BLOCK], after[2][JOURNAL_BLOCK];
    struct journal *j = NULL;
    start(r, 1);
    write_some(r, 3);
    stop(r);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pread_full(r->fd, before[i], JOURNAL_BLOCK, i * AREA), 0);
    atomic_store(&sync_error, EIO);
    _cleanup_close_ int fd = dup(r->fd);
    assert_int_equal(journal_start(fd, "", 4, AREA, &j, &r->err), -EIO);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pread_full(r->fd, after[i], JOURNAL_BLOCK, i * AREA), 0);
        assert_memory_equal(after[i], before[i], JOURNAL_BLOCK);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_journal_gives_back_all_commits_in_order),
        TEST(test_journal_takes_the_largest_entry),
        TEST(test_journal_flushes_share_the_next_sync),
        TEST(test_journal_start_makes_durable_what_is_there_before_it_writes),
        TEST(test_journal_changes_areas_under_load_and_loses_nothing),
        TEST(test_journal_without_room_refuses_and_goes_on_when_there_is_room),
        TEST(test_journal_goes_on_without_a_member_that_failed),
        TEST(test_journal_that_is_left_waits_for_nobody),
        TEST(test_journal_started_again_is_empty_and_goes_on_counting),
        TEST(test_journal_with_a_torn_header_is_made_anew),
        TEST(test_journal_of_another_size_is_made_anew),
        TEST(test_journal_left_by_complete_members_is_empty),
        TEST(test_journal_left_by_incomplete_members_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
