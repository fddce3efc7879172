/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Windows DHCP server: what `netsh dhcp server dump` prints (often UTF-16).
 *
 *   Dhcp Server \\SRV add scope 192.168.1.0 255.255.255.0 "LAN" ""
 *   Dhcp Server \\SRV Scope 192.168.1.0 Add iprange 192.168.1.10 192.168.1.99
 *   Dhcp Server \\SRV Scope 192.168.1.0 Add reservedip 192.168.1.10 001122334455 "pc01.cafe.local" "comment" "BOTH"
 *   Dhcp Server \\SRV Scope 192.168.1.0 set optionvalue 3 IPADDRESS "192.168.1.1"
 *
 * All else in it is passed over. A MAC of a reservation may be longer than six bytes (a client id): then it has none for us.
 *
 * Source: Microsoft, "Netsh commands for DHCP server" (documented).
 */
#include "migrate/leases.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define WORDS_MAX 24

/* Words of a line, quoted ones without their quotes; the line is changed. */
static unsigned cut(char *p, char *words[WORDS_MAX])
{
    unsigned n = 0;
    while (n < WORDS_MAX) {
        p += strspn(p, " \t");
        if (!*p)
            break;
        bool is_quoted = *p == '"';
        words[n++] = p += is_quoted;
        p += strcspn(p, is_quoted ? "\"" : " \t");
        if (!*p)
            break;
        *p++ = 0;
    }
    return n;
}

/* The number of the word behind which the command's arguments stand: "add reservedip" -> the word after it; 0 = it is not there. */
static unsigned behind(char *const *words, unsigned n, const char *verb, const char *noun)
{
    for (unsigned i = 0; i + 1 < n; i++)
        if (strcasecmp(words[i], verb) == 0 && strcasecmp(words[i + 1], noun) == 0)
            return i + 2;
    return 0;
}

/* The word behind the one that is called @what; empty when there is none. */
static const char *word_behind(char *const *words, unsigned n, const char *what)
{
    for (unsigned i = 0; i + 1 < n; i++)
        if (strcasecmp(words[i], what) == 0)
            return words[i + 1];
    return "";
}

static int reservation(struct leases *l, char *const *args, unsigned n, uint64_t line, struct err *err)
{
    struct lease e = {.is_reservation = true};
    if (n < 2 || !ip_from_text(args[0], strlen(args[0]), e.ip)) {
        leases_bad_line(l, line);
        return 0;
    }
    lease_set_mac(&e, args[1]);
    if (n > 2)
        lease_set_name(&e, args[2]);
    if (n > 3)
        (void)text_copy(args[3], strlen(args[3]), e.comment, sizeof(e.comment));
    (void)snprintf(e.key, sizeof(e.key), "host %s", e.ip);
    return leases_put(l, &e, err);
}

/* @args: CODE TYPE VALUE...; @who is the address of a reservation that has the option for itself, else empty. */
static void option(struct leases *l, char *const *args, unsigned n, const char *scope, const char *who)
{
    static const struct {
        const char *code, *key;
    } options[] = {{"1", "netmask"}, {"3", "gateway"}, {"6", "dns"}, {"15", "domain"}};
    char list[256] = "";
    for (unsigned i = 2; i < n; i++) {
        size_t len = strlen(list);
        if (len + 8 < sizeof(list))
            text_format(list + len, sizeof(list) - len, "%s%s", len ? " " : "", args[i]);
    }
    for (size_t k = 0; n > 2 && !*who && k < ARRAY_SIZE(options); k++)
        if (strcmp(args[0], options[k].code) == 0) {
            leases_set(l, options[k].key, options[k].code[0] == '6' ? list : args[2], scope);
            return;
        }
    if (n > 2)
        leases_option(l, args[0], list, *who ? who : scope);
}

static void exclusion(struct leases *l, char *const *args, unsigned n, const char *scope)
{
    char text[100];
    if (n < 2)
        return;
    (void)snprintf(text, sizeof(text), "%.45s-%.45s", args[0], args[1]);
    leases_option(l, "addresses that are not given out", text, scope);
}

int leases_netsh(struct leases *l, char *text, struct err *err)
{
    uint64_t number = 0;
    char *line;
    int r = 0;
    while (r == 0 && (line = leases_line(&text, &number))) {
        char *words[WORDS_MAX];
        unsigned n = *line == '#' ? 0 : cut(line, words), at;
        const char *scope = word_behind(words, n, "scope");
        if ((at = behind(words, n, "add", "reservedip")))
            r = reservation(l, words + at, n - at, number, err);
        else if ((at = behind(words, n, "add", "scope")) && n > at + 1)
            leases_set(l, "netmask", words[at + 1], words[at]);
        else if ((at = behind(words, n, "add", "iprange")) && n > at + 1)
            leases_range(l, words[at], words[at + 1], scope);
        else if ((at = behind(words, n, "add", "excluderange")))
            exclusion(l, words + at, n - at, scope);
        else if ((at = behind(words, n, "set", "optionvalue")))
            option(l, words + at, n - at, scope, word_behind(words, n, "reservedip"));
    }
    return r;
}
