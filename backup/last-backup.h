/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ROOT/backup-state.json: when the root was last backed up as a whole, for `diskgate status` (gateway/backup-report.c reads it).
 *
 *   {"set": "2026-11-22T130000Z-9a3e", "repository": "/mnt/usb/backup", "time_s": 1790000000, "warnings": 0}
 *
 * Written after a commit, replaced as a whole. Without it nothing but a reminder is lost.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_LAST_BACKUP_H
#define DISKGATE_BACKUP_LAST_BACKUP_H

#include <stdint.h>

#include "core/err.h"

int last_backup_note(const char *root, const char *repo, const char *set, uint64_t warnings, struct err *err);

#endif
