/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose files an overlay takes: what it refuses, and what a death leaves while they are made or deleted. */
#include "tests/unit/overlay-fixture.h"

#include "core/datafile.h"

/* --- what is refused --------------------------------------------------------------------------------------------- */

static void test_overlay_of_another_id_is_told_and_untouched(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        assert_refused(r, Y, mode, -EEXIST);
        assert_string_equal(r->found, id_text(X));
    }
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_of_another_id_with_a_damaged_map_is_told_by_its_data(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    damage(r->place.dir_fd, "0.map", 0);
    assert_refused(r, X, KEPT, -EBADMSG);
    assert_non_null(strstr(r->err.msg, "client reset"));
    assert_refused(r, Y, KEPT, -EEXIST);
    assert_string_equal(r->found, id_text(X));
    assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    close_ok(r, open_ok(r, Y, KEPT));
}

static void test_overlay_over_other_content_is_stale(void **state)
{
    struct rig *r = *state;
    struct map_stamp s = stamp_of(X);
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    strcpy(s.base_identity, "another");
    struct overlay *p;
    assert_int_equal(overlay_open(&r->place, &s, true, false, r->base, &p, r->found, &r->err), -ESTALE); /* live map */
    close_ok(r, o);
    assert_int_equal(overlay_open(&r->place, &s, true, false, r->base, &p, r->found, &r->err), -ESTALE); /* map file */
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_without_its_data_is_refused_and_keeps_its_map(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    assert_int_equal(renameat(r->place.dir_fd, "0.data", r->place.dir_fd, "elsewhere"), 0);
    assert_refused(r, X, KEPT, -EBADMSG);
    assert_non_null(strstr(r->err.msg, "missing"));
    assert_false(exists(r->place.dir_fd, "0.data"));
    assert_int_equal(renameat(r->place.dir_fd, "elsewhere", r->place.dir_fd, "0.data"), 0);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_with_wrong_data_is_refused(void **state)
{
    struct rig *r = *state;
    struct stat st;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        struct overlay *o = open_ok(r, X, mode);
        put(o, 5000, 'a');
        close_ok(r, o);
        _cleanup_close_ int fd = openat(r->place.dir_fd, "0.data", O_RDWR | O_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(ftruncate(fd, st.st_size - 4096), 0);
        assert_refused(r, X, mode, -EBADMSG);
        assert_int_equal(ftruncate(fd, st.st_size), 0);
        assert_refused(r, X, mode, -EBADMSG); /* its tail is gone */
        struct map_stamp other = stamp_of(Y);
        (void)close(datafile_create(r->place.dir_fd, "0.data", &other, &r->err));
        assert_refused(r, X, mode, -EBADMSG);
        assert_non_null(strstr(r->err.msg, id_text(Y)));
        clear(r->place.dir_fd);
        clear(r->place.live_fd);
    }
}

static void test_overlay_with_a_damaged_map_file_is_refused(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    damage(r->place.dir_fd, "0.map", 4096 + 20);
    assert_refused(r, X, KEPT, -EBADMSG);
    damage(r->place.dir_fd, "0.map", 4096 + 20);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_with_a_damaged_live_map_is_refused(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, KEPT, write_a_flush_write_b);
    damage(r->place.live_fd, live_name(X), 0);
    assert_refused(r, X, KEPT, -EBADMSG); /* not the map file: it is older than what was acknowledged */
    damage(r->place.live_fd, live_name(X), 0);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(holds(o, 50000, 'b'));
    close_ok(r, o);
}

/* --- death while it is made or deleted --------------------------------------------------------------------------- */

static void make_file(int dirfd, const char *name, off_t size)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, size) == 0);
}

/* The files that are there after step @step of the making of a fresh overlay. */
static void leave_steps(struct rig *r, enum mode mode, int step)
{
    char temp[80];
    struct map_stamp s = stamp_of(X);
    (void)snprintf(temp, sizeof(temp), ".%s.live.new", id_text(X));
    make_file(r->place.dir_fd, "0.data", 777); /* nobody's, from before */
    make_file(r->place.live_fd, temp, step == 0 ? 0 : 4096);
    if (step < 2)
        return;
    if (mode == KEPT) {
        clear(r->place.dir_fd);
        close_ok(r, open_ok(r, X, KEPT)); /* for the map file without records */
        make_file(r->place.dir_fd, "0.data", 777);
    }
    if (step >= 3)
        assert_int_equal(unlinkat(r->place.dir_fd, "0.data", 0), 0);
    if (step >= 4)
        make_file(r->place.dir_fd, "0.data", 0);
    if (step >= 5)
        make_file(r->place.dir_fd, "0.data", (off_t)(round_up(DISK, 4096) + 4096));
    if (step >= 6)
        (void)close(datafile_create(r->place.dir_fd, "0.data", &s, &r->err));
    make_file(r->place.live_fd, temp, 4096);
}

