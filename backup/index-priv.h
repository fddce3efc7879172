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

    struct table table; /* index.cache, or a file without a name */
    bool is_spilled;    /* it has more than index.cache */

    struct entries fresh;   /* added since; they become a part of the table before they are too many */
    size_t spill_at;        /* after a failure: not before there are so many */
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
/* The table of @x and its fresh entries become one table, which takes the place of both; a writer also gives it to index.cache, with @stamp (NULL:
 * it keeps it to itself). After a failure all is as it was. */
int cache_make(struct index *x, const char *stamp, struct err *err);

/* One more to the fresh ones, without a chain. -ENOMEM. */
int index_take(struct index *x, const struct chunk_place *p);

/* All packs, and those that are gone. @x->packs, problems and next_number are filled. */
int index_read_packs(struct index *x, struct err *err);

/* .toc files whose pack is not there; *ret to be free()d. */
int index_orphans(struct repo *r, const struct pack_id *packs, size_t n, struct pack_id **ret, size_t *ret_n,
                  struct err *err);

#endif
