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
 * A freeze (core/freeze.h, cow-freeze.c) gets to know of every change before it happens, within the range lock: it saves the old bytes of a
 * block that is about to be overwritten. Zeroing overwrites nothing, only the giving back of storage does; so that waits until nobody needs
 * the bytes any more, and a discard of a whole disk is as quick as ever.
 *
 * With a RAM file (core/ramfile.h) a PRESENT block is in RAM or in the data file. Whole blocks go to RAM where there is room; a part of a
 * block changes where the block is; spilling (cow-spill.c) moves runs of blocks from RAM to the data file under their range lock.
 *
 * (4) A block in RAM is never written to the data file but by a move, so the two never disagree about which is the newer one.
 *
 * The last block of a disk whose size is no multiple of 4096 is shorter; a write up to the end of the disk is a whole one.
 */
#include "core/cow-priv.h"

#include <assert.h>
#include <string.h>

#include "core/util.h"

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

/* An extent for [off, off + len), PRESENT blocks: the part of it that lies in one file. @moves was read before the map was. */
static struct extent present_extent(const struct cow *c, struct ramfile *ram, uint64_t moves, uint64_t off, size_t len)
{
    if (!ram)
        return (struct extent){.kind = EXT_FILE, .fd = c->data_fd, .pos = off, .len = len};
    bool in_ram;
    uint64_t blk = first_block(off), run = ramfile_run(ram, blk, end_block(off, len) - blk, &in_ram);
    return (struct extent){
        .kind = EXT_FILE,
        .fd = in_ram ? ramfile_fd(ram) : c->data_fd,
        .pos = off,
        .len = (size_t)MIN(len, ((blk + run) << BLOCK_SHIFT) - off),
        .is_memory = in_ram,
        .moves = in_ram ? ramfile_moves(ram) : NULL,
        .moves_seen = moves,
    };
}

static int cow_map(struct blk *b, uint64_t off, size_t len, struct extent *ext, size_t max)
{
    const struct cow *c = (struct cow *)b;
    struct ramfile *ram = atomic_load_explicit(&c->ram, memory_order_acquire);
    uint64_t moves = ram ? atomic_load(ramfile_moves(ram)) : 0;
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
            ext[n] = state == BLOCK_ZERO ? (struct extent){.kind = EXT_ZERO, .len = piece}
                                         : present_extent(c, ram, moves, off, piece);
            piece = ext[n++].len;
        }
        off += piece;
        len -= piece;
    }
    return (int)n;
}

/* --- where blocks are written ---------------------------------------------------------------------------------------
 *
 * The caller holds their range.
 */

static enum block_state block_state(const struct cow *c, uint64_t blk)
{
    enum block_state s;
    (void)livemap_run(c->map, blk, 1, &s); /* a run of one is one */
    return s;
}

/* The file that PRESENT block @blk is in. */
static int fd_of_block(const struct cow *c, uint64_t blk)
{
    bool in_ram = false;
    struct ramfile *ram = atomic_load_explicit(&c->ram, memory_order_acquire);
    if (ram)
        (void)ramfile_run(ram, blk, 1, &in_ram); /* a run of one is one */
    return in_ram ? ramfile_fd(ram) : c->data_fd;
}

/* Where blocks are that find no room in RAM: those that are in it already stay there. */
static int write_where_they_are(const struct cow *c, struct ramfile *ram, const char *buf, size_t len, uint64_t off)
{
    int r = 0;
    while (len > 0 && r == 0) {
        struct extent e = present_extent(c, ram, 0, off, len);
        r = pwrite_full(e.fd, buf, e.len, e.pos);
        buf += e.len;
        off += e.len;
        len -= e.len;
    }
    return r;
}

/* Write whole blocks, which the caller sets PRESENT afterwards. A tmpfs without memory is as one without room. */
static int write_whole(const struct cow *c, const void *buf, size_t len, uint64_t off)
{
    struct ramfile *ram = atomic_load_explicit(&c->ram, memory_order_acquire);
    uint64_t blk = first_block(off), n = end_block(off, len) - blk;
    if (!ram)
        return pwrite_full(c->data_fd, buf, len, off);
    if (ramfile_reserve(ram, blk, n) < 0)
        return write_where_they_are(c, ram, buf, len, off);
    if (pwrite_full(ramfile_fd(ram), buf, len, off) < 0) {
        ramfile_unreserve(ram, blk, n);
        return write_where_they_are(c, ram, buf, len, off);
    }
    ramfile_set(ram, blk, n);
    return 0;
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
    return write_whole(c, whole, n, start);
}

static int write_part(struct cow *c, uint64_t blk, const void *buf, size_t len, uint64_t off)
{
    enum block_state state = block_state(c, blk);
    if (state == BLOCK_PRESENT)
        return pwrite_full(fd_of_block(c, blk), buf, len, off);
    return fill_block(c, blk, state, buf, len, off);
}

/* The caller has the range of these blocks. */
static void before_states(struct cow *c, uint64_t first, uint64_t n)
{
    if (c->changes)
        changes_mark(c->changes, first, n);
    for (struct freeze *f = c->freezes; f; f = *freeze_next(f))
        freeze_touch(f, first, n);
}

static void before_bytes(struct cow *c, uint64_t first, uint64_t n)
{
    if (c->changes)
        changes_mark(c->changes, first, n);
    for (struct freeze *f = c->freezes; f; f = *freeze_next(f))
        freeze_save(f, first, n);
}

static int zero_part(struct cow *c, uint64_t blk, size_t len, uint64_t off)
{
    static const char zeros[BLOCK_BYTES];
    enum block_state state = block_state(c, blk);
    if (state == BLOCK_ZERO)
        return 0;
    before_bytes(c, blk, 1);
    if (state == BLOCK_PRESENT)
        return pwrite_full(fd_of_block(c, blk), zeros, len, off);
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
        r = write_whole(c, buf + p->head, (size_t)p->body_len, p->body_off);
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
    before_bytes(c, first, end - first);
    enum block_state state;
    bool all_there = livemap_run(c->map, first, end - first, &state) == end - first && state == BLOCK_PRESENT;
    r = all_there ? 0 : livemap_prepare(c->map, first, end - first, BLOCK_PRESENT);
    bool in_one_piece = all_there && !atomic_load_explicit(&c->ram, memory_order_acquire);
    if (r == 0)
        r = in_one_piece ? pwrite_full(c->data_fd, buf, len, off) : write_pieces(c, buf, off, &p);
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
    before_states(c, first, n);
    livemap_set_zero(c->map, first, n);
    struct ramfile *ram = atomic_load_explicit(&c->ram, memory_order_acquire);
    if (ram)
        ramfile_drop(ram, first, n);
    cow_give_back(c, first, n);
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
