/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of the whole root: init, up, down, status, set.
 *
 * `down` and `status` work as far as they can when the catalog cannot be read: an administrator stops a broken installation with the
 * same words as a sound one.
 */
#include "gateway/cmd.h"

#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <string.h>

#include "core/catalog.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/service-direct.h"
#include "gateway/service-memory.h"
#include "gateway/service.h"

/* --- init -------------------------------------------------------------------------------------------------------- */

/* 1 when the folder exists and is empty, 0 when there is none; a sentence for all else. */
static int look_at_place(const char *root, struct err *err)
{
    _cleanup_closedir_ DIR *d = opendir(root);
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return err_sys(err, -errno, "cannot make a root at '%s'", root);
    bool is_empty = true;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, "catalog.db") == 0)
            return err_set(err, -EEXIST, "'%s' is a Diskgate root already; nothing was changed", root);
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "lost+found") != 0)
            is_empty = false;
    }
    if (!is_empty)
        return err_set(err, -EEXIST, "'%s' holds other files: name an empty folder, or one that does not exist yet",
                       root);
    return 1;
}

static void tell_about_user(const char *root)
{
    char user[SETTING_LEN + 1];
    struct err err;
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    if (geteuid() != 0 || catalog_open(root, CATALOG_READ, &c, &err) < 0 || setting_get(c, "fs.user", user, &err) < 0)
        return; /* advice only */
    if (!getpwnam(user))
        warn_line("the system has no user '%s' yet: until it exists diskgate-fs runs as 'nobody'; make it with "
                  "'useradd --system "
                  "--no-create-home --shell /usr/sbin/nologin %s'",
                  user, user);
}

static int run_init(struct cmd *cmd, struct err *err)
{
    int r = look_at_place(cmd->root, err);
    if (r < 0)
        return r;
    bool is_new = r == 0;
    r = is_new ? make_dirs(cmd->root, 0755) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot make the folder '%s'", cmd->root);
    r = catalog_create(cmd->root, err);
    if (r < 0) {
        if (is_new)
            (void)rmdir(cmd->root); /* ours and empty; otherwise it stays */
        return r;
    }
    tell_about_user(cmd->root);
    if (!cmd->is_quiet)
        out_line(&cmd->out, "made a root at %s; next: diskgate image add, diskgate client add, diskgate up", cmd->root);
    out_set(&cmd->out, "root", out_string(cmd->root));
    return EXIT_DONE;
}

/* --- up and down ------------------------------------------------------------------------------------------------- */

