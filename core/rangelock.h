/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Range lock: writers of overlapping blocks take turns, all others run side by side.
 *
 * Every writer appends its range to a queue and waits until no earlier entry overlaps it. So nobody starves, and a
 * range that covers the whole disk gets its turn as well. The queue is as long as there are writers on one disk, a handful.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_RANGELOCK_H
#define DISKGATE_CORE_RANGELOCK_H

#include <stdint.h>

#include "core/lock.h"

struct range {
    uint64_t first, end; /* blocks [first, end) */
    struct range *next;
};

struct range_lock {
    struct lock lock; /* protects the queue */
    pthread_cond_t gone;
    struct range *head, **tail;
};

void range_lock_init(struct range_lock *l);
void range_lock_finish(struct range_lock *l);

/* Wait until blocks [first, end) are ours. @r is the caller's memory and stays with the lock until range_release(). */
void range_take(struct range_lock *l, struct range *r, uint64_t first, uint64_t end);
void range_release(struct range_lock *l, struct range *r);

#endif
