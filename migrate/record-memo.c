/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fields that have a few values in thousands of rows: netmask, gateway, DNS servers, group. What became of a cell is taken again when the next one
 * of its item says the same.
 *
 * (1) What becomes of a cell follows from the cell, its item and what the field held before, of which all three are compared.
 * (2) Only what gave no doubt and nothing for rest is remembered: those belong to the row.
 */
#include "migrate/record-priv.h"

#include <string.h>

#include "core/util.h"

static struct record_memo *place_of(struct record_reading *r, unsigned n, const struct cell *c)
{
    if (c->kind == CELL_INT)
        return &r->memos[n][(uint64_t)c->integer % RECORD_MEMOS];
    if (c->kind == CELL_TEXT && c->len > 0 && c->len <= sizeof(r->memos[n][0].text))
        return &r->memos[n][(unsigned char)c->text[c->len - 1] % RECORD_MEMOS];
    return NULL;
}

static bool is_same(const struct record_memo *m, const struct cell *c)
{
    if (m->kind != c->kind)
        return false;
    return c->kind == CELL_INT ? m->integer == c->integer : m->len == c->len && memcmp(m->text, c->text, c->len) == 0;
}

bool record_memo_take(struct record_reading *r, unsigned n, const struct cell *c, char *field)
{
    const struct record_memo *m = place_of(r, n, c);
    if (!m || !is_same(m, c) || strcmp(field, m->before) != 0)
        return false;
    strcpy(field, m->after);
    if (field == r->record.raw_group)
        strcpy(r->record.group, m->group);
    return true;
}

void record_memo_begin(struct record_reading *r, unsigned n, const struct cell *c, const char *field)
{
    struct record_memo *m = place_of(r, n, c);
    if (!m)
        return;
    m->kind = CELL_NONE;
    m->kept_before = r->kept_count;
    m->is_short = strlen(field) < sizeof(m->before);
    if (m->is_short)
        strcpy(m->before, field);
}

void record_memo_end(struct record_reading *r, unsigned n, const struct cell *c, const char *field)
{
    struct record_memo *m = place_of(r, n, c);
    bool is_group = field == r->record.raw_group;
    if (!m || !m->is_short || strlen(field) >= sizeof(m->after) || (is_group && !*field))
        return;
    if (*r->record.doubt || r->kept_count != m->kept_before || r->kept_count == RECORD_KEPT_MAX)
        return;
    m->kind = c->kind;
    m->integer = c->integer;
    m->len = c->kind == CELL_TEXT ? c->len : 0;
    memcpy(m->text, c->text, m->len);
    strcpy(m->after, field);
    strcpy(m->group, is_group ? r->record.group : "");
}
