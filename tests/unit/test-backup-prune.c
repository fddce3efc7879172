/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Retention by tables. */
#include "tests/unit/backup-fixture.h"

#include <time.h>

#define DAY  86400
#define NOON 1795003200 /* a Wednesday in 2026, 12:00 UTC */

struct history {
    struct set_info sets[40];
    struct set_stream streams[40];
    struct prune_row rows[40];
    struct marks marks;
    size_t n;
};

static void add_set(struct history *h, int64_t time_s, const char *image)
{
    struct set_info *s = &h->sets[h->n];
    struct set_stream *st = &h->streams[h->n];
    *st = (struct set_stream){.id = {.kind = STREAM_BASE, .number = 1}};
    (void)snprintf(st->id.name, sizeof(st->id.name), "%s", image);
    *s = (struct set_info){.number = h->n + 1, .time_s = time_s, .streams = st, .n_streams = 1};
    (void)snprintf(s->id, sizeof(s->id), "2026-01-01T000000Z-%04zx", h->n);
    h->n++;
}

/* One set a day at noon, @n days, the last one at NOON. */
static void daily(struct history *h, size_t n)
{
    *h = (struct history){0};
    for (size_t i = 0; i < n; i++)
        add_set(h, NOON - (int64_t)(n - 1 - i) * DAY, "win");
}

/* "kkd": kept or deleted, oldest first. */
static const char *plan(struct history *h, const struct keep_rules *rules, int64_t now_s)
{
    static char text[41];
    struct err err = {""};
    ok(prune_plan(h->sets, h->n, &h->marks, rules, now_s, h->rows, &err));
    for (size_t i = 0; i < h->n; i++) {
        text[i] = h->rows[i].is_kept ? 'k' : 'd';
        assert_true(h->rows[i].is_kept == (h->rows[i].why[0] != 0));
    }
    text[h->n] = 0;
    return text;
}

static void test_rules_keep_the_newest_of_each_period(void **state)
{
    (void)state;
    struct history h;
    daily(&h, 14);
    assert_string_equal(plan(&h, &(struct keep_rules){.last = 3}, NOON), "dddddddddddkkk");
    assert_string_equal(plan(&h, &(struct keep_rules){.daily = 2}, NOON), "ddddddddddddkk");
    assert_string_equal(plan(&h, &(struct keep_rules){.weekly = 2}, NOON), "ddddddddddkddk");
    assert_string_equal(plan(&h, &(struct keep_rules){.within_s = 4 * DAY}, NOON), "ddddddddddkkkk");
    assert_string_equal(plan(&h, &(struct keep_rules){.yearly = 5}, NOON), "dddddddddddddk");
    assert_string_equal(plan(&h, &(struct keep_rules){.last = 1, .weekly = 3}, NOON), "dddkddddddkddk");
    add_set(&h, NOON + 60, "win");
    assert_string_equal(plan(&h, &(struct keep_rules){.hourly = 2}, NOON + 60), "ddddddddddddkdk");
    assert_string_equal(h.rows[14].why, "hourly 1 (win)");
}

static void test_rules_are_applied_to_each_image(void **state)
{
    (void)state;
    struct history h;
    daily(&h, 3);
    add_set(&h, NOON + 3600, "games");
    add_set(&h, NOON + 7200, "games");
    assert_string_equal(plan(&h, &(struct keep_rules){.last = 1}, NOON + 7200), "ddkdk");
}

static void test_pinned_damaged_and_last_good_sets_stay(void **state)
{
    (void)state;
    struct history h;
    daily(&h, 6);
    marks_set_need(&h.marks, h.sets[0].id)->is_pinned = true;
    marks_set_need(&h.marks, h.sets[5].id)->is_bad = true;
    h.sets[2].problem = -EBADMSG;
    assert_string_equal(plan(&h, &(struct keep_rules){.last = 1}, NOON), "kdkdkk"); /* 5 is no good: 4 is the last */
    assert_string_equal(h.rows[4].why, "last 1 (win)");
    marks_finish(&h.marks);
}

static void test_sets_of_a_wrong_clock_take_nobodys_place(void **state)
{
    (void)state;
    struct err err = {""};
    struct history h;
    daily(&h, 4);
    add_set(&h, 1000, "win"); /* the clock was at 1970 */
    assert_string_equal(plan(&h, &(struct keep_rules){.daily = 2}, NOON), "ddkkk");
    add_set(&h, NOON + 400 * DAY, "win");
    assert_int_equal(prune_plan(h.sets, h.n, &h.marks, &(struct keep_rules){.daily = 2}, NOON, h.rows, &err), -ETIME);
    assert_int_equal(prune_plan(h.sets, 3, &h.marks, &(struct keep_rules){0}, NOON, h.rows, &err), -EINVAL);
}

static void test_span_is_parsed(void **state)
{
    (void)state;
    struct err err;
    int64_t s;
    ok(span_parse("12h", &s, &err));
    assert_int_equal(s, 12 * 3600);
    ok(span_parse("6w", &s, &err));
    assert_int_equal(s, 42 * DAY);
    static const char *const bad[] = {"", "d", "0d", "-1d", "5", "5x", "5dd", "99999999999999999999d", " 5d"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(span_parse(bad[i], &s, &err), -EINVAL);
}

int main(void)
{
    (void)setenv("TZ", "UTC", 1);
    tzset();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_keep_the_newest_of_each_period),
        cmocka_unit_test(test_rules_are_applied_to_each_image),
        cmocka_unit_test(test_pinned_damaged_and_last_good_sets_stay),
        cmocka_unit_test(test_sets_of_a_wrong_clock_take_nobodys_place),
        cmocka_unit_test(test_span_is_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
