/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What holds for a client's name, addresses, boot menu and CHAP login before they are stored: each is well formed, and no other client's. */
#include "core/catalog-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

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

int client_name_check(struct catalog *c, const char *name, int64_t own_id, struct err *err)
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

int client_boot_check(struct catalog *c, const struct client_row *row, struct err *err)
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

int client_fields_check(struct catalog *c, struct client_row *row, struct err *err)
{
    int r = check_mac(c, row->mac, row->id, err);
    if (r == 0)
        r = check_ip(c, row->ip, sizeof(row->ip), row->id, err);
    if (r == 0 && *row->group)
        r = name_check(row->group, "group name", err);
    if (r == 0)
        r = client_network_check(row, err);
    if (r == 0)
        r = client_boot_check(c, row, err);
    if (r == 0)
        r = comment_check(row->comment, err);
    if (r == 0 && (unsigned)row->mode > OVERLAY_SUPER)
        r = err_set(err, -EINVAL, "the mode of client '%s' is none; use volatile or kept", row->name);
    return r;
}

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

int client_chap_user_check(struct catalog *c, const char *user, int64_t own_id, struct err *err)
{
    struct owner owner;
    int r = find_owner(c, "SELECT name FROM client WHERE chap_user = ? AND id <> ?", user, own_id, &owner, err);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r : err_set(err, -EEXIST, "the CHAP user '%s' already belongs to client '%s'", user, owner.name);
}
