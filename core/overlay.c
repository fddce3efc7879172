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

#include "core/cow.h"
#include "core/lock.h"
#include "core/mapfile.h"
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
    struct lock flush_lock; /* orders checkpoints, protects what follows */
    bool has_mapfile;
    uint64_t saved_changes; /* livemap_changes() that the map file holds */
    uint64_t sequence;
    int failed; /* first error of a sync */
    bool is_abandoned;
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

/* --- checkpoint -------------------------------------------------------------------------------------------------- */

static int checkpoint_locked(struct overlay *o)
{
    uint64_t changes = livemap_changes(o->map);
    bool is_new = !o->has_mapfile || changes != o->saved_changes;
    _cleanup_free_ void *buf = NULL;
    size_t len = 0;
    int r =
        is_new ? mapfile_encode(o->map, o->sequence + 1, &buf, &len) : 0; /* invariant 2: before the data is synced */
    if (r < 0)
        return r;
    if (fdatasync(o->data_fd) < 0)
        return -errno;
    if (!is_new)
        return 0;
    r = mapfile_write(o->place.dir_fd, o->names.map, buf, len);
    if (r < 0)
        return r;
    o->has_mapfile = true;
    o->saved_changes = changes;
    o->sequence++;
    return 0;
}

static int overlay_flush(void *arg)
{
    struct overlay *o = arg;
    if (!atomic_load(&o->is_kept))
        return 0;
    LOCK_SCOPE(&o->flush_lock);
    if (!atomic_load(&o->is_kept)) /* it became volatile while we waited */
        return 0;
    if (o->failed)
        return o->failed;
    if (o->is_abandoned)
        return -ESTALE;
    int r = checkpoint_locked(o);
    if (r < 0 && r != -ENOMEM)
        o->failed = r;
    return r;
}

/* --- open -------------------------------------------------------------------------------------------------------- */

static int check_stamp(const struct map_stamp *found, const struct map_stamp *want, const char *what, char *ret_found,
                       struct err *err)
{
    if (memcmp(found->overlay_id, want->overlay_id, sizeof(want->overlay_id)) != 0) {
        uuid_encode(found->overlay_id, ret_found);
        return err_set(err, -EEXIST, "%s belongs to another overlay (%s)", what, ret_found);
    }
    if (found->size_bytes != want->size_bytes || strcmp(found->base_identity, want->base_identity) != 0)
        return err_set(
            err, -ESTALE,
            "the overlay was made over other image content than this; put the former image file back, or drop the "
            "overlay with 'diskgate client reset'");
    return 0;
}

