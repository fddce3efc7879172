/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Still: the kept overlays of a root as they were at one instant, whether diskgate-fs serves them or not.
 *
 *   it serves    asked through its control socket to freeze them (core/freeze.h); clients go on writing
 *   it does not  nobody writes; the journal is brought into the map files, and the overlays are opened read-only. fs.lock is held for as
 *                long as that takes and no longer: an `up` meanwhile is not held up, it voids what was opened
 *
 * Either way a reading that may not be of that instant is -ESTALE, and the caller takes a new one.
 *
 * Threads: still_read(): any number at once; the rest: one at a time.
 */
#ifndef DISKGATE_BACKUP_STILL_H
#define DISKGATE_BACKUP_STILL_H

#include "backup/scope.h"
#include "core/changes.h"
#include "core/frozen.h"

/* One overlay. */
struct still_overlay {
    const struct view_row *row;
    const struct version_row *version;
    struct err why;               /* not empty: it cannot be had, and why */
    int dir_fd;                   /* ROOT/overlays/DIR */
    struct blk *lower;            /* a stand-in of the right size, where nobody serves */
    struct frozen *frozen;        /* NULL: nothing was ever written */
    struct changes_look *changes; /* NULL: no map of changes */
    char epoch_id[UUID_LEN + 1];
    uint32_t epoch;
};

struct still {
    const char *root; /* borrowed */
    char id[UUID_LEN + 1];
    int frozen_fd, holder_fd, overlays_fd, live_fd;
    bool is_served;
    struct still_overlay *overlays;
    size_t n;
};

/* Of all views of @scope (borrowed until still_end()). Errors of the whole with a sentence; of a single overlay in its `why`. */
int still_take(const char *root, const struct scope *scope, struct still *ret, struct err *err);

/* 0: all that was read so far is of that instant. -ESTALE with a sentence. */
int still_check(const struct still *s, struct err *err);

/* Thaw. @ret_why (may be NULL) gets what diskgate-fs says about a freeze that was void, else "". A struct out of all zeros is allowed. */
void still_end(struct still *s, struct err *ret_why);

#endif
