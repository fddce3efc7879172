/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The copy-on-write layer in a backup: its gate, its freezes, and the storage that they keep from being given back; see cow.c, freeze.h. */
#include "core/cow-priv.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include "core/util.h"

/* Do freezes need what the data file has from @blk on? Returns how many blocks share the answer, at most @max. */
static uint64_t needed_run(const struct cow *c, uint64_t blk, uint64_t max, bool *ret)
{
    *ret = false;
    for (struct freeze *f = c->freezes; f; f = *freeze_next(f)) {
        bool is_needed;
        max = freeze_run(f, blk, max, &is_needed);
        *ret |= is_needed;
    }
    return max;
}

void cow_give_back(const struct cow *c, uint64_t first, uint64_t n)
{
    while (n > 0) {
        bool is_needed;
        uint64_t run = needed_run(c, first, n, &is_needed);
        uint64_t off = first << BLOCK_SHIFT, len = MIN(run << BLOCK_SHIFT, c->blk.size - off);
        if (!is_needed) /* on failure: space that stays is only space */
            (void)fallocate(c->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
        first += run;
        n -= run;
    }
}

void cow_gate_close(struct blk *b, struct range *gate)
{
    struct cow *c = (struct cow *)b;
    range_take(&c->writers, gate, 0, livemap_block_count(c->map));
}

void cow_gate_open(struct blk *b, struct range *gate)
{
    struct cow *c = (struct cow *)b;
    range_release(&c->writers, gate);
}

void cow_freeze(struct blk *b, struct freeze *f)
{
    struct cow *c = (struct cow *)b;
    *freeze_next(f) = c->freezes;
    c->freezes = f;
}

/* What was zeroed while @f needed the bytes; a leaf at a time, so that no writer waits for long. */
static void give_back_rest(struct cow *c, const struct freeze *f)
{
    uint64_t end = livemap_block_count(c->map);
    for (uint64_t blk = 0, run = 0; blk < end; blk += run) {
        struct range range;
        enum block_state state;
        bool is_needed;
        run = freeze_unsaved(f, blk, end - blk, &is_needed);
        if (!is_needed)
            continue;
        run = MIN(run, LEAF_BLOCKS);
        range_take(&c->writers, &range, blk, blk + run);
        run = livemap_run(c->map, blk, run, &state);
        if (state == BLOCK_ZERO)
            cow_give_back(c, blk, run);
        range_release(&c->writers, &range);
    }
}

void cow_thaw(struct blk *b, struct freeze *f)
{
    struct cow *c = (struct cow *)b;
    struct range gate;
    cow_gate_close(b, &gate);
    struct freeze **p = &c->freezes;
    while (*p != f)
        p = freeze_next(*p);
    *p = *freeze_next(f);
    cow_gate_open(b, &gate);
    give_back_rest(c, f);
}

void cow_track(struct blk *b, struct changes *c)
{
    ((struct cow *)b)->changes = c;
}
