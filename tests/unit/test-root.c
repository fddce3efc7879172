/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root folder: how its name is resolved, and its locks between processes. */
#include "core/root.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/util.h"

struct fixture {
    char dir[PATH_MAX]; /* free of links */
    char cwd[PATH_MAX];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char temp[] = "/tmp/diskgate-test-XXXXXX";
    if (!f || !mkdtemp(temp) || !realpath(temp, f->dir) || !getcwd(f->cwd, sizeof(f->cwd)) || chdir(f->dir) < 0)
        return -1;
    *state = f;
    return unsetenv("DISKGATE_ROOT") < 0 || mkdir("run", 0755) < 0 || mkdir("real", 0755) < 0 ||
           symlink("real", "link") < 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[PATH_MAX + 64];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    int r = chdir(f->cwd) < 0 || system(command) != 0;
    free(f);
    return r;
}

static void expect_root(struct fixture *f, const char *option, const char *below)
{
    char path[PATH_MAX], wanted[PATH_MAX + 32];
    struct err err = {""};
    (void)snprintf(wanted, sizeof(wanted), "%s%s", f->dir, below);
    int r = root_resolve(option, path, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(r, 0);
    assert_string_equal(path, wanted);
}

static void test_root_resolves_links_and_missing_parts(void **state)
{
    struct fixture *f = *state;
    expect_root(f, "real", "/real");
    expect_root(f, "link", "/real");
    expect_root(f, "link/not/there", "/real/not/there");
    expect_root(f, "./link/./not//there/", "/real/not/there");
    expect_root(f, "link/..", "");
    expect_root(f, "missing/../real", "/real");
    expect_root(f, "missing/a/../../link2/x/..", "/link2");
    expect_root(f, ".", "");
}

static void test_root_comes_from_option_then_environment_then_default(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    assert_int_equal(root_resolve(NULL, path, NULL), 0);
    assert_string_equal(path, ROOT_DEFAULT);
    assert_int_equal(setenv("DISKGATE_ROOT", "link", 1), 0);
    expect_root(f, NULL, "/real");
    expect_root(f, "other", "/other");
    assert_int_equal(setenv("DISKGATE_ROOT", "", 1), 0);
    assert_int_equal(root_resolve(NULL, path, NULL), 0);
    assert_string_equal(path, ROOT_DEFAULT);
}

static void test_root_refuses_what_cannot_be_one(void **state)
{
    char path[PATH_MAX], huge[PATH_MAX + 100];
    struct err err;
    (void)close(open("file", O_CREAT | O_WRONLY, 0644));
    assert_int_equal(root_resolve("", path, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "--root DIR"));
    assert_int_equal(root_resolve("/", path, &err), -EINVAL);
    assert_int_equal(root_resolve("/missing/..", path, &err), -EINVAL);
    assert_int_equal(root_resolve("file", path, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "is not a folder"));
    assert_int_equal(root_resolve("file/x", path, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "Not a directory"));
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(root_resolve("loop/x", path, &err), -EINVAL);
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = 0;
    assert_int_equal(root_resolve(huge, path, &err), -ENAMETOOLONG);
    huge[300] = 0;
    assert_int_equal(root_resolve(huge, path, &err), -ENAMETOOLONG);
}

static void test_root_path_and_open_dir(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX], wanted[PATH_MAX + 32], huge[PATH_MAX];
    struct err err = {""};
    (void)snprintf(wanted, sizeof(wanted), "%s/run", f->dir);
    assert_int_equal(root_path(f->dir, "run", path, &err), 0);
    assert_string_equal(path, wanted);
    _cleanup_close_ int fd = root_open_dir(f->dir, "run", &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(root_open_dir(f->dir, "nothing", &err), -ENOENT);
    assert_non_null(strstr(err.msg, "nothing"));
    memset(huge, 'x', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = 0;
    assert_int_equal(root_path(f->dir, huge, path, &err), -ENAMETOOLONG);
}

/* A child that holds the lock until it is killed. Returns when it has it. */
static pid_t hold_in_child(struct fixture *f, const char *name)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives its test */
        if (root_lock(f->dir, name, 0, NULL) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    return pid;
}

static void test_root_lock_names_its_holder_and_dies_with_it(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int holder = 0;
    char said[32];
    pid_t pid = hold_in_child(f, "up.lock");
    (void)snprintf(said, sizeof(said), "process %d", (int)pid);
    int r = root_lock(f->dir, "up.lock", 50, &err);
    bool is_held = root_locked(f->dir, "up.lock", &holder);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_int_equal(r, -EBUSY);
    assert_non_null(strstr(err.msg, said));
    assert_true(is_held);
    assert_int_equal(holder, pid);
    assert_false(root_locked(f->dir, "up.lock", &holder));
    _cleanup_close_ int fd = root_lock(f->dir, "up.lock", 0, &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(root_locked(f->dir, "up.lock", &holder));
    assert_int_equal(holder, getpid());
}

static void test_root_lock_waits_for_its_turn(void **state)
{
    struct fixture *f = *state;
    pid_t pid = hold_in_child(f, "fs.lock");
    pid_t killer = fork();
    if (killer == 0) {
        (void)usleep(200000);
        (void)kill(pid, SIGKILL);
        _exit(0);
    }
    _cleanup_close_ int fd = root_lock(f->dir, "fs.lock", -1, NULL);
    assert_true(fd >= 0);
    (void)waitpid(pid, NULL, 0);
    (void)waitpid(killer, NULL, 0);
}

static void test_root_lock_is_not_taken_from_a_probe(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();
    int holder;
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)root_locked(f->dir, "up.lock", &holder);
    }
    int failed = 0;
    for (int i = 0; i < 200; i++) {
        int fd = root_lock(f->dir, "up.lock", 0, NULL);
        failed += fd < 0;
        closep(&fd);
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    assert_int_equal(failed, 0);
}

/* Who asks whether it is held may lose its processor in the middle of that. */
static void test_root_lock_waits_for_who_only_asks(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX + 16], byte;
    int ready[2], fd = root_lock(f->dir, "up.lock", 0, NULL); /* makes the file */
    assert_true(fd >= 0);
    closep(&fd);
    (void)snprintf(path, sizeof(path), "%s/run/up.lock", f->dir);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_SH) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        (void)usleep(300000);
        _exit(0);
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    fd = root_lock(f->dir, "up.lock", 0, NULL);
    (void)waitpid(pid, NULL, 0);
    assert_true(fd >= 0);
    closep(&fd);
}

static void test_root_lock_without_a_root(void **state)
{
    struct err err;
    int holder;
    assert_int_equal(root_lock("/nonexistent-root", "up.lock", 0, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent-root/run/up.lock"));
    assert_false(root_locked("/nonexistent-root", "up.lock", &holder));
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_root_resolves_links_and_missing_parts),
        WITH_ROOT(test_root_comes_from_option_then_environment_then_default),
        WITH_ROOT(test_root_refuses_what_cannot_be_one),
        WITH_ROOT(test_root_path_and_open_dir),
        WITH_ROOT(test_root_lock_names_its_holder_and_dies_with_it),
        WITH_ROOT(test_root_lock_waits_for_its_turn),
        WITH_ROOT(test_root_lock_is_not_taken_from_a_probe),
        WITH_ROOT(test_root_lock_waits_for_who_only_asks),
        WITH_ROOT(test_root_lock_without_a_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
