/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One claim of the copy-on-write layer a test; the random checks are in test-stack.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/cow.h"
#include "core/hash.h"
#include "core/util.h"
#include "tests/unit/fault-blk.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (2 * LEAF_BYTES + 3 * BLOCK_BYTES + 3 * SECTOR_BYTES) /* the last block is short */
#define DATA       (DISK - 700)                                          /* the base ends within a sector */

struct rig {
    struct blk *base, *fault, *cow;
    struct livemap *map;
    int data_fd, flushes;
};

static int count_flush(void *arg)
{
    ((struct rig *)arg)->flushes++;
    return 0;
}

static struct livemap *new_map(uint64_t size)
{
    struct map_stamp stamp = {.overlay_id = {1}, .base_identity = "base", .size_bytes = size};
    struct livemap *m = NULL;
    struct err err;
    int fd = memfd_create("map", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(livemap_create(fd, &stamp, &m, &err), 0);
    return m;
}

static int new_data(uint64_t size)
{
    int fd = memfd_create("data", MFD_CLOEXEC);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

static void build(struct rig *r, struct blk *base)
{
    r->base = base;
    r->fault = fault_create(base);
    r->map = new_map(base->size);
    r->data_fd = new_data(base->size);
    r->cow = cow_create(r->fault, r->data_fd, r->map, (struct cow_flush){count_flush, r}, false);
    assert_non_null(r->cow);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    build(r, check_base_create(DISK, DATA));
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    blk_destroy(r->cow);
    livemap_close(r->map);
    (void)close(r->data_fd);
    blk_destroy(r->fault);
    blk_destroy(r->base);
    free(r);
    return 0;
}

/* The bytes at @off are still those of the base. */
static void assert_base(struct rig *r, uint64_t off, size_t len)
{
    unsigned char a[2 * BLOCK_BYTES], b[2 * BLOCK_BYTES];
    assert_true(len <= sizeof(a));
    assert_int_equal(blk_read(r->cow, a, len, off), 0);
    assert_int_equal(blk_read(r->base, b, len, off), 0);
    assert_memory_equal(a, b, len);
}

static void assert_bytes(struct rig *r, uint64_t off, size_t len, int byte)
{
    unsigned char a[2 * BLOCK_BYTES], b[2 * BLOCK_BYTES];
    assert_true(len <= sizeof(a));
    memset(b, byte, len);
    assert_int_equal(blk_read(r->cow, a, len, off), 0);
    assert_memory_equal(a, b, len);
}

static void write_bytes(struct rig *r, uint64_t off, size_t len, int byte)
{
    unsigned char a[2 * BLOCK_BYTES];
    assert_true(len <= sizeof(a));
    memset(a, byte, len);
    assert_int_equal(blk_write(r->cow, a, len, off), 0);
}

static enum block_state state_of(const struct rig *r, uint64_t off)
{
    enum block_state s;
    (void)livemap_run(r->map, off >> BLOCK_SHIFT, 1, &s);
    return s;
}

/* --- writes ------------------------------------------------------------------------------------------------------ */

static void test_cow_untouched_disk_reads_as_below(void **state)
{
    assert_base(*state, 0, 8192);
    assert_base(*state, LEAF_BYTES - 4096, 8192);
    assert_base(*state, DISK - 8192, 8192);
}

static void test_cow_sub_block_write_keeps_the_rest(void **state)
{
    write_bytes(*state, 4096 + 100, 50, 'x');
    assert_base(*state, 4096, 100);
    assert_bytes(*state, 4096 + 100, 50, 'x');
    assert_base(*state, 4096 + 150, 4096 - 150);
    assert_base(*state, 0, 4096);
}

static void test_cow_write_over_a_block_border_keeps_both_rests(void **state)
{
    write_bytes(*state, 8192 - 10, 20, 'x');
    assert_base(*state, 4096, 4096 - 10);
    assert_bytes(*state, 8192 - 10, 20, 'x');
    assert_base(*state, 8192 + 10, 4096 - 10);
}

static void test_cow_write_over_a_leaf_border_is_read_back(void **state)
{
    write_bytes(*state, LEAF_BYTES - 1000, 2000, 'x');
    assert_bytes(*state, LEAF_BYTES - 1000, 2000, 'x');
    assert_base(*state, LEAF_BYTES - 4096, 4096 - 1000);
    assert_base(*state, LEAF_BYTES + 1000, 4096 - 1000);
}

static void test_cow_second_write_into_a_block_changes_its_part_only(void **state)
{
    write_bytes(*state, 0, 4096, 'a');
    write_bytes(*state, 512, 512, 'b');
    assert_bytes(*state, 0, 512, 'a');
    assert_bytes(*state, 512, 512, 'b');
    assert_bytes(*state, 1024, 4096 - 1024, 'a');
}

static void test_cow_write_never_reaches_the_base(void **state)
{
    struct rig *r = *state;
    unsigned char buf[8192];
    char before[HASH_HEX_LEN + 1], after[HASH_HEX_LEN + 1];
    assert_int_equal(blk_read(r->base, buf, sizeof(buf), 0), 0);
    hash_buf(buf, sizeof(buf), before);
    write_bytes(r, 0, 5000, 'x');
    assert_int_equal(blk_zero(r->cow, 5000, 1000), 0);
    assert_int_equal(blk_read(r->base, buf, sizeof(buf), 0), 0);
    hash_buf(buf, sizeof(buf), after);
    assert_string_equal(before, after);
    assert_int_equal(blk_write(r->base, buf, 512, 0), -EROFS);
    assert_int_equal(blk_zero(r->base, 0, 512), -EROFS);
}

static void test_cow_write_behind_the_end_is_refused_whole(void **state)
{
    struct rig *r = *state;
    char buf[1024] = "x";
    assert_int_equal(blk_write(r->cow, buf, sizeof(buf), DISK - 512), -ENOSPC);
    assert_int_equal(blk_write(r->cow, buf, 1, DISK), -ENOSPC);
    assert_int_equal(blk_write(r->cow, buf, 1, UINT64_MAX), -ENOSPC);
    assert_int_equal(blk_zero(r->cow, 1, UINT64_MAX), -ENOSPC);
    assert_int_equal(blk_read(r->cow, buf, sizeof(buf), DISK - 512), -EINVAL);
    assert_int_equal(blk_write(r->cow, buf, 0, DISK), 0);
    assert_base(r, DISK - 1024, 1024);
}

static void test_cow_read_only_layer_refuses_changes(void **state)
{
    struct rig *r = *state;
    write_bytes(r, 0, 100, 'x');
    struct blk *ro = cow_create(r->base, r->data_fd, r->map, (struct cow_flush){0}, true);
    char buf[100];
    assert_int_equal(blk_write(ro, buf, 1, 0), -EROFS);
    assert_int_equal(blk_zero(ro, 0, 1), -EROFS);
    assert_int_equal(blk_flush(ro), 0);
    assert_int_equal(blk_read(ro, buf, sizeof(buf), 0), 0);
    assert_int_equal(buf[99], 'x');
    blk_destroy(ro);
}

static void test_cow_flush_is_passed_on(void **state)
{
    struct rig *r = *state;
    assert_int_equal(blk_flush(r->cow), 0);
    assert_int_equal(r->flushes, 1);
}

/* --- zeroes ------------------------------------------------------------------------------------------------------ */

static void test_cow_punch_of_absent_part_reads_zero(void **state)
{
    assert_int_equal(blk_zero(((struct rig *)*state)->cow, 4096 + 512, 1024), 0);
    assert_base(*state, 4096, 512);
    assert_bytes(*state, 4096 + 512, 1024, 0);
    assert_base(*state, 4096 + 1536, 4096 - 1536);
}

static void test_cow_punch_of_present_part_reads_zero(void **state)
{
    write_bytes(*state, 4096, 4096, 'x');
    assert_int_equal(blk_zero(((struct rig *)*state)->cow, 4096 + 1, 1), 0);
    assert_bytes(*state, 4096, 1, 'x');
    assert_bytes(*state, 4097, 1, 0);
    assert_bytes(*state, 4098, 4094, 'x');
}

static void test_cow_punch_over_blocks_cuts_both_ends(void **state)
{
    struct rig *r = *state;
    assert_int_equal(blk_zero(r->cow, 4096 - 10, 4096 + 20), 0);
    assert_base(r, 0, 4096 - 10);
    assert_bytes(r, 4096 - 10, 4096 + 20, 0);
    assert_base(r, 8192 + 10, 4096 - 10);
    assert_int_equal(state_of(r, 4096), BLOCK_ZERO);
    assert_int_equal(state_of(r, 0), BLOCK_PRESENT);
}

static void test_cow_part_write_into_zero_block_keeps_zeros_around(void **state)
{
    write_bytes(*state, 4096, 4096, 'o'); /* old bytes in the data file, which must not come back */
    assert_int_equal(blk_zero(((struct rig *)*state)->cow, 4096, 4096), 0);
    write_bytes(*state, 4096 + 100, 10, 'x');
    assert_bytes(*state, 4096, 100, 0);
    assert_bytes(*state, 4096 + 100, 10, 'x');
    assert_bytes(*state, 4096 + 110, 4096 - 110, 0);
}

static void test_cow_zero_of_present_block_gives_storage_back(void **state)
{
    struct rig *r = *state;
    struct stat st;
    write_bytes(r, 0, 8192, 'x');
    assert_int_equal(blk_zero(r->cow, 0, 8192), 0);
    assert_int_equal(fstat(r->data_fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    assert_bytes(r, 0, 8192, 0);
}

static void test_cow_zero_of_the_whole_disk_uses_no_leaf(void **state)
{
    struct rig *r = *state;
    uint64_t bits[LEAF_WORDS];
    struct stat before, after;
    assert_int_equal(fstat(r->data_fd, &before), 0);
    assert_int_equal(blk_zero(r->cow, 0, DISK), 0);
    assert_int_equal(fstat(r->data_fd, &after), 0);
    assert_int_equal(after.st_blocks, before.st_blocks);
    for (uint64_t dir = 0; dir < livemap_dir_count(r->map); dir++) {
        assert_false(livemap_leaf_get(r->map, dir, PLANE_PRESENT, bits));
        assert_true(livemap_leaf_get(r->map, dir, PLANE_ZERO, bits));
    }
    assert_int_equal(blk_seek(r->cow, 0, true), -ENXIO);
    assert_int_equal(blk_seek(r->cow, 0, false), 0);
}

static void test_cow_write_after_all_leaf_changes_one_block(void **state)
{
    struct rig *r = *state;
    assert_int_equal(blk_zero(r->cow, 0, DISK), 0);
    write_bytes(r, LEAF_BYTES + 4096 + 7, 10, 'x');
    assert_bytes(r, LEAF_BYTES, 4096 + 7, 0);
    assert_bytes(r, LEAF_BYTES + 4096 + 7, 10, 'x');
    assert_bytes(r, LEAF_BYTES + 4096 + 17, 4096 - 17, 0);
    assert_int_equal(blk_seek(r->cow, 0, true), (int64_t)(LEAF_BYTES + 4096));
    assert_int_equal(blk_seek(r->cow, LEAF_BYTES + 4096, false), (int64_t)(LEAF_BYTES + 8192));
    write_bytes(r, DISK - 5, 5, 'y');
    assert_bytes(r, DISK - 512, 507, 0);
    assert_bytes(r, DISK - 5, 5, 'y');
}

/* --- the short last block ---------------------------------------------------------------------------------------- */

static void test_cow_write_up_to_the_end_is_a_whole_block(void **state)
{
    struct rig *r = *state;
    uint64_t start = round_down(DISK, BLOCK_BYTES);
    write_bytes(r, start, (size_t)(DISK - start), 'x');
    assert_bytes(r, start, (size_t)(DISK - start), 'x');
    assert_base(r, start - 4096, 4096);
}

static void test_cow_part_of_the_short_last_block_keeps_the_rest(void **state)
{
    struct rig *r = *state;
    uint64_t start = round_down(DISK, BLOCK_BYTES);
    write_bytes(r, start + 10, 10, 'x');
    assert_base(r, start, 10);
    assert_bytes(r, start + 10, 10, 'x');
    assert_base(r, start + 20, (size_t)(DISK - start - 20));
}

static void test_cow_zero_up_to_the_end_makes_the_short_block_zero(void **state)
{
    struct rig *r = *state;
    assert_int_equal(blk_zero(r->cow, DISK - 3 * SECTOR_BYTES, 3 * SECTOR_BYTES), 0);
    assert_int_equal(state_of(r, DISK - 1), BLOCK_ZERO);
    assert_bytes(r, DISK - 3 * SECTOR_BYTES, 3 * SECTOR_BYTES, 0);
    assert_base(r, DISK - 3 * SECTOR_BYTES - 4096, 4096);
}

static void test_cow_disk_of_one_sector_works(void **state)
{
    struct rig r = {0};
    build(&r, check_base_create(512, 300));
    assert_base(&r, 0, 512);
    write_bytes(&r, 511, 1, 'x');
    assert_base(&r, 0, 511);
    assert_bytes(&r, 511, 1, 'x');
    assert_int_equal(blk_zero(r.cow, 0, 512), 0);
    assert_bytes(&r, 0, 512, 0);
    assert_int_equal(state_of(&r, 0), BLOCK_ZERO);
    blk_destroy(r.cow);
    livemap_close(r.map);
    (void)close(r.data_fd);
    blk_destroy(r.fault);
    blk_destroy(r.base);
}

/* --- faults ------------------------------------------------------------------------------------------------------ */

static void test_cow_failed_fill_changes_nothing(void **state)
{
    struct rig *r = *state;
    fault_fail(r->fault, FAULT_MAP, 1, 1, -EIO);
    assert_int_equal(blk_write(r->cow, "abc", 3, 5000), -EIO);
    assert_int_equal(state_of(r, 5000), BLOCK_ABSENT);
    assert_base(r, 4096, 4096);
    fault_fail(r->fault, FAULT_MAP, 1, 1, -EIO);
    assert_int_equal(blk_zero(r->cow, 5000, 3), -EIO);
    assert_int_equal(state_of(r, 5000), BLOCK_ABSENT);
    assert_base(r, 4096, 4096);
}

static void test_cow_failed_tail_leaves_bytes_old_or_new(void **state)
{
    struct rig *r = *state;
    fault_fail(r->fault, FAULT_MAP, 2, 1, -EIO); /* the head is filled, the tail is not */
    unsigned char buf[8192];
    memset(buf, 'x', sizeof(buf));
    assert_int_equal(blk_write(r->cow, buf, sizeof(buf), 100), -EIO);
    assert_base(r, 0, 100);
    assert_base(r, 8292, 3000);
    assert_base(r, 100, 8192);
}

static void test_cow_error_from_below_does_not_hurt_own_blocks(void **state)
{
    struct rig *r = *state;
    char buf[4096];
    write_bytes(r, 4096, 4096, 'x');
    fault_fail(r->fault, FAULT_MAP, 1, 1000, -EIO);
    assert_bytes(r, 4096, 4096, 'x');
    assert_int_equal(blk_read(r->cow, buf, sizeof(buf), 0), -EIO);
    assert_int_equal(blk_write(r->cow, "abc", 3, 4100), 0); /* asks nobody */
    assert_int_equal(blk_write(r->cow, buf, 4096, 8192), 0);
    assert_int_equal(blk_zero(r->cow, 0, 4096), 0);
    assert_bytes(r, 0, 4096, 0);
}

static int tiny_tmpfs(char *path, const char *size)
{
    char options[32];
    strcpy(path, "/tmp/test-cow-XXXXXX");
    assert_non_null(mkdtemp(path));
    (void)snprintf(options, sizeof(options), "size=%s", size);
    if (mount("tmpfs", path, "tmpfs", 0, options) == 0)
        return 0;
    (void)rmdir(path);
    return -1;
}

static void test_cow_full_data_file_fails_writes_and_keeps_content(void **state)
{
    struct rig *r = *state;
    char path[64];
    unsigned char buf[8192];
    if (tiny_tmpfs(path, "64k") < 0)
        skip();
    int fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600), code = 0;
    assert_true(fd >= 0 && ftruncate(fd, (off_t)DISK) == 0);
    struct blk *cow = cow_create(r->base, fd, r->map, (struct cow_flush){0}, false);
    memset(buf, 'x', sizeof(buf));
    uint64_t off = 100;
    for (; off < 60 * BLOCK_BYTES && code == 0; off += sizeof(buf))
        code = blk_write(cow, buf, sizeof(buf), off);
    assert_int_equal(code, -ENOSPC);
    off -= sizeof(buf); /* what failed */
    unsigned char now[8192], old[8192];
    assert_int_equal(blk_read(cow, now, 8192, off - 8192), 0);
    assert_memory_equal(now, buf, 8192);
    assert_int_equal(blk_read(cow, now, 8192, off), 0);
    assert_int_equal(blk_read(r->base, old, 8192, off), 0);
    for (size_t i = 0; i < 8192; i++)
        assert_true(now[i] == old[i] || now[i] == 'x');
    assert_int_equal(blk_read(cow, now, 8192, off + 8192), 0);
    assert_int_equal(blk_read(r->base, old, 8192, off + 8192), 0);
    assert_memory_equal(now, old, 8192);
    assert_int_equal(blk_zero(cow, 0, 32 * BLOCK_BYTES), 0);
    assert_int_equal(blk_write(cow, buf, sizeof(buf), 0), 0); /* there is room again */
    blk_destroy(cow);
    (void)close(fd);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    assert_int_equal(rmdir(path), 0);
}

/* --- map, slice, seek -------------------------------------------------------------------------------------------- */

static void test_cow_map_names_the_file_that_holds_each_piece(void **state)
{
    struct rig *r = *state;
    struct extent e[8];
    write_bytes(r, 4096, 4096, 'x');
    assert_int_equal(blk_zero(r->cow, 8192, 4096), 0);
    assert_int_equal(blk_map(r->cow, 100, 16000, e, 8), 4);
    assert_true(e[0].kind == EXT_FILE && e[0].pos == 100 && e[0].len == 3996 && e[0].fd != r->data_fd);
    assert_true(e[1].kind == EXT_FILE && e[1].pos == 4096 && e[1].len == 4096 && e[1].fd == r->data_fd);
    assert_true(e[2].kind == EXT_ZERO && e[2].len == 4096);
    assert_true(e[3].kind == EXT_FILE && e[3].pos == 12288 && e[3].len == 3812);
    assert_int_equal(blk_map(r->cow, 100, 16000, e, 2), 2);
    assert_int_equal(blk_map(r->cow, 0, 0, e, 2), -EINVAL);
    assert_int_equal(blk_map(r->cow, DISK, 1, e, 2), -EINVAL);
}

static void test_base_padding_reads_as_zero_and_is_a_hole(void **state)
{
    struct rig *r = *state;
    assert_bytes(r, DATA, 700, 0);
    assert_int_equal(blk_seek(r->cow, 0, false), (int64_t)round_up(DATA, SECTOR_BYTES)); /* in sectors */
    assert_int_equal(blk_seek(r->cow, DATA, true), -ENXIO);
    assert_int_equal(blk_seek(r->cow, DISK, false), -ENXIO);
    assert_int_equal(blk_seek(r->cow, UINT64_MAX, true), -ENXIO);
}

static void test_slice_is_a_part_and_read_only(void **state)
{
    struct rig *r = *state;
    char buf[512];
    write_bytes(r, 1024, 512, 'x');
    struct blk *s = slice_create(r->cow, 1024, 1024);
    assert_int_equal(s->size, 1024);
    assert_int_equal(blk_read(s, buf, 512, 0), 0);
    assert_int_equal(buf[0], 'x');
    assert_int_equal(blk_read(s, buf, 512, 513), -EINVAL);
    assert_int_equal(blk_write(s, buf, 1, 0), -EROFS);
    assert_int_equal(blk_seek(s, 0, false), 1024);
    blk_destroy(s);
}

static void test_base_cut_short_behind_our_back_is_an_error(void **state)
{
    int fd = memfd_create("base", MFD_CLOEXEC);
    char buf[512];
    assert_true(fd >= 0 && ftruncate(fd, 8192) == 0);
    struct blk *b = base_create(fd, 8192, 8192);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(blk_read(b, buf, sizeof(buf), 4096), -EIO);
    assert_int_equal(blk_read(b, buf, sizeof(buf), 0), 0);
    blk_destroy(b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cow_untouched_disk_reads_as_below),
        TEST(test_cow_sub_block_write_keeps_the_rest),
        TEST(test_cow_write_over_a_block_border_keeps_both_rests),
        TEST(test_cow_write_over_a_leaf_border_is_read_back),
        TEST(test_cow_second_write_into_a_block_changes_its_part_only),
        TEST(test_cow_write_never_reaches_the_base),
        TEST(test_cow_write_behind_the_end_is_refused_whole),
        TEST(test_cow_read_only_layer_refuses_changes),
        TEST(test_cow_flush_is_passed_on),
        TEST(test_cow_punch_of_absent_part_reads_zero),
        TEST(test_cow_punch_of_present_part_reads_zero),
        TEST(test_cow_punch_over_blocks_cuts_both_ends),
        TEST(test_cow_part_write_into_zero_block_keeps_zeros_around),
        TEST(test_cow_zero_of_present_block_gives_storage_back),
        TEST(test_cow_zero_of_the_whole_disk_uses_no_leaf),
        TEST(test_cow_write_after_all_leaf_changes_one_block),
        TEST(test_cow_write_up_to_the_end_is_a_whole_block),
        TEST(test_cow_part_of_the_short_last_block_keeps_the_rest),
        TEST(test_cow_zero_up_to_the_end_makes_the_short_block_zero),
        TEST(test_cow_disk_of_one_sector_works),
        TEST(test_cow_failed_fill_changes_nothing),
        TEST(test_cow_failed_tail_leaves_bytes_old_or_new),
        TEST(test_cow_error_from_below_does_not_hurt_own_blocks),
        TEST(test_cow_full_data_file_fails_writes_and_keeps_content),
        TEST(test_cow_map_names_the_file_that_holds_each_piece),
        TEST(test_base_padding_reads_as_zero_and_is_a_hole),
        TEST(test_slice_is_a_part_and_read_only),
        TEST(test_base_cut_short_behind_our_back_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
