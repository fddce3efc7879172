/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup status: for a monitor. Several repositories, one look. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backup/cmd.h"
#include "backup/code.h"
#include "backup/marks.h"
#include "backup/prune.h"
#include "core/ctl.h"
#include "core/util.h"

#define CLOCK_SLACK_S 3600 /* clocks of two machines differ */

struct limits {
    int64_t max_age_s, max_verify_age_s; /* 0 = none */
};

static const struct column columns[] = {{"repository", "REPOSITORY", COL_TEXT},
                                        {"set", "NEWEST SET", COL_TEXT},
                                        {"time", "MADE", COL_TEXT},
                                        {"age_s", NULL, COL_NUMBER},
                                        {"verified_set", NULL, COL_TEXT},
                                        {"verified", "VERIFIED", COL_TEXT},
                                        {"sets", "SETS", COL_NUMBER},
                                        {"sets_damaged", "DAMAGED", COL_NUMBER},
                                        {"problem", "PROBLEM", COL_TEXT},
                                        {0}};

struct look {
    const struct set_info *newest, *verified; /* the newest one that can be used; that was verified by `data` or more */
    int64_t verified_s;
    size_t damaged;
};

static void look_at(const struct set_info *sets, size_t n, const struct marks *marks, struct look *ret)
{
    *ret = (struct look){0};
    for (size_t i = 0; i < n; i++) {
        const struct set_mark *m = marks_set(marks, sets[i].id);
        bool is_bad = sets[i].problem || (m && m->is_bad);
        ret->damaged += is_bad;
        if (is_bad)
            continue;
        ret->newest = &sets[i];
        if (m && m->level >= VERIFY_DATA) {
            ret->verified = &sets[i];
            ret->verified_s = m->verified_s;
        }
    }
}

/* What is wrong, worst first; 0 and "" when nothing is. */
static int judge(const struct look *l, const struct limits *limits, int64_t now_s, struct err *ret)
{
    ret->msg[0] = 0;
    if (l->damaged > 0)
        return err_set(ret, BACKUP_EXIT_DAMAGE, "%zu set%s damaged; see 'diskgate backup verify'", l->damaged,
                       l->damaged == 1 ? " is" : "s are");
    if (!l->newest)
        return err_set(ret, EXIT_FAILED, "there is no backup yet");
    if (limits->max_age_s > 0 && l->newest->time_s > now_s + CLOCK_SLACK_S) /* it would look young for years */
        return err_set(ret, EXIT_FAILED,
                       "the newest backup, %s, is from the future: the clock was wrong then, or is now, and nobody can "
                       "tell how old it is",
                       l->newest->id);
    if (limits->max_age_s > 0 && now_s - l->newest->time_s > limits->max_age_s)
        return err_set(ret, EXIT_FAILED, "the last backup is %lld hours old",
                       (long long)((now_s - l->newest->time_s) / 3600));
    if (limits->max_verify_age_s > 0 &&
        (!l->verified || now_s - l->verified_s > limits->max_verify_age_s || l->verified_s > now_s + CLOCK_SLACK_S))
        return err_set(ret, EXIT_FAILED, l->verified ? "the last verify is too long ago" : "no set was ever verified");
    return EXIT_DONE;
}

static json_t *time_json(int64_t time_s)
{
    char text[32];
    time_text(text, sizeof(text), time_s);
    return time_s > 0 ? json_string(text) : json_null();
}

/* One row; returns its exit status. */
static int add_row(const char *path, const struct limits *limits, json_t *rows)
{
    _cleanup_(repo_closep) struct repo *r = NULL;
    struct marks marks = {0};
    struct set_info *sets = NULL;
    struct err why = {""}, ignored;
    struct look l = {0};
    size_t n = 0;
    int64_t now_s = time(NULL);
    int e = repo_open(path, REPO_READ, 5000, "status", &r, &why);
    if (e == 0)
        e = set_list(r, &sets, &n, &why);
    if (e == 0) {
        (void)marks_load(r, &marks, &ignored); /* then none was verified, as far as anybody knows */
        look_at(sets, n, &marks, &l);
    }
    int status = e < 0 ? backup_exit_status(e) : judge(&l, limits, now_s, &why);
    json_t *row =
        json_pack("{so sI sI so so so so so}", "repository", out_string(r ? repo_path(r) : path), "sets", (json_int_t)n,
                  "sets_damaged", (json_int_t)l.damaged, "set", l.newest ? json_string(l.newest->id) : json_null(),
                  "time", time_json(l.newest ? l.newest->time_s : 0), "age_s",
                  l.newest ? json_integer(now_s - l.newest->time_s) : json_null(), "verified_set",
                  l.verified ? json_string(l.verified->id) : json_null(), "verified", time_json(l.verified_s));
    (void)json_object_set_new(row, "problem", status ? out_string(why.msg) : json_null());
    (void)json_array_append_new(rows, row); /* missing without memory; the status stays */
    set_list_free(sets, n);
    marks_finish(&marks);
    return status;
}

static int take_span(const struct cmd *cmd, const char *name, int64_t *ret, struct err *err)
{
    const char *text = cmd_option(cmd, name);
    return text && span_parse(text, ret, err) < 0 ? VERB_USAGE : 0;
}

static int run_status(struct cmd *cmd, struct err *err)
{
    struct limits limits = {0};
    int worst = EXIT_DONE, r = take_span(cmd, "max-age", &limits.max_age_s, err);
    if (r == 0)
        r = take_span(cmd, "max-verify-age", &limits.max_verify_age_s, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *rows = json_array();
    for (size_t i = 0; i < cmd->n_args; i++) {
        int status = add_row(cmd_arg(cmd, i), &limits, rows);
        worst = MAX(worst, status);
    }
    out_table(&cmd->out, "repositories", columns, rows, "");
    return worst;
}

static const struct option_def status_options[] = {
    {"max-age", 0, "SPAN", "it is a failure when the newest good set is older: 26h, 8d"},
    {"max-verify-age", 0, "SPAN", "likewise of the last verify of all chunks of a set"},
    {0},
};

const struct verb cmd_status_verbs[] = {
    {"", "status", "REPO...", "Tell a monitor whether backups are as they should be",
     "Exit status 0: all is well. 1: too old, or none yet. 10: no repository. 13: damage. The worst of all "
     "repositories.",
     status_options, run_status, 0},
    {0},
};
