/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The index's entries: arrays of encoded ones in memory, the order in which the cache holds them, and the sorted table in a file.
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

/* --- the table in its file ----------------------------------------------------------------------------------------- */

/* A small table is in memory. Of a large one there is the beginning of each block's first name, 8 bytes for 4 KiB, and the block that was read last:
 * so the table of 100 GB in chunks of 64 KiB takes 240 KB and not 115 MB, and an entry costs one read, which the page cache answers. All zeros is
 * an empty one. */
struct table {
    int fd;       /* valid while fences is not NULL; -1 = needed no more */
    uint64_t off; /* of the first entry */
    size_t n;
    uint64_t *fences;
    uint64_t *bad;          /* a bit for each entry that was found to be unreadable since; NULL: none was */
    unsigned char *entries; /* all of them, or NULL */
    unsigned char *block;   /* else the one that was read last */
    size_t at;              /* its number + 1, 0 = none */
};

/* Takes @fd on success. Before it is searched every entry goes to table_fence(), in order. -ENOMEM. */
int table_init(struct table *t, int fd, uint64_t off, size_t n);
/* Room for all entries at t->entries, for the caller to fill; then table_leave_file(). NULL: they stay in the file. */
unsigned char *table_make_room(struct table *t);
void table_leave_file(struct table *t);
void table_fence(struct table *t, size_t i, const unsigned char *entry);
void table_finish(struct table *t);
/* Entry @i < n, until the next call; NULL: the disk does not give it. */
const unsigned char *table_entry(struct table *t, size_t i);
/* The first entry that is not below @xxh, n behind the last. -EIO. */
int table_find(struct table *t, const unsigned char xxh[16], size_t *ret);
int table_set_bad(struct table *t, size_t i); /* -ENOMEM */

#endif
