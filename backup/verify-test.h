/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restore test: the disks of a set are mounted (mount.h, in a process of its own) and the file systems in them checked by their own programs, read-only.
 *
 *   ext2/3/4   e2fsck -fn        ntfs   ntfsfix -n        vfat   fsck.fat -n        xfs   xfs_repair -n        btrfs   btrfs check --readonly
 *
 * A disk that was in use when it was backed up has a journal that was not played back, as after a power cut: what the check says then is
 * told, and is no damage. What has no program here, or no file system that is known, is told as not checked.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_VERIFY_TEST_H
#define DISKGATE_BACKUP_VERIFY_TEST_H

#include "backup/verify-priv.h"

/* Rows into v->report->tests, damage into its problems. A negative errno with a sentence: it could not be mounted. */
int verify_test(struct verify *v, const struct verify_set *s, struct err *err);

#endif
