/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recovery: what the journal holds comes into the map files it belongs to, once, and damage stays with its owner. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "core/blk.h"
#include "core/journal-file.h"
#include "core/log.h"
#include "core/mapfile.h"
#include "core/recover.h"
#include "core/util.h"

#define BLOCKS 40000ULL
#define DISK   (BLOCKS * BLOCK_BYTES)

/* --- syncs that are counted, or fail ------------------------------------------------------------------------------ */

static ino_t watched;
static unsigned syncs;
static int sync_error;

int fsync(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == watched) {
        syncs++;
        errno = sync_error;
        return sync_error ? -1 : 0;
    }
    return (int)syscall(SYS_fsync, fd);
}

static void watch(int dirfd)
{
    struct stat st;
    assert_int_equal(fstat(dirfd, &st), 0);
    watched = st.st_ino;
    syncs = 0;
}

struct rig {
    char path[64];
    int overlays_fd, journal_fd;
    struct journal *journal;
    struct recovery found;
    struct err err;
};

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-recover-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->overlays_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->journal_fd = memfd_create("journal", MFD_CLOEXEC);
    log_set_level(LOG_LEVEL_ERROR);
    *state = r;
    return 0;
}

static void remove_tree(int dirfd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || unlinkat(dirfd, e->d_name, 0) == 0)
            continue;
        _cleanup_close_ int sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        remove_tree(sub);
        assert_int_equal(unlinkat(dirfd, e->d_name, AT_REMOVEDIR), 0);
    }
}

static int teardown(void **state)
{
    struct rig *r = *state;
    watched = 0;
    sync_error = 0;
    journal_stop(r->journal);
    remove_tree(r->overlays_fd);
    assert_int_equal(rmdir(r->path), 0);
    (void)close(r->overlays_fd);
    (void)close(r->journal_fd);
    free(r);
    return 0;
}

/* --- map files and commits ---------------------------------------------------------------------------------------- */

static struct livemap *new_map(unsigned char id)
{
    struct map_stamp stamp = {.overlay_id = {id}, .base_identity = "base", .size_bytes = DISK};
    struct livemap *m = NULL;
    assert_int_equal(livemap_create(memfd_create("map", MFD_CLOEXEC), &stamp, &m, NULL), 0);
    return m;
}

