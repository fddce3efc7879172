/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Help, usage lines and guesses at misspelt words, all made from the rows of the verb table.
 *
 * A guess is the word with the smallest edit distance (a swap of neighbours counts as one), at most a third of its length; a word
 * that begins as typed ("ima") is taken as well. Nothing is ever run on a guess.
 */
#include "cli/verb-help.h"

#include <stdint.h>
#include <string.h>

#include "core/util.h"

/* --- guesses ----------------------------------------------------------------------------------------------------- */

#define GUESS_LEN 32

static size_t distance(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b), d[GUESS_LEN + 1][GUESS_LEN + 1];
    if (na > GUESS_LEN || nb > GUESS_LEN)
        return SIZE_MAX;
    for (size_t i = 0; i <= na; i++) {
        for (size_t j = 0; j <= nb; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            d[i][j] = MIN(MIN(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[na][nb];
}

struct guess {
    const char *word, *best;
    size_t len, best_distance;
};

static void try_word(struct guess *g, const char *word)
{
    size_t n = distance(g->word, g->len, word);
    if (g->len >= 2 && strncmp(word, g->word, g->len) == 0)
        n = 0;
    if (n < g->best_distance && n <= MAX(strlen(word) / 3, (size_t)1)) {
        g->best = word;
        g->best_distance = n;
    }
}

const char *verb_guess(const struct cmd *cmd, const char *word)
{
    struct guess g = {.word = word, .len = strlen(word), .best_distance = SIZE_MAX};
    for (const struct verb *const *v = cmd->table->verbs; *v; v++) {
        if (cmd->noun && strcmp((*v)->noun, cmd->noun) == 0)
            try_word(&g, (*v)->name);
        else if (!cmd->noun)
            try_word(&g, (*v)->noun[0] ? (*v)->noun : (*v)->name);
    }
    for (const char *const *e = cmd->table->externals; *e && !cmd->noun; e++)
        try_word(&g, *e);
    return g.best;
}

const char *verb_guess_option(const struct cmd *cmd, const char *name, size_t len)
{
    struct guess g = {.word = name, .len = len, .best_distance = SIZE_MAX};
    for (const struct option_def *o = cmd->verb ? cmd->verb->options : NULL; o && o->name; o++)
        try_word(&g, o->name);
    for (const struct option_def *o = verb_common_options; o->name; o++)
        if (o->help)
            try_word(&g, o->name);
    return g.best;
}

/* --- usage ------------------------------------------------------------------------------------------------------- */

/* Printing to a terminal: a failure shows at the program's last flush of the stream, or matters to nobody (stderr). */
#define say(...) ((void)fprintf(__VA_ARGS__))

#define USAGE_WIDTH 100

/* The next word of a usage line that is @at columns long, on a line of its own where it would become too long. Returns the length then. */
static size_t print_usage_word(FILE *f, size_t at, const char *word)
{
    size_t len = strlen(word);
    bool is_broken = at + 1 + len > USAGE_WIDTH;
    say(f, "%s%s", is_broken ? "\n         " : " ", word);
    return (is_broken ? 9 : at + 1) + len;
}

static size_t print_option_usage(FILE *f, size_t at, const struct option_def *o)
{
    char shown[64], word[80];
    if (o->letter && o->letter != 'f')
        (void)snprintf(shown, sizeof(shown), "-%c%s%s", o->letter, o->value ? " " : "", o->value ? o->value : "");
    else
        (void)snprintf(shown, sizeof(shown), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    (void)snprintf(word, sizeof(word),
                   o->count == OPT_REQUIRED ? "%s"
                   : o->count == OPT_MANY   ? "[%s]..."
                                            : "[%s]",
                   shown);
    return print_usage_word(f, at, word);
}

void verb_print_usage(FILE *f, const struct cmd *cmd)
{
    if (!cmd->verb) {
        say(f, "usage: %s %s%s\n", cmd->table->program, cmd->noun ? cmd->noun : "[--root DIR] [--json] COMMAND",
            cmd->noun ? " VERB ..." : " ...");
        return;
    }
    const struct verb *v = cmd->verb;
    int n = fprintf(f, "usage: %s %s%s%s%s%s", cmd->table->program, v->noun, *v->noun ? " " : "", v->name,
                    *v->args ? " " : "", v->args);
    size_t at = (size_t)MAX(n, 0);
    for (const struct option_def *o = v->options; o && o->name; o++)
        at = print_option_usage(f, at, o);
    if (v->flags & VERB_DRY_RUN)
        (void)print_usage_word(f, at, "[-n]");
    say(f, "\n");
}

/* "--mac MAC" */
static size_t option_text(const struct option_def *o, char *ret, size_t size)
{
    (void)snprintf(ret, size, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    return strlen(ret);
}

/* Columns for options and their values: what stands there mostly, or what the longest of @v needs. */
static size_t option_width(const struct verb *v)
{
    char shown[64];
    size_t width = 20;
    for (const struct option_def *o = v ? v->options : NULL; o && o->name; o++)
        width = MAX(width, option_text(o, shown, sizeof(shown)));
    return width;
}

static void print_options(FILE *f, const struct option_def *list, const struct verb *v)
{
    for (const struct option_def *o = list; o && o->name; o++) {
        char shown[64];
        if (!o->help || (list == verb_common_options && o->letter == 'n' && (!v || !(v->flags & VERB_DRY_RUN))))
            continue;
        (void)option_text(o, shown, sizeof(shown));
        say(f, "  %c%c%s %-*s  %s%s\n", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? "," : " ",
            (int)option_width(v), shown, o->help, o->count == OPT_MANY ? " (may be repeated)" : "");
    }
}

static void print_verb_line(FILE *f, const struct verb *v)
{
    char shown[64];
    (void)snprintf(shown, sizeof(shown), "%s%s%s%s%s", v->noun, *v->noun ? " " : "", v->name, *v->args ? " " : "",
                   v->args);
    say(f, "  %-28s %s\n", shown, v->help);
}

static bool has_nouns(const struct verb_table *t)
{
    for (const struct verb *const *v = t->verbs; *v; v++)
        if ((*v)->noun[0])
            return true;
    return false;
}

static void print_program_help(FILE *f, const struct cmd *cmd)
{
    const char *noun = NULL;
    for (const struct verb *const *v = cmd->table->verbs; *v; v++) {
        if (cmd->noun && strcmp((*v)->noun, cmd->noun) != 0)
            continue;
        if (!noun || strcmp(noun, (*v)->noun) != 0)
            say(f, "\n");
        noun = (*v)->noun;
        print_verb_line(f, *v);
    }
    if (!cmd->noun && *cmd->table->externals) {
        say(f, "\n");
        for (const char *const *e = cmd->table->externals; *e; e++)
            say(f, "  %-28s runs diskgate-%s, where it is installed\n", *e, *e);
    }
    say(f, "\nOptions that may stand anywhere:\n");
    print_options(f, verb_common_options, NULL);
    say(f,
        "\n'%s %s--help' shows the options of one verb. Exit status: 0 done, 1 failed, 2 wrong usage,\n"
        "3 done and found damage or a difference%s.\n",
        cmd->table->program,
        cmd->noun               ? "NOUN VERB "
        : has_nouns(cmd->table) ? "[NOUN] VERB "
                                : "VERB ",
        cmd->table->exit_status ? "; the manual has the others" : "");
}

void verb_print_help(FILE *f, const struct cmd *cmd)
{
    verb_print_usage(f, cmd);
    if (!cmd->verb) {
        print_program_help(f, cmd);
        return;
    }
    say(f, "\n%s.\n\n", cmd->verb->help);
    print_options(f, cmd->verb->options, cmd->verb);
    if (cmd->verb->options && cmd->verb->options->name)
        say(f, "\n");
    print_options(f, verb_common_options, cmd->verb);
    if (cmd->verb->more)
        say(f, "\n%s\n", cmd->verb->more);
}

void verb_print_list(FILE *f, const struct verb_table *table)
{
    for (const struct verb *const *v = table->verbs; *v; v++) {
        say(f, "%s%s%s\t%s\t", (*v)->noun, *(*v)->noun ? " " : "", (*v)->name, (*v)->args);
        for (const struct option_def *o = (*v)->options; o && o->name; o++)
            say(f, "--%s%s ", o->name, o->value ? "=" : "");
        say(f, "%s\n", (*v)->flags & VERB_DRY_RUN ? "--dry-run" : "");
    }
}
