/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Profile of a table: one pass over its first rows, every value asked what it could be.
 *
 * Sets of values are hashes of 64 bits, so a share may be wrong by a collision; records are looked up by the values themselves later. Wide
 * tables are sampled with fewer rows, so that the sets stay below about 100 MB whatever the file says.
 */
#include "migrate/profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define LONG_TEXT    1000 /* bytes; longer texts are prose and only counted */
#define FULL_COLUMNS 48   /* tables with more are sampled with fewer rows */

/* --- sets ---------------------------------------------------------------------------------------------------------- */

static struct value_count *slot_of(const struct value_set *s, uint64_t hash)
{
    size_t i = hash & (s->size - 1);
    while (s->slots[i].hash && s->slots[i].hash != hash)
        i = (i + 1) & (s->size - 1);
    return &s->slots[i];
}

static bool grow(struct value_set *s)
{
    struct value_set bigger = {.size = s->size ? s->size * 2 : 16, .used = s->used};
    bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < s->size; i++)
        if (s->slots[i].hash)
            *slot_of(&bigger, s->slots[i].hash) = s->slots[i];
    free(s->slots);
    *s = bigger;
    return true;
}

/* Returns true when the value is new; false when it was there or memory is out (then *ret_failed). */
static bool add(struct value_set *s, uint64_t hash, bool *ret_failed)
{
    hash = hash ? hash : 1;
    if (s->used * 2 >= s->size && !grow(s)) {
        *ret_failed = true;
        return false;
    }
    struct value_count *v = slot_of(s, hash);
    bool is_new = v->hash == 0;
    v->hash = hash;
    v->count++;
    s->used += is_new;
    return is_new;
}

/* --- one value ------------------------------------------------------------------------------------------------------ */

static bool is_guid(const char *p, size_t len)
{
    if (len == 38 && *p == '{' && p[37] == '}') {
        p++;
        len -= 2;
    }
    if (len != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool is_hex = (p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'f');
        if (is_dash ? p[i] != '-' : !is_hex)
            return false;
    }
    return true;
}

static bool is_int(const char *p, size_t len)
{
    size_t i = len > 1 && *p == '-';
    for (size_t k = i; k < len; k++)
        if (p[k] < '0' || p[k] > '9')
            return false;
    return len > i && len < 19;
}

/* Also with decimals: money, sizes. */
static bool is_number(const char *p, size_t len)
{
    size_t digits = 0, marks = 0;
    for (size_t i = len > 1 && *p == '-'; i < len; i++) {
        digits += p[i] >= '0' && p[i] <= '9';
        marks += p[i] == '.' || p[i] == ',';
    }
    return digits > 0 && digits + marks + (*p == '-') == len;
}

static bool has_control(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] < ' ')
            return true;
    return false;
}

static bool is_host(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z') ||
              (p[i] && strchr("._-", p[i]))))
            return false;
    return len > 0;
}

/* All parts between @separator are paths of disks, and there are two or more. */
static bool splits(const char *p, size_t len, char separator)
{
    unsigned parts = 0;
    for (;;) {
        const char *at = memchr(p, separator, len);
        size_t n = at ? (size_t)(at - p) : len;
        if (n > 0 && !(path_looks_so(p, n) && path_ending(p, n) > 0))
            return false;
        parts += n > 0;
        if (!at)
            return parts >= 2;
        p += n + 1;
        len -= n + 1;
    }
}

static void count_path(struct column_profile *c, const char *p, size_t len)
{
    bool has_semicolon = memchr(p, ';', len), has_pipe = memchr(p, '|', len);
    bool is_split = false;
    if (has_semicolon && splits(p, len, ';')) {
        c->split_semicolon++;
        is_split = true;
    } else if (has_pipe && splits(p, len, '|')) {
        c->split_pipe++;
        is_split = true;
    }
    int ending = path_ending(p, len);
    bool is_path = is_split || path_looks_so(p, len);
    c->paths += is_path;
    c->images += is_path && ending > 0;
    c->alien += is_path && ending < 0;
}

static void count_text(struct column_profile *c, const char *p, size_t len)
{
    char buf[46];
    len = text_trim(&p, len);
    if (is_guid(p, len)) {
        c->guids++;
        return;
    }
    if (mask_from_text(p, len, buf) && memchr(p, '.', len))
        c->masks++;
    else if (ip_from_text(p, len, buf))
        c->ips++;
    c->ints += is_int(p, len);
    c->numbers += len > 0 && is_number(p, len);
    c->shorts += text_chars(p, len) <= 63 && !has_control(p, len);
    c->hosts += is_host(p, len);
    count_path(c, p, len);
}