static void test_overlay_making_may_stop_at_each_step(void **state)
{
    struct rig *r = *state;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++)
        for (int step = 0; step <= 6; step++) {
            leave_steps(r, mode, step);
            struct overlay *o = open_ok(r, X, mode);
            assert_like_base(r, o);
            put(o, DISK - 1000, 'z');
            close_ok(r, o);
            o = open_ok(r, X, mode);
            assert_true(holds(o, DISK - 1000, 'z'));
            close_ok(r, o);
            assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
            assert_false(exists(r->place.dir_fd, "0.data") || exists(r->place.dir_fd, "0.map"));
        }
}

static void test_overlay_opening_clears_half_written_map_files_away(void **state)
{
    struct rig *r = *state;
    make_file(r->place.dir_fd, ".0.map.4711.tmp", 5);
    make_file(r->place.dir_fd, ".10.map.4711.tmp", 5); /* of another slot */
    close_ok(r, open_ok(r, X, KEPT));
    assert_false(exists(r->place.dir_fd, ".0.map.4711.tmp"));
    assert_true(exists(r->place.dir_fd, ".10.map.4711.tmp"));
}

static void test_overlay_delete_takes_all_its_files(void **state)
{
    struct rig *r = *state;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        in_dying_process(r, mode, write_a);
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
        assert_false(exists(r->place.dir_fd, "0.data") || exists(r->place.dir_fd, "0.map"));
        assert_false(exists(r->place.live_fd, live_name(X)));
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0); /* again: nothing to do */
    }
    assert_int_equal(overlay_delete(&r->place, "no id", &r->err), -EINVAL);
}

static void test_overlay_delete_leaves_the_files_of_another(void **state)
{
    struct rig *r = *state;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        struct overlay *o = open_ok(r, X, mode);
        put(o, 5000, 'a');
        assert_int_equal(overlay_delete(&r->place, id_text(Y), &r->err), 0);
        close_ok(r, o);
        assert_int_equal(overlay_delete(&r->place, id_text(Y), &r->err), 0);
        o = open_ok(r, X, mode);
        assert_true(holds(o, 5000, 'a'));
        close_ok(r, o);
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    }
}

/* X was dropped, its deletion died half-way or never came, and Y took the place. */
static void test_overlay_delete_comes_late_and_leaves_the_heir(void **state)
{
    struct rig *r = *state;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        in_dying_process(r, VOLATILE, write_a);
        assert_refused(r, Y, mode, -EEXIST); /* the data is not the heir's to replace */
        assert_int_equal(unlinkat(r->place.dir_fd, "0.data", 0), 0);
        struct overlay *o = open_ok(r, Y, mode);
        put(o, 5000, 'y');
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
        assert_true(exists(r->place.dir_fd, "0.data"));
        assert_false(exists(r->place.live_fd, live_name(X)));
        close_ok(r, o);
        o = open_ok(r, Y, mode);
        assert_true(holds(o, 5000, 'y'));
        close_ok(r, o);
        assert_int_equal(overlay_delete(&r->place, id_text(Y), &r->err), 0);
    }
}

static void test_overlay_delete_may_stop_at_each_step(void **state)
{
    struct rig *r = *state;
    for (int step = 0; step < 3; step++) {
        in_dying_process(r, KEPT, write_a);
        assert_int_equal(unlinkat(r->place.dir_fd, "0.map", 0), 0);
        if (step >= 1)
            assert_int_equal(unlinkat(r->place.dir_fd, "0.data", 0), 0);
        if (step >= 2)
            assert_int_equal(unlinkat(r->place.live_fd, live_name(X), 0), 0);
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
        assert_false(exists(r->place.dir_fd, "0.data") || exists(r->place.live_fd, live_name(X)));
    }
}

static void test_overlay_deleted_data_stays_with_who_has_it_open(void **state)
{
    struct rig *r = *state;
    struct overlay *old = open_ok(r, X, VOLATILE);
    put(old, 5000, 'x');
    overlay_abandon(old);
    assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    struct overlay *heir = open_ok(r, Y, KEPT);
    put(old, 5000, 'X');
    assert_int_equal(blk_flush(overlay_blk(old)), 0); /* volatile: nothing to do */
    assert_true(holds(old, 5000, 'X'));
    assert_like_base(r, heir);
    close_ok(r, old);
    close_ok(r, heir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_overlay_of_another_id_is_told_and_untouched),
        TEST(test_overlay_of_another_id_with_a_damaged_map_is_told_by_its_data),
        TEST(test_overlay_over_other_content_is_stale),
        TEST(test_overlay_without_its_data_is_refused_and_keeps_its_map),
        TEST(test_overlay_with_wrong_data_is_refused),
        TEST(test_overlay_with_a_damaged_map_file_is_refused),
        TEST(test_overlay_with_a_damaged_live_map_is_refused),
        TEST(test_overlay_making_may_stop_at_each_step),
        TEST(test_overlay_opening_clears_half_written_map_files_away),
        TEST(test_overlay_delete_takes_all_its_files),
        TEST(test_overlay_delete_leaves_the_files_of_another),
        TEST(test_overlay_delete_comes_late_and_leaves_the_heir),
        TEST(test_overlay_delete_may_stop_at_each_step),
        TEST(test_overlay_deleted_data_stays_with_who_has_it_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
