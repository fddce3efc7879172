/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parser of the command line, on a small table of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "cli/verb.h"

static int nothing(struct cmd *cmd, struct err *err)
{
    return EXIT_DONE;
}

static const struct option_def add_options[] = {{"mac", 0, "MAC", "its MAC", OPT_REQUIRED},
                                                {"comment", 'm', "TEXT", "a comment"},
                                                {"search", 0, "DIR", "a folder", OPT_MANY},
                                                {"force", 0, NULL, "all the same"},
                                                {0}};
static const struct option_def log_options[] = {{"lines", 'n', "N", "the newest N"}, {0}};

static const struct verb add = {"client", "add",       "NAME [GROUP]", "Add a client",
                                NULL,     add_options, nothing,        VERB_DRY_RUN};
static const struct verb list = {"client", "list", "", "List the clients", NULL, NULL, nothing};
static const struct verb set = {"", "set", "[KEY [VALUE]]", "Settings", NULL, NULL, nothing};
static const struct verb log_verb = {"", "log", "", "Changes", NULL, log_options, nothing};
static const struct option_def tune_options[] = {{"cylinders-of-the-disk", 0, "N[,N...]", "what it calls itself"},
                                                 {"speed", 0, "slow|fast", "how fast"},
                                                 {"comment", 'm', "TEXT", "a comment"},
                                                 {0}};
static const struct verb tune = {"", "tune", "NAME [WHAT-IS-TUNED]", "Tune", NULL, tune_options, nothing, VERB_DRY_RUN};
static const struct verb *const verbs[] = {&set, &log_verb, &add, &list, &tune, NULL};
static const char *const externals[] = {"backup", NULL};
static const struct verb_table table = {"diskgate", verbs, externals};

/* Parse up to 15 words behind the program's name, ended by NULL. */
#define PARSE(cmd, err, ...) parse(cmd, err, (const char *[]){"diskgate", __VA_ARGS__, NULL})

static int parse(struct cmd *cmd, struct err *err, const char **words)
{
    int n = 0;
    while (words[n])
        n++;
    return cmd_parse(cmd, &table, n, (char **)words, err);
}

static void test_verb_takes_arguments_and_options_in_any_order(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "--json", "client", "--root", "/r", "add", "--mac=1", "pc1", "-m", "hi", "-q"),
                     CMD_RUN);
    assert_ptr_equal(cmd.verb, &add);
    assert_string_equal(cmd_arg(&cmd, 0), "pc1");
    assert_null(cmd_arg(&cmd, 1));
    assert_string_equal(cmd_option(&cmd, "mac"), "1");
    assert_string_equal(cmd_option(&cmd, "comment"), "hi");
    assert_string_equal(cmd.root_option, "/r");
    assert_true(cmd.is_json && cmd.is_quiet && !cmd.is_dry_run);
    assert_false(cmd_has(&cmd, "force"));
}

static void test_verb_short_options_join(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "pc1", "--mac", "1", "-vnmhello"), CMD_RUN);
    assert_true(cmd.is_verbose && cmd.is_dry_run);
    assert_string_equal(cmd_option(&cmd, "comment"), "hello");
}

static void test_verb_own_option_goes_before_a_common_letter(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "log", "-n", "5"), CMD_RUN);
    assert_string_equal(cmd_option(&cmd, "lines"), "5");
    assert_false(cmd.is_dry_run);
}

static void test_verb_option_may_repeat_where_the_row_says_so(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "a", "--mac", "1", "--search", "x", "--search=y"), CMD_RUN);
    assert_string_equal(cmd_option_nth(&cmd, "search", 0), "x");
    assert_string_equal(cmd_option_nth(&cmd, "search", 1), "y");
    assert_null(cmd_option_nth(&cmd, "search", 2));
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "a", "--mac", "1", "--mac", "2"), -EINVAL);
    assert_string_equal(err.msg, "option --mac is given twice");
}

static void test_verb_double_dash_ends_the_options(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "set", "--", "--json", "-x"), CMD_RUN);
    assert_string_equal(cmd_arg(&cmd, 0), "--json");
    assert_string_equal(cmd_arg(&cmd, 1), "-x");
    assert_false(cmd.is_json);
}

