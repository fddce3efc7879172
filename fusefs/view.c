/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, counting and ending of views and bases; see view.h. */
#include "fusefs/view.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/base.h"
#include "core/log.h"
#include "core/util.h"

struct base *base_open(int fd, const struct image_info *info, const struct version_row *row)
{
    struct base *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->blk = base_create(fd, info->data_bytes, info->size_bytes);
    if (!b->blk) {
        free(b);
        return NULL;
    }
    b->refs = 1;
    b->row = *row;
    b->fd = fd;
    b->opened_mtime_ns = info->mtime_ns;
    return b;
}

struct base *base_ref(struct base *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void base_unref(struct base *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) > 1)
        return;
    blk_destroy(b->blk);
    free(b);
}

bool base_has_changed(const struct base *b)
{
    struct stat st;
    if (fstat(b->fd, &st) < 0)
        return true;
    if (!S_ISREG(st.st_mode))
        return false;
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return (uint64_t)st.st_size != b->row.file_bytes || mtime_ns != b->opened_mtime_ns;
}

/* --- views ------------------------------------------------------------------------------------------------------- */

static struct view *view_new(enum view_kind kind, struct blk *blk)
{
    struct view *v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->refs = 1;
    v->kind = kind;
    v->is_read_only = true;
    v->blk = blk;
    v->dir_fd = -1;
    return v;
}

struct view *view_of_version(struct base *base)
{
    struct view *v = view_new(VIEW_VERSION, base->blk);
    if (v)
        v->base = base_ref(base);
    return v;
}

struct view *view_of_client(struct base *base, struct overlay *overlay, int dir_fd, const struct view_row *row)
{
    struct view *v = view_new(VIEW_CLIENT, overlay ? overlay_blk(overlay) : base->blk);
    if (!v)
        return NULL;
    v->is_read_only = !v->blk->ops->write;
    v->base = base_ref(base);
    v->overlay = overlay;
    v->dir_fd = dir_fd;
    v->row = *row;
    return v;
}

struct view *view_of_part(struct view *whole, uint64_t off, uint64_t len)
{
    struct blk *slice = slice_create(whole->blk, off, len);
    struct view *v = slice ? view_new(VIEW_PART, slice) : NULL;
    if (!v) {
        blk_destroy(slice);
        return NULL;
    }
    v->whole = view_ref(whole);
    return v;
}

struct view *view_ref(struct view *v)
{
    atomic_fetch_add(&v->refs, 1);
    return v;
}

void view_end(struct view *v)
{
    struct err err;
    if (overlay_close(v->overlay, &err) < 0)
        log_error("overlay of client '%s' slot %u: %s", v->row.client, v->row.slot, err.msg);
    v->overlay = NULL;
    atomic_store(&v->is_revoked, true);
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
        return;
    if (v->kind == VIEW_PART)
        blk_destroy(v->blk);
    view_end(v);
    base_unref(v->base);
    view_unref(v->whole);
    closep(&v->dir_fd);
    free(v);
}

void view_revoke(struct view *v)
{
    atomic_store(&v->is_revoked, true);
    if (v->overlay)
        overlay_abandon(v->overlay);
}

bool view_is_revoked(const struct view *v)
{
    return atomic_load(&v->is_revoked) || (v->whole && view_is_revoked(v->whole));
}
