/* SPDX-License-Identifier: GPL-2.0-or-later */
/* records_read(): one pass over the client table, one record a row, by the mapping.
 *
 *   columns with a role -> their field, normalised, or its raw text and a doubt
 *   all other columns   -> rest, as JSON
 *
 * (1) each row of the table is one call of @each, whatever is in it; what was not read stays visible in raw text, doubt or rest.
 * (2) Memory: one record, and the tables that are looked up in (lookup.h).
 *
 * A record is large, so a new row clears only what is looked at: strings get an end, images their count.
 *
 * A column with a role goes into rest as well where its value does not fit its field: a long comment, a group that must be called otherwise here.
 */
#include "migrate/record-priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/catalog.h"
#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define REST_VALUE (600u << 10) /* bytes of a value that rest keeps */

static void clear(struct record *rec, uint64_t row)
{
    rec->row = row;
    rec->mac_status = MAC_EMPTY;
    rec->is_disabled = false;
    rec->image_count = 0;
    rec->source_id[0] = rec->raw_mac[0] = rec->mac[0] = rec->raw_name[0] = rec->name[0] = 0;
    rec->ip[0] = rec->netmask[0] = rec->gateway[0] = rec->dns[0] = 0;
    rec->group[0] = rec->raw_group[0] = rec->comment[0] = rec->doubt[0] = 0;
}

static const char *trimmed(const struct cell *c, char buf[64], size_t *ret_len)
{
    const char *text = cell_text(c, buf, ret_len);
    *ret_len = text_trim(&text, *ret_len);
    return text;
}

static bool copy(const struct cell *c, char *ret, size_t size)
{
    char buf[64];
    size_t len;
    const char *text = trimmed(c, buf, &len);
    return text_copy(text, len, ret, size);
}

static void keep(struct record_reading *r, int column, const char *text)
{
    if (r->kept_count < RECORD_KEPT_MAX)
        r->kept[r->kept_count++] = (struct record_kept){column, text};
}

static void doubt_value(struct record_reading *r, const char *what, const struct cell *c)
{
    char buf[64], text[80];
    size_t len;
    const char *p = trimmed(c, buf, &len);
    (void)text_copy(p, len, text, sizeof(text));
    record_doubt(r, "Its %s '%s' cannot be read.", what, text_quote(text));
}

/* --- roles ------------------------------------------------------------------------------------------------------------ */

/* One byte of a MAC in six columns. */
static int mac_byte(const struct cell *c)
{
    unsigned v;
    char end;
    if (c->kind == CELL_INT)
        return c->integer >= 0 && c->integer <= 255 ? (int)c->integer : -1;
    if (c->kind == CELL_BYTES && c->len == 1)
        return (unsigned char)*c->text;
    bool is_hex =
        c->kind == CELL_TEXT && c->len >= 1 && c->len <= 2 && strspn(c->text, "0123456789abcdefABCDEF") == c->len;
    return is_hex && sscanf(c->text, "%2x%c", &v, &end) == 1 ? (int)v : -1;
}

static void read_mac_bytes(struct record *rec, const struct item *item, const struct cell *cells)
{
    unsigned char bytes[MAC_COLUMNS];
    unsigned empty = 0, bad = 0;
    for (int i = 0; i < MAC_COLUMNS; i++) {
        const struct cell *c = &cells[item->columns[i]];
        size_t n = strlen(rec->raw_mac);
        char text[40];
        int b = mac_byte(c);
        (void)copy(c, text, sizeof(text));
        if (b >= 0)
            (void)snprintf(text, sizeof(text), "%02x", (unsigned)b);
        (void)snprintf(rec->raw_mac + n, sizeof(rec->raw_mac) - n, "%s%s", i ? ":" : "", text);
        empty += cell_is_empty(c);
        bad += b < 0;
        bytes[i] = (unsigned char)b;
    }
    rec->mac_status = empty == MAC_COLUMNS ? MAC_EMPTY : bad ? MAC_BAD_FORM : mac_from_bytes(bytes, rec->mac);
}

