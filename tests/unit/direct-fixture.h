/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of direct reads share: a client's view in folders of its own, the socket for stores, and looks at both.
 *
 * Threads: none but those of what is tested.
 */
#ifndef DISKGATE_TESTS_DIRECT_FIXTURE_H
#define DISKGATE_TESTS_DIRECT_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/rampool.h"
#include "core/util.h"
#include "fusefs/boards.h"
#include "fusefs/direct.h"
#include "fusefs/tape.h"
#include "tests/unit/store-client.h"

#define BLOCKS 4096ULL
#define DISK   (BLOCKS * BLOCK_BYTES - 5 * SECTOR_BYTES) /* the last block is short */
#define DATA   (DISK - 2 * BLOCK_BYTES - 100)            /* of the base; then zeros */

static const unsigned char id[16] = {0x11, 2, 3};

struct rig {
    char path[64], ram_path[64];
    int dir_fd, live_fd, run_fd, ram_fd;
    struct ram_pool *pool;
    struct base *base;
    struct view *view;
    struct direct *direct;
    char *noise; /* what the base holds, DISK bytes */
};

/* --- set-up ------------------------------------------------------------------------------------------------------ */

static inline void make_base(struct rig *r)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/base.raw", r->path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (size_t i = 0; i < DATA; i++)
        r->noise[i] = (char)(i * 7 + i / 4096 + 1);
    assert_int_equal(pwrite_full(fd, r->noise, DATA, 0), 0);
    (void)close(fd);
    struct stat st;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    struct image_info info = {.file_bytes = DATA,
                              .data_bytes = DATA,
                              .size_bytes = DISK,
                              .mtime_ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    struct version_row row = {.number = 1, .size_bytes = DISK, .file_bytes = DATA};
    strcpy(row.identity, "base");
    r->base = base_open(fd, &info, &row);
    assert_non_null(r->base);
}

static inline struct overlay_place place_of(const struct rig *r)
{
    return (struct overlay_place){.dir_fd = r->dir_fd,
                                  .live_fd = r->live_fd,
                                  .has_ram = true,
                                  .ram_fd = r->ram_fd,
                                  .ram_pool = r->pool,
                                  .client_id = 7};
}

/* As attach.c does it. */
static inline struct view *make_view(struct rig *r, enum overlay_mode mode)
{
    struct overlay_place place = place_of(r);
    struct map_stamp stamp = {.base_identity = "base", .size_bytes = DISK};
    struct view_row row = {.client = "pc01", .mode = mode, .size_bytes = DISK};
    struct overlay *o = NULL;
    char found[UUID_LEN + 1];
    struct err err = {""};
    memcpy(stamp.overlay_id, id, sizeof(id));
    if (overlay_open(&place, &stamp, mode != OVERLAY_VOLATILE, false, r->base->blk, &o, found, &err) < 0)
        fail_msg("%s", err.msg);
    struct view *v = view_of_client(r->base, o, dup(r->dir_fd), &row);
    assert_non_null(v);
    assert_non_null(v->boards);
    return v;
}

static inline void attach(struct rig *r, enum overlay_mode mode)
{
    r->view = make_view(r, mode);
    direct_add(r->direct, r->view);
}

static inline void detach(struct rig *r)
{
    direct_forget(r->direct, r->view);
    view_unref(take_ptr(r->view));
}

static inline void start_threads(struct rig *r)
{
    struct err err;
    r->pool = ram_pool_create();
    if (ram_pool_start(r->pool) < 0 || direct_open(r->run_fd, &r->direct, &err) < 0 || direct_start(r->direct) < 0)
        abort(); /* in a child, too */
}

static inline void stop_threads(struct rig *r)
{
    direct_close(r->direct);
    ram_pool_stop(r->pool);
    ram_pool_destroy(r->pool);
}

static inline int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/var/tmp/test-direct-XXXXXX");
    strcpy(r->ram_path, "/dev/shm/test-direct-XXXXXX");
    assert_true(mkdtemp(r->path) && mkdtemp(r->ram_path));
    r->dir_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(mkdirat(r->dir_fd, "live", 0700) == 0 && mkdirat(r->dir_fd, "run", 0755) == 0);
    r->live_fd = openat(r->dir_fd, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->run_fd = openat(r->dir_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->ram_fd = open(r->ram_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->noise = calloc(1, DISK);
    make_base(r);
    start_threads(r);
    *state = r;
    return 0;
}

static inline void clear(int dirfd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            (void)unlinkat(dirfd, e->d_name, 0); /* what stays is a folder */
}

static inline int teardown(void **state)
{
    struct rig *r = *state;
    direct_stop(r->direct);
    if (r->view)
        detach(r);
    stop_threads(r);
    base_unref(r->base);
    clear(r->live_fd);
    clear(r->run_fd);
    clear(r->ram_fd);
    clear(r->dir_fd);
    (void)unlinkat(r->dir_fd, "live", AT_REMOVEDIR);
    (void)unlinkat(r->dir_fd, "run", AT_REMOVEDIR);
    (void)close(r->live_fd);
    (void)close(r->run_fd);
    (void)close(r->ram_fd);
    (void)close(r->dir_fd);
    assert_int_equal(rmdir(r->path), 0);
    assert_int_equal(rmdir(r->ram_path), 0);
    free(r->noise);
    free(r);
    return 0;
}

static inline struct store open_store(const struct rig *r)
{
    struct store s;
    assert_int_equal(store_open(r->run_fd, id, &s), 0);
    return s;
}

/* --- looks ------------------------------------------------------------------------------------------------------- */

static inline void put(struct view *v, uint64_t off, char byte, size_t len)
{
    _cleanup_free_ char *buf = malloc(len);
    memset(buf, byte, len);
    assert_int_equal(blk_write(v->blk, buf, len, off), 0);
}

static inline int get(struct store *s, uint64_t off, size_t len)
{
    _cleanup_free_ char *buf = malloc(len);
    bool ignored;
    return store_read(s, buf, len, off, &ignored);
}

static inline uint32_t flags(const struct store *s)
{
    return atomic_load(&s->board->flags);
}

static inline void await(const struct view *v, unsigned boards)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    for (int i = 0; i < 2500 && boards_count(v->boards).boards != boards; i++)
        (void)nanosleep(&pause, NULL);
    assert_int_equal(boards_count(v->boards).boards, boards);
}

/* What the store reads by itself is what the disk holds; how much of it was from the data file. */
static inline size_t assert_same(struct store *s, struct view *v, size_t *ret_refused)
{
    static char a[64 * KiB], b[64 * KiB];
    size_t data = 0;
    *ret_refused = 0;
    for (uint64_t off = 0; off < DISK; off += BLOCK_BYTES) {
        bool has_data;
        size_t len = (size_t)MIN(BLOCK_BYTES, DISK - off);
        assert_int_equal(blk_read(v->blk, a, len, off), 0);
        if (store_read(s, b, len, off, &has_data) < 0) {
            ++*ret_refused;
            continue;
        }
        data += has_data;
        assert_memory_equal(a, b, len);
    }
    return data;
}

static inline size_t recorded(struct view *v)
{
    boards_gather(v->boards);
    struct boot_record *rec = tape_take(v->tape, true);
    boards_refresh(v->boards);
    size_t n = rec ? boot_record_count(rec) : 0;
    boot_record_destroy(rec);
    return n;
}

/* A ring that fills would send reads the long way. */
static inline void record_no_more(struct view *v)
{
    for (uint64_t i = 0; i < TAPE_LEAST; i++)
        tape_note(v->tape, i * 64 * KiB, 1);
    assert_int_equal(recorded(v), TAPE_LEAST);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
