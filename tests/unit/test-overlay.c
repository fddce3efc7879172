/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlays as files: which map counts, whose files they are, and what a death at any moment leaves. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/datafile.h"
#include "core/overlay.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define LEAF_BYTES (LEAF_BLOCKS * BLOCK_BYTES)
#define DISK       (LEAF_BYTES + 3 * BLOCK_BYTES + 512)
#define X          0x11 /* overlays are named by the first byte of their id */
#define Y          0x22

enum mode { VOLATILE, KEPT };

struct rig {
    char path[64];
    struct overlay_place place;
    struct blk *base;
    struct err err;
    char found[UUID_LEN + 1];
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-overlay-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->place.dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(r->place.dir_fd, "live", 0700), 0);
    r->place.live_fd = openat(r->place.dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->base = check_base_create(DISK, DISK - 512);
    *state = r;
    return 0;
}

static void clear(int dirfd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(dirfd, e->d_name, 0) < 0)
            assert_int_equal(errno, EISDIR);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    clear(r->place.live_fd);
    clear(r->place.dir_fd);
    assert_int_equal(unlinkat(r->place.dir_fd, "live", AT_REMOVEDIR), 0);
    (void)close(r->place.dir_fd);
    (void)close(r->place.live_fd);
    assert_int_equal(rmdir(r->path), 0);
    blk_destroy(r->base);
    free(r);
    return 0;
}

static struct map_stamp stamp_of(unsigned char id)
{
    return (struct map_stamp){.overlay_id = {id, 2, 3}, .base_identity = "base", .size_bytes = DISK};
}

static const char *id_text(unsigned char id)
{
    static char text[UUID_LEN + 1];
    struct map_stamp s = stamp_of(id);
    uuid_encode(s.overlay_id, text);
    return text;
}

static int try_open(struct rig *r, unsigned char id, enum mode mode, struct overlay **ret)
{
    struct map_stamp s = stamp_of(id);
    r->err.msg[0] = 0;
    int code = overlay_open(&r->place, &s, mode == KEPT, false, r->base, ret, r->found, &r->err);
    assert_true(code == 0 || r->err.msg[0]);
    return code;
}

static struct overlay *open_ok(struct rig *r, unsigned char id, enum mode mode)
{
    struct overlay *o = NULL;
    if (try_open(r, id, mode, &o) != 0)
        fail_msg("%s", r->err.msg);
    return o;
}

static void assert_refused(struct rig *r, unsigned char id, enum mode mode, int code)
{
    struct overlay *o = NULL;
    int got = try_open(r, id, mode, &o);
    if (got == 0)
        assert_int_equal(overlay_close(o, &r->err), 0);
    assert_int_equal(got, code);
}

static void close_ok(struct rig *r, struct overlay *o)
{
    assert_int_equal(overlay_close(o, &r->err), 0);
}

static void put(struct overlay *o, uint64_t off, char byte)
{
    char buf[1000];
    memset(buf, byte, sizeof(buf));
    assert_int_equal(blk_write(overlay_blk(o), buf, sizeof(buf), off), 0);
}

static bool holds(struct overlay *o, uint64_t off, char byte)
{
    char buf[1000], want[1000];
    memset(want, byte, sizeof(want));
    assert_int_equal(blk_read(overlay_blk(o), buf, sizeof(buf), off), 0);
    return memcmp(buf, want, sizeof(buf)) == 0;
}

static void assert_like_base(struct rig *r, struct overlay *o)
{
    char a[8192], b[8192];
    for (uint64_t off = 0; off < DISK; off += off == 0 ? DISK - sizeof(a) : DISK) {
        assert_int_equal(blk_read(overlay_blk(o), a, sizeof(a), off), 0);
        assert_int_equal(blk_read(r->base, b, sizeof(b), off), 0);
        assert_memory_equal(a, b, sizeof(a));
    }
}

static bool exists(int dirfd, const char *name)
{
    return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static const char *live_name(unsigned char id)
{
    static char name[64];
    (void)snprintf(name, sizeof(name), "%s.live", id_text(id));
    return name;
}

/* Change one byte of a file. */
static void damage(int dirfd, const char *name, uint64_t off)
{
    unsigned char c;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread_full(fd, &c, 1, off), 0);
    c ^= 0x55;
    assert_int_equal(pwrite_full(fd, &c, 1, off), 0);
}

/* As the machine's next boot finds it. */
static void age_live(struct rig *r, unsigned char id)
{
    damage(r->place.live_fd, live_name(id), 16);
}

/* Do @f in a process that then dies without closing anything. */
static void in_dying_process(struct rig *r, enum mode mode, void (*f)(struct rig *, struct overlay *))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        f(r, open_ok(r, X, mode));
        (void)raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void write_a(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
}

