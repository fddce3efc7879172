/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leases and reservations of a DHCP server as a source: tables "leases" (mac, ip, name, kind, expires, comment), "settings" and
 * "options" (what else the server gives out; for the report).
 *
 *   text -> entries, the last one of a key counts -> one row for each network card
 *
 * A card with several entries becomes one row: a reservation is before a lease, one that runs before one that expired, the one that expires last before
 * the others. What is left out is counted and said. Expired leases are rows, too: a PC that is switched off has one.
 */
#include "migrate/leases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text-file.h"
#include "migrate/text.h"

#define FILE_MAX (256u << 20)

/* --- entries --------------------------------------------------------------------------------------------------------- */

void lease_set_mac(struct lease *lease, const char *text)
{
    (void)text_copy(text, strlen(text), lease->raw_mac, sizeof(lease->raw_mac));
    (void)mac_from_text(text, strlen(text), lease->mac);
}

void lease_set_name(struct lease *lease, const char *text)
{
    size_t len = strcspn(text, ".");
    if (strcmp(text, "*") != 0)
        (void)text_copy(text, len, lease->name, sizeof(lease->name));
}

void leases_bad_line(struct leases *l, uint64_t line)
{
    l->first_bad_line = l->without_meaning++ ? l->first_bad_line : line;
}

static size_t slot_of(const struct leases *l, const char *key)
{
    size_t i = text_hash(key, strlen(key)) & (l->slot_count - 1);
    while (l->slots[i] && strcasecmp(l->list[l->slots[i] - 1].key, key) != 0)
        i = (i + 1) & (l->slot_count - 1);
    return i;
}

static bool grow(struct leases *l)
{
    size_t size = l->size ? l->size * 2 : 64;
    struct lease *list = reallocarray(l->list, size, sizeof(*list));
    if (!list)
        return false;
    l->list = list;
    uint32_t *slots = calloc(size * 2, sizeof(*slots));
    if (!slots)
        return false;
    free(l->slots);
    l->slots = slots;
    l->slot_count = size * 2;
    l->size = size;
    for (size_t i = 0; i < l->n; i++)
        l->slots[slot_of(l, l->list[i].key)] = (uint32_t)i + 1;
    return true;
}

int leases_put(struct leases *l, const struct lease *lease, struct err *err)
{
    if (l->n == LEASES_MAX)
        return err_set(err, -EFBIG, "it has more than %d leases", LEASES_MAX);
    if (l->n == l->size && !grow(l))
        return err_set(err, -ENOMEM, "there is not enough memory to read the leases");
    size_t slot = slot_of(l, lease->key);
    if (l->slots[slot]) {
        l->list[l->slots[slot] - 1] = *lease;
        l->replaced++;
        return 0;
    }
    l->list[l->n++] = *lease;
    l->slots[slot] = (uint32_t)l->n;
    return 0;
}

static void add_setting(struct leases *l, const char *key, const char *value, const char *scope, bool is_option)
{
    if (!*value)
        return;
    if (l->setting_count == LEASES_SETTINGS_MAX) {
        l->lost_settings++;
        return;
    }
    struct lease_setting *s = &l->settings[l->setting_count++];
    s->is_option = is_option;
    (void)text_copy(key, strlen(key), s->key, sizeof(s->key));
    (void)text_copy(value, strlen(value), s->value, sizeof(s->value));
    (void)text_copy(scope, strlen(scope), s->scope, sizeof(s->scope));
}

void leases_set(struct leases *l, const char *key, const char *value, const char *scope)
{
    add_setting(l, key, value, scope, false);
}

void leases_option(struct leases *l, const char *name, const char *value, const char *scope)
{
    char key[96];
    text_format(key, sizeof(key), "%s%s%s", name, *scope ? " of " : "", scope);
    add_setting(l, key, value, scope, true);
}

