/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup schedule: backups that make themselves. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backup/cmd.h"
#include "backup/prune.h"
#include "backup/run-note.h"
#include "backup/schedule-install.h"
#include "backup/set.h"
#include "backup/sums.h"
#include "core/ctl.h"
#include "core/util.h"

static const char *const keep_names[] = {"keep-last",    "keep-hourly", "keep-daily", "keep-weekly",
                                         "keep-monthly", "keep-yearly", "keep-within"};

static const char *unit_dir(const struct cmd *cmd)
{
    const char *dir = cmd_option(cmd, "unit-dir");
    return dir ? dir : SCHEDULE_DIR;
}

/* Timers are started or stopped only where systemd runs and reads that folder. */
static bool is_live(const struct cmd *cmd)
{
    return !cmd_option(cmd, "unit-dir") && schedule_has_systemd();
}

/* --- add --------------------------------------------------------------------------------------------------------- */

static int collect_keep(const struct cmd *cmd, char *ret, struct err *err)
{
    size_t n = 0;
    int64_t span;
    ret[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keep_names); i++) {
        const char *value = cmd_option(cmd, keep_names[i]);
        if (!value)
            continue;
        bool is_span = strcmp(keep_names[i], "keep-within") == 0;
        if (is_span ? span_parse(value, &span, err) < 0 : strspn(value, "0123456789") != strlen(value) || !*value)
            return err_set(err, VERB_USAGE, "--%s '%s' is not what prune understands", keep_names[i], value);
        int len = snprintf(ret + n, KEEP_LEN + 1 - n, "%s--%s %s", n ? " " : "", keep_names[i], value);
        if (len < 0 || (size_t)len > KEEP_LEN - n)
            return err_set(err, VERB_USAGE, "the rules are too long");
        n += (size_t)len;
    }
    return 0;
}

static int own_path(char *ret, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
    if (n < 0)
        return err_sys(err, -errno, "cannot tell where diskgate-backup is");
    ret[n] = 0;
    return 0;
}

/* A key that cannot be used is told now, and not by a backup that is missing tomorrow. */
static int take_key(const struct cmd *cmd, struct schedule *s, struct err *err)
{
    const char *file = cmd_option(cmd, "sign");
    struct sign_key *key = NULL;
    int r = file ? sign_key_load(file, true, &key, err) : 0;
    sign_key_destroy(key);
    if (r == 0 && file && !realpath(file, s->sign))
        r = err_sys(err, -errno, "cannot read the key '%s'", file);
    return r;
}

static int understand(struct cmd *cmd, struct schedule *s, struct err *err)
{
    _cleanup_(repo_closep) struct repo *repo = NULL;
    size_t used = 0;
    if (when_parse(cmd->args, cmd->n_args, &s->when, &used, err) < 0)
        return VERB_USAGE;
    if (cmd->n_args != used + 1)
        return err_set(err, VERB_USAGE, "say when, and which repository");
    int r = collect_keep(cmd, s->keep, err);
    if (r == 0)
        r = repo_open(cmd->args[used], REPO_READ, 5000, "schedule", &repo, err);
    if (r < 0)
        return r;
    r = take_key(cmd, s, err);
    if (r < 0)
        return r;
    (void)snprintf(s->repo, sizeof(s->repo), "%s", repo_path(repo)); /* of one size, as the next */
    (void)snprintf(s->root, sizeof(s->root), "%s", cmd->root);
    if (strpbrk(s->repo, "\n\r") || strpbrk(s->root, "\n\r") || strpbrk(s->sign, "\n\r"))
        return err_set(err, -EINVAL, "a path with a line break cannot be scheduled");
    schedule_name(s->root, s->repo, s->unit);
    return 0;
}

static int print_cron(struct cmd *cmd, const char *program, const struct schedule *s, struct err *err)
{
    static const char *const verbs[] = {"create", "prune", "verify"};
    _cleanup_free_ char *line = malloc(4 * PATH_MAX);
    char cron[32];
    json_t *lines = json_array();
    int r = line ? 0 : err_sys(err, -ENOMEM, "cannot print");
    out_line(&cmd->out, "there is no systemd here; for cron (/etc/cron.d/diskgate-backup) the lines are");
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(verbs); i++) {
        if (i == 1 && !s->keep[0])
            continue;
        when_cron(&s->when, (unsigned)(2 * i), cron);
        r = schedule_command(program, s, verbs[i], line, err);
        if (r == 0) {
            out_line(&cmd->out, "%s root %s", cron, line);
            (void)json_array_append_new(lines, json_sprintf("%s root %s", cron, line)); /* missing without memory */
        }
    }
    out_set(&cmd->out, "cron", lines);
    return r;
}

static int add(struct cmd *cmd, struct err *err)
{
    struct schedule s = {0};
    char program[PATH_MAX], when[WHEN_LEN + 1];
    int r = understand(cmd, &s, err);
    if (r == 0)
        r = own_path(program, err);
    if (r < 0)
        return r;
    if (!cmd_option(cmd, "unit-dir") && !schedule_has_systemd())
        return print_cron(cmd, program, &s, err);
    r = schedule_install(unit_dir(cmd), is_live(cmd), program, &s, err);
    if (r < 0)
        return r;
    when_text(&s.when, when);
    out_set(&cmd->out, "schedule", json_string(s.unit));
    out_line(&cmd->out, "%s: %s, into '%s'", s.unit, when, s.repo);
    if (!s.keep[0])
        out_line(&cmd->out, "old backups stay for ever: say --keep-daily 14, for example");
    if (!is_live(cmd))
        out_line(&cmd->out,
                 "the units are in '%s'; 'systemctl enable --now %s.timer' starts the first of them where "
                 "systemd finds them",
                 unit_dir(cmd), s.unit);
    return EXIT_DONE;
}

