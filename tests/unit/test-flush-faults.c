/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk that is full or fails under kept overlays: who asks is told, who asks again is told again, nobody waits for ever, and nothing that
 * a flush confirmed is missing afterwards.
 *
 * The calls that reach the disk (fdatasync, pwrite, write) are replaced by ones that fail on demand.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "core/journal-file.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/overlay.h"
#include "core/recover.h"
#include "core/util.h"
#include "tests/unit/stack-check.h"

#define DISK   (8ULL * MiB)
#define AREA   JOURNAL_AREA_MIN
#define NOBODY (-1)

/* --- a disk that fails on demand ---------------------------------------------------------------------------------- */

static _Atomic int sync_fd = NOBODY, sync_error;   /* syncs of this descriptor fail once with this */
static _Atomic int write_fd = NOBODY, write_error; /* pwrites to this descriptor fail with this */
static _Atomic int map_error;                      /* map files cannot be written */
static _Atomic unsigned syncs;

int fdatasync(int fd);
int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    if (fd != atomic_load(&sync_fd))
        return 0; /* the machine does not lose its power here */
    errno = atomic_load(&sync_error);
    atomic_store(&sync_fd, NOBODY); /* as the kernel, which reports a lost write once */
    return -1;
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t off)
{
    if (fd == atomic_load(&write_fd)) {
        errno = atomic_load(&write_error);
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, n, off);
}

ssize_t write(int fd, const void *buf, size_t n)
{
    if (fd > STDERR_FILENO && atomic_load(&map_error)) {
        errno = atomic_load(&map_error);
        return -1;
    }
    return syscall(SYS_write, fd, buf, n);
}

/* --- two kept overlays and their journal -------------------------------------------------------------------------- */

struct rig {
    char path[64];
    int root_fd, live_fd, overlays_fd, dir_fd[2], journal_fd;
    struct journal *journal;
    struct blk *base;
    struct overlay *o[2];
    struct err err;
};

static struct map_stamp stamp_of(unsigned i)
{
    return (struct map_stamp){.overlay_id = {(unsigned char)(i + 1)}, .base_identity = "base", .size_bytes = DISK};
}

