/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalogue of a repository: which chunks there are, and where. Can be thrown away at any time.
 *
 * Truth is what lies in packs/. This is `index.cache`, a sorted table of fixed entries, and a hash table of what this process has
 * added. The file names the packs that it was made from; when those are not the ones that are there, or its check sum does
 * not hold, or it is missing, the table is made anew from the .toc files. No SQLite: the table is written once and then only
 * searched, and <sqlite3.h> has its home in core/.
 *
 * (1) An entry is in the index only while its pack has its name in packs/ (or is this process' own unfinished one).
 * (2) Of two copies of a chunk the one in the pack with the greater number counts, but a bad one never.
 * (3) Nothing is ever deleted, refused or kept because of the cache alone.
 *
 * Memory: a table above 32 MiB stays in its file; 8 bytes for every 56 entries of it (index-table.h), and what this process adds until that goes to
 * the file as well: 72 bytes each, up to 128 Ki of them or an eighth of the table.
 *
 * Threads: index_find*() and index_add() any number at once; open, store and close one.
 */
#ifndef DISKGATE_BACKUP_INDEX_H
#define DISKGATE_BACKUP_INDEX_H

#include "backup/pack.h"

struct chunk_place {
    struct chunk_ref ref;
    uint32_t pack; /* number */
    uint32_t clen;
    uint64_t off;
};

struct index;

/* Load or make it. A damaged table of a pack is no failure where the pack can be scanned; packs that give nothing, and packs that are gone,
 * are named by index_problems(). */
int index_open(struct repo *r, struct index **ret, struct err *err);
void index_close(struct index *x);
static inline void index_closep(struct index **x)
{
    index_close(*x);
}

/* Is there a .toc without its pack? The number of such packs and a sentence, without loading anything; 0; a negative errno. */
int index_count_gone(struct repo *r, struct err *err);

/* Write index.cache (writers only): with all entries of complete packs. A failure costs the next one time, no more. */
int index_store(struct index *x, struct err *err);

/* 0; -ENOENT; -EIO: the disk does not give the table. */
int index_find(struct index *x, const struct chunk_name *name, struct chunk_place *ret);
/* The chunk with these bytes: XXH3-128 and SHA-256 are equal. *ret_suffix: the next free one when there is none. 0; -ENOENT; -EIO. */
int index_find_content(struct index *x, const unsigned char xxh[16], const unsigned char sha256[32], uint32_t len,
                       struct chunk_place *ret, uint32_t *ret_suffix);
/* A chunk was appended. 0; -EEXIST when the name is there by now; -ENOMEM; -EIO. */
int index_add(struct index *x, const struct pack_entry *e, uint32_t pack);
/* A chunk that cannot be read: it is as if it were not there, until it is added again. Its name stays taken, for these bytes alone: so what is stored
 * again has the old name, and older sets are whole again. The same holds for the chunks of bad.txt (badlist.h) and of packs that are gone and
 * have left their .toc. */
int index_forget(struct index *x, const struct chunk_name *name);

/* The pack with this number. 0; -ENOENT. */
int index_pack(struct index *x, uint32_t number, struct pack_id *ret);
/* A pack was begun: its number is taken. 0; -ENOMEM. */
int index_add_pack(struct index *x, const struct pack_id *id);
/* Packs by rising number. Borrowed until the next index_add_pack(). */
const struct pack_id *index_packs(const struct index *x, size_t *ret_n);
uint32_t index_next_number(struct index *x);
uint64_t index_count(struct index *x);
/* Each entry, in no order; those that cannot be read have the pack INDEX_BAD, and may be there under the same name as well. 0, -EIO or
 * what @fn returned. */
typedef int index_fn(void *arg, const struct chunk_place *p);
int index_each(struct index *x, index_fn *fn, void *arg);
/* What is wrong with packs, in sentences; "" when all is well. */
const char *index_problems(const struct index *x);
/* True when the table had to be made anew. */
bool index_was_rebuilt(const struct index *x);

#endif
