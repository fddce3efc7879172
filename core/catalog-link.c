/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links, their overlays, and what overlays leave behind.
 *
 *   link_set         link row + overlay row (a new id over the version that the link asks for)
 *   overlay_reset    overlay row gets a new id and that version
 *   link_remove, client_remove    both rows go
 *
 * (1) Every link has exactly one overlay row.
 * (2) An id that an overlay row loses is in the garbage table from the same transaction on, with the place of its files.
 *     Whether there are files, only diskgate-fs knows.
 * (3) A link that comes to ask for another version (its image moves on) does not touch its overlay: that is what reset is for.
 */
#include "core/catalog-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- rows -------------------------------------------------------------------------------------------------------- */

#define LINK_SELECT                                                                                                    \
    "SELECT link.id, client_id, image_id, slot, pinned, client.name, image.name FROM link"                             \
    " JOIN client ON client.id = client_id JOIN image ON image.id = image_id"

static void fill_link(sqlite3_stmt *st, void *row)
{
    struct link_row *l = row;
    l->id = sqlite3_column_int64(st, 0);
    l->client_id = sqlite3_column_int64(st, 1);
    l->image_id = sqlite3_column_int64(st, 2);
    l->slot = (uint32_t)sqlite3_column_int64(st, 3);
    l->pinned = (uint32_t)sqlite3_column_int64(st, 4); /* NULL reads as 0 */
    COL_TEXT(st, 5, l->client);
    COL_TEXT(st, 6, l->image);
}

#define VIEW_SELECT                                                                                                    \
    "SELECT link.id, client_id, client.name, slot, image.name, client.mode, overlay.uuid, client.overlay_dir,"         \
    " version.id, version.number, ifnull(pinned, image.current), version.size_bytes, client.ram_write_bytes FROM link"                         \
    " JOIN client ON client.id = client_id JOIN image ON image.id = link.image_id"                                     \
    " JOIN overlay ON overlay.link_id = link.id JOIN version ON version.id = overlay.version_id"

static void fill_view(sqlite3_stmt *st, void *row)
{
    struct view_row *v = row;
    v->link_id = sqlite3_column_int64(st, 0);
    v->client_id = sqlite3_column_int64(st, 1);
    COL_TEXT(st, 2, v->client);
    v->slot = (uint32_t)sqlite3_column_int64(st, 3);
    COL_TEXT(st, 4, v->image);
    v->mode = col_mode(st, 5);
    COL_TEXT(st, 6, v->overlay_id);
    COL_TEXT(st, 7, v->overlay_dir);
    v->version_id = sqlite3_column_int64(st, 8);
    v->version = (uint32_t)sqlite3_column_int64(st, 9);
    v->current = (uint32_t)sqlite3_column_int64(st, 10);
    v->size_bytes = (uint64_t)sqlite3_column_int64(st, 11);
    v->ram_write_bytes = (uint64_t)sqlite3_column_int64(st, 12);
}

static void fill_garbage(sqlite3_stmt *st, void *row)
{
    struct garbage_row *g = row;
    COL_TEXT(st, 0, g->overlay_dir);
    g->slot = (uint32_t)sqlite3_column_int64(st, 1);
    COL_TEXT(st, 2, g->overlay_id);
    COL_TEXT(st, 3, g->created_at);
}

/* "pc1 slot 0" */
struct object_name {
    char text[NAME_LEN + 32];
};

static struct object_name slot_name(const char *client, uint32_t slot)
{
    struct object_name o;
    (void)snprintf(o.text, sizeof(o.text), "%s slot %u", client, slot);
    return o;
}

/* --- readers ----------------------------------------------------------------------------------------------------- */

static int check_client(struct catalog *c, const char *client, struct err *err)
{
    struct client_row row;
    return client ? client_get(c, client, &row, err) : 0;
}

