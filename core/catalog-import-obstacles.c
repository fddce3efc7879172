/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: what a run's undo would take away from under somebody; see catalog-import.h.
 *
 *   a later run that is not undone and that found something
 *   a client of the run that was edited since, or keeps changes over disks that go
 *   a name, an address or an image that a changed client had and cannot have again
 *   an image of the run that others use, that has more versions, or that a setting names
 *
 * A client that was removed since is no obstacle: nothing is left of it to take back.
 */
#include "core/catalog-import-obstacles.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define OBSTACLES_MAX 50
#define WAY_OUT_KEPT  "set it to volatile, which drops them"

struct looking {
    struct catalog *c;
    int64_t run;
    json_t *obstacles;
    size_t n, more;
    struct err *err;
};

static void obstacle(struct looking *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void obstacle(struct looking *u, const char *fmt, ...)
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
    u->n++;
    (void)json_array_append_new(u->obstacles, json_string(text)); /* they are counted */
}

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

static int check_state(struct looking *u, int64_t id, const struct import_values *left, bool is_created)
{
    struct import_values now;
    char fields[128];
    int r = import_now(u->c, id, left->f[IMPORT_IMAGES], &now, u->err);
    if (r < 0)
        return r;
    name_difference(&now, left, fields, sizeof(fields));
    if (*fields)
        obstacle(u, "client '%s' was edited here since (%s): %s", now.f[IMPORT_NAME], fields,
                 is_created ? "set it back, or remove it" : "set it back");
    return 0;
}

/* Who else has the value now that a changed client had before. Clients of the run give theirs back first. */
static const char holder_of_name[] =
    "SELECT name FROM client WHERE name = ?1 AND id NOT IN (SELECT client_id FROM import_change WHERE run_id = ?2)"
    " AND id NOT IN (SELECT client_id FROM import_client WHERE run_id = ?2 AND is_created)";
static const char holder_of_ip[] =
    "SELECT name FROM client WHERE ip = ?1 AND ip <> ''"
    " AND id NOT IN (SELECT client_id FROM import_change WHERE run_id = ?2)"
    " AND id NOT IN (SELECT client_id FROM import_client WHERE run_id = ?2 AND is_created)";

struct holder {
    char name[NAME_LEN + 1];
};

static void fill_holder(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct holder *)row)->name);
}

static int check_taken(struct looking *u, enum import_field f, const struct import_values *before,
                       const struct import_values *after)
{
    struct holder h;
    if (strcmp(before->f[f], after->f[f]) == 0)
        return 0;
    int r = db_one(u->c, f == IMPORT_NAME ? holder_of_name : holder_of_ip, ARGS(T(before->f[f]), N(u->run)),
                   fill_holder, &h, u->err);
    if (r == 0)
        obstacle(u, "client '%s' had the %s '%s', which client '%s' has now: give that one another",
                 after->f[IMPORT_NAME], f == IMPORT_NAME ? "name" : "address", before->f[f], h.name);
    return r == -ENOENT ? 0 : r;
}

/* Images of disks that a changed client had before. */
static int check_old_disks(struct looking *u, const struct import_values *before, const struct import_values *after)
{
    struct import_link link;
    int64_t n = 1;
    int r = 0;
    if (strcmp(before->f[IMPORT_LINKS], after->f[IMPORT_LINKS]) == 0)
        return 0;
    for (const char *p = before->f[IMPORT_LINKS]; r == 0 && n > 0 && import_next_link(&p, &link);)
        r = db_number(u->c, "SELECT count(*) FROM image WHERE id = ?", ARGS(N(link.image_id)), &n, u->err);
    if (r == 0 && n == 0)
        obstacle(u,
                 "client '%s' had a disk from an image that was removed here since: it cannot have it again; "
                 "remove that client, or link it by hand and keep the import",
                 after->f[IMPORT_NAME]);
    return r;
}

/* A client that the run changed. Its old disks come back, which would drop what it keeps over those of the run. */
static int check_changed(void *arg, sqlite3_stmt *st)
{
    struct looking *u = arg;
    struct import_values before, after;
    import_col_values(st, 1, &before);
    import_col_values(st, 2, &after);
    const char *mode = (const char *)sqlite3_column_text(st, 3);
    if (!mode) /* removed here since: nothing is left to take back */
        return 0;
    if (strcmp(mode, "volatile") != 0 && strcmp(before.f[IMPORT_LINKS], after.f[IMPORT_LINKS]) != 0)
        obstacle(u, "client '%s' keeps its changes (mode %s) over disks that the import gave it: " WAY_OUT_KEPT,
                 after.f[IMPORT_NAME], mode);
    int r = check_taken(u, IMPORT_NAME, &before, &after);
    if (r == 0)
        r = check_taken(u, IMPORT_IP, &before, &after);
    if (r == 0)
        r = check_old_disks(u, &before, &after);
    return r < 0 ? r : check_state(u, sqlite3_column_int64(st, 0), &after, false);
}

