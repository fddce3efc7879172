/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restore: one disk of a set into a file or a block device.
 *
 *   1. open     the set, all its manifests; every chunk is looked up and the trees of SHA-256 compared; nothing is written before
 *   2. fill     by several threads: what is there and equal stays, zeros become holes, the rest is read, hashed and written
 *   3. sync, check: the whole target is read back and its hashes compared with the manifest's, while the disk writes what is left
 *   4. commit   the target gets its name (restore-target.h)
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_RESTORE_H
#define DISKGATE_BACKUP_RESTORE_H

#include "backup/restore-chain.h"
#include "backup/restore-crew.h"
#include "backup/restore-target.h"

struct restore_counts {
    uint64_t written_bytes; /* to the target */
    uint64_t equal_bytes;   /* were there already */
    uint64_t zero_bytes;    /* are zeros */
    uint64_t checked_bytes; /* read back and compared */
};

/* Steps 2 and 3 alone. @counts is added to. */
int restore_fill(const struct work *work, struct reader *r, const struct chain *c, struct target *t,
                 struct restore_counts *counts, struct err *err);
int restore_check(const struct work *work, struct reader *r, const struct chain *c, struct target *t,
                  struct restore_counts *counts, struct err *err);

struct restore_params {
    const char *repo, *set, *what, *dest; /* @what: as set_find_stream(); NULL: the only disk of the set */
    const char *key_file;                 /* whose signature the set must have; may be NULL */
    bool is_forced, has_no_check;
    int wait_ms;
};

struct restore_report {
    char set[SET_ID_LEN + 1], stream[NAME_LEN + 16], path[PATH_MAX];
    char image_xxh128[HASH_HEX_LEN + 1]; /* "" = not recorded */
    char tree_sha256[SHA256_HEX_LEN + 1];
    uint64_t size_bytes;
    struct restore_counts counts;
};

/* 0: it is there, durable and checked. A negative errno with a sentence. */
int restore_disk(const struct work *work, const struct restore_params *p, struct restore_report *ret, struct err *err);

#endif
