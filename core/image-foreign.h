/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that are no plain disks: containers, archives and encrypted volumes, told by what they begin (or end) with.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_IMAGE_FOREIGN_H
#define DISKGATE_CORE_IMAGE_FOREIGN_H

#include <stddef.h>

#include "core/err.h"
#include "core/vhd.h"

#define FOREIGN_HEAD_BYTES 4096U
#define FOREIGN_TAIL_BYTES 512U

/* Look at the first @head_len (at most FOREIGN_HEAD_BYTES are used) and the last FOREIGN_TAIL_BYTES bytes of file @path; @tail may be
 * NULL for a shorter file. 0 when it may be a raw disk; -EOPNOTSUPP with a sentence that names the format and the way out. */
int foreign_check(const void *head, size_t head_len, const void *tail, const char *path, struct err *err);

/* Name of qemu's driver ("qcow2", "vhdx", "vpc", "vmdk", "vdi") for a file that begins so and that `image add` converts; else NULL. */
const char *foreign_driver(const void *head, size_t head_len);

/* The same sentence for a VHD whose footer at the end of the file says that it is dynamic or differencing. Returns -EOPNOTSUPP. */
int foreign_refuse_vhd(enum vhd_type type, const char *path, struct err *err);

#endif
