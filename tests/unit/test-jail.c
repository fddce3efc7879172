/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a jailed child can and cannot do. Each question is asked by a child of its own, which answers by its exit status. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/jail.h"
#include "core/util.h"

#define FILE_BYTES_MAX 4096

struct yard {
    int source, target; /* files that only root may read */
};

static int make_file(void)
{
    char path[] = "/tmp/diskgate-test-XXXXXX";
    int fd = mkstemp(path); /* mode 0600 */
    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(pwrite_full(fd, "source", 6, 0), 0);
    return fd;
}

static int setup(void **state)
{
    struct yard *y = calloc(1, sizeof(*y));
    y->source = make_file();
    y->target = make_file();
    *state = y;
    return 0;
}

static int teardown(void **state)
{
    struct yard *y = *state;
    closep(&y->source);
    closep(&y->target);
    free(y);
    return 0;
}

static int open_again(int fd, int flags)
{
    char path[48];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, flags | O_CLOEXEC);
}

/* True if @ask says yes in the jail. */
static bool in_jail(const struct yard *y, bool (*ask)(const struct yard *))
{
    struct err err;
    struct jail j = {.file_bytes_max = FILE_BYTES_MAX, .cpu_s_max = 5, .read_fd = y->source, .write_fd = y->target};
    int status = 0;
    assert_int_equal(jail_pick_user(&j, "nobody", y->source, "the source", &err), 0);
    assert_int_equal(fchown(y->target, j.uid, j.gid), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(jail_enter(&j) < 0 ? 2 : ask(y) ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

static bool can_read_source(const struct yard *y)
{
    char c;
    int fd = open_again(y->source, O_RDONLY);
    return fd >= 0 && pread(fd, &c, 1, 0) == 1 && c == 's';
}

static bool can_write_source(const struct yard *y)
{
    return open_again(y->source, O_RDWR) >= 0;
}

static bool can_write_target(const struct yard *y)
{
    int fd = open_again(y->target, O_RDWR);
    return fd >= 0 && pwrite(fd, "t", 1, FILE_BYTES_MAX - 1) == 1;
}

static bool can_write_beyond_limit(const struct yard *y)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    return pwrite(y->target, "t", 1, FILE_BYTES_MAX) == 1;
}

static bool can_read_secrets(const struct yard *y)
{
    return open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0;
}

static bool has_privileges(const struct yard *y)
{
    return chown("/proc/self/exe", 0, 0) == 0 || setuid(0) == 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

/* Root that has its capabilities can. */
static bool can_give_away(const struct yard *y)
{
    return fchown(y->target, 1234, 1234) == 0;
}

static bool can_take_memory(const struct yard *y)
{
    return mmap(NULL, 8ULL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
           MAP_FAILED;
}

static void test_jail_lets_the_source_be_read_and_the_target_be_written(void **state)
{
    assert_true(in_jail(*state, can_read_source));
    assert_true(in_jail(*state, can_write_target));
}

static void test_jail_forbids_all_else(void **state)
{
    assert_false(in_jail(*state, can_write_beyond_limit));
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0)
        assert_false(in_jail(*state, can_read_secrets)); /* the child owns what root owns */
    assert_false(in_jail(*state, can_give_away));
    assert_false(in_jail(*state, can_take_memory));
}

static void test_jail_of_a_file_that_all_may_read_is_of_nobody(void **state)
{
    const struct yard *y = *state;
    assert_int_equal(fchmod(y->source, 0644), 0);
    assert_false(in_jail(y, has_privileges));
    assert_false(in_jail(y, can_write_source));
    assert_true(in_jail(y, can_read_source));
}

static void test_jail_refuses_a_file_that_nobody_suitable_can_read(void **state)
{
    const struct yard *y = *state;
    struct jail j = {0};
    struct err err;
    assert_int_equal(fchown(y->source, 1234, 1234), 0);
    assert_int_equal(fchmod(y->source, 0), 0);
    assert_int_equal(jail_pick_user(&j, "nobody", y->source, "/srv/disk.vmdk", &err), -EACCES);
    assert_non_null(strstr(err.msg, "/srv/disk.vmdk"));
}

#define WITH_YARD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_YARD(test_jail_lets_the_source_be_read_and_the_target_be_written),
        WITH_YARD(test_jail_forbids_all_else),
        WITH_YARD(test_jail_of_a_file_that_all_may_read_is_of_nobody),
        WITH_YARD(test_jail_refuses_a_file_that_nobody_suitable_can_read),
    };
    if (geteuid() != 0)
        return 77; /* skipped: a jail is for children of root */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
