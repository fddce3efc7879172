/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables and JSON from the same rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "cli/output.h"

static const struct column columns[] = {
    {"name", "NAME", COL_TEXT}, {"size_bytes", "SIZE", COL_SIZE}, {"count", "N", COL_NUMBER},
    {"is_up", "UP", COL_YES},   {"users", "USERS", COL_COUNT},    {"words", "WORDS", COL_WORDS},
    {"extra", NULL, COL_JSON},  {"shown", "SHOWN", COL_SHOWN},    {0}};

static json_t *sample_rows(void)
{
    return json_pack(
        "[{s:s, s:I, s:i, s:b, s:[s,s], s:[s,s], s:{s:i}, s:s}, {s:s, s:n, s:i, s:b, s:[], s:[], s:n, s:s}]", "name",
        "pc1", "size_bytes", (json_int_t)1536, "count", 7, "is_up", 1, "users", "a", "b", "words", "x", "y", "extra",
        "k", 1, "shown", "hello", "name", "a-long-name", "size_bytes", "count", 12, "is_up", 0, "users", "words",
        "extra", "shown", "");
}

/* All that @o prints; to be free()d. */
static char *printed(struct out *o)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_int_equal(out_flush(o, f), 0);
    (void)fclose(f);
    return text;
}

static void test_output_table_aligns_columns(void **state)
{
    struct out o;
    json_t *rows = sample_rows();
    assert_non_null(rows);
    assert_int_equal(out_init(&o, false), 0);
    out_table(&o, "clients", columns, rows, "none");
    char *text = printed(&o);
    assert_string_equal(text, "NAME            SIZE   N  UP   USERS  WORDS  SHOWN\n"
                              "pc1          1.5 KiB   7  yes      2  x, y   hello\n"
                              "a-long-name        -  12  no       0  -      -\n");
    free(text);
    out_finish(&o);
    json_decref(rows);
}

static void test_output_table_does_without_columns_that_may_go(void **state)
{
    static const struct column some[] = {{"name", "NAME", COL_TEXT},
                                         {"is_up", "UP", COL_YES, true},
                                         {"is_off", "OFF", COL_YES, true},
                                         {"size_bytes", "SIZE", COL_SIZE, true},
                                         {"count", "N", COL_NUMBER, true},
                                         {"comment", "COMMENT", COL_TEXT, true},
                                         {0}};
    json_t *rows = json_pack("[{s:s,s:b,s:b,s:n,s:n,s:s},{s:s,s:b,s:b,s:n,s:i,s:s}]", "name", "a", "is_up", 0, "is_off",
                             0, "size_bytes", "count", "comment", "", "name", "b", "is_up", 1, "is_off", 0,
                             "size_bytes", "count", 0, "comment", "");
    struct out o;
    assert_non_null(rows);
    assert_int_equal(out_init(&o, false), 0);
    out_table(&o, "clients", some, rows, "none");
    char *text = printed(&o);
    assert_string_equal(text, "NAME  UP   N\n"
                              "a     no   -\n"
                              "b     yes  0\n");
    free(text);
    out_finish(&o);
    assert_int_equal(out_init(&o, true), 0);
    out_table(&o, "clients", some, rows, "none");
    assert_int_equal(json_object_size(json_array_get(json_object_get(o.object, "clients"), 0)), 6);
    out_finish(&o);
    json_decref(rows);
}

static void test_output_json_has_the_columns_and_raw_numbers(void **state)
{
    struct out o;
    json_t *rows = sample_rows();
    (void)json_object_set_new(json_array_get(rows, 0), "secret", json_string("hidden"));
    assert_int_equal(out_init(&o, true), 0);
    out_table(&o, "clients", columns, rows, "none");
    out_line(&o, "text only");
    char *text = printed(&o);
    json_t *back = json_loads(text, 0, NULL), *row = json_array_get(json_object_get(back, "clients"), 0);
    assert_int_equal(json_object_size(back), 1);
    assert_int_equal(json_integer_value(json_object_get(row, "size_bytes")), 1536);
    assert_true(json_is_true(json_object_get(row, "is_up")));
    assert_int_equal(json_array_size(json_object_get(row, "users")), 2);
    assert_null(json_object_get(row, "secret"));
    assert_null(json_object_get(row, "shown"));
    json_decref(back);
    free(text);
    out_finish(&o);
    json_decref(rows);
}

