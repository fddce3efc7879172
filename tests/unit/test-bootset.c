/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot sets: recording, merging, choosing, and the file with its damages. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bootset.h"
#include "core/util.h"

#define E BOOTSET_EXTENT_BYTES

static void merge(struct bootset *s, const unsigned *numbers, size_t n)
{
    struct boot_record *r = boot_record_create();
    assert_non_null(r);
    for (size_t i = 0; i < n; i++)
        boot_record_add(r, numbers[i] * E + 512, 4096);
    assert_int_equal(bootset_merge(s, r), 0);
    boot_record_destroy(r);
}
#define MERGE(s, ...) merge(s, (const unsigned[]){__VA_ARGS__}, sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static void test_bootset_counts_each_extent_once_a_boot(void **state)
{
    struct boot_record *r = boot_record_create();
    boot_record_add(r, 10 * E + 100, 3 * E); /* touches four */
    boot_record_add(r, 11 * E, 512);
    boot_record_add(r, 10 * E, 1);
    boot_record_add(r, 5, 0);
    assert_int_equal(boot_record_count(r), 4);
    struct bootset *s = bootset_create();
    assert_int_equal(bootset_merge(s, r), 0);
    assert_int_equal(bootset_boots(s), 1);
    assert_int_equal(bootset_count(s), 4);
    assert_int_equal(bootset_extent(s, 0)->number, 10);
    assert_int_equal(bootset_extent(s, 0)->boots, 1);
    assert_int_equal(bootset_extent(s, 3)->number, 13);
    boot_record_destroy(r);
    bootset_destroy(s);
}

static void test_bootset_of_two_boots_loads_what_both_read(void **state)
{
    _cleanup_(bootset_destroyp) struct bootset *s = bootset_create();
    _cleanup_free_ uint32_t *n = NULL;
    size_t count;
    MERGE(s, 9, 3, 1, 500);
    assert_int_equal(bootset_choose(s, 100 * E, 1000 * E, &n, &count), 0);
    assert_int_equal(count, 4);
    free(take_ptr(n));
    MERGE(s, 3, 9, 77);
    assert_int_equal(bootset_choose(s, 100 * E, 1000 * E, &n, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(n[0], 3);
    assert_int_equal(n[1], 9);
}

static void test_bootset_budget_takes_what_most_boots_read_earliest(void **state)
{
    _cleanup_(bootset_destroyp) struct bootset *s = bootset_create();
    _cleanup_free_ uint32_t *n = NULL;
    size_t count;
    MERGE(s, 40, 30, 20, 10);
    MERGE(s, 40, 30, 20);
    MERGE(s, 40, 20, 30);
    assert_int_equal(bootset_choose(s, 2 * E + 5, 1000 * E, &n, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(n[1], 40);
    free(take_ptr(n));
    assert_int_equal(bootset_choose(s, 100 * E, 35 * E, &n, &count), 0); /* of a smaller disk */
    assert_int_equal(count, 2);
    free(take_ptr(n));
    assert_int_equal(bootset_choose(s, 0, 35 * E, &n, &count), 0);
    assert_int_equal(count, 0);
}

static void test_bootset_forgets_what_is_not_read_any_more(void **state)
{
    _cleanup_(bootset_destroyp) struct bootset *s = bootset_create();
    MERGE(s, 1, 2);
    for (int i = 0; i < 40; i++) {
        MERGE(s, 2, 3);
        assert_true(bootset_boots(s) <= BOOTSET_BOOTS_MAX);
    }
    assert_int_equal(bootset_count(s), 2);
    assert_int_equal(bootset_extent(s, 0)->number, 2);
}

static void test_bootset_is_bounded(void **state)
{
    _cleanup_(bootset_destroyp) struct bootset *s = bootset_create();
    for (unsigned k = 0; k < 3; k++) {
        struct boot_record *r = boot_record_create();
        for (uint64_t i = 0; i < BOOTSET_EXTENTS_MAX + 1000ULL; i++)
            boot_record_add(r, (i * 3 + k) * E, 1);
        assert_int_equal(boot_record_count(r), BOOTSET_EXTENTS_MAX);
        assert_int_equal(bootset_merge(s, r), 0);
        boot_record_destroy(r);
        assert_true(bootset_count(s) <= BOOTSET_EXTENTS_MAX);
    }
}

/* --- the file ------------------------------------------------------------------------------------------------------ */

static void test_bootset_golden_file_is_read_and_written(void **state)
{
    _cleanup_(bootset_destroyp) struct bootset *s = NULL;
    _cleanup_free_ char *golden = NULL, *again = NULL;
    size_t golden_len, again_len;
    struct err err = {""};
    char folder[] = "/tmp/test-bootset-XXXXXX";
    _cleanup_close_ int data = open(getenv("DISKGATE_TEST_DATA"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bootset_load(data, "bootset-v1.boot", &s, &err), 0);
    assert_int_equal(bootset_boots(s), 3);
    assert_int_equal(bootset_count(s), 5);
    assert_int_equal(bootset_extent(s, 3)->number, 1600);
    assert_int_equal(bootset_extent(s, 3)->rank, 1000);
    assert_non_null(mkdtemp(folder));
    _cleanup_close_ int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(bootset_store(dir, "x", s), 0);
    assert_int_equal(file_read(data, "bootset-v1.boot", 1 << 20, &golden, &golden_len), 0);
    assert_int_equal(file_read(dir, "x", 1 << 20, &again, &again_len), 0);
    assert_int_equal(golden_len, again_len);
    assert_memory_equal(golden, again, golden_len);
    assert_int_equal(unlinkat(dir, "x", 0), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void test_bootset_any_damage_is_refused(void **state)
{
    _cleanup_free_ char *golden = NULL;
    size_t len;
    _cleanup_close_ int data = open(getenv("DISKGATE_TEST_DATA"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(file_read(data, "bootset-v1.boot", 1 << 20, &golden, &len), 0);
    for (size_t i = 0; i < len; i++) {
        struct bootset *s = NULL;
        struct err err = {""};
        golden[i] ^= 0x10;
        int r = bootset_decode(golden, len, &s, &err);
        golden[i] ^= 0x10;
        assert_true(r == -EBADMSG || r == -EOPNOTSUPP);
        assert_null(s);
        assert_true(err.msg[0] != 0);
        assert_true(bootset_decode(golden, i, &s, &err) < 0);
    }
}

static void test_bootset_name_follows_the_identity(void **state)
{
    char a[BOOTSET_NAME_LEN + 1], b[BOOTSET_NAME_LEN + 1];
    bootset_name("1-abc", a);
    bootset_name("1-abd", b);
    assert_int_equal(strlen(a), 37);
    assert_true(strcmp(a, b) != 0);
    assert_string_equal(a + 32, ".boot");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootset_counts_each_extent_once_a_boot),
        cmocka_unit_test(test_bootset_of_two_boots_loads_what_both_read),
        cmocka_unit_test(test_bootset_budget_takes_what_most_boots_read_earliest),
        cmocka_unit_test(test_bootset_forgets_what_is_not_read_any_more),
        cmocka_unit_test(test_bootset_is_bounded),
        cmocka_unit_test(test_bootset_golden_file_is_read_and_written),
        cmocka_unit_test(test_bootset_any_damage_is_refused),
        cmocka_unit_test(test_bootset_name_follows_the_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