/* A client that the run made: as it was given, volatile, with its own MAC. */
static int check_created(void *arg, sqlite3_stmt *st)
{
    struct looking *u = arg;
    struct import_values given;
    import_col_values(st, 1, &given);
    if (sqlite3_column_type(st, 2) == SQLITE_NULL) /* removed here since: nothing is left to take back */
        return 0;
    if (strcmp((const char *)sqlite3_column_text(st, 2), "volatile") != 0)
        obstacle(u, "client '%s' keeps its changes (mode %s): " WAY_OUT_KEPT, given.f[IMPORT_NAME],
                 (const char *)sqlite3_column_text(st, 2));
    if (!sqlite3_column_int(st, 3))
        obstacle(u, "client '%s' got another MAC since: set it back, or remove it", given.f[IMPORT_NAME]);
    return check_state(u, sqlite3_column_int64(st, 0), &given, true);
}

static int check_image(void *arg, sqlite3_stmt *st)
{
    struct looking *u = arg;
    const char *name = (const char *)sqlite3_column_text(st, 0);
    if (sqlite3_column_int64(st, 1) > 1)
        obstacle(u, "image '%s' has new versions since, which would be lost", name);
    if (sqlite3_column_int64(st, 2) > 0)
        obstacle(u,
                 "image '%s' is linked to client '%s', which this import did not link to it: unlink it, or undo the "
                 "import that did",
                 name, (const char *)sqlite3_column_text(st, 3));
    return 0;
}

static const char images_to_check[] =
    "SELECT image.name, (SELECT count(*) FROM version WHERE image_id = image.id), count(client.id), min(client.name)"
    " FROM import_source s JOIN image ON image.id = s.image_id"
    " LEFT JOIN link ON link.image_id = image.id"
    "   AND NOT EXISTS (SELECT 1 FROM import_client t WHERE t.run_id = ?1 AND t.client_id = link.client_id"
    "     AND t.is_created)"
    "   AND NOT EXISTS (SELECT 1 FROM import_change x WHERE x.run_id = ?1 AND x.client_id = link.client_id)"
    " LEFT JOIN client ON client.id = link.client_id"
    " WHERE s.image_run_id = ?1 AND s.is_added GROUP BY image.id";

/* A later run builds on this one where it changed or met clients that this one made or changed, or where it found the file of a path that this one
 * knew. One of other clients does not. */
#define CLIENTS_OF_RUN                                                                                                 \
    "(SELECT client_id FROM import_client WHERE run_id = ?1 UNION SELECT client_id FROM import_change WHERE run_id = " \
    "?1)"
static const char later_runs[] =
    "SELECT id FROM import_run r WHERE id > ?1 AND NOT is_undone"
    " AND (EXISTS (SELECT 1 FROM import_client WHERE run_id = r.id AND client_id IN " CLIENTS_OF_RUN ")"
    "   OR EXISTS (SELECT 1 FROM import_change WHERE run_id = r.id AND client_id IN " CLIENTS_OF_RUN ")"
    "   OR EXISTS (SELECT 1 FROM import_source WHERE run_id = ?1 AND image_run_id = r.id))"
    " ORDER BY id DESC";

/* Settings that name an image (IMAGE or IMAGE@VERSION) or a client of the run. */
static int check_setting(struct looking *u, const char *key, const char *noun, const char *sql)
{
    char value[SETTING_LEN + 1];
    int64_t n = 0;
    int r = setting_get(u->c, key, value, u->err);
    value[r < 0 ? 0 : strcspn(value, "@")] = 0;
    if (r == 0 && *value)
        r = db_number(u->c, sql, ARGS(T(value), N(u->run)), &n, u->err);
    if (r == 0 && n > 0)
        obstacle(u, "the setting %s names the %s '%s', which the import made: 'diskgate set %s' changes it", key, noun,
                 value, key);
    return r;
}

static int check_settings(struct looking *u)
{
    int r = check_setting(u, "clients.template_client", "client",
                          "SELECT count(*) FROM client WHERE name = ?1 AND id IN"
                          " (SELECT client_id FROM import_client WHERE run_id = ?2 AND is_created)");
    return r < 0 ? r
                 : check_setting(u, "clients.template_image", "image",
                                 "SELECT count(*) FROM image WHERE name = ?1 AND id IN"
                                 " (SELECT image_id FROM import_source WHERE image_run_id = ?2 AND is_added)");
}

static int look(struct looking *u)
{
    int r = db_each(u->c, later_runs, ARGS(N(u->run)), later_run, u, u->err);
    if (r == 0)
        r = db_each(u->c,
                    "SELECT client_id, before, after, client.mode FROM import_change x"
                    " LEFT JOIN client ON client.id = x.client_id WHERE run_id = ?",
                    ARGS(N(u->run)), check_changed, u, u->err);
    if (r == 0)
        r = db_each(u->c,
                    "SELECT t.client_id, t.given, client.mode, client.mac = t.mac FROM import_client t"
                    " LEFT JOIN client ON client.id = t.client_id WHERE t.run_id = ? AND is_created",
                    ARGS(N(u->run)), check_created, u, u->err);
    if (r == 0)
        r = db_each(u->c, images_to_check, ARGS(N(u->run)), check_image, u, u->err);
    return r < 0 ? r : check_settings(u);
}

int import_find_obstacles(struct catalog *c, int64_t run, json_t *ret, struct err *err)
{
    struct looking u = {.c = c, .run = run, .obstacles = ret, .err = err};
    int r = look(&u);
    if (r == 0 && json_array_size(ret) < u.n)
        return err_set(err, -ENOMEM, "memory is out");
    if (r == 0 && u.more)
        (void)json_array_append_new(ret, json_sprintf("and %zu more", u.more)); /* only a count */
    return r;
}
