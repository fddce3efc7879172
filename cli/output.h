/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a verb prints: one description of columns makes both the text table and the JSON.
 *
 * Order of calls:
 *   out_init(o, is_json)
 *     out_table(), out_fields(), out_line(), out_set()     in the order of the page
 *   out_flush(o, stdout)                                   when all is known; a page that was written is not written again
 *   out_finish(o)
 *
 * A row is a jansson object. Its keys are full words with the unit in them (size_bytes) and its numbers are raw; the text shows
 * them readable. JSON output is one object: out_table() adds an array, out_fields() adds the row's own keys, out_set() adds
 * one key. What a column table does not name is printed in neither form, so the two cannot drift apart.
 *
 * Threads: one at a time per struct out.
 */
#ifndef DISKGATE_CLI_OUTPUT_H
#define DISKGATE_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum column_kind {
    COL_TEXT,   /* string; null and "" are shown as "-" */
    COL_NUMBER, /* integer, right-aligned */
    COL_SIZE,   /* integer in bytes, shown as "1.5 GiB", right-aligned */
    COL_YES,    /* boolean, shown as "yes" or "no" */
    COL_COUNT,  /* array, shown as the number of its elements, right-aligned */
    COL_WORDS,  /* array of strings, shown with ", " in between */
    COL_JSON,   /* anything: in JSON only */
    COL_SHOWN,  /* string or array of strings made for people: in the text only */
};

struct column {
    const char *key;   /* of the row; NULL ends the table */
    const char *title; /* heading of the text column or name of the field; NULL = not in the text */
    enum column_kind kind;
    bool may_go; /* a text table does without it where no row has anything in it, or a yes */
};

struct out {
    bool is_json;
    json_t *object; /* what --json prints */
    FILE *mem;      /* what the text prints */
    char *text;
    size_t text_len;
};

int out_init(struct out *o, bool is_json); /* -ENOMEM */
void out_finish(struct out *o);            /* a struct out of all zeros is allowed */

/* Table of @rows (borrowed array of objects); in JSON the array is @key. @empty is the line that the text shows for no rows. */
void out_table(struct out *o, const char *key, const struct column *columns, json_t *rows, const char *empty);

/* One object, a line for each column in the text; empty values are left out there. @row is borrowed. */
void out_fields(struct out *o, const struct column *columns, json_t *row);

/* A line of the text; nothing in JSON. */
void out_line(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A key of the JSON object; nothing in the text. Takes @value in any case. */
void out_set(struct out *o, const char *key, json_t *value);

/* Write all of it. 0; -EIO or what the stream said. */
int out_flush(struct out *o, FILE *f);

/* A JSON string of @text where bytes that are no UTF-8 become U+FFFD (paths may hold anything). NULL gives null. */
json_t *out_string(const char *text);

/* @text with control characters made visible ("\x1b"), for a terminal. To be free()d; NULL when memory is out. */
char *out_visible(const char *text);

/* A line on stderr behind the program's name, control characters made visible. */
void warn_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
