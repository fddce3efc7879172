/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients: the rows and their writers; see catalog.h. */
#include "core/catalog-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- modes ------------------------------------------------------------------------------------------------------- */

static const char *const mode_names[] = {
    [OVERLAY_VOLATILE] = "volatile", [OVERLAY_KEPT] = "kept", [OVERLAY_SUPER] = "super"};

const char *overlay_mode_name(enum overlay_mode m)
{
    return mode_names[m];
}

int overlay_mode_parse(const char *text, enum overlay_mode *ret, struct err *err)
{
    if (strcmp(text, "volatile") == 0)
        *ret = OVERLAY_VOLATILE;
    else if (strcmp(text, "kept") == 0)
        *ret = OVERLAY_KEPT;
    else if (strcmp(text, "super") == 0)
        return err_set(err, -EINVAL, "there are no super clients yet; use volatile or kept");
    else
        return err_set(err, -EINVAL, "'%.80s' is no mode; use volatile or kept", text);
    return 0;
}

enum overlay_mode col_mode(sqlite3_stmt *st, int col)
{
    char name[16];
    COL_TEXT(st, col, name);
    for (size_t m = 0; m < ARRAY_SIZE(mode_names); m++)
        if (strcmp(name, mode_names[m]) == 0)
            return (enum overlay_mode)m;
    return OVERLAY_KEPT; /* a CHECK constraint rules it out; kept is what loses nothing */
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

#define CLIENT_SELECT                                                                                                  \
    "SELECT id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, comment, created_at, is_disabled,"      \
    " boot_slot, boot_default, menu_timeout_s, netmask, gateway, dns, ram_write_bytes FROM client"

static void fill_client(sqlite3_stmt *st, void *row)
{
    struct client_row *cl = row;
    cl->id = sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, cl->name);
    COL_TEXT(st, 2, cl->mac);
    COL_TEXT(st, 3, cl->ip);
    COL_TEXT(st, 4, cl->group);
    cl->mode = col_mode(st, 5);
    COL_TEXT(st, 6, cl->iqn);
    COL_TEXT(st, 7, cl->chap_user);
    COL_TEXT(st, 8, cl->chap_password);
    COL_TEXT(st, 9, cl->comment);
    COL_TEXT(st, 10, cl->created_at);
    cl->is_disabled = sqlite3_column_int(st, 11) != 0;
    cl->boot_slot = (uint32_t)sqlite3_column_int(st, 12);
    cl->boot_default = (uint32_t)sqlite3_column_int(st, 13);
    cl->menu_timeout_s = (uint32_t)sqlite3_column_int(st, 14);
    COL_TEXT(st, 15, cl->netmask);
    COL_TEXT(st, 16, cl->gateway);
    COL_TEXT(st, 17, cl->dns);
    cl->ram_write_bytes = (uint64_t)sqlite3_column_int64(st, 18);
}

/* Everything but the password. */
static json_t *client_json(const struct client_row *cl)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:s, s:s, s:I, s:o}", "name", cl->name,
                     "mac", cl->mac, "ip", cl->ip, "group", cl->group, "mode", overlay_mode_name(cl->mode), "iqn",
                     cl->iqn, "chap_user", cl->chap_user, "is_disabled", cl->is_disabled, "boot_default",
                     (json_int_t)cl->boot_default, "menu_timeout_s", (json_int_t)cl->menu_timeout_s, "netmask",
                     cl->netmask, "gateway", cl->gateway, "dns", cl->dns, "ram_write_bytes",
                     (json_int_t)cl->ram_write_bytes, "comment", audit_text(cl->comment));
}

int client_get(struct catalog *c, const char *name, struct client_row *ret, struct err *err)
{
    struct client_row row = {0};
    int r = db_one(c, CLIENT_SELECT " WHERE name = ?", ARGS(T(name)), fill_client, &row, err);
    if (r == -ENOENT)
        return err_set(err, r, "no client is called '%.80s'; 'diskgate client list' lists them", name);
    if (r == 0)
        *ret = row;
    return r;
}

static int get_by_id(struct catalog *c, int64_t id, struct client_row *ret, struct err *err)
{
    int r = db_one(c, CLIENT_SELECT " WHERE id = ?", ARGS(N(id)), fill_client, ret, err);
    if (r == -ENOENT)
        return err_set(err, r, "the catalog holds no client with the id %lld", (long long)id);
    return r;
}

int client_list(struct catalog *c, struct client_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c, CLIENT_SELECT " ORDER BY name COLLATE by_name", ARGS(), fill_client, sizeof(struct client_row),
                   (void **)ret, ret_n, err);
}

/* --- writers ----------------------------------------------------------------------------------------------------- */

static int insert_client(struct catalog *c, struct client_row *row, struct err *err)
{
    char now[TIME_LEN + 1], dir[OVERLAY_DIR_LEN + 1];
    catalog_now(now);
    int r = client_give(c, row, dir, err);
    if (r < 0)
        return r;
    return db_run(
        c,
        "INSERT INTO client (name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
        " created_at, is_disabled, menu_timeout_s, netmask, gateway, dns, ram_write_bytes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ARGS(T(row->name), T(row->mac), T(row->ip), T(row->group), T(overlay_mode_name(row->mode)), T(row->iqn),
             T(row->chap_user), T(row->chap_password), T(dir), T(row->comment), T(now), N(row->is_disabled),
             N(row->menu_timeout_s), T(row->netmask), T(row->gateway), T(row->dns), N(row->ram_write_bytes)),
        err);
}

