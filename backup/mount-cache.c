/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fixed number of places for chunks; see mount-cache.h.
 *
 *   EMPTY -> BUSY (one thread reads) -> FULL -> BUSY ...       a place with users is never taken
 */
#include "backup/mount-cache.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/log.h"
#include "core/util.h"

#define AHEAD_MAX  16U
#define PLACES_MIN 8U

enum place_state { EMPTY, BUSY, FULL };

struct cached {
    enum place_state state;
    struct chunk_name name;
    unsigned users;
    uint64_t used;
    unsigned char *bytes; /* made when it is first needed */
    size_t len;
};

struct idle_worker {
    struct idle_worker *next;
    struct reader_worker *worker;
};

struct chunk_cache {
    struct reader *reader;
    pthread_mutex_t lock; /* protects all below; held over nothing */
    pthread_cond_t changed, wanted;
    struct cached *places;
    size_t n;
    uint64_t clock;
    struct idle_worker *idle;
    struct chunk_name ahead[AHEAD_MAX]; /* a ring of what will be wanted */
    unsigned first, count;
    bool is_ending;
    pthread_t thread;
    bool has_thread;
};

/* --- workers ----------------------------------------------------------------------------------------------------- */

static struct idle_worker *take_worker(struct chunk_cache *c)
{
    pthread_mutex_lock(&c->lock);
    struct idle_worker *w = c->idle;
    if (w)
        c->idle = w->next;
    pthread_mutex_unlock(&c->lock);
    if (w)
        return w;
    w = calloc(1, sizeof(*w));
    if (w && !(w->worker = reader_worker_create(c->reader))) {
        free(w);
        w = NULL;
    }
    return w;
}

static void put_worker(struct chunk_cache *c, struct idle_worker *w)
{
    pthread_mutex_lock(&c->lock);
    w->next = c->idle;
    c->idle = w;
    pthread_mutex_unlock(&c->lock);
}

/* --- places ------------------------------------------------------------------------------------------------------ */

static struct cached *find_locked(struct chunk_cache *c, const struct chunk_name *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->places[i].state != EMPTY && chunk_name_equal(&c->places[i].name, name))
            return &c->places[i];
    return NULL;
}

static struct cached *make_room_locked(struct chunk_cache *c)
{
    struct cached *best = NULL;
    for (size_t i = 0; i < c->n; i++) {
        struct cached *e = &c->places[i];
        if (e->users > 0 || e->state == BUSY)
            continue;
        if (e->state == EMPTY)
            return e;
        if (!best || e->used < best->used)
            best = e;
    }
    return best;
}

static int read_into(struct chunk_cache *c, struct cached *e)
{
    struct err err;
    struct chunk_ref ref;
    char text[CHUNK_NAME_LEN + 1];
    struct idle_worker *w = take_worker(c);
    if (!w)
        return -ENOMEM;
    if (!e->bytes)
        e->bytes = malloc(repo_format(reader_repo(c->reader))->chunk_bytes);
    int r = e->bytes ? reader_get(w->worker, &e->name, e->bytes, &ref, &err) : -ENOMEM;
    put_worker(c, w);
    if (r == 0) {
        e->len = ref.len;
        return 0;
    }
    (void)chunk_name_text(&e->name, text);
    log_error("mount: cannot read chunk %s: %s", text, r == -ENOMEM ? "memory is out" : err.msg);
    return r == -ENOMEM ? r : -EIO;
}

/* The chunk, with one more user; NULL and *ret_code. */
static struct cached *get_locked(struct chunk_cache *c, const struct chunk_name *name, int *ret_code)
{
    struct cached *e;
    for (;;) {
        e = find_locked(c, name);
        if (e && e->state == FULL)
            break;
        if (!e && (e = make_room_locked(c))) {
            e->state = BUSY;
            e->name = *name;
            pthread_mutex_unlock(&c->lock);
            int r = read_into(c, e);
            pthread_mutex_lock(&c->lock);
            e->state = r == 0 ? FULL : EMPTY;
            pthread_cond_broadcast(&c->changed);
            if (r < 0) {
                *ret_code = r;
                return NULL;
            }
            break;
        }
        pthread_cond_wait(&c->changed, &c->lock); /* until it is read, or a place is free */
    }
    e->users++;
    e->used = ++c->clock;
    return e;
}

int chunk_cache_get(struct chunk_cache *c, const struct chunk_name *name, struct cached **ret,
                    const unsigned char **ret_bytes, size_t *ret_len)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    struct cached *e = get_locked(c, name, &r);
    pthread_mutex_unlock(&c->lock);
    if (!e)
        return r;
    *ret = e;
    *ret_bytes = e->bytes;
    *ret_len = e->len;
    return 0;
}

void chunk_cache_put(struct chunk_cache *c, struct cached *e)
{
    pthread_mutex_lock(&c->lock);
    if (--e->users == 0)
        pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* --- reading ahead ----------------------------------------------------------------------------------------------- */

void chunk_cache_expect(struct chunk_cache *c, const struct chunk_name *name)
{
    pthread_mutex_lock(&c->lock);
    bool is_known = find_locked(c, name) != NULL;
    for (unsigned i = 0; i < c->count && !is_known; i++)
        is_known = chunk_name_equal(&c->ahead[(c->first + i) % AHEAD_MAX], name);
    if (!is_known && c->count < AHEAD_MAX) {
        c->ahead[(c->first + c->count++) % AHEAD_MAX] = *name;
        pthread_cond_signal(&c->wanted);
    }
    pthread_mutex_unlock(&c->lock);
}

static void *read_ahead(void *arg)
{
    struct chunk_cache *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->is_ending) {
        if (c->count == 0) {
            pthread_cond_wait(&c->wanted, &c->lock);
            continue;
        }
        struct chunk_name name = c->ahead[c->first];
        c->first = (c->first + 1) % AHEAD_MAX;
        c->count--;
        int ignored; /* whoever wants it is told */
        struct cached *e = get_locked(c, &name, &ignored);
        if (e && --e->users == 0)
            pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int chunk_cache_create(struct reader *reader, size_t bytes, struct chunk_cache **ret)
{
    struct chunk_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->reader = reader;
    c->n = MAX(bytes / repo_format(reader_repo(reader))->chunk_bytes, (size_t)PLACES_MIN);
    c->places = calloc(c->n, sizeof(*c->places));
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    pthread_cond_init(&c->wanted, NULL);
    if (!c->places) {
        chunk_cache_destroy(c);
        return -ENOMEM;
    }
    c->has_thread = pthread_create(&c->thread, NULL, read_ahead, c) == 0; /* without it reading is slower */
    *ret = c;
    return 0;
}

void chunk_cache_destroy(struct chunk_cache *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_ending = true;
    pthread_cond_broadcast(&c->wanted);
    pthread_mutex_unlock(&c->lock);
    if (c->has_thread)
        (void)pthread_join(c->thread, NULL); /* it is ours and ends */
    for (struct idle_worker *w = c->idle, *next; w; w = next) {
        next = w->next;
        reader_worker_destroy(w->worker);
        free(w);
    }
    for (size_t i = 0; c->places && i < c->n; i++)
        free(c->places[i].bytes);
    free(c->places);
    pthread_cond_destroy(&c->wanted);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
