/* SPDX-License-Identifier: GPL-2.0-or-later */
/* site_record_read(): the tables of settings and DHCP options, brought into our words.
 *
 * The first value that can be read counts. Another one for the same thing (a second subnet) and all that has no place goes into rest, so
 * that nothing is lost from the report.
 */
#include "migrate/site.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/mapping-priv.h"
#include "migrate/normalise.h"
#include "migrate/record.h"
#include "migrate/text.h"

#define REST_VALUE 4096 /* bytes of a value that rest keeps */

enum site_key site_key_of_option(long long code)
{
    switch (code) {
    case 1:
        return SITE_NETMASK;
    case 3:
        return SITE_GATEWAY;
    case 6:
        return SITE_DNS;
    case 15:
        return SITE_DOMAIN;
    default:
        return SITE_NONE;
    }
}

enum site_key site_key_of_name(const char *name)
{
    static const struct {
        enum hint hint;
        enum site_key key;
    } keys[] = {
        {HINT_RANGE_FIRST, SITE_RANGE_FIRST},
        {HINT_RANGE_LAST, SITE_RANGE_LAST},
        {HINT_NETMASK, SITE_NETMASK},
        {HINT_GATEWAY, SITE_GATEWAY},
        {HINT_DNS, SITE_DNS},
        {HINT_DOMAIN, SITE_DOMAIN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (hint_of(keys[i].hint, name) >= 0.15)
            return keys[i].key;
    return SITE_NONE;
}

/* Titles of an INI file's sections that are clients, sorted. */
struct clients {
    char **titles;
    size_t n;
    int mac; /* column of the table of sections */
};

struct reading {
    const struct site_item *item;
    const struct clients *clients;
    const struct source_table *table;
    struct site_record *site;
    struct text_out rest;
    uint64_t rows; /* number of the row that is read */
};

/* Put @text where @key says; false when it cannot be read or something is there already. */
static bool put(struct site_record *site, enum site_key key, const char *text, size_t len)
{
    char list[96] = "";
    char *place = key == SITE_NETMASK       ? site->netmask
                  : key == SITE_GATEWAY     ? site->gateway
                  : key == SITE_RANGE_FIRST ? site->range_first
                  : key == SITE_RANGE_LAST  ? site->range_last
                  : key == SITE_DNS         ? site->dns
                                            : site->domain;
    if (key == SITE_NONE || (*place && key != SITE_DNS))
        return false;
    switch (key) {
    case SITE_NETMASK:
        return mask_from_text(text, len, place);
    case SITE_DNS:
        strcpy(list, site->dns);
        if (!dns_add(list, text, len) || strcmp(list, site->dns) == 0)
            return false;
        strcpy(site->dns, list);
        return dns_is_whole(list, text, len);
    case SITE_DOMAIN:
        len = text_trim(&text, len);
        if (len == 0 || len >= sizeof(site->domain))
            return false;
        (void)text_copy(text, len, site->domain, sizeof(site->domain));
        return true;
    default:
        return ip_from_text(text, len, place);
    }
}

static void keep(struct reading *r, const char *key, const struct cell *c)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    char own[660], quoted[660];
    text_format(own, sizeof(own), "%s", key);
    (void)snprintf(quoted, sizeof(quoted), "\"%.640s\":", key);
    r->rest.buf[r->rest.len] = 0;
    if (strstr(r->rest.buf, quoted)) /* a key of JSON is there once only */
        text_format(own, sizeof(own), "%.600s (row %llu)", key, (unsigned long long)r->rows + 1);
    if (!cell_is_empty(c) && c->kind != CELL_BYTES)
        text_json_member(&r->rest, own, text, len, REST_VALUE);
}

static void key_text(const struct reading *r, const struct cell *c, char *ret, size_t size)
{
    char buf[64], key[128];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    (void)text_copy(text, len, key, sizeof(key));
    text_format(ret, size, r->item->kind == SITE_OPTIONS ? "%s, option %s" : "%s, %s", r->table->name, key);
}

static void put_pair(struct reading *r, const struct cell *cells)
{
    char buf[64], kbuf[64], name[400], raw[128];
    size_t len, key_len;
    const struct cell *key = &cells[r->item->key], *value = &cells[r->item->value];
    const char *text = cell_text(value, buf, &len), *key_raw = cell_text(key, kbuf, &key_len);
    enum site_key k;
    (void)text_copy(key_raw, key_len, raw, sizeof(raw));
    if (r->item->kind == SITE_OPTIONS)
        k = key_len < 8 ? site_key_of_option(strtoll(raw, NULL, 10)) : SITE_NONE;
    else
        k = site_key_of_name(raw);
    if (cell_is_empty(key) || cell_is_empty(value) || put(r->site, k, text, len))
        return;
    key_text(r, key, name, sizeof(name));
    keep(r, name, value);
}

static void put_columns(struct reading *r, const struct cell *cells)
{
    for (size_t i = 0; i < r->table->column_count; i++) {
        char buf[64], name[600];
        size_t len;
        const char *text = cell_text(&cells[i], buf, &len);
        if (cell_is_empty(&cells[i]) || put(r->site, site_key_of_name(r->table->columns[i].name), text, len))
            continue;
        text_format(name, sizeof(name), "%s, %s", r->table->name, r->table->columns[i].name);
        keep(r, name, &cells[i]);
    }
}

static int compare_titles(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int note_client(void *arg, uint64_t number, const struct cell *cells)
{
    struct clients *c = arg;
    (void)number;
    if (cell_is_empty(&cells[c->mac]))
        return 0;
    char **more = reallocarray(c->titles, c->n + 1, sizeof(*more));
    char *title = more ? strdup(cells[0].text) : NULL;
    c->titles = more ? more : c->titles;
    if (!title)
        return -ENOMEM;
    c->titles[c->n++] = title;
    return 0;
}

static void finish_clients(struct clients *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->titles[i]);
    free(c->titles);
}

/* In an INI file the table of settings has the keys of all sections, also of those that are clients: they say nothing about the site. */
static int find_clients(struct source *s, const struct mapping *m, struct clients *ret, struct err *err)
{
    const struct item *mac = m->table > 0 ? mapping_item(m, ROLE_MAC) : NULL;
    const struct source_table *t = mac ? source_table(s, (size_t)m->table) : NULL;
    if (!t || t->column_count == 0 || strcmp(t->columns[0].name, INI_SECTION_COLUMN) != 0)
        return 0;
    ret->mac = mac->columns[0];
    int e = source_rows(s, (size_t)m->table, note_client, ret, NULL, err);
    if (ret->n > 1)
        qsort(ret->titles, ret->n, sizeof(*ret->titles), compare_titles);
    return e == -ENOMEM ? err_set(err, e, "there is not enough memory to read the settings of the site") : e;
}

static bool is_client(const struct reading *r, const struct cell *section)
{
    return r->clients->n > 0 &&
           bsearch(&section->text, r->clients->titles, r->clients->n, sizeof(*r->clients->titles), compare_titles);
}

static int read_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct reading *r = arg;
    r->rows = number;
    if (is_client(r, &cells[0]))
        return 0;
    if (r->item->kind == SITE_COLUMNS)
        put_columns(r, cells);
    else
        put_pair(r, cells);
    return 0;
}

int site_record_read(struct source *s, const struct mapping *m, struct site_record *ret, struct err *err)
{
    _cleanup_(finish_clients) struct clients clients = {0};
    struct reading r = {.site = ret, .clients = &clients};
    memset(ret, 0, sizeof(*ret));
    int e = m->site_count > 0 ? find_clients(s, m, &clients, err) : 0;
    if (e < 0)
        return e;
    text_json_begin(&r.rest, ret->rest, sizeof(ret->rest));
    for (unsigned i = 0; i < m->site_count; i++) {
        r.item = &m->sites[i];
        r.table = source_table(s, (size_t)r.item->table);
        e = source_rows(s, (size_t)r.item->table, read_row, &r, NULL, err);
        if (e < 0)
            return e;
    }
    text_json_end(&r.rest);
    return 0;
}
