/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An overlay from its opening to its deletion: flush, change of mode, clean end; see overlay.h. */
#include "core/overlay.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/cow.h"
#include "core/datafile.h"
#include "core/durable.h"
#include "core/keptmark.h"
#include "core/mapfile.h"
#include "core/overlay-priv.h"
#include "core/ramfile.h"
#include "core/util.h"

static struct overlay_names names_of(const struct overlay_place *place, const unsigned char id[16])
{
    struct overlay_names n;
    char text[UUID_LEN + 1];
    uuid_encode(id, text);
    (void)snprintf(n.data, sizeof(n.data), "%u.data", place->slot % 1000);
    (void)snprintf(n.map, sizeof(n.map), "%u.map", place->slot % 1000);
    (void)snprintf(n.live, sizeof(n.live), "%s.live", text);
    (void)snprintf(n.live_new, sizeof(n.live_new), ".%s.live.new", text);
    return n;
}

/* --- flush ------------------------------------------------------------------------------------------------------- */

static int overlay_flush(void *arg)
{
    struct overlay *o = arg;
    if (!atomic_load(&o->is_kept))
        return 0;
    LOCK_SCOPE(&o->flush_lock);
    if (!o->durable) /* it became volatile while we waited */
        return 0;
    return atomic_load(&o->is_abandoned) ? -ESTALE : durable_flush(o->durable, o->map, o->data_fd);
}

/* --- change map --------------------------------------------------------------------------------------------------- */

static struct changes_place changes_place(const struct overlay *o)
{
    return (struct changes_place){
        .live_fd = o->place.live_fd, .dir_fd = o->place.dir_fd, .slot = o->place.slot, .stamp = &o->stamp};
}

/* Without one every backup reads all of the overlay, so a failure is none. */
static void track(struct overlay *o)
{
    struct changes_place place = changes_place(o);
    if (o->is_read_only || o->changes || changes_open(&place, o->goes_on, &o->changes) < 0)
        return;
    struct range gate;
    cow_gate_close(o->blk, &gate);
    cow_track(o->blk, o->changes);
    cow_gate_open(o->blk, &gate);
}

static void release(struct overlay *o)
{
    if (o->ram)
        ramfile_retire(o->ram);
    blk_destroy(o->blk);
    ramfile_close(o->ram);
    changes_close(o->changes);
    durable_destroy(o->durable);
    livemap_close(o->map);
    closep(&o->data_fd);
    lock_finish(&o->flush_lock);
    free(o);
}

int overlay_open(const struct overlay_place *place, const struct map_stamp *stamp, bool is_kept, bool read_only,
                 struct blk *lower, struct overlay **ret, char *ret_found, struct err *err)
{
    assert(stamp->size_bytes == lower->size);
    struct overlay *o = calloc(1, sizeof(*o));
    if (!o)
        return err_sys(err, -ENOMEM, "cannot open the overlay");
    o->place = *place;
    o->stamp = *stamp;
    o->names = names_of(place, stamp->overlay_id);
    o->data_fd = -1;
    o->is_kept = is_kept;
    o->is_read_only = read_only;
    lock_init(&o->flush_lock, LOCK_FLUSH);
    ret_found[0] = 0;
    struct ramfile *ram = NULL;
    int r = overlay_open_files(o, stamp, &ram, ret_found, err);
    if (r == 0 && !read_only)
        mapfile_sweep(place->dir_fd, o->names.map);
    if (r == 0) {
        const struct cow_flush flush = {overlay_flush, o, overlay_before_change};
        o->blk = cow_create(lower, o->data_fd, o->map, flush, read_only);
        r = !o->blk ? -ENOMEM : ram ? overlay_ram_adopt(o, ram) : 0;
        if (r < 0)
            (void)err_sys(err, r, "cannot open the overlay");
    }
    if (r == 0 && is_kept)
        track(o);
    if (r < 0) {
        if (!o->ram)
            ramfile_close(ram);
        if (!read_only)
            (void)unlinkat(place->live_fd, o->names.live_new,
                           0); /* there is one only if the opening stopped half-way */
        release(o);
        return r;
    }
    *ret = o;
    return 0;
}

