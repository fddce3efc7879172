/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows that are kept; see source-kept.h. */
#include "migrate/source-kept.h"

#include <stdlib.h>
#include <string.h>

#include "core/util.h"

void kept_finish(struct kept *k)
{
    free(k->buf);
    *k = (struct kept){0};
}

void kept_begin(struct kept *k, size_t columns)
{
    kept_finish(k);
    k->columns = columns;
    k->is_open = true;
}

static bool make_room(struct kept *k, size_t more)
{
    if (more > KEPT_BYTES_MAX || k->len + more > KEPT_BYTES_MAX)
        return false;
    if (k->len + more <= k->size)
        return true;
    size_t size = MAX(2 * k->size, k->len + more);
    unsigned char *bigger = realloc(k->buf, size);
    if (!bigger)
        return false;
    k->buf = bigger;
    k->size = size;
    return true;
}

/* Only cells with text have some behind them. */
static bool add_cell(struct kept *k, const struct cell *c)
{
    size_t text = c->text ? c->len + 1 : 0;
    if (c->len > KEPT_BYTES_MAX || !make_room(k, sizeof(*c) + text))
        return false;
    memcpy(k->buf + k->len, c, sizeof(*c));
    if (text > 0)
        memcpy(k->buf + k->len + sizeof(*c), c->text, text);
    k->len += sizeof(*c) + text;
    return true;
}

void kept_add(struct kept *k, const struct cell *cells)
{
    if (!k->is_open)
        return;
    for (size_t i = 0; i < k->columns; i++)
        if (!add_cell(k, &cells[i])) {
            kept_finish(k);
            return;
        }
    k->rows++;
}

void kept_end(struct kept *k)
{
    k->is_whole = k->is_open;
    k->is_open = false;
}

int kept_rows(const struct kept *k, source_each *each, void *arg, uint64_t *ret_rows)
{
    struct cell cells[SOURCE_COLUMNS_MAX];
    const unsigned char *p = k->buf;
    int r = 0;
    for (*ret_rows = 0; *ret_rows < k->rows && r == 0;) {
        for (size_t i = 0; i < k->columns; i++) {
            memcpy(&cells[i], p, sizeof(cells[i]));
            p += sizeof(cells[i]);
            if (cells[i].text) {
                cells[i].text = (const char *)p;
                p += cells[i].len + 1;
            }
        }
        r = each(arg, *ret_rows, cells);
        *ret_rows += r >= 0;
    }
    return MIN(r, 0);
}