int link_list(struct catalog *c, const char *client, struct link_row **ret, size_t *ret_n, struct err *err)
{
    int r = check_client(c, client, err);
    if (r < 0)
        return r;
    return db_list(c, LINK_SELECT " WHERE ?1 IS NULL OR client.name = ?1 ORDER BY client.name COLLATE by_name, slot",
                   ARGS(client ? T(client) : NIL), fill_link, sizeof(struct link_row), (void **)ret, ret_n, err);
}

int view_list(struct catalog *c, const char *client, struct view_row **ret, size_t *ret_n, struct err *err)
{
    int r = check_client(c, client, err);
    if (r < 0)
        return r;
    return db_list(c, VIEW_SELECT " WHERE ?1 IS NULL OR client.name = ?1 ORDER BY client.name COLLATE by_name, slot",
                   ARGS(client ? T(client) : NIL), fill_view, sizeof(struct view_row), (void **)ret, ret_n, err);
}

int links_json(struct catalog *c, int64_t client_id, json_t **ret, struct err *err)
{
    _cleanup_free_ struct link_row *links = NULL;
    size_t n;
    int r = db_list(c, LINK_SELECT " WHERE client_id = ? ORDER BY slot", ARGS(N(client_id)), fill_link, sizeof(*links),
                    (void **)&links, &n, err);
    if (r < 0)
        return r;
    json_t *object = json_object();
    for (size_t i = 0; i < n; i++) {
        char slot[16], image[NAME_LEN + 16];
        (void)snprintf(slot, sizeof(slot), "%u", links[i].slot);
        (void)snprintf(image, sizeof(image), links[i].pinned ? "%s@%u" : "%s", links[i].image, links[i].pinned);
        (void)json_object_set_new(object, slot, json_string(image)); /* without memory the audit row is shorter */
    }
    *ret = object;
    return 0;
}

/* The view of one slot; -ENOENT without a sentence. */
static int view_find(struct catalog *c, int64_t client_id, uint32_t slot, struct view_row *ret, struct err *err)
{
    return db_one(c, VIEW_SELECT " WHERE client_id = ? AND slot = ?", ARGS(N(client_id), N(slot)), fill_view, ret, err);
}

static int link_find(struct catalog *c, int64_t client_id, uint32_t slot, struct link_row *ret, struct err *err)
{
    return db_one(c, LINK_SELECT " WHERE client_id = ? AND slot = ?", ARGS(N(client_id), N(slot)), fill_link, ret, err);
}

/* State of one slot for the audit; NULL when it is not linked. */
static json_t *slot_json(struct catalog *c, int64_t client_id, uint32_t slot)
{
    struct link_row link;
    struct view_row view;
    if (link_find(c, client_id, slot, &link, NULL) < 0 || view_find(c, client_id, slot, &view, NULL) < 0)
        return NULL;
    return json_pack("{s:s, s:I, s:I, s:s}", "image", link.image, "pinned", (json_int_t)link.pinned, "version",
                     (json_int_t)view.version, "overlay_id", view.overlay_id);
}

/* --- garbage ----------------------------------------------------------------------------------------------------- */

int garbage_add(struct catalog *c, int64_t client_id, int slot, struct err *err)
{
    char now[TIME_LEN + 1];
    catalog_now(now);
    return db_run(c,
                  "INSERT INTO garbage (overlay_dir, slot, uuid, created_at)"
                  " SELECT client.overlay_dir, link.slot, overlay.uuid, ?1 FROM link"
                  " JOIN client ON client.id = link.client_id JOIN overlay ON overlay.link_id = link.id"
                  " WHERE link.client_id = ?2 AND (?3 < 0 OR link.slot = ?3)",
                  ARGS(T(now), N(client_id), N(slot)), err);
}

int garbage_list(struct catalog *c, struct garbage_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c, "SELECT overlay_dir, slot, uuid, created_at FROM garbage ORDER BY id", ARGS(), fill_garbage,
                   sizeof(struct garbage_row), (void **)ret, ret_n, err);
}

