/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kea: the lease file of its memfile back end (CSV), and reservations and options of its configuration (JSON with comments).
 *
 *   address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,...    columns by the first line
 *   state 0 = assigned, 1 = declined, 2 = expired, 3 = released, 4 = registered; valid_lifetime 0 = the lease is gone
 *   "," inside of a value is written "&#x2c"
 *
 *   {"Dhcp4": {"subnet4": [{"subnet": "...", "reservations": [{"hw-address", "ip-address", "hostname"}], "option-data": [...]}]}}
 *
 * The lease file is a log: the last line of an address counts. Source: Kea Administrator Reference Manual (documented).
 */
#include "migrate/leases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define FIELDS_MAX 32

enum field { F_ADDRESS, F_HWADDR, F_LIFETIME, F_EXPIRE, F_HOSTNAME, F_STATE, F_COUNT };

static unsigned cut(char *line, char *fields[FIELDS_MAX])
{
    unsigned n = 0;
    for (char *p = line; n < FIELDS_MAX; p++) {
        fields[n++] = p;
        p += strcspn(p, ",");
        if (!*p)
            break;
        *p = 0;
    }
    return n;
}

static void find_fields(char *header, int where[F_COUNT])
{
    static const char *const names[] = {"address", "hwaddr", "valid_lifetime", "expire", "hostname", "state"};
    char *fields[FIELDS_MAX];
    unsigned n = cut(header, fields);
    for (int f = 0; f < F_COUNT; f++) {
        where[f] = -1;
        for (unsigned i = 0; i < n; i++)
            if (strcmp(fields[i], names[f]) == 0)
                where[f] = (int)i;
    }
}

static int read_line(struct leases *l, char *line, const int where[F_COUNT], uint64_t number, struct err *err)
{
    char *fields[FIELDS_MAX];
    const char *v[F_COUNT];
    struct lease e = {0};
    unsigned n = cut(line, fields);
    for (int f = 0; f < F_COUNT; f++)
        v[f] = where[f] >= 0 && (unsigned)where[f] < n ? fields[where[f]] : "";
    if (strchr(v[F_ADDRESS], ':')) {
        l->v6++;
        return 0;
    }
    if (!ip_from_text(v[F_ADDRESS], strlen(v[F_ADDRESS]), e.ip)) {
        leases_bad_line(l, number);
        return 0;
    }
    strcpy(e.key, e.ip);
    lease_set_mac(&e, v[F_HWADDR]);
    lease_set_name(&e, v[F_HOSTNAME]);
    e.expires_s = strtoll(v[F_EXPIRE], NULL, 10);
    e.is_deleted = strcmp(v[F_LIFETIME], "0") == 0;
    long state = strtol(v[F_STATE], NULL, 10);
    e.is_expired = state == 2 || state == 3 || (e.expires_s > 0 && e.expires_s < l->now_s);
    if (state == 1) /* somebody else has the address: its card is not known */
        e.mac[0] = 0;
    return leases_put(l, &e, err);
}

int leases_kea_csv(struct leases *l, char *text, struct err *err)
{
    uint64_t number = 0;
    int where[F_COUNT], r = 0;
    char *line = leases_line(&text, &number);
    if (!line)
        return err_set(err, -EBADMSG, "it is empty");
    find_fields(line, where);
    if (where[F_ADDRESS] < 0 || where[F_HWADDR] < 0)
        return err_set(err, -EBADMSG,
                       "its first line does not name the columns address and hwaddr of a lease file of Kea for IPv4");
    while (r == 0 && (line = leases_line(&text, &number)))
        if (*line && strncmp(line, "address,", 8) != 0)
            r = read_line(l, line, where, number, err);
    return r;
}

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

/* Blanks instead of the comments that Kea allows: #, //, and C's. */
static void drop_comments(char *p)
{
    bool is_string = false;
    for (; *p; p++) {
        if (is_string) {
            if (*p == '\\' && p[1])
                p++;
            else
                is_string = *p != '"';
        } else if (*p == '"') {
            is_string = true;
        } else if (*p == '#' || (p[0] == '/' && p[1] == '/')) {
            while (p[1] && p[1] != '\n')
                *p++ = ' ';
            *p = ' ';
        } else if (p[0] == '/' && p[1] == '*') {
            char *end = strstr(p + 2, "*/");
            end = end ? end + 2 : p + strlen(p);
            while (p < end - 1)
                *p++ = ' ';
            *p = ' ';
        }
    }
}

