/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk that loses power: follows a log and makes the folders that a power cut could leave at that moment.
 *
 * Each file has what is durable of it and, in order, what was done to it since the last sync that covers it. After a cut:
 *
 *   writes, zeroes     each one there or not, whole or in sectors of 512 bytes; sectors that were being written may hold garbage, but
 *                      in files that the caller says are not to be garbled
 *   sizes              an order that holds: where a change of size is missing, all that was done to the file after it is missing
 *   names              of each folder: each name as it was durable or as it was at any moment since; a rename is one such change
 *
 * All of that independent of each other over files and folders.
 *
 * Threads: one at a time per disk.
 */
#ifndef DISKGATE_TESTS_DISK_H
#define DISKGATE_TESTS_DISK_H

#include "tests/powercut/record.h"
#include "tests/unit/stack-check.h"

struct disk;

/* What lies in @root, all of it durable. Folders in it are told by @dirs, "." and paths below @root, ended by NULL. @log learns them.
 * @no_garbage: part of the names of files whose sectors are never garbled, because nothing but their writer could tell; NULL = none. */
struct disk *disk_import(const char *root, const char *const *dirs, struct rec_log *log, const char *no_garbage);
void disk_destroy(struct disk *d);

/* The next record happened. */
void disk_step(struct disk *d, const struct rec *r);

/* Things that were done and are not durable. */
size_t disk_pending(const struct disk *d);

/* Make in @root, an empty folder but for @dirs, what a cut could leave. @least: the one state in which nothing is there but what is
 * durable. It shows for certain what a flush has missed; a random one keeps most of that by chance. */
void disk_cut(const struct disk *d, struct rng *rng, bool least, const char *root, const char *const *dirs);

#endif
