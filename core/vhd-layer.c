/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Footer, dynamic header, locators and block table of one VHD; see vhd-layer.h. */
#include "core/vhd-layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define HEADER_BYTES  1024U
#define BLOCK_MAX     (256U << 20)
#define LOCATORS      8
#define LOCATOR_BYTES 2000U

/* --- headers ------------------------------------------------------------------------------------------------------ */

int vhd_layer_damaged(const struct vhd_layer *l, const char *what, struct err *err)
{
    return err_set(err, -EBADMSG, "'%s' is damaged (%s): copy it again from its source", l->path, what);
}

int vhd_layer_read(const struct vhd_layer *l, void *buf, size_t len, uint64_t off, struct err *err)
{
    if (!range_ok(off, len, l->file_bytes))
        return vhd_layer_damaged(l, "it ends before something that it refers to", err);
    int r = pread_full(l->fd, buf, len, off);
    return r < 0 ? err_sys(err, r, "cannot read '%s'", l->path) : 0;
}

/* The footer at the end; where that is damaged, the copy at the beginning of a dynamic one. */
static int read_footer(struct vhd_layer *l, struct err *err)
{
    unsigned char p[VHD_FOOTER_BYTES];
    struct err why;
    if (l->file_bytes < VHD_FOOTER_BYTES)
        return -ENODATA;
    int r = vhd_layer_read(l, p, sizeof(p), l->file_bytes - sizeof(p), err);
    if (r < 0)
        return r;
    bool is_at_end = vhd_has_cookie(p, sizeof(p));
    if (is_at_end && vhd_footer_decode(p, sizeof(p), &l->footer, &why) == 0)
        return 0;
    r = vhd_layer_read(l, p, sizeof(p), 0, err);
    if (r < 0)
        return r;
    if (!vhd_has_cookie(p, sizeof(p)))
        return is_at_end ? vhd_layer_damaged(l, why.msg, err) : -ENODATA;
    r = vhd_footer_decode(p, sizeof(p), &l->footer, &why);
    return r < 0 ? vhd_layer_damaged(l, why.msg, err) : 0;
}

/* UTF-16 to UTF-8, up to a zero; what is no character becomes "?". */
static void decode_name(const unsigned char *p, size_t len, bool is_big, char *ret, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < len && n + 4 < size; i += 2) {
        uint32_t c = is_big ? (uint32_t)(p[i] << 8 | p[i + 1]) : (uint32_t)(p[i + 1] << 8 | p[i]);
        if (c == 0)
            break;
        if (c >= 0xd800 && c < 0xe000)
            c = '?'; /* pairs are not put together: a name is only what candidates are looked up by */
        if (c < 0x80)
            ret[n++] = (char)c;
        else if (c < 0x800) {
            ret[n++] = (char)(0xc0 | c >> 6);
            ret[n++] = (char)(0x80 | (c & 63));
        } else {
            ret[n++] = (char)(0xe0 | c >> 12);
            ret[n++] = (char)(0x80 | (c >> 6 & 63));
            ret[n++] = (char)(0x80 | (c & 63));
        }
    }
    ret[n] = 0;
}

static void add_name(struct vhd_link *link, const unsigned char *p, size_t len, bool is_big)
{
    if (link->n_names >= VHD_PARENTS_MAX)
        return;
    decode_name(p, len, is_big, link->names[link->n_names], sizeof(link->names[0]));
    link->n_names += link->names[link->n_names][0] != 0;
}

/* Locators are hints: one that cannot be read is left out. Windows writes W2ku (absolute) and W2ru (relative), UTF-16, little-endian. */
static void read_locators(struct vhd_layer *l, const unsigned char *head)
{
    unsigned char text[LOCATOR_BYTES];
    for (unsigned i = 0; i < LOCATORS; i++) {
        const unsigned char *p = head + 576 + i * 24;
        uint32_t len = get_be32(p + 8);
        bool is_ours = memcmp(p, "W2ku", 4) == 0 || memcmp(p, "W2ru", 4) == 0;
        if (is_ours && len > 0 && len <= sizeof(text) && vhd_layer_read(l, text, len, get_be64(p + 16), NULL) == 0)
            add_name(&l->link, text, len, false);
    }
}

static uint32_t sum_of(const unsigned char *p)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < HEADER_BYTES; i++)
        if (i < 36 || i >= 40)
            sum += p[i];
    return ~sum;
}

