/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of an overlay and the rule which of its maps counts; see overlay.h. */
#include "core/overlay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "core/changes.h"
#include "core/cow.h"
#include "core/datafile.h"
#include "core/durable.h"
#include "core/lock.h"
#include "core/mapfile.h"
#include "core/ramfile.h"
#include "core/util.h"

struct names {
    char data[16], map[16], live[UUID_LEN + 8], live_new[UUID_LEN + 16];
};

struct overlay {
    struct overlay_place place;
    struct names names;
    int data_fd;
    struct livemap *map;
    struct blk *blk;
    _Atomic bool is_kept;
    bool is_read_only;
    bool goes_on; /* with the live map of this boot */
    struct map_stamp stamp;
    struct changes *changes; /* of kept overlays, NULL where there is none */
    _Atomic bool is_abandoned;
    _Atomic bool is_marked;      /* the data file says that it was changed */
    struct lock flush_lock;      /* orders flushes and marks, protects `durable` against a change of mode */
    struct durable *durable;     /* of kept overlays only */
    struct ramfile *_Atomic ram; /* made by the first change of a volatile overlay */
    _Atomic bool is_without_ram; /* none could be made */
    _Atomic bool is_spilling;    /* one thread at a time */
};

static struct names names_of(const struct overlay_place *place, const unsigned char id[16])
{
    struct names n;
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

/* --- RAM --------------------------------------------------------------------------------------------------------- */

static struct ramfile_place ram_place(const struct overlay_place *place)
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

/* All of it to the data file, and nothing new into RAM. On failure it may take new blocks again. */
static int drain_ram(struct overlay *o)
{
    int64_t n;
    ramfile_freeze(o->ram, true);
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

/* The overlay has @f from now on. */
static int adopt_ram(struct overlay *o, struct ramfile *f)
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
    struct ramfile_place place = ram_place(&o->place);
    struct ramfile *f = NULL;
    struct err ignored;
    if (ramfile_make(&place, livemap_stamp(o->map), &f, &ignored) == 0 && adopt_ram(o, f) == 0)
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
    struct ramfile_place place = ram_place(&o->place);
    return ramfile_delete(&place, stamp->overlay_id, err);
}

/* What the last process left in RAM. */
static int open_ram(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret, struct err *err)
{
    struct ramfile_place place = ram_place(&o->place);
    struct ramfile *f;
    int r = ramfile_open(&place, stamp, &f, err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (o->is_kept && !o->is_read_only)
        return settle_ram(o, f, stamp, err);
    *ret = f;
    return 0;
}

/* A volatile overlay says on disk that it is in use before its first change is answered: after a power cut nothing else is left of it, and a
 * fresh one must not take its place under a client that runs on. One sync in its life. */
static int note_use(struct overlay *o)
{
    int r = atomic_load(&o->is_marked) ? 0 : datafile_mark_used(o->data_fd, o->place.dir_fd);
    if (r == 0)
        atomic_store(&o->is_marked, true);
    return r;
}

/* Before each change of the disk. */
static int overlay_change(void *arg)
{
    struct overlay *o = arg;
    if (atomic_load(&o->is_kept) || (atomic_load(&o->is_marked) && !wants_ram(o)))
        return 0;
    LOCK_SCOPE(&o->flush_lock);
    int r = note_use(o);
    if (r == 0 && !o->is_kept && wants_ram(o))
        make_ram_locked(o);
    return r;
}

/* --- open -------------------------------------------------------------------------------------------------------- */

static int refuse_owner(const unsigned char id[16], const char *what, char *ret_found, struct err *err)
{
    uuid_encode(id, ret_found);
    return err_set(err, -EEXIST, "'%s' belongs to another overlay (%s)", what, ret_found);
}

static int refuse_live(const unsigned char id[16], const char *name, char *ret_found, struct err *err)
{
    char path[sizeof("run/live/") + UUID_LEN + 8];
    (void)snprintf(path, sizeof(path), "run/live/%s", name); /* fits */
    return refuse_owner(id, path, ret_found, err);
}

static int check_base(const struct map_stamp *found, const struct map_stamp *want, struct err *err)
{
    if (found->size_bytes != want->size_bytes || strcmp(found->base_identity, want->base_identity) != 0)
        return err_set(
            err, -ESTALE,
            "the overlay was made over other image content than this; put the former image file back, or drop the "
            "overlay with 'diskgate client reset'");
    return 0;
}

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

static int add_way_out(int code, struct err *err)
{
    if (!err)
        return code;
    struct err what = *err;
    return err_set(
        err, code,
        "%.700s; put the file back from a backup, or drop the overlay with 'diskgate client reset' (and delete the "
        "file, should that not be enough)",
        what.msg);
}

/* The live map of this boot, or -ENOENT. */
static int open_live(struct overlay *o, const struct map_stamp *stamp, char *ret_found, struct err *err)
{
    _cleanup_close_ int fd =
        openat(o->place.live_fd, o->names.live, (o->is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : err_sys(err, -errno, "cannot open live map 'run/live/%s'", o->names.live);
    int r = livemap_open(fd, o->is_read_only, &o->map, err);
    if (r == -ESTALE)
        return -ENOENT;
    if (r < 0)
        return add_way_out(err_prefix(err, r, "'run/live/%s'", o->names.live), err);
    (void)take_fd(&fd);
    const struct map_stamp *found = livemap_stamp(o->map);
    if (memcmp(found->overlay_id, stamp->overlay_id, sizeof(found->overlay_id)) != 0)
        return refuse_live(found->overlay_id, o->names.live, ret_found, err);
    return check_base(found, stamp, err);
}

/* A map of its own for this process only, for a look at a kept overlay that is not in use. */
static int memory_file(void)
{
    int fd = memfd_create("diskgate-map", MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int make_live_file(const struct overlay *o)
{
    if (o->is_read_only)
        return memory_file();
    int fd = openat(o->place.live_fd, o->names.live_new, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

/* An empty live map, not under its name yet. */
static int make_live(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    _cleanup_close_ int fd = make_live_file(o);
    if (fd < 0)
        return err_sys(err, fd, "cannot make live map '%s'", o->names.live);
    int r = livemap_create(fd, stamp, &o->map, err);
    if (r == 0)
        (void)take_fd(&fd);
    return r;
}

static int publish_live(const struct overlay *o, struct err *err)
{
    if (o->is_read_only)
        return 0;
    if (renameat(o->place.live_fd, o->names.live_new, o->place.live_fd, o->names.live) < 0)
        return err_sys(err, -errno, "cannot make live map '%s'", o->names.live);
    return 0;
}

/* What does the place's map file say? 0 when there is one that belongs to this overlay, -ENOENT when there is none.
 * A damaged map file is taken for this overlay's if the data file is; the answer is -EBADMSG then. */
static int look_at_mapfile(const struct overlay *o, const struct map_stamp *stamp, struct mapfile_info *ret,
                           char *ret_found, struct err *err)
{
    unsigned char owner[16];
    int r = mapfile_info(o->place.dir_fd, o->names.map, ret, err);
    if (r == 0)
        memcpy(owner, ret->stamp.overlay_id, sizeof(owner));
    else if (r != -EBADMSG || !datafile_owner(o->place.dir_fd, o->names.data, owner))
        return r;
    return memcmp(owner, stamp->overlay_id, sizeof(owner)) == 0 ? r : refuse_owner(owner, o->names.map, ret_found, err);
}

/* The data of a kept overlay whose map says that no block is in it. It may be missing or half-made: the machine stopped while it
 * was made, and nothing is lost with it. */
static int open_empty_data(const struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    int fd = datafile_open(o->place.dir_fd, o->names.data, stamp, o->is_read_only, err);
    if (fd != -EBADMSG)
        return fd;
    if (o->is_read_only)
        return err_set(err, -ENOENT, "there is no overlay yet");
    return datafile_create(o->place.dir_fd, o->names.data, stamp, err);
}

/* The live map of a look at an overlay that is not in use, or the one to go on with. */
static int load_live(const struct overlay *o, struct mapfile_info *ret, struct err *err)
{
    int r = mapfile_load(o->place.dir_fd, o->names.map, o->map, ret, err);
    return r == -EBADMSG || r == -EOPNOTSUPP ? add_way_out(r, err) : r;
}

/* From the map file: the state of the last flush; what the journal had was brought into it before. */
static int open_saved(struct overlay *o, const struct map_stamp *stamp, const struct mapfile_info *found,
                      struct err *err)
{
    struct mapfile_info info;
    int r = check_base(&found->stamp, stamp, err);
    if (r == 0)
        r = make_live(o, stamp, err);
    if (r == 0)
        r = load_live(o, &info, err);
    if (r == 0)
        r = o->data_fd = info.leaves == 0 ? open_empty_data(o, stamp, err)
                                          : datafile_open(o->place.dir_fd, o->names.data, stamp, o->is_read_only, err);
    if (r >= 0 && !o->is_read_only)
        r = durable_load(o->place.dir_fd, o->names.map, stamp, o->place.journal, &o->durable, err);
    return r < 0 ? r : publish_live(o, err);
}

/* Nothing is durable yet, and all that the live map says is to be. */
static int make_durable(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    livemap_mark_dirty(o->map);
    return durable_create(o->place.dir_fd, o->names.map, stamp, o->place.journal, &o->durable, err);
}

/* A volatile overlay has no map file: one that it had as a kept overlay would bring back an old state after a power cut. */
static int drop_mapfile(const struct overlay *o)
{
    if (unlinkat(o->place.dir_fd, o->names.map, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_fd(o->place.dir_fd);
}

/* The first map file of a kept overlay: nothing is there. */
static int save_empty(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    int r = make_durable(o, stamp, err);
    if (r < 0)
        return r;
    r = durable_save(o->durable);
    return r < 0 ? err_sys(err, r, "cannot make the overlay's map '%s'", o->names.map) : 0;
}

/* A crash may leave any first part of these steps behind; each opening that follows takes them from the beginning, because the
 * live map has no name yet and the map file counts no block. */
static int make_fresh(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    if (o->is_read_only)
        return err_set(err, -ENOENT, "there is no overlay yet");
    int r = make_live(o, stamp, err);
    if (r < 0)
        return r;
    r = o->is_kept ? save_empty(o, stamp, err) : drop_mapfile(o);
    if (r < 0)
        return o->is_kept ? r : err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map);
    r = o->data_fd = datafile_create(o->place.dir_fd, o->names.data, stamp, err);
    if (r < 0)
        return r;
    r = o->is_kept ? sync_fd(o->place.dir_fd) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot make the overlay's data '%s' durable", o->names.data);
    return publish_live(o, err);
}

/* What is durable of a kept overlay that goes on with its live map; @found is what look_at_mapfile() said. A map file that is missing (it
 * was volatile so far) or damaged is made anew, from the live map. */
static int go_on_kept(struct overlay *o, const struct map_stamp *stamp, int found, struct err *err)
{
    if (found == 0)
        found = durable_load(o->place.dir_fd, o->names.map, stamp, o->place.journal, &o->durable, err);
    if (found == 0)
        return 0;
    if (found == -EOPNOTSUPP)
        return add_way_out(found, err);
    if (found != -ENOENT && found != -EBADMSG)
        return found;
    int r = make_durable(o, stamp, err);
    if (r < 0)
        return r;
    r = durable_flush(o->durable, o->map, o->data_fd);
    return r < 0 ? err_sys(err, r, "cannot bring the overlay's map '%s' up to date", o->names.map) : 0;
}

/* The live map of this boot is open: nothing that a map file says is newer, but the place must still be ours. */
static int go_on_live(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret_ram, char *ret_found,
                      struct err *err)
{
    struct mapfile_info info = {0};
    o->goes_on = true;
    int found = look_at_mapfile(o, stamp, &info, ret_found, err);
    if (found == -EEXIST)
        return found;
    o->data_fd = datafile_open(o->place.dir_fd, o->names.data, stamp, o->is_read_only, err);
    if (o->data_fd < 0)
        return o->data_fd;
    int r = open_ram(o, stamp, ret_ram, err);
    if (r < 0 || o->is_read_only)
        return r;
    if (o->is_kept)
        return go_on_kept(o, stamp, found, err);
    if (livemap_changes(o->map) > 0) /* it may have been kept when it was changed */
        r = note_use(o);
    if (r == 0)
        r = drop_mapfile(o);
    return r < 0 ? err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map) : 0;
}

/* No map counts. A data file of this overlay that was changed: its map went with the machine's power. One of another overlay is not
 * ours to replace, invariant (6); a read-only look at a root finds those that were dropped and not deleted yet.
 * @has_blocks: a map file says so that no longer counts; zeros alone leave no trace in the data file. */
static int check_lost(const struct overlay *o, const struct map_stamp *stamp, bool has_blocks, char *ret_found,
                      struct err *err)
{
    unsigned char owner[16];
    if (!datafile_owner(o->place.dir_fd, o->names.data, owner))
        return 0;
    if (memcmp(owner, stamp->overlay_id, sizeof(owner)) != 0)
        return o->is_read_only ? 0 : refuse_owner(owner, o->names.data, ret_found, err);
    if (!has_blocks && !datafile_is_used(o->place.dir_fd, o->names.data))
        return 0;
    if (o->is_kept) /* damage, and no affair of the next boot: what was flushed may come back from a backup */
        return add_way_out(err_set(err, -EBADMSG,
                                   "the overlay's map '%s' is missing (or the disk was volatile still when the "
                                   "server's power went)",
                                   o->names.map),
                           err);
    return err_set(err, -EOWNERDEAD,
                   "what the client had written was lost with the server's power; its disk stays closed until the "
                   "client's next boot, or until 'diskgate client reset'");
}

static int open_files(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret_ram, char *ret_found,
                      struct err *err)
{
    int r = open_live(o, stamp, ret_found, err);
    if (r == 0)
        return go_on_live(o, stamp, ret_ram, ret_found, err);
    if (r != -ENOENT)
        return r;
    struct mapfile_info info;
    r = look_at_mapfile(o, stamp, &info, ret_found, err);
    if (r == -EBADMSG || r == -EOPNOTSUPP)
        return add_way_out(r, err);
    if (r == 0 && o->is_kept)
        return open_saved(o, stamp, &info, err);
    bool is_void = r == -ENOENT || r == 0; /* of a volatile overlay no map file counts */
    if (is_void)
        r = check_lost(o, stamp, r == 0 && info.leaves > 0, ret_found, err);
    return is_void && r == 0 ? make_fresh(o, stamp, err) : r;
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
    int r = open_files(o, stamp, &ram, ret_found, err);
    if (r == 0 && !read_only)
        mapfile_sweep(place->dir_fd, o->names.map);
    if (r == 0) {
        o->blk = cow_create(lower, o->data_fd, o->map, (struct cow_flush){overlay_flush, o, overlay_change}, read_only);
        r = !o->blk ? -ENOMEM : ram ? adopt_ram(o, ram) : 0;
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

bool overlay_is_untouched(const struct overlay *o)
{
    return livemap_changes(o->map) == 0;
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
    int r = o->ram ? drain_ram(o) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot write what is in memory to '%s'", o->names.data);
    r = make_durable(o, livemap_stamp(o->map), err);
    if (r < 0)
        return r;
    r = durable_flush(o->durable, o->map, o->data_fd);
    if (r < 0) {
        durable_destroy(take_ptr(o->durable));
        return err_sys(err, r, "cannot make the overlay durable");
    }
    atomic_store(&o->is_kept, true);
    o->goes_on = false;
    track(o);
    return 0;
}

static int become_volatile_locked(struct overlay *o, struct err *err)
{
    int r = livemap_changes(o->map) > 0 && !o->is_marked ? datafile_mark_used(o->data_fd, o->place.dir_fd) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot note the end of the overlay's map '%s'", o->names.map);
    r = drop_mapfile(o);
    if (r < 0)
        return err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map);
    atomic_store(&o->is_kept, false);
    if (o->ram)
        ramfile_freeze(o->ram, false);
    durable_abandon(o->durable); /* the journal's thread may have written it anew by now */
    r = drop_mapfile(o);
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
    if (o->durable)
        durable_abandon(o->durable);
}

/* Bring the map file up to date, so that the journal and the live map are not needed any more. */
static int end_kept(struct overlay *o)
{
    int r = overlay_flush(o);
    if (r == 0)
        r = durable_save(o->durable);
    if (r == 0)
        (void)unlinkat(o->place.live_fd, o->names.live, 0); /* the map file says the same */
    if (r == 0 && o->changes)
        (void)changes_save(o->changes); /* else the next backup reads everything */
    return r;
}

/* What is in memory goes to disk, and the memory is free: it is not for a root that is down. What cannot be written stays. */
static int end_ram(struct overlay *o, struct err *err)
{
    struct ramfile_place place = ram_place(&o->place);
    int r = o->is_abandoned ? 0 : drain_ram(o);
    if (r < 0)
        return err_sys(err, r, "cannot write what is in memory to '%s'", o->names.data);
    return ramfile_delete(&place, livemap_stamp(o->map)->overlay_id, err);
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
        r = end_ram(o, err);
    release(o);
    return r;
}

static int unlink_if_there(int dirfd, const char *name, struct err *err)
{
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot delete '%s'", name);
    return 0;
}

static bool map_owner(const struct overlay_place *place, const struct names *n, unsigned char ret_id[16])
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

int overlay_delete(const struct overlay_place *place, const char *id, struct err *err)
{
    unsigned char want[16], owner[16];
    if (uuid_decode(id, want) < 0)
        return err_set(err, -EINVAL, "'%s' is no overlay id", id);
    struct names n = names_of(place, want);
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
    struct ramfile_place ram = ram_place(place);
    if (r == 0)
        r = ramfile_delete(&ram, want, err);
    return r < 0 ? r : unlink_if_there(place->live_fd, n.live, err);
}
