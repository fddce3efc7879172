/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files restore-root*.c share.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_RESTORE_ROOT_PRIV_H
#define DISKGATE_BACKUP_RESTORE_ROOT_PRIV_H

#include "backup/restore-root.h"

struct root_work {
    const struct work *work;
    const struct restore_root_params *p;
    struct restore_root_report *report;
    struct reader *reader;
    struct set_info set;
    char root[PATH_MAX], staging[PATH_MAX];
    int lock_fd; /* ROOT/.restore/set */
    struct catalog *catalog;
    struct version_row *versions; /* as they will be in the catalog */
    bool *is_there;               /* of each version */
    size_t n_versions;
};

const struct set_stream *root_stream(const struct root_work *w, enum stream_kind kind, const char *name,
                                     uint32_t number);

/* Version @i: its file, and its row in w->versions. 0 or a negative errno with a sentence. */
int root_restore_version(struct root_work *w, size_t i, const struct set_stream *st, struct err *err);
/* The overlay of @view over version number @i. */
int root_restore_overlay(struct root_work *w, const struct view_row *view, size_t i, const struct set_stream *st,
                         struct err *err);
/* Path of version @i's file as it is now. */
int root_version_path(const struct root_work *w, size_t i, char *ret, struct err *err);

#endif
