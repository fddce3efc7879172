/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Change maps: what was written since which epoch, and that all doubt gives a new id. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/changes.h"
#include "core/cow.h"
#include "core/overlay.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define DISK (100 * GiB + 512)

struct rig {
    char path[64], command[128];
    struct overlay_place place;
    struct map_stamp stamp;
    struct overlay *o;
    struct blk *base;
    struct err err;
    char id[UUID_LEN + 1]; /* of the last epoch that was ended */
    uint32_t epoch;
};

static void open_it(struct rig *r)
{
    char found[UUID_LEN + 1];
    if (overlay_open(&r->place, &r->stamp, true, false, r->base, &r->o, found, &r->err) != 0)
        fail_msg("%s", r->err.msg);
}

static void close_it(struct rig *r)
{
    assert_int_equal(overlay_close(take_ptr(r->o), &r->err), 0);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-changes-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->place.dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(r->place.dir_fd, "live", 0700), 0);
    r->place.live_fd = openat(r->place.dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->base = check_base_create(DISK, DISK);
    r->stamp = (struct map_stamp){.overlay_id = {9, 8, 7}, .base_identity = "base", .size_bytes = DISK};
    open_it(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    if (r->o)
        close_it(r);
    blk_destroy(r->base);
    (void)close(r->place.live_fd);
    (void)close(r->place.dir_fd);
    (void)snprintf(r->command, sizeof(r->command), "rm -rf %s", r->path);
    assert_int_equal(system(r->command), 0);
    free(r);
    return 0;
}

static void end_epoch(struct rig *r)
{
    struct range gate;
    cow_gate_close(overlay_blk(r->o), &gate);
    overlay_end_epoch(r->o, r->id, &r->epoch);
    cow_gate_open(overlay_blk(r->o), &gate);
    assert_true(r->id[0]);
}

static struct changes_place place_of(const struct rig *r)
{
    return (struct changes_place){.live_fd = r->place.live_fd, .dir_fd = r->place.dir_fd, .stamp = &r->stamp};
}

static struct changes_look *look(const struct rig *r)
{
    struct changes_look *l = NULL;
    struct changes_place p = place_of(r);
    assert_int_equal(changes_look_live(&p, &l), 0);
    return l;
}

static bool changed_by(const struct changes_look *l, uint32_t epoch, uint64_t off, uint64_t len)
{
    uint64_t n = len;
    while (len > 0 && n > 0) {
        assert_int_equal(changes_unchanged(l, epoch, off, len, &n), 0);
        assert_true(n <= len);
        off += n;
        len -= n;
    }
    return len > 0;
}

static bool changed(const struct rig *r, uint32_t epoch, uint64_t off, uint64_t len)
{
    struct changes_look *l = look(r);
    bool c = changed_by(l, epoch, off, len);
    changes_look_close(l);
    return c;
}

static void put(struct rig *r, uint64_t off)
{
    assert_int_equal(blk_write(overlay_blk(r->o), "x", 1, off), 0);
}

static void test_only_what_changed_after_the_epoch_counts(void **state)
{
    struct rig *r = *state;
    put(r, 5 * GiB);
    assert_true(changed(r, 0, 5 * GiB, 512));
    end_epoch(r);
    assert_false(changed(r, r->epoch, 0, DISK));
    put(r, 7 * GiB + 65535);
    assert_int_equal(blk_zero(overlay_blk(r->o), DISK - 512, 512), 0);
    assert_true(changed(r, r->epoch, 7 * GiB, 1));
    assert_true(changed(r, r->epoch, DISK - 512, 512));
    assert_false(changed(r, r->epoch, 7 * GiB + CHANGES_REGION_BYTES, 90 * GiB));
    assert_false(changed(r, r->epoch, 5 * GiB, GiB));
    uint32_t before = r->epoch;
    end_epoch(r);
    assert_true(changed(r, before, 7 * GiB, 1));
    assert_false(changed(r, r->epoch, 0, DISK));
}

/* One answer covers many regions, and ends where the first one begins that changed. */
static void test_what_is_unchanged_comes_in_runs(void **state)
{
    struct rig *r = *state;
    uint64_t n = 0, region = CHANGES_REGION_BYTES;
    end_epoch(r);
    put(r, 3 * GiB + 10 * region);
    struct changes_look *l = look(r);
    assert_int_equal(changes_unchanged(l, r->epoch, 3 * GiB, GiB, &n), 0);
    assert_int_equal(n, 10 * region);
    assert_int_equal(changes_unchanged(l, r->epoch, 3 * GiB + 5, GiB, &n), 0);
    assert_int_equal(n, 10 * region - 5);
    assert_int_equal(changes_unchanged(l, r->epoch, 3 * GiB + 5, 100, &n), 0);
    assert_int_equal(n, 100);
    assert_int_equal(changes_unchanged(l, r->epoch, 3 * GiB + 11 * region - 1, GiB, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(changes_unchanged(l, r->epoch, 3 * GiB + 11 * region, GiB, &n), 0);
    assert_true(n >= 100 * region);
    assert_int_equal(changes_unchanged(l, r->epoch, DISK - 1, 1, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(changes_unchanged(l, r->epoch, DISK - 1, 2, &n), -EINVAL);
    assert_int_equal(changes_unchanged(l, r->epoch, 0, 0, &n), -EINVAL);
    changes_look_close(l);
}

static void test_a_clean_end_keeps_it(void **state)
{
    struct rig *r = *state;
    end_epoch(r);
    char id[UUID_LEN + 1];
    memcpy(id, r->id, sizeof(id));
    put(r, 3 * GiB);
    close_it(r);
    struct changes_place p = place_of(r);
    struct changes_look *l = NULL;
    assert_int_equal(changes_look_saved(&p, &l), 0); /* a backup while nobody serves */
    assert_string_equal(changes_look_id(l), id);
    assert_true(changed_by(l, r->epoch, 3 * GiB, 1));
    assert_false(changed_by(l, r->epoch, 4 * GiB, GiB));
    uint32_t seen = changes_look_epoch(l);
    changes_look_close(l);
    open_it(r);
    assert_int_equal(changes_look_saved(&p, &l), -ENOENT);
    put(r, 9 * GiB);
    assert_true(changed(r, seen, 9 * GiB, 1)); /* later than what that backup saw */
    end_epoch(r);
    assert_string_equal(r->id, id);
}

static void test_a_killed_process_loses_nothing(void **state)
{
    struct rig *r = *state;
    end_epoch(r);
    char id[UUID_LEN + 1];
    memcpy(id, r->id, sizeof(id));
    uint32_t then = r->epoch;
    put(r, 3 * GiB);
    struct overlay *dead = take_ptr(r->o); /* nothing is closed */
    open_it(r);
    assert_true(changed(r, then, 3 * GiB, 1));
    end_epoch(r);
    assert_string_equal(r->id, id);
    overlay_abandon(dead);
    (void)overlay_close(dead, NULL);
}

static void assert_new_id(struct rig *r)
{
    char id[UUID_LEN + 1];
    memcpy(id, r->id, sizeof(id));
    open_it(r);
    end_epoch(r);
    assert_string_not_equal(r->id, id);
}

static void test_a_data_file_that_was_put_back_gives_a_new_id(void **state)
{
    struct rig *r = *state;
    end_epoch(r);
    close_it(r);
    assert_int_equal(renameat(r->place.dir_fd, "0.data", r->place.dir_fd, "old"), 0);
    (void)snprintf(r->command, sizeof(r->command), "cd %s && cp -p --sparse=always old 0.data", r->path);
    assert_int_equal(system(r->command), 0);
    assert_new_id(r);
}

static void test_a_damaged_file_gives_a_new_id(void **state)
{
    struct rig *r = *state;
    put(r, GiB);
    end_epoch(r);
    close_it(r);
    struct stat st;
    assert_int_equal(fstatat(r->place.dir_fd, "0.changes", &st, 0), 0);
    struct rng rng = {check_seed()};
    _cleanup_close_ int fd = openat(r->place.dir_fd, "0.changes", O_RDWR | O_CLOEXEC);
    unsigned char c;
    uint64_t at = rng_below(&rng, (uint64_t)st.st_size);
    assert_int_equal(pread_full(fd, &c, 1, at), 0);
    c ^= 0x10;
    assert_int_equal(pwrite_full(fd, &c, 1, at), 0);
    assert_new_id(r);
}

static void test_a_cut_file_gives_a_new_id(void **state)
{
    struct rig *r = *state;
    put(r, GiB);
    end_epoch(r);
    close_it(r);
    struct rng rng = {check_seed()};
    _cleanup_close_ int fd = openat(r->place.dir_fd, "0.changes", O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)rng_below(&rng, 8000)), 0);
    assert_new_id(r);
}

/* As after a power cut: the file in run/live is of another boot, and there is no saved one. */
static void test_a_power_cut_gives_a_new_id(void **state)
{
    struct rig *r = *state;
    end_epoch(r);
    struct overlay *dead = take_ptr(r->o);
    overlay_abandon(dead);
    (void)overlay_close(dead, NULL);
    (void)snprintf(r->command, sizeof(r->command), "rm %s/live/*.live", r->path);
    assert_int_equal(system(r->command), 0);
    assert_new_id(r);
}

static void test_a_discard_of_a_whole_disk_gives_a_new_id(void **state)
{
    struct rig *r = *state;
    end_epoch(r);
    char id[UUID_LEN + 1];
    memcpy(id, r->id, sizeof(id));
    assert_int_equal(blk_zero(overlay_blk(r->o), 0, DISK), 0);
    struct changes_place p = place_of(r);
    struct changes_look *l = NULL;
    assert_int_equal(changes_look_live(&p, &l), -ESTALE);
    end_epoch(r);
    assert_string_not_equal(r->id, id);
    put(r, GiB);
    assert_true(changed(r, r->epoch, GiB, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_what_changed_after_the_epoch_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_unchanged_comes_in_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_clean_end_keeps_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_killed_process_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_data_file_that_was_put_back_gives_a_new_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_gives_a_new_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_cut_file_gives_a_new_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_power_cut_gives_a_new_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_discard_of_a_whole_disk_gives_a_new_id, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
