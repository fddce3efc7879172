/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A differencing VHD and its parents become one raw image in the root.
 *
 * qemu-img does not know differencing VHDs, so core/vhd-chain.h reads them.
 *
 * Call flatten_make() with interrupts held (copy.h).
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_FLATTEN_H
#define DISKGATE_GATEWAY_FLATTEN_H

#include <stdbool.h>

#include "cli/progress.h"
#include "core/vhd-chain.h"
#include "core/err.h"

/* Is the open file a differencing VHD? A damaged one is -EBADMSG with a sentence; else 1 or 0. */
int flatten_is_needed(int fd, const char *path, struct err *err);

/* Open @path and its parents: among @parents (ended by NULL), else in the folder of @path by the names that the files give. */
int flatten_open(const char *path, const char *const *parents, struct vhd_chain **ret, struct err *err);

/* As convert_make(): ROOT/images/NAME/v1.raw, its path relative to the root in @ret_path. */
int flatten_make(const char *root, const char *name, struct vhd_chain *c, struct progress *p, char *ret_path,
                 struct err *err);

#endif
