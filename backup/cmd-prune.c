/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup prune: rules say which sets stay, the others go, and then their chunks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/cmd-work.h"
#include "backup/gc.h"
#include "backup/prune.h"
#include "backup/run-note.h"
#include "core/ctl.h"
#include "core/util.h"

static int take_count(const struct cmd *cmd, const char *name, unsigned *ret, struct err *err)
{
    const char *text = cmd_option(cmd, name);
    char *end;
    if (!text)
        return 0;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end || n == 0 || n > 100000)
        return err_set(err, VERB_USAGE, "--%s '%s' is no number from 1 to 100000", name, text);
    *ret = (unsigned)n;
    return 0;
}

static int take_rules(const struct cmd *cmd, struct keep_rules *ret, struct err *err)
{
    const struct {
        const char *name;
        unsigned *to;
    } counts[] = {{"keep-last", &ret->last},     {"keep-hourly", &ret->hourly},   {"keep-daily", &ret->daily},
                  {"keep-weekly", &ret->weekly}, {"keep-monthly", &ret->monthly}, {"keep-yearly", &ret->yearly}};
    const char *within = cmd_option(cmd, "keep-within");
    int r = within ? span_parse(within, &ret->within_s, err) : 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counts); i++)
        r = take_count(cmd, counts[i].name, counts[i].to, err);
    return r;
}

/* --- what is said -------------------------------------------------------------------------------------------------- */

static const struct column plan_columns[] = {
    {"set", "SET", COL_TEXT}, {"kept", "KEPT", COL_YES}, {"why", "WHY", COL_TEXT}, {0}};
static const struct column gc_columns[] = {{"packs", "packs before", COL_NUMBER},
                                           {"packs_trashed", "  without use, to trash", COL_NUMBER},
                                           {"packs_rewritten", "  written again", COL_NUMBER},
                                           {"freed_bytes", "freed", COL_SIZE},
                                           {"trash_bytes", "the next prune frees", COL_SIZE},
                                           {"sets_read", NULL, COL_NUMBER},
                                           {"chunks_needed", NULL, COL_NUMBER},
                                           {0}};

static void print_plan(struct cmd *cmd, const struct prune_row *rows, size_t n)
{
    _cleanup_json_ json_t *list = json_array();
    for (size_t i = 0; i < n; i++) /* missing without memory, as below */
        (void)json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "set", rows[i].set->id, "kept", rows[i].is_kept,
                                                    "why", rows[i].is_kept ? rows[i].why : "no rule keeps it"));
    out_table(&cmd->out, "sets", plan_columns, list, "there is no set");
}

static void print_gc(struct cmd *cmd, const struct gc_counts *c)
{
    _cleanup_json_ json_t *row =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "packs", (json_int_t)c->packs, "packs_trashed",
                  (json_int_t)c->packs_trashed, "packs_rewritten", (json_int_t)c->packs_rewritten, "freed_bytes",
                  (json_int_t)c->freed_bytes, "trash_bytes", (json_int_t)c->trash_bytes, "sets_read",
                  (json_int_t)c->sets, "chunks_needed", (json_int_t)c->chunks);
    out_line(&cmd->out, "%s", "");
    out_fields(&cmd->out, gc_columns, row);
}

/* --- the work ------------------------------------------------------------------------------------------------------ */

static int drop(struct repo *r, struct marks *marks, const struct prune_row *rows, size_t n, struct err *err)
{
    _cleanup_free_ const char **ids = calloc(n + 1, sizeof(*ids));
    size_t count = 0;
    if (!ids)
        return err_set(err, -ENOMEM, "memory is out");
    for (size_t i = 0; i < n; i++)
        if (!rows[i].is_kept)
            ids[count++] = rows[i].set->id;
    return count ? prune_drop(r, marks, ids, count, err) : 0;
}

/* A listing that lacks a set is found before anything moves: the collection would end there, too. */
static int check_lost(struct marks *marks, const struct set_info *sets, size_t n, struct err *err)
{
    char lost[SET_ID_LEN + 1];
    int r = marks_learn(marks, sets, n, lost);
    if (r < 0)
        return err_set(err, r, "memory is out");
    return lost[0] ? err_set(err, -EBADMSG,
                             "the set %s was there and is not listed any more: nothing was deleted, in case it is the "
                             "disk that fails; if "
                             "somebody deleted it by hand, 'diskgate backup remove REPO %s --force' makes that known",
                             lost, lost)
                   : 0;
}

