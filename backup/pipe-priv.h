/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files pipe*.c share: a ring between one thread that pushes and several that work.
 *
 *   next_out            next_work          next_in
 *      | done or at work ...  | waiting ...    | free ...
 *
 * (1) next_out <= next_work <= next_in <= next_out + PIPE_PLACES: one number for a place, so one thread works in it.
 * (2) A place with PIPE_READ has a buffer from the push until done() returned.
 *
 * Threads: see pipe.h.
 */
#ifndef DISKGATE_BACKUP_PIPE_PRIV_H
#define DISKGATE_BACKUP_PIPE_PRIV_H

#include <pthread.h>

#include "backup/pipe.h"
#include "core/lock.h"

#define PIPE_PLACES 512U

/* Of a chunk that is read. */
struct buffer {
    void *bytes; /* made when it is first needed */
    void *other; /* likewise, where all is compared */
    struct err err;
    struct buffer *next; /* that is free, too */
};

struct place {
    struct pipe_item item;
    const struct pipe_stream *stream;
    struct buffer *buffer; /* PIPE_READ */
    bool is_done;
    int code;
    bool is_store; /* code is the store's: final */
};

struct pipe {
    struct store *store;
    size_t chunk_bytes;
    struct place *places;
    struct buffer *buffers, *free; /* the list of free ones is the caller's thread's */
    unsigned n_buffers, n_threads;
    pthread_t *threads;
    struct lock lock; /* protects all below, and is_done of places */
    pthread_cond_t work, done;
    uint64_t next_in, next_work, next_out;
    const struct place *awaited; /* by the caller's thread */
    bool is_ending;
    int code;
    bool is_store;
    struct err err;
};

/* One more thread that works. 0 or a negative errno. */
int pipe_start_thread(struct pipe *p);

#endif