static void test_output_missing_key_is_null_in_json(void **state)
{
    struct out o;
    json_t *rows = json_pack("[{s:s}]", "name", "pc1");
    assert_int_equal(out_init(&o, true), 0);
    out_table(&o, "clients", columns, rows, NULL);
    json_t *row = json_array_get(json_object_get(o.object, "clients"), 0);
    assert_true(json_is_null(json_object_get(row, "size_bytes")));
    out_finish(&o);
    json_decref(rows);
}

static void test_output_empty_table_says_so_in_text_only(void **state)
{
    for (int is_json = 0; is_json < 2; is_json++) {
        struct out o;
        json_t *rows = json_array();
        assert_int_equal(out_init(&o, is_json), 0);
        out_table(&o, "clients", columns, rows, "no clients yet");
        char *text = printed(&o);
        assert_string_equal(text, is_json ? "{\n  \"clients\": []\n}\n" : "no clients yet\n");
        free(text);
        out_finish(&o);
        json_decref(rows);
    }
}

static void test_output_fields_leave_out_empty_values(void **state)
{
    struct out o;
    json_t *row = json_pack("{s:s, s:s, s:I}", "name", "win10", "shown", "", "size_bytes", (json_int_t)512);
    assert_int_equal(out_init(&o, false), 0);
    out_fields(&o, columns, row);
    char *text = printed(&o);
    assert_string_equal(text, "NAME:   win10\nSIZE:   512 B\n");
    free(text);
    out_finish(&o);
    json_decref(row);
}

static void test_output_never_sends_control_characters_to_a_terminal(void **state)
{
    struct out o;
    json_t *rows = json_pack("[{s:s}]", "name",
                             "a\033[31m\n\xc2\x9b"
                             "b\x7f\xc3\xa4");
    assert_int_equal(out_init(&o, false), 0);
    out_table(&o, "clients", columns, rows, NULL);
    char *text = printed(&o);
    assert_non_null(strstr(text, "a\\x1b[31m\\x0a\\x9bb\\x7f\xc3\xa4 "));
    assert_null(strchr(text, '\033'));
    free(text);
    out_finish(&o);
    json_decref(rows);
}

static void test_output_counts_characters_not_bytes(void **state)
{
    struct out o;
    json_t *rows = json_pack("[{s:s, s:s}, {s:s, s:s}]", "a",
                             "Gr\xc3\xbc\xc3\x9f"
                             "e",
                             "b", "x", "a", "abcde", "b", "y");
    const struct column two[] = {{"a", "A", COL_TEXT}, {"b", "B", COL_TEXT}, {0}};
    assert_int_equal(out_init(&o, false), 0);
    out_table(&o, "rows", two, rows, NULL);
    char *text = printed(&o);
    assert_string_equal(text, "A      B\nGr\xc3\xbc\xc3\x9f"
                              "e  x\nabcde  y\n");
    free(text);
    out_finish(&o);
    json_decref(rows);
}

static void test_output_string_replaces_what_is_not_utf8(void **state)
{
    const struct {
        const char *in, *out;
    } cases[] = {{"plain", "plain"},
                 {"a\xff"
                  "b",
                  "a\xef\xbf\xbd"
                  "b"},
                 {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
                 {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
                 {"\xc3", "\xef\xbf\xbd"},
                 {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *s = out_string(cases[i].in);
        assert_string_equal(json_string_value(s), cases[i].out);
        json_decref(s);
    }
    json_t *null = out_string(NULL);
    assert_true(json_is_null(null));
    json_decref(null);
}

static void test_output_flush_reports_a_full_disk(void **state)
{
    for (int is_json = 0; is_json < 2; is_json++) {
        struct out o;
        FILE *full = fopen("/dev/full", "w");
        if (!full)
            skip();
        assert_int_equal(out_init(&o, is_json), 0);
        out_line(&o, "hello");
        assert_int_equal(out_flush(&o, full), -ENOSPC);
        (void)fclose(full);
        out_finish(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_table_aligns_columns),
        cmocka_unit_test(test_output_table_does_without_columns_that_may_go),
        cmocka_unit_test(test_output_json_has_the_columns_and_raw_numbers),
        cmocka_unit_test(test_output_missing_key_is_null_in_json),
        cmocka_unit_test(test_output_empty_table_says_so_in_text_only),
        cmocka_unit_test(test_output_fields_leave_out_empty_values),
        cmocka_unit_test(test_output_never_sends_control_characters_to_a_terminal),
        cmocka_unit_test(test_output_counts_characters_not_bytes),
        cmocka_unit_test(test_output_string_replaces_what_is_not_utf8),
        cmocka_unit_test(test_output_flush_reports_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
