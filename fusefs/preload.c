/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that learns, loads and locks; see preload.h.
 *
 *   want      what attach gave; replaced as a whole
 *   lessons   recordings that wait for the thread
 *   entry     one base: its boot set, and the extents of it that are locked
 *
 * Entries are the thread's alone while it works; status reads their figures under the lock.
 */
#include "fusefs/preload.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/background.h"
#include "core/base.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/util.h"

struct figures {
    unsigned boots;
    size_t extents;
    uint64_t locked_bytes, load_ms;
};

struct entry {
    struct entry *next;
    struct base *base; /* a reference */
    struct bootset *set;
    uint32_t *locked; /* numbers, rising */
    size_t locked_count;
    struct figures shown; /* protected by the lock */
};

struct lesson {
    struct lesson *next;
    struct base *base; /* a reference */
    struct boot_record *record;
};

struct preload {
    int dir_fd;
    struct entry *entries; /* the list: changed by the thread under the lock */
    struct background bg;  /* its lock protects all below */
    struct preload_want *wants;
    size_t want_count;
    uint64_t budget_bytes, locked_bytes;
    struct lesson *lessons;
    int error; /* of locking memory */
    _Atomic bool has_work;
    bool is_busy;
};

/* --- one base ------------------------------------------------------------------------------------------------------ */

static void entry_destroy(struct entry *e)
{
    for (size_t i = 0; i < e->locked_count; i++)
        base_unpin(e->base->blk, e->locked[i] * BOOTSET_EXTENT_BYTES, BOOTSET_EXTENT_BYTES);
    free(e->locked);
    bootset_destroy(e->set);
    base_unref(e->base);
    free(e);
}

static void load_set(const struct preload *p, struct entry *e)
{
    char name[BOOTSET_NAME_LEN + 1];
    struct err err;
    bootset_name(e->base->row.identity, name);
    int r = bootset_load(p->dir_fd, name, &e->set, &err);
    if (r < 0 && r != -ENOENT)
        log_warn("boot set 'bootsets/%s' of image '%s': %s; it is learnt anew", name, e->base->row.image, err.msg);
    if (r < 0)
        e->set = bootset_create();
}

static struct entry *entry_create(const struct preload *p, struct base *base)
{
    struct entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->base = base_ref(base);
    load_set(p, e);
    return e;
}

static bool contains(const uint32_t *sorted, size_t n, uint32_t number)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (sorted[mid] < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && sorted[low] == number;
}

/* Lock what is chosen and unlock what is not any more; the disk is read forward. Extents that cannot be locked are left out. */
static void lock_chosen(struct preload *p, struct entry *e, uint32_t *chosen, size_t n)
{
    int64_t start = clock_ms();
    size_t kept = 0;
    bool has_read = false;
    for (size_t i = 0; i < e->locked_count; i++)
        if (!contains(chosen, n, e->locked[i]))
            base_unpin(e->base->blk, e->locked[i] * BOOTSET_EXTENT_BYTES, BOOTSET_EXTENT_BYTES);
    for (size_t i = 0; i < n; i++) {
        int r = 0;
        if (!contains(e->locked, e->locked_count, chosen[i])) {
            if (atomic_load(&p->has_work)) /* the next round goes on: what is to be let go must not wait for the disk */
                continue;
            r = base_pin(e->base->blk, chosen[i] * BOOTSET_EXTENT_BYTES, BOOTSET_EXTENT_BYTES);
            has_read = true;
        }
        if (r == 0)
            chosen[kept++] = chosen[i];
        else
            p->error = -r;
    }
    free(e->locked);
    e->locked = chosen;
    e->locked_count = kept;
    LOCK_SCOPE(&p->bg.lock);
    e->shown.boots = e->set ? bootset_boots(e->set) : 0;
    e->shown.extents = e->set ? bootset_count(e->set) : 0;
    e->shown.locked_bytes = kept * BOOTSET_EXTENT_BYTES;
    if (has_read)
        e->shown.load_ms = (uint64_t)(clock_ms() - start);
}

/* Returns how much of the budget it takes. */
static uint64_t plan_entry(struct preload *p, struct entry *e, uint64_t budget, uint64_t limit)
{
    uint32_t *chosen = NULL;
    size_t n = 0;
    uint64_t room = limit ? MIN(limit, budget) : budget;
    if (e->set && bootset_choose(e->set, room, e->base->blk->size, &chosen, &n) < 0)
        return e->locked_count * BOOTSET_EXTENT_BYTES; /* without memory all stays as it is */
    lock_chosen(p, e, chosen, n);
    return e->locked_count * BOOTSET_EXTENT_BYTES;
}

