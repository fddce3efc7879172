/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the plan becomes clients and links; see catalog-import.h.
 *
 *   what is in the way is parked -> gone clients get their other names -> known clients are changed -> new ones are added
 *   -> what the next import and an undo need
 *
 * New clients are inserted by statements of their own (catalog-import-new.c), all others are changed by the writers of the catalog.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

/* --- links as text ------------------------------------------------------------------------------------------------ */

bool import_next_link(const char **p, struct import_link *ret)
{
    const char *start = *p;
    char *end;
    ret->slot = (unsigned)strtoul(start, &end, 10);
    ret->image_id = *end == ':' ? strtoll(end + 1, &end, 10) : 0;
    ret->pinned = *end == '@' ? (uint32_t)strtoul(end + 1, &end, 10) : 0;
    *p = end + (*end == ',');
    return end > start;
}

static bool find_slot(const char *links, unsigned slot, struct import_link *ret)
{
    while (import_next_link(&links, ret))
        if (ret->slot == slot)
            return true;
    return false;
}

/* --- one client that is here -------------------------------------------------------------------------------------- */

int import_park_client(struct catalog *c, int64_t client_id, struct err *err)
{
    char id[UUID_LEN + 1], name[NAME_LEN + 1];
    int r = uuid_new(id);
    if (r < 0)
        return err_sys(err, r, "cannot get random bytes");
    (void)snprintf(name, sizeof(name), "parked-%s", id);
    return db_run(c, "UPDATE client SET name = ?, ip = '' WHERE id = ?", ARGS(T(name), N(client_id)), err);
}

struct image_name {
    char name[NAME_LEN + 1];
};

static void fill_image(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct image_name *)row)->name);
}

static int set_links(struct catalog *c, const char *client, const char *now, const char *want, struct err *err)
{
    struct import_link link, other;
    int r = 0;
    for (const char *p = now; r == 0 && import_next_link(&p, &link);)
        if (!find_slot(want, link.slot, &other))
            r = link_remove(c, client, link.slot, err);
    for (const char *p = want; r == 0 && import_next_link(&p, &link);) {
        struct image_name image;
        if (find_slot(now, link.slot, &other) && other.image_id == link.image_id && other.pinned == link.pinned)
            continue;
        r = db_one(c, "SELECT name FROM image WHERE id = ?", ARGS(N(link.image_id)), fill_image, &image, err);
        if (r == -ENOENT)
            return err_set(err, r, "an image that client '%s' was linked to is not here any more", client);
        if (r == 0)
            r = link_set(c, client, link.slot, image.name, link.pinned, err);
    }
    return r;
}

