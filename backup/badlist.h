/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bad.txt: chunks that verify could not read, each with the pack in which it lies. The index leaves them out, so the next backup that has their
 * bytes stores them again, and older sets are whole again by their names.
 *
 *   diskgate-bad 1
 *   repo 2f1c...
 *   6e23d5c1db7f0ce27aaf20144358cecc 000017-1f0c9a3be2d44c01
 *   end 3 c0ff...
 *
 * A damaged or missing file is an empty one: the chunks are found bad again by the next read.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_BADLIST_H
#define DISKGATE_BACKUP_BADLIST_H

#include "backup/pack.h"
#include "core/hash.h"

struct bad_chunk {
    struct chunk_name name;
    struct pack_id pack;
};

struct badlist {
    struct bad_chunk *rows; /* in order, each once, after a load */
    size_t n, room;
    char stamp[HASH_HEX_LEN + 1]; /* of the file, for the index cache */
};

int badlist_load(struct repo *r, struct badlist *ret, struct err *err);
/* A writer's repository. Puts the rows in order. */
int badlist_store(struct repo *r, struct badlist *b, struct err *err);
void badlist_finish(struct badlist *b);
/* Of a list in order: one that was loaded, and not added to since. */
bool badlist_has(const struct badlist *b, const struct chunk_name *name, const char *stem);
int badlist_add(struct badlist *b, const struct chunk_name *name, const struct pack_id *pack); /* -ENOMEM */
/* Drop the rows of packs that are not among @packs. */
void badlist_keep(struct badlist *b, const struct pack_id *packs, size_t n);

#endif
