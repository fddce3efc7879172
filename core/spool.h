/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A spool: records of any bytes, put one behind the other into a temporary file and read again in their order.
 *
 *   spool_create(&s)
 *     spool_room(s, n, &p), fill p, spool_commit(s, len)      one record
 *     spool_reader_init(&r, s), spool_next(&r, ...)           all of them, in order
 *   spool_destroy(s)
 *
 * A second thread may read behind the one that puts, in steps of some buffers:
 *
 *   spool_grow_begin(s)                                       before the other thread
 *     spool_room(), spool_commit(), ...                       the other: spool_reader_behind(&r, s), spool_next(&r, ...), which waits
 *   spool_grow_end(s, true)                                   in any case, or the other waits for ever; false: there will be no more
 *
 * The file has no name, so nothing is left behind whatever happens; it lies where SQLite has its temporary files ($SQLITE_TMPDIR, $TMPDIR,
 * /var/tmp, /tmp). Memory: one buffer to write and one for each reader, whatever the number of records.
 *
 *   record: length (4 bytes, of this machine) | bytes
 *
 * Threads: one at a time per spool; between spool_grow_begin() and the next spool_clear() any number of readers of spool_reader_behind() beside it,
 * each in one thread. When nothing is put any more, behind spool_flush(), any number of readers of either sort.
 */
#ifndef DISKGATE_CORE_SPOOL_H
#define DISKGATE_CORE_SPOOL_H

#include <stdbool.h>
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

void spool_grow_begin(struct spool *s);
/* All is put; or, with @is_whole false or a failure, readers behind are to stop: they get -ECANCELED. Nothing when it does not grow. */
int spool_grow_end(struct spool *s, bool is_whole, struct err *err);

struct spool_reader {
    struct spool *s;
    uint64_t place; /* of the record that comes next */
    char *buf;
    size_t size, begin, end; /* [begin, end) of buf is read and not taken */
    size_t buffer_bytes;     /* may be changed before the first record, and place too: to where one lies */
    bool is_behind;          /* another thread puts */
};

/* From the first record on. Cannot fail; spool_reader_finish() ends it. Records that are put meanwhile are read, too. */
void spool_reader_init(struct spool_reader *r, struct spool *s);
/* Likewise, for another thread than the one that puts, between spool_grow_begin() and the next spool_clear(). */
void spool_reader_behind(struct spool_reader *r, struct spool *s);
void spool_reader_finish(struct spool_reader *r);
/* 1 and a record, whose bytes are there until the next call on @r; 0 behind the last one; a negative errno. A reader behind waits for the record
 * or the end; -ECANCELED when the other thread gave up. */
int spool_next(struct spool_reader *r, const char **ret, size_t *ret_len, struct err *err);

#endif
