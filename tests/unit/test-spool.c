/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Spools: what is put comes back in its order, whatever the sizes and whenever it is read. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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

/* --- behind another thread ---------------------------------------------------------------------------------------- */

struct behind {
    struct spool *s;
    pthread_t thread;
    struct spool_reader reader;
    unsigned records; /* that were read */
    bool is_right;
    int end; /* what the last spool_next() said */
    struct err err;
};

static bool is_record(unsigned n, const char *p, size_t len)
{
    if (len != size_of(n))
        return false;
    for (size_t i = 0; i < len; i++)
        if (p[i] != byte_of(n, i))
            return false;
    return true;
}

static void *read_behind(void *arg)
{
    struct behind *b = arg;
    const char *p;
    size_t len;
    b->is_right = true;
    spool_reader_behind(&b->reader, b->s);
    while ((b->end = spool_next(&b->reader, &p, &len, &b->err)) > 0)
        b->is_right = is_record(b->records++, p, len) && b->is_right;
    spool_reader_finish(&b->reader);
    return NULL;
}

static void start_behind(struct behind *b, struct spool *s)
{
    *b = (struct behind){.s = s};
    assert_int_equal(pthread_create(&b->thread, NULL, read_behind, b), 0);
}

static void join(struct behind *b, int end, unsigned records)
{
    assert_int_equal(pthread_join(b->thread, NULL), 0);
    assert_true(b->is_right);
    assert_int_equal(b->end, end);
    if (end == 0)
        assert_int_equal(b->records, records);
    else
        assert_true(b->records <= records);
}

static void test_readers_behind_another_thread_get_all_of_it(void **state)
{
    struct behind first, second, late;
    struct spool *s;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    for (unsigned round = 0; round < 3; round++) {
        put(s, 0); /* before it grows */
        spool_grow_begin(s);
        start_behind(&first, s);
        start_behind(&second, s);
        for (unsigned i = 1; i < RECORDS; i++) {
            put(s, i);
            if (i == RECORDS / 3)
                check_all(s, i + 1); /* a reader of this thread, which writes what there is */
        }
        assert_int_equal(spool_grow_end(s, true, NULL), 0);
        start_behind(&late, s);
        check_all(s, RECORDS);
        join(&first, 0, RECORDS);
        join(&second, 0, RECORDS);
        join(&late, 0, RECORDS);
        assert_int_equal(spool_clear(s, NULL), 0);
    }
    spool_destroy(s);
}

static void test_reader_behind_an_empty_spool_waits_for_its_end(void **state)
{
    struct behind b;
    struct spool *s;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    spool_grow_begin(s);
    start_behind(&b, s);
    assert_int_equal(spool_grow_end(s, true, NULL), 0);
    join(&b, 0, 0);
    spool_destroy(s);
}

static void test_reader_behind_stops_when_the_other_thread_gives_up(void **state)
{
    struct behind b;
    struct spool *s;
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    for (unsigned n = 0; n < RECORDS; n += RECORDS / 3) {
        spool_grow_begin(s);
        start_behind(&b, s);
        for (unsigned i = 0; i < n; i++)
            put(s, i);
        assert_int_equal(spool_grow_end(s, false, NULL), 0);
        assert_int_equal(spool_grow_end(s, true, NULL), 0); /* it does not grow any more */
        join(&b, -ECANCELED, n);
        assert_true(*b.err.msg);
        assert_int_equal(spool_clear(s, NULL), 0);
    }
    spool_destroy(s);
}

static void test_reader_behind_stops_when_the_end_cannot_be_written(void **state)
{
    struct rlimit all, some;
    struct behind b;
    struct spool *s;
    struct err err = {0};
    (void)state;
    assert_int_equal(spool_create(&s, NULL), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    some = (struct rlimit){1000, all.rlim_max};
    assert_ptr_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    spool_grow_begin(s);
    start_behind(&b, s);
    for (unsigned i = 6; i < 40; i++) /* less than a buffer, more than the limit */
        put(s, i);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &some), 0);
    int r = spool_grow_end(s, true, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    assert_int_equal(r, -EFBIG);
    assert_true(*err.msg);
    join(&b, -ECANCELED, 0);
    spool_destroy(s);
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
        cmocka_unit_test(test_readers_behind_another_thread_get_all_of_it),
        cmocka_unit_test(test_reader_behind_an_empty_spool_waits_for_its_end),
        cmocka_unit_test(test_reader_behind_stops_when_the_other_thread_gives_up),
        cmocka_unit_test(test_reader_behind_stops_when_the_end_cannot_be_written),
        cmocka_unit_test(test_records_come_back_by_key_and_equal_ones_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
