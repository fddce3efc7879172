/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the copy-on-write layer, for cow*.c only; the states and invariants are in cow.c.
 *
 * Threads: as cow.h says.
 */
#ifndef DISKGATE_CORE_COW_PRIV_H
#define DISKGATE_CORE_COW_PRIV_H

#include "core/cow.h"
#include "core/ramfile.h"
#include "core/rangelock.h"

struct cow {
    struct blk blk;
    struct blk *lower;
    int data_fd;
    struct livemap *map;
    struct cow_flush flush;
    struct range_lock writers;
    struct ramfile *_Atomic ram; /* NULL = all is in the data file */
    uint64_t spilled_to;         /* block where the next spill goes on */
    struct freeze *freezes;      /* both change only while a range over the whole disk is taken */
    struct changes *changes;     /* NULL = nobody wants to know */
};

/* Blocks [first, first + n), all ZERO, are read as zero already: their storage goes unless a freeze needs it. The caller has their range. */
void cow_give_back(const struct cow *c, uint64_t first, uint64_t n);

#endif
