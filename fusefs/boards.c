/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flags, notes and counts of boards; see boards.h. What a store has written is believed as far as it can do no harm: a note must lie on the disk, and
 * our own count of notes is kept here. */
#include "fusefs/boards.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/direct.h"
#include "core/lock.h"
#include "core/util.h"
#include "fusefs/tape.h"

struct board {
    struct board *next; /* protected by boards.lock */
    struct direct_board *page;
    uint64_t tail; /* notes taken, likewise */
};

struct boards {
    struct lock lock; /* protects all below */
    struct board *first;
    _Atomic unsigned count; /* changed under the lock only */
    uint32_t allowed;
    bool is_ended;
    struct board_counts past;
    uint64_t size_bytes;
    struct tape *tape;
};

/* --- one page ---------------------------------------------------------------------------------------------------- */

static int make_memory(void)
{
    _cleanup_close_ int fd = memfd_create("diskgate-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fallocate(fd, 0, 0, DIRECT_BOARD_BYTES) < 0 || /* the page itself: touching it cannot fault */
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return take_fd(&fd);
}

struct board *board_create(int *ret_fd)
{
    _cleanup_close_ int fd = make_memory();
    _cleanup_free_ struct board *x = fd < 0 ? NULL : calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    void *p = mmap(NULL, DIRECT_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return NULL;
    x->page = p;
    x->page->magic = DIRECT_MAGIC;
    x->page->version = DIRECT_VERSION;
    *ret_fd = take_fd(&fd);
    return take_ptr(x);
}

void board_destroy(struct board *x)
{
    if (!x)
        return;
    (void)munmap(x->page, DIRECT_BOARD_BYTES); /* it is ours */
    free(x);
}

/* --- all of a view ----------------------------------------------------------------------------------------------- */

struct boards *boards_create(uint64_t size_bytes, struct tape *tape, uint32_t allowed)
{
    struct boards *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    lock_init(&b->lock, LOCK_BOARDS);
    b->size_bytes = size_bytes;
    b->tape = tape;
    b->allowed = allowed;
    return b;
}

void boards_destroy(struct boards *b)
{
    if (!b)
        return;
    assert(!b->first);
    lock_finish(&b->lock);
    free(b);
}

static uint32_t flags_locked(const struct boards *b)
{
    return b->allowed | (tape_is_on(b->tape) ? DIRECT_RECORD : 0);
}

static void publish_locked(struct boards *b)
{
    uint32_t flags = flags_locked(b);
    for (struct board *x = b->first; x; x = x->next)
        if (atomic_load(&x->page->flags) != flags)
            atomic_store(&x->page->flags, flags);
}

static void take_notes_locked(struct boards *b, struct board *x)
{
    uint64_t head = atomic_load_explicit(&x->page->head, memory_order_acquire);
    if (head - x->tail > DIRECT_RING) /* no store does that */
        x->tail = head - DIRECT_RING;
    for (; x->tail != head; x->tail++) {
        struct direct_note *n = &x->page->ring[x->tail % DIRECT_RING];
        uint64_t off = atomic_load_explicit(&n->off, memory_order_relaxed);
        uint64_t len = atomic_load_explicit(&n->len, memory_order_relaxed);
        if (len > 0 && range_ok(off, len, b->size_bytes))
            tape_note(b->tape, off, len);
    }
    atomic_store_explicit(&x->page->tail, head, memory_order_release);
}

static void add_counts(struct board_counts *c, const struct board *x)
{
    c->reads += atomic_load_explicit(&x->page->reads, memory_order_relaxed);
    c->read_bytes += atomic_load_explicit(&x->page->read_bytes, memory_order_relaxed);
}

int boards_add(struct boards *b, struct board *x)
{
    LOCK_SCOPE(&b->lock);
    if (b->is_ended)
        return -ESTALE;
    if (b->count >= BOARDS_MAX)
        return -EBUSY;
    x->next = b->first;
    b->first = x;
    b->count++;
    atomic_store(&x->page->flags, flags_locked(b));
    return 0;
}

static void remove_locked(struct boards *b, struct board **p)
{
    struct board *x = *p;
    atomic_store(&x->page->flags, 0);
    take_notes_locked(b, x);
    add_counts(&b->past, x);
    *p = x->next;
    b->count--;
}

void boards_remove(struct boards *b, struct board *x)
{
    LOCK_SCOPE(&b->lock);
    struct board **p = &b->first;
    while (*p && *p != x)
        p = &(*p)->next;
    if (*p)
        remove_locked(b, p);
}

void boards_allow(struct boards *b, uint32_t flag)
{
    LOCK_SCOPE(&b->lock);
    b->allowed |= flag;
    publish_locked(b);
}

void boards_forbid(struct boards *b, uint32_t flag)
{
    if (!b)
        return;
    LOCK_SCOPE(&b->lock);
    b->allowed &= ~flag;
    publish_locked(b);
}

void boards_end(struct boards *b)
{
    if (!b)
        return;
    LOCK_SCOPE(&b->lock);
    b->is_ended = true;
    while (b->first)
        remove_locked(b, &b->first);
}

void boards_gather(struct boards *b)
{
    if (!b || atomic_load_explicit(&b->count, memory_order_relaxed) == 0)
        return;
    LOCK_SCOPE(&b->lock);
    for (struct board *x = b->first; x; x = x->next)
        take_notes_locked(b, x);
}

void boards_refresh(struct boards *b)
{
    if (!b)
        return;
    LOCK_SCOPE(&b->lock);
    publish_locked(b);
}

struct board_counts boards_count(struct boards *b)
{
    if (!b)
        return (struct board_counts){0};
    LOCK_SCOPE(&b->lock);
    struct board_counts c = b->past;
    for (const struct board *x = b->first; x; x = x->next)
        add_counts(&c, x);
    c.boards = b->count;
    return c;
}
