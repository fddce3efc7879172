/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A store that is replaced when the packs have changed; see restore-reader.h.
 *
 * (1) A store lives as long as the reader or a worker refers to it.
 * (2) Whoever misses a chunk looks whether the packs are still those of the newest store; only one at a time opens another one.
 */
#include "backup/restore-reader.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/util.h"

#define RENEW_WAIT_MS 600000 /* a prune that moves packs may take so long; waiting is better than an error */

struct shelf {
    struct repo *repo;
    struct store *store;
    unsigned users;
};

struct reader {
    pthread_mutex_t swap; /* held while another store is opened; taken before `lock` */
    pthread_mutex_t lock; /* protects `shelf` and the counts of users; held over nothing */
    struct shelf *shelf;
    char verb[32];
};

struct reader_worker {
    struct reader *reader;
    struct shelf *shelf;
    struct store_worker *worker;
};

/* --- shelves ----------------------------------------------------------------------------------------------------- */

static void shelf_destroy(struct shelf *s)
{
    if (!s)
        return;
    store_close(s->store);
    repo_close(s->repo);
    free(s);
}

static int shelf_create(const char *path, const char *verb, int wait_ms, struct shelf **ret, struct err *err)
{
    struct shelf *s = calloc(1, sizeof(*s));
    if (!s)
        return err_sys(err, -ENOMEM, "cannot open the repository '%s'", path);
    s->users = 1;
    int r = repo_open(path, REPO_READ, wait_ms, verb, &s->repo, err);
    if (r == 0)
        r = store_open(s->repo, 0, &s->store, err);
    if (r < 0)
        shelf_destroy(s);
    else
        *ret = s;
    return r;
}

static struct shelf *shelf_take(struct reader *r)
{
    pthread_mutex_lock(&r->lock);
    struct shelf *s = r->shelf;
    s->users++;
    pthread_mutex_unlock(&r->lock);
    return s;
}

static void shelf_put(struct reader *r, struct shelf *s)
{
    pthread_mutex_lock(&r->lock);
    bool is_last = --s->users == 0;
    pthread_mutex_unlock(&r->lock);
    if (is_last)
        shelf_destroy(s);
}

/* --- the reader -------------------------------------------------------------------------------------------------- */

int reader_open(const char *path, const char *verb, int wait_ms, struct reader **ret, struct err *err)
{
    struct reader *r = calloc(1, sizeof(*r));
    if (!r)
        return err_sys(err, -ENOMEM, "cannot open the repository '%s'", path);
    pthread_mutex_init(&r->swap, NULL);
    pthread_mutex_init(&r->lock, NULL);
    (void)snprintf(r->verb, sizeof(r->verb), "%s", verb);
    int e = shelf_create(path, verb, wait_ms, &r->shelf, err);
    if (e < 0)
        reader_close(r);
    else
        *ret = r;
    return e;
}

void reader_unlock(struct reader *r)
{
    repo_unlock(r->shelf->repo);
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    if (r->shelf)
        shelf_put(r, r->shelf);
    pthread_mutex_destroy(&r->swap);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct repo *reader_repo(const struct reader *r)
{
    return r->shelf->repo;
}

struct index *reader_index(const struct reader *r)
{
    return store_index(r->shelf->store);
}

int reader_has(struct reader *r, const struct chunk_name *name, struct chunk_ref *ret)
{
    struct shelf *s = shelf_take(r);
    int e = store_has(s->store, name, ret);
    shelf_put(r, s);
    return e;
}

/* Are the packs that lie there those that the index of @s was made from? */
static bool is_current(const struct shelf *s)
{
    _cleanup_free_ struct pack_id *now = NULL;
    struct err ignored;
    size_t n = 0, n_known;
    const struct pack_id *known = index_packs(store_index(s->store), &n_known);
    if (pack_list(s->repo, &now, &n, &ignored) < 0)
        return true; /* the disk has gone: nothing better can be had */
    if (n != n_known)
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(now[i].stem, known[i].stem) != 0)
            return false;
    return true;
}

/* Something newer than @old: true when there is. */
static bool renew(struct reader *r, const struct shelf *old)
{
    struct shelf *fresh = NULL;
    struct err ignored;
    pthread_mutex_lock(&r->swap);
    struct shelf *now = shelf_take(r);
    bool is_newer = now != old;
    if (!is_newer && !is_current(now) &&
        shelf_create(repo_path(now->repo), r->verb, RENEW_WAIT_MS, &fresh, &ignored) == 0) {
        repo_unlock(fresh->repo);
        pthread_mutex_lock(&r->lock);
        r->shelf = fresh;
        now->users--; /* the reader's own */
        pthread_mutex_unlock(&r->lock);
        is_newer = true;
    }
    shelf_put(r, now);
    pthread_mutex_unlock(&r->swap);
    return is_newer;
}

/* --- workers ----------------------------------------------------------------------------------------------------- */

static void let_go(struct reader_worker *w)
{
    store_worker_destroy(w->worker);
    if (w->shelf)
        shelf_put(w->reader, w->shelf);
    w->worker = NULL;
    w->shelf = NULL;
}

static int take_hold(struct reader_worker *w)
{
    w->shelf = shelf_take(w->reader);
    w->worker = store_worker_create(w->shelf->store);
    return w->worker ? 0 : -ENOMEM;
}

struct reader_worker *reader_worker_create(struct reader *r)
{
    struct reader_worker *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->reader = r;
    if (take_hold(w) == 0)
        return w;
    reader_worker_destroy(w);
    return NULL;
}

void reader_worker_destroy(struct reader_worker *w)
{
    if (w)
        let_go(w);
    free(w);
}

int reader_get(struct reader_worker *w, const struct chunk_name *name, void *buf, struct chunk_ref *ret,
               struct err *err)
{
    int r = w->worker ? store_get(w->worker, name, buf, ret, err) : -EBADMSG;
    if (r == 0 || (r != -EBADMSG && r != -ENOENT) || (w->worker && !renew(w->reader, w->shelf)))
        return r;
    let_go(w);
    r = take_hold(w);
    return r < 0 ? err_sys(err, r, "cannot read a chunk") : store_get(w->worker, name, buf, ret, err);
}