static int open_dir(const struct rig *r, const char *dir)
{
    (void)mkdirat(r->overlays_fd, dir, 0700); /* it may be there */
    int fd = openat(r->overlays_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void make_mapfile(const struct rig *r, const char *dir, unsigned char id, uint64_t sequence)
{
    _cleanup_close_ int fd = open_dir(r, dir);
    _cleanup_free_ void *buf = NULL;
    struct livemap *m = new_map(id);
    size_t len;
    assert_int_equal(mapfile_encode(m, sequence, &buf, &len), 0);
    assert_int_equal(mapfile_write(fd, "0.map", buf, len), 0);
    livemap_close(m);
}

static void damage(const struct rig *r, const char *dir, uint64_t off)
{
    unsigned char c;
    _cleanup_close_ int dirfd = open_dir(r, dir), fd = openat(dirfd, "0.map", O_RDWR | O_CLOEXEC);
    assert_int_equal(pread_full(fd, &c, 1, off), 0);
    c ^= 0x55;
    assert_int_equal(pwrite_full(fd, &c, 1, off), 0);
}

/* What block @blk is in the map file of @dir; *ret_number is the file's number. */
static enum block_state state_of(const struct rig *r, const char *dir, unsigned char id, uint64_t blk,
                                 uint64_t *ret_number)
{
    _cleanup_close_ int fd = open_dir(r, dir);
    struct livemap *m = new_map(id);
    struct mapfile_info info;
    struct err err;
    enum block_state s;
    if (mapfile_load(fd, "0.map", m, &info, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(livemap_run(m, blk, 1, &s), 1);
    livemap_close(m);
    if (ret_number)
        *ret_number = info.sequence;
    return s;
}

static int never(void *arg, uint64_t *ret_number)
{
    return -EIO;
}

static void start_journal(struct rig *r, uint64_t number)
{
    assert_int_equal(journal_start(dup(r->journal_fd), "", number, JOURNAL_AREA_MIN, &r->journal, &r->err), 0);
}

/* One commit of overlay @id. Nobody stops the journal before the end of the test: that is the power cut. */
static void commit(struct rig *r, unsigned char id, uint64_t blk, uint32_t n, enum block_state state)
{
    struct journal_member m = {.id = {id}, .checkpoint = never};
    struct map_run run = {blk, n, (uint32_t)state};
    uint64_t number;
    journal_join(r->journal, &m);
    assert_int_equal(journal_commit(r->journal, &m, &run, 1, &number), 0);
    journal_leave(r->journal, &m);
}

static int try_recover(struct rig *r)
{
    r->err.msg[0] = 0;
    int code = recover(r->overlays_fd, r->journal_fd, "", &r->found, &r->err);
    assert_true(code == 0 || r->err.msg[0]);
    return code;
}

static void recover_ok(struct rig *r)
{
    if (try_recover(r) < 0)
        fail_msg("%s", r->err.msg);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_recover_brings_flushes_into_map_files(void **state)
{
    struct rig *r = *state;
    uint64_t number;
    make_mapfile(r, "a", 1, 0);
    make_mapfile(r, "b", 2, 0);
    make_mapfile(r, "c", 3, 0);
    start_journal(r, 1);
    commit(r, 1, 5, 10, BLOCK_PRESENT);
    commit(r, 2, 39999, 1, BLOCK_PRESENT);
    commit(r, 1, 7, 1, BLOCK_ZERO);
    recover_ok(r);
    assert_int_equal(r->found.commits, 3);
    assert_int_equal(r->found.overlays, 2);
    assert_int_equal(r->found.next_number, 4);
    assert_int_equal(state_of(r, "a", 1, 5, &number), BLOCK_PRESENT);
    assert_int_equal(number, 3);
    assert_int_equal(state_of(r, "a", 1, 7, NULL), BLOCK_ZERO);
    assert_int_equal(state_of(r, "a", 1, 15, NULL), BLOCK_ABSENT);
    assert_int_equal(state_of(r, "b", 2, 39999, &number), BLOCK_PRESENT);
    assert_int_equal(number, 2);
    assert_int_equal(state_of(r, "c", 3, 5, &number), BLOCK_ABSENT);
    assert_int_equal(number, 0);
}

static void test_recover_done_twice_changes_nothing(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 0);
    start_journal(r, 1);
    commit(r, 1, 5, 10, BLOCK_PRESENT);
    recover_ok(r);
    assert_int_equal(r->found.overlays, 1);
    recover_ok(r);
    assert_int_equal(r->found.overlays, 0);
    assert_int_equal(r->found.next_number, 2);
}

static void test_recover_leaves_out_what_the_map_file_has(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 2);
    start_journal(r, 1);
    commit(r, 1, 1, 1, BLOCK_PRESENT);
    commit(r, 1, 2, 1, BLOCK_PRESENT);
    commit(r, 1, 3, 1, BLOCK_PRESENT);
    recover_ok(r);
    assert_int_equal(state_of(r, "a", 1, 1, NULL), BLOCK_ABSENT);
    assert_int_equal(state_of(r, "a", 1, 2, NULL), BLOCK_ABSENT);
    assert_int_equal(state_of(r, "a", 1, 3, NULL), BLOCK_PRESENT);
}

static void test_recover_ignores_flushes_of_dropped_overlays(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 0);
    start_journal(r, 1);
    commit(r, 9, 1, 1, BLOCK_PRESENT);
    recover_ok(r);
    assert_int_equal(r->found.overlays, 0);
    assert_int_equal(state_of(r, "a", 1, 1, NULL), BLOCK_ABSENT);
}

static void test_recover_counts_on_above_every_map_file(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 77);
    recover_ok(r);
    assert_int_equal(r->found.next_number, 78);
}

static void test_recover_reaches_others_when_a_map_file_is_damaged(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 0);
    make_mapfile(r, "b", 2, 0);
    make_mapfile(r, "c", 3, 0);
    damage(r, "a", 0);    /* its magic */
    damage(r, "b", 4090); /* its check sum */
    start_journal(r, 1);
    for (unsigned char id = 1; id <= 3; id++)
        commit(r, id, 5, 1, BLOCK_PRESENT);
    recover_ok(r);
    assert_int_equal(r->found.damaged, 2);
    assert_int_equal(r->found.overlays, 1);
    assert_int_equal(state_of(r, "c", 3, 5, NULL), BLOCK_PRESENT);
}

