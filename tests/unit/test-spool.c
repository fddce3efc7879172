/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Spools: what is put comes back in its order, whatever the sizes and whenever it is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/spool-merge.h"
#include "core/spool.h"
#include "core/util.h"

#define RECORDS 3000

/* Sizes on both sides of the buffers, and mostly small ones. */
static size_t size_of(unsigned n)
{
    static const size_t special[] = {0, 1, 4091, 4092, 4093, 131067, 131068, 131069, 200000, SPOOL_RECORD_MAX - 100};
    return n % 97 == 5 ? special[n / 97 % ARRAY_SIZE(special)] : n * 2654435761u % 700;
}

static char byte_of(unsigned n, size_t i)
{
    return (char)((n * 31 + i * 7) % 251);
}

static void check_record(unsigned n, const char *p, size_t len)
{
    assert_int_equal(len, size_of(n));
    for (size_t i = 0; i < len; i++)
        if (p[i] != byte_of(n, i))
            fail_msg("record %u differs at %zu", n, i);
}

static void put(struct spool *s, unsigned n)
{
    char *p;
    assert_int_equal(spool_room(s, size_of(n), &p, NULL), 0);
    for (size_t i = 0; i < size_of(n); i++)
        p[i] = byte_of(n, i);
    spool_commit(s, size_of(n));
}

static void check_all(struct spool *s, unsigned n)
{
    struct spool_reader r;
    const char *p;
    size_t len;
    spool_reader_init(&r, s);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(spool_next(&r, &p, &len, NULL), 1);
        check_record(i, p, len);
    }
    assert_int_equal(spool_next(&r, &p, &len, NULL), 0);
    spool_reader_finish(&r);
}

static void test_records_come_back_in_order(void **state)
{
    struct spool *s;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    check_all(s, 0);
    for (unsigned i = 0; i < RECORDS; i++)
        put(s, i);
    check_all(s, RECORDS);
    check_all(s, RECORDS);
    spool_destroy(s);
}

static void test_reader_sees_what_is_put_while_it_reads(void **state)
{
    struct spool *s;
    struct spool_reader r;
    const char *p;
    size_t len;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    spool_reader_init(&r, s);
    for (unsigned i = 0; i < RECORDS / 10; i++) {
        put(s, 2 * i);
        put(s, 2 * i + 1);
        for (unsigned k = 0; k < 2; k++) {
            assert_int_equal(spool_next(&r, &p, &len, NULL), 1);
            check_record(2 * i + k, p, len);
        }
        assert_int_equal(spool_next(&r, &p, &len, NULL), 0);
    }
    spool_reader_finish(&r);
    spool_destroy(s);
}

static void test_cleared_spool_is_empty_and_can_be_filled_again(void **state)
{
    struct spool *s;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 500; i++)
            put(s, i);
        check_all(s, 500);
        assert_int_equal(spool_clear(s, NULL), 0);
        check_all(s, 0);
    }
    spool_destroy(s);
}

static void test_folder_that_is_not_there_is_passed_over(void **state)
{
    struct spool *s;
    (void)state;
    assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
    assert_int_equal(spool_create(&s, NULL), 0);
    for (unsigned i = 0; i < 10; i++)
        put(s, i);
    check_all(s, 10);
    spool_destroy(s);
    assert_int_equal(unsetenv("TMPDIR"), 0);
}

/* --- sorting ------------------------------------------------------------------------------------------------------ */

/* Few different keys, so that many are equal; the records say in which order they were put. */
static void key_of(unsigned n, char key[SPOOL_KEY_BYTES])
{
    memset(key, 0, SPOOL_KEY_BYTES);
    (void)snprintf(key, SPOOL_KEY_BYTES, "%05u", n * 2654435761u % 4999);
}

static void check_sorted(struct spool_merge *m, unsigned n)
{
    char key[SPOOL_KEY_BYTES], last_key[SPOOL_KEY_BYTES] = "";
    unsigned number, last = 0;
    const char *p;
    size_t len;
    assert_int_equal(spool_merge_begin(m, NULL), 0);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(spool_merge_next(m, &p, &len, NULL), 1);
        assert_true(len >= sizeof(number));
        memcpy(&number, p, sizeof(number));
        assert_int_equal(len, sizeof(number) + size_of(number));
        for (size_t k = 0; k < size_of(number); k++)
            if (p[sizeof(number) + k] != byte_of(number, k))
                fail_msg("record %u differs at %zu", number, k);
        key_of(number, key);
        int order = memcmp(last_key, key, SPOOL_KEY_BYTES);
        assert_true(i == 0 || order < 0 || (order == 0 && last < number));
        memcpy(last_key, key, SPOOL_KEY_BYTES);
        last = number;
    }
    assert_int_equal(spool_merge_next(m, &p, &len, NULL), 0);
    assert_int_equal(spool_merge_next(m, &p, &len, NULL), 0);
}

static void sort_and_check(unsigned n)
{
    static char record[sizeof(unsigned) + SPOOL_RECORD_MAX];
    char key[SPOOL_KEY_BYTES];
    struct spool_merge *m;
    assert_int_equal(spool_merge_create(&m, NULL), 0);
    for (unsigned i = 0; i < n; i++) {
        memcpy(record, &i, sizeof(i));
        for (size_t k = 0; k < size_of(i); k++)
            record[sizeof(i) + k] = byte_of(i, k);
        key_of(i, key);
        assert_int_equal(spool_merge_put(m, key, record, sizeof(i) + size_of(i), NULL), 0);
    }
    check_sorted(m, n);
    check_sorted(m, n); /* once more */
    spool_merge_destroy(m);
}

static void test_records_come_back_by_key_and_equal_ones_in_their_order(void **state)
{
    (void)state;
    sort_and_check(0);
    sort_and_check(1);
    sort_and_check(100);
    sort_and_check(40000); /* about five pieces */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_come_back_in_order),
        cmocka_unit_test(test_reader_sees_what_is_put_while_it_reads),
        cmocka_unit_test(test_cleared_spool_is_empty_and_can_be_filled_again),
        cmocka_unit_test(test_folder_that_is_not_there_is_passed_over),
        cmocka_unit_test(test_records_come_back_by_key_and_equal_ones_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
