/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of overlays share: a place for one overlay over a base of noise, overlays in it, their files, and processes that die.
 *
 * Threads: none.
 */
#ifndef DISKGATE_TESTS_OVERLAY_FIXTURE_H
#define DISKGATE_TESTS_OVERLAY_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

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

static inline int setup(void **state)
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

static inline void clear(int dirfd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(dirfd, e->d_name, 0) < 0)
            assert_int_equal(errno, EISDIR);
}

static inline int teardown(void **state)
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

static inline struct map_stamp stamp_of(unsigned char id)
{
    return (struct map_stamp){.overlay_id = {id, 2, 3}, .base_identity = "base", .size_bytes = DISK};
}

static inline const char *id_text(unsigned char id)
{
    static char text[UUID_LEN + 1];
    struct map_stamp s = stamp_of(id);
    uuid_encode(s.overlay_id, text);
    return text;
}

static inline int try_open(struct rig *r, unsigned char id, enum mode mode, struct overlay **ret)
{
    struct map_stamp s = stamp_of(id);
    r->err.msg[0] = 0;
    int code = overlay_open(&r->place, &s, mode == KEPT, false, r->base, ret, r->found, &r->err);
    assert_true(code == 0 || r->err.msg[0]);
    return code;
}

static inline struct overlay *open_ok(struct rig *r, unsigned char id, enum mode mode)
{
    struct overlay *o = NULL;
    if (try_open(r, id, mode, &o) != 0)
        fail_msg("%s", r->err.msg);
    return o;
}

static inline void assert_refused(struct rig *r, unsigned char id, enum mode mode, int code)
{
    struct overlay *o = NULL;
    int got = try_open(r, id, mode, &o);
    if (got == 0)
        assert_int_equal(overlay_close(o, &r->err), 0);
    assert_int_equal(got, code);
}

static inline void close_ok(struct rig *r, struct overlay *o)
{
    assert_int_equal(overlay_close(o, &r->err), 0);
}

static inline void put(struct overlay *o, uint64_t off, char byte)
{
    char buf[1000];
    memset(buf, byte, sizeof(buf));
    assert_int_equal(blk_write(overlay_blk(o), buf, sizeof(buf), off), 0);
}

static inline bool holds(struct overlay *o, uint64_t off, char byte)
{
    char buf[1000], want[1000];
    memset(want, byte, sizeof(want));
    assert_int_equal(blk_read(overlay_blk(o), buf, sizeof(buf), off), 0);
    return memcmp(buf, want, sizeof(buf)) == 0;
}

static inline void assert_like_base(struct rig *r, struct overlay *o)
{
    char a[8192], b[8192];
    for (uint64_t off = 0; off < DISK; off += off == 0 ? DISK - sizeof(a) : DISK) {
        assert_int_equal(blk_read(overlay_blk(o), a, sizeof(a), off), 0);
        assert_int_equal(blk_read(r->base, b, sizeof(b), off), 0);
        assert_memory_equal(a, b, sizeof(a));
    }
}

static inline bool exists(int dirfd, const char *name)
{
    return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline const char *live_name(unsigned char id)
{
    static char name[64];
    (void)snprintf(name, sizeof(name), "%s.live", id_text(id));
    return name;
}

/* Change one byte of a file. */
static inline void damage(int dirfd, const char *name, uint64_t off)
{
    unsigned char c;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread_full(fd, &c, 1, off), 0);
    c ^= 0x55;
    assert_int_equal(pwrite_full(fd, &c, 1, off), 0);
}

/* As the machine's next boot finds it. */
static inline void age_live(struct rig *r, unsigned char id)
{
    damage(r->place.live_fd, live_name(id), 16);
}

/* Do @f in a process that then dies without closing anything. */
static inline void in_dying_process(struct rig *r, enum mode mode, void (*f)(struct rig *, struct overlay *))
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

static inline void write_a(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
}

static inline void write_a_flush_write_b(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    (void)blk_flush(overlay_blk(o)); /* of a volatile one it does nothing */
    put(o, 50000, 'b');
}

static inline void become_kept(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    if (overlay_set_kept(o, true, &r->err) < 0)
        abort();
    put(o, 50000, 'b');
}

static inline void become_volatile(struct rig *r, struct overlay *o)
{
    put(o, 5000, 'a');
    if (blk_flush(overlay_blk(o)) < 0 || overlay_set_kept(o, false, &r->err) < 0)
        abort();
    put(o, 50000, 'b');
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
