/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ISC dhcpd: dhcpd.leases, and host blocks and options of dhcpd.conf.
 *
 *   lease 192.168.1.10 { ends 4 2026/01/01 12:00:00; hardware ethernet 00:..; client-hostname "pc01"; binding state active; }
 *   host pc01 { hardware ethernet 00:..; fixed-address 192.168.1.10; option host-name "x"; deleted; }
 *   subnet 192.168.1.0 netmask 255.255.255.0 { option routers 192.168.1.1; range 192.168.1.10 192.168.1.99; }
 *
 * dhcpd.leases is a log: the last lease of an address counts. Words are cut as dhcpd does it; statements that mean nothing here are passed over.
 *
 * Source: dhcpd.leases(5), dhcpd.conf(5) (documented).
 */
#include "migrate/leases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define WORDS_MAX 16
#define DEPTH_MAX 32

enum block { BLOCK_OTHER, BLOCK_LEASE, BLOCK_HOST, BLOCK_SUBNET };

struct isc {
    struct leases *l;
    char words[WORDS_MAX][128];
    unsigned count; /* of the statement; words beyond are dropped */
    enum block stack[DEPTH_MAX];
    unsigned depth;
    struct lease lease;
    bool is_abandoned;
    char scope[64];
    uint64_t line;
};

static const char *word(const struct isc *p, unsigned i)
{
    return i < p->count ? p->words[i] : "";
}

static bool is(const struct isc *p, unsigned i, const char *text)
{
    return strcmp(word(p, i), text) == 0;
}