void leases_range(struct leases *l, const char *first, const char *last, const char *scope)
{
    char from[46], to[46];
    if (!ip_from_text(first, strlen(first), from) || !ip_from_text(last, strlen(last), to))
        return;
    leases_set(l, "range_first", from, scope);
    leases_set(l, "range_last", to, scope);
}

char *leases_line(char **rest, uint64_t *line)
{
    char *p = *rest;
    if (!*p)
        return NULL;
    size_t n = strcspn(p, "\n");
    *rest = p[n] ? p + n + 1 : p + n;
    p[n] = 0;
    if (n > 0 && p[n - 1] == '\r')
        p[n - 1] = 0;
    *line += 1;
    return p;
}

/* --- one row for each card ------------------------------------------------------------------------------------------- */

/* Which of two entries of one card says more: <0 the first. */
static int prefer(const struct lease *a, const struct lease *b)
{
    if (a->is_reservation != b->is_reservation)
        return a->is_reservation ? -1 : 1;
    if (a->is_expired != b->is_expired)
        return a->is_expired ? 1 : -1;
    if (a->expires_s != b->expires_s)
        return a->expires_s > b->expires_s ? -1 : 1;
    return a < b ? 1 : -1; /* the later one */
}

static int compare(const void *x, const void *y)
{
    const struct lease *a = *(const struct lease *const *)x, *b = *(const struct lease *const *)y;
    int r = strcmp(a->mac, b->mac);
    return a == b ? 0 : r ? r : prefer(a, b);
}

/* Of each card the best entry stays; a name that only another one has is taken along. The others are marked deleted. */
static int choose(struct source *s, struct leases *l, struct err *err)
{
    uint64_t left_out = 0;
    _cleanup_free_ struct lease **order = calloc(l->n ? l->n : 1, sizeof(struct lease *));
    if (!order)
        return err_set(err, -ENOMEM, "there is not enough memory to read the leases");
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct lease *e = &l->list[i];
        bool is_card = !e->is_deleted && *e->mac;
        l->without_mac += !e->is_deleted && !*e->mac;
        e->is_deleted = !is_card;
        if (is_card)
            order[n++] = e;
    }
    qsort(order, n, sizeof(struct lease *), compare);
    for (size_t i = 0, best = 0; i < n; i++) {
        if (strcmp(order[i]->mac, order[best]->mac) != 0)
            best = i;
        if (i == best)
            continue;
        if (!*order[best]->name)
            strcpy(order[best]->name, order[i]->name);
        order[i]->is_deleted = true;
        left_out++;
    }
    if (left_out)
        source_note(s, false,
                    "%llu entries are of network cards that have another entry, which says more; they are left out",
                    (unsigned long long)left_out);
    return 0;
}

static void say(struct source *s, const struct leases *l)
{
    uint64_t expired = 0;
    for (size_t i = 0; i < l->n; i++)
        expired += l->list[i].is_expired && !l->list[i].is_deleted;
    if (l->replaced)
        source_note(s, false, "%llu %s replaced by later ones of the same address or host",
                    (unsigned long long)l->replaced, l->replaced == 1 ? "entry was" : "entries were");
    if (expired)
        source_note(s, false, "%llu lease%s expired; the client%s in the list all the same",
                    (unsigned long long)expired, expired == 1 ? " has" : "s have", expired == 1 ? " is" : "s are");
    if (l->without_mac)
        source_note(s, false, "%llu %s without a MAC address %s left out", (unsigned long long)l->without_mac,
                    l->without_mac == 1 ? "entry" : "entries", l->without_mac == 1 ? "is" : "are");
    if (l->v6)
        source_note(s, false, "%llu %s of IPv6 %s left out", (unsigned long long)l->v6,
                    l->v6 == 1 ? "entry" : "entries", l->v6 == 1 ? "is" : "are");
    if (l->without_meaning)
        source_note(s, true, "%llu line%s not understood, the first is line %llu",
                    (unsigned long long)l->without_meaning, l->without_meaning == 1 ? " was" : "s were",
                    (unsigned long long)l->first_bad_line);
    if (l->lost_settings)
        source_note(s, true, "it has more than %d settings: %llu are not in the report", LEASES_SETTINGS_MAX,
                    (unsigned long long)l->lost_settings);
}