static int run_up(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *report = NULL;
    int r = read_open(cmd, &c, err);
    if (r < 0)
        return r;
    if (geteuid() != 0)
        return err_set(err, -EPERM, "'diskgate up' must be run as root (try sudo)");
    r = service_up(cmd->root, c, &report, err);
    if (r < 0 && r != -EREMOTEIO)
        return r;
    report_print(cmd, report, !cmd->is_quiet);
    size_t problems = json_array_size(json_object_get(report, "problems"));
    if (problems)
        warn_line("up, but %zu %s not served; 'diskgate status' shows the state", problems,
                  problems == 1 ? "thing is" : "things are");
    else if (!cmd->is_quiet)
        out_line(&cmd->out, "up: everything is served");
    return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* What runs can be stopped without a catalog too, should that be lost. */
static int check_any_root(const struct cmd *cmd, struct err *err)
{
    char db[PATH_MAX], run[PATH_MAX];
    int r = root_path(cmd->root, "catalog.db", db, err);
    if (r == 0)
        r = root_path(cmd->root, "run", run, err);
    if (r < 0 || access(db, F_OK) == 0 || access(run, F_OK) == 0 || errno == EACCES)
        return r;
    return err_set(err, -ENOENT, "there is no Diskgate root at '%s': name another with --root", cmd->root);
}

static int run_down(struct cmd *cmd, struct err *err)
{
    _cleanup_json_ json_t *report = NULL;
    int r = check_any_root(cmd, err);
    if (r < 0)
        return r;
    if (geteuid() != 0)
        return err_set(err, -EPERM, "'diskgate down' must be run as root (try sudo)");
    bool was_up = service_is_up(cmd->root);
    r = service_down(cmd->root, &report, err);
    if (r < 0 && r != -EREMOTEIO)
        return r;
    report_print(cmd, report, !cmd->is_quiet);
    if (!cmd->is_quiet)
        out_line(&cmd->out, was_up ? "down: nothing of %s is running" : "down already: nothing of %s was running",
                 cmd->root);
    return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* --- status ------------------------------------------------------------------------------------------------------ */

static const struct column part_columns[] = {{"part", "PART", COL_TEXT},
                                             {"state", "STATE", COL_TEXT},
                                             {"pid", "PID", COL_NUMBER},
                                             {"detail", "DETAIL", COL_TEXT, true},
                                             {0}};

static void status_sentence(struct cmd *cmd, json_t *s, const char *state, size_t problems)
{
    long long clients = json_integer_value(json_object_get(s, "clients"));
    long long online = json_integer_value(json_object_get(s, "clients_online"));
    long long disabled = json_integer_value(json_object_get(s, "clients_disabled"));
    char off[48] = "";
    if (disabled > 0)
        (void)snprintf(off, sizeof(off), ", %lld disabled", disabled); /* fits */
    if (strcmp(state, "down") == 0)
        out_line(&cmd->out, "down: nothing of %s is running; 'diskgate up' starts it", cmd->root);
    else if (problems)
        out_line(&cmd->out, "%s: %lld client%s, %lld online%s, %zu problem%s", state, clients, clients == 1 ? "" : "s",
                 online, off, problems, problems == 1 ? "" : "s");
    else
        out_line(&cmd->out, "%s: %lld client%s, %lld online%s, no problems", state, clients, clients == 1 ? "" : "s",
                 online, off);
}

static void status_problems(struct cmd *cmd, json_t *problems)
{
    json_t *row;
    size_t i;
    if (json_array_size(problems))
        out_line(&cmd->out, "\nProblems ('diskgate up' repairs what can be repaired):");
    json_array_foreach(problems, i, row)
    {
        const char *what = json_string_value(json_object_get(row, "what")),
                   *text = json_string_value(json_object_get(row, "problem"));
        out_line(&cmd->out, "  %s: %s", what ? what : "?", text ? text : json_string_value(row) ?: "?");
    }
}

static void status_notices(struct cmd *cmd, json_t *notices)
{
    json_t *row;
    size_t i;
    json_array_foreach(notices, i, row)
        out_line(&cmd->out, "%s%s: %s", i == 0 ? "\n" : "", json_string_value(json_object_get(row, "what")) ?: "?",
                 json_string_value(json_object_get(row, "notice")) ?: "?");
}

#define SETTLE_MS    15000
#define SETTLE_TRIES 3
#define SILENT_MS    1500

static bool is_settled(json_t *s)
{
    const char *state = json_string_value(json_object_get(s, "state"));
    return state && strcmp(state, "degraded") != 0 && json_array_size(json_object_get(s, "problems")) == 0;
}

/* A look that began at @start_ms has waited for a part that does not answer, and no command is at work that would change that. */
static bool is_silent(const char *root, int64_t start_ms)
{
    int pid;
    return clock_ms() - start_ms >= SILENT_MS && !root_locked(root, "up.lock", &pid);
}

/* The state of what runs. Another command may be between its change and the reconciliation that follows it: what looks broken is
 * looked at again when that has ended, and only counts if it is still there. Who does not answer is waited for once. */
static int look_at_state(const char *root, struct catalog *c, json_t **ret, struct err *err)
{
    for (int i = 0;; i++) {
        _cleanup_json_ json_t *s = NULL;
        int64_t start_ms = clock_ms();
        int r = service_status(root, c, &s, err);
        if (r < 0)
            return r;
        if (is_settled(s) || i == SETTLE_TRIES || is_silent(root, start_ms)) {
            *ret = json_incref(s);
            return 0;
        }
        (void)poll(NULL, 0, 100); /* a pause */
        int lock = geteuid() == 0 ? root_lock(root, "up.lock", SETTLE_MS, NULL) : -1;
        closep(&lock); /* only waited for */
    }
}

/* Lines below the table of parts, with an empty one above the first. */
struct lines {
    struct cmd *cmd;
    size_t n;
};

static void status_line(void *arg, const char *line)
{
    struct lines *l = arg;
    out_line(&l->cmd->out, "%s%s", l->n++ == 0 ? "\n" : "", line);
}

static int run_status(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *s = NULL;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = look_at_state(cmd->root, c, &s, err);
    if (r < 0)
        return r;
    const char *state = json_string_value(json_object_get(s, "state")) ?: "degraded";
    json_t *problems = json_object_get(s, "problems"), *value;
    const char *key;
    struct lines lines = {.cmd = cmd};
    status_sentence(cmd, s, state, json_array_size(problems));
    if (strcmp(state, "down") != 0) {
        out_line(&cmd->out, "%s", "");
        out_table(&cmd->out, "parts", part_columns, json_object_get(s, "parts"), "no parts");
        memory_lines(s, status_line, &lines);
        direct_line(s, status_line, &lines);
    }
    status_problems(cmd, problems);
    status_notices(cmd, json_object_get(s, "notices"));
    json_object_foreach(s, key, value)
        out_set(&cmd->out, key, json_incref(value)); /* all that the running half tells, under its own keys */
    return strcmp(state, "degraded") == 0 || (strcmp(state, "up") == 0 && json_array_size(problems)) ? EXIT_DIFFERS
                                                                                                     : EXIT_DONE;
}

/* --- set --------------------------------------------------------------------------------------------------------- */

static const struct column setting_columns[] = {{"key", "KEY", COL_TEXT},
                                                {"value", "VALUE", COL_TEXT},
                                                {"default", "DEFAULT", COL_TEXT},
                                                {"form", NULL, COL_TEXT},
                                                {"takes", "TAKES", COL_SHOWN},
                                                {"meaning", "MEANING", COL_TEXT},
                                                {0}};

static json_t *setting_row(struct catalog *c, const struct setting_def *d)
{
    char value[SETTING_LEN + 1];
    struct err err;
    if (setting_get(c, d->key, value, &err) < 0)
        (void)snprintf(value, sizeof(value), "?");
    const char *form = d->form ? d->form : "";
    return json_pack("{s:s, s:o, s:s, s:s, s:s, s:s}", "key", d->key, "value", out_string(value), "default", d->value,
                     "form", form, "takes", strchr(form, '|') ? form : "", "meaning", d->meaning);
}

static int set_list(struct cmd *cmd, struct catalog *c)
{
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    _cleanup_json_ json_t *rows = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(rows, setting_row(c, &defs[i]));
    out_table(&cmd->out, "settings", setting_columns, rows, NULL);
    return EXIT_DONE;
}

static int set_print(struct cmd *cmd, struct catalog *c, const char *key, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, key, value, err);
    if (r < 0)
        return r;
    out_line(&cmd->out, "%s", value);
    _cleanup_json_ json_t *row = setting_row(c, setting_find(key));
    if (cmd->is_json)
        out_fields(&cmd->out, setting_columns, row);
    return EXIT_DONE;
}

static bool needs_restart(const char *key)
{
    const char *const keys[] = {"tgt.threads", "fs.user"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

/* Clients that nothing is told about would be turned away. */
static void note_no_template(struct catalog *c, const char *key)
{
    static const char *const keys[] = {"clients.unknown", "clients.template_client", "clients.template_image"};
    char values[ARRAY_SIZE(keys)][SETTING_LEN + 1];
    bool is_ours = false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        is_ours = is_ours || strcmp(keys[i], key) == 0;
        if (setting_get(c, keys[i], values[i], NULL) < 0)
            return; /* a note only */
    }
    if (is_ours && strcmp(values[0], "auto") == 0 && !*values[1] && !*values[2])
        warn_line("note: nothing says what PCs get that are added by themselves, so none is: 'diskgate set "
                  "clients.template_image IMAGE', or clients.template_client NAME");
}

static int set_change(struct cmd *cmd, const char *key, const char *value, struct err *err)
{
    char old[SETTING_LEN + 1], now[SETTING_LEN + 1], thing[SETTING_LEN + 16];
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = setting_get(c, key, old, err);
    if (r == 0)
        r = setting_set(c, key, value, err);
    if (r == 0)
        r = setting_get(c, key, now, err);
    if (r < 0)
        return r;
    note_no_template(c, key);
    bool is_late = needs_restart(key) && strcmp(old, now) != 0 && service_is_up(cmd->root);
    (void)snprintf(thing, sizeof(thing), "setting %s", key);
    out_set(&cmd->out, "key", out_string(key));
    out_set(&cmd->out, "value", out_string(now));
    return change_done(cmd, c, thing, err, "%s is now '%s' (was '%s')%s", key, now, old,
                       is_late ? "; it takes effect at the next 'diskgate down' and 'diskgate up'" : "");
}

static int run_set(struct cmd *cmd, struct err *err)
{
    const char *key = cmd_arg(cmd, 0), *value = cmd_arg(cmd, 1);
    bool to_default = cmd_has(cmd, "default");
    if (to_default && (!key || value))
        return err_set(err, VERB_USAGE, "--default resets one setting: 'diskgate set KEY --default'");
    if (key && !setting_find(key))
        return err_set(err, -EINVAL, "there is no setting '%s': 'diskgate set' lists all", key);
    if (value || to_default)
        return set_change(cmd, key, value, err);
    if (cmd->is_dry_run)
        return err_set(err, VERB_USAGE, "a dry run (-n) of 'set' needs a value to try");
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = read_open(cmd, &c, err);
    if (r < 0)
        return r;
    return key ? set_print(cmd, c, key, err) : set_list(cmd, c);
}

static const struct option_def set_options[] = {{"default", 0, NULL, "back to the setting's default"}, {0}};

const struct verb cmd_root_verbs[] = {
    {"", "init", "", "Make a root: the folder of one installation",
     "The folder is made where there is none; an empty one is taken.", NULL, run_init},
    {"", "up", "", "Start all that the root needs, repair what broke",
     "Returns 0 only when everything is served. May be run again at any time.", NULL, run_up},
    {"", "down", "", "Stop all of it and leave nothing behind", NULL, NULL, run_down},
    {"", "status", "", "Show what runs, and problems with their way out",
     "Exit status 0 when up and sound, or down; 3 when something is broken.", NULL, run_status},
    {"", "set", "[KEY [VALUE]]", "List, show or change settings", NULL, set_options, run_set, VERB_DRY_RUN},
    {0},
};