static void count_mac(struct column_profile *c, const struct cell *cell, bool *ret_failed)
{
    char mac[MAC_LEN + 1];
    switch (mac_from_cell(cell, mac)) {
    case MAC_GOOD:
    case MAC_LOCAL:
        c->macs++;
        c->distinct_macs += add(&c->mac_values, text_hash(mac, MAC_LEN), ret_failed);
        break;
    case MAC_ZERO:
    case MAC_BROADCAST:
    case MAC_MULTICAST:
        c->macs_strange++;
        break;
    default:
        break;
    }
}

static void sample(struct column_profile *c, const struct cell *cell)
{
    char buf[64], text[64];
    size_t len;
    if (c->sample_count == ARRAY_SIZE(c->samples))
        return;
    const char *p = cell_text(cell, buf, &len);
    (void)text_copy(p, MIN(len, strlen(p)), text, sizeof(text));
    char *shown = text_shown(text, c->samples[c->sample_count], sizeof(c->samples[0]));
    for (unsigned i = 0; i < c->sample_count; i++)
        if (strcmp(shown, c->samples[i]) == 0)
            return;
    c->sample_count++;
}

static void count_cell(struct column_profile *c, const struct cell *cell, bool *ret_failed)
{
    char key[512];
    bool truth;
    if (cell_is_empty(cell))
        return;
    c->filled++;
    sample(c, cell);
    if (cell->kind == CELL_TEXT && cell->len <= LONG_TEXT)
        count_text(c, cell->text, cell->len);
    if ((cell->kind == CELL_TEXT && cell->len <= 100) || cell->kind == CELL_BYTES)
        count_mac(c, cell, ret_failed);
    c->bools += bool_from_cell(cell, &truth) &&
                (cell->kind != CELL_INT || cell->integer == 0 || cell->integer * cell->integer == 1);
    c->ints += cell->kind == CELL_INT;
    c->numbers += cell->kind == CELL_INT || cell->kind == CELL_REAL;
    c->is_binary |= cell->kind == CELL_BYTES;
    if (cell->len <= LONG_TEXT && cell_key(cell, key, sizeof(key)))
        c->distinct += add(&c->values, text_hash(key, strlen(key)), ret_failed);
}

/* --- a table -------------------------------------------------------------------------------------------------------- */

struct reading {
    struct profile *p;
    uint64_t limit;
    bool has_failed;
};

static int read_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct reading *r = arg;
    if (number >= r->limit) {
        r->p->is_whole = false;
        return 1;
    }
    for (size_t i = 0; i < r->p->table->column_count; i++)
        count_cell(&r->p->columns[i], &cells[i], &r->has_failed);
    r->p->rows++;
    return r->has_failed ? -ENOMEM : 0;
}

static bool is_text_type(const char *type)
{
    return strcasecmp(type, "text") == 0 || strcasecmp(type, "memo") == 0;
}

int profile_make(struct source *s, size_t table, struct profile **ret, struct err *err)
{
    const struct source_table *t = source_table(s, table);
    struct profile *p = calloc(1, sizeof(*p));
    struct reading reading = {p, PROFILE_ROWS, false};
    if (t->column_count > FULL_COLUMNS)
        reading.limit = PROFILE_ROWS * FULL_COLUMNS / t->column_count;
    if (p)
        p->columns = calloc(t->column_count ? t->column_count : 1, sizeof(*p->columns));
    if (!p || !p->columns) {
        profile_destroy(p);
        return err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
    }
    p->table = t;
    p->is_whole = true;
    for (size_t i = 0; i < t->column_count; i++)
        p->columns[i].is_text = is_text_type(t->columns[i].type);
    int r = source_rows(s, table, read_row, &reading, NULL, err);
    if (r < 0) {
        if (reading.has_failed)
            r = err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
        profile_destroy(p);
        return r;
    }
    *ret = p;
    return 0;
}

void profile_forget_values(struct profile *p)
{
    for (size_t i = 0; i < p->table->column_count; i++) {
        struct column_profile *c = &p->columns[i];
        free(c->values.slots);
        free(c->mac_values.slots);
        c->values = c->mac_values = (struct value_set){0};
    }
}

void profile_destroy(struct profile *p)
{
    if (!p)
        return;
    if (p->columns && p->table)
        profile_forget_values(p);
    free(p->columns);
    free(p);
}

bool profile_is_key(const struct profile *p, size_t column)
{
    const struct column_profile *c = &p->columns[column];
    return p->rows > 0 && c->filled == p->rows && c->distinct == p->rows;
}

double profile_contained(const struct column_profile *c, const struct column_profile *in)
{
    uint64_t n = 0, all = 0;
    if (in->values.size == 0)
        return 0;
    for (size_t i = 0; i < c->values.size; i++) {
        const struct value_count *v = &c->values.slots[i];
        if (v->hash == 0)
            continue;
        all += v->count;
        n += slot_of(&in->values, v->hash)->hash ? v->count : 0;
    }
    return all ? (double)n / (double)all : 0;
}
