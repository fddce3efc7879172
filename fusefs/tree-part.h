/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partitions as names of the mount: "disk0.p1.img" beside "disk0.img", "p1.img" beside "disk.img".
 *
 * The table is read anew at every look-up, because a client may partition its disk while we watch.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_FUSEFS_TREE_PART_H
#define DISKGATE_FUSEFS_TREE_PART_H

#include <stdbool.h>

#include "core/part.h"
#include "fusefs/view.h"

struct part_key {
    unsigned number; /* as the table counts, 1.. */
    uint64_t off, len;
};

bool part_key_equal(const struct part_key *a, const struct part_key *b);

/* Name of the disk's file that partition file @name belongs to, and the partition's number. False when it is no partition's name. */
bool part_name_parse(const char *name, char *ret_disk, size_t room, unsigned *ret_number);

/* The other way: name of partition @number of disk file @disk. */
void part_name(const char *disk, unsigned number, char *ret, size_t room);

/* Partition @number of @whole. -ENOENT, or an error of reading. */
int part_find(struct view *whole, unsigned number, struct part_key *ret);

/* All partitions of @whole that have a view, at most PART_MAX. 0 also when the table cannot be read. */
size_t part_keys(struct view *whole, struct part_key *ret);

#endif
