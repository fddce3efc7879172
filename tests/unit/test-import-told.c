/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of an import that a second thread tells along with the plan, and while new clients are inserted; and a third one that sorts them. */
#include <pthread.h>

#include "core/catalog-import-priv.h"
#include "tests/unit/catalog-look.h"

#define ROWS 4000 /* some buffers of each spool */

/* --- the rows ----------------------------------------------------------------------------------------------------- */

/* Row @n; each tenth has no MAC and a fate from the start. */
static bool is_open(unsigned n)
{
    return n % 10 != 3;
}

static void fill(struct import_row *row, unsigned n)
{
    memset(row, 0, sizeof(*row));
    row->row = n;
    row->rest = n % 2 ? "{\"a\":\"b\"}" : "";
    (void)snprintf(row->source_id, sizeof(row->source_id), "%u", n + 7);
    (void)snprintf(row->raw_name, sizeof(row->raw_name), "PC %u", n);
    (void)snprintf(row->src.f[IMPORT_NAME], IMPORT_FIELD_LEN, "pc%u", n);
    (void)snprintf(row->src.f[IMPORT_COMMENT], IMPORT_FIELD_LEN, "comment of row %u", n);
    (void)snprintf(row->src.f[IMPORT_IMAGES], IMPORT_FIELD_LEN, "b%u", n % 5);
    if (is_open(n)) {
        (void)snprintf(row->mac, sizeof(row->mac), "52:54:00:00:%02x:%02x", n >> 8 & 255, n & 255);
    } else {
        row->fate = IMPORT_CONFLICT;
        strcpy(row->reason, "bad MAC");
    }
}

static void stage(struct fixture *f, struct import *im)
{
    struct import_row *row = malloc(sizeof(*row));
    assert_non_null(row);
    for (unsigned n = 0; n < ROWS; n++) {
        fill(row, n);
        OK(f, import_row_add(im, row, &f->err));
    }
    OK(f, import_stage_end(im, IMPORT_DUP_CONFLICT, &f->err));
    free(row);
}

struct planning {
    struct import *im;
    unsigned left; /* rows to plan before it fails */
};

static int plan_row(void *arg, struct import_row *row, struct err *err)
{
    struct planning *p = arg;
    struct import_known known;
    if (p->left-- == 0)
        return err_set(err, -EINVAL, "it fails");
    int r = import_known(p->im, row->mac, &known, err);
    row->fate = IMPORT_NEW;
    row->want = row->given = row->src;
    strcpy(row->want.f[IMPORT_GROUP], "hall");
    return r < 0 ? r : import_row_plan(p->im, row, &known, err);
}

/* --- the other thread --------------------------------------------------------------------------------------------- */

struct telling {
    struct import *im;
    pthread_t thread;
    unsigned rows;
    bool is_right;
    int result;
    struct err err;
};

