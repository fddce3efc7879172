/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parser of the command line; see verb.h. Help is in verb-help.c.
 *
 * One pass from left to right. Words go to: noun, verb, arguments. An option is looked up in the verb's row (once it is known),
 * then among those of all verbs. "--" ends the options.
 */
#include "cli/verb.h"

#include <errno.h>
#include <string.h>

#include "cli/verb-help.h"

struct parser {
    struct cmd *cmd;
    int argc, at; /* argv[at] is the word in work */
    char **argv;
    bool is_ended; /* behind "--" */
    int action;
};

const struct option_def verb_common_options[] = {
    {"root", 0, "DIR", "work on the root DIR (default: $DISKGATE_ROOT, else /var/lib/diskgate)"},
    {"json", 0, NULL, "print JSON"},
    {"dry-run", 'n', NULL, "show what would be done, change nothing"},
    {"quiet", 'q', NULL, "say nothing on success"},
    {"verbose", 'v', NULL, "say more about what is done"},
    {"help", 'h', NULL, "show this help"},
    {"version", 'V', NULL, "show the version"},
    {"list-verbs", 0, NULL, NULL}, /* for completion; not in the help */
    {0},
};

const char *cmd_arg(const struct cmd *cmd, size_t i)
{
    return i < cmd->n_args ? cmd->args[i] : NULL;
}

const char *cmd_option(const struct cmd *cmd, const char *name)
{
    for (size_t i = cmd->n_values; i-- > 0;)
        if (strcmp(cmd->values[i].def->name, name) == 0)
            return cmd->values[i].value ? cmd->values[i].value : "";
    return NULL;
}

bool cmd_has(const struct cmd *cmd, const char *name)
{
    return cmd_option(cmd, name) != NULL;
}

const char *cmd_option_nth(const struct cmd *cmd, const char *name, size_t i)
{
    for (size_t k = 0; k < cmd->n_values; k++)
        if (strcmp(cmd->values[k].def->name, name) == 0 && i-- == 0)
            return cmd->values[k].value;
    return NULL;
}

/* --- words ------------------------------------------------------------------------------------------------------- */

static bool is_noun(const struct verb_table *t, const char *word)
{
    for (const struct verb *const *v = t->verbs; *v; v++)
        if ((*v)->noun[0] && strcmp((*v)->noun, word) == 0)
            return true;
    return false;
}

static const struct verb *find_verb(const struct verb_table *t, const char *noun, const char *word)
{
    for (const struct verb *const *v = t->verbs; *v; v++)
        if (strcmp((*v)->noun, noun) == 0 && strcmp((*v)->name, word) == 0)
            return *v;
    return NULL;
}

static const char *find_external(const struct verb_table *t, const char *word)
{
    for (const char *const *e = t->externals; *e; e++)
        if (strcmp(*e, word) == 0)
            return *e;
    return NULL;
}

static int unknown_word(const struct cmd *cmd, const char *word, struct err *err)
{
    const char *guess = verb_guess(cmd, word);
    const char *noun = cmd->noun ? cmd->noun : "", *space = cmd->noun ? " " : "";
    const char *what = cmd->noun ? "verb" : "command";
    if (guess)
        return err_set(err, -EINVAL, "unknown %s '%s%s%s': did you mean '%s%s%s'?", what, noun, space, word, noun,
                       space, guess);
    return err_set(err, -EINVAL, "unknown %s '%s%s%s': '%s%s%s --help' lists what there is", what, noun, space, word,
                   cmd->table->program, space, noun);
}

static int take_first(struct parser *p, const char *word, struct err *err)
{
    struct cmd *cmd = p->cmd;
    if (strcmp(word, "help") == 0) {
        p->action = CMD_HELP;
        return 0;
    }
    if (is_noun(cmd->table, word)) {
        cmd->noun = word;
        return 0;
    }
    cmd->external = find_external(cmd->table, word);
    if (cmd->external) {
        cmd->external_at = p->at + 1;
        return 0;
    }
    cmd->verb = find_verb(cmd->table, "", word);
    return cmd->verb ? 0 : unknown_word(cmd, word, err);
}