/* The header is looked at before the check sum. */
static void test_recover_survives_any_flipped_byte_of_a_header(void **state)
{
    struct rig *r = *state;
    start_journal(r, 1);
    for (uint64_t off = 0; off < 150; off++) {
        make_mapfile(r, "a", 1, 0);
        commit(r, 1, 5, 1, BLOCK_PRESENT);
        damage(r, "a", off);
        recover_ok(r);
        assert_true(r->found.next_number > 0 && r->found.next_number <= JOURNAL_NUMBER_MAX + 1);
    }
}

static void test_recover_of_a_folder_that_was_copied_reaches_both(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 7; i++) {
        char dir[8];
        (void)snprintf(dir, sizeof(dir), "d%u", i);
        make_mapfile(r, dir, i < 3 ? 1 : (unsigned char)i, 0);
    }
    start_journal(r, 1);
    commit(r, 1, 5, 1, BLOCK_PRESENT);
    recover_ok(r);
    assert_int_equal(r->found.overlays, 3);
    assert_int_equal(state_of(r, "d0", 1, 5, NULL), BLOCK_PRESENT);
    assert_int_equal(state_of(r, "d1", 1, 5, NULL), BLOCK_PRESENT);
    assert_int_equal(state_of(r, "d2", 1, 5, NULL), BLOCK_PRESENT);
    assert_int_equal(state_of(r, "d3", 3, 5, NULL), BLOCK_ABSENT);
}

static void test_recover_refuses_blocks_beyond_the_end(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 0);
    start_journal(r, 1);
    commit(r, 1, BLOCKS - 1, 2, BLOCK_PRESENT);
    assert_int_equal(try_recover(r), -EBADMSG);
    assert_int_equal(state_of(r, "a", 1, BLOCKS - 1, NULL), BLOCK_ABSENT);
}

static void test_recover_with_a_damaged_journal_changes_no_map_file(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 0);
    start_journal(r, 1);
    for (int i = 0; i < 3; i++)
        commit(r, 1, 5, 1, BLOCK_PRESENT);
    assert_int_equal(pwrite_full(r->journal_fd, "?", 1, 2 * JOURNAL_BLOCK + 50), 0);
    assert_int_equal(try_recover(r), -EBADMSG);
    assert_int_equal(state_of(r, "a", 1, 5, NULL), BLOCK_ABSENT);
}

static void test_recover_overlooks_what_is_no_map_file(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 3);
    _cleanup_close_ int dir = open_dir(r, "a");
    assert_int_equal(mkdirat(dir, "1.map", 0700), 0);
    assert_int_equal(symlinkat("/dev/zero", dir, "2.map"), 0);
    assert_int_equal(renameat(dir, "0.map", dir, ".0.map.12.tmp"), 0);
    _cleanup_close_ int file = openat(r->overlays_fd, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    recover_ok(r);
    assert_int_equal(r->found.next_number, 1);
}

/* The last process may have been killed between the rename of a map file and the sync of its folder. Whoever emptied the journal now would
 * leave the old map file to a power cut, and nothing to bring it up to date with. */
static void test_recover_makes_durable_which_map_file_it_found(void **state)
{
    struct rig *r = *state;
    make_mapfile(r, "a", 1, 1);
    start_journal(r, 1);
    commit(r, 1, 5, 10, BLOCK_PRESENT);
    _cleanup_close_ int fd = open_dir(r, "a");
    watch(fd);
    recover_ok(r);
    assert_int_equal(r->found.overlays, 0); /* it has the commit */
    assert_true(syncs > 0);
    sync_error = EIO;
    assert_int_equal(try_recover(r), -EIO);
    assert_non_null(strstr(r->err.msg, "overlays/a"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_recover_brings_flushes_into_map_files),
        TEST(test_recover_done_twice_changes_nothing),
        TEST(test_recover_leaves_out_what_the_map_file_has),
        TEST(test_recover_ignores_flushes_of_dropped_overlays),
        TEST(test_recover_counts_on_above_every_map_file),
        TEST(test_recover_reaches_others_when_a_map_file_is_damaged),
        TEST(test_recover_survives_any_flipped_byte_of_a_header),
        TEST(test_recover_of_a_folder_that_was_copied_reaches_both),
        TEST(test_recover_refuses_blocks_beyond_the_end),
        TEST(test_recover_with_a_damaged_journal_changes_no_map_file),
        TEST(test_recover_overlooks_what_is_no_map_file),
        TEST(test_recover_makes_durable_which_map_file_it_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
