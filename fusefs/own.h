/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose files they are: overlays and live maps belong to the user that serves them, also those that root has put back from a backup.
 *
 * Threads: one at a time per folder; files may come and go meanwhile.
 */
#ifndef DISKGATE_FUSEFS_OWN_H
#define DISKGATE_FUSEFS_OWN_H

#include "core/err.h"
#include "fusefs/options.h"

/* Give the folder @fd and the files in it, down to @depth folders below, to the user of @o. Links are never followed. */
int own_folder(int fd, const struct options *o, int depth, struct err *err);

#endif
