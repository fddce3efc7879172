/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of differencing VHDs; see vhd-chain.h. */
#include "core/vhd-chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "core/vhd-layer.h"

struct vhd_chain {
    size_t n;
    struct vhd_layer *layers[VHD_CHAIN_MAX];
};

/* --- the chain ---------------------------------------------------------------------------------------------------- */

static int no_parent(const struct vhd_layer *child, struct err *err)
{
    return err_set(
        err, -ENOENT,
        "'%s' is only the changes over another disk, '%.300s', and that was not found by its id: put it into "
        "the same folder, or name it with --parent FILE",
        child->path, child->link.n_names ? child->link.names[0] : "without a name");
}

static bool is_in_chain(const struct vhd_chain *c, const unsigned char *id)
{
    for (size_t i = 0; i < c->n; i++)
        if (memcmp(c->layers[i]->link.id, id, 16) == 0)
            return true;
    return false;
}

/* The parent of the last layer among @paths. */
static int add_parent(struct vhd_chain *c, const char *const *paths, size_t n, struct err *err)
{
    const struct vhd_layer *child = c->layers[c->n - 1];
    if (c->n == VHD_CHAIN_MAX || is_in_chain(c, child->link.parent_id))
        return vhd_layer_damaged(child, "its chain of parents has no end", err);
    for (size_t i = 1; i < n; i++) {
        struct vhd_link link;
        _cleanup_close_ int fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || vhd_link_read(fd, paths[i], &link, NULL) < 0 || memcmp(link.id, child->link.parent_id, 16) != 0)
            continue;
        int r = vhd_layer_open(paths[i], &c->layers[c->n], err);
        c->n += r == 0;
        return r;
    }
    return no_parent(child, err);
}

int vhd_chain_open(const char *const *paths, size_t n, struct vhd_chain **ret, struct err *err)
{
    _cleanup_(vhd_chain_closep) struct vhd_chain *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, -ENOMEM, "memory is out");
    int r = vhd_layer_open(paths[0], &c->layers[0], err);
    if (r == -ENODATA)
        return err_set(err, -EINVAL, "'%s' is no VHD", paths[0]);
    c->n = r == 0;
    while (r == 0 && c->layers[c->n - 1]->link.is_differencing)
        r = add_parent(c, paths, n, err);
    if (r == 0)
        *ret = take_ptr(c);
    return r;
}

void vhd_chain_close(struct vhd_chain *c)
{
    for (size_t i = 0; c && i < c->n; i++)
        vhd_layer_close(c->layers[i]);
    free(c);
}

uint64_t vhd_chain_size(const struct vhd_chain *c)
{
    return c->layers[0]->footer.current_bytes;
}

size_t vhd_chain_length(const struct vhd_chain *c)
{
    return c->n;
}

uint64_t vhd_chain_file_bytes(const struct vhd_chain *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->n; i++)
        sum += (uint64_t)c->layers[i]->st.st_blocks * 512;
    return sum;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static int load_bitmap(struct vhd_layer *l, uint64_t block, struct err *err)
{
    if (l->cached == block)
        return 0;
    l->cached = UINT64_MAX;
    int r = vhd_layer_read(l, l->bitmap, l->bitmap_bytes, (uint64_t)l->table[block] * SECTOR_BYTES, err);
    if (r == 0)
        l->cached = block;
    return r;
}

static bool has_sector(const struct vhd_layer *l, uint64_t sector)
{
    return l->bitmap[sector / 8] & (0x80 >> sector % 8);
}

static int chain_read(struct vhd_chain *c, size_t i, unsigned char *buf, size_t len, uint64_t off, struct err *err);

/* Within one block of a sparse layer: runs of sectors that it has, and those that it does not. */
static int read_block(struct vhd_chain *c, size_t i, unsigned char *buf, size_t len, uint64_t off, struct err *err)
{
    struct vhd_layer *l = c->layers[i];
    uint64_t block = off / l->block_bytes, in_block = off % l->block_bytes;
    if (l->table[block] == VHD_NO_BLOCK)
        return chain_read(c, i + 1, buf, len, off, err);
    int r = load_bitmap(l, block, err);
    uint64_t data = (uint64_t)l->table[block] * SECTOR_BYTES + l->bitmap_bytes;
    for (size_t done = 0, run; r == 0 && done < len; done += run) {
        uint64_t sector = (in_block + done) / SECTOR_BYTES;
        bool is_here = has_sector(l, sector);
        run = SECTOR_BYTES;
        while (done + run < len && has_sector(l, ++sector) == is_here)
            run += SECTOR_BYTES;
        r = is_here ? vhd_layer_read(l, buf + done, run, data + in_block + done, err)
                    : chain_read(c, i + 1, buf + done, run, off + done, err);
        if (r == 0 && !is_here)
            r = load_bitmap(l, block, err); /* it is still there: layers have one each */
    }
    return r;
}

static int chain_read(struct vhd_chain *c, size_t i, unsigned char *buf, size_t len, uint64_t off, struct err *err)
{
    struct vhd_layer *l = i < c->n ? c->layers[i] : NULL;
    uint64_t have = l && off < l->footer.current_bytes ? MIN((uint64_t)len, l->footer.current_bytes - off) : 0;
    memset(buf + have, 0, len - have); /* a child may be larger than its parent */
    if (have == 0)
        return 0;
    if (l->footer.type == VHD_FIXED)
        return vhd_layer_read(l, buf, have, off, err);
    int r = 0;
    for (size_t done = 0, n; r == 0 && done < have; done += n) {
        n = MIN(have - done, l->block_bytes - (off + done) % l->block_bytes);
        r = read_block(c, i, buf + done, n, off + done, err);
    }
    return r;
}

int vhd_chain_read(struct vhd_chain *c, void *buf, size_t len, uint64_t off, struct err *err)
{
    return chain_read(c, 0, buf, len, off, err);
}

int vhd_chain_check_unchanged(const struct vhd_chain *c, struct err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct vhd_layer *l = c->layers[i];
        struct stat now;
        if (fstat(l->fd, &now) < 0 || now.st_size != l->st.st_size || now.st_mtim.tv_sec != l->st.st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != l->st.st_mtim.tv_nsec)
            return err_set(err, -ESTALE,
                           "'%s' was written to while it was converted: stop what writes to it and try again", l->path);
    }
    return 0;
}
