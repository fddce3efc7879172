/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Accounts of the RAM pool and the thread that spills; see rampool.h. */
#include "core/rampool.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/background.h"
#include "core/clock.h"
#include "core/util.h"

#define HIGH_PERCENT 70
#define LOW_PERCENT  60
#define SPILL_MAX    (4U * MiB) /* of one member, before the worst one is looked for again */
#define SPILL_MIN    (256U * KiB)
#define RETRY_MS     500

struct ram_quota {
    struct ram_quota *next;
    int64_t client_id;
    unsigned members;
    uint64_t own_bytes; /* 0 = the general one */
    _Atomic uint64_t limit_bytes, used_bytes;
};

struct ram_pool {
    _Atomic uint64_t limit_bytes, used_bytes, spilled_bytes, refused_bytes;
    _Atomic int error;
    _Atomic bool is_wanted; /* the thread has work */
    struct background bg;   /* its lock protects all below */
    uint64_t client_bytes;
    struct ram_member *members;
    struct ram_quota *quotas;
};

/* --- accounts ---------------------------------------------------------------------------------------------------- */

/* Bytes that are above @percent of @limit. */
static uint64_t excess(uint64_t used, uint64_t limit, unsigned percent)
{
    uint64_t mark = limit / 100 * percent + limit % 100 * percent / 100;
    return used > mark ? used - mark : 0;
}

static bool is_above(uint64_t used, uint64_t limit, unsigned percent)
{
    return excess(used, limit, percent) > 0;
}

static void wake(struct ram_pool *p)
{
    if (atomic_exchange(&p->is_wanted, true))
        return;
    LOCK_SCOPE(&p->bg.lock);
    background_wake_locked(&p->bg);
}

static bool take_from(_Atomic uint64_t *used, uint64_t limit, uint64_t bytes)
{
    if (atomic_fetch_add(used, bytes) + bytes <= limit)
        return true;
    atomic_fetch_sub(used, bytes);
    return false;
}

bool ram_take(struct ram_member *m, uint64_t bytes)
{
    struct ram_pool *p = m->pool;
    uint64_t limit = atomic_load(&p->limit_bytes), own = atomic_load(&m->quota->limit_bytes);
    bool is_taken = take_from(&m->quota->used_bytes, own, bytes);
    if (is_taken && !take_from(&p->used_bytes, limit, bytes)) {
        atomic_fetch_sub(&m->quota->used_bytes, bytes);
        is_taken = false;
    }
    if (is_taken)
        atomic_fetch_add(&m->used_bytes, bytes);
    else
        atomic_fetch_add(&p->refused_bytes, bytes);
    if (is_above(atomic_load(&p->used_bytes), limit, HIGH_PERCENT) ||
        is_above(atomic_load(&m->quota->used_bytes), own, HIGH_PERCENT))
        wake(p);
    return is_taken;
}

void ram_give(struct ram_member *m, uint64_t bytes)
{
    atomic_fetch_sub(&m->used_bytes, bytes);
    atomic_fetch_sub(&m->quota->used_bytes, bytes);
    atomic_fetch_sub(&m->pool->used_bytes, bytes);
}

static void apply_quota_locked(struct ram_pool *p, struct ram_quota *q)
{
    uint64_t limit = p->limit_bytes, own = q->own_bytes ? q->own_bytes : p->client_bytes;
    atomic_store(&q->limit_bytes, own ? MIN(own, limit) : limit);
}

void ram_pool_set_limits(struct ram_pool *p, uint64_t limit_bytes, uint64_t client_bytes)
{
    {
        LOCK_SCOPE(&p->bg.lock);
        atomic_store(&p->limit_bytes, limit_bytes);
        p->client_bytes = client_bytes;
        for (struct ram_quota *q = p->quotas; q; q = q->next)
            apply_quota_locked(p, q);
    }
    wake(p);
}

static struct ram_quota *quota_locked(struct ram_pool *p, int64_t client_id)
{
    struct ram_quota *q = p->quotas;
    while (q && q->client_id != client_id)
        q = q->next;
    if (q)
        return q;
    q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->client_id = client_id;
    q->next = p->quotas;
    p->quotas = q;
    apply_quota_locked(p, q);
    return q;
}

/* Forget the quotas of clients that have neither members nor a limit of their own. */
static void drop_quotas_locked(struct ram_pool *p)
{
    for (struct ram_quota **at = &p->quotas; *at;) {
        struct ram_quota *q = *at;
        if (q->members > 0 || q->own_bytes > 0) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        free(q);
    }
}

int ram_pool_set_quota(struct ram_pool *p, int64_t client_id, uint64_t bytes)
{
    LOCK_SCOPE(&p->bg.lock);
    struct ram_quota *q = quota_locked(p, client_id);
    if (!q)
        return -ENOMEM;
    q->own_bytes = bytes;
    apply_quota_locked(p, q);
    drop_quotas_locked(p);
    return 0;
}

