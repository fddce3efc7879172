/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Change map: which parts of a kept overlay were written since when. A hint for the backup, which then does not read the rest.
 *
 * For each region of 64 KiB it holds the epoch of its last change. An epoch ends with each freeze, and a backup notes in its set under
 * which id and epoch of the change map it read the overlay. What has a greater epoch was changed since. So nothing is ever cleared, a
 * backup that fails leaves no trace, and any number of repositories are served.
 *
 *   ROOT/run/live/OVERLAY-ID.changes   while the machine runs; shared mapping, survives the death of the process
 *   ROOT/overlays/DIR/SLOT.changes     after a clean end, with a check sum; deleted (and that made durable) at the next start
 *
 * docs/change-map-format.md has the layouts. Whatever is not certain gives the map a new id, and the next backup reads everything:
 *   - after a power cut the first file has another boot id, and the second is not there;
 *   - the second one knows data and map file by inode and times, and does not fit when one was put back from a backup;
 *   - when no storage can be had for a mark, or more is discarded at once than is worth marking.
 *
 * (1) A region is marked before its bytes change, within the layer's range lock.
 * (2) An epoch begins only where nobody writes (gate closed), or where nobody had the overlay open.
 *
 * Threads: changes_mark() any number at once; the rest: one at a time.
 */
#ifndef DISKGATE_CORE_CHANGES_H
#define DISKGATE_CORE_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/livemap.h"
#include "core/names.h"

#define CHANGES_REGION_BYTES (64ULL << 10)

/* Where an overlay's change map and the files that it must fit lie. Borrowed. */
struct changes_place {
    int live_fd; /* ROOT/run/live */
    int dir_fd;  /* ROOT/overlays/DIR */
    unsigned slot;
    const struct map_stamp *stamp;
};

struct changes;

/* The map to go on with, or a fresh one with a new id. @goes_on: the overlay goes on with its live map of this boot.
 * 0 or a negative errno: then there is none, and every backup reads everything. */
int changes_open(const struct changes_place *place, bool goes_on, struct changes **ret);

/* Blocks [blk, blk + n) are about to change. Cannot fail for the caller. */
void changes_mark(struct changes *c, uint64_t blk, uint64_t n);

/* An epoch ends; the gate is closed. Its id and number, or an empty @ret_id: the map cannot be used. */
void changes_end_epoch(struct changes *c, char *ret_id, uint32_t *ret_epoch);

/* A clean end, after the overlay's last flush: keep it for the next start. 0 or a negative errno: then there will be a fresh one. */
int changes_save(struct changes *c);

void changes_close(struct changes *c); /* NULL is allowed */

/* The overlay is dropped: delete its files. */
void changes_delete(const struct changes_place *place);

/* --- for the backup ---------------------------------------------------------------------------------------------- */

struct changes_look;

/* The map of an overlay that is served. -ENOENT, -ESTALE, ... */
int changes_look_live(const struct changes_place *place, struct changes_look **ret);
/* The map of one that was closed cleanly and not opened since. Likewise. */
int changes_look_saved(const struct changes_place *place, struct changes_look **ret);

const char *changes_look_id(const struct changes_look *l);
uint32_t changes_look_epoch(const struct changes_look *l); /* that it is in */

/* How many bytes from @off on, at most @max > 0, have not changed after @epoch ended: all that are looked at in one go, 16 MiB or so, up to the first
 * region that may have changed; 0: the one at @off may have. 0 or a negative errno. */
int changes_unchanged(const struct changes_look *l, uint32_t epoch, uint64_t off, uint64_t max, uint64_t *ret);

void changes_look_close(struct changes_look *l); /* NULL is allowed */

#endif
