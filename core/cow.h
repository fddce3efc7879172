/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copy-on-write layer: writes go to an overlay's data file, untouched blocks come from below.
 *
 * Threads: as blk.h.
 */
#ifndef DISKGATE_CORE_COW_H
#define DISKGATE_CORE_COW_H

#include "core/blk.h"
#include "core/livemap.h"

/* @flush makes durable what was written so far: 0 or a negative errno; NULL = a flush has nothing to do.
 * @change is called before each write and zero, by any thread; what it fails with, the request fails with. NULL = nothing to do. */
struct cow_flush {
    int (*flush)(void *arg);
    void *arg;
    int (*change)(void *arg);
};

/* All of @lower, @data_fd (no smaller than @lower) and @map (of the same size) are borrowed until the end. NULL when memory is out.
 * @read_only makes a layer without writes. */
struct blk *cow_create(struct blk *lower, int data_fd, struct livemap *map, struct cow_flush flush, bool read_only);

#endif
