/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text files of a repository: lines of fields, a first line that says what it is, a last one that says that it is all there.
 *
 *   diskgate-toc 1
 *   ...
 *   end 17 6e23d5c1db7f0ce27aaf20144358cecc      lines above, XXH3-128 of the bytes above
 *
 * Lines end with one LF, fields are parted by one blank, numbers are decimal without leading zeros. A reader refuses anything else.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_TEXT_H
#define DISKGATE_BACKUP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/err.h"

/* --- reading ------------------------------------------------------------------------------------------------------- */

struct text {
    const char *p, *end; /* what is left */
    size_t line;         /* number of the line that text_next() gave */
};

/* A line, or what is left of one. */
struct field {
    const char *p;
    size_t len;
};

/* Check the first line ("KIND 1") and the last; *ret is what lies between. @what names the file in sentences.
 * -EBADMSG; -EOPNOTSUPP: another version. */
int text_open(const char *buf, size_t len, const char *kind, const char *what, struct text *ret, struct err *err);
/* The first line alone, for files whose end comes later. */
int text_check_first(struct field line, const char *kind, const char *what, struct err *err);
/* The next line without its LF; false at the end. */
bool text_next(struct text *t, struct field *ret);
/* Cut the next field off @line; false when there is none, or an empty one (two blanks, a blank at an end). */
bool field_take(struct field *line, struct field *ret);
bool field_is(struct field f, const char *word);
/* 0..@max. False when it is no such number. */
bool field_number(struct field f, uint64_t max, uint64_t *ret);
/* Into @ret (@room bytes, ending zero included): printable, no control characters. */
bool field_text(struct field f, char *ret, size_t room);
/* "FILE, line 7: @problem" as -EBADMSG. */
int text_bad(const struct text *t, const char *what, const char *problem, struct err *err);

/* --- writing ------------------------------------------------------------------------------------------------------- */

/* A file that grows in memory: fprintf to @f; memory that runs out is found by text_seal(). */
struct text_out {
    FILE *f;
    char *buf;
    size_t len;
};

int text_out_init(struct text_out *o); /* -ENOMEM */
void text_out_finish(struct text_out *o);
/* Flush: buf and len are valid until the next print. -ENOMEM. */
int text_out_flush(struct text_out *o);
/* Append the last line, then as text_out_flush(). */
int text_seal(struct text_out *o);

#endif
