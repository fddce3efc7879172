/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A source whose tables are written down in a test: columns as "name:type", values as text.
 *
 *   int -> a number, bool -> 0 or 1, binary -> hex digits, anything else -> text; NULL and "" -> no value
 */
#ifndef DISKGATE_TESTS_FAKE_SOURCE_H
#define DISKGATE_TESTS_FAKE_SOURCE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/source.h"

#define FAKE_COLUMNS 24
#define FAKE_TABLES  8

struct fake_table {
    const char *name;
    const char *columns[FAKE_COLUMNS]; /* ended by NULL */
    const char *const (*rows)[FAKE_COLUMNS];
    size_t row_count;
    char *(*value)(size_t row, size_t column, char *buf); /* instead of rows: makes the text, or NULL */
};

static inline struct cell fake_cell(const char *type, const char *text, char *buf)
{
    struct cell c = {.kind = CELL_NONE, .text = ""};
    if (!text || !*text)
        return c;
    c = (struct cell){.kind = CELL_TEXT, .text = text, .len = strlen(text)};
    if (strcmp(type, "int") == 0 || strcmp(type, "bool") == 0) {
        c.kind = *type == 'i' ? CELL_INT : CELL_BOOL;
        c.integer = strtoll(text, NULL, 10);
    } else if (strcmp(type, "bad") == 0) {
        c.kind = CELL_BAD;
    } else if (strcmp(type, "binary") == 0) {
        unsigned byte;
        c.kind = CELL_BYTES;
        for (c.len = 0; sscanf(text + 2 * c.len, "%2x", &byte) == 1; c.len++)
            buf[c.len] = (char)byte;
        buf[c.len] = 0;
        c.text = buf;
    }
    return c;
}

static inline int fake_row(struct source *s, size_t i, size_t row, source_each *each, void *arg, uint64_t number)
{
    const struct fake_table *t = &((const struct fake_table *)s->priv)[i];
    struct cell cells[FAKE_COLUMNS];
    char bytes[FAKE_COLUMNS][256], texts[FAKE_COLUMNS][256];
    for (size_t c = 0; c < s->tables[i].column_count; c++)
        cells[c] =
            fake_cell(s->tables[i].columns[c].type, t->value ? t->value(row, c, texts[c]) : t->rows[row][c], bytes[c]);
    return each(arg, number, cells);
}

static inline int fake_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows,
                            struct err *err)
{
    const struct fake_table *t = &((const struct fake_table *)s->priv)[i];
    int r = 0;
    *ret_rows = 0;
    for (size_t k = 0; k < t->row_count && r == 0; k++)
        r = fake_row(s, i, k, each, arg, (*ret_rows)++);
    return r < 0 ? r : 0;
}

/* Each row with the same chance; about as many as are wanted. */
static inline int fake_sample(struct source *s, size_t i, uint32_t rows, source_each *each, void *arg,
                              uint64_t *ret_rows, struct err *err)
{
    const struct fake_table *t = &((const struct fake_table *)s->priv)[i];
    uint64_t state = 1;
    int r = 0;
    *ret_rows = 0;
    for (size_t k = 0; k < t->row_count && *ret_rows < rows && r == 0; k++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        if ((state >> 32) * t->row_count >> 32 < rows)
            r = fake_row(s, i, k, each, arg, (*ret_rows)++);
    }
    return r < 0 ? r : 0;
}

static inline void fake_close(struct source *s)
{
}

/* Destroy with source_close(). */
static inline struct source *fake_source(const struct fake_table *tables, size_t count)
{
    static const struct source_reader reader = {.rows = fake_rows, .sample = fake_sample, .close = fake_close};
    struct source *s = calloc(1, sizeof(*s));
    s->reader = &reader;
    s->priv = (void *)tables;
    strcpy(s->path, "/nowhere/fake");
    for (size_t i = 0; i < count; i++) {
        size_t n = 0;
        while (n < FAKE_COLUMNS && tables[i].columns[n])
            n++;
        struct source_table *t = source_add_table(s, tables[i].name, n);
        t->stored_rows = (int64_t)tables[i].row_count;
        for (size_t k = 0; k < n; k++) {
            struct source_column *c = &((struct source_column *)t->columns)[k];
            const char *colon = strrchr(tables[i].columns[k], ':');
            (void)snprintf(c->name, sizeof(c->name), "%.*s", (int)(colon - tables[i].columns[k]), tables[i].columns[k]);
            (void)snprintf(c->type, sizeof(c->type), "%s", colon + 1);
        }
    }
    return s;
}

#endif
