/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strict wrapper around the layers: ranges are checked here, so that a layer need not. */
#include "core/blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "core/filemap.h"
#include "core/util.h"

#define MAP_BATCH 32 /* extents asked for at once; more pieces cost another round */

int blk_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    assert(max > 0);
    if (len == 0 || !range_ok(off, len, b->size))
        return -EINVAL;
    int n = b->ops->map(b, off, len, ext, max);
    assert(n != 0 && (n < 0 || (size_t)n <= max));
    return n;
}

/* All of an extent that is in the page cache. A file system that cannot tell is as one that has to wait. */
static int read_file_now(const struct extent *e, char *buf)
{
    struct iovec v = {.iov_base = buf, .iov_len = e->len};
    return preadv2(e->fd, &v, 1, (off_t)e->pos, RWF_NOWAIT) == (ssize_t)e->len ? 0 : -EAGAIN;
}

static int read_extent(const struct extent *e, char *buf, bool may_wait)
{
    if (e->kind == EXT_FILE)
        return may_wait || e->is_memory ? pread_full(e->fd, buf, e->len, e->pos) : read_file_now(e, buf);
    memset(buf, 0, e->len);
    return 0;
}

static int read_range(struct blk *b, void *buf, size_t len, uint64_t off, bool may_wait)
{
    if (!range_ok(off, len, b->size))
        return -EINVAL;
    struct extent ext[MAP_BATCH];
    char *p = buf;
    while (len > 0) {
        int n = blk_map(b, off, len, ext, MAP_BATCH);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++) {
            int r = read_extent(&ext[i], p, may_wait);
            if (!extent_is_current(&ext[i])) /* a move may also make a file shorter, and the error means nothing then */
                break;
            if (r < 0)
                return r;
            p += ext[i].len;
            off += ext[i].len;
            len -= ext[i].len;
        }
    }
    return 0;
}

int blk_read(struct blk *b, void *buf, size_t len, uint64_t off)
{
    return read_range(b, buf, len, off, true);
}

int blk_read_now(struct blk *b, void *buf, size_t len, uint64_t off)
{
    return read_range(b, buf, len, off, false);
}

/* --- gather ------------------------------------------------------------------------------------------------------ */

#define MAPPED_MIN (16 * KiB) /* bytes; less is copied as fast as it is handed on */

static void add_piece(struct gather *g, const void *p, size_t len)
{
    struct iovec *last = &g->iov[g->count];
    if (g->count > 0 && (char *)last->iov_base + last->iov_len == p)
        last->iov_len += len;
    else
        g->iov[++g->count] = (struct iovec){.iov_base = (void *)p, .iov_len = len}; /* nobody writes to it */
}

/* What is in memory of a file that is mapped is handed on as it is; the first time it is copied, and that tells that it is there.
 * -ESTALE: the bytes have moved meanwhile. */
static int gather_extent(struct gather *g, const struct extent *e, char *buf)
{
    struct filemap *map = e->kind == EXT_FILE && e->len >= MAPPED_MIN ? e->map : NULL;
    const void *p = filemap_at(map, e->pos, e->len);
    if (p) {
        g->map = map;
        add_piece(g, p, e->len);
        return 0;
    }
    int r = read_extent(e, buf, false);
    if (!extent_is_current(e))
        return -ESTALE;
    if (r < 0)
        return r;
    filemap_note(map, e->pos, e->len);
    add_piece(g, buf, e->len);
    return 0;
}

int blk_gather(struct blk *b, struct gather *ret, void *buf, size_t len, uint64_t off)
{
    struct extent ext[MAP_BATCH];
    char *p = buf;
    ret->count = 0;
    ret->map = NULL;
    if (!range_ok(off, len, b->size))
        return -EINVAL;
    while (len > 0) {
        int n = blk_map(b, off, len, ext, MAP_BATCH);
        if (n < 0)
            return n;
        if (ret->count + n >= GATHER_MAX) { /* in too many pieces: the rest is copied into one */
            int r = blk_read_now(b, p, len, off);
            if (r == 0)
                add_piece(ret, p, len);
            return r;
        }
        for (int i = 0; i < n; i++) {
            int r = gather_extent(ret, &ext[i], p);
            if (r == -ESTALE)
                break;
            if (r < 0)
                return r;
            p += ext[i].len;
            off += ext[i].len;
            len -= ext[i].len;
        }
    }
    return 0;
}

/* --- changes ----------------------------------------------------------------------------------------------------- */

int blk_write(struct blk *b, const void *buf, size_t len, uint64_t off)
{
    if (!b->ops->write)
        return -EROFS;
    if (!range_ok(off, len, b->size))
        return -ENOSPC;
    return len == 0 ? 0 : b->ops->write(b, buf, len, off);
}

int blk_zero(struct blk *b, uint64_t off, uint64_t len)
{
    if (!b->ops->zero)
        return -EROFS;
    if (!range_ok(off, len, b->size))
        return -ENOSPC;
    return len == 0 ? 0 : b->ops->zero(b, off, len);
}

int blk_flush(struct blk *b)
{
    return b->ops->flush ? b->ops->flush(b) : 0;
}

int64_t blk_seek(struct blk *b, uint64_t off, bool want_data)
{
    struct extent ext[MAP_BATCH];
    const uint64_t start = off;
    while (off < b->size) {
        int n = blk_map(b, off, b->size - off, ext, MAP_BATCH);
        if (n < 0)
            return n;
        for (int i = 0; i < n; off += ext[i].len, i++) {
            if (want_data != (ext[i].kind == EXT_FILE))
                continue;
            /* The rest of a sector in which data ends is not a hole yet. */
            uint64_t found = want_data || off == start ? off : round_up(off, SECTOR_BYTES);
            if (found < off + ext[i].len)
                return (int64_t)found;
        }
        if (!want_data && off >= b->size)
            return (int64_t)b->size;
    }
    return -ENXIO;
}

void blk_destroy(struct blk *b)
{
    if (b)
        b->ops->destroy(b);
}
