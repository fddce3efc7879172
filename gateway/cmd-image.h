/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the verbs of images share.
 *
 * Threads: one at a time per struct cmd.
 */
#ifndef DISKGATE_GATEWAY_CMD_IMAGE_H
#define DISKGATE_GATEWAY_CMD_IMAGE_H

#include "core/catalog.h"
#include "core/image.h"
#include "cli/verb.h"

/* Print all about image @name, as `image show` does. */
int image_print(struct cmd *cmd, struct catalog *c, const char *name, struct err *err);

/* image_full_hash() with a bar on the terminal. */
int image_hash_shown(struct cmd *cmd, int fd, const struct image_info *info, char *ret, struct err *err);

#endif
