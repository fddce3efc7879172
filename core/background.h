/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread of its own for an object: the lock and condition that it shares with the object's callers, its start and its end.
 *
 *   background_init(b, rank)
 *   background_start(b, run, arg)      after the daemon has forked
 *     run():  lock_take(&b->lock); while (!b->must_stop) { ...; background_wait_locked(b, ms); } lock_release(&b->lock)
 *     others: lock, change something, background_wake_locked(b)
 *   background_stop(b)                 returns when run() has
 *   background_finish(b)
 *
 * Waiting goes by a clock that nobody sets: a date that jumps neither wakes nor holds anybody.
 *
 * Threads: wait and wake any number at once; the others one.
 */
#ifndef DISKGATE_CORE_BACKGROUND_H
#define DISKGATE_CORE_BACKGROUND_H

#include <pthread.h>
#include <stdbool.h>

#include "core/lock.h"

struct background {
    struct lock lock; /* protects must_stop, and what the owner says */
    pthread_cond_t changed;
    bool must_stop, is_started;
    pthread_t thread;
};

void background_init(struct background *b, enum lock_rank rank);
void background_finish(struct background *b); /* not while it runs */

/* 0, or a negative errno: then there is no thread. */
int background_start(struct background *b, void *(*run)(void *arg), void *arg);
void background_stop(struct background *b); /* nothing where it was not started */

/* Give the lock up until somebody wakes, or @ms milliseconds are over (below 0: never). May return early. */
void background_wait_locked(struct background *b, int ms);
void background_wake_locked(struct background *b);

#endif
