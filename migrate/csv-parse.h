/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of comma-separated values (RFC 4180 and what programs make of it), one after the other.
 *
 *   csv_parser_init(&p, file, separator)
 *   csv_next(&p, err) -> 1 a record in p.fields, 0 the end, or a negative errno
 *   csv_parser_finish(&p)
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_CSV_PARSE_H
#define DISKGATE_MIGRATE_CSV_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "migrate/source.h"
#include "migrate/text-file.h"

#define CSV_RECORD_BYTES (1u << 20)
#define CSV_FIELDS_MAX   (SOURCE_COLUMNS_MAX + 1) /* one more, so that too many are seen */

struct csv_field {
    size_t begin, len; /* in text */
    bool has_zero;     /* held a zero byte, which is left out */
};

struct csv_parser {
    struct text_file *file;
    char separator; /* ' ': any number of blanks is one */
    char *text;     /* of the record; each field ends in a zero byte */
    size_t len, size;
    struct csv_field fields[CSV_FIELDS_MAX];
    size_t field_count; /* of the record, also those beyond CSV_FIELDS_MAX */
    uint64_t line;      /* that the record begins in, from 1 */
    uint64_t next_line;
    char block[65536];
    size_t pos, have;
    bool is_after_cr, is_end;
};

void csv_parser_init(struct csv_parser *p, struct text_file *file, char separator);
void csv_parser_finish(struct csv_parser *p);
/* From the beginning of the file again. */
int csv_restart(struct csv_parser *p, struct err *err);
/* Empty lines are passed over. -EBADMSG: a record of more than CSV_RECORD_BYTES, a quote that is not closed. */
int csv_next(struct csv_parser *p, struct err *err);
static inline const char *csv_field(const struct csv_parser *p, size_t i)
{
    return p->text + p->fields[i].begin;
}

#endif
