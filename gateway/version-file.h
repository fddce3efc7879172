/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of a version: where it is, and whether it looks as it was recorded.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_VERSION_FILE_H
#define DISKGATE_GATEWAY_VERSION_FILE_H

#include "core/catalog.h"

/* Absolute path of a version's file into @ret (PATH_MAX bytes). -ENAMETOOLONG with a sentence. */
int version_path(const char *root, const struct version_row *v, char *ret, struct err *err);

/* "ok", "missing", "changed" (size or mtime differ from what was recorded), "unreadable". Looks at the file's inode only, so a
 * block device that is there is "ok". */
const char *version_state(const char *root, const struct version_row *v);

#endif
