/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A kept overlay out of a set: its data file and its map file.
 *
 *   chunk of the set            block of it                  in the overlay
 *   inherit                     all                          ABSENT
 *   zeros                       all                          ZERO
 *   data                        as in the version below      ABSENT
 *                               zeros                        ZERO
 *                               else                         PRESENT, in the data file
 *
 * The map file is written after the data is synced, and says what is there; a live map of the next start is made from it.
 */
#include "backup/restore-root-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/blk.h"
#include "core/datafile.h"
#include "core/livemap.h"
#include "core/mapfile.h"
#include "core/util.h"

struct overlay_out {
    struct root_work *w;
    const struct chain *chain;
    struct reader *reader;
    int data_fd, base_fd; /* base_fd -1: the version is not there, so every block is kept */
    struct livemap *map;
    _Atomic uint64_t done, written;
};

/* @len bytes of the version at @off; what lies behind the end of its file is zeros. */
static int read_base(const struct overlay_out *o, unsigned char *buf, size_t len, uint64_t off)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = pread(o->base_fd, buf + have, len - have, (off_t)(off + have));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        have += n > 0 ? (size_t)n : 0;
    }
    memset(buf + have, 0, len - have);
    return 0;
}

static int keep_zero(struct overlay_out *o, uint64_t off, size_t len)
{
    uint64_t blk = off / BLOCK_BYTES, n = (len + BLOCK_BYTES - 1) / BLOCK_BYTES;
    int r = livemap_prepare(o->map, blk, n, BLOCK_ZERO);
    if (r == 0)
        livemap_set_zero(o->map, blk, n);
    return r;
}

static int keep_block(struct overlay_out *o, const unsigned char *bytes, size_t len, uint64_t off)
{
    int r = livemap_prepare(o->map, off / BLOCK_BYTES, 1, BLOCK_PRESENT);
    if (r == 0)
        r = pwrite_full(o->data_fd, bytes, len, off);
    if (r == 0)
        livemap_set_present(o->map, off / BLOCK_BYTES, 1);
    o->written += r == 0 ? len : 0;
    return r;
}

static int keep_chunk(struct overlay_out *o, const unsigned char *buf, size_t len, uint64_t off)
{
    unsigned char base[BLOCK_BYTES];
    int r = 0;
    for (size_t at = 0; r == 0 && at < len; at += BLOCK_BYTES) {
        size_t n = MIN(len - at, (size_t)BLOCK_BYTES);
        if (o->base_fd >= 0) {
            r = read_base(o, base, n, off + at);
            if (r < 0 || memcmp(base, buf + at, n) == 0)
                continue;
        }
        r = is_zero(buf + at, n) ? keep_zero(o, off + at, n) : keep_block(o, buf + at, n, off + at);
    }
    return r;
}

static int restore_piece(void *arg, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    struct overlay_out *o = arg;
    struct chunk_name name;
    uint64_t count, off = n * chain_head(o->chain)->chunk_bytes;
    unsigned depth;
    size_t len = chain_len(o->chain, n);
    enum chain_kind kind = chain_find(o->chain, n, &name, &count, &depth);
    if (depth > 0)
        return 0;
    int r = 0;
    if (kind == CHAIN_DATA) {
        r = chain_read(o->chain, w, n, buf, true, err);
        if (r < 0)
            return r;
        o->done += len;
        r = keep_chunk(o, buf, len, off);
    } else {
        r = keep_zero(o, off, len);
    }
    return r < 0 ? err_sys(err, r, "cannot write an overlay at byte %llu", (unsigned long long)off) : 0;
}

/* --- check ------------------------------------------------------------------------------------------------------- */

static int read_block(const struct overlay_out *o, unsigned char *buf, size_t len, uint64_t off)
{
    enum block_state state;
    (void)livemap_run(o->map, off / BLOCK_BYTES, 1, &state); /* one is asked for, one is told */
    if (state == BLOCK_ZERO || (state == BLOCK_ABSENT && o->base_fd < 0)) {
        memset(buf, 0, len);
        return 0;
    }
    return state == BLOCK_PRESENT ? pread_full(o->data_fd, buf, len, off) : read_base(o, buf, len, off);
}

/* The disk as a client will see it. */
static int check_piece(void *arg, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    struct overlay_out *o = arg;
    struct chunk_name name;
    uint64_t count, off = n * chain_head(o->chain)->chunk_bytes;
    unsigned depth;
    size_t len = chain_len(o->chain, n);
    (void)chain_find(o->chain, n, &name, &count, &depth);
    if (depth > 0) /* the version's own check covers it */
        return 0;
    int r = 0;
    for (size_t at = 0; r == 0 && at < len; at += BLOCK_BYTES)
        r = read_block(o, (unsigned char *)buf + at, MIN(len - at, (size_t)BLOCK_BYTES), off + at);
    if (r < 0)
        return err_sys(err, r, "cannot read an overlay back at byte %llu", (unsigned long long)off);
    return chain_matches(o->chain, o->reader, n, buf, false)
               ? 0
               : err_set(err, -EIO,
                         "an overlay does not hold at byte %llu what was written there: the disk or the "
                         "memory of this machine is broken",
                         (unsigned long long)off);
}

