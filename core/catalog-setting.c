/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings: one table with key, default, meaning, form in words and the check of that form.
 *
 * Only what was set is stored; a key without a row has its default. Adding a setting is adding a row here.
 */
#include "core/catalog-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "core/catalog-boot.h"
#include "core/util.h"

/* --- forms ------------------------------------------------------------------------------------------------------- */

/* Each is an is_valid of struct setting_def; @value has room for SETTING_LEN + 1 bytes. */

/* "a|b|c" */
static bool is_choice(const char *form, char *value)
{
    size_t len = strlen(value);
    if (len == 0 || strchr(value, '|'))
        return false;
    for (const char *p = form; p; p = strchr(p, '|')) {
        p += *p == '|';
        if (strncmp(p, value, len) == 0 && (p[len] == '|' || p[len] == 0))
            return true;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len > 18 || text[len])
        return false;
    *ret = strtoull(text, NULL, 10);
    return true;
}

/* "1..65535" */
static bool is_number(const char *form, char *value)
{
    unsigned long long low = 0, high = 0;
    uint64_t n;
    if (sscanf(form, "%llu..%llu", &low, &high) != 2 || !parse_number(value, &n) || n < low || n > high)
        return false;
    (void)snprintf(value, SETTING_LEN + 1, "%llu", (unsigned long long)n);
    return true;
}

static bool is_address(const char *form, char *value)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, value, &v4) == 1)
        return address_is_host_v4(value);
    if (inet_pton(AF_INET6, value, &v6) != 1 || IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_MULTICAST(&v6))
        return false;
    return inet_ntop(AF_INET6, &v6, value, SETTING_LEN + 1) != NULL;
}

static bool is_size(const char *form, char *value)
{
    uint64_t bytes;
    return size_parse(value, &bytes, NULL) == 0;
}

static bool is_size_or_auto(const char *form, char *value)
{
    return strcmp(value, "auto") == 0 || is_size(form, value);
}

static bool is_name_or_empty(const char *form, char *value)
{
    return !*value || name_check(value, "name", NULL) == 0;
}

/* "PC{03}" */
static bool is_template(const char *form, char *value)
{
    return client_template_check(value, NULL) == 0;
}

static bool is_image_or_empty(const char *form, char *value)
{
    char name[NAME_LEN + 1];
    uint32_t version;
    return !*value || image_ref_parse(value, name, &version, NULL) == 0;
}

static bool is_address_or_empty(const char *form, char *value)
{
    struct in_addr v4;
    return !*value || inet_pton(AF_INET, value, &v4) == 1;
}

static bool is_host_v4_or_empty(const char *form, char *value)
{
    return !*value || address_is_host_v4(value);
}

/* "A B C" or "A,B,C" -> "A,B,C" */
static bool is_address_list(const char *form, char *value)
{
    return address_list_parse(value);
}

/* "FIRST-LAST" */
static bool is_range_or_empty(const char *form, char *value)
{
    char first[16], last[16], rest;
    struct in_addr a, b;
    if (!*value)
        return true;
    if (sscanf(value, " %15[0-9.] - %15[0-9.] %c", first, last, &rest) != 2 || !address_is_host_v4(first) ||
        !address_is_host_v4(last))
        return false;
    if (inet_pton(AF_INET, first, &a) != 1 || inet_pton(AF_INET, last, &b) != 1 || ntohl(a.s_addr) > ntohl(b.s_addr))
        return false;
    (void)snprintf(value, SETTING_LEN + 1, "%s-%s", first, last); /* fits */
    return true;
}

/* "12h", "30m", "7d" or seconds; dnsmasq takes no less than two minutes. */
static bool is_lease(const char *form, char *value)
{
    static const char units[] = "smhd";
    static const uint64_t seconds[] = {1, 60, 3600, 86400};
    size_t len = strspn(value, "0123456789");
    const char *unit = value[len] ? strchr(units, value[len]) : units;
    if (len == 0 || len > 6 || !unit || (value[len] && value[len + 1]))
        return false;
    uint64_t n = strtoull(value, NULL, 10) * seconds[unit - units];
    return n >= 120 && n <= 366 * seconds[3];
}

/* As the kernel takes it. */
static bool is_interface_or_empty(const char *form, char *value)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return strlen(value) <= 15 && value[strspn(value, chars)] == 0 && value[0] != '-' && value[0] != '.';
}

static bool is_folder(const char *form, char *value)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return value[0] == '/';
}

static bool is_user(const char *form, char *value)
{
    bool is_first_good = (value[0] >= 'a' && value[0] <= 'z') || value[0] == '_';
    return is_first_good && strlen(value) <= 32 && value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == 0;
}

/* Three rising numbers of bytes, or "off". */
static bool is_tcp_wmem(const char *form, char *value)
{
    unsigned long long low, start, high;
    char rest;
    if (strcmp(value, "off") == 0)
        return true;
    if (value[strspn(value, "0123456789 \t")] || strlen(value) > 40 ||
        sscanf(value, "%llu %llu %llu %c", &low, &start, &high, &rest) != 3)
        return false;
    if (low < 4096 || low > start || start > high || high > INT32_MAX)
        return false;
    (void)snprintf(value, SETTING_LEN + 1, "%llu %llu %llu", low, start, high);
    return true;
}

