/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Repair of what a repository can be without for a while: the format file, tables of contents, the index, texts.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_MEND_H
#define DISKGATE_BACKUP_MEND_H

#include <jansson.h>
#include <stdbool.h>

#include "backup/repo.h"

/* Sentences about what was done (would be, if @is_dry) go into the array @done. A negative errno with a sentence when something cannot be repaired. */
int mend_run(const char *path, bool is_dry, json_t *done, struct err *err);

#endif