static int run(struct overlay_out *o, struct err *err)
{
    struct crew_job job = {.work = o->w->work,
                           .reader = o->reader,
                           .n = chain_chunks(o->chain),
                           .step = restore_piece,
                           .arg = o,
                           .what = "restoring overlays",
                           .done_bytes = &o->done,
                           .total_bytes = chain_data_bytes(o->chain)};
    int r = crew_run(&job, err);
    job.step = check_piece;
    job.done_bytes = NULL;
    return r < 0 || o->w->p->has_no_check ? r : crew_run(&job, err);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/* Folder ROOT/overlays/DIR. */
static int open_folder(const struct root_work *w, const char *dir, struct err *err)
{
    if (!*dir || *dir == '.' || strchr(dir, '/'))
        return err_set(err, -EBADMSG,
                       "the catalog of the set has an overlay in the folder '%s', which no Diskgate "
                       "writes",
                       dir);
    char path[PATH_MAX + 32];
    (void)snprintf(path, sizeof(path), "%s/overlays", w->root); /* cut where no folder can be */
    _cleanup_close_ int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (parent < 0 || (mkdirat(parent, dir, 0700) < 0 && errno != EEXIST) || fsync(parent) < 0)
        return err_sys(err, -errno, "cannot make '%s/%s'", path, dir);
    int fd = openat(parent, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_sys(err, -errno, "cannot open '%s/%s'", path, dir) : fd;
}

static bool is_empty(const struct livemap *m)
{
    enum block_state state;
    uint64_t blocks = livemap_block_count(m);
    return livemap_run(m, 0, blocks, &state) == blocks && state == BLOCK_ABSENT;
}

/* What was written is durable before the map says that it is there. An overlay without a block has no files, as before its first write. */
static int finish(const struct overlay_out *o, int dir_fd, const char *data, const char *map, struct err *err)
{
    _cleanup_free_ void *buf = NULL;
    size_t len;
    if (is_empty(o->map))
        return unlinkat(dir_fd, data, 0) < 0 ? err_sys(err, -errno, "cannot delete '%s'", data) : 0;
    int r = datafile_mark_used(o->data_fd, dir_fd);
    if (r == 0)
        r = mapfile_encode(o->map, 0, &buf, &len);
    if (r == 0)
        r = mapfile_write(dir_fd, map, buf, len);
    return r < 0 ? err_sys(err, r, "cannot write '%s' of an overlay", map) : 0;
}

static int make_stamp(const struct view_row *view, const struct version_row *v, struct map_stamp *ret, struct err *err)
{
    *ret = (struct map_stamp){.size_bytes = view->size_bytes};
    if (uuid_decode(view->overlay_id, ret->overlay_id) < 0 || strlen(v->identity) > LIVEMAP_IDENTITY_LEN)
        return err_set(err, -EBADMSG, "the catalog of the set has an overlay '%s', which no Diskgate writes",
                       view->overlay_id);
    (void)snprintf(ret->base_identity, sizeof(ret->base_identity), "%s", v->identity); /* fits */
    return 0;
}

/* A map that lives in memory until it becomes the map file. */
static int make_map(const struct map_stamp *stamp, struct livemap **ret, struct err *err)
{
    int fd = memfd_create("overlay map", MFD_CLOEXEC);
    return fd < 0 ? err_sys(err, -errno, "cannot make an overlay's map") : livemap_create(fd, stamp, ret, err);
}

static int write_files(struct overlay_out *o, const struct view_row *view, const struct map_stamp *stamp,
                       struct err *err)
{
    char data[32], map[32];
    _cleanup_close_ int dir_fd = open_folder(o->w, view->overlay_dir, err);
    if (dir_fd < 0)
        return dir_fd;
    (void)snprintf(data, sizeof(data), "%u.data", view->slot); /* fits, as the next */
    (void)snprintf(map, sizeof(map), "%u.map", view->slot);
    if (unlinkat(dir_fd, map, 0) < 0 && errno != ENOENT) /* of an interrupted run */
        return err_sys(err, -errno, "cannot replace '%s'", map);
    o->data_fd = datafile_create(dir_fd, data, stamp, err);
    if (o->data_fd < 0)
        return o->data_fd;
    int r = run(o, err);
    if (r == 0)
        r = finish(o, dir_fd, data, map, err);
    (void)close(o->data_fd); /* synced where it counts */
    return r;
}

int root_restore_overlay(struct root_work *w, const struct view_row *view, size_t i, const struct set_stream *st,
                         struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = NULL;
    const struct version_row *v = &w->versions[i];
    struct overlay_out o = {.w = w, .reader = w->reader, .base_fd = -1};
    struct map_stamp stamp;
    char path[PATH_MAX];
    if (!st->has_backing || strcmp(st->backing.name, v->image) != 0 || st->backing.number != v->number)
        return err_set(err, -EBADMSG,
                       "the overlay of client '%s' slot %u lies over another version in the set than in "
                       "its catalog",
                       view->client, view->slot);
    int r = make_stamp(view, v, &stamp, err);
    if (r == 0)
        r = root_version_path(w, i, path, err);
    if (r == 0)
        r = chain_open(w->reader, &w->set, &st->id, NULL, &c, err);
    if (r == 0 && chain_head(c)->size_bytes != view->size_bytes)
        r = err_set(err, -EBADMSG, "the overlay of client '%s' slot %u has another size in the set than in its catalog",
                    view->client, view->slot);
    if (r == 0)
        r = make_map(&stamp, &o.map, err);
    if (r < 0)
        return r;
    _cleanup_close_ int base_fd = w->is_there[i] ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (w->is_there[i] && base_fd < 0)
        r = err_sys(err, -errno, "cannot open '%s'", path);
    o.chain = c;
    o.base_fd = base_fd;
    if (r == 0)
        r = write_files(&o, view, &stamp, err);
    w->report->counts.written_bytes += o.written;
    livemap_close(o.map);
    return r;
}
