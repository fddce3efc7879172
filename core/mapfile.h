/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Map file: the durable form of a kept overlay's map, SLOT.map. docs/map-file-format.md has the layout.
 *
 * It is replaced as a whole, so after a power cut it is an old one or a new one, and a check sum covers all of it.
 *
 * Threads: one at a time per file.
 */
#ifndef DISKGATE_CORE_MAPFILE_H
#define DISKGATE_CORE_MAPFILE_H

#include "core/livemap.h"

struct mapfile_info {
    struct map_stamp stamp;
    uint64_t sequence; /* number of the last commit of the journal that it contains */
    uint64_t leaves;   /* stored */
};

/* Read and check the head alone. -ENOENT; -EBADMSG, -EOPNOTSUPP with a sentence. */
int mapfile_info(int dirfd, const char *name, struct mapfile_info *ret, struct err *err);

/* Read and check all of the file and put its leaves into @into, a fresh map of the same size that nobody uses yet. */
int mapfile_load(int dirfd, const char *name, struct livemap *into, struct mapfile_info *ret, struct err *err);

/* The present state of a live map as bytes that mapfile_write() can make durable. The caller frees *ret.
 * -ENOMEM. Writers may be at work: a block that changes meanwhile is in the bytes as it was or as it is. */
int mapfile_encode(const struct livemap *m, uint64_t sequence, void **ret, size_t *ret_len);
int mapfile_write(int dirfd, const char *name, const void *buf, size_t len);

/* Delete the temporary files that a death in mapfile_write() left behind. */
void mapfile_sweep(int dirfd, const char *name);

#endif
