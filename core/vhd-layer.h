/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One file of a chain of VHDs, for vhd-*.c only: what its headers say, and its bytes; the format is in vhd-chain.h.
 *
 * Threads: one at a time per layer.
 */
#ifndef DISKGATE_CORE_VHD_LAYER_H
#define DISKGATE_CORE_VHD_LAYER_H

#include <sys/stat.h>

#include "core/vhd-chain.h"
#include "core/vhd.h"

#define VHD_NO_BLOCK 0xffffffffU

struct vhd_layer {
    int fd;
    char *path;
    struct stat st;
    uint64_t file_bytes;
    struct vhd_footer footer;
    struct vhd_link link;
    /* Of a dynamic or differencing one: */
    uint32_t block_bytes, bitmap_bytes, n_blocks;
    uint32_t *table;
    uint64_t cached; /* block whose bitmap is in @bitmap, UINT64_MAX = none */
    unsigned char *bitmap;
};

/* Open the file at @path and check its headers and its table. -ENODATA without a sentence when it is no VHD; -EBADMSG damaged. */
int vhd_layer_open(const char *path, struct vhd_layer **ret, struct err *err);
void vhd_layer_close(struct vhd_layer *l); /* NULL is allowed */
static inline void vhd_layer_closep(struct vhd_layer **l)
{
    vhd_layer_close(*l);
}

/* Bytes [off, off + len) of the file; -EBADMSG where it ends before. */
int vhd_layer_read(const struct vhd_layer *l, void *buf, size_t len, uint64_t off, struct err *err);

/* Returns -EBADMSG, the sentence says @what is wrong with the file. */
int vhd_layer_damaged(const struct vhd_layer *l, const char *what, struct err *err);

#endif
