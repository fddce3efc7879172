/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verbs of images that need the catalog only: list, show, versions, rename, remove. The others are in cmd-image-add.c,
 * cmd-image-check.c and cmd-image-repair.c.
 */
#include "gateway/cmd-image.h"

#include <string.h>
#include <strings.h>

#include "core/catalog.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/change.h"
#include "gateway/cmd.h"
#include "gateway/copy.h"
#include "gateway/inventory.h"
#include "gateway/version-file.h"

/* --- rows -------------------------------------------------------------------------------------------------------- */

static json_t *version_json(struct cmd *cmd, const struct version_row *v)
{
    char path[PATH_MAX] = "";
    struct err err;
    (void)version_path(cmd->root, v, path, &err); /* a path that is too long is shown as none */
    return json_pack("{s:I, s:s, s:o, s:b, s:I, s:I, s:s, s:s, s:o, s:o, s:s}", "version", (json_int_t)v->number,
                     "format", v->format, "path", out_string(path), "is_adopted", v->is_adopted, "size_bytes",
                     (json_int_t)v->size_bytes, "file_bytes", (json_int_t)v->file_bytes, "state",
                     version_state(cmd->root, v), "identity", v->identity, "full_hash",
                     v->full_hash[0] ? json_string(v->full_hash) : json_null(), "comment", out_string(v->comment),
                     "created_at", v->created_at);
}

static int versions_json(struct cmd *cmd, struct catalog *c, const char *image, json_t **ret, struct err *err)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t n = 0;
    int r = version_list(c, image, &rows, &n, err);
    if (r < 0)
        return r;
    *ret = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(*ret, version_json(cmd, &rows[i]));
    return 0;
}

/* Names of the clients that are linked to @image, each once. */
static json_t *users_json(json_t *links, const char *image)
{
    json_t *ret = json_array(), *row;
    size_t i;
    json_array_foreach(links, i, row)
    {
        json_t *client = json_object_get(row, "client"), *last = json_array_get(ret, json_array_size(ret) - 1);
        const char *name = json_string_value(json_object_get(row, "image"));
        if (name && strcasecmp(name, image) == 0 && !(last && json_equal(last, client)))
            (void)json_array_append(ret, client);
    }
    return ret;
}

static int image_json(struct cmd *cmd, struct catalog *c, const struct image_row *i, json_t *links, json_t **ret,
                      struct err *err)
{
    json_t *versions = NULL;
    int r = versions_json(cmd, c, i->name, &versions, err);
    if (r < 0)
        return r;
    json_t *current = NULL, *v;
    size_t k;
    json_array_foreach(versions, k, v) if (json_integer_value(json_object_get(v, "version")) == i->current) current = v;
    *ret = json_pack("{s:s, s:s, s:b, s:I, s:I, s:O?, s:O?, s:O?, s:o, s:o, s:o, s:s}", "name", i->name, "kind",
                     i->is_data ? "data" : "boot", "is_hidden", i->is_hidden, "ram_cache_bytes",
                     (json_int_t)i->ram_cache_bytes, "current_version", (json_int_t)i->current, "size_bytes",
                     json_object_get(current, "size_bytes"), "format", json_object_get(current, "format"), "state",
                     json_object_get(current, "state"), "clients", users_json(links, i->name), "versions", versions,
                     "comment", out_string(i->comment), "created_at", i->created_at);
    return 0;
}

/* --- list, show, versions ---------------------------------------------------------------------------------------- */

static const struct column version_columns[] = {
    {"version", "VERSION", COL_NUMBER},  {"format", "FORMAT", COL_TEXT},
    {"size_bytes", "SIZE", COL_SIZE},    {"file_bytes", NULL, COL_SIZE},
    {"state", "STATE", COL_TEXT},        {"is_adopted", "ADOPTED", COL_YES},
    {"path", "PATH", COL_TEXT},          {"identity", NULL, COL_TEXT},
    {"full_hash", NULL, COL_TEXT},       {"comment", "COMMENT", COL_TEXT, true},
    {"created_at", "CREATED", COL_TEXT}, {0}};

