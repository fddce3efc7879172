/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of comma-separated values.
 *
 *   state     separator    line end     quote           other
 *   BEGIN     next field   record       QUOTED          PLAIN
 *   PLAIN     next field   record       kept            kept
 *   QUOTED    kept         kept         CLOSED          kept
 *   CLOSED    next field   record       kept, QUOTED    kept, PLAIN      ("a""b" is a"b; "a"b is taken as ab)
 *
 * Line ends are \n, \r\n and \r. Blanks around a field stay: who uses it trims.
 */
#include "migrate/csv-parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

enum state { BEGIN, PLAIN, QUOTED, CLOSED };

void csv_parser_init(struct csv_parser *p, struct text_file *file, char separator)
{
    memset(p, 0, offsetof(struct csv_parser, block));
    p->pos = p->have = 0;
    p->is_after_cr = p->is_end = false;
    p->file = file;
    p->separator = separator;
    p->next_line = 1;
}

void csv_parser_finish(struct csv_parser *p)
{
    free(p->text);
    p->text = NULL;
}

int csv_restart(struct csv_parser *p, struct err *err)
{
    int r = text_file_rewind(p->file);
    p->pos = p->have = 0;
    p->is_after_cr = p->is_end = false;
    p->next_line = 1;
    return r < 0 ? err_sys(err, r, "cannot read the file again") : 0;
}

/* The next byte, -1 at the end, or below that a negative errno minus 1. */
static int next_byte(struct csv_parser *p)
{
    if (p->pos == p->have) {
        long n = p->is_end ? 0 : text_file_read(p->file, p->block, sizeof(p->block));
        if (n < 0)
            return (int)n - 1;
        p->is_end = n == 0;
        p->pos = 0;
        p->have = (size_t)n;
        if (n == 0)
            return -1;
    }
    return (unsigned char)p->block[p->pos++];
}

static int put(struct csv_parser *p, char ch, struct err *err)
{
    if (p->len == CSV_RECORD_BYTES)
        return err_set(err, -EBADMSG,
                       "line %llu is longer than %u KiB: close a quote that is open in it, or shorten it",
                       (unsigned long long)p->line, CSV_RECORD_BYTES / 1024);
    if (p->len == p->size) {
        size_t size = p->size ? p->size * 2 : 4096;
        char *more = realloc(p->text, size);
        if (!more)
            return err_set(err, -ENOMEM, "there is not enough memory to read the file");
        p->text = more;
        p->size = size;
    }
    p->text[p->len++] = ch;
    return 0;
}

static void begin_field(struct csv_parser *p)
{
    if (p->field_count < CSV_FIELDS_MAX)
        p->fields[p->field_count] = (struct csv_field){.begin = p->len};
}

static int end_field(struct csv_parser *p, struct err *err)
{
    if (p->field_count < CSV_FIELDS_MAX)
        p->fields[p->field_count].len = p->len - p->fields[p->field_count].begin;
    p->field_count++;
    int r = put(p, 0, err);
    begin_field(p);
    return r;
}

/* One byte that belongs to a field. */
static int keep(struct csv_parser *p, int ch, struct err *err)
{
    if (ch != 0)
        return put(p, (char)ch, err);
    if (p->field_count < CSV_FIELDS_MAX)
        p->fields[p->field_count].has_zero = true;
    return 0;
}

static bool is_separator(const struct csv_parser *p, int ch)
{
    return ch == (unsigned char)p->separator || (p->separator == ' ' && ch == '\t');
}

/* A separator: the end of a field, but for blanks that follow blanks or begin a line. */
static int separate(struct csv_parser *p, enum state *s, struct err *err)
{
    bool is_more_blank = p->separator == ' ' && *s == BEGIN;
    *s = BEGIN;
    return is_more_blank ? 0 : end_field(p, err);
}

static int take(struct csv_parser *p, int ch, enum state *s, struct err *err)
{
    if (*s == QUOTED) {
        p->next_line += ch == '\n';
        if (ch == '"')
            *s = CLOSED;
        return ch == '"' ? 0 : keep(p, ch, err);
    }
    if (is_separator(p, ch))
        return separate(p, s, err);
    if (ch == '"' && *s != PLAIN) {
        bool is_doubled = *s == CLOSED;
        *s = QUOTED;
        return is_doubled ? keep(p, ch, err) : 0;
    }
    *s = PLAIN;
    return keep(p, ch, err);
}

static bool is_line_end(struct csv_parser *p, int ch, enum state s)
{
    return (ch == '\n' || ch == '\r') && s != QUOTED;
}

/* True when the record has something in it; a last field that only blanks before the line's end made is dropped. */
static bool close_record(struct csv_parser *p, enum state s, struct err *err, int *r)
{
    bool is_blank_end = p->separator == ' ' && s == BEGIN && p->field_count > 0;
    bool is_empty = p->field_count == 0 && s == BEGIN;
    if (!is_blank_end && !is_empty)
        *r = end_field(p, err);
    return !is_empty;
}

int csv_next(struct csv_parser *p, struct err *err)
{
    enum state s = BEGIN;
    int r = 0;
    p->len = p->field_count = 0;
    p->line = p->next_line;
    begin_field(p);
    for (;;) {
        int ch = next_byte(p);
        if (ch < -1)
            return err_sys(err, ch + 1, "cannot read the file");
        if (ch == '\n' && p->is_after_cr) {
            p->is_after_cr = false;
            if (s != QUOTED)
                continue; /* the second half of \r\n */
        }
        p->is_after_cr = ch == '\r' && s != QUOTED;
        if (ch == -1 && s == QUOTED)
            return err_set(
                err, -EBADMSG,
                "a quote that begins in line %llu is not closed: close it, or double it if it belongs to the text",
                (unsigned long long)p->line);
        if (ch == -1 || is_line_end(p, ch, s)) {
            p->next_line += ch != -1;
            bool has_fields = close_record(p, s, err, &r);
            if (r < 0 || has_fields)
                return r < 0 ? r : 1;
            if (ch == -1)
                return 0;
            p->line = p->next_line;
            continue;
        }
        r = take(p, ch, &s, err);
        if (r < 0)
            return r;
    }
}
