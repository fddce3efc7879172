/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables of a virtual disk: MBR (with logical partitions) and GPT, read by libblkid.
 *
 * libblkid wants a file descriptor and a disk may exist as layers only, so the few places where tables live are copied into a
 * sparse memory file of the disk's size: the first and last MiB and the chain of extended boot records. All of it is hostile
 * until libblkid has checked it; partitions that leave the disk are reported as such, never clipped in silence.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_PART_H
#define DISKGATE_CORE_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define PART_MAX 128

struct part {
    unsigned number;   /* as the table counts: GPT 1.., MBR primary 1..4, logical 5.. */
    uint64_t off, len; /* bytes within the disk */
    char type[40];     /* GPT type GUID, or "0x07" for MBR */
    char name[64];     /* GPT name, may be empty */
    bool is_outside;   /* reaches beyond the end of the disk: no view is made of it */
    bool is_extended;  /* MBR container of logical partitions: no view is made of it */
};

/* @read gives @len bytes at @off of the disk: 0 or a negative errno.
 * Fills at most PART_MAX entries; *ret_n = 0 and *ret_table = "" for a disk without a table. @ret_table holds 8 bytes: "gpt", "dos".
 * Errors of @read; -EBADMSG when a table is there and cannot be understood. */
int part_list(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t size_bytes,
              struct part *ret, size_t *ret_n, char *ret_table, struct err *err);

#endif
