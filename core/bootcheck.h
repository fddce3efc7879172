/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a disk's tables and loaders will make its boot slow or fail, as sentences.
 *
 *   damage   the tables contradict themselves or the disk: a second copy is broken, a partition leaves the disk
 *   hint     a PC of one kind will not boot from it, or slowly; it may be meant so
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_BOOTCHECK_H
#define DISKGATE_CORE_BOOTCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define BOOTCHECK_MAX 16

struct bootcheck {
    size_t n;
    struct bootcheck_finding {
        bool is_damage;
        char sentence[400];
    } findings[BOOTCHECK_MAX]; /* what does not fit is left out */
    bool is_cut_off;           /* the tables, which one of them tells of, are of a larger disk */
    bool has_short_chs;        /* one of them is the protective MBR's end, which bootcheck_mend_chs() mends */
    uint64_t chs_off;          /* where these three bytes are */
};

/* Look at a disk of @size_bytes. @is_boot: PCs boot from it; of a data disk only damage is said. As with part_list(), @read gives
 * @len bytes at @off. 0 whatever is found; errors of @read; -ENOMEM. */
int bootcheck(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t size_bytes, bool is_boot,
              struct bootcheck *ret, struct err *err);

/* The three bytes that belong at chs_off. */
extern const unsigned char bootcheck_chs[3];

#endif
