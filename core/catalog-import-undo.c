/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: taking a run back; see catalog-import.h.
 *
 * Obstacles are looked for first and all are named (catalog-import-obstacles.c). Then: changed clients get their old values, new ones go, images go,
 * what was remembered is as it was.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-obstacles.h"
#include "core/catalog-import-priv.h"
#include "core/json.h"
#include "core/util.h"

struct undoing {
    struct catalog *c;
    int64_t run;
    json_t *obstacles, *files;
    struct err *err;
};

/* --- the way back ------------------------------------------------------------------------------------------------- */

static int park_changed(void *arg, sqlite3_stmt *st)
{
    struct undoing *u = arg;
    return import_park_client(u->c, sqlite3_column_int64(st, 0), u->err);
}

static int restore_changed(void *arg, sqlite3_stmt *st)
{
    struct undoing *u = arg;
    struct import_values before, after;
    int64_t id = sqlite3_column_int64(st, 0);
    import_col_values(st, 1, &before);
    import_col_values(st, 2, &after);
    return import_set_client(u->c, id, &after, &before, u->err);
}

/* What was remembered of changed clients goes back, of new ones it goes. */
static const char restore_memory[] =
    "UPDATE import_client SET src = x.src, given = x.given, is_gone = x.was_gone FROM import_change x"
    " WHERE x.run_id = ?1 AND x.was_tracked AND import_client.mac = x.mac"
    " AND import_client.origin = (SELECT origin FROM import_run WHERE id = ?1)";

static int remove_created(struct undoing *u)
{
    char now[TIME_LEN + 1];
    catalog_now(now);
    int r = db_run(u->c,
                   "INSERT INTO garbage (overlay_dir, slot, uuid, created_at)"
                   " SELECT client.overlay_dir, link.slot, overlay.uuid, ?1 FROM import_client t"
                   " JOIN client ON client.id = t.client_id JOIN link ON link.client_id = client.id"
                   " JOIN overlay ON overlay.link_id = link.id WHERE t.run_id = ?2 AND t.is_created",
                   ARGS(T(now), N(u->run)), u->err);
    if (r == 0)
        r = db_run(
            u->c,
            "DELETE FROM client WHERE id IN (SELECT client_id FROM import_client WHERE run_id = ? AND is_created)",
            ARGS(N(u->run)), u->err);
    return r < 0 ? r : db_run(u->c, "DELETE FROM import_client WHERE run_id = ?", ARGS(N(u->run)), u->err);
}

static int note_file(void *arg, sqlite3_stmt *st)
{
    struct undoing *u = arg;
    return json_array_append_new(u->files, json_string((const char *)sqlite3_column_text(st, 0))) < 0 ? -ENOMEM : 0;
}

static int remove_images(struct undoing *u)
{
#define ADDED "(SELECT image_id FROM import_source WHERE image_run_id = ?1 AND is_added)"
    int r = db_each(u->c, "SELECT path FROM version WHERE NOT is_adopted AND image_id IN " ADDED, ARGS(N(u->run)),
                    note_file, u, u->err);
    if (r == 0)
        r = db_run(u->c, "DELETE FROM version WHERE image_id IN " ADDED, ARGS(N(u->run)), u->err);
    if (r == 0)
        r = db_run(u->c, "DELETE FROM image WHERE id IN " ADDED, ARGS(N(u->run)), u->err);
    if (r == 0)
        r = db_run(u->c, "UPDATE import_source SET image_id = 0, image_run_id = 0, is_added = 0 WHERE image_run_id = ?",
                   ARGS(N(u->run)), u->err);
    return r < 0 ? r
                 : db_run(u->c, /* clients of a later run may have these paths, too */
                          "DELETE FROM import_source WHERE run_id = ?1"
                          " AND NOT EXISTS (SELECT 1 FROM import_run WHERE id > ?1 AND NOT is_undone)",
                          ARGS(N(u->run)), u->err);
#undef ADDED
}

struct summary {
    char text[8192];
};

static void fill_summary(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct summary *)row)->text);
}

/* Settings that the run made go back to their defaults, unless somebody set them to something else since. */
static int restore_settings(struct undoing *u)
{
    struct summary *s = calloc(1, sizeof(*s));
    char now[SETTING_LEN + 1];
    const char *key;
    json_t *value;
    if (!s)
        return err_set(u->err, -ENOMEM, "memory is out");
    int r = db_one(u->c, "SELECT ifnull(json_extract(summary, '$.settings'), '{}') FROM import_run WHERE id = ?",
                   ARGS(N(u->run)), fill_summary, s, u->err);
    json_t *settings = r == 0 ? json_loads(s->text, 0, NULL) : NULL;
    free(s);
    json_object_foreach(settings, key, value)
    {
        if (r == 0)
            r = setting_get(u->c, key, now, u->err);
        if (r == 0 && json_is_string(value) && strcmp(now, json_string_value(value)) == 0)
            r = setting_set(u->c, key, NULL, u->err);
    }
    json_decref(settings);
    return r;
}

