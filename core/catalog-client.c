/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients. What a client gets at its creation and keeps, whatever it is called later:
 *
 *   label         its name in lower case, "_" as "-" (an IQN does not know it), with "-2", "-3", ... where that is taken
 *   iqn           IQN_PREFIX : tag of the root : label
 *   chap_user     the label; the password is random
 *   overlay_dir   its name, with ".2", ".3", ... where any client ever had that folder
 */
#include "core/catalog-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "core/util.h"

#define IQN_PREFIX "iqn.2026-11.org.diskgate"

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
        return err_set(err, -EINVAL, "mode super is not set by itself; use 'diskgate client super NAME on'");
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

/* --- checks ------------------------------------------------------------------------------------------------------ */

struct owner {
    char name[NAME_LEN + 1];
};

static void fill_owner(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct owner *)row)->name);
}

/* The client other than @own_id that @sql finds for @value: 0 and its name, -ENOENT when there is none. */
static int find_owner(struct catalog *c, const char *sql, const char *value, int64_t own_id, struct owner *ret,
                      struct err *err)
{
    return db_one(c, sql, ARGS(T(value), N(own_id)), fill_owner, ret, err);
}

static int check_name(struct catalog *c, const char *name, int64_t own_id, struct err *err)
{
    struct owner owner;
    int r = name_check(name, "client name", err);
    if (r == 0)
        r = find_owner(c, "SELECT name FROM client WHERE name = ? AND id <> ?", name, own_id, &owner, err);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r : err_set(err, -EEXIST, "a client called '%s' exists already; choose another name", owner.name);
}

static int check_mac(struct catalog *c, char *mac, int64_t own_id, struct err *err)
{
    char parsed[MAC_LEN + 1];
    struct owner owner;
    int r = mac_parse(mac, parsed, err);
    if (r < 0)
        return r;
    strcpy(mac, parsed);
    r = find_owner(c, "SELECT name FROM client WHERE mac = ? AND id <> ?", mac, own_id, &owner, err);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r
                 : err_set(err, -EEXIST, "MAC %s already belongs to client '%s'; change or remove that client first",
                           mac, owner.name);
}

/* Brings the address into one spelling, so that two clients cannot have the same one. */
static int check_ip(struct catalog *c, char *ip, size_t size, int64_t own_id, struct err *err)
{
    struct in6_addr addr;
    struct owner owner;
    if (!*ip)
        return 0;
    int family = strchr(ip, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(family, ip, &addr) != 1 || !inet_ntop(family, &addr, ip, (socklen_t)size))
        return err_set(err, -EINVAL, "'%.80s' is no IP address; write it as 192.168.1.20", ip);
    int r = find_owner(c, "SELECT name FROM client WHERE ip = ? AND id <> ?", ip, own_id, &owner, err);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r
                 : err_set(err, -EEXIST,
                           "IP address %s already belongs to client '%s'; change or remove that client first", ip,
                           owner.name);
}

int client_network_check(struct client_row *row, struct err *err)
{
    char dns[SETTING_LEN + 1];
    if (*row->netmask && !address_is_netmask(row->netmask))
        return err_set(err, -EINVAL, "'%s' is no netmask; write it as 255.255.255.0", row->netmask);
    if (*row->gateway && !address_is_host_v4(row->gateway))
        return err_set(err, -EINVAL, "the gateway '%s' is no IPv4 address; write it as 192.168.1.1", row->gateway);
    strcpy(dns, row->dns);
    if (!address_list_parse(dns))
        return err_set(err, -EINVAL, "the name servers '%.80s' must be IPv4 addresses with commas between them",
                       row->dns);
    strcpy(row->dns, dns);
    return 0;
}

static int check_boot(struct catalog *c, const struct client_row *row, struct err *err)
{
    int64_t id;
    if (row->menu_timeout_s > MENU_TIMEOUT_MAX_S)
        return err_set(err, -EINVAL, "a boot menu cannot wait for %u s; at most %d s", row->menu_timeout_s,
                       MENU_TIMEOUT_MAX_S);
    if (row->ram_write_bytes > INT64_MAX)
        return err_set(err, -EINVAL, "the RAM for what client '%s' writes is too large", row->name);
    if (row->boot_default == 0)
        return 0;
    if (!slot_is_boot(row->boot_default))
        return err_set(err, -EINVAL, "slot %u is no boot disk; boot disks are slot 0 and slots %d to %d",
                       row->boot_default, BOOT_SLOT_FIRST, BOOT_SLOT_LAST);
    int r = db_number(c, "SELECT id FROM link WHERE client_id = ? AND slot = ?", ARGS(N(row->id), N(row->boot_default)),
                      &id, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "client '%s' has no image linked to slot %u, so its boot menu cannot take it",
                       row->name, row->boot_default);
    return r;
}

