/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A spool: records of any bytes, put one behind the other into a temporary file and read again in their order.
 *
 *   spool_create(&s)
 *     spool_room(s, n, &p), fill p, spool_commit(s, len)      one record
 *     spool_reader_init(&r, s), spool_next(&r, ...)           all of them, in order
 *   spool_destroy(s)
 *
 * The file has no name, so nothing is left behind whatever happens; it lies where SQLite has its temporary files ($SQLITE_TMPDIR, $TMPDIR,
 * /var/tmp, /tmp). Memory: one buffer to write and one for each reader, whatever the number of records.
 *
 *   record: length (4 bytes, of this machine) | bytes
 *
 * Threads: one at a time per spool; behind spool_flush() any number of readers, each in one thread.
 */
#ifndef DISKGATE_CORE_SPOOL_H
#define DISKGATE_CORE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define SPOOL_RECORD_MAX (1u << 20) /* bytes */

struct spool;

int spool_create(struct spool **ret, struct err *err);
void spool_destroy(struct spool *s); /* NULL is allowed */
/* No record is left. */
int spool_clear(struct spool *s, struct err *err);

/* Where the next record will lie. */
uint64_t spool_end(const struct spool *s);
/* Room for a record of at most @max bytes (up to SPOOL_RECORD_MAX); it is there until the next call on @s. */
int spool_room(struct spool *s, size_t max, char **ret, struct err *err);
/* The first @len bytes of the room are a record. */
void spool_commit(struct spool *s, size_t len);

/* What was put is in the file: until the next spool_room() or spool_clear(), readers of other threads may read it. */
int spool_flush(struct spool *s, struct err *err);

struct spool_reader {
    struct spool *s;
    uint64_t place; /* of the record that comes next */
    char *buf;
    size_t size, begin, end; /* [begin, end) of buf is read and not taken */
    size_t buffer_bytes;     /* may be changed before the first record, and place too: to where one lies */
};

/* From the first record on. Cannot fail; spool_reader_finish() ends it. Records that are put meanwhile are read, too. */
void spool_reader_init(struct spool_reader *r, struct spool *s);
void spool_reader_finish(struct spool_reader *r);
/* 1 and a record, whose bytes are there until the next call on @r; 0 behind the last one; a negative errno. */
int spool_next(struct spool_reader *r, const char **ret, size_t *ret_len, struct err *err);

#endif
