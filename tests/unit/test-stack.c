/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stacks of layers under the random checker of stack-check.h: one overlay, volatile and kept, on real files; two copy-on-write layers
 * one over the other; a part of an overlay; and the same with slow and with failing layers below.
 *
 * A crash is played by leaving the overlay open for ever and opening its files again, as the next process would find them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/cow.h"
#include "core/overlay.h"
#include "core/util.h"
#include "tests/unit/fault-blk.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (2 * LEAF_BYTES + 3 * BLOCK_BYTES + 3 * SECTOR_BYTES)
#define DATA       (DISK - 5 * SECTOR_BYTES - 100)
#define ORPHANS    512

/* Overlays that "crashed": never closed, but known, so that they are no leaks. */
static struct overlay *orphans[ORPHANS];
static unsigned orphan_count;

/* --- an overlay on files ----------------------------------------------------------------------------------------- */

struct files {
    char path[64];
    struct overlay_place place;
    struct map_stamp stamp;
    bool is_kept;
    struct blk *base, *fault;
    struct overlay *overlay;
    unsigned fds;
};

static void open_overlay(struct files *f)
{
    struct err err;
    char found[UUID_LEN + 1];
    int r = overlay_open(&f->place, &f->stamp, f->is_kept, false, f->fault, &f->overlay, found, &err);
    CHECK(r == 0, "overlay_open: %s", err.msg);
}

static struct blk *reopen_overlay(void *arg, bool is_crash)
{
    struct files *f = arg;
    struct err err;
    if (is_crash && orphan_count < ORPHANS)
        orphans[orphan_count++] = f->overlay;
    else if (overlay_close(f->overlay, &err) < 0)
        check_failed(__FILE__, __LINE__, "overlay_close: %s", err.msg);
    open_overlay(f);
    return overlay_blk(f->overlay);
}

static void make_files(struct files *f, uint64_t size, uint64_t data, bool is_kept)
{
    *f = (struct files){.path = "/tmp/test-stack-XXXXXX", .is_kept = is_kept};
    assert_non_null(mkdtemp(f->path));
    f->place.dir_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->place.dir_fd >= 0 && mkdirat(f->place.dir_fd, "live", 0700) == 0);
    f->place.live_fd = openat(f->place.dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->place.live_fd >= 0);
    f->stamp = (struct map_stamp){.overlay_id = {1, 2, 3}, .base_identity = "base", .size_bytes = size};
    f->base = check_base_create(size, data);
    f->fault = fault_create(f->base);
    open_overlay(f);
}

static void drop_files(struct files *f)
{
    struct err err;
    char id[UUID_LEN + 1];
    uuid_encode(f->stamp.overlay_id, id);
    assert_int_equal(overlay_close(f->overlay, &err), 0);
    assert_int_equal(overlay_delete(&f->place, id, &err), 0);
    assert_int_equal(unlinkat(f->place.dir_fd, "live", AT_REMOVEDIR), 0);
    (void)close(f->place.dir_fd);
    (void)close(f->place.live_fd);
    assert_int_equal(rmdir(f->path), 0); /* so the overlay left nothing else */
    blk_destroy(f->fault);
    blk_destroy(f->base);
}

typedef void check_fn(struct check_stack *s, uint64_t data_bytes, unsigned a, unsigned b);

static void run_on_files(check_fn *check, uint64_t size, uint64_t data, bool is_kept, unsigned a, unsigned b)
{
    struct files f;
    make_files(&f, size, data, is_kept);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen_overlay, .arg = &f};
    check(&s, data, a, b);
    drop_files(&f);
}

static void test_stack_volatile_overlay_equals_memory(void **state)
{
    run_on_files(check_single, DISK, DATA, false, 6, 600);
}

static void test_stack_kept_overlay_equals_memory(void **state)
{
    run_on_files(check_single, DISK, DATA, true, 6, 600);
}

static void test_stack_small_odd_disks_equal_memory(void **state)
{
    for (uint64_t sectors = 1; sectors < 40; sectors += 1 + sectors / 6)
        run_on_files(check_single, sectors * SECTOR_BYTES, sectors * SECTOR_BYTES - sectors % 3 * 100, sectors % 2, 2,
                     100);
}