static int prune_sets(struct cmd *cmd, struct repo *r, struct marks *marks, const struct keep_rules *rules,
                      const struct set_info *sets, size_t n, struct err *err)
{
    struct gc_counts counts;
    _cleanup_free_ struct prune_row *rows = calloc(n + 1, sizeof(*rows));
    if (!rows)
        return err_set(err, -ENOMEM, "memory is out");
    int e = prune_plan(sets, n, marks, rules, (int64_t)time(NULL), rows, err);
    if (e == 0)
        e = check_lost(marks, sets, n, err);
    if (e < 0)
        return e;
    print_plan(cmd, rows, n);
    if (!cmd->is_dry_run)
        e = drop(r, marks, rows, n, err);
    if (e == 0)
        e = gc_run(r, marks, cmd->is_dry_run, cmd_has(cmd, "now"), &counts, err);
    if (e == 0)
        print_gc(cmd, &counts);
    return e;
}

/* The reserve is there for this: a full disk must not keep prune from making room. */
static int prune_locked(struct cmd *cmd, struct repo *r, const struct keep_rules *rules, struct err *err)
{
    struct marks marks = {0};
    struct set_info *sets = NULL;
    size_t n = 0;
    bool had_reserve = faccessat(repo_dirfd(r), "reserve", F_OK, 0) == 0;
    int e = cmd->is_dry_run ? 0 : repo_reserve_release(r);
    if (e < 0)
        return err_sys(err, e, "cannot free the reserve of '%s'", repo_path(r));
    e = marks_load(r, &marks, err);
    if (e == 0)
        e = set_list(r, &sets, &n, err);
    if (e == 0)
        e = prune_sets(cmd, r, &marks, rules, sets, n, err);
    if (had_reserve && !cmd->is_dry_run && repo_reserve_take(r) < 0)
        warn_line("the disk of '%s' is so full that nothing could be kept in reserve", repo_path(r));
    set_list_free(sets, n);
    marks_finish(&marks);
    return e;
}

static int run_prune(struct cmd *cmd, struct err *err)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct keep_rules rules = {0};
    long wait_s = WAIT_DEFAULT_S;
    int e = take_rules(cmd, &rules, err);
    if (e == 0)
        e = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    bool is_noted = e == 0 && !cmd->is_dry_run;
    if (is_noted)
        run_note_begin(cmd->root, cmd_arg(cmd, 0), "prune");
    if (e == 0)
        e = repo_open(cmd_arg(cmd, 0), cmd->is_dry_run ? REPO_READ : REPO_WRITE, (int)wait_s * 1000, "prune", &r, err);
    if (e == 0)
        e = prune_locked(cmd, r, &rules, err);
    if (is_noted)
        run_note_end(cmd->root, cmd_arg(cmd, 0), "prune", e, err);
    return e < 0 ? e : EXIT_DONE;
}

static const struct option_def prune_options[] = {
    {"keep-last", 0, "N", "the newest N"},
    {"keep-hourly", 0, "N", "the newest of each of the newest N hours that have one"},
    {"keep-daily", 0, "N", "likewise of days"},
    {"keep-weekly", 0, "N", "likewise of ISO weeks"},
    {"keep-monthly", 0, "N", "likewise of months"},
    {"keep-yearly", 0, "N", "likewise of years"},
    {"keep-within", 0, "SPAN", "all that are younger than SPAN before the newest one: 12h, 30d, 6w, 8m, 2y"},
    {"now", 0, NULL, "free the room at once, trash/ as well: there is no way back"},
    WAIT_OPTION,
    {0},
};

const struct verb cmd_prune_verbs[] = {
    {"", "prune", "REPO", "Delete old backups by rules, and what only they needed",
     "The rules are applied to each image and each client on its own; a set stays when one of them needs it. Pinned "
     "and damaged\n"
     "sets stay, and the last good one of each image and client, whatever the rules say.\n"
     "\n"
     "A set goes to trash/ first. The next prune deletes it and puts the packs that only it needed into trash/, the "
     "one after\n"
     "that deletes them. -n shows which rule keeps which set.",
     prune_options, run_prune, VERB_DRY_RUN},
    {0},
};
