/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The durable side of a kept overlay: what a flush returned for is there after a power cut, and an error is never forgotten. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "core/blk.h"
#include "core/durable.h"
#include "core/journal-file.h"
#include "core/log.h"
#include "core/mapfile.h"
#include "core/recover.h"
#include "core/util.h"

#define BLOCKS 100000ULL
#define DISK   (BLOCKS * BLOCK_BYTES)

/* --- syncs that are counted and fail by the file ------------------------------------------------------------------ */

static _Atomic unsigned syncs;
static _Atomic int failing_fd = -1;

int fdatasync(int fd);
int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    if (fd == atomic_load(&failing_fd)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

struct rig {
    char path[64];
    int overlays_fd, dir_fd, journal_fd, data_fd;
    struct map_stamp stamp;
    struct journal *journal;
    struct livemap *live;
    struct durable *durable;
    struct err err;
};

static struct livemap *new_map(const struct rig *r)
{
    struct livemap *m = NULL;
    assert_int_equal(livemap_create(memfd_create("map", MFD_CLOEXEC), &r->stamp, &m, NULL), 0);
    return m;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-durable-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->overlays_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(r->overlays_fd, "a", 0700), 0);
    r->dir_fd = openat(r->overlays_fd, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->journal_fd = memfd_create("journal", MFD_CLOEXEC);
    r->data_fd = memfd_create("data", MFD_CLOEXEC);
    r->stamp = (struct map_stamp){.overlay_id = {1, 2, 3}, .base_identity = "base", .size_bytes = DISK};
    r->live = new_map(r);
    log_set_level(LOG_LEVEL_ERROR);
    if (journal_start(dup(r->journal_fd), "", 1, JOURNAL_AREA_MIN, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    if (durable_create(r->dir_fd, "0.map", &r->stamp, r->journal, &r->durable, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    atomic_store(&failing_fd, -1);
    durable_destroy(r->durable);
    journal_stop(r->journal);
    livemap_close(r->live);
    (void)unlinkat(r->dir_fd, "0.map", 0); /* not all tests make one */
    assert_int_equal(unlinkat(r->overlays_fd, "a", AT_REMOVEDIR), 0);
    assert_int_equal(rmdir(r->path), 0);
    const int fds[] = {r->overlays_fd, r->dir_fd, r->journal_fd, r->data_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        (void)close(fds[i]);
    free(r);
    return 0;
}

static void set(struct rig *r, uint64_t blk, uint64_t n, enum block_state state)
{
    assert_int_equal(livemap_prepare(r->live, blk, n, state), 0);
    if (state == BLOCK_PRESENT)
        livemap_set_present(r->live, blk, n);
    else
        livemap_set_zero(r->live, blk, n);
}

static int flush(struct rig *r)
{
    return durable_flush(r->durable, r->live, r->data_fd);
}

/* The map that a power cut at this moment leaves, after recovery. */
static struct livemap *after_cut(const struct rig *r)
{
    struct recovery found;
    struct mapfile_info info;
    struct err err;
    struct livemap *m = new_map(r);
    if (recover(r->overlays_fd, r->journal_fd, "", &found, &err) < 0)
        fail_msg("%s", err.msg);
    if (mapfile_load(r->dir_fd, "0.map", m, &info, &err) < 0)
        fail_msg("%s", err.msg);
    return m;
}

static void assert_same_maps(const struct livemap *a, const struct livemap *b)
{
    for (uint64_t blk = 0; blk < BLOCKS;) {
        enum block_state x, y;
        uint64_t n = livemap_run(a, blk, BLOCKS - blk, &x);
        n = livemap_run(b, blk, n, &y);
        assert_int_equal(x, y);
        blk += n;
    }
}

static void assert_durable(const struct rig *r)
{
    struct livemap *m = after_cut(r);
    assert_same_maps(r->live, m);
    livemap_close(m);
}

static enum block_state state_after_cut(const struct rig *r, uint64_t blk)
{
    struct livemap *m = after_cut(r);
    enum block_state s;
    assert_int_equal(livemap_run(m, blk, 1, &s), 1);
    livemap_close(m);
    return s;
}

static uint64_t commits(const struct rig *r)
{
    uint64_t n, flushes;
    journal_stats(r->journal, &n, &flushes);
    return n;
}

/* --- flushes ------------------------------------------------------------------------------------------------------ */

static void test_durable_flush_survives_a_power_cut(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    set(r, 4, 1, BLOCK_ZERO);
    set(r, LEAF_BLOCKS - 2, 4, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    assert_durable(r);
    set(r, 4, 1, BLOCK_PRESENT);
    set(r, LEAF_BLOCKS, LEAF_BLOCKS, BLOCK_ZERO);
    set(r, BLOCKS - 1, 1, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    assert_durable(r);
    assert_int_equal(commits(r), 2);
}

static void test_durable_holds_nothing_that_was_not_flushed(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    set(r, 100, 5, BLOCK_PRESENT);
    assert_int_equal(state_after_cut(r, 100), BLOCK_ABSENT);
    assert_int_equal(durable_save(r->durable), 0); /* a checkpoint by itself makes nothing durable */
    assert_int_equal(state_after_cut(r, 100), BLOCK_ABSENT);
}

static void test_durable_flush_without_changes_syncs_data_and_no_more(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    unsigned before = atomic_load(&syncs);
    set(r, 4, 1, BLOCK_PRESENT); /* written in place */
    assert_int_equal(flush(r), 0);
    assert_int_equal(atomic_load(&syncs) - before, 1);
    assert_int_equal(commits(r), 1);
}

static void test_durable_flush_of_very_many_runs_replaces_the_map_file(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    for (uint64_t blk = 0; blk < 2 * JOURNAL_RUNS_MAX + 4; blk += 2)
        set(r, blk, 1, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    assert_int_equal(commits(r), 0);
    assert_durable(r);
}

static void test_durable_without_a_journal_replaces_the_map_file(void **state)
{
    struct rig *r = *state;
    durable_destroy(r->durable);
    assert_int_equal(durable_create(r->dir_fd, "0.map", &r->stamp, NULL, &r->durable, &r->err), 0);
    for (uint64_t blk = 0; blk < 9; blk += 2) {
        set(r, blk, 1, BLOCK_PRESENT);
        assert_int_equal(flush(r), 0);
        assert_durable(r);
    }
}

static void test_durable_survives_many_changes_of_areas(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    for (uint64_t i = 0; i < 1500; i++) {
        set(r, i * 61 % BLOCKS, 1, i % 3 ? BLOCK_PRESENT : BLOCK_ZERO);
        assert_int_equal(flush(r), 0);
    }
    assert_durable(r);
}

/* --- whose commits count ------------------------------------------------------------------------------------------ */

/* Volatile for a while, with the same id. */
static void test_durable_made_anew_does_not_get_older_commits(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    durable_abandon(r->durable);
    durable_destroy(r->durable);
    assert_int_equal(unlinkat(r->dir_fd, "0.map", 0), 0);
    assert_int_equal(durable_create(r->dir_fd, "0.map", &r->stamp, r->journal, &r->durable, &r->err), 0);
    assert_int_equal(durable_save(r->durable), 0);
    assert_int_equal(state_after_cut(r, 3), BLOCK_ABSENT);
}

/* From a backup, or from another root. */
static void test_durable_with_a_number_above_the_journals_keeps_its_flushes(void **state)
{
    struct rig *r = *state;
    _cleanup_free_ void *buf = NULL;
    size_t len;
    assert_int_equal(mapfile_encode(r->live, 1000000, &buf, &len), 0);
    assert_int_equal(mapfile_write(r->dir_fd, "0.map", buf, len), 0);
    durable_destroy(r->durable);
    assert_int_equal(durable_load(r->dir_fd, "0.map", &r->stamp, r->journal, &r->durable, &r->err), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    assert_durable(r);
}

static void test_durable_refuses_a_map_file_that_knows_more_than_the_live_map(void **state)
{
    struct rig *r = *state;
    set(r, 3, 5, BLOCK_PRESENT);
    assert_int_equal(flush(r), 0);
    livemap_close(r->live);
    r->live = new_map(r);
    livemap_mark_dirty(r->live);
    assert_int_equal(flush(r), -EBADMSG);
}

static void test_durable_that_is_abandoned_writes_no_map_file(void **state)
{
    struct rig *r = *state;
    durable_abandon(r->durable);
    assert_int_equal(durable_save(r->durable), -ESTALE);
    assert_int_equal(faccessat(r->dir_fd, "0.map", F_OK, 0), -1);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

static void test_durable_flush_fails_for_ever_after_a_failed_sync_of_data(void **state)
{
    struct rig *r = *state;
    assert_int_equal(durable_save(r->durable), 0);
    set(r, 3, 5, BLOCK_PRESENT);
    atomic_store(&failing_fd, r->data_fd);
    assert_int_equal(flush(r), -EIO);
    atomic_store(&failing_fd, -1);
    assert_int_equal(flush(r), -EIO);
    assert_int_equal(state_after_cut(r, 3), BLOCK_ABSENT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_durable_flush_survives_a_power_cut),
        TEST(test_durable_holds_nothing_that_was_not_flushed),
        TEST(test_durable_flush_without_changes_syncs_data_and_no_more),
        TEST(test_durable_flush_of_very_many_runs_replaces_the_map_file),
        TEST(test_durable_without_a_journal_replaces_the_map_file),
        TEST(test_durable_survives_many_changes_of_areas),
        TEST(test_durable_made_anew_does_not_get_older_commits),
        TEST(test_durable_with_a_number_above_the_journals_keeps_its_flushes),
        TEST(test_durable_refuses_a_map_file_that_knows_more_than_the_live_map),
        TEST(test_durable_that_is_abandoned_writes_no_map_file),
        TEST(test_durable_flush_fails_for_ever_after_a_failed_sync_of_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
