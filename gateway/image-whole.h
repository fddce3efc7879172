/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is a file that somebody wants to add the whole disk, or the beginning of a longer one?
 *
 * Threads: any number at once, on different fds.
 */
#ifndef DISKGATE_GATEWAY_IMAGE_WHOLE_H
#define DISKGATE_GATEWAY_IMAGE_WHOLE_H

#include "core/image.h"

/* 0; -EBADMSG with a sentence when the file was cut off, -EINVAL when it is a text. @info is what image_probe() said. */
int image_check_whole(int fd, const char *path, const struct image_info *info, struct err *err);

#endif
