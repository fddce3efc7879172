/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files gc*.c share.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_GC_PRIV_H
#define DISKGATE_BACKUP_GC_PRIV_H

#include "backup/gc.h"
#include "backup/set-priv.h"

struct gc_chunk {
    struct chunk_name name;
    uint32_t pack : 30;
    uint32_t is_lost : 1; /* it cannot be read, and lies nowhere else */
    uint32_t is_needed : 1;
};

struct gc {
    struct repo *repo;
    struct marks *marks;
    struct gc_counts *counts;
    bool is_dry, is_now;
    struct index *index;
    struct gc_chunk *chunks; /* by name */
    size_t n;
};

struct gc_chunk *gc_find(const struct gc *g, const struct chunk_name *name); /* NULL when there is none */
int gc_each_trash(struct repo *repo, int (*fn)(void *arg, const char *path, uint64_t number, struct err *err),
                  void *arg, struct err *err);
/* Delete what was in trash/ when the last collection ended; @all: what is there now as well. */
int gc_empty_trash(struct gc *g, bool all, struct err *err);
/* Packs without needed chunks to trash/, thin ones written again. */
int gc_sweep(struct gc *g, struct err *err);
/* Marks and bad chunks of packs that are not in packs/ any more. */
void gc_forget_packs(struct gc *g);

#endif
