/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes before the first change of a volatile overlay, the mark in its data file and memory for its blocks, and what becomes of that
 * memory; invariants (5) and (6) of overlay.h. */
#include "core/overlay-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "core/cow.h"
#include "core/datafile.h"
#include "core/ramfile.h"
#include "core/rampool.h"
#include "core/util.h"

struct ramfile_place overlay_ram_place(const struct overlay_place *place)
{
    return (struct ramfile_place){
        .live_fd = place->live_fd,
        .ram_fd = place->has_ram ? place->ram_fd : -1,
        .pool = place->has_ram ? place->ram_pool : NULL,
        .client_id = place->client_id,
    };
}

/* The pool's thread calls it. */
static int64_t overlay_spill(void *arg, size_t max)
{
    struct overlay *o = arg;
    if (atomic_exchange(&o->is_spilling, true))
        return 0;
    int64_t n = cow_spill(o->blk, max);
    atomic_store(&o->is_spilling, false);
    return n;
}

int overlay_ram_drain(struct overlay *o)
{
    int64_t n;
    struct range gate;
    ramfile_freeze(o->ram, true);
    cow_gate_close(o->blk, &gate); /* who has taken room before that is done, and what he wrote is found below */
    cow_gate_open(o->blk, &gate);
    while (atomic_exchange(&o->is_spilling, true)) {
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL); /* a signal makes the pause shorter, no more */
    }
    while ((n = cow_spill(o->blk, SIZE_MAX)) > 0)
        ;
    atomic_store(&o->is_spilling, false);
    if (n < 0)
        ramfile_freeze(o->ram, false);
    return (int)n;
}

int overlay_ram_adopt(struct overlay *o, struct ramfile *f)
{
    int r = o->place.ram_pool ? ramfile_enlist(f, overlay_spill, o) : 0;
    if (r < 0)
        return r;
    cow_set_ram(o->blk, f);
    atomic_store(&o->ram, f);
    return 0;
}

static bool wants_ram(const struct overlay *o)
{
    return o->place.has_ram && o->place.ram_pool && !atomic_load(&o->ram) && !atomic_load(&o->is_without_ram) &&
           ram_pool_is_on(o->place.ram_pool);
}

/* Where there is no memory for it, the overlay does without. */
static void make_ram_locked(struct overlay *o)
{
    struct ramfile_place place = overlay_ram_place(&o->place);
    struct ramfile *f = NULL;
    struct err ignored;
    int r = ramfile_make(&place, livemap_stamp(o->map), &f, &ignored);
    if (r == 0 && o->before_ram)
        o->before_ram(o->before_ram_arg);
    if (r == 0 && overlay_ram_adopt(o, f) == 0)
        return;
    atomic_store(&o->is_without_ram, true);
    if (!f)
        return;
    ramfile_close(f);
    (void)ramfile_delete(&place, livemap_stamp(o->map)->overlay_id, &ignored); /* what stays goes with the overlay */
}

/* It had blocks in RAM when its process died, and is kept from now on. Nobody uses it yet. */
static int settle_ram(struct overlay *o, struct ramfile *f, const struct map_stamp *stamp, struct err *err)
{
    _cleanup_free_ void *buf = malloc(MiB);
    int r = buf ? ramfile_enlist(f, overlay_spill, o)
                : -ENOMEM; /* its account; there is nothing for the thread to do yet */
    atomic_store(&o->is_spilling, true);
    for (uint64_t blk = 0, n = 0; r == 0 && ramfile_find(f, blk, MiB / BLOCK_BYTES, &blk, &n); blk += n)
        r = ramfile_move(f, blk, n, o->data_fd, buf);
    ramfile_retire(f);
    atomic_store(&o->is_spilling, false);
    ramfile_close(f);
    if (r < 0)
        return err_sys(err, r, "cannot write the overlay's data '%s'", o->names.data);
    struct ramfile_place place = overlay_ram_place(&o->place);
    return ramfile_delete(&place, stamp->overlay_id, err);
}

int overlay_ram_open(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret, struct err *err)
{
    struct ramfile_place place = overlay_ram_place(&o->place);
    struct ramfile *f;
    int r = ramfile_open(&place, stamp, &f, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (o->is_kept && !o->is_read_only)
        return settle_ram(o, f, stamp, err);
    *ret = f;
    return 0;
}

int overlay_note_use(struct overlay *o)
{
    int r = atomic_load(&o->is_marked) ? 0 : datafile_mark_used(o->data_fd, o->place.dir_fd);
    if (r == 0)
        atomic_store(&o->is_marked, true);
    return r;
}

int overlay_before_change(void *arg)
{
    struct overlay *o = arg;
    if (atomic_load(&o->is_kept) || (atomic_load(&o->is_marked) && !wants_ram(o)))
        return 0;
    LOCK_SCOPE(&o->flush_lock);
    int r = overlay_note_use(o);
    if (r == 0 && !o->is_kept && wants_ram(o))
        make_ram_locked(o);
    return r;
}

int overlay_ram_end(struct overlay *o, struct err *err)
{
    struct ramfile_place place = overlay_ram_place(&o->place);
    int r = o->is_abandoned ? 0 : overlay_ram_drain(o);
    if (r < 0)
        return err_sys(err, r, "cannot write what is in memory to '%s'", o->names.data);
    return ramfile_delete(&place, livemap_stamp(o->map)->overlay_id, err);
}
