/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copy-on-write layer in blocks of 4 KiB.
 *
 *   state     read from     write ->     zero ->
 *   ABSENT    below         PRESENT      ZERO
 *   PRESENT   data file     PRESENT      ZERO
 *   ZERO      nothing       PRESENT      ZERO
 *
 * A write or zero of a part of a block:
 *   PRESENT   the part alone changes in the data file
 *   ABSENT    the block is read from below, merged, written whole, then PRESENT
 *   ZERO      as ABSENT, with zeros instead of the block below; what the data file holds there is old and never looked at
 *
 * (1) A block becomes PRESENT only after all of it is in the data file.
 * (2) Data fetched from below never replaces data that the client wrote: whoever changes a block holds its range lock from before he
 *     looks at its state until the new state is set.
 * (3) A block becomes ZERO before its storage is given back; ZERO never depends on a hole in the data file.
 *
 * The last block of a disk whose size is no multiple of 4096 is shorter; a write up to the end of the disk is a whole one.
 */
#include "core/cow.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "core/rangelock.h"
#include "core/util.h"

struct cow {
    struct blk blk;
    struct blk *lower;
    int data_fd;
    struct livemap *map;
    struct cow_flush flush;
    struct range_lock writers;
};

static uint64_t first_block(uint64_t off)
{
    return off >> BLOCK_SHIFT;
}

static uint64_t end_block(uint64_t off, uint64_t len)
{
    return (off + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
}

/* Bytes of block @blk that are on the disk: 4096 but for a short last one. */
static size_t block_len(const struct cow *c, uint64_t blk)
{
    return (size_t)MIN(BLOCK_BYTES, c->blk.size - (blk << BLOCK_SHIFT));
}

/* --- map --------------------------------------------------------------------------------------------------------- */

static int cow_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    const struct cow *c = (struct cow *)b;
    size_t n = 0;
    while (len > 0 && n < max) {
        enum block_state state;
        uint64_t blk = first_block(off);
        uint64_t run = livemap_run(c->map, blk, end_block(off, len) - blk, &state);
        size_t piece = (size_t)MIN(len, ((blk + run) << BLOCK_SHIFT) - off);
        if (state == BLOCK_ABSENT) {
            int r = blk_map(c->lower, off, piece, ext + n, max - n);
            if (r < 0)
                return r;
            piece = 0;
            for (int i = 0; i < r; i++)
                piece += ext[n + (size_t)i].len;
            n += (size_t)r;
        } else {
            ext[n++] = state == BLOCK_ZERO
                           ? (struct extent){.kind = EXT_ZERO, .len = piece}
                           : (struct extent){.kind = EXT_FILE, .fd = c->data_fd, .pos = off, .len = piece};
        }
        off += piece;
        len -= piece;
    }
    return (int)n;
}

/* --- parts of blocks --------------------------------------------------------------------------------------------- */

static enum block_state block_state(const struct cow *c, uint64_t blk)
{
    enum block_state s;
    (void)livemap_run(c->map, blk, 1, &s); /* a run of one is one */
    return s;
}

/* Replace [off, off+len) within one block that is not PRESENT; @buf NULL = zeros. The caller sets it PRESENT. */
static int fill_block(struct cow *c, uint64_t blk, enum block_state state, const void *buf, size_t len, uint64_t off)
{
    char whole[BLOCK_BYTES];
    uint64_t start = blk << BLOCK_SHIFT;
    size_t n = block_len(c, blk);
    if (state == BLOCK_ABSENT) {
        int r = blk_read(c->lower, whole, n, start);
        if (r < 0)
            return r;
    } else {
        memset(whole, 0, n);
    }
    if (buf)
        memcpy(whole + (off - start), buf, len);
    else
        memset(whole + (off - start), 0, len);
    return pwrite_full(c->data_fd, whole, n, start);
}

static int write_part(struct cow *c, uint64_t blk, const void *buf, size_t len, uint64_t off)
{
    enum block_state state = block_state(c, blk);
    if (state == BLOCK_PRESENT)
        return pwrite_full(c->data_fd, buf, len, off);
    return fill_block(c, blk, state, buf, len, off);
}

