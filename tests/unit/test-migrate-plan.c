/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of an import: paths of the old server, and one row against the catalog (the table in migrate/plan.h, line by line). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/paths.h"
#include "migrate/plan-merge.h"

/* --- paths -------------------------------------------------------------------------------------------------------- */

static void add_rule(struct path_rules *p, const char *from, const char *to)
{
    struct path_rule rule;
    (void)snprintf(rule.from, sizeof(rule.from), "%s", from);
    (void)snprintf(rule.to, sizeof(rule.to), "%s", to);
    assert_int_equal(path_rules_add(p, &rule), 0);
}

static const struct {
    const char *path, *want; /* NULL: no rule fits */
} mapped[] = {
    {"D:/Images/win.img", "/srv/images/win.img"},
    {"d:/IMAGES/Sub/win.img", "/srv/sub/win.img"},
    {"D:/Images/Sub2/win.img", "/srv/images/Sub2/win.img"},
    {"D:/Images2/win.img", NULL},
    {"D:/win.img", NULL},
    {"E:/deep/er/x.vhd", "/mnt/e/deep/er/x.vhd"},
    {"//NAS01/ccboot/a.img", "/mnt/nas/a.img"},
    {"/NAS01/ccboot/a.img", NULL},
    {"//NAS01/other/a.img", NULL},
    {"D:/Images/../secret.img", NULL},
    {"D:/Images/./win.img", NULL},
    {"D:/镜像/系统.img", "/srv/zh/系统.img"},
};

static void test_longest_rule_that_fits_whole_components_wins(void **state)
{
    struct path_rules p = {0};
    char ret[PATH_MAX];
    (void)state;
    add_rule(&p, "D:\\Images\\", "/srv/images");
    add_rule(&p, "D:\\images\\SUB", "/srv/sub");
    add_rule(&p, "e:", "/mnt/e");
    add_rule(&p, "\\\\nas01\\CCBoot\\\\", "/mnt/nas");
    add_rule(&p, "D:\\镜像", "/srv/zh");
    for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++) {
        bool fits = path_map(&p, mapped[i].path, ret);
        assert_int_equal(fits, mapped[i].want != NULL);
        if (fits)
            assert_string_equal(ret, mapped[i].want);
    }
    path_rules_finish(&p);
}

static void test_later_rule_of_the_same_length_wins(void **state)
{
    struct path_rules p = {0};
    char ret[PATH_MAX];
    (void)state;
    add_rule(&p, "D:\\Images", "/a");
    add_rule(&p, "d:/images", "/b");
    assert_true(path_map(&p, "D:/Images/x", ret));
    assert_string_equal(ret, "/b/x");
    path_rules_finish(&p);
}

static void test_path_that_gets_too_long_is_not_mapped(void **state)
{
    struct path_rules p = {0};
    char ret[PATH_MAX], *path = malloc(2 * PATH_MAX);
    (void)state;
    assert_non_null(path);
    add_rule(&p, "D:", "/srv");
    strcpy(path, "D:");
    while (strlen(path) + 12 < 2 * PATH_MAX - 1)
        strcat(path, "/component9");
    assert_false(path_map(&p, path, ret));
    memset(path + 3, 'x', 2000); /* one component longer than any file name */
    path[2003] = 0;
    assert_false(path_map(&p, path, ret));
    free(path);
    path_rules_finish(&p);
}

/* --- merge -------------------------------------------------------------------------------------------------------- */

struct fixture {
    struct import_row row;
    struct import_known known;
    bool is_seen[IMPORT_FIELDS];
    json_t *detail;
};

static struct fixture *begin(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->row.mac, "52:54:00:aa:bb:cc");
    for (int i = 0; i < IMPORT_FIELDS; i++)
        f->is_seen[i] = true;
    return f;
}

static void end(struct fixture *f)
{
    json_decref(f->detail);
    free(f);
}

static void merge(struct fixture *f)
{
    plan_merge(&f->row, &f->known, f->is_seen, &f->detail);
}

/* A client that was imported with the group @given from a source that said the same, has @now here and @src there. */
static struct fixture *known_client(const char *given, const char *now, const char *src)
{
    struct fixture *f = begin();
    f->known.client_id = f->known.tracked_id = 7;
    f->known.is_tracked = true;
    strcpy(f->known.src.f[IMPORT_NAME], "pc1");
    strcpy(f->known.src.f[IMPORT_GROUP], given);
    f->known.given = f->known.now = f->known.src;
    strcpy(f->known.now.f[IMPORT_GROUP], now);
    strcpy(f->row.src.f[IMPORT_NAME], "pc1");
    strcpy(f->row.src.f[IMPORT_GROUP], src);
    return f;
}

