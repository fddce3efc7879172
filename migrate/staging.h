/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that an import makes before its transaction, and that must not stay when the transaction does not come to pass.
 *
 *   ROOT/imports/pending     one line each: "folder images/NAME" or "file imports/ID.json"; written and synced before the thing is made
 *   ROOT/run/import.lock     held by the import that runs
 *
 * (1) A thing is in the catalog, or in the pending file, or not there.
 * (2) The pending file of an import that died is worked off by the next `diskgate migrate`: what the catalog refers to stays.
 * (3) A helper process waits for the end of this one. When it was killed, it does (2) at once, in a program that is started anew.
 * (4) An undo writes down which files it is going to delete before it commits, so (1) holds for it, too.
 *
 * Threads: one at a time, one per process.
 */
#ifndef DISKGATE_MIGRATE_STAGING_H
#define DISKGATE_MIGRATE_STAGING_H

#include <limits.h>

#include "core/err.h"

struct staging {
    char root[PATH_MAX];
    int lock, guard; /* guard: pipe to the helper */
    char *pending;   /* text of the file */
};

/* Take the lock, clean up after one that died. -EBUSY when another import runs. */
int staging_open(struct staging *s, const char *root, struct err *err);
/* A fresh empty folder ROOT/images/NAME, or NAME.2, ...: its path relative to the root in @ret (PATH_MAX bytes). */
int staging_folder(struct staging *s, const char *name, char *ret, struct err *err);
/* The file @rel below the root is going to be made. */
int staging_file(struct staging *s, const char *rel, struct err *err);
/* The image's file @rel below the root goes as soon as the catalog does not know it any more; before the commit. */
int staging_drop(struct staging *s, const char *rel, struct err *err);
/* The catalog has everything, or what it does not have is deleted: forget. */
void staging_keep(struct staging *s);
/* Delete what was not kept; release the lock. */
void staging_close(struct staging *s);

/* `diskgate-migrate STAGING_CLEAN_UP ROOT` is how the helper starts this program: wait for the lock, do (2). */
#define STAGING_CLEAN_UP "--clean-up-after-import"
int staging_clean_up(const char *root);

/* Delete ROOT/REL, a file of an image, and its folder when that is empty then. */
int staging_delete_image(const char *root, const char *rel);

#endif
