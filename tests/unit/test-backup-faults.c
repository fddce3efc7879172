/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup and a prune that meet a fault at every single step: the n-th call that changes the repository fails (disk full, I/O error,
 * gone), or the process is killed at it, for every n until one run meets none.
 *
 * This program defines the calls of the C library that change files; what lies in the repository's folder is counted.
 *
 * After each fault: the sets from before give their disks back byte by byte, the new one is either complete or not there, a run that
 * reported success left a complete one, one that reported a failure said why, and the next run succeeds.
 *
 * Each call is killed; every third one fails, with all that follow it. DISKGATE_TEST_STRIDE=N takes every N-th of these only (under
 * sanitizers).
 */
#include "tests/unit/backup-fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The names that programs with 64-bit offsets use are the same functions. */
#undef openat
#undef pwrite

enum fault { FAULT_KILL, FAULT_FULL, FAULT_IO, FAULTS };

static struct plan {
    int at;           /* the call that it hits, 0 = none */
    enum fault fault; /* and all later ones, but for FAULT_KILL */
    int calls;
} plan;

/* --- the calls ----------------------------------------------------------------------------------------------------- */

/* True when this call is to fail; errno is set. A write is half done first, so that torn files happen. */
static bool strike(int fd, const void *buf, size_t len, off_t off)
{
    if (!plan.at || ++plan.calls < plan.at)
        return false;
    if (buf && len > 1 && plan.calls == plan.at)
        (void)syscall(SYS_pwrite64, fd, buf, len / 2, off);
    if (plan.fault == FAULT_KILL)
        (void)raise(SIGKILL);
    errno = plan.fault == FAULT_FULL ? ENOSPC : EIO;
    return true;
}

#define EXPORT(name) __asm__(name) __attribute__((visibility("default"), used))

int my_openat(int dirfd, const char *path, int flags, ...) EXPORT("openat");
int my_openat64(int dirfd, const char *path, int flags, ...) EXPORT("openat64");
ssize_t my_write(int fd, const void *buf, size_t len) EXPORT("write");
ssize_t my_pwrite(int fd, const void *buf, size_t len, off_t off) EXPORT("pwrite");
ssize_t my_pwrite64(int fd, const void *buf, size_t len, off_t off) EXPORT("pwrite64");
int my_fsync(int fd) EXPORT("fsync");
int my_fdatasync(int fd) EXPORT("fdatasync");
int my_renameat(int from, const char *old, int to, const char *path) EXPORT("renameat");
int my_mkdirat(int dirfd, const char *path, mode_t mode) EXPORT("mkdirat");
int my_unlinkat(int dirfd, const char *path, int flags) EXPORT("unlinkat");

static int open_any(int dirfd, const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) && strike(-1, NULL, 0, 0))
        return -1;
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

int my_openat(int dirfd, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(dirfd, path, flags, mode);
}

int my_openat64(int dirfd, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_any(dirfd, path, flags, mode);
}

ssize_t my_write(int fd, const void *buf, size_t len)
{
    if (fd > 2 && strike(fd, buf, len, lseek(fd, 0, SEEK_CUR)))
        return -1;
    return syscall(SYS_write, fd, buf, len);
}

ssize_t my_pwrite(int fd, const void *buf, size_t len, off_t off)
{
    return strike(fd, buf, len, off) ? -1 : syscall(SYS_pwrite64, fd, buf, len, off);
}

ssize_t my_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
    return my_pwrite(fd, buf, len, off);
}

int my_fsync(int fd)
{
    return strike(fd, NULL, 0, 0) ? -1 : 0; /* what is durable is the business of tests/powercut */
}

int my_fdatasync(int fd)
{
    return strike(fd, NULL, 0, 0) ? -1 : 0;
}

int my_renameat(int from, const char *old, int to, const char *path)
{
    return strike(-1, NULL, 0, 0) ? -1 : (int)syscall(SYS_renameat, from, old, to, path);
}

int my_mkdirat(int dirfd, const char *path, mode_t mode)
{
    return strike(-1, NULL, 0, 0) ? -1 : (int)syscall(SYS_mkdirat, dirfd, path, mode);
}

int my_unlinkat(int dirfd, const char *path, int flags)
{
    return strike(-1, NULL, 0, 0) ? -1 : (int)syscall(SYS_unlinkat, dirfd, path, flags);
}

/* --- a run ----------------------------------------------------------------------------------------------------------- */

#define START_S 1795000000

static const struct disk old_disk = {.size = 9 * CHUNK + 1024, .seed = {1, 2, 0, 4, 5, 5, 1, 0, 9, 10}};
static const struct disk new_disk = {.size = 12 * CHUNK, .seed = {1, 2, 31, 32, 33, 5, 34, 35, 36, 37, 38, 39}};

enum { DONE, REFUSED, SILENT };

static int backup_once(const char *path)
{
    struct err err = {""};
    struct repo *r = NULL;
    int e = repo_open(path, REPO_WRITE, 0, "test", &r, &err);
    if (e == 0)
        e = try_backup(r, "win", &new_disk, START_S + 100, NULL, &err);
    repo_close(r);
    return e == 0 ? DONE : err.msg[0] ? REFUSED : SILENT;
}

