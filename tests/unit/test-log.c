/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages: one line each, in the form that stderr asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/util.h"

/* stderr goes to a file while @write_some runs; returns what it wrote, to be freed. */
static char *captured(void (*write_some)(void), bool is_journal)
{
    char path[] = "/tmp/dg-test-log.XXXXXX", stream[64], *text = NULL;
    struct stat st;
    int file = mkostemp(path, O_CLOEXEC), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0 && fstat(file, &st) == 0);
    (void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
                   (uintmax_t)st.st_ino + (is_journal ? 0 : 1));
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    write_some();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text, NULL), 0);
    closep(&file);
    closep(&saved);
    assert_int_equal(unlink(path), 0);
    return text;
}

static void write_levels(void)
{
    log_init("dg", LOG_LEVEL_INFO, 0);
    log_error("cannot extend '%s': %s", "a", "full");
    log_warn("slow, retrying");
    log_info("ready");
    log_debug("fuse", "never");
    log_set_level(LOG_LEVEL_ERROR);
    log_info("never");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("fuse", "now");
}

static void test_log_names_program_level_and_module(void **state)
{
    _cleanup_free_ char *text = captured(write_levels, false);
    assert_string_equal(text, "dg: cannot extend 'a': full\ndg: warning: slow, retrying\ndg: ready\ndg: fuse: now\n");
}

static void test_log_uses_priorities_in_the_journal_only(void **state)
{
    _cleanup_free_ char *text = captured(write_levels, true);
    assert_string_equal(text, "<3>cannot extend 'a': full\n<4>slow, retrying\n<6>ready\n<7>fuse: now\n");
}

static void write_odd(void)
{
    char longer[4000];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    log_init("dg", LOG_LEVEL_INFO, LOG_STAMP);
    log_info("two\nlines\x1b[0m");
    log_info("%s", longer);
    errno = ENOSPC;
    log_info("errno is kept");
    assert_int_equal(errno, ENOSPC);
}

static void test_log_keeps_one_line_and_errno(void **state)
{
    _cleanup_free_ char *text = captured(write_odd, false);
    char *end = strchr(text, '\n');
    assert_non_null(end);
    assert_int_equal(text[10], 'T'); /* 2026-01-31T12:00:00Z */
    assert_int_equal(strncmp(text + 20, " dg: two?lines?[0m\n", 19), 0);
    unsigned lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_names_program_level_and_module),
        cmocka_unit_test(test_log_uses_priorities_in_the_journal_only),
        cmocka_unit_test(test_log_keeps_one_line_and_errno),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
