/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq: the leases file, and lines dhcp-host=, dhcp-range=, dhcp-option= of its configuration.
 *
 *   leases   EXPIRY MAC IP NAME|* CLIENT-ID    EXPIRY is Unix time, 0 = never; MAC may have the type of hardware in front, "06-"
 *            duid ...                          IPv6 leases follow
 *   hosts    dhcp-host=[MAC|id:..|set:..|tag:..],[MAC],[IP],[NAME],[LEASE TIME|infinite|ignore]
 *
 * Source: dnsmasq(8), lease.c of dnsmasq 2.90 (documented).
 */
#include "migrate/leases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

/* "06-00:11:22:33:44:55" -> "00:11:22:33:44:55". */
static const char *without_type(const char *mac)
{
    return strlen(mac) > 3 && mac[2] == '-' && strchr(mac, ':') ? mac + 3 : mac;
}

static int read_lease(struct leases *l, char *line, uint64_t number, struct err *err)
{
    char expiry[24], mac[64], ip[64], name[256];
    struct lease e = {0};
    if (sscanf(line, "%23s %63s %63s %255s", expiry, mac, ip, name) != 4 ||
        strspn(expiry, "0123456789") != strlen(expiry)) {
        leases_bad_line(l, number);
        return 0;
    }
    if (strchr(ip, ':')) {
        l->v6++;
        return 0;
    }
    lease_set_mac(&e, without_type(mac));
    lease_set_name(&e, name);
    if (!ip_from_text(ip, strlen(ip), e.ip) || !*e.mac) {
        leases_bad_line(l, number);
        return 0;
    }
    int64_t expires = strtoll(expiry, NULL, 10);
    e.expires_s = expires == 0 ? LEASE_NEVER : expires;
    e.is_expired = expires != 0 && expires < l->now_s;
    strcpy(e.key, e.ip);
    return leases_put(l, &e, err);
}

static bool is_time(const char *word)
{
    size_t digits = strspn(word, "0123456789");
    return strcmp(word, "infinite") == 0 ||
           (digits > 0 && (!word[digits] || (strchr("smhdw", word[digits]) && !word[digits + 1])));
}

/* One entry for each MAC of the line. */
static int read_host(struct leases *l, char *value, uint64_t number, struct err *err)
{
    char macs[8][MAC_LEN + 1];
    unsigned n = 0;
    struct lease e = {.is_reservation = true};
    char *save = NULL;
    for (char *word = strtok_r(value, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        char mac[MAC_LEN + 1], ip[46];
        word += strspn(word, " \t");
        word[strcspn(word, " \t\r#")] = 0;
        if (mac_from_text(without_type(word), strlen(without_type(word)), mac) < MAC_EMPTY && n < ARRAY_SIZE(macs))
            strcpy(macs[n++], mac);
        else if (ip_from_text(word, strlen(word), ip) && !strchr(ip, ':'))
            strcpy(e.ip, ip);
        else if (strcmp(word, "ignore") == 0)
            strcpy(e.comment, "dnsmasq ignores this client");
        else if (*word && !strchr(word, ':') && *word != '[' && !is_time(word))
            lease_set_name(&e, word);
    }
    l->without_mac += n == 0;
    for (unsigned i = 0; i < n; i++) {
        lease_set_mac(&e, macs[i]);
        (void)snprintf(e.key, sizeof(e.key), "host %.17s", macs[i]);
        int r = leases_put(l, &e, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* dhcp-option=[tag:X,]3,192.168.1.1 or option:router,192.168.1.1 */
static void read_option(struct leases *l, char *value)
{
    static const struct {
        const char *number, *name, *key;
    } options[] = {{"1", "option:netmask", "netmask"},
                   {"3", "option:router", "gateway"},
                   {"6", "option:dns-server", "dns"},
                   {"15", "option:domain-name", "domain"}};
    while (strncmp(value, "tag:", 4) == 0 || strncmp(value, "set:", 4) == 0) {
        char *comma = strchr(value, ',');
        if (!comma)
            return;
        value = comma + 1;
    }
    char *comma = strchr(value, ',');
    if (!comma)
        return;
    *comma = 0;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(value, options[i].number) == 0 || strcmp(value, options[i].name) == 0) {
            leases_set(l, options[i].key, comma + 1, "");
            return;
        }
    leases_option(l, value, comma + 1, "");
}

/* dhcp-range=[tag:X,]FIRST,LAST[,MASK][,...]; or FIRST,static and FIRST,proxy, which are no range. */
static void read_range(struct leases *l, char *value)
{
    char *save = NULL, whole[256];
    char ips[3][46] = {""};
    unsigned n = 0;
    (void)text_copy(value, strlen(value), whole, sizeof(whole));
    for (char *word = strtok_r(value, ",", &save); word && n < 3; word = strtok_r(NULL, ",", &save))
        n += ip_from_text(word, strlen(word), ips[n]) && !strchr(ips[n], ':');
    if (n < 2)
        leases_option(l, "dhcp-range", whole, "");
    else
        leases_range(l, ips[0], ips[1], "");
    if (n == 3)
        leases_set(l, "netmask", ips[2], "");
}

/* Ends the line where a remark begins: # behind a blank, outside of quotes. */
static void drop_remark(char *line)
{
    bool is_quoted = false;
    for (char *p = line; *p; p++) {
        is_quoted ^= *p == '"';
        if (*p == '#' && !is_quoted && p > line && (p[-1] == ' ' || p[-1] == '\t'))
            *p = 0;
        if (!*p)
            break;
    }
    for (size_t n = strlen(line); n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'); n--)
        line[n - 1] = 0;
}

/* Lines of the configuration that say something to clients, and have no place here. */
static void read_other(struct leases *l, char *line)
{
    static const char *const words[] = {"dhcp-boot", "dhcp-option-force", "pxe-service", "dhcp-lease-max"};
    char *value = strchr(line, '=');
    if (!value)
        return;
    *value++ = 0;
    if (strcmp(line, "domain") == 0) {
        value[strcspn(value, ",")] = 0;
        leases_set(l, "domain", value, "");
    }
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(line, words[i]) == 0)
            leases_option(l, words[i], value, "");
}

int leases_dnsmasq(struct leases *l, char *text, struct err *err)
{
    uint64_t number = 0;
    char *line;
    int r = 0;
    while (r == 0 && (line = leases_line(&text, &number))) {
        line += strspn(line, " \t");
        if (!*line || *line == '#')
            continue;
        drop_remark(line);
        if (strncmp(line, "dhcp-host=", 10) == 0)
            r = read_host(l, line + 10, number, err);
        else if (strncmp(line, "dhcp-option=", 12) == 0)
            read_option(l, line + 12);
        else if (strncmp(line, "dhcp-range=", 11) == 0)
            read_range(l, line + 11);
        else if (*line >= '0' && *line <= '9')
            r = read_lease(l, line, number, err);
        else if (strchr(line, '='))
            read_other(l, line);
        else if (strncmp(line, "duid ", 5) != 0 && strchr(line, ' '))
            leases_bad_line(l, number);
    }
    return r;
}
