/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of an overlay that is opened or made, and the rule which of its maps counts; see overlay.h. */
#include "core/overlay-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/datafile.h"
#include "core/durable.h"
#include "core/keptmark.h"
#include "core/log.h"
#include "core/mapfile.h"
#include "core/util.h"

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
 * was made, and nothing is lost with it. If its maker was killed, its name is not durable yet. */
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
    if (r >= 0 && info.leaves == 0 && !o->is_read_only && (r = sync_fd(o->place.dir_fd)) < 0)
        (void)err_sys(err, r, "cannot make the overlay's data '%s' durable", o->names.data);
    if (r >= 0 && !o->is_read_only)
        r = durable_load(o->place.dir_fd, o->names.map, stamp, o->place.journal, &o->durable, err);
    return r < 0 ? r : publish_live(o, err);
}

int overlay_make_durable(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    livemap_mark_dirty(o->map);
    return durable_create(o->place.dir_fd, o->names.map, stamp, o->place.journal, &o->durable, err);
}

void overlay_mark_kept(const struct overlay *o)
{
    if (!o->place.has_marks || o->is_read_only)
        return;
    int r = kept_mark_set(o->place.kept_fd, o->stamp.overlay_id);
    if (r < 0)
        log_warn("cannot note in 'kept' that an overlay has files: %s, ignoring", strerror(-r));
}

/* No files, and no live map either. */
static int check_mark(const struct overlay *o, struct err *err)
{
    int r = o->is_kept && o->place.has_marks ? kept_mark_is_set(o->place.kept_fd, o->stamp.overlay_id) : 0;
    if (r < 0)
        return err_sys(err, r, "cannot read the folder 'kept'");
    if (r == 0)
        return 0;
    return err_set(
        err, -EBADMSG,
        "the overlay's files '%s' and '%s' are gone, though it had some; is the disk with the overlays mounted? "
        "Put the files back, from a backup for instance, or drop the overlay with 'diskgate client reset'",
        o->names.map, o->names.data);
}

/* The mark goes last: where it is still there, an earlier process may have ended before its deletion of the map file was durable. */
int overlay_drop_mapfile(const struct overlay *o)
{
    bool was_kept = o->place.has_marks && kept_mark_is_set(o->place.kept_fd, o->stamp.overlay_id) != 0;
    int r = unlinkat(o->place.dir_fd, o->names.map, 0) < 0 ? -errno : 0;
    if (r < 0 && r != -ENOENT)
        return r;
    r = r == 0 || was_kept ? sync_fd(o->place.dir_fd) : 0;
    return r == 0 && was_kept ? kept_mark_clear(o->place.kept_fd, o->stamp.overlay_id) : r;
}

/* The first map file of a kept overlay: nothing is there. */
static int save_empty(struct overlay *o, const struct map_stamp *stamp, struct err *err)
{
    int r = overlay_make_durable(o, stamp, err);
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
    r = o->is_kept ? save_empty(o, stamp, err) : overlay_drop_mapfile(o);
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
    int r = overlay_make_durable(o, stamp, err);
    if (r < 0)
        return r;
    r = durable_flush(o->durable, o->map, o->data_fd);
    return r < 0 ? err_sys(err, r, "cannot bring the overlay's map '%s' up to date", o->names.map) : 0;
}

/* An earlier process was told that a write of the data was lost, and this one would not be told again. */
static int check_loss(const struct overlay *o, struct err *err)
{
    int lost = livemap_loss(o->map);
    if (lost == 0 || !o->is_kept || o->is_read_only)
        return 0;
    return err_set(
        err, -EBADMSG,
        "a write to the overlay's data '%s' was lost (%s), so blocks that the client wrote may be missing; mend "
        "the disk, then drop the overlay with 'diskgate client reset', or, with diskgate-fs down, move "
        "'run/live/%s' away: after that the overlay is as its files say, those of its last confirmed flush "
        "or those of a backup",
        o->names.data, strerror(-lost), o->names.live);
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
    int lost = check_loss(o, err);
    if (lost < 0)
        return lost;
    o->data_fd = datafile_open(o->place.dir_fd, o->names.data, stamp, o->is_read_only, err);
    if (o->data_fd < 0)
        return o->data_fd;
    int r = overlay_ram_open(o, stamp, ret_ram, err);
    if (r < 0 || o->is_read_only)
        return r;
    if (o->is_kept)
        return go_on_kept(o, stamp, found, err);
    if (livemap_changes(o->map) > 0) /* it may have been kept when it was changed */
        r = overlay_note_use(o);
    if (r == 0)
        r = overlay_drop_mapfile(o);
    return r < 0 ? err_sys(err, r, "cannot delete the overlay's map '%s'", o->names.map) : 0;
}

/* No map counts. A data file of this overlay that was changed: its map went with the machine's power. One of another overlay is not
 * ours to replace, invariant (7); a read-only look at a root finds those that were dropped and not deleted yet.
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
    if (is_void && r == 0)
        r = check_mark(o, err);
    return is_void && r == 0 ? make_fresh(o, stamp, err) : r;
}

int overlay_open_files(struct overlay *o, const struct map_stamp *stamp, struct ramfile **ret_ram, char *ret_found,
                       struct err *err)
{
    int r = open_files(o, stamp, ret_ram, ret_found, err);
    if (r == 0 && o->is_kept)
        overlay_mark_kept(o);
    return r;
}