int import_set_client(struct catalog *c, int64_t client_id, const struct import_values *now,
                      const struct import_values *want, struct err *err)
{
    int r = db_run(c,
                   "UPDATE client SET name = ?, ip = ?, netmask = ?, gateway = ?, dns = ?, \"group\" = ?, comment = ?,"
                   " is_disabled = ? WHERE id = ?",
                   ARGS(T(want->f[IMPORT_NAME]), T(want->f[IMPORT_IP]), T(want->f[IMPORT_NETMASK]),
                        T(want->f[IMPORT_GATEWAY]), T(want->f[IMPORT_DNS]), T(want->f[IMPORT_GROUP]),
                        T(want->f[IMPORT_COMMENT]), N(want->f[IMPORT_DISABLED][0] != 0), N(client_id)),
                   err);
    if (r < 0 || strcmp(now->f[IMPORT_LINKS], want->f[IMPORT_LINKS]) == 0)
        return r;
    return set_links(c, want->f[IMPORT_NAME], now->f[IMPORT_LINKS], want->f[IMPORT_LINKS], err);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

struct applying {
    struct import *im;
    struct err *err;
};

static int park_gone(void *arg, sqlite3_stmt *st)
{
    const struct applying *a = arg;
    return import_park_client(a->im->c, sqlite3_column_int64(st, 0), a->err);
}

static int park_row(void *arg, const struct import_planned *row, struct err *err)
{
    const struct applying *a = arg;
    bool is_in_the_way = row->client_id && (row->needs & (IMPORT_NEEDS_NAME | IMPORT_NEEDS_IP));
    return is_in_the_way ? import_park_client(a->im->c, row->client_id, err) : 0;
}

static int park(struct applying *a)
{
    int r = a->im->is_all_new ? 0 : import_each_planned(a->im, park_row, a, a->err);
    if (r == 0)
        r = db_each(a->im->c, "SELECT client_id FROM import_gone WHERE new_name <> '' OR loses_ip", ARGS(), park_gone,
                    a, a->err);
    return r;
}

/* The state before and after, for an undo. */
static int note_change(struct import *im, int64_t client_id, const char *mac, const char *before, const char *after,
                       struct err *err)
{
    return import_run_kept(im,
                           "INSERT INTO import_change (run_id, client_id, mac, before, after, was_tracked, src, given,"
                           " was_gone) SELECT ?1, ?2, ?3, ?4, ?5, t.mac IS NOT NULL, ifnull(t.src, ''),"
                           " ifnull(t.given, ''), ifnull(t.is_gone, 0) FROM (SELECT ?3 AS mac) x"
                           " LEFT JOIN import_client t ON t.mac = x.mac AND t.origin = ?6",
                           ARGS(N(im->run_id), N(client_id), T(mac), T(before), T(after), T(im->origin)), err);
}

static int gone_row(void *arg, sqlite3_stmt *st)
{
    const struct applying *a = arg;
    struct import_values now, want;
    int64_t id = sqlite3_column_int64(st, 0);
    char mac[MAC_LEN + 1], name[NAME_LEN + 1];
    COL_TEXT(st, 1, mac);
    COL_TEXT(st, 2, name);
    import_col_values(st, 4, &now); /* as it was before it was parked */
    want = now;
    if (*name)
        strcpy(want.f[IMPORT_NAME], name);
    if (sqlite3_column_int(st, 3))
        want.f[IMPORT_IP][0] = 0;
    int r = note_change(a->im, id, mac, import_pack(&now).text, import_pack(&want).text, a->err);
    if (r == 0 && !import_values_equal(&now, &want))
        r = import_set_client(a->im->c, id, &now, &want, a->err);
    if (r == 0)
        r = import_run_kept(a->im, "UPDATE import_client SET is_gone = 1, given = ? WHERE mac = ? AND origin = ?",
                            ARGS(T(import_pack(&want).text), T(mac), T(a->im->origin)), a->err);
    return r;
}

static int store_track(struct import *im, const struct import_row *row, unsigned needs, struct err *err)
{
    struct import_packed src = import_pack(&row->src), given = import_pack(&row->given);
    if (needs & IMPORT_TRACK_NEW)
        return import_run_kept(im,
                               "INSERT INTO import_client (mac, origin, client_id, run_id, is_created, is_gone,"
                               " source_id, src, given) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?)",
                               ARGS(T(row->mac), T(im->origin), N(row->client_id), N(im->run_id), T(row->source_id),
                                    T(src.text), T(given.text)),
                               err);
    if (!(needs & IMPORT_TRACK_OTHER))
        return 0;
    return import_run_kept(im, "UPDATE import_client SET is_gone = 0, src = ?, given = ? WHERE mac = ? AND origin = ?",
                           ARGS(T(src.text), T(given.text), T(row->mac), T(im->origin)), err);
}

static int change_client(struct applying *a, const struct import_row *row, unsigned needs,
                         const struct import_values *now)
{
    struct import_packed before = import_pack(now), after = import_pack(&row->want);
    int r = 0;
    if (needs & (IMPORT_WRITES | IMPORT_TRACK_OTHER))
        r = note_change(a->im, row->client_id, row->mac, before.text, after.text, a->err);
    if (r == 0 && (needs & IMPORT_WRITES))
        r = import_set_client(a->im->c, row->client_id, now, &row->want, a->err);
    return r < 0 ? r : store_track(a->im, row, needs, a->err);
}

static int old_row(void *arg, const struct import_planned *planned, struct err *err)
{
    struct applying *a = arg;
    struct import_row row = {.row = planned->row, .client_id = planned->client_id};
    struct import_values now;
    (void)err; /* change_client() has it */
    if (!planned->needs || !planned->client_id)
        return 0;
    (void)snprintf(row.mac, sizeof(row.mac), "%s", planned->mac);
    (void)snprintf(row.source_id, sizeof(row.source_id), "%s", planned->source_id);
    import_unpack(planned->src, &row.src);
    import_unpack(planned->now, &now);
    import_unpack_as(planned->want, &row.src, &row.want);
    import_unpack_given(planned, &row.src, &row.want, &row.given);
    return change_client(a, &row, planned->needs, &now);
}

/* Values of clients that are gone as they are now, before anything is parked. */
static int note_gone(struct import *im, struct err *err)
{
    _cleanup_free_ struct import_gone *gone = NULL;
    size_t n = 0;
    int r = db_exec(im->c,
                    "CREATE TEMP TABLE IF NOT EXISTS import_gone_now (client_id INTEGER PRIMARY KEY, now TEXT);"
                    "DELETE FROM import_gone_now;",
                    err);
    if (r == 0)
        r = import_gone_list(im, &gone, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct import_known k;
        r = import_known_here(im, gone[i].mac, &k, err);
        if (r == 0)
            r = db_run(im->c, "INSERT INTO import_gone_now VALUES (?, ?)",
                       ARGS(N(gone[i].client_id), T(import_pack(&k.now).text)), err);
    }
    return r;
}

static int apply_all(struct applying *a)
{
    struct catalog *c = a->im->c;
    int r = note_gone(a->im, a->err);
    if (r == 0)
        r = park(a);
    if (r == 0)
        r = db_each(c,
                    "SELECT g.client_id, mac, new_name, loses_ip, n.now FROM import_gone g JOIN import_gone_now n"
                    " ON n.client_id = g.client_id ORDER BY g.client_id",
                    ARGS(), gone_row, a, a->err);
    if (r == 0 && !a->im->is_all_new) /* what is here first, so that what is new finds names and addresses free */
        r = import_each_planned(a->im, old_row, a, a->err);
    return r < 0 ? r : import_add_new(a->im, a->err);
}

void import_audit_off(struct catalog *c, bool is_off)
{
    c->is_audit_off = is_off;
}

int import_apply(struct import *im, struct err *err)
{
    struct applying a = {.im = im, .err = err};
    im->c->is_audit_off = true;
    int r = AS_WRITER(im->c, err, apply_all(&a));
    im->c->is_audit_off = false;
    return r;
}