/* --- which format ---------------------------------------------------------------------------------------------------- */

static const struct dialect {
    const char *name, *format;
    leases_parse *parse;
} dialects[] = {
    {"dnsmasq", "dnsmasq leases or hosts", leases_dnsmasq},
    {"isc", "ISC dhcpd leases or hosts", leases_isc},
    {"kea", "Kea leases (CSV)", leases_kea_csv},
    {"kea", "Kea configuration (JSON)", leases_kea_json},
    {"netsh", "Windows DHCP server (netsh dump)", leases_netsh},
};

static bool has_word(const char *text, const char *word)
{
    return strcasestr(text, word) != NULL;
}

/* A first line of dnsmasq: a number, then a MAC. */
static bool is_dnsmasq(const char *text)
{
    char expiry[24], mac[64], ret[MAC_LEN + 1];
    if (has_word(text, "dhcp-host=") || strncmp(text, "duid ", 5) == 0)
        return true;
    return sscanf(text, "%23[0-9] %63s", expiry, mac) == 2 &&
           mac_from_text(strchr(mac, '-') == mac + 2 ? mac + 3 : mac,
                         strlen(strchr(mac, '-') == mac + 2 ? mac + 3 : mac), ret) < MAC_EMPTY;
}

static const struct dialect *guess(const char *text)
{
    const char *p = text;
    while (*p && strchr(" \t\r\n", *p))
        p++;
    if (strncmp(p, "address,hwaddr", 14) == 0)
        return &dialects[2];
    if (*p == '{' || has_word(text, "\"Dhcp4\""))
        return &dialects[3];
    if (has_word(text, "reservedip") || has_word(text, "dhcp server "))
        return &dialects[4];
    if (is_dnsmasq(p))
        return &dialects[0];
    if (strchr(text, '{') && (has_word(text, "lease ") || has_word(text, "host ") || has_word(text, "subnet ")))
        return &dialects[1];
    return NULL;
}

static const struct dialect *by_name(const char *name, const char *text)
{
    const char *p = text + strspn(text, " \t\r\n");
    if (strcasecmp(name, "kea") == 0)
        return &dialects[strncmp(p, "address,", 8) == 0 ? 2 : 3];
    for (size_t i = 0; i < ARRAY_SIZE(dialects); i++)
        if (strcasecmp(name, dialects[i].name) == 0)
            return &dialects[i];
    return NULL;
}

/* --- the reader ------------------------------------------------------------------------------------------------------ */

static void leases_close(struct source *s)
{
    struct leases *l = s->priv;
    if (!l)
        return;
    free(l->list);
    free(l->slots);
    free(l);
    s->priv = NULL;
}

static bool add_table(struct source *s, const char *name, const char *const *columns, size_t n)
{
    struct source_table *t = source_add_table(s, name, n);
    for (size_t i = 0; t && i < n; i++) {
        struct source_column *c = &((struct source_column *)t->columns)[i];
        (void)snprintf(c->name, sizeof(c->name), "%s", columns[i]);
        (void)snprintf(c->type, sizeof(c->type), "text");
    }
    return t != NULL;
}

