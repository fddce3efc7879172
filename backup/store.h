/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunk store: bytes in, a reference out, and back.
 *
 * Order of calls:
 *   store_open(repo)                       a writer's repository, or a reader's: then store_put() is not allowed
 *     store_worker_create() per thread     compressor, tar writer, buffers: about 3 chunks + 1 MiB
 *       store_put(), store_get()           any number, any order
 *     store_worker_destroy()
 *     store_flush()                        all of it is durable in complete packs; needed before a set is committed
 *   store_close()
 *
 * A reader chooses its set first and opens the store then: a backup may be running, and its packs are complete before its set appears.
 *
 * What store_put() does: zero test (bytes) - XXH3-128 and SHA-256 - look up; a hit counts only if SHA-256 and length are equal, whatever the
 * position or image it comes from; same XXH3-128 and other SHA-256 is a collision and gets the next suffix - compress into a frame
 * of its own with check sum - decode and compare - append to the pack that is being written.
 *
 * (1) A chunk that store_put() returned is durable after store_flush() returned 0, not before.
 * (2) After one failed write to the repository every later call fails with the same sentence: no gap can hide behind a later success.
 * (3) What is not flushed when the process ends is gone; complete packs stay, and the next run finds their chunks: that is the resume.
 * (4) store_get() checks length and XXH3-128 or SHA-256 on every read; the reader of a whole stream checks the tree of SHA-256 (manifest.h).
 *
 * Threads: put and get any number at once, each with a worker of its own. A worker belongs to one thread at a time.
 */
#ifndef DISKGATE_BACKUP_STORE_H
#define DISKGATE_BACKUP_STORE_H

#include "backup/index.h"

#define STORE_LEVEL_DEFAULT 3

enum store_result {
    STORE_ZERO,      /* all zero: nothing is stored, no reference */
    STORE_KNOWN,     /* the repository has it */
    STORE_NEW,       /* written */
    STORE_COLLISION, /* written under a suffix: another chunk has this XXH3-128. An attack, or chance of 1 in 2^128 */
};

struct store_counts {
    uint64_t zero, known, fresh, collisions; /* chunks */
    uint64_t stored_bytes;                   /* appended to packs, headers included */
    uint64_t packs;                          /* completed */
};

struct store;
struct store_worker;

/* @level of zstd, 0 = STORE_LEVEL_DEFAULT. Loads the index. */
int store_open(struct repo *r, int level, struct store **ret, struct err *err);
void store_close(struct store *s); /* without store_flush(): the unfinished pack is dropped */
static inline void store_closep(struct store **s)
{
    store_close(*s);
}

/* NULL without memory. */
struct store_worker *store_worker_create(struct store *s);
void store_worker_destroy(struct store_worker *w);
static inline void store_worker_destroyp(struct store_worker **w)
{
    store_worker_destroy(*w);
}

/* 0 < @len <= chunk_bytes. Returns an enum store_result, or a negative errno with a sentence: final for the whole store. */
int store_put(struct store_worker *w, const void *buf, size_t len, struct chunk_ref *ret, struct err *err);

/* The chunk called @name into @buf (room for chunk_bytes); its length, and its reference (for the SHA-256 tree) into *ret. @ret may
 * be NULL.
 * -EBADMSG with a sentence: no pack has it, or what is there is not it; then the index forgets it, so that the next store_put() of the same bytes
 * stores it again (heal). */
int store_get(struct store_worker *w, const struct chunk_name *name, void *buf, struct chunk_ref *ret, struct err *err);

/* Is it there, by the index alone? 0 and *ret; -ENOENT. What a manifest takes over from an older one is asked for here. */
int store_has(struct store *s, const struct chunk_name *name, struct chunk_ref *ret);

/* Complete the pack that is being written and the index cache. 0: all that was put is durable. */
int store_flush(struct store *s, struct err *err);

void store_counts(struct store *s, struct store_counts *ret);
struct index *store_index(struct store *s); /* borrowed */
struct repo *store_repo(struct store *s);

#endif
