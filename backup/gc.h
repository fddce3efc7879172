/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Collection: gives back the room of chunks that no set needs, in two phases.
 *
 * Mark: every manifest of every set, also of those in trash/, is read and its check sum verified, and every chunk that it names looked
 * up. Any error ends the collection with nothing changed. Sweep: packs without a needed chunk go to trash/; packs of which less than 60 % is
 * needed are written again (frames as they are), and go to trash/ once the new pack is complete. What was in trash/ when the collection
 * before this one ended is deleted.
 *
 *   prune 1: set S goes to trash/000001/     its chunks still count as needed
 *   prune 2: S is deleted                    packs of S alone go to trash/000002/
 *   prune 3: those are deleted
 *
 * `is_now` does all three at once, for a full disk: there is no way back from that.
 *
 * (1) Nothing is deleted because of a clock, an atime or the index cache: the index is made anew from the packs.
 * (2) A crash between any two steps leaves packs twice or in trash/, never a set without its chunks: a pack leaves packs/ only after all
 *     that is needed of it is durable elsewhere.
 * (3) A listing that lacks a set that marks.txt knows ends it.
 *
 * Threads: one, with the repository open for writing.
 */
#ifndef DISKGATE_BACKUP_GC_H
#define DISKGATE_BACKUP_GC_H

#include "backup/marks.h"

struct gc_counts {
    uint64_t sets, chunks;                          /* read and needed */
    uint64_t packs, packs_trashed, packs_rewritten; /* there before, dropped, written again */
    uint64_t freed_bytes;                           /* deleted from trash/ for good */
    uint64_t trash_bytes;                           /* still there: the next one deletes it */
};

/* @is_dry: count only. @is_now: see above. @marks is changed and stored. */
int gc_run(struct repo *r, struct marks *marks, bool is_dry, bool is_now, struct gc_counts *ret, struct err *err);

#endif
