/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A sparse copy of an image file into the root, for `image add --copy`.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_COPY_H
#define DISKGATE_GATEWAY_COPY_H

#include <signal.h>
#include <stdint.h>

#include "core/err.h"
#include "gateway/progress.h"

/* Hold back SIGINT, SIGTERM and SIGHUP, so that the caller can clean up; interrupts_release() lets a held one end the process. */
void interrupts_hold(sigset_t *ret_old);
void interrupts_release(const sigset_t *old);

/* Copy the first @len bytes of @in into ROOT/images/DIR/v1.raw, where DIR is @name, or "NAME.2", ... when that folder is taken.
 * @ret_path (PATH_MAX bytes) gets the path relative to the root. The copy is synced and in place when this returns 0; after a
 * failure nothing is left. Call it with interrupts held: one that came in the meantime gives -EINTR. */
int image_copy(const char *root, const char *name, int in, uint64_t len, struct progress *p, char *ret_path,
               struct err *err);

/* Remove such a copy and its folder. 0 or a negative errno; a file that is gone already is no failure. */
int image_copy_remove(const char *root, const char *path);

#endif
