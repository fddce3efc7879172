/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe: chunks are read, hashed, compressed and checked by several threads, and their results come out in the order in which they went in.
 *
 * Order of calls, all by one thread:
 *   pipe_create()
 *     pipe_push()     waits while the ring is full; results that are next in order go to done() meanwhile
 *     pipe_drain()    all results are out
 *   pipe_destroy()
 *
 * Memory: a ring of some hundred places, room for 4 chunks for each thread, and the store's worker for each thread. Whoever pushes waits
 * for the oldest result when one of them is used up, so a slow repository slows the reading down and nothing piles up. What need not be read
 * takes a place only: chunks that are far apart are worked on side by side.
 *
 * After a failure pipe_push() and pipe_drain() return it, done() is not called again, and what is in the ring is dropped.
 *
 * Threads: as said.
 */
#ifndef DISKGATE_BACKUP_PIPE_H
#define DISKGATE_BACKUP_PIPE_H

#include "backup/store.h"

enum pipe_kind { PIPE_READ, PIPE_KNOWN, PIPE_INHERIT, PIPE_ZERO };

struct pipe_item {
    enum pipe_kind kind;
    uint64_t n, count; /* chunks [n, n + count); count is 1 but for PIPE_INHERIT and PIPE_ZERO */
    uint64_t off;      /* PIPE_READ */
    size_t len;        /* bytes, of PIPE_READ and PIPE_KNOWN */
    /* The caller's: what the parent set has here. What was read counts as that only by what store_put() says, as anywhere else. */
    struct chunk_ref hint;
    bool has_hint;
    bool is_expected; /* the caller's: the change map says that it did not change */
    /* PIPE_KNOWN: what it is. PIPE_READ: the result. */
    struct chunk_ref ref;
    enum store_result result;
    bool is_mended;  /* the repository's own copy was not these bytes; it is stored again */
    const void *buf; /* its bytes, valid during done() */
};

struct pipe_stream {
    int (*read)(void *arg, void *buf, size_t len, uint64_t off, struct err *err); /* any thread */
    int (*done)(void *arg, const struct pipe_item *item, struct err *err);        /* the caller's thread */
    void *arg;
    bool is_paranoid; /* what the repository has already is read there and compared byte for byte */
};

struct pipe;

int pipe_create(struct store *s, unsigned threads, size_t chunk_bytes, struct pipe **ret, struct err *err);
void pipe_destroy(struct pipe *p); /* NULL is allowed */
static inline void pipe_destroyp(struct pipe **p)
{
    pipe_destroy(*p);
}

/* @stream is borrowed until pipe_drain(); one stream at a time. */
int pipe_push(struct pipe *p, const struct pipe_stream *stream, const struct pipe_item *item, struct err *err);
int pipe_drain(struct pipe *p, struct err *err);
/* Drop what is in the ring and forget the failure of a stream, so that the next one can begin; one of the store itself stays. */
void pipe_reset(struct pipe *p);

#endif