static bool has(const struct import_text *t, const char *text)
{
    return t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

static bool is_row(const struct import_told *told, unsigned n)
{
    static struct import_row want; /* of one thread at a time */
    fill(&want, n);
    for (int i = 0; i < IMPORT_FIELDS; i++)
        if (!has(&told->values[i], is_open(n) && i == IMPORT_GROUP ? "hall" : want.src.f[i]))
            return false;
    return told->row == n && told->is_planned == is_open(n) && strcmp(told->mac, want.mac) == 0 &&
           told->fate == (is_open(n) ? IMPORT_NEW : IMPORT_CONFLICT) && strcmp(told->source_id, want.source_id) == 0 &&
           strcmp(told->raw_name, want.raw_name) == 0 && strcmp(told->rest, want.rest) == 0 &&
           strcmp(told->images, want.src.f[IMPORT_IMAGES]) == 0 && strcmp(told->reason, want.reason) == 0;
}

static int note(void *arg, const struct import_told *row, struct err *err)
{
    struct telling *t = arg;
    (void)err;
    t->is_right = is_row(row, t->rows++) && t->is_right;
    return 0;
}

static void *tell(void *arg)
{
    struct telling *t = arg;
    t->is_right = true;
    t->result = import_each_told(t->im, true, note, t, &t->err);
    return NULL;
}

/* Up to the first row of the plan. @is_final: a thread sorts along. */
static void begin_plan(struct fixture *f, struct import *im, bool is_final)
{
    bool is_apart = false;
    int64_t run;
    OK(f, import_begin(im, is_final, &f->err));
    OK(f, import_run_begin(im, "file", "", &run, &f->err));
    OK(f, import_plan_begin(im, &f->err));
    OK(f, import_told_begin(im, &is_apart, &f->err));
    assert_true(is_apart);
    assert_int_equal(im->sorter != NULL, is_final);
}

/* Up to the end of the plan, of which @left rows are made; the other thread goes along. @is_final: the one that sorts, too. */
static int plan_for(struct fixture *f, struct import *im, struct telling *t, unsigned left, bool is_final)
{
    struct planning p = {im, left};
    begin_plan(f, im, is_final);
    *t = (struct telling){.im = im};
    assert_int_equal(pthread_create(&t->thread, NULL, tell, t), 0);
    int r = import_each(im, IMPORT_OPEN, plan_row, &p, &f->err);
    return r < 0 ? r : import_names(im, &f->err);
}

static int plan(struct fixture *f, struct import *im, struct telling *t, unsigned left)
{
    return plan_for(f, im, t, left, false);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_rows_are_told_along_with_the_plan(void **state)
{
    struct fixture *f = *state;
    struct import *im;
    struct telling t;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    OK(f, plan(f, im, &t, ROWS));
    OK(f, import_told_end(im, true, &f->err));
    OK(f, import_apply(im, &f->err)); /* the other thread need not be through */
    assert_int_equal(pthread_join(t.thread, NULL), 0);
    assert_int_equal(t.result, 0);
    assert_int_equal(t.rows, ROWS);
    assert_true(t.is_right);
    t = (struct telling){.im = im, .is_right = true};
    OK(f, import_each_told(im, false, note, &t, &f->err)); /* once more, without a thread */
    assert_true(t.is_right && t.rows == ROWS);
    OK(f, catalog_commit(f->c, &f->err));
    import_close(im);
}

static void test_telling_stops_when_the_plan_fails(void **state)
{
    static const unsigned left[] = {0, 1, ROWS / 2, ROWS - ROWS / 10 - 1};
    struct fixture *f = *state;
    struct import *im;
    struct telling t;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        assert_int_equal(plan(f, im, &t, left[i]), -EINVAL);
        OK(f, import_told_end(im, false, &f->err));
        assert_int_equal(pthread_join(t.thread, NULL), 0);
        assert_int_equal(t.result, -ECANCELED);
        assert_true(t.is_right && t.rows <= ROWS);
        catalog_rollback(f->c);
    }
    OK(f, plan(f, im, &t, ROWS)); /* all of it can be planned anew */
    OK(f, import_told_end(im, true, &f->err));
    assert_int_equal(pthread_join(t.thread, NULL), 0);
    assert_true(t.result == 0 && t.is_right && t.rows == ROWS);
    catalog_rollback(f->c);
    import_close(im);
}

/* Every open row is a client with what its row says, and ids go by name. */
static void expect_clients(struct fixture *f)
{
    assert_int_equal(count(f, "SELECT count(*) FROM client"), ROWS - ROWS / 10);
    assert_int_equal(count(f,
                           "SELECT count(*) FROM client WHERE comment = 'comment of row ' || substr(name, 3)"
                           " AND \"group\" = 'hall' AND chap_user = name AND overlay_dir = name"
                           " AND mac = printf('52:54:00:00:%02x:%02x', substr(name, 3) / 256, substr(name, 3) % 256)"),
                     ROWS - ROWS / 10);
    assert_int_equal(count(f, "SELECT count(*) FROM client a JOIN client b ON b.id = a.id + 1 WHERE a.name >= b.name"),
                     0);
}

static void join_teller(struct telling *t, int result)
{
    assert_int_equal(pthread_join(t->thread, NULL), 0);
    assert_int_equal(t->result, result);
}

static void test_rows_are_sorted_along_with_the_plan(void **state)
{
    struct fixture *f = *state;
    struct import *im;
    struct telling t;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    OK(f, plan_for(f, im, &t, ROWS, true));
    OK(f, import_told_end(im, true, &f->err));
    assert_null(im->sorter);
    OK(f, import_apply(im, &f->err));
    join_teller(&t, 0);
    OK(f, catalog_commit(f->c, &f->err));
    import_close(im);
    expect_clients(f);
}

/* Nothing of a plan that was given up is in the next one. */
static void test_sorting_begins_anew_after_a_plan_that_failed(void **state)
{
    static const unsigned left[] = {0, 1, ROWS / 2, ROWS - ROWS / 10 - 1};
    struct fixture *f = *state;
    struct import *im;
    struct telling t;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        assert_int_equal(plan_for(f, im, &t, left[i], true), -EINVAL);
        OK(f, import_told_end(im, false, &f->err));
        assert_null(im->sorter);
        join_teller(&t, -ECANCELED);
        catalog_rollback(f->c);
    }
    OK(f, plan_for(f, im, &t, ROWS, true));
    OK(f, import_told_end(im, true, &f->err));
    join_teller(&t, 0);
    OK(f, import_apply(im, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    import_close(im);
    expect_clients(f);
}

/* Nobody reads along after all: the plan is gone through when it is applied. */
static void test_rows_are_sorted_later_where_the_sorting_was_given_up(void **state)
{
    struct fixture *f = *state;
    struct planning p;
    struct import *im;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    begin_plan(f, im, true);
    OK(f, import_told_end(im, false, &f->err));
    assert_null(im->sorter);
    p = (struct planning){im, ROWS};
    OK(f, import_each(im, IMPORT_OPEN, plan_row, &p, &f->err));
    OK(f, import_names(im, &f->err));
    OK(f, import_apply(im, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    import_close(im);
    expect_clients(f);
}

/* Whoever closes an import in the middle of its plan does not wait for ever. */
static void test_import_closed_in_the_middle_ends_the_sorting(void **state)
{
    struct fixture *f = *state;
    struct import *im;
    OK(f, import_open(f->c, "test", &im, &f->err));
    stage(f, im);
    begin_plan(f, im, true);
    catalog_rollback(f->c);
    import_close(im);
    assert_int_equal(count(f, "SELECT count(*) FROM client"), 0);
}

/* Fates of rows that share a MAC are in the catalog's connection, which is not the other thread's. */
static void test_rows_that_share_a_mac_are_not_told_apart(void **state)
{
    struct fixture *f = *state;
    struct import_row *row = malloc(sizeof(*row));
    struct import *im;
    int64_t run;
    bool is_apart = true;
    assert_non_null(row);
    OK(f, import_open(f->c, "test", &im, &f->err));
    for (unsigned n = 0; n < 2; n++) {
        fill(row, n);
        strcpy(row->mac, "52:54:00:00:00:01");
        OK(f, import_row_add(im, row, &f->err));
    }
    OK(f, import_stage_end(im, IMPORT_DUP_CONFLICT, &f->err));
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, import_run_begin(im, "file", "", &run, &f->err));
    OK(f, import_plan_begin(im, &f->err));
    OK(f, import_told_begin(im, &is_apart, &f->err));
    assert_false(is_apart);
    OK(f, import_told_end(im, true, &f->err));
    catalog_rollback(f->c);
    import_close(im);
    free(row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_rows_are_told_along_with_the_plan),
        WITH_ROOT(test_telling_stops_when_the_plan_fails),
        WITH_ROOT(test_rows_are_sorted_along_with_the_plan),
        WITH_ROOT(test_sorting_begins_anew_after_a_plan_that_failed),
        WITH_ROOT(test_rows_are_sorted_later_where_the_sorting_was_given_up),
        WITH_ROOT(test_import_closed_in_the_middle_ends_the_sorting),
        WITH_ROOT(test_rows_that_share_a_mac_are_not_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