/* How many arguments the row asks for and allows; "..." behind one allows any number. */
static void count_args(const char *args, size_t *ret_min, size_t *ret_max)
{
    *ret_min = *ret_max = 0;
    for (const char *p = args; *p; p += strspn(p, " ")) {
        *ret_min += *p != '[';
        *ret_max += 1;
        size_t len = strcspn(p, " ");
        p += len;
        if (len >= 3 && strncmp(p - 3, "...", 3) == 0)
            *ret_max = CMD_ARGS_MAX;
    }
}

static int take_argument(struct cmd *cmd, const char *word, struct err *err)
{
    size_t min, max;
    count_args(cmd->verb->args, &min, &max);
    if (cmd->n_args >= max)
        return err_set(err, -EINVAL, "'%s' is one word too many", word);
    if (!*word)
        return err_set(err, -EINVAL, "argument %zu is empty", cmd->n_args + 1);
    cmd->args[cmd->n_args++] = word;
    return 0;
}

static int take_word(struct parser *p, const char *word, struct err *err)
{
    struct cmd *cmd = p->cmd;
    if (cmd->verb)
        return p->action == CMD_HELP ? 0 : take_argument(cmd, word, err);
    if (!cmd->noun)
        return take_first(p, word, err);
    cmd->verb = find_verb(cmd->table, cmd->noun, word);
    return cmd->verb ? 0 : unknown_word(cmd, word, err);
}

/* --- options ----------------------------------------------------------------------------------------------------- */

static const struct option_def *find_option(const struct option_def *list, const char *name, size_t len, char letter)
{
    for (const struct option_def *o = list; o && o->name; o++)
        if (name ? strlen(o->name) == len && strncmp(o->name, name, len) == 0 : letter == o->letter)
            return o;
    return NULL;
}

static const struct option_def *lookup(const struct cmd *cmd, const char *name, size_t len, char letter,
                                       bool *ret_is_own)
{
    const struct option_def *own = cmd->verb ? find_option(cmd->verb->options, name, len, letter) : NULL;
    *ret_is_own = own != NULL;
    return own ? own : find_option(verb_common_options, name, len, letter);
}

static int set_common(struct parser *p, const struct option_def *o, const char *value)
{
    struct cmd *cmd = p->cmd;
    if (strcmp(o->name, "root") == 0)
        cmd->root_option = value;
    else if (strcmp(o->name, "list-verbs") == 0)
        p->action = CMD_LIST_VERBS;
    else
        switch (o->letter) {
        case 0:
            cmd->is_json = true;
            break;
        case 'n':
            cmd->is_dry_run = true;
            break;
        case 'q':
            cmd->is_quiet = true;
            break;
        case 'v':
            cmd->is_verbose = true;
            break;
        case 'h':
            p->action = CMD_HELP;
            break;
        default:
            p->action = CMD_VERSION;
        }
    return 0;
}

static int set_own(struct cmd *cmd, const struct option_def *o, const char *value, struct err *err)
{
    if (o->count != OPT_MANY && cmd_has(cmd, o->name))
        return err_set(err, -EINVAL, "option --%s is given twice", o->name);
    if (cmd->n_values == CMD_VALUES_MAX)
        return err_set(err, -EINVAL, "more than %d options are given", CMD_VALUES_MAX);
    cmd->values[cmd->n_values].def = o;
    cmd->values[cmd->n_values++].value = value;
    return 0;
}

static int set_option(struct parser *p, const struct option_def *o, bool is_own, const char *value, struct err *err)
{
    return is_own ? set_own(p->cmd, o, value, err) : set_common(p, o, value);
}

/* The value of an option that was not attached to it: the next word. */
static const char *next_word(struct parser *p)
{
    return p->at + 1 < p->argc ? p->argv[++p->at] : NULL;
}

