/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recording of reads; see tape.h. */
#include "fusefs/tape.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "core/clock.h"
#include "core/lock.h"
#include "core/util.h"

struct tape {
    _Atomic bool is_on;
    struct lock lock;           /* protects all below */
    struct boot_record *record; /* NULL before the first read */
    int64_t start_s, last_s;
};

struct tape *tape_create(void)
{
    struct tape *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    lock_init(&t->lock, LOCK_TAPE);
    atomic_store(&t->is_on, true);
    return t;
}

void tape_destroy(struct tape *t)
{
    if (!t)
        return;
    boot_record_destroy(t->record);
    lock_finish(&t->lock);
    free(t);
}

void tape_start(struct tape *t)
{
    LOCK_SCOPE(&t->lock);
    boot_record_destroy(take_ptr(t->record));
    atomic_store(&t->is_on, true);
}

bool tape_is_on(const struct tape *t)
{
    return t && atomic_load_explicit(&t->is_on, memory_order_relaxed);
}

void tape_note(struct tape *t, uint64_t off, uint64_t len)
{
    if (!tape_is_on(t))
        return;
    LOCK_SCOPE(&t->lock);
    if (!t->record) {
        t->record = boot_record_create();
        t->start_s = clock_coarse_s();
    }
    if (t->record)
        boot_record_add(t->record, off, len);
    t->last_s = clock_coarse_s();
}

struct boot_record *tape_take(struct tape *t, bool is_end)
{
    LOCK_SCOPE(&t->lock);
    int64_t now = clock_coarse_s();
    bool is_over = t->record && (is_end || now - t->start_s >= TAPE_LONG_S || now - t->last_s >= TAPE_QUIET_S);
    if (!is_over)
        return NULL;
    if (boot_record_count(t->record) < TAPE_LEAST) { /* somebody had a look at the disk: the boot is still to come */
        boot_record_destroy(take_ptr(t->record));
        return NULL;
    }
    atomic_store(&t->is_on, false);
    return take_ptr(t->record);
}