/* --- backup ------------------------------------------------------------------------------------------------------- */

const struct livemap *overlay_map(const struct overlay *o)
{
    return o->map;
}

int overlay_data_fd(const struct overlay *o)
{
    return o->data_fd;
}

void overlay_end_epoch(struct overlay *o, char *ret_id, uint32_t *ret_epoch)
{
    ret_id[0] = 0;
    *ret_epoch = 0;
    if (o->changes)
        changes_end_epoch(o->changes, ret_id, ret_epoch);
}

/* --- in use and after -------------------------------------------------------------------------------------------- */

struct blk *overlay_blk(struct overlay *o)
{
    return o->blk;
}

void overlay_begin(struct overlay *o)
{
    if (!o->is_read_only)
        livemap_begin(o->map);
}

void overlay_on_ram(struct overlay *o, void (*f)(void *arg), void *arg)
{
    o->before_ram = f;
    o->before_ram_arg = arg;
}

bool overlay_has_ram(const struct overlay *o)
{
    return atomic_load(&o->ram) != NULL;
}

bool overlay_is_untouched(const struct overlay *o)
{
    return livemap_changes(o->map) == 0;
}

int overlay_loss(const struct overlay *o)
{
    return livemap_loss(o->map);
}

uint64_t overlay_bytes(const struct overlay *o)
{
    struct stat st;
    uint64_t bytes = fstat(o->data_fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
    return bytes - MIN(bytes, DATAFILE_TAIL_BYTES) + overlay_ram_bytes(o);
}

uint64_t overlay_ram_bytes(const struct overlay *o)
{
    const struct ramfile *ram = atomic_load(&o->ram);
    return ram ? ramfile_bytes(ram) : 0;
}

static int become_kept_locked(struct overlay *o, struct err *err)
{
    int r = o->ram ? overlay_ram_drain(o) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot write what is in memory to '%s'", o->names.data);
    r = overlay_make_durable(o, livemap_stamp(o->map), err);
    if (r < 0)
        return r;
    r = durable_flush(o->durable, o->map, o->data_fd);
    if (r < 0) {
        durable_destroy(take_ptr(o->durable));
        return err_sys(err, r, "cannot make the overlay durable");
    }
    atomic_store(&o->is_kept, true);
    overlay_mark_kept(o);
    o->goes_on = false;
    track(o);
    return 0;
}

static int become_volatile_locked(struct overlay *o, struct err *err)
{
    int r = livemap_changes(o->map) > 0 && !o->is_marked ? datafile_mark_used(o->data_fd, o->place.dir_fd) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot note the end of the overlay's map '%s'", o->names.map);
    r = overlay_drop_mapfile(o);
    if (r < 0)
        return err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map);
    atomic_store(&o->is_kept, false);
    if (o->ram)
        ramfile_freeze(o->ram, false);
    durable_abandon(o->durable); /* the journal's thread may have written it anew by now */
    r = overlay_drop_mapfile(o);
    durable_destroy(take_ptr(o->durable));
    return r < 0 ? err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map) : 0;
}

int overlay_set_kept(struct overlay *o, bool is_kept, struct err *err)
{
    if (o->is_read_only || o->is_kept == is_kept)
        return 0;
    LOCK_SCOPE(&o->flush_lock);
    if (o->is_abandoned)
        return err_set(err, -ESTALE, "the overlay was dropped");
    return is_kept ? become_kept_locked(o, err) : become_volatile_locked(o, err);
}

/* Takes no flush lock: a flush may be waiting for room on a full disk, and this must not. */
void overlay_abandon(struct overlay *o)
{
    atomic_store(&o->is_abandoned, true);
    if (!o->is_read_only)
        livemap_end(o->map);
    if (o->durable)
        durable_abandon(o->durable);
}

