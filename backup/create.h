/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A backup: one set with the catalog, versions of images, and kept overlays of one instant.
 *
 *   1. versions of images       immutable; unchanged ones are taken over from an older set
 *   2. instant: overlays are frozen (still.h), the catalog is copied; versions that came into being since 1 are read now
 *   3. overlays
 *   4. thaw, then the commit (set.h)
 *
 * A freeze that became void (diskgate-fs died or was started, its disk was full) is taken again, and all overlays are read
 * again, from the change maps and chunks that are known by then; after CREATE_TRIES the overlays are left out. What is left out, and why, is
 * a warning each; a set without them is committed all the same. Nothing of the backup is ever remembered in the root: the
 * epochs that the next backup starts from are in the set.
 *
 * Threads: one at a time per process.
 */
#ifndef DISKGATE_BACKUP_CREATE_H
#define DISKGATE_BACKUP_CREATE_H

#include <jansson.h>

#include "backup/capture.h"

#define CREATE_TRIES 3U

struct create_params {
    const char *root, *repo, *comment, *sign_key; /* comment, sign_key: may be NULL */
    const char *const *names;                     /* images and clients; none = all */
    size_t n_names;
    unsigned threads; /* 0 = as many as there are processors, at most 8 */
    int level;        /* of zstd, 0 = the default */
    int wait_ms;      /* for another one that has the repository */
    bool is_full, is_paranoid;
    const volatile sig_atomic_t *stop;
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes */
    void (*warn)(void *arg, const char *sentence);
    void (*note)(void *arg, const char *sentence);
    void *arg;
};

struct create_report {
    char set[SET_ID_LEN + 1];
    size_t versions, overlays, left_out, n_volatile;
    unsigned freezes;
    uint64_t warnings;
    struct capture_counts counts;
    struct store_counts stored;
};

/* 0: the set is committed, perhaps with warnings. A negative errno with a sentence: there is no new set. */
int create_run(const struct create_params *p, struct create_report *ret, struct err *err);

#endif
