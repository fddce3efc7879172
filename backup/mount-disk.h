/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of a mounted set: its manifests while somebody has it open, its bytes out of the cache.
 *
 * Threads: any number at once, but for create and destroy.
 */
#ifndef DISKGATE_BACKUP_MOUNT_DISK_H
#define DISKGATE_BACKUP_MOUNT_DISK_H

#include <pthread.h>
#include <stdatomic.h>

#include "backup/mount-cache.h"
#include "backup/restore-chain.h"

/* What all disks of a mount share. Borrowed. */
struct disk_source {
    struct reader *reader;
    struct chunk_cache *cache; /* NULL: nothing can be read yet */
    const char *key_file;      /* whose signature a set must have; NULL: anybody's or none */
};

struct disk {
    const struct disk_source *source;
    const struct set_info *set;
    const struct set_stream *stream;
    pthread_mutex_t lock; /* protects what follows */
    struct chain *chain;
    unsigned users;
    _Atomic uint64_t last; /* chunk that was read last, for reading ahead */
    /* Whoever looks for its partitions: */
    char prefix[24]; /* of their names: "" or "disk0." */
    pthread_mutex_t
        parts_lock; /* taken before `lock`; held while they are looked for, so that nobody misses one; protects: */
    bool has_parts; /* were looked for */
};

/* All are borrowed. NULL without memory. */
struct disk *disk_create(const struct disk_source *source, const struct set_info *set, const struct set_stream *stream);
void disk_destroy(struct disk *d);

/* The first one reads the manifests, and the last one drops them. 0; -ENOMEM; -EIO, what is wrong is logged. */
int disk_open(struct disk *d);
void disk_close(struct disk *d);

/* Of an open disk. Exactly @len bytes: 0; -EINVAL: not all of them lie in it; -EIO and others, never wrong bytes. */
int disk_read(struct disk *d, void *buf, size_t len, uint64_t off);
/* Of an open disk: the first byte from @off on and before @end that is data (or a hole). @end: there is none. */
uint64_t disk_seek(const struct disk *d, uint64_t off, uint64_t end, bool want_data);

#endif
