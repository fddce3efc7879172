/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlays as files: which map counts, after the death of a process and of the machine. */
#include "tests/unit/overlay-fixture.h"

#include <sys/mount.h>

/* --- which map counts -------------------------------------------------------------------------------------------- */

static void test_overlay_survives_the_death_of_its_process_in_both_modes(void **state)
{
    struct rig *r = *state;
    for (enum mode mode = VOLATILE; mode <= KEPT; mode++) {
        in_dying_process(r, mode, write_a);
        struct overlay *o = open_ok(r, X, mode);
        assert_true(holds(o, 5000, 'a'));
        close_ok(r, o);
        assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    }
}

static void test_overlay_kept_comes_back_from_the_map_file_without_live_map(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, KEPT, write_a_flush_write_b);
    assert_int_equal(unlinkat(r->place.live_fd, live_name(X), 0), 0);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    assert_false(holds(o, 50000, 'b'));
    close_ok(r, o);
}

static void test_overlay_kept_goes_by_the_map_file_after_a_boot(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, KEPT, write_a_flush_write_b);
    age_live(r, X);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    assert_false(holds(o, 50000, 'b'));
    close_ok(r, o);
}

static void test_overlay_live_map_counts_more_than_the_map_file(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, KEPT, write_a_flush_write_b);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a') && holds(o, 50000, 'b'));
    close_ok(r, o);
}

static void test_overlay_kept_leaves_no_live_map_after_a_clean_end(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    assert_true(exists(r->place.live_fd, live_name(X)));
    close_ok(r, o);
    assert_false(exists(r->place.live_fd, live_name(X)));
    assert_true(exists(r->place.dir_fd, "0.map"));
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_volatile_survives_a_clean_end_within_a_boot(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, VOLATILE);
    put(o, 5000, 'a');
    close_ok(r, o);
    o = open_ok(r, X, VOLATILE);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
    assert_false(exists(r->place.dir_fd, "0.map"));
}

static int open_code(struct rig *r, unsigned char id, enum mode mode)
{
    struct overlay *o = NULL;
    struct map_stamp stamp = stamp_of(id);
    int code = overlay_open(&r->place, &stamp, mode == KEPT, false, r->base, &o, r->found, &r->err);
    assert_int_equal(overlay_close(o, NULL), 0);
    return code;
}

static void test_overlay_volatile_that_was_never_changed_is_fresh_after_a_boot(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, VOLATILE);
    assert_true(overlay_is_untouched(o));
    close_ok(r, o);
    age_live(r, X);
    o = open_ok(r, X, VOLATILE);
    assert_like_base(r, o);
    assert_int_equal(overlay_bytes(o), 0);
    put(o, 0, 'c');
    assert_true(holds(o, 0, 'c'));
    assert_false(overlay_is_untouched(o));
    close_ok(r, o);
}

/* A client that still runs must not find a fresh disk in the place of its own. */
static void test_overlay_volatile_that_was_changed_is_lost_after_a_boot(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, VOLATILE, write_a_flush_write_b);
    age_live(r, X);
    for (int i = 0; i < 2; i++) /* and stays so */
        assert_int_equal(open_code(r, X, VOLATILE), -EOWNERDEAD);
    assert_non_null(strstr(r->err.msg, "next boot"));
    assert_int_equal(open_code(r, X, KEPT), -EBADMSG); /* a kept disk is not dropped by a boot */
    assert_int_equal(overlay_delete(&r->place, id_text(X), &r->err), 0);
    struct overlay *o = open_ok(r, Y, VOLATILE);
    assert_like_base(r, o);
    close_ok(r, o);
}

static void trim_only(struct rig *r, struct overlay *o)
{
    if (blk_zero(overlay_blk(o), 0, 8 * BLOCK_BYTES) < 0)
        abort();
}

static void test_overlay_volatile_that_was_only_trimmed_is_lost_after_a_boot(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, VOLATILE, trim_only);
    age_live(r, X);
    assert_int_equal(open_code(r, X, VOLATILE), -EOWNERDEAD);
}

static void test_overlay_volatile_never_comes_back_from_a_map_file(void **state)
{
    struct rig *r = *state;
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    close_ok(r, o);
    assert_true(exists(r->place.dir_fd, "0.map"));
    assert_int_equal(open_code(r, X, VOLATILE), -EOWNERDEAD);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_that_became_kept_has_its_map_file_at_once(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, VOLATILE, become_kept);
    age_live(r, X);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_that_became_volatile_keeps_its_content_until_the_boot(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, KEPT, become_volatile);
    assert_false(exists(r->place.dir_fd, "0.map"));
    struct overlay *o = open_ok(r, X, VOLATILE);
    assert_true(holds(o, 5000, 'a') && holds(o, 50000, 'b'));
    close_ok(r, o);
    age_live(r, X);
    assert_int_equal(open_code(r, X, VOLATILE), -EOWNERDEAD);
}

