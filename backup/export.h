/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Export: a disk of a set as a new file of a format that other programs read.
 *
 *   raw      as a restore into a new file
 *   qcow2    FILE.partial.raw is restored and checked, qemu-img makes FILE.partial of it in a jail (core/jail.h), which becomes FILE
 *
 * The raw copy needs room for the disk's data and is deleted in any case. A file that is there is never overwritten.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_BACKUP_EXPORT_H
#define DISKGATE_BACKUP_EXPORT_H

#include "backup/restore.h"

enum export_format { EXPORT_RAW, EXPORT_QCOW2 };

/* @p->dest is the file. *ret as of restore_disk(). -EEXIST; -ENOENT when qemu-img is not installed; errors of restore_disk(). */
int export_disk(const struct work *work, const struct restore_params *p, enum export_format format,
                struct restore_report *ret, struct err *err);

#endif
