/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files index*.c share.
 *
 * Threads: see index.h.
 */
#ifndef DISKGATE_BACKUP_INDEX_PRIV_H
#define DISKGATE_BACKUP_INDEX_PRIV_H

#include "backup/badlist.h"
#include "backup/index-table.h"
#include "core/hash.h"
#include "core/lock.h"

struct index {
    struct repo *repo;
    struct lock lock; /* protects all below once the index is open */

    /* index.cache, or the same in memory: header, packs, entries in their order. Private to us, so that entries can be called bad. */
    unsigned char *map;
    size_t map_bytes;
    unsigned char *table; /* in it */
    size_t n_table;

    struct entries fresh;   /* added since */
    uint32_t *heads, *next; /* hash chains over them: number + 1 */
    size_t n_heads, next_room;

    struct pack_id *packs;
    size_t n_packs, packs_room;
    uint32_t next_number;
    bool was_rebuilt;
    char problems[1024];
};

/* What the cache depends on: packs that are there and were there, bad chunks. HASH_HEX_LEN + 1 bytes. */
int index_stamp(struct repo *r, char *ret, struct err *err);

/* index.cache into @x if it fits @stamp: 0; -ESTALE when it does not, or is damaged, or there is none. */
int cache_load(struct index *x, const char *stamp);
/* The table of @x and @more become one table with @stamp, which takes the place of the old one; a writer also writes it to index.cache. */
int cache_make(struct index *x, const struct entries *more, const char *stamp, struct err *err);
void cache_unmap(struct index *x);

/* All packs, and those that are gone, into @ret. @x->packs, problems and next_number are filled. */
int index_read_packs(struct index *x, struct entries *ret, struct err *err);

/* .toc files whose pack is not there; *ret to be free()d. */
int index_orphans(struct repo *r, const struct pack_id *packs, size_t n, struct pack_id **ret, size_t *ret_n,
                  struct err *err);

#endif