static int add_steps(struct catalog *c, struct client_row *row, struct err *err)
{
    struct client_row fresh = *row;
    fresh.id = 0;
    int r = client_name_check(c, fresh.name, 0, err);
    if (r == 0)
        r = client_fields_check(c, &fresh, err);
    if (r == 0)
        r = insert_client(c, &fresh, err);
    if (r == 0)
        r = client_get(c, fresh.name, &fresh, err);
    if (r == 0)
        r = audit_add(c, "client add", fresh.name, NULL, client_json(&fresh), err);
    if (r == 0)
        *row = fresh;
    return r;
}

int client_add(struct catalog *c, struct client_row *row, struct err *err)
{
    return AS_WRITER(c, err, add_steps(c, row, err));
}

static int update_client(struct catalog *c, const struct client_row *row, struct err *err)
{
    return db_run(c,
                  "UPDATE client SET mac = ?, ip = ?, \"group\" = ?, mode = ?, comment = ?, is_disabled = ?,"
                  " boot_default = ?, menu_timeout_s = ?, netmask = ?, gateway = ?, dns = ?, ram_write_bytes = ?"
                  " WHERE id = ?",
                  ARGS(T(row->mac), T(row->ip), T(row->group), T(overlay_mode_name(row->mode)), T(row->comment),
                       N(row->is_disabled), N(row->boot_default), N(row->menu_timeout_s), T(row->netmask),
                       T(row->gateway), T(row->dns), N(row->ram_write_bytes), N(row->id)),
                  err);
}

static int set_steps(struct catalog *c, const struct client_row *row, struct err *err)
{
    struct client_row before, wanted = *row, after;
    int r = get_by_id(c, row->id, &before, err);
    if (r == 0)
        r = client_fields_check(c, &wanted, err);
    if (r == 0)
        r = update_client(c, &wanted, err);
    if (r == 0)
        r = get_by_id(c, row->id, &after, err);
    return r < 0 ? r : audit_add(c, "client set", before.name, client_json(&before), client_json(&after), err);
}

int client_set(struct catalog *c, const struct client_row *row, struct err *err)
{
    return AS_WRITER(c, err, set_steps(c, row, err));
}

static int boot_slot_steps(struct catalog *c, const char *name, uint32_t slot, struct err *err)
{
    struct client_row row;
    int r = client_get(c, name, &row, err);
    if (r < 0)
        return r;
    uint32_t chosen = row.boot_default;
    row.boot_default = slot; /* what holds for a default holds for a choice */
    r = client_boot_check(c, &row, err);
    row.boot_default = chosen;
    return r < 0 ? r : db_run(c, "UPDATE client SET boot_slot = ? WHERE id = ?", ARGS(N(slot), N(row.id)), err);
}

int client_set_boot_slot(struct catalog *c, const char *name, uint32_t slot, struct err *err)
{
    return AS_WRITER(c, err, boot_slot_steps(c, name, slot, err));
}

/* --- CHAP ------------------------------------------------------------------------------------------------------- */

static int chap_steps(struct catalog *c, const char *name, const char *user, const char *password, struct err *err)
{
    struct client_row before, after;
    int r = client_get(c, name, &before, err);
    if (r == 0)
        r = client_chap_check(user, password, err);
    if (r == 0)
        r = client_chap_user_check(c, user, before.id, err);
    if (r == 0)
        r = db_run(c, "UPDATE client SET chap_user = ?, chap_password = ? WHERE id = ?",
                   ARGS(T(user), T(password), N(before.id)), err);
    if (r == 0)
        r = get_by_id(c, before.id, &after, err);
    return r < 0 ? r : audit_add(c, "client chap", before.name, client_json(&before), client_json(&after), err);
}

int client_set_chap(struct catalog *c, const char *name, const char *user, const char *password, struct err *err)
{
    return AS_WRITER(c, err, chap_steps(c, name, user, password, err));
}

/* --- names and ends ---------------------------------------------------------------------------------------------- */

static int rename_steps(struct catalog *c, const char *old, const char *name, struct err *err)
{
    struct client_row before, after;
    int r = client_get(c, old, &before, err);
    if (r == 0)
        r = client_name_check(c, name, before.id, err);
    if (r == 0)
        r = db_run(c, "UPDATE client SET name = ? WHERE id = ?", ARGS(T(name), N(before.id)), err);
    if (r == 0)
        r = get_by_id(c, before.id, &after, err);
    return r < 0 ? r : audit_add(c, "client rename", before.name, client_json(&before), client_json(&after), err);
}

int client_rename(struct catalog *c, const char *old, const char *name, struct err *err)
{
    return AS_WRITER(c, err, rename_steps(c, old, name, err));
}

static int remove_steps(struct catalog *c, const char *name, struct err *err)
{
    struct client_row row = {0};
    json_t *before, *links;
    int r = client_get(c, name, &row, err);
    if (r == 0)
        r = links_json(c, row.id, &links, err);
    if (r < 0)
        return r;
    before = client_json(&row);
    (void)json_object_set_new(before, "links", links); /* without memory the audit row is shorter */
    r = garbage_add(c, row.id, -1, err);
    if (r == 0)
        r = db_run(c, "DELETE FROM client WHERE id = ?", ARGS(N(row.id)), err);
    if (r == 0)
        return audit_add(c, "client remove", row.name, before, NULL, err);
    json_decref(before);
    return r;
}

int client_remove(struct catalog *c, const char *name, struct err *err)
{
    return AS_WRITER(c, err, remove_steps(c, name, err));
}