/* Bring the map file up to date, so that the journal and the live map are not needed any more. */
static int end_kept(struct overlay *o)
{
    int r = overlay_flush(o);
    if (r == 0)
        r = durable_save(o->durable);
    if (r == 0) {
        livemap_end(o->map);
        (void)unlinkat(o->place.live_fd, o->names.live, 0); /* the map file says the same */
    }
    if (r == 0 && o->changes)
        (void)changes_save(o->changes); /* else the next backup reads everything */
    return r;
}

int overlay_close(struct overlay *o, struct err *err)
{
    if (!o)
        return 0;
    int r = 0;
    if (o->durable && !o->is_abandoned) {
        r = end_kept(o);
        if (r < 0)
            (void)err_sys(err, r, "cannot make the overlay's data '%s' durable", o->names.data);
    }
    if (r == 0 && o->ram && !o->is_read_only)
        r = overlay_ram_end(o, err);
    release(o);
    return r;
}

static int unlink_if_there(int dirfd, const char *name, struct err *err)
{
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot delete '%s'", name);
    return 0;
}

void overlay_disown(int live_fd, const char *id)
{
    const struct overlay_place nowhere = {0};
    unsigned char bytes[16];
    if (uuid_decode(id, bytes) < 0)
        return;
    struct overlay_names n = names_of(&nowhere, bytes);
    (void)livemap_end_file(live_fd, n.live); /* where there is none, nobody has it */
}

static bool map_owner(const struct overlay_place *place, const struct overlay_names *n, unsigned char ret_id[16])
{
    struct mapfile_info info;
    struct err ignored;
    if (mapfile_info(place->dir_fd, n->map, &info, &ignored) < 0)
        return false;
    memcpy(ret_id, info.stamp.overlay_id, 16);
    return true;
}

static void delete_changes(const struct overlay_place *place, const unsigned char id[16])
{
    struct map_stamp stamp = {0};
    memcpy(stamp.overlay_id, id, sizeof(stamp.overlay_id));
    changes_delete(&(struct changes_place){
        .live_fd = place->live_fd, .dir_fd = place->dir_fd, .slot = place->slot, .stamp = &stamp});
}

static int forget_mark(const struct overlay_place *place, const unsigned char id[16], struct err *err)
{
    int r = place->has_marks ? kept_mark_clear(place->kept_fd, id) : 0;
    return r < 0 ? err_sys(err, r, "cannot delete a mark in the folder 'kept'") : 0;
}

int overlay_delete(const struct overlay_place *place, const char *id, struct err *err)
{
    unsigned char want[16], owner[16];
    if (uuid_decode(id, want) < 0)
        return err_set(err, -EINVAL, "'%s' is no overlay id", id);
    struct overlay_names n = names_of(place, want);
    delete_changes(place, want);
    bool has_map = map_owner(place, &n, owner), map_is_ours = has_map && memcmp(owner, want, sizeof(want)) == 0;
    bool has_data = datafile_owner(place->dir_fd, n.data, owner);
    bool data_is_ours = has_data ? memcmp(owner, want, sizeof(want)) == 0 : map_is_ours;
    if (map_is_ours || data_is_ours) /* else another may be writing its map file at this moment */
        mapfile_sweep(place->dir_fd, n.map);
    int r = 0;
    if (map_is_ours || (!has_map && data_is_ours)) /* the data's owner speaks for a damaged map */
        r = unlink_if_there(place->dir_fd, n.map, err);
    if (r == 0 && data_is_ours)
        r = unlink_if_there(place->dir_fd, n.data, err);
    if (r == 0)
        r = unlink_if_there(place->live_fd, n.live_new, err);
    struct ramfile_place ram = overlay_ram_place(place);
    if (r == 0)
        r = ramfile_delete(&ram, want, err);
    overlay_disown(place->live_fd, id);
    if (r == 0)
        r = unlink_if_there(place->live_fd, n.live, err);
    return r < 0 ? r : forget_mark(place, want, err);
}