/* All that add and set have in common; spells mac, ip and dns in @row anew. */
static int check_fields(struct catalog *c, struct client_row *row, struct err *err)
{
    int r = check_mac(c, row->mac, row->id, err);
    if (r == 0)
        r = check_ip(c, row->ip, sizeof(row->ip), row->id, err);
    if (r == 0 && *row->group)
        r = name_check(row->group, "group name", err);
    if (r == 0)
        r = client_network_check(row, err);
    if (r == 0)
        r = check_boot(c, row, err);
    if (r == 0)
        r = comment_check(row->comment, err);
    if (r == 0 && (unsigned)row->mode >= ARRAY_SIZE(mode_names))
        r = err_set(err, -EINVAL, "the mode of client '%s' is none; use volatile or kept", row->name);
    return r;
}

/* --- what is given at creation ----------------------------------------------------------------------------------- */

/* The first of "@base", "@base@sep2", "@base@sep3", ... for which @sql finds no row. */
static int first_free(struct catalog *c, const char *sql, const char *base, char sep, char *ret, size_t size,
                      struct err *err)
{
    int64_t found;
    for (unsigned n = 1; n < UINT32_MAX; n++) {
        (void)snprintf(ret, size, n == 1 ? "%s" : "%s%c%u", base, sep, n);
        int r = db_number(c, sql, ARGS(T(ret)), &found, err);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
    }
    return err_set(err, -EEXIST, "every name that begins with '%s' is taken", base);
}

void client_label(const char *name, char *ret)
{
    size_t n = 0;
    for (; name[n] && n < CLIENT_LABEL_LEN; n++) {
        char ch = name[n];
        ret[n] = ch == '_' ? '-' : ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
    }
    ret[n] = 0;
}

void client_iqn(const char *tag, const char *label, char *ret)
{
    (void)snprintf(ret, 224, IQN_PREFIX ":%s:%s", tag, label);
}

static int give_label(struct catalog *c, struct client_row *row, struct err *err)
{
    char base[CLIENT_LABEL_LEN + 1], tag[9];
    client_label(row->name, base);
    /* Both, since a client may have got another CHAP user later. */
    int r = first_free(c, "SELECT id FROM client WHERE chap_user = ?1 OR substr(iqn, -length(?1) - 1) = ':' || ?1",
                       base, '-', row->chap_user, sizeof(row->chap_user), err);
    if (r == 0)
        r = catalog_root_tag(c, tag, err);
    if (r == 0)
        client_iqn(tag, row->chap_user, row->iqn);
    return r;
}

static int give_overlay_dir(struct catalog *c, const char *name, char *ret, struct err *err)
{
    int r = first_free(c, "SELECT 1 FROM overlay_dir WHERE name = ?", name, '.', ret, OVERLAY_DIR_LEN + 1, err);
    return r < 0 ? r : db_run(c, "INSERT INTO overlay_dir (name) VALUES (?)", ARGS(T(ret)), err);
}

static int give_secret(struct client_row *row, struct err *err)
{
    int r = secret_new(row->chap_password);
    return r < 0 ? err_sys(err, r, "cannot make a password for client '%s'", row->name) : 0;
}

/* --- writers ----------------------------------------------------------------------------------------------------- */

static int insert_client(struct catalog *c, struct client_row *row, struct err *err)
{
    char now[TIME_LEN + 1], dir[OVERLAY_DIR_LEN + 1];
    catalog_now(now);
    int r = give_label(c, row, err);
    if (r == 0)
        r = give_secret(row, err);
    if (r == 0)
        r = give_overlay_dir(c, row->name, dir, err);
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
    int r = check_name(c, fresh.name, 0, err);
    if (r == 0)
        r = check_fields(c, &fresh, err);
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
        r = check_fields(c, &wanted, err);
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
    r = check_boot(c, &row, err);
    row.boot_default = chosen;
    return r < 0 ? r : db_run(c, "UPDATE client SET boot_slot = ? WHERE id = ?", ARGS(N(slot), N(row.id)), err);
}

int client_set_boot_slot(struct catalog *c, const char *name, uint32_t slot, struct err *err)
{
    return AS_WRITER(c, err, boot_slot_steps(c, name, slot, err));
}

/* --- CHAP ------------------------------------------------------------------------------------------------------- */

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

int client_chap_check(const char *user, const char *password, struct err *err)
{
    size_t n = strlen(password), n_user = strlen(user);
    if (n_user < 1 || n_user > 63 || user[strspn(user, LETTERS_AND_DIGITS "._-")])
        return err_set(err, -EINVAL, "the CHAP user '%.80s' must be 1 to 63 letters, digits and . _ -", user);
    if (n < 12 || n > 16 || password[strspn(password, LETTERS_AND_DIGITS)])
        return err_set(err, -EINVAL, "the CHAP password of '%s' must be 12 to 16 letters and digits", user);
    return 0;
}

static int chap_steps(struct catalog *c, const char *name, const char *user, const char *password, struct err *err)
{
    struct client_row before, after;
    struct owner owner;
    int r = client_get(c, name, &before, err);
    if (r == 0)
        r = client_chap_check(user, password, err);
    if (r < 0)
        return r;
    r = find_owner(c, "SELECT name FROM client WHERE chap_user = ? AND id <> ?", user, before.id, &owner, err);
    if (r == 0)
        return err_set(err, -EEXIST, "the CHAP user '%s' already belongs to client '%s'", user, owner.name);
    if (r == -ENOENT)
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
        r = check_name(c, name, before.id, err);
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
