/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heal: chunks that the sets of a repository lack are taken from another one, a copy on a second disk for example.
 *
 * What is lacking is what manifests name and the index does not have: chunks that verify found bad, and those of packs that are gone. What comes
 * is hashed, and stored as a backup would; it counts only if it gets the very name that is missing. A verify tells afterwards whether the sets are
 * whole, by their trees of SHA-256.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_HEAL_H
#define DISKGATE_BACKUP_HEAL_H

#include "backup/restore-crew.h"

struct heal_report {
    uint64_t missing, healed; /* chunks */
    uint64_t stored_bytes;
};

/* @repo is changed, @from is read. 0, whether or not all could be healed; a negative errno with a sentence. */
int heal_run(const struct work *work, const char *repo, const char *from, int wait_ms, struct heal_report *ret,
             struct err *err);

#endif
