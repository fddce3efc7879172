/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Target: the file or block device that a disk is restored into.
 *
 *   DEST is not there        DEST.partial is written and gets the name at the end: a file called DEST is whole
 *   DEST is a file           changed in place; DEST.restoring lies beside it until it is whole
 *   DEST is a block device   changed in place
 *   DEST is a folder         a file in it, named by the caller
 *
 * What is interrupted goes on where it was: every chunk that is there is compared.
 *
 * Refused: a file that anybody has open (a root that runs from it), a file that is newer than the set or of another size without @is_forced,
 * a block device without @is_forced, one that is mounted, one that is too small; a place inside of the repository.
 *
 * Threads: read, write and zero any number at once, other ranges.
 */
#ifndef DISKGATE_BACKUP_RESTORE_TARGET_H
#define DISKGATE_BACKUP_RESTORE_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct target {
    int fd;
    bool is_device;
    bool is_fresh; /* nothing was written yet: all of it is a hole */
    uint64_t size_bytes, file_bytes;
    char path[PATH_MAX];
    char temp[PATH_MAX]; /* where it is written, "" = in place */
    char mark[PATH_MAX]; /* lies there until it is whole, "" = none */
};

struct target_params {
    const char *dest;
    const char *file;    /* its name, where DEST is a folder; NULL: a folder is refused */
    const char *avoid;   /* the repository's path */
    uint64_t size_bytes; /* of the disk */
    uint64_t file_bytes; /* of a file with it; 0 = the same */
    uint64_t data_bytes; /* that will be written, for a look at the free space */
    int64_t set_time_s;
    bool is_forced;
};

/* A negative errno with a sentence, nothing changed. */
int target_open(const struct target_params *p, struct target *ret, struct err *err);
/* [off, off + len) shall be zeros: holes where there can be some. */
int target_zero(struct target *t, uint64_t off, uint64_t len);
/* True if the range is a hole already. */
bool target_is_hole(const struct target *t, uint64_t off, uint64_t len);
/* Durable as it is. */
int target_sync(struct target *t, struct err *err);
/* It is whole: as long as it shall be, durable under its name. */
int target_commit(struct target *t, struct err *err);
/* What is not committed stays, for the next try. */
void target_close(struct target *t);

#endif
