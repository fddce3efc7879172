/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of held requests and the thread that tries them again; see hold.h. */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#include "fusefs/hold.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>

#include "core/background.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/util.h"

#define TRY_AGAIN_MS 500

struct held {
    struct held *next;
    fuse_req_t req;
    struct view *view; /* a reference */
    enum held_kind kind;
    char *buf;
    uint64_t off, len;
    int64_t since_ms;
    int error;
};

struct hold {
    struct background bg; /* its lock protects all below */
    struct held *list, **tail;
    int64_t limit_ms;
};

/* --- one request ------------------------------------------------------------------------------------------------- */

static int try_again(const struct held *e)
{
    if (view_is_revoked(e->view))
        return -ESTALE;
    switch (e->kind) {
    case HELD_WRITE:
        return blk_write(e->view->blk, e->buf, (size_t)e->len, e->off);
    case HELD_ZERO:
        return blk_zero(e->view->blk, e->off, e->len);
    case HELD_FLUSH:
        break;
    }
    return blk_flush(e->view->blk);
}

static void answer(struct held *e, int r)
{
    if (r == 0 && e->kind == HELD_WRITE) {
        view_count_write(e->view, e->len);
        (void)fuse_reply_write(e->req, (size_t)e->len); /* a request that was given up needs no answer */
    } else {
        (void)fuse_reply_err(e->req, -r); /* likewise */
    }
    if (atomic_fetch_sub(&e->view->held, 1) == 1)
        log_info("client '%s' slot %u: no request waits for room any more", e->view->row.client, e->view->row.slot);
    view_unref(e->view);
    free(e->buf);
    free(e);
}

/* Still full, and time left? */
static bool must_wait(const struct held *e, int r, int64_t limit_ms)
{
    return (r == -ENOSPC || r == -EDQUOT) && clock_ms() - e->since_ms < limit_ms;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static void put_back(struct hold *h, struct held *e)
{
    LOCK_SCOPE(&h->bg.lock);
    *h->tail = e;
    h->tail = &e->next;
}

static struct held *take_all_locked(struct hold *h)
{
    struct held *all = h->list;
    h->list = NULL;
    h->tail = &h->list;
    return all;
}

static void try_all(struct hold *h, struct held *all, int64_t limit_ms)
{
    while (all) {
        struct held *e = all;
        all = e->next;
        e->next = NULL;
        e->error = try_again(e);
        if (must_wait(e, e->error, limit_ms)) {
            put_back(h, e);
            continue;
        }
        if (e->error == -ENOSPC || e->error == -EDQUOT)
            log_error("client '%s' slot %u: a request is given up after %lld s without room on the overlays' disk",
                      e->view->row.client, e->view->row.slot, (long long)(clock_ms() - e->since_ms) / 1000);
        answer(e, e->error);
    }
}

static void *run(void *arg)
{
    struct hold *h = arg;
    lock_take(&h->bg.lock);
    while (!h->bg.must_stop) {
        background_wait_locked(&h->bg, h->list ? TRY_AGAIN_MS : -1);
        struct held *all = take_all_locked(h);
        int64_t limit_ms = h->limit_ms;
        lock_release(&h->bg.lock);
        try_all(h, all, limit_ms);
        lock_take(&h->bg.lock);
    }
    struct held *all = take_all_locked(h);
    lock_release(&h->bg.lock);
    while (all) {
        struct held *e = all;
        all = e->next;
        answer(e, e->error);
    }
    return NULL;
}

bool hold_request(struct hold *h, struct fuse_req *req, struct view *v, enum held_kind kind, const void *buf,
                  uint64_t len, uint64_t off, int error)
{
    struct held *e = calloc(1, sizeof(*e));
    char *copy = e && kind == HELD_WRITE ? malloc((size_t)len) : NULL;
    if (!e || (kind == HELD_WRITE && !copy)) {
        free(e);
        return false;
    }
    if (copy)
        memcpy(copy, buf, (size_t)len);
    *e = (struct held){.req = req,
                       .view = view_ref(v),
                       .kind = kind,
                       .buf = copy,
                       .off = off,
                       .len = len,
                       .since_ms = clock_ms(),
                       .error = error};
    if (atomic_fetch_add(&v->held, 1) == 0)
        log_error("client '%s' slot %u: no room on the overlays' disk, its requests wait", v->row.client, v->row.slot);
    LOCK_SCOPE(&h->bg.lock);
    *h->tail = e;
    h->tail = &e->next;
    background_wake_locked(&h->bg);
    return true;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

struct hold *hold_create(void)
{
    struct hold *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    background_init(&h->bg, LOCK_HOLD);
    h->tail = &h->list;
    return h;
}

int hold_start(struct hold *h)
{
    return background_start(&h->bg, run, h);
}

void hold_stop(struct hold *h)
{
    background_stop(&h->bg);
}

void hold_destroy(struct hold *h)
{
    if (!h)
        return;
    assert(!h->list);
    background_finish(&h->bg);
    free(h);
}

void hold_set_limit(struct hold *h, unsigned seconds)
{
    LOCK_SCOPE(&h->bg.lock);
    h->limit_ms = (int64_t)seconds * 1000;
}
