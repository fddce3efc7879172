/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading of a frozen overlay; see frozen.h for why what is read is what was there. */
#include "core/frozen.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/blk.h"
#include "core/datafile.h"
#include "core/util.h"

struct frozen {
    int holder_fd, data_fd, side_fd;
    uint64_t size;
    struct livemap *own_map, *saved;
    const struct livemap *map;
    struct overlay *overlay; /* that nobody serves; owns map and data then */
};

/* --- holder ------------------------------------------------------------------------------------------------------ */

int frozen_hold(int dir_fd, const char *id, struct err *err)
{
    char name[FREEZE_NAME_LEN + 1];
    freeze_holder_name(id, name);
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make 'run/frozen/%s'", name);
    if (fchmod(fd, 0644) < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = -errno;
        (void)unlinkat(dir_fd, name, 0); /* the next start of diskgate-fs would do it */
        return err_sys(err, r, "cannot lock 'run/frozen/%s'", name);
    }
    return take_fd(&fd);
}

int frozen_check(int holder_fd)
{
    struct stat st;
    atomic_thread_fence(memory_order_seq_cst); /* what was read before is not read after */
    if (fstat(holder_fd, &st) < 0)
        return -errno;
    return st.st_nlink > 0 ? 0 : -ESTALE;
}

/* --- open -------------------------------------------------------------------------------------------------------- */

static int open_file(int dir_fd, const char *id, const struct map_stamp *stamp, const char *suffix, struct err *err)
{
    char overlay[UUID_LEN + 1], name[FREEZE_NAME_LEN + 1];
    struct stat st;
    uuid_encode(stamp->overlay_id, overlay);
    (void)snprintf(name, sizeof(name), "%.*s-%s.%s", UUID_LEN, id, overlay, suffix); /* fits */
    _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, -ESTALE, "the frozen disk went away before it was read");
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot open 'run/frozen/%s'", name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EBADMSG, "'run/frozen/%s' is no regular file", name);
    return take_fd(&fd);
}

static int open_map(int dir_fd, const char *id, const struct map_stamp *stamp, const char *suffix, struct livemap **ret,
                    struct err *err)
{
    _cleanup_close_ int fd = open_file(dir_fd, id, stamp, suffix, err);
    if (fd < 0)
        return fd;
    int r = livemap_open(fd, true, ret, err);
    if (r < 0)
        return r;
    (void)take_fd(&fd);
    const struct map_stamp *found = livemap_stamp(*ret);
    if (memcmp(found->overlay_id, stamp->overlay_id, 16) != 0 || found->size_bytes != stamp->size_bytes ||
        strcmp(found->base_identity, stamp->base_identity) != 0)
        return err_set(err, -ESTALE, "the frozen map is of another overlay");
    return 0;
}

static int open_files(struct frozen *f, int dir_fd, const char *id, int overlay_dir_fd, unsigned slot,
                      const struct map_stamp *stamp, struct err *err)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "%u.data", slot % 1000); /* fits */
    int r = open_map(dir_fd, id, stamp, "map", &f->own_map, err);
    if (r == 0)
        r = open_map(dir_fd, id, stamp, "saved", &f->saved, err);
    if (r == 0)
        r = f->side_fd = open_file(dir_fd, id, stamp, "side", err);
    if (r >= 0)
        r = f->data_fd = datafile_open(overlay_dir_fd, name, stamp, true, err);
    f->map = f->own_map;
    return MIN(r, 0);
}

int frozen_open(int dir_fd, const char *id, int holder_fd, int overlay_dir_fd, unsigned slot,
                const struct map_stamp *stamp, struct frozen **ret, struct err *err)
{
    struct frozen *f = calloc(1, sizeof(*f));
    if (!f)
        return err_sys(err, -ENOMEM, "cannot read the frozen overlay");
    f->holder_fd = holder_fd;
    f->data_fd = f->side_fd = -1;
    f->size = stamp->size_bytes;
    int r = open_files(f, dir_fd, id, overlay_dir_fd, slot, stamp, err);
    if (r < 0) {
        frozen_close(f);
        return r;
    }
    *ret = f;
    return 0;
}

struct frozen *frozen_of(struct overlay *overlay, int holder_fd)
{
    struct frozen *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    *f = (struct frozen){.holder_fd = holder_fd,
                         .data_fd = overlay_data_fd(overlay),
                         .side_fd = -1,
                         .map = overlay_map(overlay),
                         .size = livemap_stamp(overlay_map(overlay))->size_bytes,
                         .overlay = overlay};
    return f;
}

void frozen_close(struct frozen *f)
{
    if (!f)
        return;
    livemap_close(f->own_map);
    livemap_close(f->saved);
    closep(&f->side_fd);
    if (!f->overlay)
        closep(&f->data_fd);
    (void)overlay_close(f->overlay, NULL); /* read-only: nothing can fail */
    free(f);
}

/* --- read -------------------------------------------------------------------------------------------------------- */

uint64_t frozen_run(const struct frozen *f, uint64_t blk, uint64_t max, enum block_state *ret)
{
    return livemap_run(f->map, blk, max, ret);
}

/* Replace in @buf what was overwritten since. */
static int read_saved(const struct frozen *f, char *buf, uint64_t len, uint64_t off)
{
    uint64_t blk = off >> BLOCK_SHIFT, end = (off + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
    while (blk < end) {
        enum block_state saved;
        uint64_t run = livemap_run(f->saved, blk, end - blk, &saved);
        uint64_t from = MAX(blk << BLOCK_SHIFT, off), to = MIN((blk + run) << BLOCK_SHIFT, off + len);
        int r = saved == BLOCK_PRESENT ? pread_full(f->side_fd, buf + (from - off), (size_t)(to - from), from) : 0;
        if (r < 0)
            return r;
        blk += run;
    }
    return 0;
}

int frozen_read(const struct frozen *f, void *buf, size_t len, uint64_t off)
{
    if (!range_ok(off, len, f->size))
        return -EINVAL;
    int r = pread_full(f->data_fd, buf, len, off);
    atomic_thread_fence(memory_order_seq_cst); /* the bytes before the bits */
    if (r == 0 && f->saved && len > 0)
        r = read_saved(f, buf, len, off);
    int valid = frozen_check(f->holder_fd); /* last of all; and where it is void, no error of a read counts */
    return valid < 0 ? valid : r;
}
