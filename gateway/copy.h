/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new image file in the root: a sparse copy for `image add --copy`, or what a caller fills in.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_COPY_H
#define DISKGATE_GATEWAY_COPY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "cli/progress.h"

/* Hold back SIGINT, SIGTERM and SIGHUP, so that the caller can clean up; interrupts_release() lets a held one end the process. */
void interrupts_hold(sigset_t *ret_old);
void interrupts_release(const sigset_t *old);

/* True if one came since they are held back. */
bool interrupts_came(void);

/* Write a new image into the empty file @out; a sentence on failure. */
typedef int image_fill(int out, void *arg, struct err *err);

/* Make ROOT/images/DIR/v1.raw by @fill, where DIR is @name, or "NAME.2", ... when that folder is taken; a @name "images/DIR" is a folder
 * that the caller made. @ret_path (PATH_MAX bytes) gets
 * the path relative to the root. The file is synced and in place when this returns 0; after a failure nothing is left. Call it with
 * interrupts held. */
int image_make(const char *root, const char *name, image_fill *fill, void *arg, char *ret_path, struct err *err);

/* Copy the data of the first @len bytes of @in to the same places of @out, which has only holes there. -EINTR on a held interrupt. */
int copy_sparse(int in, int out, uint64_t len, struct progress *p);

/* image_make() with a copy of the first @len bytes of @in. An interrupt that came in the meantime gives -EINTR. */
int image_copy(const char *root, const char *name, int in, uint64_t len, struct progress *p, char *ret_path,
               struct err *err);

/* Remove such a copy and its folder. 0 or a negative errno; a file that is gone already is no failure. */
int image_copy_remove(const char *root, const char *path);

#endif