static const struct {
    const char *given, *now, *src;
    enum import_fate fate;
    const char *want, *remembered;
} table[] = {
    {"a", "a", "a", IMPORT_UNCHANGED, "a", "a"}, {"a", "a", "b", IMPORT_CHANGED, "b", "b"},
    {"a", "b", "a", IMPORT_KEPT, "b", "a"},      {"a", "b", "b", IMPORT_UNCHANGED, "b", "b"},
    {"a", "b", "c", IMPORT_KEPT, "b", "a"},      {"a", "a", "", IMPORT_CHANGED, "", ""},
    {"", "b", "", IMPORT_KEPT, "b", ""},         {"", "", "c", IMPORT_CHANGED, "c", "c"},
};

static void test_three_states_are_compared_field_by_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct fixture *f = known_client(table[i].given, table[i].now, table[i].src);
        merge(f);
        assert_int_equal(f->row.fate, table[i].fate);
        assert_string_equal(f->row.want.f[IMPORT_GROUP], table[i].want);
        assert_string_equal(f->row.given.f[IMPORT_GROUP], table[i].remembered);
        assert_int_equal(json_array_size(f->detail), table[i].fate != IMPORT_UNCHANGED);
        end(f);
    }
}

static void test_change_and_edit_of_two_fields_are_both_told(void **state)
{
    struct fixture *f = known_client("a", "b", "c");
    (void)state;
    strcpy(f->row.src.f[IMPORT_IP], "10.0.0.9");
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_CHANGED);
    assert_string_equal(f->row.want.f[IMPORT_IP], "10.0.0.9");
    assert_string_equal(f->row.want.f[IMPORT_GROUP], "b");
    assert_int_equal(json_array_size(f->detail), 2);
    end(f);
}

static void test_field_that_the_source_does_not_have_says_nothing(void **state)
{
    struct fixture *f = known_client("a", "a", "");
    (void)state;
    f->is_seen[IMPORT_GROUP] = false;
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_UNCHANGED);
    assert_string_equal(f->row.want.f[IMPORT_GROUP], "a");
    assert_string_equal(f->row.src.f[IMPORT_GROUP], "a");
    end(f);
}

static void test_name_is_never_taken_away(void **state)
{
    struct fixture *f = known_client("a", "a", "a");
    (void)state;
    f->row.src.f[IMPORT_NAME][0] = 0;
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_UNCHANGED);
    assert_string_equal(f->row.want.f[IMPORT_NAME], "pc1");
    end(f);
}

static void test_client_from_elsewhere_keeps_what_it_has(void **state)
{
    struct fixture *f = known_client("", "", "vip");
    (void)state;
    f->known.is_tracked = false;
    strcpy(f->known.now.f[IMPORT_IP], "10.0.0.1");
    strcpy(f->row.src.f[IMPORT_IP], "10.0.0.2");
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_CHANGED);
    assert_string_equal(f->row.want.f[IMPORT_IP], "10.0.0.1");
    assert_string_equal(f->row.want.f[IMPORT_GROUP], "vip");
    end(f);
}

static void test_client_that_was_removed_here_is_not_made_again(void **state)
{
    struct fixture *f = known_client("a", "a", "b");
    (void)state;
    f->known.client_id = 0;
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_KEPT);
    assert_int_equal(f->row.client_id, 0);
    assert_non_null(strstr(f->row.reason, "removed here"));
    end(f);
}

static void test_new_client_without_a_usable_name_is_called_by_its_mac(void **state)
{
    struct fixture *f = begin();
    (void)state;
    merge(f);
    assert_int_equal(f->row.fate, IMPORT_NEW);
    assert_string_equal(f->row.want.f[IMPORT_NAME], "pc-aabbcc");
    assert_string_equal(f->row.src.f[IMPORT_NAME], "");
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_rule_that_fits_whole_components_wins),
        cmocka_unit_test(test_later_rule_of_the_same_length_wins),
        cmocka_unit_test(test_path_that_gets_too_long_is_not_mapped),
        cmocka_unit_test(test_three_states_are_compared_field_by_field),
        cmocka_unit_test(test_change_and_edit_of_two_fields_are_both_told),
        cmocka_unit_test(test_field_that_the_source_does_not_have_says_nothing),
        cmocka_unit_test(test_name_is_never_taken_away),
        cmocka_unit_test(test_client_from_elsewhere_keeps_what_it_has),
        cmocka_unit_test(test_client_that_was_removed_here_is_not_made_again),
        cmocka_unit_test(test_new_client_without_a_usable_name_is_called_by_its_mac),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
