/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Marks of kept overlays: files that are gone are missed, and nobody else is alarmed. */
#include "core/keptmark.h"
#include "tests/unit/overlay-fixture.h"

static int setup_marks(void **state)
{
    (void)setup(state);
    struct rig *r = *state;
    assert_int_equal(mkdirat(r->place.live_fd, "kept", 0700), 0);
    r->place.kept_fd = openat(r->place.live_fd, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(r->place.kept_fd >= 0);
    r->place.has_marks = true;
    return 0;
}

static int teardown_marks(void **state)
{
    struct rig *r = *state;
    clear(r->place.kept_fd);
    (void)close(r->place.kept_fd);
    assert_int_equal(unlinkat(r->place.live_fd, "kept", AT_REMOVEDIR), 0);
    return teardown(state);
}

static int open_code(struct rig *r, unsigned char id, enum mode mode)
{
    struct overlay *o = NULL;
    struct map_stamp stamp = stamp_of(id);
    int code = overlay_open(&r->place, &stamp, mode == KEPT, false, r->base, &o, r->found, &r->err);
    assert_int_equal(overlay_close(o, NULL), 0);
    return code;
}

static int is_marked(const struct rig *r, unsigned char id)
{
    return kept_mark_is_set(r->place.kept_fd, stamp_of(id).overlay_id);
}

static void assert_misses_its_files(struct rig *r, unsigned char id)
{
    r->err.msg[0] = 0;
    assert_int_equal(open_code(r, id, KEPT), -EBADMSG);
    assert_non_null(strstr(r->err.msg, "gone"));
    assert_non_null(strstr(r->err.msg, "client reset"));
    assert_false(exists(r->place.dir_fd, "0.map") || exists(r->place.dir_fd, "0.data"));
}

static void test_marks_kept_overlay_whose_files_are_gone_is_refused(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 2; i++) { /* changed, and never changed */
        assert_int_equal(is_marked(r, X), 0);
        struct overlay *o = open_ok(r, X, KEPT);
        assert_int_equal(is_marked(r, X), 1);
        if (i == 0)
            put(o, 5000, 'a');
        close_ok(r, o);
        clear(r->place.dir_fd);
        assert_misses_its_files(r, X);
        assert_misses_its_files(r, X);           /* and stays so */
        struct overlay *y = open_ok(r, Y, KEPT); /* a reset gives another id */
        assert_like_base(r, y);
        close_ok(r, y);
        assert_int_equal(overlay_delete(&r->place, id_text(Y), &r->err), 0);
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    }
}

static void test_marks_files_that_come_back_are_taken(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    assert_int_equal(renameat(r->place.dir_fd, "0.map", r->place.live_fd, "away.map"), 0);
    assert_int_equal(renameat(r->place.dir_fd, "0.data", r->place.live_fd, "away.data"), 0);
    assert_misses_its_files(r, X);
    assert_int_equal(renameat(r->place.live_fd, "away.map", r->place.dir_fd, "0.map"), 0);
    assert_int_equal(renameat(r->place.live_fd, "away.data", r->place.dir_fd, "0.data"), 0);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_marks_go_with_the_overlay(void **state)
{
    struct rig *r = *state;
    close_ok(r, open_ok(r, X, KEPT));
    assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    assert_int_equal(is_marked(r, X), 0);
}

static void test_marks_are_of_kept_overlays_only(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, VOLATILE);
    assert_int_equal(is_marked(r, X), 0);
    assert_int_equal(overlay_set_kept(o, true, &r->err), 0);
    assert_int_equal(is_marked(r, X), 1);
    assert_int_equal(overlay_set_kept(o, false, &r->err), 0);
    assert_int_equal(is_marked(r, X), 0);
    close_ok(r, o);
    clear(r->place.dir_fd);
    clear(r->place.live_fd);
    assert_int_equal(open_code(r, X, KEPT), 0); /* it was volatile, so nothing is missed */
    assert_int_equal(is_marked(r, X), 1);
}

/* Its mode was changed while nobody served it. */
static void test_marks_of_an_overlay_that_is_opened_as_a_volatile_one_go(void **state)
{
    struct rig *r = *state;
    close_ok(r, open_ok(r, X, KEPT));
    assert_int_equal(open_code(r, X, VOLATILE), 0);
    assert_int_equal(is_marked(r, X), 0);
    assert_int_equal(open_code(r, X, KEPT), 0);
    assert_int_equal(is_marked(r, X), 1);
}

/* A root of an earlier version, or one that came from a backup. */
static void test_marks_are_made_for_files_that_are_there(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    clear(r->place.kept_fd);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    assert_int_equal(is_marked(r, X), 1);
    close_ok(r, o);
    clear(r->place.kept_fd);
    clear(r->place.dir_fd);
    assert_int_equal(open_code(r, X, KEPT), 0); /* nobody can know */
}

static void test_marks_are_not_made_by_a_look(void **state)
{
    struct rig *r = *state;
    struct map_stamp stamp = stamp_of(X);
    struct overlay *o;
    close_ok(r, open_ok(r, X, KEPT));
    clear(r->place.kept_fd);
    assert_int_equal(overlay_open(&r->place, &stamp, true, true, r->base, &o, r->found, &r->err), 0);
    assert_int_equal(is_marked(r, X), 0);
    close_ok(r, o);
}

#define MARKS_TEST(f) cmocka_unit_test_setup_teardown(f, setup_marks, teardown_marks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKS_TEST(test_marks_kept_overlay_whose_files_are_gone_is_refused),
        MARKS_TEST(test_marks_files_that_come_back_are_taken),
        MARKS_TEST(test_marks_go_with_the_overlay),
        MARKS_TEST(test_marks_are_of_kept_overlays_only),
        MARKS_TEST(test_marks_of_an_overlay_that_is_opened_as_a_volatile_one_go),
        MARKS_TEST(test_marks_are_made_for_files_that_are_there),
        MARKS_TEST(test_marks_are_not_made_by_a_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
