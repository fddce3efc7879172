/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Range lock as a first-come queue; see rangelock.h. */
#include "core/rangelock.h"

#include <stdbool.h>
#include <stddef.h>

void range_lock_init(struct range_lock *l)
{
    lock_init(&l->lock, LOCK_RANGE);
    pthread_cond_init(&l->gone, NULL);
    l->head = NULL;
    l->tail = &l->head;
}

void range_lock_finish(struct range_lock *l)
{
    assert(!l->head);
    pthread_cond_destroy(&l->gone);
    lock_finish(&l->lock);
}

static bool must_wait_locked(const struct range_lock *l, const struct range *r)
{
    for (const struct range *e = l->head; e != r; e = e->next)
        if (e->first < r->end && r->first < e->end)
            return true;
    return false;
}

void range_take(struct range_lock *l, struct range *r, uint64_t first, uint64_t end)
{
    assert(first < end);
    r->first = first;
    r->end = end;
    r->next = NULL;
    LOCK_SCOPE(&l->lock);
    *l->tail = r;
    l->tail = &r->next;
    while (must_wait_locked(l, r))
        pthread_cond_wait(&l->gone, &l->lock.mutex);
}

void range_release(struct range_lock *l, struct range *r)
{
    LOCK_SCOPE(&l->lock);
    struct range **p = &l->head;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    if (l->tail == &r->next)
        l->tail = p;
    if (l->head)
        pthread_cond_broadcast(&l->gone); /* waiters wait for different ranges */
}
