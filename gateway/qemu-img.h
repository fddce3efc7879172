/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-img: the one program that reads and writes the formats of other hypervisors for us.
 *
 * What it reads is a stranger's file, so it runs in a jail (jail.h), is told the format that we detected and never asked to guess, gets
 * the files as open descriptors, and a file that refers to other files is refused before it is converted.
 *
 * Call all of it with interrupts held (copy.h): one that comes ends the child and gives -EINTR.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_QEMU_IMG_H
#define DISKGATE_GATEWAY_QEMU_IMG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "cli/progress.h"

struct qemu_source {
    int fd;
    const char *path;   /* for sentences */
    const char *driver; /* of foreign_driver() */
    const char *user;   /* that may read it */
};

/* "qcow2", "vhd" (driver "vpc"), "vhdx", "vmdk", "vdi": the word that people know. */
const char *qemu_format_name(const char *driver);

/* Size of the disk in bytes, a multiple of 512, and the bytes that the file occupies. -EOPNOTSUPP with a sentence when the file
 * is only a part of a disk or is encrypted; -ENOENT when qemu-img is not installed. */
int qemu_info(const struct qemu_source *s, uint64_t *ret_size_bytes, uint64_t *ret_used_bytes, struct err *err);

/* Read its tables: qemu-img would take what is behind the end of a file that was cut short as zeros. -EBADMSG with a sentence. */
int qemu_check(const struct qemu_source *s, struct err *err);

/* Write the disk of @s, of @size_bytes as qemu_info() said, into the empty file @out, sparse. */
int qemu_import(const struct qemu_source *s, int out, uint64_t size_bytes, struct progress *p, struct err *err);

/* Write the first @len bytes of the raw disk @in (all of it: @is_whole_file) as a new file @name into the empty folder @dirfd. */
int qemu_export(int in, uint64_t len, bool is_whole_file, int dirfd, const char *name, const char *format,
                struct progress *p, struct err *err);

/* True if qemu_export() knows @format. */
bool qemu_can_export(const char *format);

#endif
