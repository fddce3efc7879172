/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fault layer; see fault-blk.h. Each kind of call is counted, and its number decides. */
#include "tests/unit/fault-blk.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct rule {
    _Atomic unsigned calls, hits;
    _Atomic unsigned first, end; /* calls [first, end) fail; numbers begin with 1 */
    _Atomic int code;
    _Atomic unsigned fail_every, delay_every, delay_us;
};

struct fault {
    struct blk blk;
    struct blk *below;
    struct rule rules[FAULT_OPS];
};

static int meet(struct fault *f, enum fault_op op)
{
    struct rule *r = &f->rules[op];
    unsigned n = atomic_fetch_add(&r->calls, 1) + 1;
    unsigned delay_every = atomic_load(&r->delay_every), fail_every = atomic_load(&r->fail_every);
    if (delay_every && n % delay_every == 0)
        (void)usleep(atomic_load(&r->delay_us)); /* a shorter wait does as well */
    bool is_in_row = n >= atomic_load(&r->first) && n < atomic_load(&r->end);
    if (!is_in_row && !(fail_every && n % fail_every == 0))
        return 0;
    atomic_fetch_add(&r->hits, 1);
    return atomic_load(&r->code);
}

static int fault_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    struct fault *f = (struct fault *)b;
    int r = meet(f, FAULT_MAP);
    return r < 0 ? r : blk_map(f->below, off, len, ext, max);
}

static int fault_write(struct blk *b, const void *buf, size_t len, uint64_t off)
{
    struct fault *f = (struct fault *)b;
    int r = meet(f, FAULT_WRITE);
    return r < 0 ? r : blk_write(f->below, buf, len, off);
}

static int fault_zero(struct blk *b, uint64_t off, uint64_t len)
{
    struct fault *f = (struct fault *)b;
    int r = meet(f, FAULT_ZERO);
    return r < 0 ? r : blk_zero(f->below, off, len);
}

static int fault_flush(struct blk *b)
{
    struct fault *f = (struct fault *)b;
    int r = meet(f, FAULT_FLUSH);
    return r < 0 ? r : blk_flush(f->below);
}

static void fault_destroy(struct blk *b)
{
    free(b);
}

struct blk *fault_create(struct blk *below)
{
    static const struct blk_ops ops = {
        .map = fault_map, .write = fault_write, .zero = fault_zero, .flush = fault_flush, .destroy = fault_destroy};
    struct fault *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->blk = (struct blk){.ops = &ops, .size = below->size};
    f->below = below;
    return &f->blk;
}

void fault_fail(struct blk *b, enum fault_op op, unsigned nth, unsigned count, int code)
{
    struct rule *r = &((struct fault *)b)->rules[op];
    unsigned now = atomic_load(&r->calls);
    atomic_store(&r->end, 0);
    atomic_store(&r->code, code);
    atomic_store(&r->first, now + nth);
    atomic_store(&r->end, now + nth + count);
}

void fault_fail_every(struct blk *b, enum fault_op op, unsigned every, int code)
{
    struct rule *r = &((struct fault *)b)->rules[op];
    atomic_store(&r->code, code);
    atomic_store(&r->fail_every, every);
}

void fault_delay(struct blk *b, enum fault_op op, unsigned every, unsigned delay_us)
{
    struct rule *r = &((struct fault *)b)->rules[op];
    atomic_store(&r->delay_us, delay_us);
    atomic_store(&r->delay_every, every);
}

unsigned fault_hits(struct blk *b, enum fault_op op)
{
    return atomic_load(&((struct fault *)b)->rules[op].hits);
}
