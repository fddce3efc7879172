/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM write cache: volatile overlays with blocks in a tmpfs, under the random checker while the pool's thread spills them.
 *
 * The pools are so small that all three things happen all the time: blocks go to RAM, are spilled, and find no room. A crash leaves the
 * overlay open for ever and stops the thread of its pool, as the death of the process would.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "core/cow.h"
#include "core/overlay.h"
#include "core/ramfile.h"
#include "core/util.h"
#include "tests/unit/fault-blk.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (2 * LEAF_BYTES + 3 * BLOCK_BYTES + 3 * SECTOR_BYTES)
#define DATA       (DISK - 5 * SECTOR_BYTES - 100)
#define ORPHANS    256

static struct overlay *orphans[ORPHANS];
static struct ram_pool *orphan_pools[ORPHANS];
static unsigned orphan_count;

struct files {
    char path[64], ram_path[64];
    struct overlay_place place;
    struct map_stamp stamp;
    bool is_kept;
    uint64_t limit_bytes, client_bytes;
    struct blk *base;
    struct overlay *overlay;
};

static void open_pool(struct files *f)
{
    f->place.ram_pool = ram_pool_create();
    assert_non_null(f->place.ram_pool);
    ram_pool_set_limits(f->place.ram_pool, f->limit_bytes, f->client_bytes);
    assert_int_equal(ram_pool_start(f->place.ram_pool), 0);
}

static void close_pool(struct files *f)
{
    ram_pool_stop(f->place.ram_pool);
    ram_pool_destroy(f->place.ram_pool);
}

static int try_open(struct files *f, struct err *err)
{
    char found[UUID_LEN + 1];
    return overlay_open(&f->place, &f->stamp, f->is_kept, false, f->base, &f->overlay, found, err);
}

static void open_overlay(struct files *f)
{
    struct err err = {""};
    CHECK(try_open(f, &err) == 0, "overlay_open: %s", err.msg);
}

static void crash(struct files *f)
{
    ram_pool_stop(f->place.ram_pool);
    CHECK(orphan_count < ORPHANS, "too many crashes");
    orphan_pools[orphan_count] = f->place.ram_pool;
    orphans[orphan_count++] = f->overlay;
    open_pool(f);
}

static struct blk *reopen(void *arg, bool is_crash)
{
    struct files *f = arg;
    struct err err;
    if (is_crash)
        crash(f);
    else if (overlay_close(f->overlay, &err) < 0)
        check_failed(__FILE__, __LINE__, "overlay_close: %s", err.msg);
    open_overlay(f);
    return overlay_blk(f->overlay);
}

static void make_files(struct files *f, uint64_t limit_bytes, uint64_t client_bytes)
{
    *f = (struct files){.path = "/tmp/test-ram-XXXXXX",
                        .ram_path = "/dev/shm/test-ram-XXXXXX",
                        .limit_bytes = limit_bytes,
                        .client_bytes = client_bytes};
    assert_non_null(mkdtemp(f->path));
    assert_non_null(mkdtemp(f->ram_path));
    f->place.dir_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->place.dir_fd >= 0 && mkdirat(f->place.dir_fd, "live", 0700) == 0);
    f->place.live_fd = openat(f->place.dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->place.ram_fd = open(f->ram_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->place.live_fd >= 0 && f->place.ram_fd >= 0);
    f->place.has_ram = true;
    f->place.client_id = 7;
    f->stamp = (struct map_stamp){.overlay_id = {1, 2, 3}, .base_identity = "base", .size_bytes = DISK};
    f->base = check_base_create(DISK, DATA);
    open_pool(f);
    open_overlay(f);
}

static void drop_folders(struct files *f)
{
    struct err err;
    char id[UUID_LEN + 1];
    uuid_encode(f->stamp.overlay_id, id);
    assert_int_equal(overlay_delete(&f->place, id, &err), 0);
    close_pool(f);
    assert_int_equal(unlinkat(f->place.dir_fd, "live", AT_REMOVEDIR), 0);
    (void)close(f->place.dir_fd);
    (void)close(f->place.live_fd);
    (void)close(f->place.ram_fd);
    assert_int_equal(rmdir(f->path), 0); /* so the overlay left nothing else */
    assert_int_equal(rmdir(f->ram_path), 0);
    blk_destroy(f->base);
}

static void drop_files(struct files *f)
{
    struct err err;
    assert_int_equal(overlay_close(f->overlay, &err), 0);
    drop_folders(f);
}

static void wait_for_spill(const struct files *f, uint64_t below)
{
    struct ram_stats s;
    for (int i = 0; i < 20000; i++) {
        const struct timespec pause = {.tv_nsec = 5000000};
        ram_pool_stats(f->place.ram_pool, &s);
        if (s.used_bytes < below)
            return;
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("still %llu bytes in RAM", (unsigned long long)s.used_bytes);
}

/* --- random ------------------------------------------------------------------------------------------------------ */

/* Room for a few dozen blocks: with the windows of the checker all roads are taken. */
static void test_ram_overlay_equals_memory(void **state)
{
    struct files f;
    make_files(&f, 300 * KiB, 0);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen, .arg = &f};
    check_single(&s, DATA, 6, 600);
    drop_files(&f);
}

