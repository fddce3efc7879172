/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Spools: what is put comes back in its order, whatever the sizes and whenever it is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/spool.h"
#include "core/util.h"

#define RECORDS 3000

/* Sizes on both sides of the buffers, and mostly small ones. */
static size_t size_of(unsigned n)
{
    static const size_t special[] = {0, 1, 4091, 4092, 4093, 131067, 131068, 131069, 200000, SPOOL_RECORD_MAX};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_come_back_in_order),
        cmocka_unit_test(test_reader_sees_what_is_put_while_it_reads),
        cmocka_unit_test(test_cleared_spool_is_empty_and_can_be_filled_again),
        cmocka_unit_test(test_folder_that_is_not_there_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
