/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `image add` is about to store: a file is looked at, then made into the root's own where it has to be.
 *
 *   struct adding a = {.fd = -1};
 *   adding_look()      what the file is, and everything that can be refused before a long copy
 *   adding_make()      only where adding_is_made(): copy, convert or flatten it
 *   adding_finish()
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_ADDING_H
#define DISKGATE_GATEWAY_ADDING_H

#include <limits.h>
#include <sys/stat.h>

#include "core/catalog.h"
#include "core/image.h"
#include "core/vhd-chain.h"
#include "gateway/cmd.h"
#include "gateway/convert.h"

struct adding {
    char path[PATH_MAX]; /* the file, real path */
    int fd;
    struct stat st;
    struct image_info info;
    struct convert convert;  /* its driver is NULL for a file that is served as it is */
    struct vhd_chain *chain; /* of a differencing VHD, else NULL */
    struct image_row image;
    struct version_row version;
};

/* Does the root get a file of its own? */
bool adding_is_made(struct cmd *cmd, const struct adding *a);
/* How the file gets into the root, for a sentence. */
const char *adding_how(struct cmd *cmd, const struct adding *a);

/* Early answers, before a long copy: name, format, content. @a has a row afterwards, of a file that has to be made as far as it is known. */
int adding_look(struct cmd *cmd, struct adding *a, struct err *err);
/* Refuse what is an image already; warn about the same content in another file. */
int adding_check_known(struct cmd *cmd, struct catalog *c, const struct adding *a, struct err *err);

/* Make the root's own file, then take it into the row. @ret_rel is its path in the root, PATH_MAX bytes, also after a failure for the caller to
 * remove; empty where nothing was made. */
int adding_make(struct cmd *cmd, struct adding *a, char *ret_rel, struct err *err);

/* For adding-*.c: the row gets what @info says of the file at @path. */
void adding_fill_row(struct adding *a, const struct image_info *info, const char *path, bool is_adopted);

void adding_finish(struct adding *a);

#endif
