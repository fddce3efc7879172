/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Large tables: a few of their rows say what their columns mean, whatever the order of the rows is, and where they cannot, more are read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"
#include "migrate/mapping.h"
#include "migrate/profile.h"
#include "tests/unit/fake-source.h"

#define ROWS 60000

static void destroy_profile(struct profile **p)
{
    profile_destroy(*p);
}

static struct profile *profile(struct source *s, bool is_close)
{
    struct err err = {""};
    struct profile *p = NULL;
    int r = profile_make(s, 0, is_close, &p, &err);
    if (r < 0)
        fail_msg("%d: %s", r, err.msg);
    return p;
}

/* The mapping as it is saved. */
static char *detected(struct source *s, int expected)
{
    struct err err = {""};
    _cleanup_(mapping_destroyp) struct mapping *m = NULL;
    char *text = NULL;
    size_t len;
    int r = mapping_detect(s, &m, &err);
    if (r != expected)
        fail_msg("%d: %s", r, err.msg);
    FILE *f = open_memstream(&text, &len);
    assert_int_equal(mapping_save(m, f), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void has(const char *text, const char *piece)
{
    if (!strstr(text, piece))
        fail_msg("'%s' is not in:\n%s", piece, text);
}

static void has_not(const char *text, const char *piece)
{
    if (strstr(text, piece))
        fail_msg("'%s' is in:\n%s", piece, text);
}

static char *mac(size_t number, char *buf)
{
    (void)snprintf(buf, 256, "00-1B-21-%02zX-%02zX-%02zX", number >> 16 & 255, number >> 8 & 255, number & 255);
    return buf;
}

static char *say(char *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static char *say(char *buf, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(buf, 256, format, ap);
    va_end(ap);
    return buf;
}

/* --- the order of rows ---------------------------------------------------------------------------------------------- */

#define EMPTY 25000 /* more than are read from the beginning */

/* First come seats without a PC, then test PCs that are switched off and have the image of the workshop, then the others. */
static char *sorted_value(size_t row, size_t column, char *buf)
{
    bool is_empty = row < EMPTY, is_test = row < EMPTY + 2000;
    switch (column) {
    case 0:
        return say(buf, "%zu", row + 1);
    case 1:
        return is_empty ? NULL : is_test ? say(buf, "TEST") : say(buf, "PC%05zu", row);
    case 2:
        return is_empty ? NULL : mac(row, buf);
    case 3:
        return say(buf, "%d", !is_test);
    default:
        return is_empty ? NULL : is_test ? say(buf, "workshop") : say(buf, "D:\\Images\\win%zu.vhd", row % 3);
    }
}
static const struct fake_table sorted_site[] = {
    {"Clients", {"ID:int", "Name:text", "MAC:text", "Enabled:bool", "Image:text", NULL}, NULL, ROWS, sorted_value}};

static void test_profile_of_a_sorted_table_sees_its_end(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(sorted_site, 1);
    _cleanup_free_ char *text = detected(s, 0);
    has(text, "\nkey = ID\n");
    has(text, "\nname = Name\n");
    has(text, "\nmac = MAC\n");
    has(text, "\nenabled = Enabled\n");
    has(text, "\nimage = Image\n");
}

static void test_profile_says_how_much_it_has_seen(void **state)
{
    char expected[160], how[160];
    _cleanup_(source_closep) struct source *s = fake_source(sorted_site, 1);
    _cleanup_(destroy_profile) struct profile *sample = profile(s, false), *close = profile(s, true);
    assert_true(sample->is_sample && !sample->is_whole && sample->rows <= PROFILE_SAMPLE);
    assert_true(!close->is_sample && !close->is_whole && close->rows == PROFILE_ROWS);
    (void)snprintf(expected, sizeof(expected), "%llu of its 60000 rows were looked at, picked from all over the table.",
                   (unsigned long long)sample->rows);
    profile_how(sample, how, sizeof(how));
    assert_string_equal(how, expected);
    profile_how(close, how, sizeof(how));
    assert_string_equal(how, "Its first 20000 rows were looked at.");
    _cleanup_free_ char *text = detected(s, 0);
    has(text, expected);
    (void)snprintf(expected, sizeof(expected), "%llu of %llu values are MACs, %llu different",
                   (unsigned long long)sample->columns[2].macs, (unsigned long long)sample->columns[2].filled,
                   (unsigned long long)sample->columns[2].distinct_macs);
    has(text, expected);
}

static void test_profile_of_a_small_table_is_whole(void **state)
{
    static const struct fake_table site[] = {
        {"Clients", {"ID:int", "Name:text", "MAC:text", NULL}, NULL, PROFILE_WHOLE, sorted_value}};
    char how[160];
    _cleanup_(source_closep) struct source *s = fake_source(site, 1);
    _cleanup_(destroy_profile) struct profile *p = profile(s, false);
    assert_true(p->is_whole && !p->is_sample && p->rows == PROFILE_WHOLE);
    profile_how(p, how, sizeof(how));
    assert_string_equal(how, "");
}

/* --- how many different ones ---------------------------------------------------------------------------------------- */

/* Each value once | twice in a row | three times, far from each other | twenty times | nine of ten once, else all the same. */
static char *repeated_value(size_t row, size_t column, char *buf)
{
    static const size_t places[] = {ROWS, 0, ROWS / 3, ROWS / 20};
    size_t number = column == 1 ? row / 2 : column == 4 ? (row % 10 ? row : 0) : row % places[column];
    return say(buf, "value %zu", number);
}
static const struct fake_table repeated_site[] = {
    {"Values", {"a:text", "b:text", "c:text", "d:text", "e:text", NULL}, NULL, ROWS, repeated_value}};

static void test_profile_reckons_how_many_values_are_different(void **state)
{
    static const double truth[] = {1, 1.0 / 2, 1.0 / 3, 1.0 / 20, 0.9};
    _cleanup_(source_closep) struct source *s = fake_source(repeated_site, 1);
    _cleanup_(destroy_profile) struct profile *p = profile(s, false);
    for (size_t i = 0; i < ARRAY_SIZE(truth); i++) {
        double share = p->columns[i].different / (double)p->columns[i].filled;
        if (share < truth[i] * 0.7 || share > truth[i] * 1.4)
            fail_msg("column %zu: %.3f instead of %.3f", i, share, truth[i]);
    }
    assert_true(profile_is_key(p, 0));
    assert_false(profile_is_key(p, 1) || profile_is_key(p, 3));
}

/* Who has booked which PC: each PC comes once a week. */
static char *log_value(size_t row, size_t column, char *buf)
{
    if (column == 1)
        return mac(row % 4000, buf);
    return column == 0 ? say(buf, "%zu", row) : say(buf, "PC%05zu", row % 4000);
}
static const struct fake_table log_site[] = {
    {"Bookings", {"ID:int", "MAC:text", "Name:text", NULL}, NULL, ROWS, log_value}};

static void test_profile_does_not_take_a_log_for_clients(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(log_site, 1);
    _cleanup_free_ char *text = detected(s, -ENODATA);
    has_not(text, "\nmac = ");
}

/* --- what a sample cannot say --------------------------------------------------------------------------------------- */

/* Only fifteen of the first PCs have a game disk. */
static char *rare_value(size_t row, size_t column, char *buf)
{
    if (column < 4)
        return sorted_value(row + EMPTY + 2000, column < 3 ? column : 4, buf);
    return row % 1000 == 7 && row < 15000 ? say(buf, "G:\\Games\\games%zu.vhd", row % 2) : NULL;
}
static const struct fake_table rare_site[] = {
    {"Clients", {"ID:int", "Name:text", "MAC:text", "Image:text", "GameDisk:text", NULL}, NULL, ROWS, rare_value}};

static void test_profile_is_closer_where_values_are_rare(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(rare_site, 1);
    _cleanup_free_ char *text = detected(s, 0);
    has(text, "\nimage = Image\n");
    has(text, "\ndata = GameDisk\n");
    has(text, "15 values are paths of disk files");
    has(text, "Its first 20000 rows were looked at.");
}

static char *station_value(size_t row, size_t column, char *buf)
{
    return column == 0 ? say(buf, "%zu", row + 1) : rare_value(row, column, buf);
}

static char *join_value(size_t row, size_t column, char *buf)
{
    return say(buf, "%zu", column == 0 ? row + 1 : row % 2 + 1);
}
static const char *const join_images[][FAKE_COLUMNS] = {{"1", "Windows", "D:\\Images\\w.vhd"},
                                                        {"2", "Linux", "D:\\Images\\l.vhd"}};
static const struct fake_table join_site[] = {
    {"Stations", {"StationNo:int", "Name:text", "MAC:text", NULL}, NULL, ROWS / 2, station_value},
    {"StationImages", {"StationNo:int", "ImageID:int", NULL}, NULL, ROWS / 2, join_value},
    {"Images", {"ImageID:int", "Title:text", "Path:text", NULL}, join_images, 2, NULL},
};

static void test_profile_is_closer_where_tables_are_joined(void **state)
{
    _cleanup_(source_closep) struct source *s = fake_source(join_site, ARRAY_SIZE(join_site));
    _cleanup_free_ char *text = detected(s, 0);
    has(text, "\nimage = StationNo -> StationImages.StationNo, ImageID -> Images.ImageID : Path label Title\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_of_a_sorted_table_sees_its_end),
        cmocka_unit_test(test_profile_says_how_much_it_has_seen),
        cmocka_unit_test(test_profile_of_a_small_table_is_whole),
        cmocka_unit_test(test_profile_reckons_how_many_values_are_different),
        cmocka_unit_test(test_profile_does_not_take_a_log_for_clients),
        cmocka_unit_test(test_profile_is_closer_where_values_are_rare),
        cmocka_unit_test(test_profile_is_closer_where_tables_are_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
