/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of other hypervisors become raw images of the root, for `image add`.
 *
 * Order of calls:
 *   convert_detect()     is it one of them?
 *   convert_prepare()    may it be converted, is there room?
 *   convert_make()       ROOT/images/NAME/v1.raw; with interrupts held
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_CONVERT_H
#define DISKGATE_GATEWAY_CONVERT_H

#include <stdint.h>
#include <sys/stat.h>

#include "core/catalog.h"
#include "cli/progress.h"

struct convert {
    int fd;             /* borrowed */
    const char *path;   /* borrowed */
    const char *driver; /* NULL = the file is none of these */
    char user[SETTING_LEN + 1];
    uint64_t size_bytes, used_bytes; /* of the disk, of the file */
    struct stat st;                  /* of the file when it was looked at */
};

int convert_detect(int fd, const char *path, struct convert *ret, struct err *err);

/* @format: what the file shall be, or NULL. Errors of qemu_info(); -EINVAL for another format; -ENOSPC when there is surely no room. */
int convert_prepare(const char *root, struct catalog *c, const char *format, struct convert *v, struct err *err);

/* As image_make(). -ESTALE when the file was written to meanwhile. */
int convert_make(const char *root, const char *name, const struct convert *v, struct progress *p, char *ret_path,
                 struct err *err);

/* "converted from qcow2 '/srv/disk.qcow2'", cut to fit a comment (COMMENT_LEN + 1 bytes). */
void convert_origin(const struct convert *v, char *ret);

#endif