static int check_header(struct vhd_layer *l, const unsigned char *p, struct err *err)
{
    if (memcmp(p, "cxsparse", 8) != 0 || sum_of(p) != get_be32(p + 36))
        return vhd_layer_damaged(l, "no valid dynamic header", err);
    if (get_be32(p + 24) >> 16 != 1)
        return err_set(err, -EOPNOTSUPP, "'%s' has a dynamic header of an unknown version", l->path);
    l->n_blocks = get_be32(p + 28);
    l->block_bytes = get_be32(p + 32);
    bool is_power = l->block_bytes && (l->block_bytes & (l->block_bytes - 1)) == 0;
    if (!is_power || l->block_bytes < 4096 || l->block_bytes > BLOCK_MAX)
        return vhd_layer_damaged(l, "its blocks have an impossible size", err);
    l->bitmap_bytes = (uint32_t)round_up(l->block_bytes / SECTOR_BYTES / 8, SECTOR_BYTES);
    if ((uint64_t)l->n_blocks * l->block_bytes < l->footer.current_bytes)
        return vhd_layer_damaged(l, "its table is too short for its disk", err);
    return 0;
}

static int read_header(struct vhd_layer *l, unsigned char *ret, struct err *err)
{
    int r = vhd_layer_read(l, ret, HEADER_BYTES, l->footer.header_off, err);
    if (r == 0)
        r = check_header(l, ret, err);
    if (r < 0 || !l->link.is_differencing)
        return r;
    memcpy(l->link.parent_id, ret + 40, 16);
    add_name(&l->link, ret + 64, 512, true);
    read_locators(l, ret);
    return 0;
}

static int read_table(struct vhd_layer *l, uint64_t off, struct err *err)
{
    uint64_t need = round_up(l->footer.current_bytes, l->block_bytes) / l->block_bytes;
    if (!range_ok(off, need * 4, l->file_bytes))
        return vhd_layer_damaged(l, "its block table lies beyond its end", err);
    l->n_blocks = (uint32_t)need;
    l->table = malloc(need * 4);
    l->bitmap = malloc(l->bitmap_bytes);
    l->cached = UINT64_MAX;
    if (!l->table || !l->bitmap)
        return err_set(err, -ENOMEM, "memory is out");
    int r = vhd_layer_read(l, l->table, need * 4, off, err);
    for (uint32_t i = 0; r == 0 && i < l->n_blocks; i++) {
        uint32_t sector = get_be32((const unsigned char *)&l->table[i]);
        if (sector != VHD_NO_BLOCK && !range_ok((uint64_t)sector * SECTOR_BYTES, l->bitmap_bytes, l->file_bytes))
            return vhd_layer_damaged(l, "a block lies beyond its end", err);
        l->table[i] = sector;
    }
    return r;
}

/* --- one file ----------------------------------------------------------------------------------------------------- */

void vhd_layer_close(struct vhd_layer *l)
{
    if (!l)
        return;
    closep(&l->fd);
    free(l->path);
    free(l->table);
    free(l->bitmap);
    free(l);
}

/* Footer and header of an open file, which the layer takes. */
static int layer_look(int fd, const char *path, struct vhd_layer **ret, unsigned char *ret_header, struct err *err)
{
    _cleanup_(vhd_layer_closep) struct vhd_layer *l = calloc(1, sizeof(*l));
    if (!l)
        return err_set(err, -ENOMEM, "memory is out");
    l->fd = -1;
    l->path = strdup(path);
    if (!l->path || fstat(fd, &l->st) < 0)
        return err_sys(err, -errno, "cannot examine '%s'", path);
    if (!S_ISREG(l->st.st_mode))
        return -ENODATA;
    l->file_bytes = (uint64_t)l->st.st_size;
    l->fd = fd;
    int r = read_footer(l, err);
    if (r == 0) {
        memcpy(l->link.id, l->footer.id, 16);
        l->link.is_differencing = l->footer.type == VHD_DIFFERENCING;
        if (l->footer.type != VHD_FIXED)
            r = read_header(l, ret_header, err);
    }
    if (r < 0) {
        l->fd = -1; /* the caller's still */
        return r;
    }
    *ret = take_ptr(l);
    return 0;
}

int vhd_link_read(int fd, const char *path, struct vhd_link *ret, struct err *err)
{
    struct vhd_layer *l = NULL;
    unsigned char header[HEADER_BYTES];
    int r = layer_look(fd, path, &l, header, err);
    if (r < 0)
        return r;
    *ret = l->link;
    l->fd = -1;
    vhd_layer_close(l);
    return 0;
}

int vhd_layer_open(const char *path, struct vhd_layer **ret, struct err *err)
{
    _cleanup_(vhd_layer_closep) struct vhd_layer *l = NULL;
    unsigned char header[HEADER_BYTES];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s'", path);
    int r = layer_look(fd, path, &l, header, err);
    if (r < 0)
        return r;
    (void)take_fd(&fd);
    if (l->footer.type == VHD_FIXED && l->footer.current_bytes > l->file_bytes - VHD_FOOTER_BYTES)
        r = vhd_layer_damaged(l, "it is cut short", err);
    else if (l->footer.type != VHD_FIXED)
        r = read_table(l, get_be64(header + 16), err);
    if (r == 0)
        *ret = take_ptr(l);
    return r;
}
