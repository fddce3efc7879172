/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ring between one thread that pushes and several that work; see pipe.h.
 *
 *   next_out            next_work          next_in
 *      | done or at work ...  | waiting ...    | free ...
 *
 * (1) next_out <= next_work <= next_in <= next_out + PLACES: one number for a place, so one thread works in it.
 * (2) A place with PIPE_READ has a buffer from the push until done() returned.
 */
#include "backup/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "core/lock.h"
#include "core/util.h"

#define PLACES             512U
#define BUFFERS_PER_THREAD 4U
#define BATCH              2U /* chunks that a thread takes at once: two are hashed together */

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

/* --- the threads ------------------------------------------------------------------------------------------------- */

#define COMPARE_TRIES 3

/* store_put(), and what the repository had already is read from there and compared. What cannot be read, or is something else, is stored once
 * more: the index forgets it. */
static int put_compared(const struct pipe *p, struct store_worker *w, struct place *at)
{
    struct pipe_item *i = &at->item;
    struct buffer *b = at->buffer;
    if (!b->other)
        b->other = malloc(p->chunk_bytes);
    if (!b->other)
        return err_sys(&b->err, -ENOMEM, "no memory for a chunk");
    for (unsigned try = 0; try < COMPARE_TRIES; try++) {
        int e, r = store_put(w, b->bytes, i->len, &i->ref, &b->err);
        if (r != STORE_KNOWN)
            return r;
        e = store_get(w, &i->ref.name, b->other, NULL, &b->err);
        if (e == 0 && memcmp(b->other, b->bytes, i->len) == 0)
            return r;
        if (e < 0 && e != -EBADMSG)
            return e;
        if (e == 0)
            (void)index_forget(store_index(p->store), &i->ref.name); /* somebody else may have done it */
        i->is_mended = true;
    }
    return err_set(&b->err, -EIO, "what is written to the repository comes back as something else, again and again");
}

/* The place is the caller's thread's afterwards. @code: 0, or what went wrong; @is_store: with the store. */
static void finish(struct pipe *p, struct place *at, int code, bool is_store)
{
    LOCK_SCOPE(&p->lock);
    at->code = code;
    at->is_store = is_store;
    at->is_done = true;
    if (at == p->awaited) /* nobody is woken for less */
        pthread_cond_signal(&p->done);
}

static void process(struct pipe *p, struct store_worker *w, struct place *at)
{
    struct pipe_item *i = &at->item;
    struct buffer *b = at->buffer;
    int r = at->stream->read(at->stream->arg, b->bytes, i->len, i->off, &b->err);
    if (r < 0) {
        finish(p, at, r, false);
        return;
    }
    i->buf = b->bytes;
    r = at->stream->is_paranoid ? put_compared(p, w, at) : store_put(w, b->bytes, i->len, &i->ref, &b->err);
    if (r >= 0)
        i->result = (enum store_result)r;
    finish(p, at, MIN(r, 0), r < 0);
}

/* What needed no work may have come out again before anybody looked at it, and its place may be in use for the second time. */
static struct place *next_job_locked(struct pipe *p)
{
    p->next_work = MAX(p->next_work, p->next_out);
    while (p->next_work < p->next_in && p->places[p->next_work % PLACES].is_done)
        p->next_work++;
    return p->next_work < p->next_in ? &p->places[p->next_work++ % PLACES] : NULL;
}

struct worker_arg {
    struct pipe *p;
    struct store_worker *w;
};

static void *work(void *arg)
{
    struct worker_arg a = *(struct worker_arg *)arg;
    free(arg);
    struct pipe *p = a.p;
    lock_take(&p->lock);
    while (!p->is_ending) {
        struct place *at = next_job_locked(p);
        if (!at) {
            pthread_cond_wait(&p->work, &p->lock.mutex);
            continue;
        }
        lock_release(&p->lock);
        process(p, a.w, at);
        lock_take(&p->lock);
    }
    lock_release(&p->lock);
    store_worker_destroy(a.w);
    return NULL;
}

/* --- the caller's side ------------------------------------------------------------------------------------------- */

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
    struct place *at = &p->places[p->next_out % PLACES];
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
    return p->next_out < p->next_in && p->places[p->next_out % PLACES].is_done;
}

static bool has_room(const struct pipe *p, enum pipe_kind kind)
{
    return p->next_in - p->next_out < PLACES && (kind != PIPE_READ || p->free);
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
    struct place *at = &p->places[p->next_in % PLACES];
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

static int start_thread(struct pipe *p)
{
    sigset_t all, old;
    struct worker_arg *a = malloc(sizeof(*a));
    if (!a)
        return -ENOMEM;
    *a = (struct worker_arg){p, store_worker_create(p->store)};
    (void)sigfillset(&all); /* signals are for the main thread */
    int r = a->w ? pthread_sigmask(SIG_SETMASK, &all, &old) : ENOMEM;
    if (r == 0) {
        r = pthread_create(&p->threads[p->n_threads], NULL, work, a);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail where the first one did not */
    }
    if (r != 0) {
        store_worker_destroy(a->w);
        free(a);
        return -r;
    }
    p->n_threads++;
    return 0;
}

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
    p->places = calloc(PLACES, sizeof(*p->places));
    p->buffers = calloc(p->n_buffers, sizeof(*p->buffers));
    p->threads = calloc(threads, sizeof(*p->threads));
    int r = p->places && p->buffers && p->threads ? 0 : -ENOMEM;
    for (unsigned i = 0; r == 0 && i < p->n_buffers; i++) {
        p->buffers[i].next = p->free;
        p->free = &p->buffers[i];
    }
    while (r == 0 && p->n_threads < threads)
        r = start_thread(p);
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