/* The set "drop" goes, and then its chunks, at once. */
static int prune_once(const char *path)
{
    struct err err = {""};
    struct repo *r = NULL;
    struct marks marks = {0};
    struct gc_counts counts;
    struct set_info *sets = NULL;
    size_t n = 0;
    int e = repo_open(path, REPO_WRITE, 0, "test", &r, &err);
    if (e == 0)
        e = marks_load(r, &marks, &err);
    if (e == 0)
        e = set_list(r, &sets, &n, &err);
    for (size_t i = 0; e == 0 && i < n; i++) {
        const char *id = sets[i].id;
        if (sets[i].n_streams && strcmp(sets[i].streams[0].id.name, "drop") == 0)
            e = prune_drop(r, &marks, &id, 1, &err);
    }
    if (e == 0)
        e = gc_run(r, &marks, false, true, &counts, &err);
    set_list_free(sets, n);
    marks_finish(&marks);
    repo_close(r);
    return e == 0 ? DONE : err.msg[0] ? REFUSED : SILENT;
}

/* In a process of its own, with a fault. *ret_is_over: the run met none. */
static int run_with_fault(const char *path, int (*run)(const char *path), enum fault fault, int at, bool *ret_is_over)
{
    int *calls = mmap(NULL, sizeof(*calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), status;
    assert_true(calls != MAP_FAILED);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        plan = (struct plan){at, fault, 0};
        int result = run(path);
        *calls = plan.calls;
        _exit(result);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    *ret_is_over = WIFEXITED(status) && *calls < at;
    (void)munmap(calls, sizeof(*calls)); /* it is ours */
    if (WIFSIGNALED(status) && (WTERMSIG(status) != SIGKILL || fault != FAULT_KILL))
        fail_msg("call %d, fault %d: it died by signal %d", at, (int)fault, WTERMSIG(status));
    return WIFSIGNALED(status) ? REFUSED : WEXITSTATUS(status);
}

/* Every set of "win" gives back old_disk or new_disk, the first one the old one. *ret_new: there is a new one. */
static void check_sets(const char *path, int at, bool *ret_new)
{
    struct err err = {""};
    struct repo *r = open_repo(path, REPO_WRITE);
    struct set_info *sets;
    size_t n, wins = 0;
    ok(set_list(r, &sets, &n, &err));
    for (size_t i = 0; i < n; i++) {
        if (sets[i].problem)
            fail_msg("call %d: set %s: %s", at, sets[i].id, sets[i].reason.msg);
        if (strcmp(sets[i].streams[0].id.name, "win") != 0)
            continue;
        int e = check_disk(r, sets[i].id, "win", wins ? &new_disk : &old_disk, &err);
        if (e < 0)
            fail_msg("call %d: set %s is broken: %s", at, sets[i].id, err.msg);
        wins++;
    }
    set_list_free(sets, n);
    repo_close(r);
    if (wins == 0)
        fail_msg("call %d: the old set is gone", at);
    *ret_new = wins > 1;
}

static void copy_folder(const char *from, const char *to)
{
    assert_int_equal(shell("rm -rf %s && cp -a %s %s", to, from, to), 0);
}

static int stride(void)
{
    const char *text = getenv("DISKGATE_TEST_STRIDE");
    return text ? MAX(1, atoi(text)) : 1;
}

static void try_all(const char *repo, int (*run)(const char *path), bool makes_set)
{
    char in_memory[] = "/dev/shm/diskgate-backup-XXXXXX", path[PATH_MAX];
    char *folder = mkdtemp(in_memory) ? strdup(in_memory) : test_folder();
    (void)snprintf(path, sizeof(path), "%s/repo", folder);
    for (int fault = 0; fault < FAULTS; fault++) {
        bool is_over = false, has_new;
        int steps = 0;
        for (int at = 1; !is_over; at += fault == FAULT_KILL ? stride() : 3 * stride()) {
            copy_folder(repo, path);
            int result = run_with_fault(path, run, (enum fault)fault, at, &is_over);
            check_sets(path, at, &has_new);
            if (result == SILENT)
                fail_msg("call %d, fault %d: it failed without a sentence", at, fault);
            if (makes_set && result == DONE && !has_new)
                fail_msg("call %d, fault %d: a success without a set", at, fault);
            if (run(path) != DONE)
                fail_msg("call %d, fault %d: the next run fails", at, fault);
            check_sets(path, at, &has_new);
            assert_true(has_new == makes_set);
            steps = at;
        }
        assert_true(steps > 40 || stride() > 1); /* the calls are really counted */
    }
    remove_folder(folder);
}

static void test_backup_with_a_fault_at_every_step(void **state)
{
    (void)state;
    char *path = new_repo();
    backup(path, "win", &old_disk, START_S, NULL);
    try_all(path, backup_once, true);
    remove_folder(path);
}

static void test_prune_with_a_fault_at_every_step(void **state)
{
    (void)state;
    static const struct disk mixed = {.size = 12 * CHUNK, .seed = {1, 2, 51, 52, 53, 5, 54, 55, 56, 57, 58, 59}};
    char *path = new_repo();
    backup(path, "drop", &mixed, START_S - 100, NULL); /* so the pack holds chunks that win needs, and others */
    backup(path, "win", &old_disk, START_S, NULL);
    try_all(path, prune_once, false);
    remove_folder(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup_with_a_fault_at_every_step),
        cmocka_unit_test(test_prune_with_a_fault_at_every_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
