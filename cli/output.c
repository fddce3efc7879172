/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text tables and JSON from the same rows; see output.h.
 *
 * (1) Nothing reaches the stream before out_flush(): a verb that fails halfway has printed no half of a result.
 * (2) No byte of a row reaches a terminal as a control character: names of files and comments come from outside.
 *
 * A cell's width is its count of UTF-8 characters. Not done: double-width characters, which move the columns behind them.
 */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/names.h"
#include "core/util.h"

int out_init(struct out *o, bool is_json)
{
    *o = (struct out){.is_json = is_json, .object = json_object()};
    o->mem = open_memstream(&o->text, &o->text_len);
    return o->mem && o->object ? 0 : -ENOMEM;
}

void out_finish(struct out *o)
{
    if (o->mem)
        (void)fclose(o->mem); /* memory only */
    free(o->text);
    json_decref(o->object);
    *o = (struct out){0};
}

/* Length of the well-formed UTF-8 sequence at @p, 0 where there is none. Overlong forms and surrogates are not well-formed. */
static size_t utf8_len(const unsigned char *p)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0))
        return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

json_t *out_string(const char *text)
{
    if (!text)
        return json_null();
    json_t *plain = json_string(text);
    if (plain)
        return plain;
    _cleanup_free_ char *buf = malloc(strlen(text) * 3 + 1);
    if (!buf)
        return json_null();
    char *to = buf;
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t n = utf8_len(p);
        memcpy(to, n ? (const char *)p : "\xef\xbf\xbd", n ? n : 3);
        to += n ? n : 3;
        p += n ? n : 1;
    }
    *to = 0;
    return json_string(buf);
}

char *out_visible(const char *text)
{
    char *buf = malloc(strlen(text) * 4 + 1), *to = buf;
    if (!buf)
        return NULL;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool is_c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0; /* control characters beyond ASCII, such as CSI */
        if (*p >= 0x20 && *p != 0x7f && !is_c1)
            *to++ = (char)*p;
        else
            to += sprintf(to, "\\x%02x", is_c1 ? *++p : *p);
    }
    *to = 0;
    return buf;
}

static char *words_text(json_t *array)
{
    char *text = NULL;
    size_t len = 0, i;
    json_t *word;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    json_array_foreach(array, i, word)(void)
        fprintf(f, "%s%s", i ? ", " : "", json_is_string(word) ? json_string_value(word) : "?"); /* memory only */
    (void)fclose(f);
    return text;
}

static char *words_cell(json_t *array)
{
    _cleanup_free_ char *words = words_text(array);
    return words ? out_visible(words) : NULL;
}

/* Text of one cell, to be free()d; NULL when memory is out. "" stands for nothing to show. */
static char *cell_text(const struct column *col, json_t *row)
{
    json_t *v = json_object_get(row, col->key);
    char buf[32];
    if (!v || json_is_null(v))
        return strdup("");
    switch (col->kind) {
    case COL_NUMBER:
        (void)snprintf(buf, sizeof(buf), "%lld", (long long)json_integer_value(v));
        return strdup(buf);
    case COL_SIZE:
        size_text((uint64_t)json_integer_value(v), buf);
        return strdup(buf);
    case COL_YES:
        return strdup(json_is_true(v) ? "yes" : "no");
    case COL_COUNT:
        (void)snprintf(buf, sizeof(buf), "%zu", json_array_size(v));
        return strdup(buf);
    case COL_WORDS:
        return words_cell(v);
    default:
        if (json_is_array(v))
            return words_cell(v);
        return json_is_string(v) ? out_visible(json_string_value(v)) : strdup("");
    }
}

static bool in_text(const struct column *col)
{
    return col->title && col->kind != COL_JSON;
}

static bool is_right(const struct column *col)
{
    return col->kind == COL_NUMBER || col->kind == COL_SIZE || col->kind == COL_COUNT;
}

/* The row with the keys of the columns only, in their order; a key that the row lacks is null. */
static json_t *row_json(const struct column *columns, json_t *row)
{
    json_t *ret = json_object();
    for (const struct column *col = columns; col->key; col++) {
        if (col->kind == COL_SHOWN)
            continue;
        json_t *v = json_object_get(row, col->key);
        (void)json_object_set_new(ret, col->key, v ? json_incref(v) : json_null());
    }
    return ret;
}

