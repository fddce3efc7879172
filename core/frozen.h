/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frozen overlay: the backup's view of a kept overlay at one instant; core/freeze.h has the other side.
 *
 * Two ways to one: diskgate-fs serves the overlay and froze it on request, or nobody serves it and nothing changes. Either holds for
 * as long as the holder's name is there: whoever voids a freeze, and every diskgate-fs that starts, takes that name away before
 * the first byte changes. So the name is looked for after each read, and a read that finds it gone is -ESTALE.
 *
 *   reader                                   writer (core/freeze.c)
 *   1. bytes from the data file              1. old bytes -> side file
 *   2. `saved` bits; set: from the side      2. `saved` bit (or: holder's name away)
 *   3. holder's name                         3. new bytes -> data file
 *
 * If 1 on the left saw a byte of 3 on the right, then 2 on the left sees the bit, or 3 the missing name.
 *
 * Threads: any number at once, but for open and close.
 */
#ifndef DISKGATE_CORE_FROZEN_H
#define DISKGATE_CORE_FROZEN_H

#include "core/freeze.h"
#include "core/overlay.h"

struct frozen;

/* Make and lock "ID.holder" in @dir_fd (ROOT/run/frozen). Returns its fd, to be kept open. Errors with a sentence. */
int frozen_hold(int dir_fd, const char *id, struct err *err);
/* 0; -ESTALE: void. */
int frozen_check(int holder_fd);

/* The overlay @stamp of slot @slot in @overlay_dir_fd, which diskgate-fs froze as @id in @dir_fd. @holder_fd is borrowed. */
int frozen_open(int dir_fd, const char *id, int holder_fd, int overlay_dir_fd, unsigned slot,
                const struct map_stamp *stamp, struct frozen **ret, struct err *err);
/* The same of one that nobody serves. Takes @overlay, opened read-only. NULL without memory. */
struct frozen *frozen_of(struct overlay *overlay, int holder_fd);
void frozen_close(struct frozen *f); /* NULL is allowed */

/* State of block @blk at that instant, and how many blocks from there share it, at most @max; >= 1. Certain only if frozen_check()
 * is 0 afterwards. */
uint64_t frozen_run(const struct frozen *f, uint64_t blk, uint64_t max, enum block_state *ret);

/* Bytes of blocks that are all PRESENT. -ESTALE: void; -EIO. */
int frozen_read(const struct frozen *f, void *buf, size_t len, uint64_t off);

#endif
