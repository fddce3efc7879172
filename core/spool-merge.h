/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records sorted by a key, any number of them in little memory: pieces are sorted and put into a spool, and the pieces are merged.
 *
 *   spool_merge_create(&m)
 *     spool_merge_put(m, key, record, len) ...      in any order; or spool_merge_room(), spool_merge_commit()
 *     spool_merge_begin(m)                          from here on nothing is put; again: all records once more
 *     spool_merge_next(m, &record, &len) ...        by key; of equal keys the one that was put first
 *   spool_merge_destroy(m)
 *
 * Memory: one piece (SPOOL_PIECE_BYTES) until spool_merge_begin(), then a buffer of 16 KiB for each piece.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_CORE_SPOOL_MERGE_H
#define DISKGATE_CORE_SPOOL_MERGE_H

#include <stddef.h>

#include "core/err.h"

#define SPOOL_KEY_BYTES   24
#define SPOOL_PIECE_BYTES (2u << 20)

struct spool_merge;

int spool_merge_create(struct spool_merge **ret, struct err *err);
void spool_merge_destroy(struct spool_merge *m); /* NULL is allowed */
/* Keys are compared as bytes. @len: at most SPOOL_RECORD_MAX - SPOOL_KEY_BYTES. */
int spool_merge_put(struct spool_merge *m, const char key[SPOOL_KEY_BYTES], const void *record, size_t len,
                    struct err *err);
/* Room for a record of at most @max bytes; it is there until the next call on @m, and its first @len bytes are a record with spool_merge_commit(). */
int spool_merge_room(struct spool_merge *m, size_t max, char **ret, struct err *err);
void spool_merge_commit(struct spool_merge *m, const char key[SPOOL_KEY_BYTES], size_t len);
int spool_merge_begin(struct spool_merge *m, struct err *err);
/* 1 and a record, whose bytes are there until the next call on @m; 0 behind the last one; a negative errno. */
int spool_merge_next(struct spool_merge *m, const char **ret, size_t *ret_len, struct err *err);

#endif
