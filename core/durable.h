/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The durable side of a kept overlay: what its map file and the journal together say, and how a flush moves it on.
 *
 *   live map  --- flush: the difference --->  journal  --- area full, clean end --->  map file
 *
 * A copy of the durable state is kept in memory, so the difference is found by comparing, leaf by leaf, only those that changed.
 *
 * A flush, in this order:
 *   1. the runs in which the live map differs from the durable state
 *   2. sync of the data file
 *   3. one commit of the journal with those runs (many runs at once, or no journal: the map file is replaced instead)
 *   4. the copy in memory follows
 *
 * (1) A run was PRESENT or ZERO in the live map, and so its data written, before the data is synced.
 * (2) The copy never holds a run that is not durable.
 * (3) After one failure every later flush fails: the kernel reports a lost write once only. One of the data file is noted in the live map,
 *     which tells the next process.
 *
 * Threads: durable_flush() one at a time; the journal's thread may save at any moment.
 */
#ifndef DISKGATE_CORE_DURABLE_H
#define DISKGATE_CORE_DURABLE_H

#include "core/journal.h"
#include "core/livemap.h"

struct durable;

/* The map file is @name in @dir_fd (borrowed). @journal is borrowed too; NULL: every flush replaces the map file.
 * create: nothing is durable yet, and there is no map file. load: from the map file, errors as mapfile_load(). */
int durable_create(int dir_fd, const char *name, const struct map_stamp *stamp, struct journal *journal,
                   struct durable **ret, struct err *err);
int durable_load(int dir_fd, const char *name, const struct map_stamp *stamp, struct journal *journal,
                 struct durable **ret, struct err *err);

/* Make durable what @live and the data file hold now. 0 or a negative errno. */
int durable_flush(struct durable *d, struct livemap *live, int data_fd);

/* Replace the map file by the durable state, so that the journal is not needed for it. 0 or a negative errno. */
int durable_save(struct durable *d);

/* From now on no map file is written. Any thread; waits for one that is being written. */
void durable_abandon(struct durable *d);

/* NULL is allowed. The caller holds no lock. */
void durable_destroy(struct durable *d);

#endif