/* --- the table --------------------------------------------------------------------------------------------------- */

static const struct setting_def defs[] = {
    {"gateway.address", "127.0.0.1", "address of this machine that clients connect to; 127.0.0.1 serves nobody else",
     "one IPv4 or IPv6 address of this machine, not 0.0.0.0", is_address},
    {"gateway.direct", "on",
     "whether tgtd answers reads of what is in memory by itself, without asking diskgate-fs; off = never", "on|off",
     is_choice},
    {"gateway.port", "3260", "first iSCSI port; shard k listens on port + k", "1..65535", is_number},
    {"gateway.shards", "1", "number of tgtd processes that share the clients", "1..64", is_number},
    {"gateway.tcp_wmem", "4096 2097152 16777216",
     "net.ipv4.tcp_wmem that `up` sets: with less, a stalled client can hang the tgtd of Debian 12",
     "off, or three rising numbers of bytes as in '4096 2097152 16777216'", is_tcp_wmem},
    {"gateway.watch_s", "5",
     "seconds between diskgated's looks whether a part has died, which it then repairs; 0 = only commands repair",
     "0..86400", is_number},
    {"backup.max_age_h", "0", "hours after which `status` calls the last backup of the root too old; 0 = never",
     "0..87600", is_number},
    {"boot.http", "on", "whether PCs get boot scripts over HTTP", "on|off", is_choice},
    {"boot.port", "8080", "HTTP port of the boot scripts", "1..65535", is_number},
    {"boot.dhcp", "off",
     "what `up` runs for DHCP and TFTP: nothing; TFTP alone; proxyDHCP beside the site's DHCP server; a full DHCP "
     "server",
     "off|tftp|proxy|full", is_choice},
    {"boot.interface", "", "network interface that this is offered on; empty = the one that has gateway.address",
     "an interface's name, or empty", is_interface_or_empty},
    {"boot.dhcp_range", "",
     "addresses that boot.dhcp full hands out; empty = only to clients with an address of their own",
     "FIRST-LAST as in 10.0.0.100-10.0.0.199, or empty", is_range_or_empty},
    {"boot.dhcp_router", "", "router that clients are told; empty = none", "an IPv4 address, or empty",
     is_host_v4_or_empty},
    {"boot.dhcp_dns", "", "name servers that clients are told; empty = none", "IPv4 addresses with commas, or empty",
     is_address_list},
    {"boot.dhcp_lease", "12h", "how long a client may keep its address without asking again",
     "a number with s, m, h or d, 2m..366d", is_lease},
    {"boot.ra", "on", "whether boot.dhcp full answers iPXE's search for an IPv6 router: 13 s less for each boot",
     "on|off", is_choice},
    {"boot.dhcp_probe_s", "300",
     "seconds between diskgated's looks for other DHCP servers on that interface; 0 = never. Not with boot.dhcp off",
     "0..86400", is_number},
    {"boot.efi_file", "snponly.efi", "iPXE for UEFI: with the firmware's network driver, or with its own ones",
     "snponly.efi|ipxe.efi", is_choice},
    {"boot.ipxe_folder", "/usr/lib/ipxe", "where undionly.kpxe, ipxe.efi and snponly.efi come from", "a path from / on",
     is_folder},
    {"boot.menu_timeout_s", "15",
     "seconds that a boot menu waits before it takes the default; 0 = it waits until somebody chooses", "0..3600",
     is_number},
    {"auth.chap", "on", "whether a client's target asks for its CHAP user and password", "on|off", is_choice},
    {"auth.rotate", "off",
     "whether each boot gives the client a new CHAP password, and the former one is worth nothing", "on|off",
     is_choice},
    {"auth.acl", "off", "what a client's target is bound to besides: its initiator name, its address, or nothing",
     "name|address|off", is_choice},
    {"clients.unknown", "reject", "what a PC with an unknown MAC gets: refused, listed in `client pending`, or added",
     "reject|ask|auto", is_choice},
    {"clients.auto_max", "500",
     "how many clients there may be for auto to add another one; with as many, unknown PCs wait as with ask",
     "1..100000", is_number},
    {"clients.auto_per_minute", "100", "how many PCs auto adds within a minute; the others ask again by themselves",
     "1..100000", is_number},
    {"clients.template", "PC{03}", "how PCs are named that are added by themselves: PC{03} gives PC001, PC002, ...",
     "a name with one number in braces, as in PC{03}", is_template},
    {"clients.template_client", "",
     "client whose links, mode and group they get; it goes before the two settings below", "a client's name, or empty",
     is_name_or_empty},
    {"clients.template_image", "", "image that they boot from", "IMG or IMG@V, or empty", is_image_or_empty},
    {"clients.template_mode", "volatile", "what becomes of their changes at the next boot", "volatile|kept", is_choice},
    {"ram.read_bytes", "auto", "RAM for what clients read when they boot; auto = a quarter of it, 0 = none",
     "auto, or a size as in 512M or 8G", is_size_or_auto},
    {"ram.write_bytes", "auto",
     "RAM for what clients write to volatile overlays; auto = an eighth of it, 0 = straight to disk",
     "auto, or a size as in 512M or 8G", is_size_or_auto},
    {"ram.client_write_bytes", "0", "how much of it one client may have, 0 = as much as there is",
     "a size as in 512M or 8G", is_size},
    {"fs.full_wait_s", "50", "seconds that a client's write waits for room on a full disk before it fails", "1..86400",
     is_number},
    {"fs.user", "diskgate", "user that diskgate-fs runs as after the mount", "a user name as in /etc/passwd", is_user},
    {"wake.address", "", "where wake-up packets go; empty = the broadcast address of the network of gateway.address",
     "an IPv4 address, or empty", is_address_or_empty},
    {"tgt.threads", "2", "threads of tgtd for each disk", "1..64", is_number},
};

