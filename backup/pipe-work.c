/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads of a pipe; see pipe-priv.h. */
#include "backup/pipe-priv.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "core/util.h"

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
    while (p->next_work < p->next_in && p->places[p->next_work % PIPE_PLACES].is_done)
        p->next_work++;
    return p->next_work < p->next_in ? &p->places[p->next_work++ % PIPE_PLACES] : NULL;
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

int pipe_start_thread(struct pipe *p)
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