int garbage_done(struct catalog *c, const struct garbage_row *row, struct err *err)
{
    return AS_WRITER(c, err,
                     db_run(c, "DELETE FROM garbage WHERE overlay_dir = ? AND slot = ? AND uuid = ?",
                            ARGS(T(row->overlay_dir), N(row->slot), T(row->overlay_id)), err));
}

/* --- overlays ---------------------------------------------------------------------------------------------------- */

/* Give the link a fresh overlay over @version_id; the caller has noted the old one as garbage. */
static int renew_overlay(struct catalog *c, int64_t link_id, int64_t version_id, struct err *err)
{
    char id[UUID_LEN + 1], now[TIME_LEN + 1];
    int r = uuid_new(id);
    if (r < 0)
        return err_sys(err, r, "cannot make an id for an overlay");
    catalog_now(now);
    return db_run(c, "INSERT OR REPLACE INTO overlay (link_id, uuid, version_id, created_at) VALUES (?, ?, ?, ?)",
                  ARGS(N(link_id), T(id), N(version_id), T(now)), err);
}

static int reset_slot(struct catalog *c, const struct link_row *link, bool with_audit, struct err *err)
{
    struct version_row version;
    json_t *before = with_audit ? slot_json(c, link->client_id, link->slot) : NULL;
    int r = version_find(c, link->image, link->pinned, &version, err);
    if (r == 0)
        r = garbage_add(c, link->client_id, (int)link->slot, err);
    if (r == 0)
        r = renew_overlay(c, link->id, version.id, err);
    if (r == 0 && with_audit)
        return audit_add(c, "client reset", slot_name(link->client, link->slot).text, before,
                         slot_json(c, link->client_id, link->slot), err);
    json_decref(before);
    return r;
}

static int no_disk(const char *client, uint32_t slot, struct err *err)
{
    return err_set(err, -ENOENT,
                   "client '%s' has no image linked to slot %u; 'diskgate client show %s' lists its links", client,
                   slot, client);
}

static int reset_steps(struct catalog *c, const char *client, int slot, bool with_audit, struct err *err)
{
    _cleanup_free_ struct link_row *links = NULL;
    size_t n, done = 0;
    int r = link_list(c, client, &links, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (slot >= 0 && links[i].slot != (uint32_t)slot)
            continue;
        r = reset_slot(c, &links[i], with_audit, err);
        done++;
    }
    if (r == 0 && slot >= 0 && done == 0)
        return no_disk(client, (uint32_t)slot, err);
    return r;
}

int overlay_reset(struct catalog *c, const char *client, int slot, struct err *err)
{
    return AS_WRITER(c, err, reset_steps(c, client, slot, true, err));
}

int overlay_renew(struct catalog *c, const char *client, int slot, struct err *err)
{
    return AS_WRITER(c, err, reset_steps(c, client, slot, false, err));
}

/* --- links ------------------------------------------------------------------------------------------------------- */

static int check_link(const struct client_row *client, uint32_t slot, const struct image_row *image, struct err *err)
{
    if (slot > BOOT_SLOT_LAST)
        return err_set(err, -EINVAL,
                       "slot %u is too large; a client has slots 0 to %d, and slots %d to %d for its boot menu", slot,
                       SLOT_MAX, BOOT_SLOT_FIRST, BOOT_SLOT_LAST);
    if (slot_is_boot(slot) && image->is_data)
        return err_set(err, -EINVAL,
                       "image '%s' is a data image and slot %u of client '%s' is %s; link it to a slot from 1 to %d",
                       image->name, slot, client->name, slot == 0 ? "its boot disk" : "for boot disks", SLOT_MAX);
    return 0;
}