/* --- the thread ---------------------------------------------------------------------------------------------------- */

static struct entry *entry_of(const struct preload *p, const struct base *base)
{
    for (struct entry *e = p->entries; e; e = e->next)
        if (e->base == base)
            return e;
    return NULL;
}

static void learn(const struct preload *p, struct lesson *l)
{
    char name[BOOTSET_NAME_LEN + 1];
    struct entry *e = entry_of(p, l->base);
    int r = e && e->set ? bootset_merge(e->set, l->record) : 0;
    if (e && e->set && r == 0) {
        bootset_name(e->base->row.identity, name);
        r = bootset_store(p->dir_fd, name, e->set);
        log_info("image '%s' version %u: learnt a boot of %zu extents, %u are remembered", e->base->row.image,
                 e->base->row.number, boot_record_count(l->record), bootset_boots(e->set));
    }
    if (r < 0)
        log_warn("boot set of image '%s': %s, ignoring", l->base->row.image, strerror(-r));
    boot_record_destroy(l->record);
    base_unref(l->base);
    free(l);
}

struct round {
    struct preload_want *wants; /* each with a reference */
    size_t want_count;
    uint64_t budget_bytes;
    struct lesson *lessons;
};

static void take_round_locked(struct preload *p, struct round *r)
{
    *r = (struct round){.budget_bytes = p->budget_bytes, .lessons = take_ptr(p->lessons)};
    r->wants = calloc(p->want_count + 1, sizeof(*r->wants));
    for (size_t i = 0; r->wants && i < p->want_count; i++) {
        r->wants[i] = p->wants[i];
        (void)base_ref(p->wants[i].base);
        r->want_count++;
    }
    p->has_work = false;
}

static bool is_wanted(const struct round *r, const struct base *base)
{
    for (size_t i = 0; i < r->want_count; i++)
        if (r->wants[i].base == base)
            return true;
    return false;
}

/* Bases that are gone, and new ones. */
static void update_entries(struct preload *p, const struct round *r)
{
    for (struct entry **at = &p->entries; *at;) {
        struct entry *e = *at;
        if (is_wanted(r, e->base)) {
            at = &e->next;
            continue;
        }
        lock_take(&p->bg.lock);
        *at = e->next;
        lock_release(&p->bg.lock);
        entry_destroy(e);
    }
    for (size_t i = 0; i < r->want_count; i++) {
        struct entry *e = entry_of(p, r->wants[i].base) ? NULL : entry_create(p, r->wants[i].base);
        if (!e)
            continue;
        LOCK_SCOPE(&p->bg.lock);
        e->next = p->entries;
        p->entries = e;
    }
}

static void do_round(struct preload *p, struct round *r)
{
    uint64_t left = r->budget_bytes, used = 0;
    update_entries(p, r);
    lock_take(&p->bg.lock);
    background_wake_locked(&p->bg);
    lock_release(&p->bg.lock);
    while (r->lessons) {
        struct lesson *l = r->lessons;
        r->lessons = l->next;
        learn(p, l);
    }
    p->error = 0;
    for (size_t i = 0; i < r->want_count; i++) {
        struct entry *e = entry_of(p, r->wants[i].base);
        uint64_t bytes = e ? plan_entry(p, e, left, r->wants[i].limit_bytes) : 0;
        left -= MIN(bytes, left);
        used += bytes;
        base_unref(r->wants[i].base);
    }
    free(r->wants);
    LOCK_SCOPE(&p->bg.lock);
    p->locked_bytes = used;
}

static void lower_priority(void)
{
    (void)syscall(SYS_ioprio_set, 1, 0, 3 << 13); /* this thread, class idle: a wish, no more */
}

static void *run(void *arg)
{
    struct preload *p = arg;
    lower_priority();
    lock_take(&p->bg.lock);
    while (!p->bg.must_stop) {
        if (!p->has_work) {
            background_wait_locked(&p->bg, -1);
            continue;
        }
        struct round r;
        take_round_locked(p, &r);
        p->is_busy = true;
        lock_release(&p->bg.lock);
        do_round(p, &r);
        lock_take(&p->bg.lock);
        p->is_busy = false;
        background_wake_locked(&p->bg);
    }
    lock_release(&p->bg.lock);
    return NULL;
}

