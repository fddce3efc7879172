/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits and who is parked; see crew.h.
 *
 * `spare` is the number of threads that are neither parked nor stuck, less `hot`. Only threads that get stuck, unstuck, parked or woken
 * change it, under the lock; a request that meets none of that touches its own thread's turn and reads two flags.
 *
 * The watch runs each TICK_MS while there are requests and sleeps otherwise (the first request wakes it). It finds threads that got stuck
 * without a word (a write that the kernel throttles), and lets as many threads park as were spare during the whole tick: so a load
 * that goes to the disk again and again does not park and wake a thread for each request.
 */
#include "fusefs/crew.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/lock.h"
#include "core/util.h"

#define INTERRUPT  SIGUSR2 /* ends a system call, and does nothing else */
#define TICK_MS    10
#define IDLE_TICKS 20 /* without a request; then the watch goes to sleep */

struct hand {
    _Alignas(64) _Atomic uint32_t turn; /* odd while it serves; a cache line of its own */
    struct crew *crew;
    unsigned number;
    pthread_t thread;
    _Atomic bool is_stuck; /* changes under the lock */
    _Atomic bool is_in_next, has_ended;
    uint32_t seen_turn; /* the watch's */
};

struct crew {
    struct crew_job job;
    unsigned hot, most, started;
    struct lock lock; /* protects spare, low, parked, to_wake, is_ending and changes of is_stuck */
    pthread_cond_t wake;
    int spare, low; /* low: least of spare since the last tick */
    unsigned parked, to_wake;
    _Atomic bool is_ending; /* changes under the lock */
    _Atomic int may_park;   /* how many, until the next tick */
    _Atomic bool is_watch_asleep, is_over;
    _Atomic int result;
    sem_t kick; /* wakes the watch */
    struct hand hands[];
};

/* The one that this thread is; every thread is one or none for all its life. */
static _Thread_local struct hand *self;

/* --- stuck, parked ----------------------------------------------------------------------------------------------- */

/* Someone has left: see to invariant 1. */
static void fill_up_locked(struct crew *c)
{
    if (c->spare < 0 && c->parked > c->to_wake) {
        c->to_wake++;
        c->spare++;
        pthread_cond_signal(&c->wake);
    }
    c->low = MIN(c->low, c->spare);
}

static void set_stuck_locked(struct hand *h)
{
    if (h->is_stuck)
        return;
    h->is_stuck = true;
    h->crew->spare--;
    fill_up_locked(h->crew);
}

void crew_will_wait(void)
{
    if (!self)
        return;
    LOCK_SCOPE(&self->crew->lock);
    set_stuck_locked(self);
}

static void end_stuck(struct hand *h)
{
    LOCK_SCOPE(&h->crew->lock);
    h->crew->spare += h->is_stuck;
    h->is_stuck = false;
}

/* Wait until someone needs us; whoever calls has counted us in `parked`. False at the end. */
static bool park_locked(struct crew *c)
{
    while (c->to_wake == 0 && !c->is_ending)
        pthread_cond_wait(&c->wake, &c->lock.mutex);
    if (c->is_ending)
        return false;
    c->to_wake--; /* who set it has counted us in `spare` */
    c->parked--;
    return true;
}

static bool park_if_spare(struct crew *c)
{
    LOCK_SCOPE(&c->lock);
    if (c->is_ending)
        return false;
    if (c->spare <= 0 || atomic_load(&c->may_park) <= 0)
        return true;
    atomic_fetch_sub(&c->may_park, 1);
    c->spare--;
    c->low = MIN(c->low, c->spare);
    c->parked++;
    return park_locked(c);
}

/* All but the first few begin parked, and were counted so before they began. */
static bool begin(const struct hand *h)
{
    if (h->number < h->crew->hot)
        return true;
    LOCK_SCOPE(&h->crew->lock);
    return park_locked(h->crew);
}

/* --- a thread ---------------------------------------------------------------------------------------------------- */

static void serve(struct hand *h)
{
    struct crew *c = h->crew;
    atomic_fetch_add_explicit(&h->turn, 1, memory_order_relaxed);
    if (atomic_load_explicit(&c->is_watch_asleep, memory_order_relaxed) && atomic_exchange(&c->is_watch_asleep, false))
        (void)sem_post(&c->kick); /* cannot fail: it is far from its greatest value */
    c->job.serve(c->job.arg, h->number);
    atomic_fetch_add_explicit(&h->turn, 1, memory_order_relaxed);
}

/* A request that is there, 0 for none. Who is in here is sent INTERRUPT at the end, again and again until he has seen it: one that comes
 * just before next() waits is lost. */
static int next(struct hand *h)
{
    atomic_store_explicit(&h->is_in_next, true, memory_order_relaxed);
    int r = atomic_load_explicit(&h->crew->is_ending, memory_order_relaxed)
                ? -ENODEV
                : h->crew->job.next(h->crew->job.arg, h->number);
    atomic_store_explicit(&h->is_in_next, false, memory_order_relaxed);
    return r;
}

static void end_of_all(struct crew *c, int r)
{
    atomic_store(&c->result, r);
    crew_end(c);
}