const struct setting_def *setting_defs(size_t *ret_n)
{
    *ret_n = ARRAY_SIZE(defs);
    return defs;
}

const struct setting_def *setting_find(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(defs); i++)
        if (strcmp(defs[i].key, key) == 0)
            return &defs[i];
    return NULL;
}

static int find_def(const char *key, size_t *ret, struct err *err)
{
    const struct setting_def *def = setting_find(key);
    if (!def)
        return err_set(err, -ENOENT, "no setting is called '%.80s'; 'diskgate set' lists them all", key);
    *ret = (size_t)(def - defs);
    return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

static void fill_value(sqlite3_stmt *st, void *row)
{
    col_text(st, 0, row, SETTING_LEN + 1);
}

int setting_get(struct catalog *c, const char *key, char *ret, struct err *err)
{
    size_t i = 0;
    int r = find_def(key, &i, err);
    if (r < 0)
        return r;
    r = db_one(c, "SELECT value FROM setting WHERE key = ?", ARGS(T(key)), fill_value, ret, err);
    if (r != -ENOENT)
        return r;
    strcpy(ret, defs[i].value);
    return 0;
}

int setting_get_u64(struct catalog *c, const char *key, uint64_t *ret, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, key, value, err);
    if (r < 0)
        return r;
    r = size_parse(value, ret, err);
    return r < 0 ? err_prefix(err, r, "setting %s", key) : 0;
}

/* What one key alone cannot tell: the last shard needs a port too. */
static int check_ports(struct catalog *c, struct err *err)
{
    uint64_t port, shards;
    int r = setting_get_u64(c, "gateway.port", &port, err);
    if (r == 0)
        r = setting_get_u64(c, "gateway.shards", &shards, err);
    if (r < 0 || port + shards - 1 <= 65535)
        return r;
    return err_set(err, -EINVAL,
                   "gateway.port %llu and gateway.shards %llu leave the last shard without a port: "
                   "their sum is at most 65536",
                   (unsigned long long)port, (unsigned long long)shards);
}

static int check_value(size_t i, const char *value, char *ret, struct err *err)
{
    if (strlen(value) <= SETTING_LEN) {
        strcpy(ret, value);
        if (defs[i].is_valid(defs[i].form, ret))
            return 0;
    }
    return err_set(err, -EINVAL, "%s cannot be '%.80s'; it takes: %s", defs[i].key, value, defs[i].form);
}

static int store_value(struct catalog *c, const char *key, const char *value, struct err *err)
{
    if (!value)
        return db_run(c, "DELETE FROM setting WHERE key = ?", ARGS(T(key)), err);
    return db_run(
        c, "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        ARGS(T(key), T(value)), err);
}

static int set_steps(struct catalog *c, const char *key, const char *value, struct err *err)
{
    size_t i = 0;
    char checked[SETTING_LEN + 1] = "", before[SETTING_LEN + 1] = "", after[SETTING_LEN + 1] = "";
    int r = find_def(key, &i, err);
    if (r == 0 && value)
        r = check_value(i, value, checked, err);
    if (r == 0)
        r = setting_get(c, key, before, err);
    if (r == 0)
        r = store_value(c, key, value ? checked : NULL, err);
    if (r == 0)
        r = setting_get(c, key, after, err);
    if (r == 0)
        r = check_ports(c, err);
    if (r < 0)
        return r;
    return audit_add(c, "set", key, json_pack("{s:o}", "value", audit_text(before)),
                     json_pack("{s:o}", "value", audit_text(after)), err);
}

int setting_set(struct catalog *c, const char *key, const char *value, struct err *err)
{
    return AS_WRITER(c, err, set_steps(c, key, value, err));
}

static void fill_tag(sqlite3_stmt *st, void *row)
{
    col_text(st, 0, row, 9);
}

int catalog_root_tag(struct catalog *c, char *ret, struct err *err)
{
    int r = db_one(c, "SELECT tag FROM root", ARGS(), fill_tag, ret, err);
    if (r == -ENOENT)
        return err_set(err, -EBADMSG, "catalog '%.500s' has lost the tag of its root; put a good copy of it back",
                       c->path);
    return r;
}