static void read_mac(struct record_reading *r, const struct item *item, const struct cell *cells)
{
    const struct cell *c = &cells[item->columns[0]];
    if (item->column_count == MAC_COLUMNS) {
        read_mac_bytes(&r->record, item, cells);
        return;
    }
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    (void)text_copy(text, len, r->record.raw_mac, sizeof(r->record.raw_mac));
    r->record.mac_status = mac_from_cell(c, r->record.mac);
    if (c->kind == CELL_BAD)
        record_doubt(r, "Its MAC cannot be read: the value is %s.", text_quote(c->text));
}

static void read_address(struct record_reading *r, const char *what, const struct cell *c, char *ret)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    if (!cell_is_empty(c) && !ip_is_none(text, len) && (c->kind != CELL_TEXT || !ip_from_text(text, len, ret)))
        doubt_value(r, what, c);
}

static void read_mask(struct record_reading *r, const struct cell *c)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    if (!cell_is_empty(c) && !ip_is_none(text, len) && !mask_from_text(text, len, r->record.netmask))
        doubt_value(r, "netmask", c);
}

static void read_dns(struct record_reading *r, int column, const struct cell *c)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    if (cell_is_empty(c))
        return;
    if (!dns_add(r->record.dns, text, len))
        doubt_value(r, "DNS server", c);
    else if (!dns_is_whole(r->record.dns, text, len))
        keep(r, column, NULL); /* there is place for two */
}

/* One more of those that are called otherwise here, for the page. */
static void say_group(struct record_reading *r)
{
    const struct record *rec = &r->record;
    uint32_t hash = (uint32_t)text_hash(rec->raw_group, strlen(rec->raw_group));
    char shown[100];
    size_t n = strlen(r->groups);
    for (unsigned i = 0; i < r->group_count; i++)
        if (r->groups_said[i] == hash)
            return;
    if (r->group_count < ARRAY_SIZE(r->groups_said))
        r->groups_said[r->group_count++] = hash;
    if (n + 200 < sizeof(r->groups))
        text_format(r->groups + n, sizeof(r->groups) - n, "%s'%s' is %s", n ? ", " : "",
                    text_shown(rec->raw_group, shown, sizeof(shown)), rec->group);
    else
        r->group_more = true;
}

static void read_group(struct record_reading *r, unsigned n, const struct cell *c)
{
    struct record *rec = &r->record;
    char key[512];
    (void)copy(c, rec->raw_group, sizeof(rec->raw_group));
    if (r->m->items[n].hop_count > 0 && cell_key(c, key, sizeof(key))) {
        const struct lookup_row *row = lookup_find(r->lookups[n][0], key);
        if (!row) {
            record_doubt(r, "Group '%s' is not in the table of groups.", text_quote(rec->raw_group));
            return;
        }
        (void)text_copy(row->value, strlen(row->value), rec->raw_group, sizeof(rec->raw_group));
    }
    if (!*rec->raw_group)
        return;
    group_from_raw(rec->raw_group, rec->group);
    if (strcmp(rec->raw_group, rec->group) != 0) {
        keep(r, r->m->items[n].columns[0], rec->raw_group);
        say_group(r);
    }
}

static void read_comment(struct record_reading *r, int column, const struct cell *c)
{
    if (!copy(c, r->record.comment, sizeof(r->record.comment)))
        return;
    r->cut_comments++;
    keep(r, column, NULL);
}

static void read_gateway(struct record_reading *r, int column, const struct cell *c)
{
    read_address(r, "gateway", c, r->record.gateway);
    if (strchr(r->record.gateway, ':')) /* only one of IPv4 has a place */
        keep(r, column, NULL);
}

static void read_enabled(struct record_reading *r, enum role role, const struct cell *c)
{
    bool is_yes;
    if (cell_is_empty(c))
        return;
    if (!bool_from_cell(c, &is_yes))
        doubt_value(r, role_name(role), c);
    else
        r->record.is_disabled |= is_yes == (role == ROLE_DISABLED);
}

static void read_name(struct record_reading *r, const struct cell *c)
{
    struct record *rec = &r->record;
    (void)copy(c, rec->raw_name, sizeof(rec->raw_name));
    if (!name_from_raw(rec->raw_name, rec->name))
        rec->name[0] = 0;
}

