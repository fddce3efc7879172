/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restore of a whole root onto a bare machine.
 *
 *   ROOT/.restore/set           which set this is; there until all is done: a root that is half restored
 *   ROOT/.restore/catalog.db    the catalog, while its rows get the files' new places
 *   ROOT/images/NAME/vN.raw     versions; adopted ones too, or at the place that --map-path gives
 *   ROOT/overlays/DIR/SLOT.*    kept overlays: data file and map file, over the version that they were made over
 *   ROOT/catalog.db             comes last, by a rename: without it no program takes the folder for a root
 *
 * (1) A version's file gets its name when it is complete and has the content identity that the catalog knows, so that overlays and links
 *     fit; its recorded time is given back to it.
 * (2) Blocks of an overlay that equal the version below are left to it, as they were: a backup knows chunks, an overlay blocks.
 * (3) An interrupted restore goes on when it is run again with the same set; what is complete is recognized.
 *
 * What the set does not have (volatile overlays, which no set has; what was left out) is named and does not stop the rest.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_RESTORE_ROOT_H
#define DISKGATE_BACKUP_RESTORE_ROOT_H

#include "backup/restore.h"
#include "core/catalog.h"

struct path_map {
    const char *from, *to; /* absolute folders (or whole paths), without a slash at the end */
    size_t from_len;
};

struct restore_root_params {
    const char *repo, *set, *into;
    const char *key_file; /* may be NULL */
    const struct path_map *maps;
    size_t n_maps;
    bool is_forced; /* for files outside of the root */
    bool has_no_check;
    int wait_ms;
};

struct restore_root_report {
    char set[SET_ID_LEN + 1], root[PATH_MAX];
    char address[SETTING_LEN + 1]; /* gateway.address of the catalog */
    uint64_t versions, overlays, missing;
    struct restore_counts counts;
};

int restore_root(const struct work *work, const struct restore_root_params *p, struct restore_root_report *ret,
                 struct err *err);

#endif
