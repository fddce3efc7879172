/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clock that nobody sets: for lengths of time, never for dates.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_CLOCK_H
#define DISKGATE_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t clock_us(void)
{
    return clock_ns() / 1000;
}

static inline int64_t clock_ms(void)
{
    return clock_ns() / 1000000;
}

/* To some milliseconds, and cheaper: for paths that are taken often. */
static inline int64_t clock_coarse_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* cannot fail for this clock */
    return (int64_t)t.tv_sec;
}

#endif
