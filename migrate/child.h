/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running `diskgate` for what is its business: files that become images, and what runs.
 *
 * Programs of two folders do not include each other's headers, so its JSON is what we meet by.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_CHILD_H
#define DISKGATE_MIGRATE_CHILD_H

#include <jansson.h>
#include <stdint.h>

#include "core/err.h"

/* Run `diskgate --root @root --json ARGS...` (@args ended by NULL) to its end. 0 and what it printed; its own sentence and -EIO when it
 * failed; -ENOENT when it is not installed. It ends with us. */
int child_diskgate(const char *root, const char *const *args, json_t **ret, struct err *err);

/* The same for a verb that has --progress: its lines "done total" come to @fn while it runs. */
typedef void (*child_progress_fn)(void *arg, uint64_t done, uint64_t total);
int child_diskgate_progress(const char *root, const char *const *args, child_progress_fn fn, void *arg, json_t **ret,
                            struct err *err);

#endif