/* Write the link row itself. 0 and the row's id. */
static int store_link(struct catalog *c, int64_t client_id, uint32_t slot, int64_t image_id, uint32_t pinned,
                      int64_t *ret_id, struct err *err)
{
    int r =
        db_run(c,
               "INSERT INTO link (client_id, slot, image_id, pinned) VALUES (?, ?, ?, ?) ON CONFLICT (client_id, slot)"
               " DO UPDATE SET image_id = excluded.image_id, pinned = excluded.pinned",
               ARGS(N(client_id), N(slot), N(image_id), pinned ? N(pinned) : NIL), err);
    if (r == 0)
        r = db_number(c, "SELECT id FROM link WHERE client_id = ? AND slot = ?", ARGS(N(client_id), N(slot)), ret_id,
                      err);
    return r;
}

/* Does the slot keep its overlay when it is linked to @version? 1, 0, or an error. */
static int keeps_overlay(struct catalog *c, const struct client_row *client, uint32_t slot, uint32_t pinned,
                         const struct version_row *version, struct err *err)
{
    struct link_row old;
    struct view_row view;
    int r = link_find(c, client->id, slot, &old, err);
    if (r == -ENOENT)
        return 0;
    if (r == 0)
        r = view_find(c, client->id, slot, &view, err);
    if (r < 0)
        return r;
    if (old.image_id == version->image_id && old.pinned == pinned)
        return err_set(err, -EEXIST, "image '%s' is already linked to slot %u of client '%s'", version->image, slot,
                       client->name);
    return view.version_id == version->id;
}

static int set_steps(struct catalog *c, const char *client_name, uint32_t slot, const char *image_name, uint32_t pinned,
                     struct err *err)
{
    struct client_row client;
    struct image_row image;
    struct version_row version;
    int64_t link_id;
    int r = client_get(c, client_name, &client, err);
    if (r == 0)
        r = image_get(c, image_name, &image, err);
    if (r == 0)
        r = version_find(c, image_name, pinned, &version, err);
    if (r == 0)
        r = check_link(&client, slot, &image, err);
    int keeps = r < 0 ? r : keeps_overlay(c, &client, slot, pinned, &version, err);
    if (keeps < 0)
        return keeps;
    json_t *before = slot_json(c, client.id, slot);
    if (!keeps)
        r = garbage_add(c, client.id, (int)slot, err);
    if (r == 0)
        r = store_link(c, client.id, slot, image.id, pinned, &link_id, err);
    if (r == 0 && !keeps)
        r = renew_overlay(c, link_id, version.id, err);
    if (r == 0)
        return audit_add(c, "client link", slot_name(client.name, slot).text, before, slot_json(c, client.id, slot),
                         err);
    json_decref(before);
    return r;
}

int link_set(struct catalog *c, const char *client, uint32_t slot, const char *image, uint32_t pinned, struct err *err)
{
    return AS_WRITER(c, err, set_steps(c, client, slot, image, pinned, err));
}

static int remove_steps(struct catalog *c, const char *client_name, uint32_t slot, struct err *err)
{
    struct client_row client;
    struct link_row link;
    int r = client_get(c, client_name, &client, err);
    if (r < 0)
        return r;
    r = link_find(c, client.id, slot, &link, err);
    if (r < 0)
        return r == -ENOENT ? no_disk(client.name, slot, err) : r;
    json_t *before = slot_json(c, client.id, slot);
    r = garbage_add(c, client.id, (int)slot, err);
    if (r == 0)
        r = db_run(c, "DELETE FROM link WHERE id = ?", ARGS(N(link.id)), err);
    if (r == 0)
        r = db_run(c, "UPDATE client SET boot_default = 0 WHERE id = ? AND boot_default = ?",
                   ARGS(N(client.id), N(slot)), err);
    if (r == 0)
        return audit_add(c, "client unlink", slot_name(client.name, slot).text, before, NULL, err);
    json_decref(before);
    return r;
}

int link_remove(struct catalog *c, const char *client, uint32_t slot, struct err *err)
{
    return AS_WRITER(c, err, remove_steps(c, client, slot, err));
}