static int take_back(struct undoing *u)
{
    int r =
        db_each(u->c, "SELECT client_id FROM import_change WHERE run_id = ?", ARGS(N(u->run)), park_changed, u, u->err);
    if (r == 0)
        r = remove_created(u);
    if (r == 0)
        r = db_each(u->c,
                    "SELECT client_id, before, after FROM import_change x JOIN client ON client.id = x.client_id"
                    " WHERE run_id = ?",
                    ARGS(N(u->run)), restore_changed, u, u->err);
    if (r == 0)
        r = db_run(u->c, restore_memory, ARGS(N(u->run)), u->err);
    if (r == 0)
        r = remove_images(u);
    if (r == 0)
        r = restore_settings(u);
    if (r == 0)
        r = db_run(u->c, "DELETE FROM import_change WHERE run_id = ?", ARGS(N(u->run)), u->err);
    return r < 0 ? r : db_run(u->c, "UPDATE import_run SET is_undone = 1 WHERE id = ?", ARGS(N(u->run)), u->err);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int check_run(struct undoing *u)
{
    int64_t is_undone;
    int r = db_number(u->c, "SELECT is_undone FROM import_run WHERE id = ?", ARGS(N(u->run)), &is_undone, u->err);
    if (r == -ENOENT)
        return err_set(u->err, r, "there was no import %lld: 'diskgate log' shows the imports and their numbers",
                       (long long)u->run);
    if (r == 0 && is_undone)
        return err_set(u->err, -ENOENT, "import %lld was undone already", (long long)u->run);
    return r;
}

struct origin {
    char text[16];
};

static void fill_origin(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct origin *)row)->text);
}

static int unpack(struct undoing *u)
{
    struct origin o;
    int r = db_one(u->c, "SELECT origin FROM import_run WHERE id = ?", ARGS(N(u->run)), fill_origin, &o, u->err);
    return r < 0 ? r : import_unpack_origin(u->c, o.text, u->err);
}

/* How much is taken back, for the audit row. */
static int count(struct undoing *u, json_t *ret)
{
    static const char *const what[][2] = {
        {"removed_clients", "SELECT count(*) FROM client WHERE id IN"
                            " (SELECT client_id FROM import_client WHERE run_id = ? AND is_created)"},
        {"changed_clients", "SELECT count(*) FROM import_change JOIN client ON client.id = client_id WHERE run_id = ?"},
        {"removed_images", "SELECT count(*) FROM image WHERE id IN"
                           " (SELECT image_id FROM import_source WHERE image_run_id = ? AND is_added)"},
    };
    int64_t n = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(what); i++) {
        r = db_number(u->c, what[i][1], ARGS(N(u->run)), &n, u->err);
        (void)json_object_set_new(ret, what[i][0], json_integer(n)); /* without memory the row says less */
    }
    return r;
}

static int undo_steps(struct undoing *u)
{
    _cleanup_json_ json_t *counts = json_object();
    char object[64];
    int r = check_run(u);
    if (r == 0)
        r = unpack(u);
    if (r == 0)
        r = import_find_obstacles(u->c, u->run, u->obstacles, u->err);
    if (r < 0)
        return r;
    if (json_array_size(u->obstacles))
        return err_set(u->err, -EBUSY, "import %lld cannot be undone: %s", (long long)u->run,
                       json_string_value(json_array_get(u->obstacles, 0)) ?: "something depends on it");
    r = count(u, counts);
    if (r < 0)
        return r;
    u->c->is_audit_off = true;
    r = take_back(u);
    u->c->is_audit_off = false;
    (void)snprintf(object, sizeof(object), "import %lld", (long long)u->run);
    return r < 0 ? r : audit_add(u->c, "import undo", object, NULL, json_incref(counts), u->err);
}

int import_undo(struct catalog *c, int64_t id, json_t **ret_obstacles, json_t **ret_files, struct err *err)
{
    struct undoing u = {.c = c, .run = id, .obstacles = json_array(), .files = json_array(), .err = err};
    int r = AS_WRITER(c, err, undo_steps(&u));
    *ret_obstacles = u.obstacles;
    *ret_files = u.files;
    return r;
}
