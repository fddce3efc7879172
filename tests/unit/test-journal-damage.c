/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A journal that is torn, damaged, cut, foreign or newer is told from a good one, and a failed sync is told to all whom it concerns. */
#include <pthread.h>

#include "tests/unit/journal-fixture.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_journal_ignores_a_torn_last_commit),
        TEST(test_journal_with_damage_before_a_good_commit_is_refused),
        TEST(test_journal_with_any_flipped_byte_gives_no_foreign_runs),
        TEST(test_journal_cut_at_any_length_gives_no_foreign_runs),
        TEST(test_journal_that_is_a_foreign_file_is_refused),
        TEST(test_journal_of_a_newer_version_is_refused),
        TEST(test_journal_fails_for_ever_after_a_failed_sync),
        TEST(test_journal_tells_all_who_shared_a_failed_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
