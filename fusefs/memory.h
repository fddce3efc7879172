/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tmpfs at ROOT/run/ram, where the RAM write cache has its files (core/ramfile.h): mounted before the privileges go, taken away at
 * the end.
 *
 * It outlives a diskgate-fs that dies, and the next one goes on with what is in it. Its size is no limit of ours: the budget is kept by
 * core/rampool.h, and a tmpfs that is full is as no room.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_FUSEFS_MEMORY_H
#define DISKGATE_FUSEFS_MEMORY_H

#include "fusefs/options.h"

/* A descriptor of the folder, or -1 where there is no such memory: the log says why, and overlays do without. A read-only look at a root
 * mounts nothing. */
int memory_open(const struct options *o);

/* Unmount it, unless something lies in it still. */
void memory_end(const struct options *o, int fd);

#endif
