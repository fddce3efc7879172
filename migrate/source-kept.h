/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of a small table that were read once and are wanted again: tables of images and groups are looked at, then looked up in, and each time
 * a process would be started. For source.c.
 *
 *   kept_begin(k, columns)      what is there is dropped
 *     kept_add(k, cells)        each row
 *   kept_end(k)                 all rows of the table were read, without an error: from now on kept_is_whole()
 *   kept_rows(k, each, arg)     the same cells again
 *   kept_finish(k)
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_SOURCE_KEPT_H
#define DISKGATE_MIGRATE_SOURCE_KEPT_H

#include "migrate/source.h"

#define KEPT_ROWS_MAX  1000              /* as the file says: of other tables nothing is kept */
#define KEPT_BYTES_MAX (64 * 1024)       /* of one table: one with more is read again */
#define KEPT_BYTES_ALL (4 * 1024 * 1024) /* of all tables of a source */

struct kept {
    unsigned char *buf; /* cells, one behind the other: struct cell, its bytes and a zero */
    size_t len, size, columns;
    uint64_t rows;
    bool is_open, is_whole;
};

void kept_begin(struct kept *k, size_t columns);
void kept_add(struct kept *k, const struct cell *cells); /* too much, or memory that is out, ends it */
void kept_end(struct kept *k);

static inline bool kept_is_open(const struct kept *k) /* between kept_begin() and kept_end() */
{
    return k->is_open;
}
static inline bool kept_is_whole(const struct kept *k)
{
    return k->is_whole;
}

/* As source_rows(). */
int kept_rows(const struct kept *k, source_each *each, void *arg, uint64_t *ret_rows);

void kept_finish(struct kept *k);

#endif
