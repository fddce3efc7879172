/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the mount answers to each request of the kernel.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_FUSEFS_OPS_H
#define DISKGATE_FUSEFS_OPS_H

#include <stdint.h>

#include "fusefs/tree.h"

struct fuse_lowlevel_ops;

/* What all requests need. The time is the start of the mount: files of the mount never change their times. */
struct fs {
    struct tree *tree;
    struct session *session; /* set by session_open() */
    int64_t start_s;
    struct hold *hold; /* requests that wait for room; NULL in a read-only mount */
    int statfs_fd;     /* a folder of the file system that the overlays grow in */
};

extern const struct fuse_lowlevel_ops fs_ops;

#endif