static void test_stack_volatile_overlay_keeps_each_owners_bytes(void **state)
{
    run_on_files(check_shared, DISK, DATA, false, 4, 2500);
}

static void test_stack_kept_overlay_keeps_each_owners_bytes(void **state)
{
    run_on_files(check_shared, DISK, DATA, true, 4, 1500);
}

static void test_stack_volatile_overlay_orders_overlapping_writes(void **state)
{
    run_on_files(check_overlap, DISK, DATA, false, 6, 2000);
}

static void test_stack_kept_overlay_orders_overlapping_writes(void **state)
{
    run_on_files(check_overlap, DISK, DATA, true, 6, 1500);
}

static void test_stack_over_a_slow_layer_keeps_bytes_and_order(void **state)
{
    struct files f;
    make_files(&f, DISK, DATA, false);
    struct check_stack s = {.blk = overlay_blk(f.overlay)};
    fault_delay(f.fault, FAULT_MAP, 5, 100);
    check_overlap(&s, DATA, 6, 400);
    drop_files(&f);
    make_files(&f, DISK, DATA, false);
    s.blk = overlay_blk(f.overlay);
    fault_delay(f.fault, FAULT_MAP, 5, 100);
    check_shared(&s, DATA, 4, 400);
    drop_files(&f);
}

static void test_stack_over_a_failing_layer_leaves_bytes_old_or_new(void **state)
{
    struct files f;
    make_files(&f, DISK, DATA, true);
    struct check_stack s = {.blk = overlay_blk(f.overlay), .reopen = reopen_overlay, .arg = &f, .may_fail = true};
    fault_fail_every(f.fault, FAULT_MAP, 5, -EIO);
    check_single(&s, DATA, 6, 600);
    assert_true(fault_hits(f.fault, FAULT_MAP) > 0);
    drop_files(&f);
}

/* --- layers in memory -------------------------------------------------------------------------------------------- */

#define LAYERS 2

/* [slice] over cow over cow over base: what a later version of an image will be. */
struct tower {
    struct blk *base, *fault, *cow[LAYERS];
    int data_fd[LAYERS], map_fd[LAYERS];
    struct livemap *map[LAYERS];
};

static void make_layer(struct tower *t, int i, struct blk *below)
{
    struct map_stamp stamp = {.overlay_id = {(unsigned char)i}, .base_identity = "x", .size_bytes = below->size};
    struct err err;
    t->data_fd[i] = memfd_create("data", MFD_CLOEXEC);
    t->map_fd[i] = memfd_create("map", MFD_CLOEXEC);
    assert_true(t->data_fd[i] >= 0 && ftruncate(t->data_fd[i], (off_t)below->size) == 0);
    assert_int_equal(livemap_create(dup(t->map_fd[i]), &stamp, &t->map[i], &err), 0);
    t->cow[i] = cow_create(below, t->data_fd[i], t->map[i], (struct cow_flush){0}, false);
}

static void make_tower(struct tower *t)
{
    t->base = check_base_create(DISK, DATA);
    t->fault = fault_create(t->base);
    make_layer(t, 0, t->fault);
    make_layer(t, 1, t->cow[0]);
}

static void drop_tower(struct tower *t)
{
    for (int i = LAYERS - 1; i >= 0; i--) {
        blk_destroy(t->cow[i]);
        livemap_close(t->map[i]);
        (void)close(t->data_fd[i]);
        (void)close(t->map_fd[i]);
    }
    blk_destroy(t->fault);
    blk_destroy(t->base);
}

/* The death of the process as the layers see it: mapping and memory go, the files stay. */
static struct blk *reopen_tower(void *arg, bool is_crash)
{
    struct tower *t = arg;
    struct err err;
    struct blk *below = t->fault;
    blk_destroy(t->cow[1]);
    blk_destroy(t->cow[0]);
    for (int i = 0; i < LAYERS; i++) {
        livemap_close(t->map[i]);
        int fd = dup(t->map_fd[i]);
        CHECK(livemap_open(fd, false, &t->map[i], &err) == 0, "livemap_open: %s", err.msg);
        t->cow[i] = cow_create(below, t->data_fd[i], t->map[i], (struct cow_flush){0}, i < LAYERS - 1 && is_crash);
        below = t->cow[i];
    }
    return below;
}