/* --- list and remove --------------------------------------------------------------------------------------------- */

/* When the newest set that can be used was made: that, and not a timer's last run, is what counts. */
static int64_t last_backup(const char *path)
{
    _cleanup_(repo_closep) struct repo *repo = NULL;
    struct set_info s = {0};
    struct err ignored;
    int64_t when = 0;
    if (repo_open(path, REPO_READ, 0, "schedule", &repo, &ignored) == 0 && set_find(repo, "latest", &s, &ignored) == 0)
        when = s.time_s;
    set_info_finish(&s);
    return when;
}

static json_t *time_json(int64_t time_s)
{
    char text[32];
    time_text(text, sizeof(text), time_s);
    return time_s > 0 ? json_string(text) : json_null();
}

static const struct column columns[] = {{"schedule", "SCHEDULE", COL_TEXT},
                                        {"when", "WHEN", COL_TEXT},
                                        {"next", "NEXT", COL_TEXT},
                                        {"last_run", "LAST RUN", COL_TEXT},
                                        {"result", "RESULT", COL_TEXT},
                                        {"last_backup", "LAST GOOD BACKUP", COL_TEXT},
                                        {"repository", "REPOSITORY", COL_TEXT},
                                        {"root", NULL, COL_TEXT},
                                        {"result_status", NULL, COL_JSON},
                                        {"keep", "KEEP", COL_TEXT},
                                        {"prune", "PRUNE", COL_TEXT},
                                        {"verify", "VERIFY", COL_TEXT},
                                        {0}};

/* "done 2026-11-22 03:30", "failed 2026-...: no space", "never" */
static json_t *run_words(const struct schedule *s, const char *verb)
{
    struct run_note n;
    char result[RUN_WORDS_LEN + 1], when[32], all[RUN_WORDS_LEN + 64] = "never";
    if (run_note_read(s->root, s->repo, verb, &n) == 0) {
        time_text(when, sizeof(when), n.started_s);
        run_note_words(&n, result);
        (void)snprintf(all, sizeof(all), "%s (%s)", result, when); /* fits */
    }
    return out_string(all);
}

static json_t *row_of(const struct schedule *s)
{
    struct run_note n = {0};
    char when[WHEN_LEN + 1], result[RUN_WORDS_LEN + 1] = "never ran";
    bool has_run = run_note_read(s->root, s->repo, "create", &n) == 0;
    if (has_run)
        run_note_words(&n, result);
    when_text(&s->when, when);
    return json_pack("{ss ss so so so so so so so ss so so}", "schedule", s->unit, "when", when, "next",
                     time_json(when_next(&s->when, time(NULL))), "last_run", time_json(n.started_s), "result",
                     out_string(result), "result_status", has_run && n.is_over ? json_integer(n.status) : json_null(),
                     "last_backup", time_json(last_backup(s->repo)), "repository", out_string(s->repo), "root",
                     out_string(s->root), "keep", s->keep, "prune", s->keep[0] ? run_words(s, "prune") : json_null(),
                     "verify", run_words(s, "verify"));
}

static int list(struct cmd *cmd, struct err *err)
{
    _cleanup_free_ struct schedule *all = NULL;
    _cleanup_json_ json_t *rows = json_array();
    size_t n = 0;
    int r = schedule_list(unit_dir(cmd), &all, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(rows, row_of(&all[i])); /* missing without memory */
    out_table(&cmd->out, "schedules", columns, rows, "nothing is scheduled");
    return EXIT_DONE;
}

static int remove_one(struct cmd *cmd, struct err *err)
{
    if (cmd->n_args != 2)
        return err_set(err, VERB_USAGE, "say which one; 'schedule list' has their names");
    int r = schedule_remove(unit_dir(cmd), is_live(cmd), cmd->args[1], err);
    if (r == 0)
        out_line(&cmd->out, "%s is no more; its backups stay", cmd->args[1]);
    return r < 0 ? r : EXIT_DONE;
}

static int run_schedule(struct cmd *cmd, struct err *err)
{
    if (cmd->n_args == 1 && strcmp(cmd->args[0], "list") == 0)
        return list(cmd, err);
    if (strcmp(cmd->args[0], "remove") == 0)
        return remove_one(cmd, err);
    return add(cmd, err);
}

static const struct option_def schedule_options[] = {
    {"keep-last", 0, "N", "as of 'prune', which then runs two hours later"},
    {"keep-hourly", 0, "N", "likewise"},
    {"keep-daily", 0, "N", "likewise"},
    {"keep-weekly", 0, "N", "likewise"},
    {"keep-monthly", 0, "N", "likewise"},
    {"keep-yearly", 0, "N", "likewise"},
    {"keep-within", 0, "SPAN", "likewise"},
    {"sign", 0, "FILE", "sign the sets with this ed25519 private key (PEM)"},
    {"unit-dir", 0, "DIR", "write to, list or remove in this folder (" SCHEDULE_DIR ")"},
    {0},
};

const struct verb cmd_schedule_verbs[] = {
    {"", "schedule", "WHEN|list|remove [ARGUMENT]...", "Back up, prune and verify at fixed times, by systemd timers",
     "schedule daily 03:30 REPO        also: weekly Sun 03:30 REPO, hourly REPO\n"
     "schedule list\n"
     "schedule remove NAME\n"
     "\n"
     "The timers make up for a time at which the machine was off. Verify runs four hours later, for an hour at most. "
     "Without\n"
     "systemd the lines for cron are printed.",
     schedule_options, run_schedule, 0},
    {0},
};