static int punch_data(const struct cow *c, uint64_t off, uint64_t len)
{
    return fallocate(c->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

static int zero_part(struct cow *c, uint64_t blk, size_t len, uint64_t off)
{
    static const char zeros[BLOCK_BYTES];
    enum block_state state = block_state(c, blk);
    if (state == BLOCK_ZERO)
        return 0;
    if (state == BLOCK_PRESENT)
        return pwrite_full(c->data_fd, zeros, len, off);
    int r = livemap_prepare(c->map, blk, 1, BLOCK_PRESENT);
    if (r == 0)
        r = fill_block(c, blk, state, NULL, len, off);
    if (r == 0)
        livemap_set_present(c->map, blk, 1);
    return r;
}

/* A range cut into a part of its first block, whole blocks, and a part of its last block; each may be empty. */
struct pieces {
    size_t head, tail; /* bytes */
    uint64_t body_off, body_len;
};

static struct pieces cut(const struct cow *c, uint64_t off, uint64_t len)
{
    uint64_t end = off + len;
    uint64_t body = round_up(off, BLOCK_BYTES);
    uint64_t body_end = end == c->blk.size ? end : round_down(end, BLOCK_BYTES);
    if (body > end || body_end <= body) { /* no whole block */
        bool two = body < end && body > off;
        return (struct pieces){
            .head = (size_t)(two ? body - off : len),
            .tail = (size_t)(two ? end - body : 0),
            .body_off = two ? body : end,
        };
    }
    return (struct pieces){
        .head = (size_t)(body - off),
        .tail = (size_t)(end - body_end),
        .body_off = body,
        .body_len = body_end - body,
    };
}

/* --- write, zero, flush ------------------------------------------------------------------------------------------ */

static int write_pieces(struct cow *c, const char *buf, uint64_t off, const struct pieces *p)
{
    int r = 0;
    if (p->head)
        r = write_part(c, first_block(off), buf, p->head, off);
    if (r == 0 && p->body_len)
        r = pwrite_full(c->data_fd, buf + p->head, (size_t)p->body_len, p->body_off);
    uint64_t tail = p->body_off + p->body_len;
    if (r == 0 && p->tail)
        r = write_part(c, first_block(tail), buf + p->head + p->body_len, p->tail, tail);
    return r;
}

static int note_change(const struct cow *c)
{
    return c->flush.change ? c->flush.change(c->flush.arg) : 0;
}

static int cow_write(struct blk *b, const void *buf, size_t len, uint64_t off)
{
    struct cow *c = (struct cow *)b;
    uint64_t first = first_block(off), end = end_block(off, len);
    struct pieces p = cut(c, off, len);
    struct range range;
    int r = note_change(c);
    if (r < 0)
        return r;
    range_take(&c->writers, &range, first, end);
    enum block_state state;
    bool all_there = livemap_run(c->map, first, end - first, &state) == end - first && state == BLOCK_PRESENT;
    r = all_there ? 0 : livemap_prepare(c->map, first, end - first, BLOCK_PRESENT);
    if (r == 0)
        r = all_there ? pwrite_full(c->data_fd, buf, len, off) : write_pieces(c, buf, off, &p);
    if (r == 0 && !all_there)
        livemap_set_present(c->map, first, end - first);
    range_release(&c->writers, &range);
    return r;
}

static int zero_body(struct cow *c, uint64_t off, uint64_t len)
{
    uint64_t first = first_block(off), n = end_block(off, len) - first;
    enum block_state state;
    if (livemap_run(c->map, first, n, &state) == n && state == BLOCK_ZERO)
        return 0;
    int r = livemap_prepare(c->map, first, n, BLOCK_ZERO);
    if (r < 0)
        return r;
    livemap_set_zero(c->map, first, n);
    (void)punch_data(c, off, len); /* it reads as zero already; space that stays is only space */
    return 0;
}

static int cow_zero(struct blk *b, uint64_t off, uint64_t len)
{
    struct cow *c = (struct cow *)b;
    struct pieces p = cut(c, off, len);
    struct range range;
    int r = note_change(c);
    if (r < 0)
        return r;
    range_take(&c->writers, &range, first_block(off), end_block(off, len));
    if (p.head)
        r = zero_part(c, first_block(off), p.head, off);
    if (r == 0 && p.body_len)
        r = zero_body(c, p.body_off, p.body_len);
    uint64_t tail = p.body_off + p.body_len;
    if (r == 0 && p.tail)
        r = zero_part(c, first_block(tail), p.tail, tail);
    range_release(&c->writers, &range);
    return r;
}

static int cow_flush(struct blk *b)
{
    struct cow *c = (struct cow *)b;
    return c->flush.flush ? c->flush.flush(c->flush.arg) : 0;
}

static void cow_destroy(struct blk *b)
{
    struct cow *c = (struct cow *)b;
    range_lock_finish(&c->writers);
    free(c);
}

struct blk *cow_create(struct blk *lower, int data_fd, struct livemap *map, struct cow_flush flush, bool read_only)
{
    static const struct blk_ops rw = {
        .map = cow_map, .write = cow_write, .zero = cow_zero, .flush = cow_flush, .destroy = cow_destroy};
    static const struct blk_ops ro = {.map = cow_map, .destroy = cow_destroy};
    assert(livemap_stamp(map)->size_bytes == lower->size);
    struct cow *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->blk = (struct blk){.ops = read_only ? &ro : &rw, .size = lower->size};
    c->lower = lower;
    c->data_fd = data_fd;
    c->map = map;
    c->flush = flush;
    range_lock_init(&c->writers);
    return &c->blk;
}
