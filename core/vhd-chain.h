/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of differencing VHDs: a disk that is spread over several files, each with what was written over its parent.
 *
 *   child.vhd  --parent id-->  middle.vhd  --parent id-->  base.vhd (fixed or dynamic)
 *
 * A sector is read from the first file that has it; what none has is zero. Files are matched by the unique ids in their headers, never by
 * name alone: a file with the right name and another id is not the parent.
 *
 * Dynamic header, 1024 bytes at footer.header_off, big-endian (documented, as vhd.h):
 *
 *   offset size  field
 *        0    8  cookie "cxsparse"
 *       16    8  offset of the block allocation table
 *       24    4  version, 0x00010000
 *       28    4  entries of that table
 *       32    4  bytes of a block, a power of two
 *       36    4  check sum as in the footer
 *       40   16  unique id of the parent
 *       64  512  name of the parent, UTF-16, big-endian
 *      576 8*24  locators of the parent: code (4), space (4), length (4), reserved (4), offset (8)
 *
 *   table   4 bytes an entry: sector of the block in this file, all ones = none
 *   block   bitmap of its sectors, first sector = highest bit, padded to 512 bytes; then the sectors
 *
 * Everything is checked against the size of the file before it is used. The parent's time stamp is not: copying a file changes it.
 *
 * Threads: one at a time per chain.
 */
#ifndef DISKGATE_CORE_VHD_CHAIN_H
#define DISKGATE_CORE_VHD_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define VHD_CHAIN_MAX   32
#define VHD_PARENTS_MAX 9 /* names that a child gives its parent */

/* Who a VHD is, and of whom it is a part. */
struct vhd_link {
    unsigned char id[16];
    bool is_differencing;
    unsigned char parent_id[16];
    size_t n_names;
    char names[VHD_PARENTS_MAX]
              [1024]; /* paths of the old server as they are written there, UTF-8; the last component is what counts */
};

/* -ENODATA without a sentence when the file is no VHD; -EBADMSG damaged. */
int vhd_link_read(int fd, const char *path, struct vhd_link *ret, struct err *err);

struct vhd_chain;

/* @paths[0] is the disk, the others are files among which its parents are found by their ids (more than are needed are allowed).
 * -ENOENT when a parent is not among them, the sentence names it. */
int vhd_chain_open(const char *const *paths, size_t n, struct vhd_chain **ret, struct err *err);
void vhd_chain_close(struct vhd_chain *c); /* NULL is allowed */
static inline void vhd_chain_closep(struct vhd_chain **c)
{
    vhd_chain_close(*c);
}

uint64_t vhd_chain_size(const struct vhd_chain *c);
size_t vhd_chain_length(const struct vhd_chain *c);
uint64_t vhd_chain_file_bytes(const struct vhd_chain *c); /* all files together: the most that can be data */

/* Read @len bytes at @off, both multiples of 512, inside the disk. */
int vhd_chain_read(struct vhd_chain *c, void *buf, size_t len, uint64_t off, struct err *err);
/* -ESTALE when one of the files was written to since it was opened. */
int vhd_chain_check_unchanged(const struct vhd_chain *c, struct err *err);

#endif
