/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between overlay.c (an overlay in use), overlay-open.c (its files, and which of its maps counts) and overlay-ram.c (what a volatile one has
 * in memory).
 *
 * Threads: as overlay.h.
 */
#ifndef DISKGATE_CORE_OVERLAY_PRIV_H
#define DISKGATE_CORE_OVERLAY_PRIV_H

#include <stdatomic.h>

#include "core/lock.h"
#include "core/overlay.h"

struct changes;
struct durable;
struct ramfile;
struct ramfile_place;

struct overlay_names {
    char data[16], map[16], live[UUID_LEN + 8], live_new[UUID_LEN + 16];
};

struct overlay {
    struct overlay_place place;
    struct overlay_names names;
    int data_fd;
    struct livemap *map;
    struct blk *blk;
    _Atomic bool is_kept;
    bool is_read_only;
    bool goes_on; /* with the live map of this boot */
    struct map_stamp stamp;
    struct changes *changes; /* of kept overlays, NULL where there is none */
    _Atomic bool is_abandoned;
    _Atomic bool is_marked;        /* the data file says that it was changed */
    struct lock flush_lock;        /* orders flushes and marks, protects `durable` against a change of mode */
    struct durable *durable;       /* of kept overlays only */
    struct ramfile *_Atomic ram;   /* made by the first change of a volatile overlay */
    _Atomic bool is_without_ram;   /* none could be made */
    _Atomic bool is_spilling;      /* one thread at a time */
    void (*before_ram)(void *arg); /* NULL = nobody wants to know */
    void *before_ram_arg;
};

/* --- overlay-open.c ---------------------------------------------------------------------------------------------- */

/* Live map, data file and, of a kept overlay, what is durable, opened or made; @ret_ram: what the last process left in memory, if it did.
 * Errors as overlay_open(); what was opened by then is the caller's to close. */
int overlay_open_files(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret_ram, char *ret_found,
                       struct err *err);

/* Nothing is durable yet, and all that the live map says is to be. */
int overlay_make_durable(struct overlay *o, const struct map_stamp *stamp, struct err *err);

/* The files of a kept overlay are durable, so they must not be missing when it is opened again. What fails is told to the log: nothing but
 * this warning depends on it. */
void overlay_mark_kept(const struct overlay *o);

/* A volatile overlay has no map file: one that it had as a kept overlay would bring back an old state after a power cut. */
int overlay_drop_mapfile(const struct overlay *o);

/* --- overlay-ram.c ----------------------------------------------------------------------------------------------- */

struct ramfile_place overlay_ram_place(const struct overlay_place *place);

/* Before each change of the disk; @arg: the overlay. */
int overlay_before_change(void *arg);

/* A volatile overlay says on disk that it is in use before its first change is answered: after a power cut nothing else is left of it, and a
 * fresh one must not take its place under a client that runs on. One sync in its life. */
int overlay_note_use(struct overlay *o);

/* What the last process left in RAM; @ret stays as it is where that is nothing. Of an overlay that is kept now it goes to the data file. */
int overlay_ram_open(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret, struct err *err);

/* The overlay has @f from now on. */
int overlay_ram_adopt(struct overlay *o, struct ramfile *f);

/* All of it to the data file, and nothing new into RAM. On failure it may take new blocks again. */
int overlay_ram_drain(struct overlay *o);

/* What is in memory goes to disk, and the memory is free: it is not for a root that is down. What cannot be written stays. */
int overlay_ram_end(struct overlay *o, struct err *err);

#endif