/* "ends 4 2026/01/01 12:00:00" (UTC), "ends epoch 1767268800", "ends never". */
static void read_end(struct isc *p)
{
    struct tm tm = {0};
    if (is(p, 1, "never")) {
        p->lease.expires_s = LEASE_NEVER;
        return;
    }
    if (is(p, 1, "epoch")) {
        p->lease.expires_s = strtoll(word(p, 2), NULL, 10);
        return;
    }
    if (sscanf(word(p, 2), "%4d/%2d/%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday) == 3 &&
        sscanf(word(p, 3), "%2d:%2d:%2d", &tm.tm_hour, &tm.tm_min, &tm.tm_sec) == 3) {
        tm.tm_year -= 1900;
        tm.tm_mon -= 1;
        p->lease.expires_s = timegm(&tm);
    }
}

static void in_entry(struct isc *p)
{
    if (is(p, 0, "hardware") && is(p, 1, "ethernet"))
        lease_set_mac(&p->lease, word(p, 2));
    else if (is(p, 0, "client-hostname") || (is(p, 0, "option") && is(p, 1, "host-name")))
        lease_set_name(&p->lease, word(p, is(p, 0, "option") ? 2 : 1));
    else if (is(p, 0, "fixed-address"))
        (void)ip_from_text(word(p, 1), strlen(word(p, 1)),
                           p->lease.ip); /* a host name stands there, too: no address then */
    else if (is(p, 0, "ends"))
        read_end(p);
    else if (is(p, 0, "binding") && !is(p, 2, "active")) {
        p->lease.is_expired = true;
        p->is_abandoned |= is(p, 2, "abandoned");
    } else if (is(p, 0, "deleted"))
        p->lease.is_deleted = true;
}

/* The words of the statement from number @first on. */
static void join(const struct isc *p, unsigned first, char *ret, size_t size)
{
    size_t n = 0;
    ret[0] = 0;
    for (unsigned i = first; i < p->count && n + 1 < size; i++, n = strlen(ret))
        text_format(ret + n, size - n, "%s%s", n ? " " : "", word(p, i));
}

/* What is given to clients and has no place here; definitions of options are none. */
static void other_setting(struct isc *p)
{
    static const char *const words[] = {"filename", "next-server", "server-name", "default-lease-time",
                                        "max-lease-time"};
    char value[256];
    bool is_option = is(p, 0, "option") && p->count > 2 && !is(p, 1, "space") && !is(p, 2, "code");
    for (size_t i = 0; i < ARRAY_SIZE(words) && !is_option; i++)
        if (is(p, 0, words[i])) {
            join(p, 1, value, sizeof(value));
            leases_option(p->l, words[i], value, p->scope);
        }
    if (!is_option)
        return;
    join(p, 2, value, sizeof(value));
    leases_option(p->l, word(p, 1), value, p->scope);
}

static void setting(struct isc *p)
{
    char list[256];
    if (is(p, 0, "range")) {
        unsigned first = is(p, 1, "dynamic-bootp") ? 2 : 1;
        leases_range(p->l, word(p, first), word(p, first + (p->count > first + 1)), p->scope);
    } else if (is(p, 0, "option") && is(p, 1, "routers")) {
        leases_set(p->l, "gateway", word(p, 2), p->scope);
    } else if (is(p, 0, "option") && is(p, 1, "subnet-mask")) {
        leases_set(p->l, "netmask", word(p, 2), p->scope);
    } else if (is(p, 0, "option") && is(p, 1, "domain-name")) {
        leases_set(p->l, "domain", word(p, 2), p->scope);
    } else if (is(p, 0, "option") && is(p, 1, "domain-name-servers")) {
        join(p, 2, list, sizeof(list));
        leases_set(p->l, "dns", list, p->scope);
    } else
        other_setting(p);
}

static enum block inner(const struct isc *p)
{
    return p->depth > 0 ? p->stack[p->depth - 1] : BLOCK_OTHER;
}

static void statement(struct isc *p)
{
    if (p->count > 0 && (inner(p) == BLOCK_LEASE || inner(p) == BLOCK_HOST))
        in_entry(p);
    else if (p->count > 0)
        setting(p);
    p->count = 0;
}

static int open_block(struct isc *p, struct err *err)
{
    enum block b = BLOCK_OTHER;
    if (p->depth == DEPTH_MAX)
        return err_set(err, -EBADMSG, "line %llu: there are more than %d blocks inside of each other",
                       (unsigned long long)p->line, DEPTH_MAX);
    if (inner(p) == BLOCK_LEASE || inner(p) == BLOCK_HOST) {
        b = inner(p); /* "on commit { ... }" inside of a lease */
    } else if (is(p, 0, "lease") || is(p, 0, "host")) {
        b = is(p, 0, "lease") ? BLOCK_LEASE : BLOCK_HOST;
        p->lease = (struct lease){.is_reservation = b == BLOCK_HOST};
        p->is_abandoned = false;
        (void)snprintf(p->lease.key, sizeof(p->lease.key), "%s%.70s", b == BLOCK_HOST ? "host " : "", word(p, 1));
        if (b == BLOCK_HOST)
            lease_set_name(&p->lease, word(p, 1));
        else
            (void)ip_from_text(word(p, 1), strlen(word(p, 1)), p->lease.ip);
    } else if (is(p, 0, "subnet")) {
        b = BLOCK_SUBNET;
        (void)snprintf(p->scope, sizeof(p->scope), "%.60s", word(p, 1));
        leases_set(p->l, "netmask", word(p, 3), p->scope);
    } else if (is(p, 0, "ia-na") || is(p, 0, "ia-ta") || is(p, 0, "ia-pd")) {
        p->l->v6++;
    }
    p->stack[p->depth++] = b;
    p->count = 0;
    return 0;
}

static int put(struct isc *p, struct err *err)
{
    struct lease *e = &p->lease;
    if (e->expires_s && e->expires_s != LEASE_NEVER && e->expires_s < p->l->now_s)
        e->is_expired = true;
    if (p->is_abandoned)
        e->mac[0] = 0;
    return leases_put(p->l, e, err);
}

static int close_block(struct isc *p, struct err *err)
{
    if (p->depth == 0)
        return err_set(err, -EBADMSG, "line %llu: a '}' closes nothing", (unsigned long long)p->line);
    enum block b = p->stack[--p->depth];
    p->count = 0;
    if ((b == BLOCK_LEASE || b == BLOCK_HOST) && inner(p) != b)
        return put(p, err);
    if (b == BLOCK_SUBNET)
        p->scope[0] = 0;
    return 0;
}

/* A word or quoted text at *text into the statement. */
static void take_word(struct isc *p, const char **text)
{
    char own[128];
    size_t n = 0;
    bool is_quoted = **text == '"';
    const char *q = *text + is_quoted;
    while (*q && (is_quoted ? *q != '"' : !strchr(" \t\r\n{};,\"#", *q))) {
        if (is_quoted && *q == '\\' && q[1])
            q++;
        p->line += *q == '\n';
        if (n + 1 < sizeof(own))
            own[n++] = *q;
        q++;
    }
    own[n] = 0;
    while (n > 0 && ((unsigned char)own[n - 1] & 0xc0) == 0x80 && n + 1 == sizeof(own)) /* cut in a character */
        own[--n] = 0;
    *text = q + (is_quoted && *q == '"');
    if (p->count < WORDS_MAX)
        strcpy(p->words[p->count++], own);
}

int leases_isc(struct leases *l, char *text, struct err *err)
{
    _cleanup_free_ struct isc *p = calloc(1, sizeof(*p));
    int r = 0;
    if (!p)
        return err_set(err, -ENOMEM, "there is not enough memory to read the leases");
    p->l = l;
    p->line = 1;
    for (const char *q = text; *q && r == 0;) {
        p->line += *q == '\n';
        if (*q == '#')
            q += strcspn(q, "\n");
        else if (strchr(" \t\r\n,", *q))
            q++;
        else if (strchr(";{}", *q)) {
            char ch = *q++;
            if (ch == ';')
                statement(p);
            else
                r = ch == '{' ? open_block(p, err) : close_block(p, err);
        } else
            take_word(p, &q);
    }
    if (r == 0 && p->depth > 0)
        leases_bad_line(l, p->line); /* cut off: the last block is not complete and is not used */
    return r;
}
