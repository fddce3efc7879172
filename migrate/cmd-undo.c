/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `undo`: an import is taken back, in one transaction; files that it made in the root go after the commit. */
#include "migrate/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/catalog-import.h"
#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "migrate/apply.h"
#include "migrate/staging.h"

static int parse_id(const char *text, int64_t *ret, struct err *err)
{
    char *end;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    if (errno || *end || *ret < 1)
        return err_set(err, -EINVAL, "'%s' is no number of an import: 'diskgate log' shows them", text);
    return 0;
}

/* Links of running clients, to be compared with what is left of them. */
static int online_links(struct catalog *c, json_t *online, json_t *ret, struct err *err)
{
    const char *name;
    json_t *unused;
    json_object_foreach(online, name, unused)
    {
        _cleanup_free_ struct link_row *rows = NULL;
        size_t n = 0;
        json_t *list = json_array();
        int r = link_list(c, name, &rows, &n, err);
        if (r == -ENOENT)
            r = 0;
        for (size_t i = 0; i < n; i++)
            (void)json_array_append_new(list, json_sprintf("%u:%lld", rows[i].slot, (long long)rows[i].image_id));
        (void)json_object_set_new(ret, name, list);
        if (r < 0)
            return r;
    }
    return 0;
}

static int refuse_running(struct catalog *c, json_t *online, json_t *before, struct err *err)
{
    _cleanup_json_ json_t *after = json_object();
    const char *name;
    json_t *links;
    int r = online_links(c, online, after, err);
    if (r < 0)
        return r;
    json_object_foreach(before, name, links) if (!json_equal(links, json_object_get(after, name))) return err_set(
        err, -EBUSY, "client '%s' is running, and its disks would be taken away: shut it down first", name);
    return 0;
}

/* Who is killed behind the commit leaves files that nobody knows: they are written down before it. */
static int note_files(struct staging *st, const json_t *files, struct err *err)
{
    size_t i;
    json_t *file;
    int r = 0;
    json_array_foreach(files, i, file) if (r == 0) r = staging_drop(st, json_string_value(file), err);
    return r;
}

static int undo(struct cmd *cmd, struct staging *st, struct catalog *c, int64_t id, json_t **obstacles, json_t **files,
                struct err *err)
{
    _cleanup_json_ json_t *online = NULL, *links = json_object();
    int r = apply_online(cmd->root, &online, err);
    if (r == 0)
        r = catalog_begin(c, err);
    if (r < 0)
        return r;
    r = online_links(c, online, links, err);
    if (r == 0)
        r = import_undo(c, id, obstacles, files, err);
    if (r == 0)
        r = refuse_running(c, online, links, err);
    if (r == 0 && !cmd->is_dry_run)
        r = note_files(st, *files, err);
    if (r < 0 || cmd->is_dry_run)
        catalog_rollback(c);
    return r < 0 || cmd->is_dry_run ? r : catalog_commit(c, err);
}

static void delete_files(struct cmd *cmd, struct staging *st, json_t *files)
{
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        int r = staging_delete_image(cmd->root, json_string_value(file));
        if (r < 0)
            warn_line("the image's file '%s/%s' cannot be deleted: %s", cmd->root, json_string_value(file),
                      strerror(-r));
    }
    staging_keep(st);
}

/* All obstacles on stderr, where there are several, and a last sentence; as JSON all of them in any case. */
static int show_obstacles(struct cmd *cmd, int64_t id, json_t *obstacles, const struct err *err)
{
    size_t i, n = json_array_size(obstacles);
    json_t *text;
    out_set(&cmd->out, "import", json_integer(id));
    out_set(&cmd->out, "is_dry_run", json_boolean(cmd->is_dry_run));
    out_set(&cmd->out, "obstacles", json_incref(obstacles));
    json_array_foreach(obstacles, i, text) if (n > 1) warn_line("%s", json_string_value(text));
    if (n > 1)
        warn_line("import %lld cannot be undone, for the reasons above", (long long)id);
    else
        warn_line("%s", err->msg);
    return EXIT_FAILED;
}

static int run_undo(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *obstacles = NULL, *files = NULL;
    struct staging st;
    int64_t id;
    int r = parse_id(cmd_arg(cmd, 0), &id, err);
    if (r == 0)
        r = migrate_open(cmd, &c, err);
    if (r < 0)
        return r;
    r = cmd->is_dry_run ? 0 : staging_open(&st, cmd->root, err);
    if (r == 0)
        r = undo(cmd, &st, c, id, &obstacles, &files, err);
    if (r == 0 && !cmd->is_dry_run)
        apply_follow(cmd);
    if (r == 0 && !cmd->is_dry_run)
        delete_files(cmd, &st, files);
    if (!cmd->is_dry_run)
        staging_close(&st);
    if (r < 0)
        return json_array_size(obstacles) ? show_obstacles(cmd, id, obstacles, err) : r;
    if (!cmd->is_quiet)
        out_line(&cmd->out, "import %lld was taken back%s", (long long)id,
                 cmd->is_dry_run ? " (dry run: nothing was changed)" : "");
    out_set(&cmd->out, "import", json_integer(id));
    out_set(&cmd->out, "is_dry_run", json_boolean(cmd->is_dry_run));
    return EXIT_DONE;
}

const struct verb cmd_undo_verbs[] = {
    {"", "undo", "ID", "Take an import back",
     "Clients, links and images are as they were before it. Refused when something depends on it: a later import, a\n"
     "client that was edited or keeps its changes, an image that others use. Then it says what.",
     NULL, run_undo, VERB_DRY_RUN},
    {0},
};