static void test_ram_overlay_with_room_for_all_equals_memory(void **state)
{
    struct files f;
    make_files(&f, 1 * GiB, 0);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen, .arg = &f};
    check_single(&s, DATA, 4, 400);
    drop_files(&f);
}

static void test_ram_overlay_keeps_each_owners_bytes(void **state)
{
    struct files f;
    make_files(&f, 200 * KiB, 0);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen, .arg = &f};
    check_shared(&s, DATA, 4, 2500);
    drop_files(&f);
}

static void test_ram_overlay_orders_overlapping_writes(void **state)
{
    struct files f;
    make_files(&f, 200 * KiB, 0);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen, .arg = &f};
    check_overlap(&s, DATA, 6, 2000);
    drop_files(&f);
}

/* --- rules ------------------------------------------------------------------------------------------------------- */

static void write_blocks(struct files *f, uint64_t blk, unsigned n, char what)
{
    char buf[BLOCK_BYTES];
    memset(buf, what, sizeof(buf));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(blk_write(overlay_blk(f->overlay), buf, sizeof(buf), (blk + i) * BLOCK_BYTES), 0);
}

static void expect_blocks(struct files *f, uint64_t blk, unsigned n, char what)
{
    char buf[BLOCK_BYTES], want[BLOCK_BYTES];
    memset(want, what, sizeof(want));
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(blk_read(overlay_blk(f->overlay), buf, sizeof(buf), (blk + i) * BLOCK_BYTES), 0);
        assert_memory_equal(buf, want, sizeof(buf));
    }
}

static uint64_t data_bytes(const struct files *f)
{
    return overlay_bytes(f->overlay) - overlay_ram_bytes(f->overlay);
}

static void test_ram_with_room_writes_nothing_to_disk(void **state)
{
    struct files f;
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 100, 256, 'a');
    assert_int_equal(overlay_ram_bytes(f.overlay), 256 * BLOCK_BYTES);
    assert_int_equal(data_bytes(&f), 0);
    assert_int_equal(blk_zero(overlay_blk(f.overlay), 100 * BLOCK_BYTES, 64 * BLOCK_BYTES), 0);
    assert_int_equal(overlay_ram_bytes(f.overlay), 192 * BLOCK_BYTES);
    expect_blocks(&f, 100, 64, 0);
    expect_blocks(&f, 164, 192, 'a');
    drop_files(&f);
}

static void test_ram_full_goes_to_disk_and_comes_back(void **state)
{
    struct files f;
    make_files(&f, 10 * MiB, 0);
    write_blocks(&f, 0, 5000, 'b'); /* twice as much as there is room */
    wait_for_spill(&f, 7 * MiB + 1);
    struct ram_stats s;
    ram_pool_stats(f.place.ram_pool, &s);
    assert_true(s.spilled_bytes > 0 && s.error == 0);
    assert_true(data_bytes(&f) > 0);
    expect_blocks(&f, 0, 5000, 'b');
    drop_files(&f);
}

static void test_ram_quota_holds_for_one_client_only(void **state)
{
    struct files f;
    make_files(&f, 1 * GiB, 0);
    assert_int_equal(ram_pool_set_quota(f.place.ram_pool, 7, 1 * MiB), 0);
    write_blocks(&f, 0, 1000, 'c');
    assert_true(overlay_ram_bytes(f.overlay) <= 1 * MiB);
    wait_for_spill(&f, 700 * KiB);
    const struct timespec pause = {.tv_nsec = 50000000};
    (void)nanosleep(&pause, NULL); /* the thread ends its round */
    assert_int_equal(ram_pool_set_quota(f.place.ram_pool, 7, 0), 0);
    write_blocks(&f, 2000, 1000, 'd');
    assert_true(overlay_ram_bytes(f.overlay) >= 1000 * BLOCK_BYTES);
    expect_blocks(&f, 0, 1000, 'c');
    drop_files(&f);
}

static void test_ram_limit_zero_empties_memory(void **state)
{
    struct files f;
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 0, 300, 'e');
    ram_pool_set_limits(f.place.ram_pool, 0, 0);
    wait_for_spill(&f, 1);
    expect_blocks(&f, 0, 300, 'e');
    write_blocks(&f, 0, 300, 'f');
    assert_int_equal(overlay_ram_bytes(f.overlay), 0);
    expect_blocks(&f, 0, 300, 'f');
    drop_files(&f);
}

static void test_ram_of_a_dead_process_is_gone_on_with(void **state)
{
    struct files f;
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 5, 77, 'g');
    (void)reopen(&f, true);
    assert_int_equal(overlay_ram_bytes(f.overlay), 77 * BLOCK_BYTES);
    expect_blocks(&f, 5, 77, 'g');
    drop_files(&f);
}

