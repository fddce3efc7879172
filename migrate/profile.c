/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Profile of a table: one pass over rows of it, every value asked what it could be.
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
#include "migrate/verdict.h"

#define FULL_COLUMNS 48 /* of tables with more, fewer rows are read */

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

/* @hash is not 0. Returns true when the value is new; false when it was there or memory is out (then *ret_failed). */
static bool add(struct value_set *s, uint64_t hash, bool *ret_failed)
{
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

static void count_verdict(struct column_profile *c, const struct verdict *v, bool *ret_failed)
{
    c->filled++;
    c->ips += (v->is & IS_IP) != 0;
    c->masks += (v->is & IS_MASK) != 0;
    c->no_addresses += (v->is & IS_NO_ADDRESS) != 0;
    c->paths += (v->is & IS_PATH) != 0;
    c->images += (v->is & IS_IMAGE) != 0;
    c->alien += (v->is & IS_ALIEN) != 0;
    c->bools += (v->is & IS_BOOL) != 0;
    c->ints += (v->is & IS_INT) != 0;
    c->numbers += (v->is & IS_NUMBER) != 0;
    c->guids += (v->is & IS_GUID) != 0;
    c->shorts += (v->is & IS_SHORT) != 0;
    c->hosts += (v->is & IS_HOST) != 0;
    c->split_semicolon += (v->is & IS_SEMICOLON_LIST) != 0;
    c->split_pipe += (v->is & IS_PIPE_LIST) != 0;
    c->macs += v->mac != 0;
    if (v->mac)
        c->distinct_macs += add(&c->mac_values, v->mac, ret_failed);
    if (v->key)
        c->distinct += add(&c->values, v->key, ret_failed);
}

/* --- how many different ones ------------------------------------------------------------------------------------------ */

/* Of a table's values @part (0..1) were seen. How many different ones the table has, times @part: to be compared with the number that was seen.
 * Those that were seen once and twice tell how many were not seen.
 * Source: Chao and Lin 2012, "Nonparametric Lower Bounds for Species Richness and Shared Species Richness under Sampling without Replacement". */
static double different(const struct value_set *seen, double part)
{
    double all = 0, once = 0, twice = 0, unseen = 0;
    for (size_t i = 0; part < 1 && i < seen->size; i++) {
        all += seen->slots[i].count;
        once += seen->slots[i].count == 1;
        twice += seen->slots[i].count == 2;
    }
    if (once == 0)
        return part * (double)seen->used;
    unseen = once * once / (2 * twice + part / (1 - part) * once);
    return MIN(part * ((double)seen->used + unseen), all);
}

static void count_different(struct profile *p)
{
    double part = p->is_sample ? MIN((double)p->rows / (double)p->table->stored_rows, 1.0) : 1;
    for (size_t i = 0; i < p->table->column_count; i++) {
        struct column_profile *c = &p->columns[i];
        c->different = different(&c->values, part);
        c->different_macs = different(&c->mac_values, part);
    }
}

/* --- a table -------------------------------------------------------------------------------------------------------- */

struct reading {
    struct profile *p;
    struct memo *memos; /* of the columns */
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
        if (!cell_is_empty(&cells[i]))
            count_verdict(&r->p->columns[i], verdict_of(&r->memos[i], &cells[i]), &r->has_failed);
    r->p->rows++;
    return r->has_failed ? -ENOMEM : 0;
}

static bool is_text_type(const char *type)
{
    return strcasecmp(type, "text") == 0 || strcasecmp(type, "memo") == 0;
}

/* Fewer rows of a wide table. */
static uint32_t limit_rows(const struct source_table *t, uint32_t rows)
{
    return t->column_count > FULL_COLUMNS ? rows * FULL_COLUMNS / (uint32_t)t->column_count : rows;
}

/* 0 rows when there is none to be had: the file may say wrongly how many rows there are. */
static int read_sample(struct source *s, size_t table, struct reading *r, struct err *err)
{
    uint32_t rows = limit_rows(r->p->table, PROFILE_SAMPLE);
    r->limit = rows;
    int e = source_sample(s, table, rows, read_row, r, NULL, err);
    r->p->is_sample = r->p->rows > 0;
    r->p->is_whole = false;
    return e == -EOPNOTSUPP ? 0 : e;
}

static int read_first(struct source *s, size_t table, struct reading *r, struct err *err)
{
    r->limit = limit_rows(r->p->table, PROFILE_ROWS);
    r->p->is_whole = true;
    return source_rows(s, table, read_row, r, NULL, err);
}

static struct profile *create(const struct source_table *t)
{
    struct profile *p = calloc(1, sizeof(*p));
    if (p)
        p->columns = calloc(t->column_count ? t->column_count : 1, sizeof(*p->columns));
    if (!p || !p->columns) {
        profile_destroy(p);
        return NULL;
    }
    p->table = t;
    for (size_t i = 0; i < t->column_count; i++)
        p->columns[i].is_text = is_text_type(t->columns[i].type);
    return p;
}

int profile_make(struct source *s, size_t table, bool is_close, struct profile **ret, struct err *err)
{
    const struct source_table *t = source_table(s, table);
    struct profile *p = create(t);
    _cleanup_free_ struct memo *memos = calloc(t->column_count ? t->column_count : 1, sizeof(*memos));
    struct reading reading = {.p = p, .memos = memos};
    reading.has_failed = !p || !memos;
    int r = reading.has_failed ? -ENOMEM : 0;
    if (r == 0 && !is_close && t->stored_rows > PROFILE_WHOLE)
        r = read_sample(s, table, &reading, err);
    if (r == 0 && p->rows == 0)
        r = read_first(s, table, &reading, err);
    if (r < 0) {
        profile_destroy(p);
        return reading.has_failed ? err_set(err, -ENOMEM, "there is not enough memory to look at the tables") : r;
    }
    count_different(p);
    *ret = p;
    return 0;
}

void profile_how(const struct profile *p, char *ret, size_t size)
{
    unsigned long long n = p->rows, all = (unsigned long long)MAX(p->table->stored_rows, (int64_t)0);
    if (p->is_sample)
        text_format(ret, size, "%llu of its %llu rows were looked at, picked from all over the table.", n, all);
    else if (!p->is_whole)
        text_format(ret, size, "Its first %llu rows were looked at.", n);
    else
        ret[0] = 0;
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