/* The live map of this boot, or -ENOENT. */
static int open_live(struct overlay *o, const struct map_stamp *stamp, char *ret_found, struct err *err)
{
    _cleanup_close_ int fd =
        openat(o->place.live_fd, o->names.live, (o->is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? -ENOENT : err_sys(err, -errno, "cannot open live map '%s'", o->names.live);
    int r = livemap_open(fd, o->is_read_only, &o->map, err);
    if (r == -ESTALE)
        return -ENOENT;
    if (r < 0)
        return err_prefix(err, r, "'%s'", o->names.live);
    (void)take_fd(&fd);
    return check_stamp(livemap_stamp(o->map), stamp, o->names.live, ret_found, err);
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

static int open_data(struct overlay *o, uint64_t size_bytes, struct err *err)
{
    o->data_fd = openat(o->place.dir_fd, o->names.data, (o->is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (o->data_fd < 0)
        return err_sys(err, -errno, "cannot open the overlay's data '%s'", o->names.data);
    struct stat st;
    if (fstat(o->data_fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the overlay's data '%s'", o->names.data);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size_bytes)
        return err_set(
            err, -EBADMSG,
            "the overlay's data '%s' has %llu bytes where %llu are expected; put the file back from a backup, or drop "
            "the overlay with 'diskgate client reset'",
            o->names.data, (unsigned long long)st.st_size, (unsigned long long)size_bytes);
    return 0;
}

/* A new file and not a truncated one: whoever still has the old one open must not see it change. */
static int make_data(struct overlay *o, uint64_t size_bytes, struct err *err)
{
    if (unlinkat(o->place.dir_fd, o->names.data, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot replace '%s'", o->names.data);
    o->data_fd = openat(o->place.dir_fd, o->names.data, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (o->data_fd < 0)
        return err_sys(err, -errno, "cannot make the overlay's data '%s'", o->names.data);
    if (ftruncate(o->data_fd, (off_t)size_bytes) < 0)
        return err_sys(err, -errno, "cannot make the overlay's data '%s' of %llu bytes", o->names.data,
                       (unsigned long long)size_bytes);
    return 0;
}

/* From the map file: the state of the last flush. -ENOENT where there is none. */
static int open_saved(struct overlay *o, const struct map_stamp *stamp, char *ret_found, struct err *err)
{
    struct mapfile_info info;
    int r = mapfile_info(o->place.dir_fd, o->names.map, &info, err);
    if (r == -ENOENT)
        return r;
    if (r == 0)
        r = check_stamp(&info.stamp, stamp, o->names.map, ret_found, err);
    if (r == 0)
        r = make_live(o, stamp, err);
    if (r == 0)
        r = mapfile_load(o->place.dir_fd, o->names.map, o->map, &info, err);
    if (r < 0)
        return r;
    struct stat st;
    bool no_data = fstatat(o->place.dir_fd, o->names.data, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
    if (no_data && info.leaves == 0 && !o->is_read_only) /* the power went while it was made */
        r = make_data(o, stamp->size_bytes, err);
    else
        r = open_data(o, stamp->size_bytes, err);
    if (r < 0)
        return r;
    o->has_mapfile = true;
    o->sequence = info.sequence;
    o->saved_changes = livemap_changes(o->map);
    return publish_live(o, err);
}

static int sync_fd(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

static int make_fresh(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    if (o->is_read_only)
        return err_set(err, -ENOENT, "there is no overlay yet");
    int r = make_live(o, stamp, err);
    if (r == 0 && o->is_kept) {
        _cleanup_free_ void *buf = NULL;
        size_t len;
        r = mapfile_encode(o->map, 1, &buf, &len);
        if (r == 0)
            r = mapfile_write(o->place.dir_fd, o->names.map, buf, len);
        if (r < 0)
            return err_sys(err, r, "cannot make the overlay's map '%s'", o->names.map);
        o->has_mapfile = true;
        o->sequence = 1;
        o->saved_changes = livemap_changes(o->map);
    }
    if (r == 0)
        r = make_data(o, stamp->size_bytes, err);
    if (r == 0 && o->is_kept) {
        r = sync_fd(o->place.dir_fd);
        if (r < 0)
            return err_sys(err, r, "cannot make the overlay's data '%s' durable", o->names.data);
    }
    return r < 0 ? r : publish_live(o, err);
}

static int open_files(struct overlay *o, const struct map_stamp *stamp, char *ret_found, struct err *err)
{
    int r = open_live(o, stamp, ret_found, err);
    if (r == 0) {
        struct mapfile_info info;
        struct err ignored;
        o->has_mapfile = false; /* the next flush writes one, whatever lies there */
        if (mapfile_info(o->place.dir_fd, o->names.map, &info, &ignored) == 0)
            o->sequence = info.sequence;
        return open_data(o, stamp->size_bytes, err);
    }
    if (r == -ENOENT)
        r = open_saved(o, stamp, ret_found, err);
    if (r == -ENOENT)
        r = make_fresh(o, stamp, err);
    return r;
}

/* A volatile overlay has no map file: one that it had as a kept overlay would bring back an old state after a power cut. */
static int drop_mapfile(struct overlay *o)
{
    LOCK_SCOPE(&o->flush_lock);
    if (o->is_abandoned)
        return -ESTALE;
    o->has_mapfile = false;
    return unlinkat(o->place.dir_fd, o->names.map, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static void release(struct overlay *o)
{
    blk_destroy(o->blk);
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
    o->names = names_of(place, stamp->overlay_id);
    o->data_fd = -1;
    o->is_kept = is_kept;
    o->is_read_only = read_only;
    lock_init(&o->flush_lock, LOCK_FLUSH);
    ret_found[0] = 0;
    int r = open_files(o, stamp, ret_found, err);
    if (r == 0 && !is_kept && !read_only) {
        r = drop_mapfile(o);
        if (r < 0)
            (void)err_sys(err, r, "cannot delete '%s'", o->names.map);
    }
    if (r == 0) {
        o->blk = cow_create(lower, o->data_fd, o->map, (struct cow_flush){overlay_flush, o}, read_only);
        if (!o->blk)
            r = err_sys(err, -ENOMEM, "cannot open the overlay");
    }
    if (r < 0) {
        if (!read_only)
            (void)unlinkat(place->live_fd, o->names.live_new,
                           0); /* there is one only if the opening stopped half-way */
        release(o);
        return r;
    }
    *ret = o;
    return 0;
}

/* --- in use and after -------------------------------------------------------------------------------------------- */

struct blk *overlay_blk(struct overlay *o)
{
    return o->blk;
}

uint64_t overlay_bytes(const struct overlay *o)
{
    struct stat st;
    return fstat(o->data_fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

int overlay_set_kept(struct overlay *o, bool is_kept, struct err *err)
{
    if (o->is_read_only || o->is_kept == is_kept)
        return 0;
    atomic_store(&o->is_kept, is_kept);
    int r = is_kept ? overlay_flush(o) : drop_mapfile(o);
    return r < 0 ? err_sys(err, r, "cannot make the overlay %s", is_kept ? "durable" : "volatile") : 0;
}

void overlay_abandon(struct overlay *o)
{
    LOCK_SCOPE(&o->flush_lock);
    o->is_abandoned = true;
}

int overlay_close(struct overlay *o, struct err *err)
{
    if (!o)
        return 0;
    int r = 0;
    if (o->is_kept && !o->is_read_only && !o->is_abandoned) {
        r = overlay_flush(o);
        if (r < 0)
            (void)err_sys(err, r, "cannot make the overlay's data '%s' durable", o->names.data);
        else
            (void)unlinkat(o->place.live_fd, o->names.live, 0); /* the map file says the same */
    }
    release(o);
    return r;
}

static int unlink_if_there(int dirfd, const char *name, struct err *err)
{
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot delete '%s'", name);
    return 0;
}

/* Whose files are these? Fills @ret_id when a map tells, else false. */
static bool map_owner(const struct overlay_place *place, const struct names *n, unsigned char ret_id[16])
{
    struct mapfile_info info;
    struct err ignored;
    if (mapfile_info(place->dir_fd, n->map, &info, &ignored) < 0)
        return false;
    memcpy(ret_id, info.stamp.overlay_id, 16);
    return true;
}

int overlay_delete(const struct overlay_place *place, const char *id, struct err *err)
{
    unsigned char want[16], found[16];
    if (uuid_decode(id, want) < 0)
        return err_set(err, -EINVAL, "'%s' is no overlay id", id);
    struct names n = names_of(place, want);
    bool is_live = faccessat(place->live_fd, n.live, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    bool is_known = map_owner(place, &n, found);
    bool is_ours = is_known ? memcmp(found, want, sizeof(want)) == 0 : is_live;
    int r = 0;
    if (is_ours)
        r = unlink_if_there(place->dir_fd, n.data, err);
    if (r == 0 && is_ours && is_known)
        r = unlink_if_there(place->dir_fd, n.map, err);
    return r < 0 ? r : unlink_if_there(place->live_fd, n.live, err); /* last: it is what tells whose the data is */
}
