/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: taking a run back; see catalog-import.h.
 *
 *   obstacles are looked for first and all are named:
 *     a later run that is not undone
 *     a client of the run that was edited since, or writes kept changes
 *     an image of the run that others use or that has more versions
 *   then: changed clients get their old values, new ones go, images go, what was remembered is as it was
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define OBSTACLES_MAX 50

struct undoing {
    struct catalog *c;
    int64_t run;
    json_t *obstacles, *files;
    size_t more;
    struct err *err;
};

static void obstacle(struct undoing *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void obstacle(struct undoing *u, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (json_array_size(u->obstacles) >= OBSTACLES_MAX) {
        u->more++;
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* names are short */
    va_end(ap);
    (void)json_array_append_new(u->obstacles,
                                json_string(text)); /* without memory the list is shorter, but not empty: see finish */
}

/* --- obstacles ---------------------------------------------------------------------------------------------------- */

static int later_run(void *arg, sqlite3_stmt *st)
{
    obstacle(arg, "import %lld came later and builds on it: undo that one first",
             (long long)sqlite3_column_int64(st, 0));
    return 0;
}

/* What differs between two states, in words; empty when nothing does. */
static void name_difference(const struct import_values *a, const struct import_values *b, char *ret, size_t size)
{
    size_t n = 0;
    ret[0] = 0;
    for (int i = 0; i < IMPORT_FIELDS; i++)
        if (strcmp(a->f[i], b->f[i]) != 0 && n < size)
            n += (size_t)snprintf(ret + n, size - n, "%s%s", n ? ", " : "", import_field_name((enum import_field)i));
}

static int check_state(struct undoing *u, int64_t id, const struct import_values *left)
{
    struct import_values now;
    char fields[128];
    int r = import_now(u->c, id, left->f[IMPORT_IMAGES], &now, u->err);
    if (r == -ENOENT) {
        obstacle(u, "client '%s' was removed here since", left->f[IMPORT_NAME]);
        return 0;
    }
    if (r < 0)
        return r;
    name_difference(&now, left, fields, sizeof(fields));
    if (*fields)
        obstacle(u, "client '%s' was edited here since (%s)", now.f[IMPORT_NAME], fields);
    return 0;
}

static int check_changed(void *arg, sqlite3_stmt *st)
{
    struct import_values after;
    import_col_values(st, 1, &after);
    return check_state(arg, sqlite3_column_int64(st, 0), &after);
}

/* A client that the run made: as it was given, volatile, with its own MAC. */
static int check_created(void *arg, sqlite3_stmt *st)
{
    struct undoing *u = arg;
    struct import_values given;
    import_col_values(st, 1, &given);
    if (sqlite3_column_type(st, 2) == SQLITE_NULL) /* removed here since: nothing is left to take back */
        return 0;
    if (strcmp((const char *)sqlite3_column_text(st, 2), "volatile") != 0)
        obstacle(u, "client '%s' keeps its changes since (mode %s)", given.f[IMPORT_NAME],
                 (const char *)sqlite3_column_text(st, 2));
    if (!sqlite3_column_int(st, 3))
        obstacle(u, "client '%s' got another MAC since", given.f[IMPORT_NAME]);
    return check_state(u, sqlite3_column_int64(st, 0), &given);
}

static int check_image(void *arg, sqlite3_stmt *st)
{
    struct undoing *u = arg;
    const char *name = (const char *)sqlite3_column_text(st, 0);
    if (sqlite3_column_int64(st, 1) > 1)
        obstacle(u, "image '%s' has new versions since", name);
    if (sqlite3_column_int64(st, 2) > 0)
        obstacle(u, "image '%s' is linked to client '%s', which this import did not link to it", name,
                 (const char *)sqlite3_column_text(st, 3));
    return 0;
}

static const char images_to_check[] =
    "SELECT image.name, (SELECT count(*) FROM version WHERE image_id = image.id), count(client.id), min(client.name)"
    " FROM import_source s JOIN image ON image.id = s.image_id"
    " LEFT JOIN link ON link.image_id = image.id"
    "   AND NOT EXISTS (SELECT 1 FROM import_client t WHERE t.run_id = ?1 AND t.client_id = link.client_id)"
    "   AND NOT EXISTS (SELECT 1 FROM import_change x WHERE x.run_id = ?1 AND x.client_id = link.client_id)"
    " LEFT JOIN client ON client.id = link.client_id"
    " WHERE s.image_run_id = ?1 AND s.is_added GROUP BY image.id";

/* A later run that found nothing new builds on nothing. */
static const char later_runs[] =
    "SELECT id FROM import_run r WHERE id > ? AND NOT is_undone"
    " AND (EXISTS (SELECT 1 FROM import_client WHERE run_id = r.id)"
    "   OR EXISTS (SELECT 1 FROM import_pack WHERE run_id = r.id)"
    "   OR EXISTS (SELECT 1 FROM import_change WHERE run_id = r.id)"
    "   OR EXISTS (SELECT 1 FROM import_source WHERE run_id = r.id OR image_run_id = r.id))"
    " ORDER BY id DESC";

static int find_obstacles(struct undoing *u)
{
    int r = db_each(u->c, later_runs, ARGS(N(u->run)), later_run, u, u->err);
    if (r == 0)
        r = db_each(u->c, "SELECT client_id, after FROM import_change WHERE run_id = ?", ARGS(N(u->run)), check_changed,
                    u, u->err);
    if (r == 0)
        r = db_each(u->c,
                    "SELECT t.client_id, t.given, client.mode, client.mac = t.mac FROM import_client t"
                    " LEFT JOIN client ON client.id = t.client_id WHERE t.run_id = ? AND is_created",
                    ARGS(N(u->run)), check_created, u, u->err);
    if (r == 0)
        r = db_each(u->c, images_to_check, ARGS(N(u->run)), check_image, u, u->err);
    return r;
}

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
    return r < 0 ? r : db_run(u->c, "DELETE FROM import_source WHERE run_id = ?", ARGS(N(u->run)), u->err);
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
        r = db_each(u->c, "SELECT client_id, before, after FROM import_change WHERE run_id = ?", ARGS(N(u->run)),
                    restore_changed, u, u->err);
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

static int undo_steps(struct undoing *u)
{
    char object[64];
    int r = check_run(u);
    if (r == 0)
        r = unpack(u);
    if (r == 0)
        r = find_obstacles(u);
    if (r < 0)
        return r;
    if (u->more)
        (void)json_array_append_new(u->obstacles, json_sprintf("and %zu more", u->more)); /* only a count */
    if (json_array_size(u->obstacles))
        return err_set(u->err, -EBUSY, "import %lld cannot be undone: %s", (long long)u->run,
                       json_string_value(json_array_get(u->obstacles, 0)) ?: "something depends on it");
    u->c->is_audit_off = true;
    r = take_back(u);
    u->c->is_audit_off = false;
    (void)snprintf(object, sizeof(object), "import %lld", (long long)u->run);
    return r < 0 ? r : audit_add(u->c, "import undo", object, NULL, json_object(), u->err);
}

int import_undo(struct catalog *c, int64_t id, json_t **ret_obstacles, json_t **ret_files, struct err *err)
{
    struct undoing u = {.c = c, .run = id, .obstacles = json_array(), .files = json_array(), .err = err};
    int r = AS_WRITER(c, err, undo_steps(&u));
    *ret_obstacles = u.obstacles;
    *ret_files = u.files;
    return r;
}