static void print_cell(FILE *f, const char *text, size_t width, bool right, bool is_last)
{
    size_t have = width_of(text), pad = width > have ? width - have : 0;
    if (right)
        (void)fprintf(f, "%*s%s", (int)pad, "", text); /* memory only, here and below */
    else
        (void)fprintf(f, "%s%*s", text, is_last ? 0 : (int)pad, "");
    (void)fputs(is_last ? "\n" : "  ", f);
}

#define COLUMNS_MAX 24

/* 0 = the column is not in the text. */
static size_t column_width(const struct column *col, json_t *rows)
{
    size_t width = 0, r;
    bool is_needed = !col->may_go;
    json_t *row;
    json_array_foreach(rows, r, row)
    {
        _cleanup_free_ char *text = in_text(col) ? cell_text(col, row) : NULL;
        width = MAX(width, text ? width_of(text) : 0);
        is_needed |= text && *text && (col->kind != COL_YES || json_is_true(json_object_get(row, col->key)));
    }
    return in_text(col) && is_needed ? MAX(width, width_of(col->title)) : 0;
}

static void print_row(FILE *f, const struct column *columns, const size_t *width, size_t last, json_t *row)
{
    for (size_t i = 0; columns[i].key; i++) {
        if (width[i] == 0)
            continue;
        _cleanup_free_ char *text = row ? cell_text(&columns[i], row) : strdup(columns[i].title);
        print_cell(f, text && *text ? text : "-", width[i], is_right(&columns[i]), i == last);
    }
}

static void print_table(FILE *f, const struct column *columns, json_t *rows)
{
    size_t width[COLUMNS_MAX] = {0}, last = 0, r;
    json_t *row;
    for (size_t i = 0; columns[i].key && i < COLUMNS_MAX; i++) {
        width[i] = column_width(&columns[i], rows);
        last = width[i] > 0 ? i : last;
    }
    print_row(f, columns, width, last, NULL);
    json_array_foreach(rows, r, row) print_row(f, columns, width, last, row);
}

void out_table(struct out *o, const char *key, const struct column *columns, json_t *rows, const char *empty)
{
    if (o->is_json) {
        json_t *array = json_array(), *row;
        size_t r;
        json_array_foreach(rows, r, row)(void) json_array_append_new(array, row_json(columns, row));
        out_set(o, key, array);
    } else if (json_array_size(rows) == 0) {
        if (empty)
            out_line(o, "%s", empty);
    } else {
        print_table(o->mem, columns, rows);
    }
}

static void print_fields(FILE *f, const struct column *columns, json_t *row)
{
    size_t width = 0;
    for (const struct column *col = columns; col->key; col++)
        width = in_text(col) ? MAX(width, width_of(col->title)) : width;
    for (const struct column *col = columns; col->key; col++) {
        _cleanup_free_ char *text = in_text(col) ? cell_text(col, row) : NULL;
        if (text && *text)
            (void)fprintf(f, "%s:%*s  %s\n", col->title, (int)(width - width_of(col->title)), "", text);
    }
}

void out_fields(struct out *o, const struct column *columns, json_t *row)
{
    if (!o->is_json) {
        print_fields(o->mem, columns, row);
        return;
    }
    json_t *fields = row_json(columns, row);
    (void)json_object_update(o->object, fields);
    json_decref(fields);
}

void out_line(struct out *o, const char *fmt, ...)
{
    if (o->is_json)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vfprintf(o->mem, fmt, ap);
    va_end(ap);
    (void)fputc('\n', o->mem);
}

void out_set(struct out *o, const char *key, json_t *value)
{
    if (o->is_json)
        (void)json_object_set_new(o->object, key, value);
    else
        json_decref(value);
}

int out_flush(struct out *o, FILE *f)
{
    int r = 0;
    errno = 0;
    if (o->is_json) {
        r = json_dumpf(o->object, f, JSON_INDENT(2)) < 0 || fputc('\n', f) == EOF ? -1 : 0;
    } else {
        if (fflush(o->mem) == EOF)
            return -ENOMEM;
        r = fwrite(o->text, 1, o->text_len, f) == o->text_len ? 0 : -1;
        (void)fseeko(o->mem, 0, SEEK_SET); /* memory only: what is printed is not printed again */
    }
    if (fflush(f) == EOF || r < 0)
        return errno ? -errno : -EIO;
    return 0;
}

void warn_line(const char *fmt, ...)
{
    char text[1100];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    _cleanup_free_ char *shown = out_visible(text);
    (void)fflush(
        stdout); /* in one log with stderr it comes behind what was printed before; a failure is seen at the end */
    /* nobody to tell when stderr is gone */
    (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, shown ? shown : text);
}
