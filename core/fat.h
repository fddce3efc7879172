/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT file systems, as far as it takes to tell whether a file is there. Everything read is hostile.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_FAT_H
#define DISKGATE_CORE_FAT_H

#include <stddef.h>
#include <stdint.h>

/* Is the file @path there, names in their short form with '/' between them: "EFI/BOOT/BOOTX64.EFI"? The file system lies at [off, off + len)
 * of what @read reads. 1 it is there and not empty; 0 it is not; -EBADMSG no FAT or a damaged one; errors of @read. */
int fat_has_file(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t off, uint64_t len,
                 const char *path);

#endif
