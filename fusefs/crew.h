/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that serve requests: as many as the machine has processors wait for the next one, the rest is parked.
 *
 * A request that arrives wakes one of those that wait. With many of them it is always the one that slept longest, on a cold processor,
 * while another is about to finish and would have taken it without a wake-up; so few wait. But a request that waits for a
 * disk takes its thread away, so whoever is about to wait says so with crew_will_wait() and a parked thread takes his place.
 *
 *   waiting ──> serving ──> waiting
 *                 │  ^ └──> parked, when more serve or wait than are wanted ──> waiting
 *                 v  │
 *               stuck: it said that it will wait, or it has been at one request for a tick of the watch
 *
 * (1) Not parked and not stuck are at least `hot` threads, as long as any is parked.
 * (2) A thread parks only where that leaves (1) true, and only after a whole tick with more than enough.
 *
 * Order: crew_start(), crew_watch() in the thread that stays, crew_stop().
 * Threads: crew_will_wait() from any thread; crew_end() from any.
 */
#ifndef DISKGATE_FUSEFS_CREW_H
#define DISKGATE_FUSEFS_CREW_H

#include <stdbool.h>

struct crew;

struct crew_job {
    /* Wait for a request; > 0 = there is one, 0 = none, try again, negative = the end (-ENODEV the usual one). At the end of the crew
     * a signal interrupts it; then it is 0. */
    int (*next)(void *arg, unsigned thread);
    void (*serve)(void *arg, unsigned thread); /* the request that next() got */
    void *arg;
};

/* Start @most threads of which @hot wait for requests. 0 or a negative errno. */
int crew_start(const struct crew_job *job, unsigned hot, unsigned most, struct crew **ret);

/* Watch them until crew_end(), the end by next(), or until @is_over (asked after each signal, and once a second). 0, or what next()
 * returned. */
int crew_watch(struct crew *c, bool (*is_over)(void *arg));
void crew_end(struct crew *c);

/* Requests that are served are finished first. */
void crew_stop(struct crew *c);

/* The request that this thread serves may wait for a disk from here on. In a thread of no crew it does nothing. */
void crew_will_wait(void);

#endif