static int unknown_option(const struct cmd *cmd, const char *name, size_t len, struct err *err)
{
    const char *guess = verb_guess_option(cmd, name, len);
    if (guess)
        return err_set(err, -EINVAL, "unknown option --%.*s: did you mean --%s?", (int)len, name, guess);
    return err_set(err, -EINVAL, "unknown option --%.*s", (int)len, name);
}

static int take_long(struct parser *p, const char *text, struct err *err)
{
    size_t len = strcspn(text, "=");
    const char *value = text[len] ? text + len + 1 : NULL;
    bool is_own;
    const struct option_def *o = lookup(p->cmd, text, len, 0, &is_own);
    if (!o)
        return unknown_option(p->cmd, text, len, err);
    if (value && !o->value)
        return err_set(err, -EINVAL, "option --%s takes no value", o->name);
    if (o->value && !value && !(value = next_word(p)))
        return err_set(err, -EINVAL, "option --%s needs a value: --%s %s", o->name, o->name, o->value);
    return set_option(p, o, is_own, value, err);
}

static int take_short(struct parser *p, const char *text, struct err *err)
{
    for (; *text; text++) {
        bool is_own;
        const struct option_def *o = lookup(p->cmd, NULL, 0, *text, &is_own);
        if (!o)
            return err_set(err, -EINVAL, "unknown option -%c", *text);
        const char *value = NULL;
        if (o->value && !(value = text[1] ? text + 1 : next_word(p)))
            return err_set(err, -EINVAL, "option -%c needs a value: -%c %s", *text, *text, o->value);
        int r = set_option(p, o, is_own, value, err);
        if (r < 0 || value)
            return r;
    }
    return 0;
}

/* --- the whole line ---------------------------------------------------------------------------------------------- */

static int check_complete(const struct cmd *cmd, struct err *err)
{
    size_t min, max;
    if (!cmd->verb && cmd->noun)
        return err_set(err, -EINVAL, "'%s %s' needs a verb", cmd->table->program, cmd->noun);
    if (!cmd->verb)
        return err_set(err, -EINVAL, "nothing to do: '%s --help' lists the commands", cmd->table->program);
    count_args(cmd->verb->args, &min, &max);
    if (cmd->n_args < min)
        return err_set(err, -EINVAL, "'%s %s%s%s' needs %s", cmd->table->program, cmd->verb->noun,
                       *cmd->verb->noun ? " " : "", cmd->verb->name, cmd->verb->args);
    for (const struct option_def *o = cmd->verb->options; o && o->name; o++)
        if (o->count == OPT_REQUIRED && !cmd_has(cmd, o->name))
            return err_set(err, -EINVAL, "option --%s %s is missing", o->name, o->value);
    if (cmd->is_dry_run && !(cmd->verb->flags & VERB_DRY_RUN))
        return err_set(err, -EINVAL, "'%s' has no dry run (-n)", cmd->verb->name);
    return 0;
}

int cmd_parse(struct cmd *cmd, const struct verb_table *table, int argc, char **argv, struct err *err)
{
    *cmd = (struct cmd){.table = table};
    struct parser p = {.cmd = cmd, .argc = argc, .at = 1, .argv = argv, .action = CMD_RUN};
    for (; p.at < argc && !cmd->external; p.at++) {
        const char *word = argv[p.at];
        int r = 0;
        if (p.is_ended || word[0] != '-' || !word[1])
            r = take_word(&p, word, err);
        else if (strcmp(word, "--") == 0)
            p.is_ended = true;
        else
            r = word[1] == '-' ? take_long(&p, word + 2, err) : take_short(&p, word + 1, err);
        if (r < 0)
            return r;
        if (p.action == CMD_VERSION || p.action == CMD_LIST_VERBS)
            return p.action;
    }
    if (p.action == CMD_HELP)
        return CMD_HELP;
    if (cmd->external)
        return CMD_EXTERNAL;
    int r = check_complete(cmd, err);
    return r < 0 ? r : CMD_RUN;
}
