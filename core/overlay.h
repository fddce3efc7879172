/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlay: one client's own writes over a version, as files, and the copy-on-write layer on top of them.
 *
 *   ROOT/overlays/DIR/SLOT.data   blocks at the same offsets as on the disk, sparse; behind them the overlay's id
 *   ROOT/overlays/DIR/SLOT.map    durable map, of kept overlays only
 *   ROOT/run/live/ID.live         live map while the machine runs; ID = the overlay's id
 *   ROOT/run/ram/ID.*             of volatile overlays: blocks that lie in memory (core/ramfile.h)
 *   ROOT/kept/ID                  mark of a kept one that has had files (core/keptmark.h)
 *   ...  SLOT.changes, ID.changes change map of kept ones, a hint for backups (core/changes.h)
 *
 * Which map counts when an overlay is opened:
 *   live map of this boot         taken as it is: nothing acknowledged is lost when diskgate-fs dies
 *   else the map file             kept: the state of the last flush or clean end
 *   else a data file of this overlay that was ever changed: lost (-EOWNERDEAD); only an overlay with another id may follow
 *   else nothing, but a mark      kept: its files are gone (-EBADMSG)
 *   else nothing                  a fresh overlay; a data file that lies there is replaced if nothing was written into it
 *
 * A volatile overlay never comes back from a map file: what it wrote since it was kept may have reached the data file in any order.
 *
 * (1) A kept overlay has a map file from before its first write on; one that was volatile, from overlay_open() or overlay_set_kept() on.
 * (2) The bits in a map file were set before the data was synced: they never say more than the data file holds.
 * (3) A live map appears under its name only when it is complete (rename); a kept overlay's goes away after a clean end.
 * (4) After a sync of the data failed once, every later flush fails too: the kernel reports a lost write once only. The live map keeps
 *     that, so as long as it counts the overlay is not opened as a kept one again.
 * (5) A volatile overlay's data file is durably marked as changed before its first change is answered: a power cut of the server never
 *     leads to a fresh disk under a client that still runs.
 * (6) What a volatile overlay has in memory goes to the data file before it becomes kept, and at a clean end.
 * (7) Files with another overlay's id are never touched: -EEXIST, and the caller decides with the catalog's list of garbage.
 *
 * Threads: overlay_open(), overlay_close(), overlay_set_kept(): one at a time per place; the layer: as blk.h.
 */
#ifndef DISKGATE_CORE_OVERLAY_H
#define DISKGATE_CORE_OVERLAY_H

#include <stdbool.h>

#include "core/blk.h"
#include "core/err.h"
#include "core/livemap.h"
#include "core/names.h"

struct journal;
struct ram_pool;

struct overlay_place {
    int dir_fd;  /* ROOT/overlays/DIR, borrowed while the overlay is open */
    int live_fd; /* ROOT/run/live, likewise */
    unsigned slot;
    struct journal
        *journal;   /* that kept overlays flush into, borrowed likewise; NULL: each flush replaces the map file */
    bool has_marks; /* the one below counts */
    int kept_fd;    /* ROOT/kept (core/keptmark.h), borrowed likewise */
    bool has_ram;   /* the three below count */
    int ram_fd;     /* ROOT/run/ram, borrowed likewise */
    struct ram_pool *ram_pool; /* likewise; NULL where nothing is written */
    int64_t client_id;         /* whose quota of the pool it is */
};

struct overlay;

/* Open or make the overlay @stamp->overlay_id at @place over @lower (borrowed), whose identity and size @stamp tells.
 *
 * @read_only: nothing is made or changed; -ENOENT where there is no overlay yet.
 * -EEXIST: the files there belong to another overlay, its id in @ret_found (UUID_LEN + 1 bytes).
 * -EOWNERDEAD: it was changed, and its map is lost. -ESTALE: the overlay was made over something else. -EBADMSG: damaged, also by a sync
 * of its data that failed in an earlier process. -ENOSPC, -EIO, ... All with a sentence. */
int overlay_open(const struct overlay_place *place, const struct map_stamp *stamp, bool is_kept, bool read_only,
                 struct blk *lower, struct overlay **ret, char *ret_found, struct err *err);

/* The layer, borrowed until overlay_close(). */
struct blk *overlay_blk(struct overlay *o);

/* From now on kept or volatile. To kept: what was written so far is made durable. 0; on failure it stays what it was. */
int overlay_set_kept(struct overlay *o, bool is_kept, struct err *err);

/* The overlay is garbage: its files may be deleted or replaced at any moment while handles are still open. From now on a flush is
 * -ESTALE and the close writes nothing, so that nothing of it can reach the files of the overlay that takes its place. */
void overlay_abandon(struct overlay *o);

/* Somebody may write from now on: as livemap_begin(). Any thread, as often as it likes. */
void overlay_begin(struct overlay *o);
/* Who had the live map of overlay @id from an earlier process (core/direct.h) reads nothing more from it. For one that is not opened. */
void overlay_disown(int live_fd, const char *id);

/* Call @f(@arg) before the first of its blocks goes to memory, by whichever thread, with a lock of the overlay held. Before the first write;
 * @arg lives as long as the overlay. overlay_has_ram(): it is too late for that. */
void overlay_on_ram(struct overlay *o, void (*f)(void *arg), void *arg);
bool overlay_has_ram(const struct overlay *o);

/* True if nothing was ever written or zeroed in it. */
bool overlay_is_untouched(const struct overlay *o);

/* 0, or what a sync of its data failed with: from then on nothing of it is made durable. */
int overlay_loss(const struct overlay *o);

/* Bytes that its blocks occupy, in the data file and in memory; in memory alone. */
uint64_t overlay_bytes(const struct overlay *o);
uint64_t overlay_ram_bytes(const struct overlay *o);

/* For a backup (core/freeze.h): what a freeze is made of, borrowed until overlay_close(). */
const struct livemap *overlay_map(const struct overlay *o);
int overlay_data_fd(const struct overlay *o);
/* The layer's gate is closed: an epoch of the change map ends. An empty @ret_id (UUID_LEN + 1 bytes): there is no change map. */
void overlay_end_epoch(struct overlay *o, char *ret_id, uint32_t *ret_epoch);

/* A clean end: a kept overlay is flushed first. 0, or the flush's error with a sentence; the memory is gone either way.
 * The layer must be out of use. NULL is allowed. */
int overlay_close(struct overlay *o, struct err *err);

/* Delete the files of overlay @id at @place if they carry its id; files of another overlay stay. 0 also when there are none. */
int overlay_delete(const struct overlay_place *place, const char *id, struct err *err);

#endif