/* The field of a role that has a few values only; NULL of the others. */
static char *repeated_field(struct record *rec, enum role role)
{
    switch (role) {
    case ROLE_NETMASK:
        return rec->netmask;
    case ROLE_GATEWAY:
        return rec->gateway;
    case ROLE_DNS:
        return rec->dns;
    case ROLE_GROUP:
        return rec->raw_group;
    default:
        return NULL;
    }
}

static void read_repeated(struct record_reading *r, unsigned n, const struct cell *c, char *field)
{
    const struct item *item = &r->m->items[n];
    if (record_memo_take(r, n, c, field))
        return;
    record_memo_begin(r, n, c, field);
    if (item->role == ROLE_NETMASK)
        read_mask(r, c);
    else if (item->role == ROLE_GATEWAY)
        read_gateway(r, item->columns[0], c);
    else if (item->role == ROLE_DNS)
        read_dns(r, item->columns[0], c);
    else
        read_group(r, n, c);
    record_memo_end(r, n, c, field);
}

static void read_item(struct record_reading *r, unsigned n, const struct cell *cells)
{
    const struct item *item = &r->m->items[n];
    const struct cell *c = &cells[item->columns[0]];
    struct record *rec = &r->record;
    switch (item->role) {
    case ROLE_MAC:
        read_mac(r, item, cells);
        return;
    case ROLE_IMAGE:
    case ROLE_DATA:
        record_add_images(r, n, cells);
        return;
    default:
        break;
    }
    if (c->kind == CELL_BAD) {
        record_doubt(r, "Its %s cannot be read: the value is %s.", role_name(item->role), text_quote(c->text));
        return;
    }
    char *repeated = repeated_field(rec, item->role);
    if (repeated) {
        read_repeated(r, n, c, repeated);
        return;
    }
    switch (item->role) {
    case ROLE_KEY:
        (void)copy(c, rec->source_id, sizeof(rec->source_id));
        break;
    case ROLE_NAME:
        read_name(r, c);
        break;
    case ROLE_IP:
        read_address(r, "IP address", c, rec->ip);
        break;
    case ROLE_COMMENT:
        read_comment(r, item->columns[0], c);
        break;
    default:
        read_enabled(r, item->role, c);
        break;
    }
}

/* --- rows ------------------------------------------------------------------------------------------------------------- */

/* Column @i of this row for rest; false when its field has all of it. */
static bool rest_text(const struct record_reading *r, size_t i, const struct cell *c, char buf[64], const char **ret,
                      size_t *ret_len)
{
    const char *text = NULL;
    bool is_kept = !r->is_used[i];
    for (unsigned k = 0; k < r->kept_count && !is_kept; k++) {
        is_kept = r->kept[k].column == (int)i;
        text = r->kept[k].text;
    }
    if (!is_kept)
        return false;
    *ret = text ? text : cell_text(c, buf, ret_len);
    if (text)
        *ret_len = strlen(text);
    return true;
}

static void read_rest(struct record_reading *r, const struct cell *cells)
{
    struct text_out out;
    text_json_begin(&out, r->rest, sizeof(r->rest));
    for (size_t i = 0; i < r->table->column_count; i++) {
        char buf[64];
        size_t len;
        const char *text, *name = r->table->columns[i].name;
        const struct cell *c = &cells[i];
        if ((r->is_used[i] && r->kept_count == 0) || cell_is_empty(c) || !rest_text(r, i, c, buf, &text, &len))
            continue;
        if (!text_json_member_of(&out, r->keys[i].text, r->keys[i].len, text, len, REST_VALUE))
            record_doubt(r, "Its column '%s' has %zu bytes, of which the report cannot keep all.", text_quote(name),
                         len);
        r->record.rest_count += !r->is_used[i] && !r->record.is_rest[i];
        r->record.is_rest[i] |= !r->is_used[i];
        if (c->kind == CELL_BAD && !r->is_used[i])
            record_doubt(r, "Its column '%s' cannot be read: the value is %s.", text_quote(name), text_quote(c->text));
    }
    text_json_end(&out);
}

