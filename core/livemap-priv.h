/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between livemap.c (the map in use) and livemap-file.c (its file, made, opened and closed); the layout is in docs/live-map-format.md.
 *
 * Threads: as livemap.h.
 */
#ifndef DISKGATE_CORE_LIVEMAP_PRIV_H
#define DISKGATE_CORE_LIVEMAP_PRIV_H

#include <stdatomic.h>

#include "core/livemap.h"
#include "core/lock.h"

#define LIVE_PAGE 4096ULL
#define LEAF_NONE 0U
#define LEAF_ALL  0xffffffffU

struct live_header {
    char magic[8];
    uint32_t version, features; /* features: bits that a reader must know; none yet */
    unsigned char boot_id[16];
    struct map_stamp stamp;
    uint64_t leaf_off; /* bytes */
    _Atomic uint32_t is_complete;
    _Atomic uint32_t leaf_count;
    _Atomic uint64_t changes;
    _Atomic uint32_t lost_errno; /* 0 = all that was written to the data file is there */
    _Atomic uint32_t generation;
};
_Static_assert(sizeof(struct live_header) <= LIVE_PAGE, "the header is one page");
_Static_assert(offsetof(struct live_header, boot_id) == 16, "the same in every version");
_Static_assert(offsetof(struct live_header, stamp) == 32 && offsetof(struct map_stamp, size_bytes) == 96 &&
                   offsetof(struct live_header, leaf_off) == 136 && offsetof(struct live_header, is_complete) == 144 &&
                   offsetof(struct live_header, leaf_count) == 148 && offsetof(struct live_header, changes) == 152 &&
                   offsetof(struct live_header, lost_errno) == 160 && offsetof(struct live_header, generation) == 164,
               "as docs/live-map-format.md says");

struct live_dir {
    _Atomic uint32_t leaf[2]; /* by enum map_plane */
};

struct livemap {
    int fd;
    uint32_t found_generation;
    size_t map_bytes;
    uint64_t dir_count, nblk, leaf_max;
    struct live_header *head; /* the mapping */
    struct live_dir *dir;
    unsigned char *leaves;
    _Atomic uint64_t *dirty; /* bit n: directory entry n changed since it was taken */
    struct lock lock;        /* protects the allocation of leaves */
};

/* Give [off, off + len) of the file storage. tmpfs gives up with EINTR whenever a signal is pending. */
int livemap_reserve(int fd, uint64_t off, uint64_t len);

#endif
