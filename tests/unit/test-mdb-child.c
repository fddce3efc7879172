/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jailed child of the reader: its limits, its end, what it cannot do. A shell plays its part. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/util.h"
#include "migrate/mdb-child.h"

#define SHELL "/bin/sh"

struct result {
    ssize_t last; /* of mdb_child_read() */
    int ended;
    char out[4096];
    char errs[4096];
    struct err err;
};

static void run(const char *script, const struct mdb_child_limits *limits, struct result *ret)
{
    static const struct mdb_child_limits usual = {.time_s = 60, .memory_mb = 512, .bytes = 1 << 20};
    _cleanup_(mdb_child_destroyp) struct mdb_child *c = NULL;
    _cleanup_close_ int fd = memfd_create("file", MFD_CLOEXEC);
    const char *const args[] = {"-c", script, NULL};
    size_t len = 0;
    *ret = (struct result){0};
    assert_int_equal(pwrite_full(fd, "content", 7, 0), 0);
    assert_int_equal(mdb_child_start(SHELL, args, fd, limits ? limits : &usual, &c, &ret->err), 0);
    while ((ret->last = mdb_child_read(c, ret->out + len, sizeof(ret->out) - 1 - len)) > 0)
        len += (size_t)ret->last;
    ret->ended = mdb_child_end(c, &ret->err);
    (void)snprintf(ret->errs, sizeof(ret->errs), "%s", mdb_child_stderr(c));
}

static void test_mdb_child_gets_file_and_pipes_and_nothing_else(void **state)
{
    struct result r;
    run("read x <&0; echo \"$x\"; echo warning >&2; for f in 3 4 5 6 7 8 9; do { true >&$f; } 2>/dev/null && echo open "
        "$f; done; exit 0",
        NULL, &r);
    assert_int_equal(r.last, 0);
    assert_int_equal(r.ended, 0);
    assert_string_equal(r.out, "content\n");
    assert_string_equal(r.errs, "warning\n");
}

static void test_mdb_child_is_nobody(void **state)
{
    struct result r;
    if (geteuid() != 0)
        skip();
    run("while read a b c; do case $a in Uid:|CapEff:|NoNewPrivs:) echo $a $b;; esac; done </proc/self/status", NULL,
        &r);
    assert_int_equal(r.ended, 0);
    assert_non_null(strstr(r.out, "Uid: 65534"));
    assert_non_null(strstr(r.out, "CapEff: 0000000000000000"));
    assert_non_null(strstr(r.out, "NoNewPrivs: 1"));
}

static void test_mdb_child_that_hangs_is_killed(void **state)
{
    struct mdb_child_limits limits = {.time_s = 1, .memory_mb = 512, .bytes = 1 << 20};
    struct result r;
    run("echo first; while :; do :; done", &limits, &r);
    assert_true(r.last == -ETIMEDOUT || r.ended == -EBADMSG); /* the clock, or the limit of processor time */
    assert_int_equal(r.ended, -EBADMSG);
    run("exec sleep 100", &limits, &r);
    assert_int_equal(r.last, -ETIMEDOUT);
    assert_int_equal(r.ended, -EBADMSG);
    assert_non_null(strstr(r.err.msg, "did not end"));
    limits.time_s = 5;                            /* so that it surely comes so far */
    run("exec >&-; exec sleep 100", &limits, &r); /* its pipe is closed, but it lives */
    assert_int_equal(r.last, 0);
    assert_int_equal(r.ended, -EBADMSG);
}

static void test_mdb_child_that_says_too_much_is_ended(void **state)
{
    static const struct mdb_child_limits limits = {.time_s = 60, .memory_mb = 512, .bytes = 1000};
    struct result r;
    run("while true; do echo 0123456789; done", &limits, &r);
    assert_int_equal(r.last, -EFBIG);
    assert_int_equal(r.ended, -EBADMSG);
}

static void test_mdb_child_that_warns_without_end_does_not_block(void **state)
{
    struct result r;
    run("i=0; while [ $i -lt 20000 ]; do echo warning warning warning >&2; i=$((i+1)); done; echo done", NULL, &r);
    assert_int_equal(r.ended, 0);
    assert_string_equal(r.out, "done\n");
}

static void test_mdb_child_s_end_is_judged(void **state)
{
    struct result r;
    run("exit 3", NULL, &r);
    assert_int_equal(r.ended, -EBADMSG);
    assert_non_null(strstr(r.err.msg, "status 3"));
    run("kill -SEGV $$", NULL, &r);
    assert_int_equal(r.ended, -EBADMSG);
    assert_non_null(strstr(r.err.msg, "signal 11"));
}

static void test_mdb_child_that_is_absent_is_said(void **state)
{
    struct mdb_child *c = NULL;
    struct err err;
    const char *const args[] = {NULL};
    static const struct mdb_child_limits limits = {.time_s = 60, .memory_mb = 64, .bytes = 1000};
    assert_int_equal(mdb_child_start("/nonexistent/reader", args, 0, &limits, &c, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent/reader"));
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mdb_child_gets_file_and_pipes_and_nothing_else),
        cmocka_unit_test(test_mdb_child_is_nobody),
        cmocka_unit_test(test_mdb_child_that_hangs_is_killed),
        cmocka_unit_test(test_mdb_child_that_says_too_much_is_ended),
        cmocka_unit_test(test_mdb_child_that_warns_without_end_does_not_block),
        cmocka_unit_test(test_mdb_child_s_end_is_judged),
        cmocka_unit_test(test_mdb_child_that_is_absent_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
