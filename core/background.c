/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start, end and waits; see background.h. */
#include "core/background.h"

#include <assert.h>
#include <stdint.h>

#include "core/clock.h"

void background_init(struct background *b, enum lock_rank rank)
{
    pthread_condattr_t attr;
    *b = (struct background){.must_stop = false};
    lock_init(&b->lock, rank);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->changed, &attr);
    pthread_condattr_destroy(&attr);
}

void background_finish(struct background *b)
{
    assert(!b->is_started);
    pthread_cond_destroy(&b->changed);
    lock_finish(&b->lock);
}

int background_start(struct background *b, void *(*run)(void *arg), void *arg)
{
    int r = -pthread_create(&b->thread, NULL, run, arg);
    b->is_started = r == 0;
    return r;
}

void background_stop(struct background *b)
{
    if (!b->is_started)
        return;
    {
        LOCK_SCOPE(&b->lock);
        b->must_stop = true;
        background_wake_locked(b);
    }
    pthread_join(b->thread, NULL);
    b->is_started = false;
}

void background_wait_locked(struct background *b, int ms)
{
    if (ms < 0) {
        pthread_cond_wait(&b->changed, &b->lock.mutex);
        return;
    }
    int64_t end_ns = clock_ns() + (int64_t)ms * 1000000;
    struct timespec at = {.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};
    (void)pthread_cond_timedwait(&b->changed, &b->lock.mutex, &at); /* either way: the caller looks again */
}

void background_wake_locked(struct background *b)
{
    pthread_cond_broadcast(&b->changed);
}