static void test_ram_of_an_overlay_that_becomes_kept_is_on_disk(void **state)
{
    struct files f;
    struct err err = {""};
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 5, 77, 'h');
    assert_int_equal(overlay_set_kept(f.overlay, true, &err), 0);
    assert_int_equal(overlay_ram_bytes(f.overlay), 0);
    write_blocks(&f, 200, 10, 'i');
    assert_int_equal(overlay_ram_bytes(f.overlay), 0);
    expect_blocks(&f, 5, 77, 'h');
    assert_int_equal(overlay_set_kept(f.overlay, false, &err), 0);
    write_blocks(&f, 300, 10, 'j');
    assert_int_equal(overlay_ram_bytes(f.overlay), 10 * BLOCK_BYTES);
    drop_files(&f);
}

struct busy {
    struct files *f;
    uint64_t first;
    _Atomic bool must_stop;
};

static void *write_on(void *arg)
{
    struct busy *b = arg;
    _cleanup_free_ char *buf = calloc(1, MiB);
    for (uint64_t i = 0; !atomic_load(&b->must_stop); i++)
        CHECK(blk_write(overlay_blk(b->f->overlay), buf, MiB, (b->first + i % 8) * MiB) == 0, "blk_write");
    return NULL;
}

/* A flush of a kept overlay looks for nothing in memory: a block that a slow writer leaves there would be lost with the power. */
static void test_ram_is_empty_when_an_overlay_becomes_kept_under_writers(void **state)
{
    struct files f;
    struct err err;
    pthread_t threads[2];
    make_files(&f, 512 * MiB, 0);
    struct busy b[2] = {{.f = &f}, {.f = &f, .first = 8}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_on, &b[i]), 0);
    for (int i = 0; i < 40; i++) {
        const struct timespec pause = {.tv_nsec = 3000000};
        (void)nanosleep(&pause, NULL);
        assert_int_equal(overlay_set_kept(f.overlay, true, &err), 0);
        assert_int_equal(overlay_ram_bytes(f.overlay), 0);
        assert_int_equal(overlay_set_kept(f.overlay, false, &err), 0);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&b[i].must_stop, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    drop_files(&f);
}

static void test_ram_of_a_dead_process_becomes_kept(void **state)
{
    struct files f;
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 5, 77, 'k');
    f.is_kept = true;
    (void)reopen(&f, true);
    assert_int_equal(overlay_ram_bytes(f.overlay), 0);
    expect_blocks(&f, 5, 77, 'k');
    drop_files(&f);
}

/* The tmpfs was unmounted: never stale blocks from the data file. */
static void test_ram_that_was_taken_away_is_a_lost_overlay(void **state)
{
    struct files f;
    struct err err = {""};
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 5, 77, 'l');
    crash(&f);
    char name[UUID_LEN + 8], id[UUID_LEN + 1];
    uuid_encode(f.stamp.overlay_id, id);
    (void)snprintf(name, sizeof(name), "%s.ram", id);
    assert_int_equal(unlinkat(f.place.ram_fd, name, 0), 0);
    assert_int_equal(try_open(&f, &err), -EOWNERDEAD);
    assert_non_null(strstr(err.msg, "client reset"));
    f.place.has_ram = false;
    assert_int_equal(try_open(&f, &err), -EOWNERDEAD);
    f.place.has_ram = true;
    drop_folders(&f);
}

static void test_ram_of_a_dropped_overlay_is_free(void **state)
{
    struct files f;
    struct err err = {""};
    make_files(&f, 64 * MiB, 0);
    write_blocks(&f, 5, 77, 'm');
    overlay_abandon(f.overlay);
    assert_int_equal(overlay_close(f.overlay, &err), 0);
    struct ram_stats s;
    ram_pool_stats(f.place.ram_pool, &s);
    assert_int_equal(s.used_bytes, 0);
    drop_folders(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ram_with_room_writes_nothing_to_disk),
        cmocka_unit_test(test_ram_full_goes_to_disk_and_comes_back),
        cmocka_unit_test(test_ram_quota_holds_for_one_client_only),
        cmocka_unit_test(test_ram_limit_zero_empties_memory),
        cmocka_unit_test(test_ram_of_a_dead_process_is_gone_on_with),
        cmocka_unit_test(test_ram_of_an_overlay_that_becomes_kept_is_on_disk),
        cmocka_unit_test(test_ram_is_empty_when_an_overlay_becomes_kept_under_writers),
        cmocka_unit_test(test_ram_of_a_dead_process_becomes_kept),
        cmocka_unit_test(test_ram_that_was_taken_away_is_a_lost_overlay),
        cmocka_unit_test(test_ram_of_a_dropped_overlay_is_free),
        cmocka_unit_test(test_ram_overlay_equals_memory),
        cmocka_unit_test(test_ram_overlay_with_room_for_all_equals_memory),
        cmocka_unit_test(test_ram_overlay_keeps_each_owners_bytes),
        cmocka_unit_test(test_ram_overlay_orders_overlapping_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