static int read_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct record_reading *r = arg;
    clear(&r->record, number);
    r->kept_count = 0;
    for (unsigned i = 0; i < r->m->item_count; i++)
        read_item(r, i, cells);
    read_rest(r, cells);
    int e = r->each(r->arg, &r->record);
    r->rows += e >= 0;
    return e;
}

static int load_lookups(struct record_reading *r, unsigned n, struct err *err)
{
    const struct item *item = &r->m->items[n];
    for (unsigned k = 0; k < item->hop_count; k++) {
        bool is_last = k + 1 == item->hop_count;
        struct lookup_what what = {.table = item->hops[k].table,
                                   .key = item->hops[k].key,
                                   .value = is_last ? item->value : item->hops[k].next,
                                   .label = is_last ? item->label : -1,
                                   .order = k == 0 ? item->order : -1,
                                   .value_is_key = !is_last};
        int e = lookup_load(r->source, &what, &r->lookups[n][k], err);
        if (e < 0)
            return e;
    }
    return 0;
}

static int make_keys(struct record_reading *r, struct err *err)
{
    for (size_t i = 0; i < r->table->column_count; i++) {
        r->keys[i].text = text_json_key(r->table->columns[i].name, &r->keys[i].len);
        if (!r->keys[i].text)
            return err_set(err, -ENOMEM, "there is not enough memory to read the clients");
    }
    return 0;
}

static int prepare(struct record_reading *r, struct err *err)
{
    const struct mapping *m = r->m;
    int e = make_keys(r, err);
    if (e < 0)
        return e;
    for (unsigned i = 0; i < m->item_count; i++) {
        for (unsigned k = 0; k < m->items[i].column_count; k++)
            r->is_used[m->items[i].columns[k]] = true;
        e = load_lookups(r, i, err);
        if (e < 0)
            return e;
    }
    struct lookup_what names = {.table = m->names_table,
                                .key = m->names_path,
                                .value = m->names_label,
                                .label = -1,
                                .order = -1,
                                .key_is_path = true};
    return m->names_table >= 0 ? lookup_load(r->source, &names, &r->names, err) : 0;
}

static void say_what_was_changed(const struct record_reading *r)
{
    if (*r->groups)
        source_note(r->source, false,
                    "groups with other characters than A-Z a-z 0-9 . _ - are called otherwise here: %s%s; the report "
                    "has what they were called",
                    r->groups, r->group_more ? ", ..." : "");
    if (r->cut_comments)
        source_note(r->source, false,
                    "comments that are longer than %d bytes, and are cut: %llu; the report has them whole", COMMENT_LEN,
                    (unsigned long long)r->cut_comments);
}

static void destroy_reading(struct record_reading **r)
{
    if (!*r)
        return;
    for (unsigned i = 0; i < MAPPING_ITEMS_MAX; i++) {
        lookup_destroy((*r)->lookups[i][0]);
        lookup_destroy((*r)->lookups[i][1]);
    }
    lookup_destroy((*r)->names);
    for (size_t i = 0; i < SOURCE_COLUMNS_MAX; i++)
        free((*r)->keys[i].text);
    free(*r);
}

int records_read(struct source *s, const struct mapping *m, record_each *each, void *arg, uint64_t *ret_rows,
                 struct err *err)
{
    _cleanup_(destroy_reading) struct record_reading *r = NULL;
    if (m->table < 0 && m->site_count > 0) { /* settings of the site only */
        if (ret_rows)
            *ret_rows = 0;
        return 0;
    }
    if (m->table < 0 || !mapping_item(m, ROLE_MAC))
        return err_set(err, -EINVAL, "the mapping names no table of clients");
    r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, -ENOMEM, "there is not enough memory to read the clients");
    r->source = s;
    r->m = m;
    r->record.rest = r->rest;
    r->table = r->record.table = source_table(s, (size_t)m->table);
    r->each = each;
    r->arg = arg;
    int e = prepare(r, err);
    if (e == 0)
        e = source_rows(s, (size_t)m->table, read_row, r, NULL, err);
    if (ret_rows)
        *ret_rows = r->rows;
    if (e >= 0)
        say_what_was_changed(r);
    return e;
}
