/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Base and slice layers; see base.h. They keep no state that changes. */
#include "core/base.h"

#include <assert.h>

#include "core/filemap.h"
#include "core/util.h"

struct base {
    struct blk blk;
    int fd;
    uint64_t data_bytes;
    struct filemap *map; /* NULL = the file is read by its descriptor only */
};

static int base_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    const struct base *base = (struct base *)b;
    if (off >= base->data_bytes) {
        ext[0] = (struct extent){.kind = EXT_ZERO, .len = len};
        return 1;
    }
    size_t data = (size_t)MIN(len, base->data_bytes - off);
    ext[0] = (struct extent){.kind = EXT_FILE, .fd = base->fd, .pos = off, .len = data, .map = base->map};
    if (data == len || max == 1)
        return 1;
    ext[1] = (struct extent){.kind = EXT_ZERO, .len = len - data};
    return 2;
}

static void base_destroy(struct blk *b)
{
    struct base *base = (struct base *)b;
    filemap_destroy(base->map);
    closep(&base->fd);
    free(base);
}

struct blk *base_create(int fd, uint64_t data_bytes, uint64_t size)
{
    static const struct blk_ops ops = {.map = base_map, .destroy = base_destroy};
    assert(data_bytes <= size && size % SECTOR_BYTES == 0);
    struct base *base = calloc(1, sizeof(*base));
    if (!base)
        return NULL;
    *base = (struct base){.blk = {.ops = &ops, .size = size}, .fd = fd, .data_bytes = data_bytes};
    base->map = filemap_create(fd, data_bytes);
    return &base->blk;
}

int base_pin(struct blk *b, uint64_t off, size_t len)
{
    return filemap_pin(((struct base *)b)->map, off, len);
}

void base_unpin(struct blk *b, uint64_t off, size_t len)
{
    filemap_unpin(((struct base *)b)->map, off, len);
}

struct slice {
    struct blk blk;
    struct blk *below;
    uint64_t off;
};

static int slice_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    const struct slice *s = (struct slice *)b;
    return blk_map(s->below, s->off + off, len, ext, max);
}

static void slice_destroy(struct blk *b)
{
    free(b);
}

struct blk *slice_create(struct blk *below, uint64_t off, uint64_t len)
{
    static const struct blk_ops ops = {.map = slice_map, .destroy = slice_destroy};
    assert(range_ok(off, len, below->size));
    struct slice *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    *s = (struct slice){.blk = {.ops = &ops, .size = len}, .below = below, .off = off};
    return &s->blk;
}
