/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recovery: bring the map files of all kept overlays of a root up to what the journal holds, after a crash or a power cut.
 *
 * It needs neither the catalog nor the images: a map file says which overlay it belongs to and up to which commit it is complete. So the
 * flushes of a client whose image is missing today are not lost when the journal begins anew.
 *
 * When it returns, all that it found is durable, also what the last process had no time to sync: the journal may be emptied.
 *
 * Runs before any overlay is opened. Done twice it changes nothing the second time.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_CORE_RECOVER_H
#define DISKGATE_CORE_RECOVER_H

#include <stdint.h>

#include "core/err.h"

struct recovery {
    uint64_t commits;     /* found in the journal */
    uint64_t overlays;    /* whose map file was brought up to date */
    uint64_t damaged;     /* map files that could not be read; their overlays will be refused */
    uint64_t next_number; /* for journal_start(): above every commit and every map file */
};

/* @overlays_fd: ROOT/overlays; @journal_fd: ROOT/journal; @root: the root's tag, as journal_replay(). 0, or a negative errno with a sentence: then nothing was lost, and the
 * journal must not be started. */
int recover(int overlays_fd, int journal_fd, const char *root, struct recovery *ret, struct err *err);

#endif