static void serve_all(struct hand *h)
{
    struct crew *c = h->crew;
    bool goes_on = begin(h);
    while (goes_on) {
        int r = next(h);
        if (r < 0)
            return end_of_all(c, r == -ENODEV ? 0 : r);
        if (r == 0)
            continue;
        serve(h);
        if (atomic_load_explicit(&h->is_stuck, memory_order_relaxed)) /* a later mark counts until the next request */
            end_stuck(h);
        if (atomic_load_explicit(&c->may_park, memory_order_relaxed) > 0)
            goes_on = park_if_spare(c);
    }
}

/* SCHED_BATCH: the kernel lets whoever woke us go on until it waits, instead of taking its processor away at once. It is about to wait for our
 * answer anyway, or has more requests for us to find without another wake-up (docs/performance.md). */
static void be_patient(void)
{
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none); /* this thread; without it all is as right and a little slower */
}

static void *live(void *arg)
{
    sigset_t set;
    self = arg;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, INTERRUPT);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* these cannot fail */
    be_patient();
    serve_all(self);
    atomic_store(&self->has_ended, true);
    return NULL;
}

/* --- the watch --------------------------------------------------------------------------------------------------- */

/* True if anything happened since the last look. Marks who is still at the same request. */
static bool look(struct crew *c)
{
    bool is_busy = false;
    LOCK_SCOPE(&c->lock);
    for (unsigned i = 0; i < c->most; i++) {
        struct hand *h = &c->hands[i];
        uint32_t turn = atomic_load_explicit(&h->turn, memory_order_relaxed);
        bool is_serving = turn & 1;
        if (is_serving && turn == h->seen_turn)
            set_stuck_locked(h);
        is_busy = is_busy || is_serving || turn != h->seen_turn;
        h->seen_turn = turn;
    }
    atomic_store(&c->may_park, MAX(c->low, 0));
    c->low = c->spare;
    return is_busy;
}

static void sleep_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); /* shorter does no harm */
}

/* Until a request comes or a signal; a request that came just before is found a second later at worst. */
static void sleep_idle(struct crew *c)
{
    struct timespec at;
    atomic_store(&c->is_watch_asleep, true);
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec++;
    (void)sem_clockwait(&c->kick, CLOCK_MONOTONIC, &at); /* why it ended does not matter */
    atomic_store(&c->is_watch_asleep, false);
}

int crew_watch(struct crew *c, bool (*is_over)(void *arg))
{
    unsigned idle = 0;
    while (!atomic_load(&c->is_over) && !is_over(c->job.arg)) {
        if (idle < IDLE_TICKS)
            sleep_ms(TICK_MS);
        else
            sleep_idle(c);
        idle = look(c) ? 0 : MIN(idle + 1, IDLE_TICKS);
    }
    return atomic_load(&c->result);
}

void crew_end(struct crew *c)
{
    atomic_store(&c->is_over, true);
    (void)sem_post(&c->kick); /* cannot fail: it is far from its greatest value */
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void do_nothing(int sig)
{
}

/* All other signals are for the thread that stays. */
static int start_threads(struct crew *c)
{
    const struct sigaction sa = {.sa_handler = do_nothing}; /* no SA_RESTART */
    sigset_t all, old;
    int r = 0;
    (void)sigaction(INTERRUPT, &sa, NULL); /* cannot fail with these values */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old); /* cannot fail with these values */
    for (; r == 0 && c->started < c->most; c->started += r == 0)
        r = -pthread_create(&c->hands[c->started].thread, NULL, live, &c->hands[c->started]);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int crew_start(const struct crew_job *job, unsigned hot, unsigned most, struct crew **ret)
{
    size_t bytes = sizeof(struct crew) + most * sizeof(struct hand);
    struct crew *c = aligned_alloc(_Alignof(struct crew), round_up(bytes, _Alignof(struct crew)));
    if (!c)
        return -ENOMEM;
    memset(c, 0, bytes);
    c->job = *job;
    c->most = most;
    c->hot = MIN(hot, most);
    c->parked = most - c->hot;
    for (unsigned i = 0; i < most; i++) {
        c->hands[i].crew = c;
        c->hands[i].number = i;
    }
    lock_init(&c->lock, LOCK_CREW);
    pthread_cond_init(&c->wake, NULL);
    (void)sem_init(&c->kick, 0, 0); /* cannot fail with these values */
    int r = start_threads(c);
    if (r < 0)
        crew_stop(c);
    else
        *ret = c;
    return r;
}

static void join(struct hand *h)
{
    while (!atomic_load(&h->has_ended)) {
        if (atomic_load(&h->is_in_next))
            (void)pthread_kill(h->thread, INTERRUPT); /* one that has ended is still there until it is joined */
        sleep_ms(1);
    }
    (void)pthread_join(h->thread, NULL);
}

void crew_stop(struct crew *c)
{
    {
        LOCK_SCOPE(&c->lock);
        c->is_ending = true;
        pthread_cond_broadcast(&c->wake);
    }
    for (unsigned i = 0; i < c->started; i++)
        join(&c->hands[i]);
    pthread_cond_destroy(&c->wake);
    lock_finish(&c->lock);
    (void)sem_destroy(&c->kick); /* nobody waits for it */
    free(c);
}