static void test_stack_two_layers_equal_memory(void **state)
{
    struct tower t;
    make_tower(&t);
    struct check_stack s = {.blk = t.cow[1], .reopen = reopen_tower, .arg = &t};
    check_single(&s, DATA, 6, 600);
    drop_tower(&t);
}

static void test_stack_layer_over_a_written_layer_equals_memory(void **state)
{
    struct tower t;
    make_tower(&t);
    /* What the lower one holds is what the base holds: the upper one must read it there. */
    char buf[8 * BLOCK_BYTES];
    assert_int_equal(blk_read(t.base, buf, sizeof(buf), 0), 0);
    assert_int_equal(blk_write(t.cow[0], buf, sizeof(buf), 0), 0);
    assert_int_equal(blk_zero(t.cow[0], DATA, DISK - DATA), 0);
    struct check_stack s = {.blk = t.cow[1], .reopen = reopen_tower, .arg = &t};
    check_single(&s, DATA, 4, 400);
    drop_tower(&t);
}

static void test_stack_two_layers_keep_each_owners_bytes(void **state)
{
    struct tower t;
    make_tower(&t);
    struct check_stack s = {.blk = t.cow[1], .reopen = reopen_tower, .arg = &t};
    check_shared(&s, DATA, 4, 2000);
    drop_tower(&t);
}

static void test_stack_two_layers_order_overlapping_writes(void **state)
{
    struct tower t;
    make_tower(&t);
    struct check_stack s = {.blk = t.cow[1], .reopen = reopen_tower, .arg = &t};
    check_overlap(&s, DATA, 6, 1500);
    drop_tower(&t);
}

static void test_stack_slice_shows_the_part_while_it_changes(void **state)
{
    struct tower t;
    struct rng rng = {check_seed()};
    char buf[3000], part[3000];
    make_tower(&t);
    const uint64_t at = LEAF_BYTES - 63 * SECTOR_BYTES, len = 200 * SECTOR_BYTES;
    struct blk *slice = slice_create(t.cow[1], at, len);
    for (unsigned i = 0; i < 2000 * check_stress(); i++) {
        uint64_t off = rng_below(&rng, len - sizeof(buf));
        memset(buf, (int)rng_below(&rng, 256), sizeof(buf));
        assert_int_equal(blk_write(t.cow[1], buf, 1 + rng_below(&rng, sizeof(buf)), at + off), 0);
        off = rng_below(&rng, len - sizeof(buf));
        assert_int_equal(blk_zero(t.cow[1], at + off, 1 + rng_below(&rng, sizeof(buf))), 0);
        off = rng_below(&rng, len - sizeof(buf));
        assert_int_equal(blk_read(slice, part, sizeof(part), off), 0);
        assert_int_equal(blk_read(t.cow[1], buf, sizeof(buf), at + off), 0);
        assert_memory_equal(part, buf, sizeof(buf));
        int64_t whole = blk_seek(t.cow[1], at + off, false);
        assert_int_equal(blk_seek(slice, off, false), MIN((uint64_t)whole - at, len));
    }
    blk_destroy(slice);
    drop_tower(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack_volatile_overlay_equals_memory),
        cmocka_unit_test(test_stack_kept_overlay_equals_memory),
        cmocka_unit_test(test_stack_small_odd_disks_equal_memory),
        cmocka_unit_test(test_stack_volatile_overlay_keeps_each_owners_bytes),
        cmocka_unit_test(test_stack_kept_overlay_keeps_each_owners_bytes),
        cmocka_unit_test(test_stack_volatile_overlay_orders_overlapping_writes),
        cmocka_unit_test(test_stack_kept_overlay_orders_overlapping_writes),
        cmocka_unit_test(test_stack_over_a_slow_layer_keeps_bytes_and_order),
        cmocka_unit_test(test_stack_over_a_failing_layer_leaves_bytes_old_or_new),
        cmocka_unit_test(test_stack_two_layers_equal_memory),
        cmocka_unit_test(test_stack_layer_over_a_written_layer_equals_memory),
        cmocka_unit_test(test_stack_two_layers_keep_each_owners_bytes),
        cmocka_unit_test(test_stack_two_layers_order_overlapping_writes),
        cmocka_unit_test(test_stack_slice_shows_the_part_while_it_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
