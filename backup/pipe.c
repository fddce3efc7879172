/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The caller's side of a pipe; see pipe.h. What the threads do is in pipe-work.c. */
#include "backup/pipe-priv.h"

#include <errno.h>

#include "core/util.h"

#define BUFFERS_PER_THREAD 4U

static int failure(const struct pipe *p, struct err *err)
{
    if (err)
        *err = p->err;
    return p->code;
}

static void put_buffer(struct pipe *p, struct place *at)
{
    if (!at->buffer)
        return;
    at->buffer->next = p->free;
    p->free = at->buffer;
    at->buffer = NULL;
}

/* The oldest one comes out; waits for it. Its place stays its own until done() returned. */
static int pop(struct pipe *p)
{
    struct place *at = &p->places[p->next_out % PIPE_PLACES];
    {
        LOCK_SCOPE(&p->lock);
        p->awaited = at;
        while (!at->is_done)
            pthread_cond_wait(&p->done, &p->lock.mutex);
        p->awaited = NULL;
    }
    if (p->code == 0 && at->code < 0) {
        p->code = at->code;
        p->is_store = at->is_store;
        p->err = at->buffer->err;
    }
    if (p->code == 0)
        p->code = at->stream->done(at->stream->arg, &at->item, &p->err);
    put_buffer(p, at);
    LOCK_SCOPE(&p->lock);
    p->next_out++;
    return p->code;
}

/* There is one: make_room(). */
static int take_buffer(struct pipe *p, struct place *at)
{
    struct buffer *b = p->free;
    if (!b->bytes && posix_memalign(&b->bytes, 4096, p->chunk_bytes) != 0) {
        b->bytes = NULL;
        p->code = err_sys(&p->err, -ENOMEM, "no memory for a chunk");
        return p->code;
    }
    p->free = b->next;
    b->err.msg[0] = 0;
    at->buffer = b;
    return 0;
}

static int fill(struct pipe *p, struct place *at, const struct pipe_stream *stream, const struct pipe_item *item)
{
    at->item = *item;
    at->stream = stream;
    at->code = 0;
    at->is_store = false;
    return item->kind == PIPE_READ ? take_buffer(p, at) : 0;
}

static bool is_next_done(struct pipe *p)
{
    LOCK_SCOPE(&p->lock);
    return p->next_out < p->next_in && p->places[p->next_out % PIPE_PLACES].is_done;
}

static bool has_room(const struct pipe *p, enum pipe_kind kind)
{
    return p->next_in - p->next_out < PIPE_PLACES && (kind != PIPE_READ || p->free);
}

/* Waits for the oldest one, and takes what is finished behind it as well: so the next pushes need not wait. */
static int make_room(struct pipe *p, enum pipe_kind kind)
{
    int r = 0;
    if (has_room(p, kind))
        return 0;
    while (r == 0 && (!has_room(p, kind) || is_next_done(p)))
        r = pop(p);
    return r;
}

int pipe_push(struct pipe *p, const struct pipe_stream *stream, const struct pipe_item *item, struct err *err)
{
    if (p->code < 0 || make_room(p, item->kind) < 0)
        return failure(p, err);
    struct place *at = &p->places[p->next_in % PIPE_PLACES];
    if (fill(p, at, stream, item) < 0)
        return failure(p, err);
    LOCK_SCOPE(&p->lock);
    at->is_done = item->kind != PIPE_READ;
    p->next_in++;
    if (!at->is_done)
        pthread_cond_signal(&p->work);
    return 0;
}

int pipe_drain(struct pipe *p, struct err *err)
{
    while (p->next_out < p->next_in)
        (void)pop(p); /* the first failure stays */
    return p->code < 0 ? failure(p, err) : 0;
}

void pipe_reset(struct pipe *p)
{
    p->code = p->code < 0 ? p->code : -ECANCELED; /* nothing goes to done() */
    (void)pipe_drain(p, NULL);
    if (!p->is_store)
        p->code = 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int pipe_create(struct store *s, unsigned threads, size_t chunk_bytes, struct pipe **ret, struct err *err)
{
    struct pipe *p = calloc(1, sizeof(*p));
    if (!p)
        return err_sys(err, -ENOMEM, "cannot start");
    p->store = s;
    p->chunk_bytes = chunk_bytes;
    lock_init(&p->lock, LOCK_PIPE);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    p->n_buffers = threads * BUFFERS_PER_THREAD;
    p->places = calloc(PIPE_PLACES, sizeof(*p->places));
    p->buffers = calloc(p->n_buffers, sizeof(*p->buffers));
    p->threads = calloc(threads, sizeof(*p->threads));
    int r = p->places && p->buffers && p->threads ? 0 : -ENOMEM;
    for (unsigned i = 0; r == 0 && i < p->n_buffers; i++) {
        p->buffers[i].next = p->free;
        p->free = &p->buffers[i];
    }
    while (r == 0 && p->n_threads < threads)
        r = pipe_start_thread(p);
    if (r < 0) {
        pipe_destroy(p);
        return err_sys(err, r, "cannot start %u threads", threads);
    }
    *ret = p;
    return 0;
}

void pipe_destroy(struct pipe *p)
{
    if (!p)
        return;
    {
        LOCK_SCOPE(&p->lock);
        p->is_ending = true;
        pthread_cond_broadcast(&p->work);
    }
    for (unsigned i = 0; i < p->n_threads; i++)
        (void)pthread_join(p->threads[i], NULL); /* cannot fail for threads of ours */
    for (unsigned i = 0; p->buffers && i < p->n_buffers; i++) {
        free(p->buffers[i].bytes);
        free(p->buffers[i].other);
    }
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    lock_finish(&p->lock);
    free(p->places);
    free(p->buffers);
    free(p->threads);
    free(p);
}
