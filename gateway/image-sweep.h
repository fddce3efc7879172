/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files that are being made, and what is left of them when who made them was killed.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_IMAGE_SWEEP_H
#define DISKGATE_GATEWAY_IMAGE_SWEEP_H

#include <stdint.h>

#include "core/err.h"

#define IMAGE_TEMP ".v1.raw.tmp" /* in a folder below ROOT/images; becomes v1.raw when it is whole */

/* Say that the caller makes an image file: nobody sweeps until the fd is closed. -1 where the file system has no such locks: nobody sweeps
 * there. */
int image_making(const char *root);

/* Called with the path of a file that was deleted, relative to the root, and the bytes that it took. */
typedef void image_swept(void *arg, const char *path, uint64_t bytes);

/* Delete what nobody makes any more, and its folder if that is empty then. Anything else below ROOT/images stays. Does nothing while anybody makes
 * an image; what cannot be deleted stays, too. @tell may be NULL. */
void image_sweep(const char *root, image_swept *tell, void *arg);

/* An image_swept() for reports: @arg is the report of service.h. */
image_swept image_swept_report;

#endif
