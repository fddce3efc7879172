/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lowest layers, both read-only: a file that is a disk, and a part of another layer.
 *
 * Threads: as blk.h.
 */
#ifndef DISKGATE_CORE_BASE_H
#define DISKGATE_CORE_BASE_H

#include "core/blk.h"

/* The first @data_bytes of @fd are the disk, zeros fill it up to @size. Takes @fd. NULL when memory is out. */
struct blk *base_create(int fd, uint64_t data_bytes, uint64_t size);

/* Of a layer that base_create() made: have [off, off + len) in memory until base_unpin(), as filemap_pin() says. */
int base_pin(struct blk *b, uint64_t off, size_t len);
void base_unpin(struct blk *b, uint64_t off, size_t len);

/* [off, off + len) of @below, which is borrowed until the end. NULL when memory is out. */
struct blk *slice_create(struct blk *below, uint64_t off, uint64_t len);

#endif