/* Commas before the end of a list or object, which Kea passes over; comments are blanks by now. */
static void drop_commas(char *p)
{
    bool is_string = false;
    for (; *p; p++) {
        if (is_string && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            is_string = !is_string;
        else if (*p == ',' && !is_string && strchr("]}", p[1 + strspn(p + 1, " \t\r\n")]) &&
                 p[1 + strspn(p + 1, " \t\r\n")])
            *p = ' ';
    }
}

static int read_reservations(struct leases *l, const json_t *list, struct err *err)
{
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o)
    {
        struct lease e = {.is_reservation = true};
        lease_set_mac(&e, json_text(o, "hw-address"));
        lease_set_name(&e, json_text(o, "hostname"));
        const char *ip = json_text(o, "ip-address");
        if (*ip && (!ip_from_text(ip, strlen(ip), e.ip) || strchr(e.ip, ':')))
            e.ip[0] = 0;
        if (!*e.mac) {
            l->without_mac++;
            continue;
        }
        (void)snprintf(e.key, sizeof(e.key), "host %s", e.mac);
        int r = leases_put(l, &e, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static void read_options(struct leases *l, const json_t *list, const char *scope)
{
    static const struct {
        const char *name, *key;
        int code;
    } options[] = {{"subnet-mask", "netmask", 1},
                   {"routers", "gateway", 3},
                   {"domain-name-servers", "dns", 6},
                   {"domain-name", "domain", 15}};
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *name = json_text(o, "name"), *space = json_text(o, "space");
        long long code = json_integer_value(json_object_get(o, "code"));
        bool is_own = !*space || strcmp(space, "dhcp4") == 0; /* numbers of another space mean something else */
        char number[24], text[96];
        size_t k = 0;
        while (k < ARRAY_SIZE(options) &&
               !(is_own && (strcmp(name, options[k].name) == 0 || (!*name && code == options[k].code))))
            k++;
        if (k < ARRAY_SIZE(options)) {
            leases_set(l, options[k].key, json_text(o, "data"), scope);
            continue;
        }
        (void)snprintf(number, sizeof(number), "%lld", code);
        text_format(text, sizeof(text), "%s%s%.40s", *name ? name : number, is_own ? "" : " of space ",
                    is_own ? "" : space);
        leases_option(l, text, json_text(o, "data"), scope);
    }
}

static void read_pools(struct leases *l, const json_t *list, const char *scope)
{
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *pool = json_text(o, "pool"), *dash = strchr(pool, '-');
        char first[64] = "";
        if (!dash) {
            leases_option(l, "pool", pool, scope); /* "192.168.1.128/25" */
            continue;
        }
        (void)text_copy(pool, (size_t)(dash - pool), first, sizeof(first));
        leases_range(l, first, dash + 1, scope);
    }
}

static void read_others(struct leases *l, const json_t *o, const char *scope)
{
    static const char *const words[] = {"next-server", "boot-file-name", "server-hostname"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        leases_option(l, words[i], json_text(o, words[i]), scope);
}

/* A place with reservations: the whole, a shared network, a subnet. Places lie in each other no deeper than that. */
static int read_place(struct leases *l, const json_t *o, unsigned depth, struct err *err)
{
    static const char *const inner[] = {"subnet4", "shared-networks"};
    const char *scope = json_text(o, "subnet"), *slash = strchr(scope, '/');
    int r = read_reservations(l, json_object_get(o, "reservations"), err);
    read_options(l, json_object_get(o, "option-data"), scope);
    read_pools(l, json_object_get(o, "pools"), scope);
    read_others(l, o, scope);
    if (slash)
        leases_set(l, "netmask", slash, scope);
    for (size_t k = 0; k < ARRAY_SIZE(inner) && depth < 3; k++) {
        size_t i;
        const json_t *place;
        json_array_foreach(json_object_get(o, inner[k]), i, place)
        {
            r = r < 0 ? r : read_place(l, place, depth + 1, err);
        }
    }
    return r;
}

int leases_kea_json(struct leases *l, char *text, struct err *err)
{
    json_error_t e;
    drop_comments(text);
    drop_commas(text);
    json_t *o = json_loads(text, 0, &e);
    if (!o)
        return err_set(err, -EBADMSG, "it is no JSON: line %d: %s", e.line, text_quote(e.text));
    const json_t *place = json_object_get(o, "Dhcp4");
    if (!json_is_object(place))
        place = json_object_get(json_object_get(o, "arguments"), "Dhcp4"); /* as config-get prints it */
    int r = json_is_object(place)
                ? read_place(l, place, 0, err)
                : err_set(err, -EOPNOTSUPP, "it is JSON, but no configuration of Kea: it has no \"Dhcp4\"");
    json_decref(o);
    return r;
}
