/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoded chunks in memory, by name: the least recently used one that nobody reads makes room.
 *
 * Whoever asks for a chunk that is being read waits for that one reading. A chunk that cannot be read is not kept: it is read again at the next
 * request, for it may be healed by then. Every chunk is hashed when it is read.
 *
 * Threads: any number at once, but for create and destroy.
 */
#ifndef DISKGATE_BACKUP_MOUNT_CACHE_H
#define DISKGATE_BACKUP_MOUNT_CACHE_H

#include "backup/restore-reader.h"

#define MOUNT_CACHE_BYTES (64U << 20)

struct chunk_cache;
struct cached; /* one chunk that is in use */

/* @reader is borrowed. The thread that reads ahead begins here, so after a daemon has forked. */
int chunk_cache_create(struct reader *reader, size_t bytes, struct chunk_cache **ret);
void chunk_cache_destroy(struct chunk_cache *c);

/* 0 and *ret, to be given back; *ret_bytes: its bytes, *ret_len of them. -EIO and others; what is wrong with it is logged. */
int chunk_cache_get(struct chunk_cache *c, const struct chunk_name *name, struct cached **ret,
                    const unsigned char **ret_bytes, size_t *ret_len);
void chunk_cache_put(struct chunk_cache *c, struct cached *e);
/* It will be wanted soon. Never waits; may do nothing. */
void chunk_cache_expect(struct chunk_cache *c, const struct chunk_name *name);

#endif
