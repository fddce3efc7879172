/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM file: the blocks of one volatile overlay that lie in memory instead of in its data file.
 *
 *   ROOT/run/ram/ID.ram      the blocks at the same offsets as on the disk, sparse, in a tmpfs
 *   ROOT/run/ram/ID.where    which blocks are there: the layout of a live map, PRESENT = in RAM, anything else = not
 *   ROOT/run/live/ID.ram     empty; while it exists the two above count
 *
 * Files, not memory of the process: they outlive its death, and the next diskgate-fs goes on with them.
 *
 * (1) A block that the overlay calls PRESENT is read from here if it is in RAM, else from the data file.
 * (2) A block is in RAM only after all of it is in the file; it stops being in RAM only after all of it is in the data file, or it is
 *     no longer PRESENT.
 * (3) Before a block's memory is given back after a move, the counter of moves goes up: who read it meanwhile notices (core/blk.h).
 * (4) The mark in run/live is made before the first block counts and goes away after the last one has moved. A mark without its files:
 *     the memory is gone and with it the overlay.
 *
 * Threads: all but open and close: any number at once, as long as the caller holds the range of the blocks for whatever changes them.
 */
#ifndef DISKGATE_CORE_RAMFILE_H
#define DISKGATE_CORE_RAMFILE_H

#include "core/err.h"
#include "core/livemap.h"
#include "core/rampool.h"

struct ramfile;

struct ramfile_place {
    int live_fd;           /* ROOT/run/live, borrowed */
    int ram_fd;            /* ROOT/run/ram, borrowed */
    struct ram_pool *pool; /* borrowed; NULL: read only */
    int64_t client_id;
};

/* Open the RAM file of overlay @stamp->overlay_id. -ENOENT: it has none; -EOWNERDEAD: it had one, and its memory is gone; -EBADMSG, ... */
int ramfile_open(const struct ramfile_place *place, const struct map_stamp *stamp, struct ramfile **ret,
                 struct err *err);
/* Make one with no block in it. -ENOSPC, -ENOMEM, ...: then there is none, and the overlay does without. */
int ramfile_make(const struct ramfile_place *place, const struct map_stamp *stamp, struct ramfile **ret,
                 struct err *err);

/* Free the memory of the process; the files stay. The pool must not be spilling it: ramfile_retire() first. NULL is allowed. */
void ramfile_close(struct ramfile *f);
static inline void ramfile_closep(struct ramfile **f)
{
    ramfile_close(*f);
}
/* Delete the files of overlay @id, whoever has them open; in the order that (4) asks for. 0 also when there are none. */
int ramfile_delete(const struct ramfile_place *place, const unsigned char id[16], struct err *err);

/* From now on the pool's thread may call @spill, until ramfile_retire() returns. */
int ramfile_enlist(struct ramfile *f, int64_t (*spill)(void *arg, size_t max), void *arg);
void ramfile_retire(struct ramfile *f);

int ramfile_fd(const struct ramfile *f);
const _Atomic uint64_t *ramfile_moves(const struct ramfile *f);
uint64_t ramfile_bytes(const struct ramfile *f);

/* Is block @blk in RAM, and how many from there on are as it, at most @max? Returns the count, >= 1. */
uint64_t ramfile_run(const struct ramfile *f, uint64_t blk, uint64_t max, bool *ret_in_ram);

/* Room for those of [blk, blk + n) that are not in RAM yet: 0, or -ENOSPC and nothing was taken. ramfile_set() or ramfile_unreserve()
 * follows, with the same range held. */
int ramfile_reserve(struct ramfile *f, uint64_t blk, uint64_t n);
void ramfile_unreserve(struct ramfile *f, uint64_t blk, uint64_t n);
void ramfile_set(struct ramfile *f, uint64_t blk, uint64_t n);

/* No block takes new room any more (true), or they may again; what is there stays. */
void ramfile_freeze(struct ramfile *f, bool is_frozen);

/* [blk, blk + n) are not PRESENT any more: give their memory back. */
void ramfile_drop(struct ramfile *f, uint64_t blk, uint64_t n);

/* First block in RAM at or after @blk and the length of its run, at most @max. False when there is none. */
bool ramfile_find(const struct ramfile *f, uint64_t blk, uint64_t max, uint64_t *ret_blk, uint64_t *ret_n);

/* Copy [blk, blk + n), all in RAM, into @data_fd; then they are not in RAM any more. @buf holds n blocks. 0 or a negative errno: then
 * they are as before. */
int ramfile_move(struct ramfile *f, uint64_t blk, uint64_t n, int data_fd, void *buf);

#endif
