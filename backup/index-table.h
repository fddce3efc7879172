/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The index's entries in memory: arrays of encoded entries, and the order in which the cache holds them.
 *
 *   offset  size
 *        0    16  XXH3-128
 *       16     4  suffix
 *       20     4  pack, INDEX_BAD = cannot be read
 *       24     8  offset of the frame in it
 *       32     4  length of the frame
 *       36     4  length of the chunk
 *       40    32  SHA-256
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_INDEX_TABLE_H
#define DISKGATE_BACKUP_INDEX_TABLE_H

#include "backup/index.h"

#define INDEX_ENTRY_BYTES 72U
#define INDEX_BAD         UINT32_MAX

/* Grows without being copied. All zeros is an empty one. */
struct entries {
    unsigned char *p;
    size_t n, room_bytes;
};

int entries_add(struct entries *e, const struct chunk_place *place); /* -ENOMEM */
void entries_finish(struct entries *e);
void index_entry_decode(const unsigned char *p, struct chunk_place *ret);
void index_entry_encode(const struct chunk_place *place, unsigned char *p);

/* The greater number of @p and of its place is the better copy; bad ones are the worst. By name, then best first. */
int index_entry_compare(const unsigned char *a, const unsigned char *b);

/* Numbers of @e's entries in the order of the names, only the best copy of each. *ret to be free()d. */
int entries_order(const struct entries *e, uint32_t **ret, size_t *ret_n); /* -ENOMEM */

/* The first entry of the sorted @table (@n entries) that is not below @name. */
size_t table_find(const unsigned char *table, size_t n, const unsigned char xxh[16], uint32_t suffix);

#endif