static void write_a_flush_write_b(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    (void)blk_flush(overlay_blk(o)); /* of a volatile one it does nothing */
    put(o, 50000, 'b');
}

static void become_kept(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    if (overlay_set_kept(o, true, &r->err) < 0)
        abort();
    put(o, 50000, 'b');
}

static void become_volatile(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    if (blk_flush(overlay_blk(o)) < 0 || overlay_set_kept(o, false, &r->err) < 0)
        abort();
    put(o, 50000, 'b');
}

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

/* --- SIGKILL at any moment --------------------------------------------------------------------------------------- */

#define KILL_SPAN (64 * KiB) /* the leaf border and the end of the disk are in it */
#define KILL_OFF  (DISK - KILL_SPAN)

struct step {
    uint64_t off;
    size_t len;
    int byte; /* -1 = zero the range */
    bool is_flush;
};

static struct step next_step(struct rng *rng)
{
    struct step s = {.len = 1 + rng_below(rng, 3 * BLOCK_BYTES)};
    s.off = KILL_OFF + rng_below(rng, KILL_SPAN - s.len);
    s.byte = rng_below(rng, 3) ? (int)rng_below(rng, 256) : -1;
    s.is_flush = rng_below(rng, 50) == 0;
    return s;
}

static void carry_out(struct overlay *o, const struct step *s)
{
    char buf[3 * BLOCK_BYTES];
    memset(buf, s->byte, s->len);
    int r = s->byte < 0 ? blk_zero(overlay_blk(o), s->off, s->len) : blk_write(overlay_blk(o), buf, s->len, s->off);
    CHECK(r == 0 && (!s->is_flush || blk_flush(overlay_blk(o)) == 0), "a step failed");
}

static void apply(unsigned char *model, const struct step *s)
{
    memset(model + (s->off - KILL_OFF), s->byte < 0 ? 0 : s->byte, s->len);
}

/* Write on and on until killed; *done counts what was acknowledged. */
static void write_for_ever(struct rig *r, enum mode mode, struct rng rng, _Atomic uint64_t *done)
{
    struct overlay *o = open_ok(r, X, mode);
    for (;;) {
        struct step s = next_step(&rng);
        carry_out(o, &s);
        atomic_fetch_add(done, 1);
    }
}

/* Every acknowledged step is there; of the one under way, any byte may be. */
static void check_acknowledged(struct rig *r, enum mode mode, unsigned char *model, struct rng *rng, uint64_t done)
{
    static unsigned char now[KILL_SPAN], after[KILL_SPAN];
    for (uint64_t i = 0; i < done; i++) {
        struct step s = next_step(rng);
        apply(model, &s);
    }
    struct step under_way = next_step(rng);
    memcpy(after, model, KILL_SPAN);
    apply(after, &under_way);
    struct overlay *o = open_ok(r, X, mode);
    assert_int_equal(blk_read(overlay_blk(o), now, KILL_SPAN, KILL_OFF), 0);
    for (uint64_t i = 0; i < KILL_SPAN; i++)
        CHECK(now[i] == model[i] || now[i] == after[i], "after %llu acknowledged steps byte %llu is %02x, not %02x",
              (unsigned long long)done, (unsigned long long)i, now[i], model[i]);
    memcpy(model, now, KILL_SPAN);
    close_ok(r, o);
}

static void kill_rounds(struct rig *r, enum mode mode, unsigned rounds)
{
    static unsigned char model[KILL_SPAN];
    struct rng rng = {check_seed() + mode};
    _Atomic uint64_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    assert_int_equal(blk_read(r->base, model, KILL_SPAN, KILL_OFF), 0);
    for (unsigned i = 0; i < rounds; i++) {
        struct rng mine = {rng_next(&rng)};
        atomic_store(done, 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_for_ever(r, mode, mine, done);
        (void)usleep((useconds_t)rng_below(&rng, 20000)); /* any moment will do, also while it is opened */
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        check_acknowledged(r, mode, model, &mine, atomic_load(done));
    }
    (void)munmap((void *)done, 4096);
}

static void test_overlay_volatile_loses_nothing_acknowledged_to_sigkill(void **state)
{
    kill_rounds(*state, VOLATILE, 60 * check_stress());
}

static void test_overlay_kept_loses_nothing_acknowledged_to_sigkill(void **state)
{
    kill_rounds(*state, KEPT, 60 * check_stress());
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
        TEST(test_overlay_flush_on_a_full_disk_fails_and_works_again),
        TEST(test_overlay_volatile_loses_nothing_acknowledged_to_sigkill),
        TEST(test_overlay_kept_loses_nothing_acknowledged_to_sigkill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