static void test_verb_misspelt_words_give_a_hint(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "clinet", "list"), -EINVAL);
    assert_string_equal(err.msg, "unknown command 'clinet': did you mean 'client'?");
    assert_int_equal(PARSE(&cmd, &err, "client", "lst"), -EINVAL);
    assert_string_equal(err.msg, "unknown verb 'client lst': did you mean 'client list'?");
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "x", "--mca", "1"), -EINVAL);
    assert_string_equal(err.msg, "unknown option --mca: did you mean --mac?");
    assert_int_equal(PARSE(&cmd, &err, "zzzzzz"), -EINVAL);
    assert_null(strstr(err.msg, "did you mean"));
}

static void test_verb_missing_or_surplus_words_are_refused(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "client"), -EINVAL);
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "--mac", "1"), -EINVAL);
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "a", "b", "c", "--mac", "1"), -EINVAL);
    assert_string_equal(err.msg, "'c' is one word too many");
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "a"), -EINVAL);
    assert_string_equal(err.msg, "option --mac MAC is missing");
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "", "--mac", "1"), -EINVAL);
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "a", "--mac"), -EINVAL);
    assert_int_equal(PARSE(&cmd, &err, "client", "list", "--json=yes"), -EINVAL);
    assert_int_equal(PARSE(&cmd, &err, "client", "list", "-n"), -EINVAL);
    assert_int_equal(parse(&cmd, &err, (const char *[]){"diskgate", NULL}), -EINVAL);
}

static void test_verb_help_is_known_at_every_level(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "-h"), CMD_HELP);
    assert_null(cmd.noun);
    assert_int_equal(PARSE(&cmd, &err, "client", "--help"), CMD_HELP);
    assert_string_equal(cmd.noun, "client");
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "-h"), CMD_HELP);
    assert_ptr_equal(cmd.verb, &add);
    assert_int_equal(PARSE(&cmd, &err, "help", "client", "add"), CMD_HELP);
    assert_ptr_equal(cmd.verb, &add);
    assert_int_equal(PARSE(&cmd, &err, "--version", "whatever"), CMD_VERSION);
}

static void test_verb_external_keeps_its_arguments_unread(void **state)
{
    struct cmd cmd;
    struct err err;
    assert_int_equal(PARSE(&cmd, &err, "--root", "/r", "backup", "--bogus", "-h"), CMD_EXTERNAL);
    assert_string_equal(cmd.external, "backup");
    assert_int_equal(cmd.external_at, 4);
}

static void test_verb_usage_line_comes_from_the_row(void **state)
{
    struct cmd cmd;
    struct err err;
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(PARSE(&cmd, &err, "client", "add", "-h"), CMD_HELP);
    FILE *f = open_memstream(&text, &len);
    verb_print_usage(f, &cmd);
    (void)fclose(f);
    assert_string_equal(
        text, "usage: diskgate client add NAME [GROUP] --mac MAC [-m TEXT] [--search DIR]... [--force] [-n]\n");
    free(text);
}

static void test_verb_long_usage_is_broken_and_long_options_are_aligned(void **state)
{
    struct cmd cmd;
    struct err err;
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(PARSE(&cmd, &err, "tune", "-h"), CMD_HELP);
    FILE *f = open_memstream(&text, &len);
    verb_print_help(f, &cmd);
    (void)fclose(f);
    static const char start[] =
        "usage: diskgate tune NAME [WHAT-IS-TUNED] [--cylinders-of-the-disk N[,N...]] [--speed slow|fast]\n"
        "         [-m TEXT] [-n]\n"
        "\n"
        "Tune.\n"
        "\n"
        "      --cylinders-of-the-disk N[,N...]  what it calls itself\n"
        "      --speed slow|fast                 how fast\n"
        "  -m, --comment TEXT                    a comment\n"
        "\n"
        "      --root DIR                        work on";
    if (strncmp(text, start, sizeof(start) - 1) != 0)
        fail_msg("%s", text);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verb_takes_arguments_and_options_in_any_order),
        cmocka_unit_test(test_verb_short_options_join),
        cmocka_unit_test(test_verb_own_option_goes_before_a_common_letter),
        cmocka_unit_test(test_verb_option_may_repeat_where_the_row_says_so),
        cmocka_unit_test(test_verb_double_dash_ends_the_options),
        cmocka_unit_test(test_verb_misspelt_words_give_a_hint),
        cmocka_unit_test(test_verb_missing_or_surplus_words_are_refused),
        cmocka_unit_test(test_verb_help_is_known_at_every_level),
        cmocka_unit_test(test_verb_external_keeps_its_arguments_unread),
        cmocka_unit_test(test_verb_long_usage_is_broken_and_long_options_are_aligned),
        cmocka_unit_test(test_verb_usage_line_comes_from_the_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
