/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copy-on-write layer: writes go to an overlay's data file, untouched blocks come from below.
 *
 * Threads: as blk.h.
 */
#ifndef DISKGATE_CORE_COW_H
#define DISKGATE_CORE_COW_H

#include "core/blk.h"
#include "core/changes.h"
#include "core/freeze.h"
#include "core/livemap.h"

#include "core/rangelock.h"

struct ramfile;

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

/* From now on whole blocks are written into @ram where it has room, and what is in it is read from there. Once in the layer's life;
 * borrowed until the end. */
void cow_set_ram(struct blk *b, struct ramfile *ram);

/* Move about @max bytes of what is in RAM to the data file, by rising offset, going on where the last call ended. Bytes moved, 0 when
 * nothing is in RAM, or a negative errno. One at a time. */
int64_t cow_spill(struct blk *b, size_t max);

/* --- for a backup; a layer with writes --------------------------------------------------------------------------- */

/* Close: waits for the writers that are at work; those that come later wait until it is opened. Readers go on. */
void cow_gate_close(struct blk *b, struct range *gate);
void cow_gate_open(struct blk *b, struct range *gate);

/* The gate is closed. From here on @f (borrowed until cow_thaw()) sees every change before it happens. */
void cow_freeze(struct blk *b, struct freeze *f);
/* The gate is open. Waits for the writers that are at work; then @f is out of use. */
void cow_thaw(struct blk *b, struct freeze *f);

/* The gate is closed. @c (borrowed until the end) learns of every change before it happens. NULL = nobody does. */
void cow_track(struct blk *b, struct changes *c);

#endif