static int read_all(struct source *s, struct leases *l, const struct source_options *o, struct err *err)
{
    _cleanup_(text_file_closep) struct text_file *f = NULL;
    _cleanup_free_ char *text = NULL;
    int r = text_file_open(s->path, o->charset, &f, err);
    if (r == 0)
        r = text_file_load(f, s->path, FILE_MAX, &text, err);
    if (r < 0)
        return r;
    const struct dialect *looks = guess(text), *d = looks; /* before it is read, which changes it */
    if (o->dialect && *o->dialect && !(d = by_name(o->dialect, text)))
        return err_set(err, -EINVAL, "there is no dialect '%s'; there are: dnsmasq, isc, kea, netsh",
                       text_quote(o->dialect));
    if (!d)
        return err_set(err, -EOPNOTSUPP,
                       "'%s' is not known as leases: there are the leases of dnsmasq and of ISC dhcpd (also host "
                       "blocks of dhcpd.conf), Kea's CSV and "
                       "JSON, and a dump of the Windows DHCP server (netsh dhcp server dump)",
                       text_quote(s->path));
    (void)snprintf(s->info.format, sizeof(s->info.format), "%s", d->format);
    (void)snprintf(s->info.charset, sizeof(s->info.charset), "%s", text_file_charset(f));
    text_file_say_guess(f, s);
    if (text_file_damaged(f))
        source_note(s, true, "%llu characters are not %s; give the right character set with --charset",
                    (unsigned long long)text_file_damaged(f), text_file_charset(f));
    r = d->parse(l, text, err);
    if (r == 0 && d != looks && l->n == 0 && l->setting_count == 0)
        r = err_set(err, -EOPNOTSUPP, "nothing in it is of the dialect '%s'%s%s", d->name,
                    looks ? "; it looks like " : ": give the file of the leases itself", looks ? looks->name : "");
    return r < 0 ? err_prefix(err, r, "'%s'", text_quote(s->path)) : 0;
}

static int leases_open(struct source *s, const char *path, const struct source_options *o, struct err *err)
{
    static const char *const lease_columns[] = {"mac", "ip", "name", "kind", "expires", "comment"};
    static const char *const setting_columns[] = {"name", "value", "scope"}; /* of the options, too */
    struct leases *l = calloc(1, sizeof(*l));
    if (!l)
        return err_set(err, -ENOMEM, "there is not enough memory to read the leases");
    s->priv = l;
    l->now_s = time(NULL);
    int r = read_all(s, l, o, err);
    if (r == 0)
        r = choose(s, l, err);
    if (r < 0)
        return r;
    say(s, l);
    if (!add_table(s, "leases", lease_columns, ARRAY_SIZE(lease_columns)) ||
        !add_table(s, "settings", setting_columns, ARRAY_SIZE(setting_columns)) ||
        !add_table(s, "options", setting_columns, ARRAY_SIZE(setting_columns)))
        return err_set(err, -ENOMEM, "there is not enough memory to read the leases");
    return 0;
}

static struct cell text_cell(const char *text)
{
    return (struct cell){.kind = *text ? CELL_TEXT : CELL_NONE, .text = text, .len = strlen(text)};
}

static int give_lease(const struct lease *e, source_each *each, void *arg, uint64_t number)
{
    char expires[32] = "";
    if (e->expires_s == LEASE_NEVER)
        strcpy(expires, "never");
    else if (e->expires_s > 0)
        time_text(expires, sizeof(expires), e->expires_s);
    struct cell cells[6] = {
        text_cell(e->raw_mac), text_cell(e->ip),
        text_cell(e->name),    text_cell(e->is_reservation ? "reservation" : e->is_expired ? "expired lease" : "lease"),
        text_cell(expires),    text_cell(e->comment)};
    return each(arg, number, cells);
}

static int leases_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    struct leases *l = s->priv;
    int r = 0;
    *ret_rows = 0;
    for (size_t k = 0; i == 0 && k < l->n && r == 0; k++)
        if (!l->list[k].is_deleted)
            r = give_lease(&l->list[k], each, arg, (*ret_rows)++);
    for (size_t k = 0; i > 0 && k < l->setting_count && r == 0; k++) {
        if (l->settings[k].is_option != (i == 2))
            continue;
        struct cell cells[3] = {text_cell(l->settings[k].key), text_cell(l->settings[k].value),
                                text_cell(l->settings[k].scope)};
        r = each(arg, (*ret_rows)++, cells);
    }
    return MIN(r, 0);
}

const struct source_reader leases_reader = {.open = leases_open, .rows = leases_rows, .close = leases_close};