bool ram_pool_is_on(const struct ram_pool *p)
{
    return atomic_load(&p->limit_bytes) > 0;
}

void ram_pool_stats(struct ram_pool *p, struct ram_stats *ret)
{
    *ret = (struct ram_stats){
        .limit_bytes = atomic_load(&p->limit_bytes),
        .used_bytes = atomic_load(&p->used_bytes),
        .spilled_bytes = atomic_load(&p->spilled_bytes),
        .refused_bytes = atomic_load(&p->refused_bytes),
        .error = atomic_load(&p->error),
    };
}

/* --- members ----------------------------------------------------------------------------------------------------- */

int ram_pool_join(struct ram_pool *p, struct ram_member *m, int64_t client_id, uint64_t used_bytes)
{
    LOCK_SCOPE(&p->bg.lock);
    m->quota = quota_locked(p, client_id);
    if (!m->quota)
        return -ENOMEM;
    m->quota->members++;
    m->pool = p;
    m->pins = 0;
    m->not_before_ms = 0;
    atomic_store(&m->used_bytes, used_bytes);
    atomic_fetch_add(&m->quota->used_bytes, used_bytes);
    atomic_fetch_add(&p->used_bytes, used_bytes);
    m->next = p->members;
    p->members = m;
    return 0;
}

void ram_pool_leave(struct ram_member *m)
{
    struct ram_pool *p = m->pool;
    LOCK_SCOPE(&p->bg.lock);
    while (m->pins > 0)
        background_wait_locked(&p->bg, -1);
    for (struct ram_member **at = &p->members; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            break;
        }
    ram_give(m, atomic_load(&m->used_bytes));
    m->quota->members--;
    m->pool = NULL;
    drop_quotas_locked(p);
}

/* --- spilling ---------------------------------------------------------------------------------------------------- */

/* Of the members that may be tried now, the one with most where something is above @percent of its limit; NULL when nothing is. */
static struct ram_member *worst_locked(struct ram_pool *p, unsigned percent, int64_t now)
{
    bool all = is_above(p->used_bytes, p->limit_bytes, percent);
    struct ram_member *worst = NULL;
    for (struct ram_member *m = p->members; m; m = m->next) {
        bool is_over = all || is_above(m->quota->used_bytes, m->quota->limit_bytes, percent);
        if (is_over && m->used_bytes > 0 && m->not_before_ms <= now && (!worst || m->used_bytes > worst->used_bytes))
            worst = m;
    }
    return worst;
}

/* One step with the lock given up for it. */
static void spill_locked(struct ram_pool *p, struct ram_member *m)
{
    uint64_t much = MAX(excess(p->used_bytes, p->limit_bytes, LOW_PERCENT),
                        excess(m->quota->used_bytes, m->quota->limit_bytes, LOW_PERCENT));
    m->pins++;
    lock_release(&p->bg.lock);
    int64_t n = m->spill(m->arg, (size_t)MIN(MAX(much, SPILL_MIN), SPILL_MAX));
    lock_take(&p->bg.lock);
    m->pins--;
    if (n > 0)
        atomic_fetch_add(&p->spilled_bytes, (uint64_t)n);
    else
        m->not_before_ms = clock_ms() + RETRY_MS; /* nothing to move after all, or no disk to move it to */
    atomic_store(&p->error, n < 0 ? (int)-n : 0);
    background_wake_locked(&p->bg);
}

static void *run(void *arg)
{
    struct ram_pool *p = arg;
    bool is_spilling = false;
    LOCK_SCOPE(&p->bg.lock);
    while (!p->bg.must_stop) {
        atomic_store(&p->is_wanted, false);
        struct ram_member *m = worst_locked(p, is_spilling ? LOW_PERCENT : HIGH_PERCENT, clock_ms());
        if (m) {
            is_spilling = true;
            spill_locked(p, m);
            continue;
        }
        /* Members that failed are waited for; else somebody wakes us. */
        bool is_held = worst_locked(p, HIGH_PERCENT, INT64_MAX) != NULL;
        is_spilling = is_spilling && is_held;
        if (!atomic_load(&p->is_wanted) || is_held)
            background_wait_locked(&p->bg, is_held ? RETRY_MS : -1);
    }
    return NULL;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

struct ram_pool *ram_pool_create(void)
{
    struct ram_pool *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    background_init(&p->bg, LOCK_RAM);
    return p;
}

int ram_pool_start(struct ram_pool *p)
{
    return background_start(&p->bg, run, p);
}

void ram_pool_stop(struct ram_pool *p)
{
    background_stop(&p->bg);
}

void ram_pool_destroy(struct ram_pool *p)
{
    if (!p)
        return;
    assert(!p->members);
    for (struct ram_quota *q = p->quotas; q;) {
        struct ram_quota *next = q->next;
        free(q);
        q = next;
    }
    background_finish(&p->bg);
    free(p);
}