static void test_overlay_opened_as_kept_from_a_volatile_live_map_is_durable_at_once(void **state)
{
    struct rig *r = *state;
    in_dying_process(r, VOLATILE, write_a);
    struct overlay *o = open_ok(r, X, KEPT);
    assert_true(exists(r->place.dir_fd, "0.map"));
    close_ok(r, o);
    o = open_ok(r, X, KEPT);
    assert_true(holds(o, 5000, 'a'));
    close_ok(r, o);
}

static void test_overlay_read_only_look_changes_nothing(void **state)
{
    struct rig *r = *state;
    struct map_stamp s = stamp_of(X);
    struct overlay *o = NULL;
    assert_int_equal(overlay_open(&r->place, &s, true, true, r->base, &o, r->found, &r->err), -ENOENT);
    assert_false(exists(r->place.dir_fd, "0.data") || exists(r->place.dir_fd, "0.map"));
    in_dying_process(r, KEPT, write_a);
    for (int i = 0; i < 2; i++) { /* first from the live map, then from the map file */
        assert_int_equal(overlay_open(&r->place, &s, true, true, r->base, &o, r->found, &r->err), 0);
        assert_true(holds(o, 5000, 'a'));
        assert_int_equal(blk_write(overlay_blk(o), "x", 1, 0), -EROFS);
        assert_int_equal(overlay_close(o, &r->err), 0);
        assert_int_equal(exists(r->place.live_fd, live_name(X)), i == 0);
        if (i == 0)
            close_ok(r, open_ok(r, X, KEPT));
    }
}

/* --- a full disk ------------------------------------------------------------------------------------------------- */

static void fill(int dirfd)
{
    static const char page[4096] = {1};
    _cleanup_close_ int fd = openat(dirfd, "fill", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (uint64_t off = 0; pwrite(fd, page, sizeof(page), (off_t)off) > 0;)
        off += sizeof(page);
}

static void test_overlay_flush_on_a_full_disk_fails_and_works_again(void **state)
{
    struct rig *r = *state;
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/live", r->path);
    int live_fd = r->place.live_fd, dir_fd = r->place.dir_fd;
    if (mount("tmpfs", path, "tmpfs", 0, "size=256k") < 0)
        skip();
    r->place.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct overlay *o = open_ok(r, X, KEPT);
    put(o, 5000, 'a');
    fill(r->place.dir_fd);
    assert_int_equal(blk_flush(overlay_blk(o)), -ENOSPC);
    assert_int_equal(blk_write(overlay_blk(o), "x", 1, LEAF_BYTES), -ENOSPC);
    assert_true(holds(o, 5000, 'a'));
    assert_int_equal(unlinkat(r->place.dir_fd, "fill", 0), 0);
    assert_int_equal(blk_flush(overlay_blk(o)), 0);
    close_ok(r, o);
    (void)close(r->place.dir_fd);
    r->place.dir_fd = dir_fd;
    assert_int_equal(r->place.live_fd, live_fd);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_overlay_survives_the_death_of_its_process_in_both_modes),
        TEST(test_overlay_kept_comes_back_from_the_map_file_without_live_map),
        TEST(test_overlay_kept_goes_by_the_map_file_after_a_boot),
        TEST(test_overlay_live_map_counts_more_than_the_map_file),
        TEST(test_overlay_kept_leaves_no_live_map_after_a_clean_end),
        TEST(test_overlay_volatile_survives_a_clean_end_within_a_boot),
        TEST(test_overlay_volatile_that_was_never_changed_is_fresh_after_a_boot),
        TEST(test_overlay_volatile_that_was_changed_is_lost_after_a_boot),
        TEST(test_overlay_volatile_that_was_only_trimmed_is_lost_after_a_boot),
        TEST(test_overlay_volatile_never_comes_back_from_a_map_file),
        TEST(test_overlay_that_became_kept_has_its_map_file_at_once),
        TEST(test_overlay_that_became_volatile_keeps_its_content_until_the_boot),
        TEST(test_overlay_opened_as_kept_from_a_volatile_live_map_is_durable_at_once),
        TEST(test_overlay_read_only_look_changes_nothing),
        TEST(test_overlay_flush_on_a_full_disk_fails_and_works_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