/* --- orders -------------------------------------------------------------------------------------------------------- */

static void drop_wants_locked(struct preload *p)
{
    for (size_t i = 0; i < p->want_count; i++)
        base_unref(p->wants[i].base);
    free(take_ptr(p->wants));
    p->want_count = 0;
}

/* Is there an entry that nobody wants any more? */
static bool has_stale_locked(const struct preload *p)
{
    for (const struct entry *e = p->entries; e; e = e->next) {
        size_t i = 0;
        while (i < p->want_count && p->wants[i].base != e->base)
            i++;
        if (i == p->want_count)
            return true;
    }
    return false;
}

void preload_sync(struct preload *p, uint64_t budget_bytes, const struct preload_want *wants, size_t n)
{
    struct preload_want *copy = calloc(n + 1, sizeof(*copy));
    if (!copy)
        return; /* what is loaded stays, what is new waits for the next change */
    for (size_t i = 0; i < n; i++) {
        copy[i] = wants[i];
        (void)base_ref(wants[i].base);
    }
    LOCK_SCOPE(&p->bg.lock);
    drop_wants_locked(p);
    p->wants = copy;
    p->want_count = n;
    p->budget_bytes = budget_bytes;
    p->has_work = true;
    background_wake_locked(&p->bg);
    while (p->bg.is_started && !p->bg.must_stop &&
           has_stale_locked(p)) /* their files are to be closed when we return */
        background_wait_locked(&p->bg, -1);
}

void preload_learn(struct preload *p, struct base *base, struct boot_record *record)
{
    struct lesson *l = record ? calloc(1, sizeof(*l)) : NULL;
    if (!l) {
        boot_record_destroy(record);
        return;
    }
    *l = (struct lesson){.base = base_ref(base), .record = record};
    LOCK_SCOPE(&p->bg.lock);
    l->next = p->lessons;
    p->lessons = l;
    p->has_work = true;
    background_wake_locked(&p->bg);
}

void preload_settle(struct preload *p)
{
    LOCK_SCOPE(&p->bg.lock);
    while (p->bg.is_started && (p->has_work || p->is_busy) && !p->bg.must_stop)
        background_wait_locked(&p->bg, -1);
}

/* --- figures ------------------------------------------------------------------------------------------------------- */

void preload_status(struct preload *p, const struct base *base, json_t *into)
{
    LOCK_SCOPE(&p->bg.lock);
    const struct entry *e = entry_of(p, base);
    if (!e)
        return;
    json_t *j =
        json_pack("{sI sI sI sI sI}", "boots", (json_int_t)e->shown.boots, "boot_extents", (json_int_t)e->shown.extents,
                  "boot_bytes", (json_int_t)(e->shown.extents * BOOTSET_EXTENT_BYTES), "ram_bytes",
                  (json_int_t)e->shown.locked_bytes, "load_ms", (json_int_t)e->shown.load_ms);
    (void)json_object_update(into, j); /* fails for lack of memory only: then the keys are missing */
    json_decref(j);
}

json_t *preload_total(struct preload *p)
{
    LOCK_SCOPE(&p->bg.lock);
    json_t *j =
        json_pack("{sI sI}", "limit_bytes", (json_int_t)p->budget_bytes, "used_bytes", (json_int_t)p->locked_bytes);
    if (j && p->error)
        (void)json_object_set_new(j, "error", json_string(strerror(p->error))); /* likewise */
    return j;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

struct preload *preload_create(int dir_fd)
{
    struct preload *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->dir_fd = dir_fd;
    background_init(&p->bg, LOCK_PRELOAD);
    return p;
}

int preload_start(struct preload *p)
{
    return background_start(&p->bg, run, p);
}

void preload_stop(struct preload *p)
{
    background_stop(&p->bg);
}

void preload_destroy(struct preload *p)
{
    if (!p)
        return;
    while (p->lessons) {
        struct lesson *l = p->lessons;
        p->lessons = l->next;
        learn(p, l);
    }
    while (p->entries) {
        struct entry *e = p->entries;
        p->entries = e->next;
        entry_destroy(e);
    }
    drop_wants_locked(p);
    background_finish(&p->bg);
    free(p);
}