static int open_dir(int at, const char *name)
{
    assert_true(mkdirat(at, name, 0700) == 0 || errno == EEXIST);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void open_one(struct rig *r, unsigned i)
{
    struct overlay_place place = {.dir_fd = r->dir_fd[i], .live_fd = r->live_fd, .journal = r->journal};
    struct map_stamp s = stamp_of(i);
    char found[UUID_LEN + 1];
    if (overlay_open(&place, &s, true, false, r->base, &r->o[i], found, &r->err) < 0)
        fail_msg("%s", r->err.msg);
}

static void begin(struct rig *r)
{
    struct recovery found;
    int fd = openat(r->root_fd, "journal", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (recover(r->overlays_fd, fd, "", &found, &r->err) < 0 ||
        journal_start(fd, "", found.next_number, AREA, &r->journal, &r->err) < 0)
        fail_msg("%s", r->err.msg);
    r->journal_fd = fd;
    open_one(r, 0);
    open_one(r, 1);
}

static int end_one(struct rig *r, unsigned i)
{
    int code = overlay_close(r->o[i], &r->err);
    r->o[i] = NULL;
    return code;
}

static void end(struct rig *r)
{
    for (unsigned i = 0; i < 2; i++)
        if (r->o[i])
            (void)end_one(r, i); /* the tests that care look themselves */
    journal_stop(r->journal);
    r->journal = NULL;
}

static void clear(int fd)
{
    _cleanup_closedir_ DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' || e->d_name[1] > '.')
            assert_true(unlinkat(fd, e->d_name, 0) == 0 || errno == EISDIR);
}

/* What a power cut leaves: no live maps, and the journal and the map files as they are; a clean end would change both. */
static void power_cut(struct rig *r)
{
    _cleanup_free_ char *journal = malloc(2 * AREA);
    assert_int_equal(pread_full(r->journal_fd, journal, 2 * AREA, 0), 0);
    for (unsigned i = 0; i < 2; i++)
        overlay_abandon(r->o[i]);
    end(r);
    int fd = openat(r->root_fd, "journal", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite_full(fd, journal, 2 * AREA, 0), 0);
    (void)close(fd);
    clear(r->live_fd);
    begin(r);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    strcpy(r->path, "/tmp/test-faults-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    log_init("test", LOG_LEVEL_ERROR, 0);
    r->root_fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->live_fd = open_dir(r->root_fd, "live");
    r->overlays_fd = open_dir(r->root_fd, "overlays");
    r->dir_fd[0] = open_dir(r->overlays_fd, "0");
    r->dir_fd[1] = open_dir(r->overlays_fd, "1");
    r->base = check_base_create(DISK, DISK);
    begin(r);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    int all[] = {r->dir_fd[0], r->dir_fd[1], r->overlays_fd, r->live_fd, r->root_fd};
    atomic_store(&sync_fd, NOBODY);
    atomic_store(&write_fd, NOBODY);
    atomic_store(&map_error, 0);
    end(r);
    blk_destroy(r->base);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        clear(all[i]);
    assert_int_equal(unlinkat(r->overlays_fd, "0", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(r->overlays_fd, "1", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(r->root_fd, "overlays", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(r->root_fd, "live", AT_REMOVEDIR), 0);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        (void)close(all[i]);
    assert_int_equal(rmdir(r->path), 0);
    free(r);
    return 0;
}

static int put(struct rig *r, unsigned i, uint64_t blk, char byte)
{
    char buf[BLOCK_BYTES];
    memset(buf, byte, sizeof(buf));
    return blk_write(overlay_blk(r->o[i]), buf, sizeof(buf), blk * BLOCK_BYTES);
}

static int flush(struct rig *r, unsigned i)
{
    return blk_flush(overlay_blk(r->o[i]));
}

static void assert_holds(struct rig *r, unsigned i, uint64_t blk, char byte)
{
    char buf[BLOCK_BYTES], want[BLOCK_BYTES];
    memset(want, byte, sizeof(want));
    assert_int_equal(blk_read(overlay_blk(r->o[i]), buf, sizeof(buf), blk * BLOCK_BYTES), 0);
    assert_memory_equal(buf, want, sizeof(buf));
}

/* Descriptor of overlay @i's data file: the one of this process that is open on it for writing. */
static int data_fd_of(const struct rig *r, unsigned i)
{
    struct stat want, st;
    assert_int_equal(fstatat(r->dir_fd[i], "0.data", &want, 0), 0);
    for (int fd = 3; fd < 100; fd++)
        if (fstat(fd, &st) == 0 && st.st_ino == want.st_ino && st.st_dev == want.st_dev)
            return fd;
    fail_msg("no descriptor of the data file is open");
    return -1;
}

/* --- syncs that fail ---------------------------------------------------------------------------------------------- */

static void test_flush_faults_failed_data_sync_is_told_to_that_flush_and_all_later_ones(void **state)
{
    struct rig *r = *state;
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    assert_int_equal(put(r, 1, 1, 'b'), 0);
    atomic_store(&sync_error, EIO);
    atomic_store(&sync_fd, data_fd_of(r, 0));
    assert_int_equal(flush(r, 0), -EIO);
    for (unsigned i = 0; i < 3; i++) { /* the disk works again, but nobody knows what it lost */
        assert_int_equal(put(r, 0, 2 + i, 'a'), 0);
        assert_int_equal(flush(r, 0), -EIO);
    }
    assert_int_equal(flush(r, 1), 0); /* another client's files are not concerned */
    assert_int_equal(end_one(r, 0), -EIO);
    assert_int_equal(end_one(r, 1), 0);
}

/* The process ends and another one begins, in the same boot of the machine. */
static int open_again(struct rig *r, unsigned i, bool is_kept, bool read_only)
{
    struct overlay_place place = {.dir_fd = r->dir_fd[i], .live_fd = r->live_fd, .journal = r->journal};
    struct map_stamp s = stamp_of(i);
    char found[UUID_LEN + 1];
    int code = overlay_open(&place, &s, is_kept, read_only, r->base, &r->o[i], found, &r->err);
    if (code < 0)
        r->o[i] = NULL;
    return code;
}

static void fail_sync_of(struct rig *r, unsigned i)
{
    atomic_store(&sync_error, EIO);
    atomic_store(&sync_fd, data_fd_of(r, i));
}

static void assert_is_base(struct rig *r, unsigned i, uint64_t blk)
{
    char was[BLOCK_BYTES], is[BLOCK_BYTES];
    assert_int_equal(blk_read(r->base, was, sizeof(was), blk * BLOCK_BYTES), 0);
    assert_int_equal(blk_read(overlay_blk(r->o[i]), is, sizeof(is), blk * BLOCK_BYTES), 0);
    assert_memory_equal(is, was, sizeof(is));
}

/* Overlay 0 has 'a' in block 1, flushed, and something in block 2, whose flush failed. */
static void lose_a_write(struct rig *r)
{
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    assert_int_equal(flush(r, 0), 0);
    assert_int_equal(put(r, 0, 2, 'x'), 0);
    assert_int_equal(overlay_loss(r->o[0]), 0);
    fail_sync_of(r, 0);
    assert_int_equal(flush(r, 0), -EIO);
    assert_int_equal(overlay_loss(r->o[0]), -EIO);
}

static void assert_is_refused_for_its_loss(struct rig *r)
{
    assert_int_equal(open_again(r, 0, true, false), -EBADMSG);
    assert_non_null(strstr(r->err.msg, "Input/output error"));
    assert_non_null(strstr(r->err.msg, "client reset"));
    assert_non_null(strstr(r->err.msg, "run/live/"));
    assert_int_equal(open_again(r, 0, true, true), 0); /* what is there may be copied away */
    assert_holds(r, 0, 1, 'a');
    assert_int_equal(end_one(r, 0), 0);
    assert_int_equal(put(r, 1, 3, 'b'), 0); /* no affair of another client */
    assert_int_equal(flush(r, 1), 0);
}

static void test_flush_faults_failed_data_sync_is_known_to_the_next_process(void **state)
{
    struct rig *r = *state;
    lose_a_write(r);
    assert_int_equal(end_one(r, 0), -EIO);
    assert_is_refused_for_its_loss(r);
}

static void test_flush_faults_failed_data_sync_is_known_after_a_crash(void **state)
{
    struct rig *r = *state;
    lose_a_write(r);
    overlay_abandon(r->o[0]);
    assert_int_equal(end_one(r, 0), 0);
    assert_is_refused_for_its_loss(r);
}

static void test_flush_faults_lost_write_has_a_way_out_to_the_last_flush(void **state)
{
    struct rig *r = *state;
    lose_a_write(r);
    end(r);
    assert_int_equal(unlinkat(r->live_fd, "01000000-0000-0000-0000-000000000000.live", 0), 0);
    begin(r);
    assert_holds(r, 0, 1, 'a');
    assert_is_base(r, 0, 2);
    assert_int_equal(put(r, 0, 2, 'y'), 0);
    assert_int_equal(flush(r, 0), 0);
    power_cut(r);
    assert_holds(r, 0, 1, 'a');
    assert_holds(r, 0, 2, 'y');
}

static void test_flush_faults_overlay_that_lost_a_write_does_not_become_kept(void **state)
{
    struct rig *r = *state;
    assert_int_equal(overlay_set_kept(r->o[0], false, &r->err), 0);
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    fail_sync_of(r, 0);
    assert_int_equal(overlay_set_kept(r->o[0], true, &r->err), -EIO);
    assert_int_equal(overlay_set_kept(r->o[0], true, &r->err), -EIO); /* the sync would succeed now */
    assert_int_equal(put(r, 0, 2, 'a'), 0);                           /* it serves on as what it is */
    assert_int_equal(flush(r, 0), 0);
    overlay_abandon(r->o[0]);
    assert_int_equal(end_one(r, 0), 0);
    assert_int_equal(open_again(r, 0, true, false), -EBADMSG);
    assert_int_equal(open_again(r, 0, false, false), 0);
    assert_holds(r, 0, 2, 'a');
    assert_int_equal(overlay_set_kept(r->o[0], true, &r->err), -EIO);
}

static void test_flush_faults_full_disk_at_a_sync_is_no_error_that_passes(void **state)
{
    struct rig *r = *state;
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    atomic_store(&sync_error, ENOSPC);
    atomic_store(&sync_fd, data_fd_of(r, 0));
    assert_int_equal(flush(r, 0), -EIO);
    assert_int_equal(flush(r, 0), -EIO);
}

static void test_flush_faults_failed_journal_sync_is_told_to_all_later_flushes(void **state)
{
    struct rig *r = *state;
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    assert_int_equal(put(r, 1, 1, 'b'), 0);
    atomic_store(&sync_error, EIO);
    atomic_store(&sync_fd, r->journal_fd);
    assert_int_equal(flush(r, 0), -EIO);
    assert_int_equal(flush(r, 0), -EIO);
    assert_int_equal(flush(r, 1), -EIO);
    assert_int_equal(flush(r, 1), -EIO);
}

static void test_flush_faults_nothing_after_a_failed_sync_appears_after_a_power_cut(void **state)
{
    struct rig *r = *state;
    char was[BLOCK_BYTES], is[BLOCK_BYTES];
    assert_int_equal(blk_read(r->base, was, sizeof(was), 5 * BLOCK_BYTES), 0);
    assert_int_equal(put(r, 0, 1, 'a'), 0);
    assert_int_equal(flush(r, 0), 0);
    assert_int_equal(put(r, 0, 5, 'x'), 0);
    atomic_store(&sync_error, EIO);
    atomic_store(&sync_fd, data_fd_of(r, 0));
    assert_int_equal(flush(r, 0), -EIO);
    power_cut(r);
    assert_holds(r, 0, 1, 'a');
    assert_int_equal(blk_read(overlay_blk(r->o[0]), is, sizeof(is), 5 * BLOCK_BYTES), 0);
    assert_memory_equal(is, was, sizeof(is)); /* its data may be lost, so the map must not count it */
}

/* --- writes that fail --------------------------------------------------------------------------------------------- */

static void test_flush_faults_failed_write_changes_nothing_and_concerns_one_client(void **state)
{
    struct rig *r = *state;
    assert_int_equal(put(r, 0, 7, 'a'), 0);
    atomic_store(&write_error, EIO);
    atomic_store(&write_fd, data_fd_of(r, 0));
    assert_int_equal(put(r, 0, 7, 'b'), -EIO);
    assert_int_equal(put(r, 0, 8, 'b'), -EIO);
    assert_int_equal(put(r, 1, 7, 'c'), 0);
    assert_holds(r, 0, 7, 'a');
    char was[BLOCK_BYTES], is[BLOCK_BYTES];
    assert_int_equal(blk_read(r->base, was, sizeof(was), 8 * BLOCK_BYTES), 0);
    assert_int_equal(blk_read(overlay_blk(r->o[0]), is, sizeof(is), 8 * BLOCK_BYTES), 0);
    assert_memory_equal(is, was, sizeof(is));
    atomic_store(&write_fd, NOBODY);
    assert_int_equal(put(r, 0, 7, 'b'), 0); /* healed, without a restart */
    assert_int_equal(flush(r, 0), 0);
    assert_int_equal(flush(r, 1), 0);
    power_cut(r);
    assert_holds(r, 0, 7, 'b');
    assert_holds(r, 1, 7, 'c');
}

/* --- a full disk -------------------------------------------------------------------------------------------------- */

/* Flush until there is no room in either area; the number of the block whose flush was refused. */
static uint64_t fill_journal(struct rig *r, unsigned i)
{
    for (uint64_t blk = 0; blk < DISK / BLOCK_BYTES; blk++) {
        assert_int_equal(put(r, i, blk, 'a'), 0);
        int code = flush(r, i);
        if (code == 0)
            continue;
        assert_int_equal(code, -ENOSPC);
        return blk;
    }
    fail_msg("the journal was never full");
    return 0;
}

static void test_flush_faults_flush_is_refused_while_maps_have_no_room_and_goes_on_after(void **state)
{
    struct rig *r = *state;
    assert_int_equal(put(r, 1, 3, 'c'), 0);
    assert_int_equal(flush(r, 1), 0);
    atomic_store(&map_error, ENOSPC);
    uint64_t last = fill_journal(r, 0);
    assert_true(last > AREA / JOURNAL_BLOCK);
    assert_int_equal(flush(r, 0), -ENOSPC); /* again, and it does not wait */
    assert_int_equal(put(r, 1, 4, 'c'), 0);
    assert_int_equal(flush(r, 1), -ENOSPC);
    atomic_store(&map_error, 0);
    int code = -ENOSPC;
    for (unsigned i = 0; i < 2000 && code == -ENOSPC; i++) { /* the journal's thread tries once a second */
        usleep(50000);
        code = flush(r, 0);
    }
    assert_int_equal(code, 0);
    assert_int_equal(flush(r, 1), 0);
    power_cut(r);
    for (uint64_t blk = 0; blk <= last; blk++)
        assert_holds(r, 0, blk, 'a');
    assert_holds(r, 1, 3, 'c');
    assert_holds(r, 1, 4, 'c');
}

static void test_flush_faults_refused_flush_leaves_what_was_flushed_before(void **state)
{
    struct rig *r = *state;
    atomic_store(&map_error, ENOSPC);
    uint64_t last = fill_journal(r, 0);
    atomic_store(&map_error, 0);
    power_cut(r);
    for (uint64_t blk = 0; blk < last; blk++)
        assert_holds(r, 0, blk, 'a');
}

/* --- the journal by itself ---------------------------------------------------------------------------------------- */

struct member {
    struct journal *journal;
    struct journal_member m;
    _Atomic uint64_t noted;
    int result;
};

static _Atomic int checkpoint_error;

static int checkpoint(void *arg, uint64_t *ret_number)
{
    struct member *c = arg;
    *ret_number = atomic_load(&c->noted);
    return atomic_load(&checkpoint_error);
}

static int commit(struct member *c, uint64_t *ret_number)
{
    const struct map_run run = {.blk = 1, .n = 1, .state = BLOCK_PRESENT};
    int r = journal_commit(c->journal, &c->m, &run, 1, ret_number);
    if (r == 0)
        atomic_store(&c->noted, *ret_number);
    return r;
}

static void *commit_once(void *arg)
{
    struct member *c = arg;
    uint64_t number;
    c->result = commit(c, &number);
    return NULL;
}

static int count_commits(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                         struct err *err)
{
    uint64_t *last = arg;
    assert_true(*last == 0 || number == *last + 1); /* one entry for each commit here */
    *last = number;
    return 0;
}

#define MEMBERS 16

static void test_flush_faults_full_journal_refuses_all_and_uses_no_number_up(void **state)
{
    struct member c[MEMBERS] = {0};
    struct journal *j;
    struct err err;
    struct journal_found found;
    uint64_t last = 0, number;
    pthread_t t[MEMBERS];
    int fd = memfd_create("journal", MFD_CLOEXEC), copy = dup(fd), r = 0;
    assert_int_equal(journal_start(fd, "", 100, AREA, &j, &err), 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        c[i].journal = j;
        c[i].m = (struct journal_member){.checkpoint = checkpoint, .arg = &c[i], .id = {(unsigned char)i}};
        journal_join(j, &c[i].m);
    }
    atomic_store(&checkpoint_error, -ENOSPC);
    while (r == 0)
        if ((r = commit(&c[0], &number)) == 0)
            last = number;
    assert_int_equal(r, -ENOSPC);
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, commit_once, &c[i]), 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
        assert_int_equal(c[i].result, -ENOSPC);
    }
    assert_int_equal(journal_last(j), last);
    atomic_store(&checkpoint_error, 0);
    for (unsigned i = 0; i < 4000 && (r = commit(&c[1], &number)) == -ENOSPC; i++)
        usleep(20000);
    assert_int_equal(r, 0);
    assert_int_equal(number, last + 1);
    last = 0;
    assert_int_equal(journal_replay(copy, "", count_commits, &last, &found, &err), 0);
    assert_int_equal(last, number);
    for (unsigned i = 0; i < MEMBERS; i++)
        journal_leave(j, &c[i].m);
    journal_stop(j);
    (void)close(copy);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_flush_faults_failed_data_sync_is_told_to_that_flush_and_all_later_ones),
        TEST(test_flush_faults_failed_data_sync_is_known_to_the_next_process),
        TEST(test_flush_faults_failed_data_sync_is_known_after_a_crash),
        TEST(test_flush_faults_lost_write_has_a_way_out_to_the_last_flush),
        TEST(test_flush_faults_overlay_that_lost_a_write_does_not_become_kept),
        TEST(test_flush_faults_full_disk_at_a_sync_is_no_error_that_passes),
        TEST(test_flush_faults_failed_journal_sync_is_told_to_all_later_flushes),
        TEST(test_flush_faults_nothing_after_a_failed_sync_appears_after_a_power_cut),
        TEST(test_flush_faults_failed_write_changes_nothing_and_concerns_one_client),
        TEST(test_flush_faults_flush_is_refused_while_maps_have_no_room_and_goes_on_after),
        TEST(test_flush_faults_refused_flush_leaves_what_was_flushed_before),
        cmocka_unit_test(test_flush_faults_full_journal_refuses_all_and_uses_no_number_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
