/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: a verb is one row of a table, and one parser serves all rows.
 *
 *   PROGRAM [OPTION...] [NOUN] VERB [ARGUMENT | OPTION]...
 *
 * The row says which arguments and options there are; usage lines, help at every level, completion and hints for misspelt words
 * come from it. A new verb is a function and a row in its noun's file.
 *
 * Options of all verbs may stand anywhere: --root DIR, --json, -h --help, -V --version, -v --verbose, -q --quiet, and -n
 * --dry-run where the row has VERB_DRY_RUN. A row's own option goes before one of these with the same letter.
 *
 * Threads: one at a time per struct cmd; tables are constant.
 */
#ifndef DISKGATE_CLI_VERB_H
#define DISKGATE_CLI_VERB_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/err.h"
#include "cli/output.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DIFFERS = 3 };

/* What a verb returns for a wrong use that the parser cannot see (sentence in err): exit status 2 and the usage line. */
#define VERB_USAGE (-10000)

struct option_def {
    const char *name;  /* long name without dashes; NULL ends the list */
    char letter;       /* 0 = none */
    const char *value; /* what it takes ("DIR"), NULL for a switch */
    const char *help;
    enum { OPT_ONCE, OPT_REQUIRED, OPT_MANY } count;
};

struct cmd;

/* Runs a verb. Returns an exit status, or a negative errno or VERB_USAGE with a sentence in @err. */
typedef int verb_fn(struct cmd *cmd, struct err *err);

enum {
    VERB_DRY_RUN = 1 << 0, /* -n shows what would be done */
};

struct verb {
    const char *noun; /* "" for verbs without one */
    const char *name;
    const char *args; /* "NAME FILE", "[KEY [VALUE]]", "REPO [NAME]..." for any number */
    const char *help; /* one line, no full stop */
    const char *more; /* paragraphs below the options in the verb's help; may be NULL */
    const struct option_def *options;
    verb_fn *run;
    unsigned flags;
};

/* A table of verbs, by noun in the order of the help. */
struct verb_table {
    const char *program;             /* as the person types it: "diskgate", "diskgate backup" */
    const struct verb *const *verbs; /* ended by NULL */
    const char *const *externals;    /* words that run another program, ended by NULL */
    int (*exit_status)(int code);    /* for a negative errno; NULL = EXIT_FAILED for all */
};

#define CMD_ARGS_MAX   256
#define CMD_VALUES_MAX 64

struct cmd {
    const struct verb_table *table;
    const char *noun;        /* as far as known, for help */
    const struct verb *verb; /* likewise */
    const char *root_option; /* --root, or NULL */
    bool is_json, is_dry_run, is_quiet, is_verbose;

    const char *args[CMD_ARGS_MAX];
    size_t n_args;
    struct {
        const struct option_def *def;
        const char *value;
    } values[CMD_VALUES_MAX];
    size_t n_values;

    const char *external; /* CMD_EXTERNAL: the word, and where its arguments begin in argv */
    int external_at;

    char root[PATH_MAX]; /* filled by main before the verb runs */
    struct out out;
};

enum cmd_action { CMD_RUN, CMD_HELP, CMD_VERSION, CMD_LIST_VERBS, CMD_EXTERNAL };

/* Understand argv. Returns a cmd_action, or -EINVAL with a sentence. Strings stay borrowed from argv. */
int cmd_parse(struct cmd *cmd, const struct verb_table *table, int argc, char **argv, struct err *err);

/* Argument @i, or NULL where it was not given. */
const char *cmd_arg(const struct cmd *cmd, size_t i);
/* Value of option @name ("" for a switch that was given), NULL where it was not; the last one counts. */
const char *cmd_option(const struct cmd *cmd, const char *name);
bool cmd_has(const struct cmd *cmd, const char *name);
/* The @i-th value of an option that may be repeated, NULL behind the last. */
const char *cmd_option_nth(const struct cmd *cmd, const char *name, size_t i);

/* "usage: diskgate image add NAME FILE [--copy] ...", for as much of the verb as is known. */
void verb_print_usage(FILE *f, const struct cmd *cmd);
/* The whole help of the level that was reached: program, noun or verb. */
void verb_print_help(FILE *f, const struct cmd *cmd);
/* "NOUN VERB<tab>ARGS<tab>--option --option= ..." for each row, for completion and the tests of the manual. */
void verb_print_list(FILE *f, const struct verb_table *table);

#endif
