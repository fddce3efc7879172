/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files store*.c share.
 *
 * Threads: see store.h.
 */
#ifndef DISKGATE_BACKUP_STORE_PRIV_H
#define DISKGATE_BACKUP_STORE_PRIV_H

#include <zstd.h>

#include "backup/store.h"
#include "core/lock.h"

#define OPEN_PACKS 16

/* A pack that this process writes and that has no name in packs/ yet. */
struct own_pack {
    struct own_pack *next;
    struct pack_writer *writer;
    unsigned writing, readers; /* threads */
};

/* A pack that is open for reading. */
struct open_pack {
    int fd; /* -1 = free */
    uint32_t number;
    unsigned users;
    uint64_t used; /* the least recently used one makes room */
};

struct store {
    struct repo *repo;
    struct index *index;
    int level;

    struct lock lock;       /* protects what follows up to packs_lock */
    pthread_cond_t changed; /* of anything below */
    struct own_pack *own, *current;
    bool is_beginning; /* somebody makes a new current pack */
    int failed;
    struct err why;
    struct store_counts counts;

    struct lock packs_lock; /* protects what follows */
    struct open_pack open[OPEN_PACKS];
    uint64_t clock;
};

struct store_worker {
    struct store *store;
    struct pack_coder *coder;
    unsigned char *frame;
    size_t frame_room;
};

void packs_close(struct store *s);

#endif
