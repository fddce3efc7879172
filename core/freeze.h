/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freeze: the state of several overlays at one instant, readable for as long as a backup takes, while clients go on writing.
 *
 *   FREEZE-ID.holder            made and locked (flock) by whoever wants the freeze
 *   FREEZE-ID-OVERLAY-ID.map    live map format: the overlay's map at that instant
 *   FREEZE-ID-OVERLAY-ID.saved  live map format: PRESENT = the block's old bytes are in the side file
 *   FREEZE-ID-OVERLAY-ID.side   old bytes, at the same offsets as on the disk, sparse
 *
 * in ROOT/run/frozen, all on the same offsets as the overlay's data file. The order of calls:
 *
 *   freeze_create()             for each overlay of a set: files, nothing is frozen yet
 *   cow_gate_close()            for each: waits for the writers that are at work, holds back new ones
 *   cow_freeze()                for each: from here on what was acknowledged before is in the freeze, and nothing else
 *   cow_gate_open()             for each: no I/O happened in between
 *   freeze_complete()           for each: the rest of the map is copied, writers go on
 *   ... core/frozen.h reads it, in another process ...
 *   cow_thaw(), freeze_destroy()
 *
 * (1) A leaf of the live map is copied before the first change of it after the gate was opened.
 * (2) A block that is PRESENT in the freeze is changed in the data file only after its old bytes are in the side file and after that its
 *     bit is set in `saved`; or after the freeze was broken, which takes the holder's name away. So whoever reads a block from the data
 *     file, then finds its bit clear, then finds the holder still named, in this order, has the bytes of the instant.
 * (3) What cannot be saved (a full disk) breaks the freeze of all overlays of the set. A client never fails for it, and never
 *     waits for more than the copy of the blocks that it writes.
 * (4) A diskgate-fs that starts takes all holders' names away before it opens an overlay: it knows nothing of a freeze.
 * (5) Storage of a block of the freeze is not given back while the freeze lasts; cow_thaw() makes up for it.
 *
 * Threads: freeze_save(), freeze_touch(), freeze_run(): any number at once for blocks that do not overlap (the layer's range lock); the
 * rest: one at a time.
 */
#ifndef DISKGATE_CORE_FREEZE_H
#define DISKGATE_CORE_FREEZE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/livemap.h"
#include "core/names.h"

#define FREEZE_NAME_LEN (2 * UUID_LEN + 16)

/* What the freezes of one instant share. The caller's memory, older than all of them. */
struct freeze_set {
    int dir_fd; /* ROOT/run/frozen, borrowed */
    char id[UUID_LEN + 1];
    _Atomic int broken; /* a negative errno: why; 0 = good */
    _Atomic int stuck;  /* a negative errno: the holder's name could not be taken away; 0 = it could */
};

/* "ID.holder" into @ret (FREEZE_NAME_LEN + 1 bytes). */
void freeze_holder_name(const char *id, char *ret);

/* Void: the holder's name is gone when this returns. Any thread, any number of times. */
void freeze_break(struct freeze_set *set, int why);

/* Take the names of all holders away, and all other files with them. 0 or a negative errno. */
int freeze_sweep(int dir_fd);

struct freeze;

/* Make the files for one overlay. @set, @live and @data_fd are borrowed until freeze_destroy(). Errors with a sentence. */
int freeze_create(struct freeze_set *set, const struct livemap *live, int data_fd, struct freeze **ret,
                  struct err *err);

/* Copy the rest of the map. 0; a negative errno: the freeze is broken. */
int freeze_complete(struct freeze *f);

/* Blocks [blk, blk + n) are about to be overwritten: save what the freeze needs of them. It cannot fail for the caller. */
void freeze_save(struct freeze *f, uint64_t blk, uint64_t n);

/* The states of [blk, blk + n) are about to change, their bytes are not. */
void freeze_touch(struct freeze *f, uint64_t blk, uint64_t n);

/* Does the freeze need the bytes of @blk in the data file? Returns how many blocks share the answer, at most @max. After freeze_touch(). */
uint64_t freeze_run(const struct freeze *f, uint64_t blk, uint64_t max, bool *ret_needed);

/* The same for a freeze that may be broken by now: could it have held back the storage of @blk? */
uint64_t freeze_unsaved(const struct freeze *f, uint64_t blk, uint64_t max, bool *ret);

/* Bytes in the side file. */
uint64_t freeze_side_bytes(const struct freeze *f);

/* Deletes the files. NULL is allowed. The layer does not know it (any more). */
void freeze_destroy(struct freeze *f);

/* For core/cow.c: the list of freezes of a layer, which changes with the gate closed only. */
struct freeze **freeze_next(struct freeze *f);

#endif