static const struct column image_columns[] = {{"name", "NAME", COL_TEXT},
                                              {"kind", "KIND", COL_TEXT},
                                              {"is_hidden", "HIDDEN", COL_YES, true},
                                              {"current_version", "VERSION", COL_NUMBER},
                                              {"format", NULL, COL_TEXT},
                                              {"size_bytes", "SIZE", COL_SIZE},
                                              {"clients", "CLIENTS", COL_COUNT},
                                              {"state", "STATE", COL_TEXT},
                                              {"comment", "COMMENT", COL_TEXT, true},
                                              {"created_at", NULL, COL_TEXT},
                                              {0}};

static const struct column image_fields[] = {{"name", "Name", COL_TEXT},
                                             {"kind", "Kind", COL_TEXT},
                                             {"is_hidden", "Hidden", COL_YES},
                                             {"ram_cache_bytes", NULL, COL_NUMBER},
                                             {"comment", "Comment", COL_TEXT},
                                             {"current_version", "Current version", COL_NUMBER},
                                             {"format", "Format", COL_TEXT},
                                             {"size_bytes", "Size", COL_SIZE},
                                             {"state", "State", COL_TEXT},
                                             {"path", "File", COL_TEXT},
                                             {"identity", "Identity", COL_TEXT},
                                             {"full_hash", "Full hash", COL_TEXT},
                                             {"clients", "Clients", COL_COUNT},
                                             {"created_at", "Added", COL_TEXT},
                                             {0}};

static int run_list(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct image_row *rows = NULL;
    _cleanup_json_ json_t *links = NULL, *list = json_array();
    size_t n = 0;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = catalog_begin_read(c, err);
    if (r == 0)
        r = image_list(c, &rows, &n, err);
    if (r == 0)
        r = link_rows(c, NULL, &links, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        json_t *row = NULL;
        r = image_json(cmd, c, &rows[i], links, &row, err);
        (void)json_array_append_new(list, row);
    }
    if (r < 0)
        return r;
    out_table(&cmd->out, "images", image_columns, list, "no images yet; add one with 'diskgate image add NAME FILE'");
    return EXIT_DONE;
}

static int run_versions(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_json_ json_t *list = NULL;
    struct image_row i;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = image_get(c, cmd_arg(cmd, 0), &i, err);
    if (r == 0)
        r = versions_json(cmd, c, i.name, &list, err);
    if (r < 0)
        return r;
    out_set(&cmd->out, "image", out_string(i.name));
    out_set(&cmd->out, "current_version", json_integer(i.current));
    out_table(&cmd->out, "versions", version_columns, list, "no versions");
    return EXIT_DONE;
}

static const struct column image_link_columns[] = {{"client", "CLIENT", COL_TEXT},
                                                   {"slot", "SLOT", COL_NUMBER},
                                                   {"mode", "MODE", COL_TEXT},
                                                   {"shown", "LINK", COL_SHOWN},
                                                   {"pinned_version", NULL, COL_NUMBER},
                                                   {"current_version", NULL, COL_NUMBER},
                                                   {"overlay_version", NULL, COL_NUMBER},
                                                   {0}};

/* Copy what only the current version knows into the image's own row. */
static void add_current(json_t *row)
{
    json_t *v, *versions = json_object_get(row, "versions");
    const char *const keys[] = {"path", "identity", "full_hash"};
    size_t i;
    json_array_foreach(versions, i, v) for (size_t k = 0; k < ARRAY_SIZE(keys);
                                            k++) if (json_equal(json_object_get(v, "version"),
                                                                json_object_get(row, "current_version")))(void)
        json_object_set(row, keys[k], json_object_get(v, keys[k]));
}

static const struct column memory_columns[] = {{"version", "VERSION", COL_NUMBER},
                                               {"boots", "BOOTS", COL_NUMBER},
                                               {"boot_bytes", "BOOT SET", COL_SIZE},
                                               {"ram_bytes", "IN RAM", COL_SIZE},
                                               {"hits", "HITS", COL_NUMBER},
                                               {"misses", "MISSES", COL_NUMBER},
                                               {"read_bytes", "READ", COL_SIZE},
                                               {"read_bytes_per_s", "A SECOND", COL_SIZE},
                                               {"saved", "SAVED", COL_SHOWN},
                                               {"saved_s", NULL, COL_JSON},
                                               {0}};

