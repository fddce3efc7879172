/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, counting and ending of views and bases; see view.h. */
#include "fusefs/view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/base.h"
#include "core/direct.h"
#include "core/log.h"
#include "core/util.h"
#include "fusefs/boards.h"
#include "fusefs/tape.h"

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
    b->data_bytes = info->data_bytes;
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

/* The overlay is about to put blocks into memory: what a store takes for theirs in the data file is theirs no longer. */
static void forbid_data(void *arg)
{
    boards_forbid(arg, DIRECT_DATA);
}

static void make_boards(struct view *v)
{
    uint32_t allowed = DIRECT_ON | (overlay_has_ram(v->overlay) ? 0 : DIRECT_DATA);
    v->boards = boards_create(v->blk->size, v->tape, allowed); /* without them all goes the long way */
    if (v->boards)
        overlay_on_ram(v->overlay, forbid_data, v->boards);
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
    if (!v->is_read_only && (row->slot == 0 || row->slot >= BOOT_SLOT_FIRST))
        v->tape = tape_create(); /* without one nothing is learnt */
    if (!v->is_read_only)
        make_boards(v);
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
    boards_end(v->boards);
    if (overlay_close(v->overlay, &err) < 0)
        log_error("overlay of client '%s' slot %u: %s", v->row.client, v->row.slot, err.msg);
    v->overlay = NULL;
    atomic_store(&v->is_revoked, true);
}

static void add_to_past(const struct view *v)
{
    struct base *b = v->base;
    struct board_counts direct = boards_count(v->boards);
    atomic_fetch_add(&b->past_reads, atomic_load(&v->count.reads) + direct.reads);
    atomic_fetch_add(&b->past_read_bytes, atomic_load(&v->count.read_bytes) + direct.read_bytes);
    atomic_fetch_add(&b->past_waited_reads, atomic_load(&v->count.waited_reads));
    atomic_fetch_add(&b->past_waited_us, atomic_load(&v->count.waited_us));
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
        return;
    if (v->kind == VIEW_PART)
        blk_destroy(v->blk);
    view_end(v);
    if (v->kind == VIEW_CLIENT)
        add_to_past(v);
    boards_destroy(v->boards);
    tape_destroy(v->tape);
    base_unref(v->base);
    view_unref(v->whole);
    closep(&v->dir_fd);
    free(v);
}

void view_revoke(struct view *v)
{
    boards_end(v->boards);
    atomic_store(&v->is_revoked, true);
    if (v->overlay)
        overlay_abandon(v->overlay);
}

void view_begin(struct view *v)
{
    if (v->boards)
        overlay_begin(v->overlay);
}

void view_count_read(struct view *v, uint64_t off, uint64_t bytes)
{
    if (tape_is_on(v->tape)) {
        boards_gather(v->boards); /* what came before */
        tape_note(v->tape, off, bytes);
    }
    atomic_fetch_add_explicit(&v->count.reads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->count.read_bytes, bytes, memory_order_relaxed);
}

void view_count_wait(struct view *v, uint64_t microseconds)
{
    atomic_fetch_add_explicit(&v->count.waited_reads, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->count.waited_us, microseconds, memory_order_relaxed);
}

void view_count_write(struct view *v, uint64_t bytes)
{
    atomic_fetch_add_explicit(&v->count.writes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->count.written_bytes, bytes, memory_order_relaxed);
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

/* Find the block of the range that cannot be read: 0 and the extent's place, or -1 when all of it can. */
static int find_bad_block(const struct view *v, uint64_t off, uint64_t len, struct extent *ret)
{
    while (len > 0) {
        char block[BLOCK_BYTES];
        size_t n = (size_t)MIN(len, BLOCK_BYTES - off % BLOCK_BYTES);
        int r = blk_map(v->blk, off, n, ret, 1);
        if (r < 0)
            return -1;
        if (ret->kind == EXT_FILE && pread_full(ret->fd, block, ret->len, ret->pos) < 0)
            return 0;
        off += ret->len;
        len -= ret->len;
    }
    return -1;
}

void view_note_error(struct view *v, const char *what, uint64_t off, uint64_t len, int error)
{
    const struct view *whole = v->whole ? v->whole : v;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    atomic_fetch_add(&v->errors, 1);
    int64_t last = atomic_load(&v->error_s);
    if ((last == now.tv_sec && last != 0) || !atomic_compare_exchange_strong(&v->error_s, &last, (int64_t)now.tv_sec))
        return;
    struct extent e;
    bool is_found = len > 0 && find_bad_block(v, off, len, &e) == 0;
    const char *name = whole->kind == VIEW_CLIENT ? whole->row.client : whole->base->row.image;
    if (is_found && e.fd == whole->base->fd)
        log_error("'%s': cannot %s at byte %llu: block at byte %llu of '%s' cannot be read: %s", name, what,
                  (unsigned long long)off, (unsigned long long)e.pos, whole->base->row.path, strerror(-error));
    else if (whole->kind == VIEW_CLIENT)
        log_error("'%s': cannot %s at byte %llu of 'overlays/%s/%u.data': %s", name, what,
                  (unsigned long long)(is_found ? e.pos : off), whole->row.overlay_dir, whole->row.slot,
                  strerror(-error));
    else
        log_error("'%s': cannot %s at byte %llu: %s", name, what, (unsigned long long)off, strerror(-error));
}

bool view_is_revoked(const struct view *v)
{
    return atomic_load(&v->is_revoked) || (v->whole && view_is_revoked(v->whole));
}
