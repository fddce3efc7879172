/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The copy-on-write layer's blocks in RAM, and how they move to the data file; see cow.c, ramfile.h. */
#include "core/cow-priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "core/util.h"

void cow_set_ram(struct blk *b, struct ramfile *ram)
{
    struct cow *c = (struct cow *)b;
    assert(!c->ram);
    atomic_store_explicit(&c->ram, ram, memory_order_release);
}

#define SPILL_RUN_BLOCKS (MiB / BLOCK_BYTES) /* moved, and kept from writers, at a time */

/* One run at or behind *blk, at most @max blocks, which @buf holds. Bytes moved, 0 when there is none any more. */
static int64_t spill_run(struct cow *c, struct ramfile *ram, uint64_t *blk, uint64_t max, void *buf)
{
    uint64_t n;
    while (ramfile_find(ram, *blk, max, blk, &n)) {
        uint64_t first = *blk;
        bool in_ram;
        struct range range;
        range_take(&c->writers, &range, first, first + n);
        n = ramfile_run(ram, first, n, &in_ram); /* again: it may have been dropped while we waited */
        int r = in_ram ? ramfile_move(ram, first, n, c->data_fd, buf) : 0;
        range_release(&c->writers, &range);
        if (r < 0)
            return r;
        *blk = first + n;
        if (!in_ram)
            continue;
        uint64_t off = first << BLOCK_SHIFT, len = n << BLOCK_SHIFT;
        /* A hint: the disk begins at once, for what was spilled must not fill the page cache instead. */
        (void)sync_file_range(c->data_fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
        return (int64_t)len;
    }
    return 0;
}

int64_t cow_spill(struct blk *b, size_t max)
{
    struct cow *c = (struct cow *)b;
    struct ramfile *ram = atomic_load_explicit(&c->ram, memory_order_acquire);
    _cleanup_free_ void *buf = ram ? malloc(MiB) : NULL;
    if (!buf)
        return ram ? -ENOMEM : 0;
    int64_t sum = 0;
    bool is_second_round = c->spilled_to == 0;
    while ((uint64_t)sum < max) {
        uint64_t left = MAX((max - (uint64_t)sum) >> BLOCK_SHIFT, 1);
        int64_t n = spill_run(c, ram, &c->spilled_to, MIN(left, SPILL_RUN_BLOCKS), buf);
        if (n < 0)
            return sum > 0 ? sum : n;
        sum += n;
        if (n > 0)
            continue;
        c->spilled_to = 0;
        if (is_second_round)
            break;
        is_second_round = true;
    }
    return sum;
}
