/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame of every verb; see change.h. */
#include "gateway/change.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "core/json.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/service.h"

/* Is there a root, and may the caller do this to it? Says what SQLite could only say in its own words. */
static int check_root(const struct cmd *cmd, bool is_writing, struct err *err)
{
    char db[PATH_MAX];
    int r = root_find_catalog(cmd->root, db, err);
    if (r < 0 || geteuid() == 0)
        return r;
    if (access(db, is_writing ? R_OK | W_OK : R_OK) < 0 || (is_writing && access(cmd->root, W_OK) < 0))
        return err_set(err, -EACCES, "'%s %s' on '%s' must be run as root (try sudo)",
                       *cmd->verb->noun ? cmd->verb->noun : "diskgate", cmd->verb->name, cmd->root);
    return 0;
}

int read_open(struct cmd *cmd, struct catalog **ret, struct err *err)
{
    int r = check_root(cmd, false, err);
    r = r ? r : catalog_open(cmd->root, CATALOG_READ, ret, err);
    if (r != -EOPNOTSUPP || geteuid() != 0)
        return r;
    struct catalog *c = NULL; /* of an older release: opening it for a change brings it up to date */
    r = catalog_open(cmd->root, CATALOG_WRITE, &c, err);
    catalog_close(c);
    return r ? r : catalog_open(cmd->root, CATALOG_READ, ret, err);
}

int change_open(struct cmd *cmd, struct catalog **ret, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = check_root(cmd, true, err);
    if (r == 0)
        r = catalog_open(cmd->root, CATALOG_WRITE, &c, err);
    if (r == 0)
        r = catalog_begin(c, err);
    if (r < 0)
        return r;
    *ret = take_ptr(c);
    return 0;
}

#define MANY_CHANGES 20

/* A room of PCs is one line, not a screenful for each of its targets: "200 targets opened". */
static void print_changes(struct cmd *cmd, json_t *changes)
{
    static const char prefix[] = "target of client ";
    bool is_short = cmd->is_verbose || json_array_size(changes) <= MANY_CHANGES;
    size_t i, opened = 0, closed = 0;
    json_t *row;
    json_array_foreach(changes, i, row)
    {
        const char *text = json_string_value(row) ?: "?";
        const char *space = strrchr(text, ' ');
        bool is_target = strncmp(text, prefix, strlen(prefix)) == 0 && space;
        if (!is_short && is_target && strcmp(space, " opened") == 0)
            opened++;
        else if (!is_short && is_target && strcmp(space, " closed") == 0)
            closed++;
        else
            out_line(&cmd->out, "%s", text);
    }
    if (opened)
        out_line(&cmd->out, "%zu target%s opened (-v lists them)", opened, opened == 1 ? "" : "s");
    if (closed)
        out_line(&cmd->out, "%zu target%s closed (-v lists them)", closed, closed == 1 ? "" : "s");
}

void report_print(struct cmd *cmd, json_t *report, bool with_changes)
{
    json_t *row, *problems = json_object_get(report, "problems"), *changes = json_object_get(report, "changes");
    size_t i;
    json_array_foreach(problems, i, row) warn_line("%s: %s", json_string_value(json_object_get(row, "what")) ?: "?",
                                                   json_string_value(json_object_get(row, "problem")) ?: "?");
    if (with_changes)
        print_changes(cmd, changes);
    out_set(&cmd->out, "changes", changes ? json_incref(changes) : json_array());
    out_set(&cmd->out, "problems", problems ? json_incref(problems) : json_array());
}

/* Is @thing ("client pc1") among the problems, whole or in part ("client pc1 slot 0")? */
static bool is_troubled(json_t *report, const char *thing)
{
    json_t *row;
    size_t i, len = strlen(thing);
    json_array_foreach(json_object_get(report, "problems"), i, row)
    {
        const char *what = json_string_value(json_object_get(row, "what"));
        if (what && strncasecmp(what, thing, len) == 0 && (!what[len] || what[len] == ' '))
            return true;
    }
    return false;
}

/* The running half follows the catalog. Returns an exit status: the change itself is made. */
static int follow(struct cmd *cmd, struct catalog *c, const char *thing)
{
    struct err err = {0};
    _cleanup_json_ json_t *report = NULL;
    if (!service_is_up(cmd->root))
        return EXIT_DONE;
    int r = service_sync(cmd->root, c, &report, &err);
    if (r < 0 && r != -EREMOTEIO) {
        warn_line("the change is stored, but what is running could not follow it: %s; then run 'diskgate target sync'",
                  err.msg);
        return EXIT_FAILED;
    }
    report_print(cmd, report, cmd->is_verbose);
    return is_troubled(report, thing) ? EXIT_FAILED : EXIT_DONE;
}

int change_done(struct cmd *cmd, struct catalog *c, const char *thing, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* names are short */
    va_end(ap);
    int r = 0, status = EXIT_DONE;
    if (cmd->is_dry_run)
        catalog_rollback(c);
    else
        r = catalog_commit(c, err);
    if (r < 0)
        return r;
    if (!cmd->is_quiet)
        out_line(&cmd->out, "%s%s", text, cmd->is_dry_run ? " (dry run: nothing was changed)" : "");
    out_set(&cmd->out, "message", out_string(text));
    out_set(&cmd->out, "is_dry_run", json_boolean(cmd->is_dry_run));
    if (!cmd->is_dry_run)
        status = follow(cmd, c, thing);
    return status;
}

int comment_parse(const char *text, char *ret, struct err *err)
{
    if (!text)
        text = "";
    size_t len = strlen(text);
    if (len > COMMENT_LEN)
        return err_set(err, -EINVAL, "the comment is %zu bytes long, at most %d are kept", len, COMMENT_LEN);
    _cleanup_json_ json_t *utf8 = json_string(text);
    if (!utf8)
        return err_set(err, -EINVAL, "the comment is not valid UTF-8 text");
    memcpy(ret, text, len + 1);
    return 0;
}

int on_off_parse(const char *text, const char *name, bool *ret, struct err *err)
{
    *ret = strcmp(text, "on") == 0;
    return *ret || strcmp(text, "off") == 0 ? 0 : err_set(err, -EINVAL, "%s takes on or off, not '%.80s'", name, text);
}

int slot_parse(const char *text, uint32_t *ret, struct err *err)
{
    char *end;
    *ret = 0;
    if (!text)
        return 0;
    unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || n > BOOT_SLOT_LAST)
        return err_set(err, -EINVAL, "slot '%s' must be a number from 0 to %d", text, BOOT_SLOT_LAST);
    *ret = (uint32_t)n;
    return 0;
}
