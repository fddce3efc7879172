/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table in memory, to be looked up by one column: a hash table of rows, each one allocation with its texts behind it.
 *
 * Rows with the same key hang in a list that is kept in order: by the order column, then as the rows come. A table of more than
 * LOOKUP_ROWS_MAX rows is refused: nobody has so many images, and memory must end somewhere.
 */
#include "migrate/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

#define VALUE_MAX    1100 /* bytes kept of a value */
#define SAME_KEY_MAX 256  /* rows with one key that are kept; far more than a client has images */

struct lookup {
    struct lookup_row **slots;
    size_t size, used, rows;
};

struct loading {
    struct lookup *l;
    const struct lookup_what *what;
};

bool lookup_path_key(const char *text, size_t len, char *ret, size_t size)
{
    char path[RECORD_RAW_MAX + 1];
    if (path_from_text(text, len, path) == PATH_BROKEN)
        return false;
    return text_fold(path, ret, size) < size - 1;
}

static size_t slot_of(const struct lookup *l, uint64_t hash, const char *key)
{
    size_t i = hash & (l->size - 1);
    while (l->slots[i] && (l->slots[i]->hash != hash || strcmp(l->slots[i]->key, key) != 0))
        i = (i + 1) & (l->size - 1);
    return i;
}

static bool grow(struct lookup *l)
{
    struct lookup bigger = {.size = l->size ? l->size * 2 : 64};
    bigger.slots = calloc(bigger.size, sizeof(struct lookup_row *));
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < l->size; i++)
        if (l->slots[i])
            bigger.slots[slot_of(&bigger, l->slots[i]->hash, l->slots[i]->key)] = l->slots[i];
    free(l->slots);
    l->slots = bigger.slots;
    l->size = bigger.size;
    return true;
}

static void insert(struct lookup *l, struct lookup_row *row)
{
    struct lookup_row **at = &l->slots[slot_of(l, row->hash, row->key)];
    l->used += !*at;
    unsigned before = 0;
    for (; *at && (*at)->order <= row->order && before < SAME_KEY_MAX; before++)
        at = &(*at)->next;
    if (before == SAME_KEY_MAX) {
        free(row);
        return;
    }
    row->next = *at;
    *at = row;
    l->rows++;
}

/* The trimmed text of a cell, cut; empty when there is none. */
static void value_text(const struct cell *c, char *ret, size_t size)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    len = text_trim(&text, len);
    (void)text_copy(text, c->kind == CELL_BAD ? 0 : len, ret, size);
}

static bool key_of(const struct lookup_what *what, const struct cell *c, char *ret, size_t size)
{
    char text[VALUE_MAX];
    if (!what->key_is_path)
        return cell_key(c, ret, size);
    value_text(c, text, sizeof(text));
    return lookup_path_key(text, strlen(text), ret, size);
}

static double order_of(const struct lookup_what *what, const struct cell *cells)
{
    char text[64];
    if (what->order < 0)
        return 0;
    const struct cell *c = &cells[what->order];
    if (c->kind == CELL_INT || c->kind == CELL_BOOL)
        return (double)c->integer;
    value_text(c, text, sizeof(text));
    return c->kind == CELL_REAL ? c->real : strtod(text, NULL);
}

static int load_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct loading *load = arg;
    char key[VALUE_MAX], value[VALUE_MAX], label[256] = "";
    const struct lookup_what *what = load->what;
    if (!key_of(what, &cells[what->key], key, sizeof(key)))
        return 0; /* a row that nothing can point at */
    if (load->l->rows == LOOKUP_ROWS_MAX)
        return -EFBIG;
    if (!what->value_is_key)
        value_text(&cells[what->value], value, sizeof(value));
    else if (!cell_key(&cells[what->value], value, sizeof(value)))
        value[0] = 0;
    if (what->label >= 0)
        value_text(&cells[what->label], label, sizeof(label));
    size_t k = strlen(key) + 1, v = strlen(value) + 1, n = strlen(label) + 1;
    if (load->l->used * 2 >= load->l->size && !grow(load->l))
        return -ENOMEM;
    struct lookup_row *row = malloc(sizeof(*row) + k + v + n);
    if (!row)
        return -ENOMEM;
    double order = order_of(what, cells);
    *row = (struct lookup_row){.hash = text_hash(key, k - 1), .order = order == order ? order : 0};
    row->key = memcpy(row->text, key, k);
    row->value = memcpy(row->text + k, value, v);
    row->label = memcpy(row->text + k + v, label, n);
    insert(load->l, row);
    return 0;
}

int lookup_load(struct source *s, const struct lookup_what *what, struct lookup **ret, struct err *err)
{
    struct loading load = {calloc(1, sizeof(*load.l)), what};
    if (!load.l)
        return err_set(err, -ENOMEM, "there is not enough memory for the tables of images");
    int r = source_rows(s, (size_t)what->table, load_row, &load, NULL, err);
    if (r == -EFBIG)
        r = err_set(err, r, "table '%s' has more than %d rows, too many to look clients up in it",
                    text_quote(s->tables[what->table].name), LOOKUP_ROWS_MAX);
    else if (r == -ENOMEM)
        r = err_set(err, r, "there is not enough memory for table '%s'", text_quote(s->tables[what->table].name));
    if (r < 0)
        lookup_destroy(load.l);
    else
        *ret = load.l;
    return r;
}

void lookup_destroy(struct lookup *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->size; i++)
        while (l->slots[i]) {
            struct lookup_row *next = l->slots[i]->next;
            free(l->slots[i]);
            l->slots[i] = next;
        }
    free(l->slots);
    free(l);
}

const struct lookup_row *lookup_find(const struct lookup *l, const char *key)
{
    return l->size ? l->slots[slot_of(l, text_hash(key, strlen(key)), key)] : NULL;
}