/* What the data plane knows of the image's versions: what clients read when they boot, and what of it is in RAM. */
static void print_memory(struct cmd *cmd, const char *image)
{
    _cleanup_json_ json_t *all = fs_images(cmd->root), *own = rows_where(all, "image", image);
    json_t *row;
    size_t i;
    json_array_foreach(own, i, row)(void) json_object_set_new(
        row, "saved", json_sprintf("%.1f s", json_number_value(json_object_get(row, "saved_s")))); /* shown only */
    if (json_array_size(own))
        out_line(&cmd->out, "%s", "");
    out_table(&cmd->out, "memory", memory_columns, own, NULL);
}

int image_print(struct cmd *cmd, struct catalog *c, const char *name, struct err *err)
{
    _cleanup_json_ json_t *links = NULL, *own = NULL, *row = NULL;
    struct image_row i;
    int r = image_get(c, name, &i, err);
    if (r == 0)
        r = link_rows(c, NULL, &links, err);
    if (r == 0)
        r = image_json(cmd, c, &i, links, &row, err);
    if (r < 0)
        return r;
    own = rows_where(links, "image", i.name);
    add_current(row);
    out_fields(&cmd->out, image_fields, row);
    out_line(&cmd->out, "%s", "");
    out_table(&cmd->out, "versions", version_columns, json_object_get(row, "versions"), "no versions");
    if (json_array_size(own))
        out_line(&cmd->out, "%s", "");
    out_table(&cmd->out, "links", image_link_columns, own, NULL);
    print_memory(cmd, i.name);
    return 0;
}

static int run_show(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = read_open(cmd, &c, err);
    if (r == 0)
        r = catalog_begin_read(c, err);
    return r < 0 ? r : image_print(cmd, c, cmd_arg(cmd, 0), err);
}

/* --- rename, remove ---------------------------------------------------------------------------------------------- */

static int run_rename(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char thing[NAME_LEN + 16];
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = image_rename(c, cmd_arg(cmd, 0), cmd_arg(cmd, 1), err);
    if (r < 0)
        return r;
    (void)snprintf(thing, sizeof(thing), "image %s", cmd_arg(cmd, 1));
    return change_done(cmd, c, thing, err, "image '%s' is now called '%s'", cmd_arg(cmd, 0), cmd_arg(cmd, 1));
}

/* Files of our own below ROOT/images go; what belongs to the administrator is never touched. */
static int remove_files(struct cmd *cmd, const struct version_row *rows, size_t n)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].is_adopted || rows[i].path[0] == '/')
            continue;
        int r = image_copy_remove(cmd->root, rows[i].path);
        if (r == 0)
            continue;
        warn_line("the image is removed, but its file '%s/%s' cannot be deleted: %s", cmd->root, rows[i].path,
                  strerror(-r));
        status = EXIT_FAILED;
    }
    return status;
}

static int run_remove(struct cmd *cmd, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    _cleanup_free_ struct version_row *rows = NULL;
    char thing[NAME_LEN + 16];
    struct image_row i;
    size_t n = 0;
    int r = change_open(cmd, &c, err);
    if (r == 0)
        r = image_get(c, cmd_arg(cmd, 0), &i, err);
    if (r == 0)
        r = version_list(c, i.name, &rows, &n, err);
    if (r == 0)
        r = image_remove(c, i.name, err);
    if (r < 0)
        return r;
    bool keeps_file = n > 0 && rows[0].is_adopted;
    (void)snprintf(thing, sizeof(thing), "image %s", i.name);
    r = change_done(cmd, c, thing, err, "image '%s' was removed%s%s", i.name, keeps_file ? "; its file stays: " : "",
                    keeps_file ? rows[0].path : "");
    if (r >= 0 && !cmd->is_dry_run && remove_files(cmd, rows, n) != EXIT_DONE)
        r = EXIT_FAILED;
    return r;
}

const struct verb cmd_image_verbs[] = {
    {"image", "list", "", "List the images", "STATE looks at size and time of the file only; 'image check' reads it.",
     NULL, run_list},
    {"image", "show", "NAME", "Show all about one image", NULL, NULL, run_show},
    {"image", "versions", "NAME", "List the versions of an image", NULL, NULL, run_versions},
    {"image", "rename", "OLD NEW", "Give an image another name", NULL, NULL, run_rename, VERB_DRY_RUN},
    {"image", "remove", "NAME", "Remove an image that no client uses",
     "The file is deleted only if 'image add --copy' made it; an adopted file stays where it lies.", NULL, run_remove,
     VERB_DRY_RUN},
    {0},
};
