/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live map in a shared file mapping: its states and how they change; see livemap.h for the states and livemap-file.c for the file. */
#include "core/livemap-priv.h"

#include <errno.h>
#include <string.h>

#include "core/blk.h"
#include "core/util.h"

const struct map_stamp *livemap_stamp(const struct livemap *m)
{
    return &m->head->stamp;
}

uint64_t livemap_changes(const struct livemap *m)
{
    return atomic_load(&m->head->changes);
}

void livemap_note_loss(struct livemap *m, int code)
{
    uint32_t none = 0;
    (void)atomic_compare_exchange_strong(&m->head->lost_errno, &none, (uint32_t)-code); /* the first reason stays */
}

int livemap_loss(const struct livemap *m)
{
    uint32_t e = atomic_load(&m->head->lost_errno);
    return e == 0 ? 0 : e < 4096 ? -(int)e : -EIO;
}

uint32_t livemap_generation(const struct livemap *m)
{
    return atomic_load(&m->head->generation);
}

/* The same step whoever makes it first, so that nobody is through here before it is made. */
void livemap_begin(struct livemap *m)
{
    uint32_t found = m->found_generation;
    (void)atomic_compare_exchange_strong(&m->head->generation, &found, found + 1); /* else it was made */
}

void livemap_end(struct livemap *m)
{
    (void)atomic_fetch_add(&m->head->generation, 1);
}

int livemap_fd(const struct livemap *m)
{
    return m->fd;
}

uint64_t livemap_dir_count(const struct livemap *m)
{
    return m->dir_count;
}

uint64_t livemap_block_count(const struct livemap *m)
{
    return m->nblk;
}

/* --- what changed ------------------------------------------------------------------------------------------------ */

/* The change itself is made before. With the fence, whoever takes the bit after we found it set sees the change. */
static void note_dirty(struct livemap *m, uint64_t dir)
{
    uint64_t bit = 1ULL << (dir % 64);
    atomic_thread_fence(memory_order_seq_cst);
    if (!(atomic_load(&m->dirty[dir / 64]) & bit))
        atomic_fetch_or(&m->dirty[dir / 64], bit);
}

bool livemap_take_dirty(struct livemap *m, uint64_t *dir)
{
    for (uint64_t i = *dir; i < m->dir_count;) {
        uint64_t word = atomic_load(&m->dirty[i / 64]) >> (i % 64);
        if (!word) {
            i = (i / 64 + 1) * 64;
            continue;
        }
        i += (uint64_t)__builtin_ctzll(word);
        if (i >= m->dir_count)
            return false;
        atomic_fetch_and(&m->dirty[i / 64], ~(1ULL << (i % 64)));
        *dir = i;
        return true;
    }
    return false;
}

void livemap_mark_dirty(struct livemap *m)
{
    for (uint64_t i = 0; i <= m->dir_count / 64; i++)
        atomic_store(&m->dirty[i], ~0ULL);
}

/* --- leaves ------------------------------------------------------------------------------------------------------ */

static _Atomic uint64_t *leaf_at(const struct livemap *m, uint32_t n)
{
    return (_Atomic uint64_t *)(m->leaves + (uint64_t)(n - 1) * LIVE_PAGE);
}

static uint32_t leaf_no(const struct livemap *m, uint64_t dir, enum map_plane plane)
{
    return atomic_load_explicit(&m->dir[dir].leaf[plane], memory_order_acquire);
}

static uint64_t word_get(const struct livemap *m, uint32_t leaf, uint64_t word)
{
    if (leaf == LEAF_NONE)
        return 0;
    if (leaf == LEAF_ALL)
        return ~0ULL;
    return atomic_load_explicit(&leaf_at(m, leaf)[word], memory_order_acquire);
}

static int allocate_locked(struct livemap *m, uint32_t *ret)
{
    uint32_t n = atomic_load(&m->head->leaf_count) + 1;
    assert(n <= m->leaf_max);
    int r = livemap_reserve(m->fd, m->head->leaf_off + (uint64_t)(n - 1) * LIVE_PAGE, LIVE_PAGE);
    if (r < 0)
        return r;
    *ret = n;
    return 0;
}

static void publish_locked(struct livemap *m, uint64_t dir, enum map_plane plane, uint32_t n)
{
    atomic_store(&m->head->leaf_count, n);
    atomic_store_explicit(&m->dir[dir].leaf[plane], n, memory_order_release);
}

/* A leaf that can be written: made where there is none, written out where it is ALL. */
static int leaf_need(struct livemap *m, uint64_t dir, enum map_plane plane)
{
    uint32_t old = leaf_no(m, dir, plane), n;
    if (old != LEAF_NONE && old != LEAF_ALL)
        return 0;
    LOCK_SCOPE(&m->lock);
    old = leaf_no(m, dir, plane);
    if (old != LEAF_NONE && old != LEAF_ALL)
        return 0;
    int r = allocate_locked(m, &n);
    if (r < 0)
        return r;
    memset((void *)leaf_at(m, n), old == LEAF_ALL ? 0xff : 0, LIVE_PAGE);
    publish_locked(m, dir, plane, n);
    return 0;
}

/* --- runs ----------------------------------------------------------------------------------------------------------
 *
 * Everything of the zero plane (the leaf's number, then the word) is read before anything of the present plane. A writer who turns
 * ZERO into PRESENT goes the other way, so a reader that misses the zero bit finds the present bit, in a leaf that may not
 * have been there a moment before. The other order could see neither: ABSENT, and bytes from below come back.
 */

static uint64_t state_mask(enum block_state s, uint64_t present, uint64_t zero)
{
    switch (s) {
    case BLOCK_PRESENT:
        return present & ~zero;
    case BLOCK_ZERO:
        return zero;
    case BLOCK_ABSENT:
        break;
    }
    return ~(present | zero);
}

static enum block_state bit_state(uint64_t present, uint64_t zero, unsigned bit)
{
    if (zero >> bit & 1)
        return BLOCK_ZERO;
    return present >> bit & 1 ? BLOCK_PRESENT : BLOCK_ABSENT;
}

/* Blocks in state @s from @blk on within its leaf; where there are more than @max, at least @max. */
static uint64_t run_in_leaf(const struct livemap *m, uint64_t blk, uint64_t max, enum block_state s)
{
    uint64_t dir = blk / LEAF_BLOCKS, first = blk % LEAF_BLOCKS, n = 0;
    uint32_t z = leaf_no(m, dir, PLANE_ZERO), p = leaf_no(m, dir, PLANE_PRESENT);
    if (p == LEAF_NONE && (z == LEAF_NONE || z == LEAF_ALL))
        return (z == LEAF_ALL) == (s == BLOCK_ZERO) && s != BLOCK_PRESENT ? LEAF_BLOCKS - first : 0;
    while (first + n < LEAF_BLOCKS && n < max) {
        uint64_t word = (first + n) / 64, bit = (first + n) % 64;
        uint64_t zero = word_get(m, z, word);
        uint64_t present = word_get(m, leaf_no(m, dir, PLANE_PRESENT), word);
        uint64_t other = ~state_mask(s, present, zero) >> bit;
        if (other) {
            uint64_t same = (uint64_t)__builtin_ctzll(other);
            return n + MIN(same, 64 - bit);
        }
        n += 64 - bit;
    }
    return n;
}

uint64_t livemap_run(const struct livemap *m, uint64_t blk, uint64_t max, enum block_state *ret)
{
    assert(max > 0 && blk < m->nblk);
    max = MIN(max, m->nblk - blk);
    uint64_t dir = blk / LEAF_BLOCKS, word = blk % LEAF_BLOCKS / 64;
    uint64_t zero = word_get(m, leaf_no(m, dir, PLANE_ZERO), word);
    uint64_t present = word_get(m, leaf_no(m, dir, PLANE_PRESENT), word);
    enum block_state s = bit_state(present, zero, blk % 64);
    uint64_t n = 1; /* the block itself, whatever a writer does to it meanwhile */
    while (n < max) {
        uint64_t more = run_in_leaf(m, blk + n, max - n, s);
        n += more;
        if (more == 0 || (blk + n) % LEAF_BLOCKS != 0)
            break;
    }
    *ret = s;
    return MIN(n, max);
}

/* --- changes ----------------------------------------------------------------------------------------------------- */

/* Call @f for each piece of [blk, blk + n) that lies within one leaf. */
#define FOR_EACH_LEAF(dir, first, count, blk, n)                                                                       \
    for (uint64_t at_ = (blk), left_ = (n), dir = 0, first = 0, count = 0;                                             \
         left_ > 0 &&                                                                                                  \
         (dir = at_ / LEAF_BLOCKS, first = at_ % LEAF_BLOCKS, count = MIN(left_, LEAF_BLOCKS - first), 1);             \
         at_ += count, left_ -= count)

/* True if [first, first + count) are all blocks that leaf @dir has; the last one of a disk covers fewer. */
static bool is_whole_leaf(const struct livemap *m, uint64_t dir, uint64_t first, uint64_t count)
{
    return first == 0 && count == MIN(LEAF_BLOCKS, m->nblk - dir * LEAF_BLOCKS);
}

int livemap_prepare(struct livemap *m, uint64_t blk, uint64_t n, enum block_state state)
{
    assert(state != BLOCK_ABSENT);
    FOR_EACH_LEAF(dir, first, count, blk, n)
    {
        int r = 0;
        if (state == BLOCK_PRESENT) {
            r = leaf_need(m, dir, PLANE_PRESENT);
            if (r == 0 && leaf_no(m, dir, PLANE_ZERO) == LEAF_ALL)
                r = leaf_need(m, dir, PLANE_ZERO);
        } else if (leaf_no(m, dir, PLANE_ZERO) == LEAF_NONE && !is_whole_leaf(m, dir, first, count)) {
            r = leaf_need(m, dir, PLANE_ZERO);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static uint64_t bits_of(uint64_t first, uint64_t count)
{
    return (count >= 64 ? ~0ULL : (1ULL << count) - 1) << first;
}

static void leaf_bits(struct livemap *m, uint32_t leaf, uint64_t first, uint64_t count, bool value)
{
    _Atomic uint64_t *w = leaf_at(m, leaf);
    while (count > 0) {
        uint64_t bit = first % 64, n = MIN(count, 64 - bit);
        if (value)
            atomic_fetch_or_explicit(&w[first / 64], bits_of(bit, n), memory_order_acq_rel);
        else
            atomic_fetch_and_explicit(&w[first / 64], ~bits_of(bit, n), memory_order_acq_rel);
        first += n;
        count -= n;
    }
}

void livemap_set_present(struct livemap *m, uint64_t blk, uint64_t n)
{
    FOR_EACH_LEAF(dir, first, count, blk, n)
    {
        leaf_bits(m, leaf_no(m, dir, PLANE_PRESENT), first, count, true);
        uint32_t z = leaf_no(m, dir, PLANE_ZERO);
        assert(z != LEAF_ALL);
        if (z != LEAF_NONE)
            leaf_bits(m, z, first, count, false);
        note_dirty(m, dir);
    }
    atomic_fetch_add(&m->head->changes, 1);
}

void livemap_set_zero(struct livemap *m, uint64_t blk, uint64_t n)
{
    FOR_EACH_LEAF(dir, first, count, blk, n)
    {
        uint32_t z = leaf_no(m, dir, PLANE_ZERO);
        if (z == LEAF_ALL)
            continue;
        if (z != LEAF_NONE) {
            leaf_bits(m, z, first, count, true);
        } else {
            assert(is_whole_leaf(m, dir, first, count));
            atomic_store_explicit(&m->dir[dir].leaf[PLANE_ZERO], LEAF_ALL, memory_order_release);
        }
        note_dirty(m, dir);
    }
    atomic_fetch_add(&m->head->changes, 1);
}

/* --- for the durable form ---------------------------------------------------------------------------------------- */

bool livemap_leaf_get(const struct livemap *m, uint64_t dir, enum map_plane plane, uint64_t *ret)
{
    assert(dir < m->dir_count);
    uint32_t leaf = leaf_no(m, dir, plane);
    if (leaf == LEAF_NONE)
        return false;
    for (uint64_t i = 0; i < LEAF_WORDS; i++)
        ret[i] = word_get(m, leaf, i);
    return true;
}

int livemap_leaf_put(struct livemap *m, uint64_t dir, enum map_plane plane, const uint64_t *bits)
{
    assert(dir < m->dir_count);
    int r = leaf_need(m, dir, plane);
    if (r < 0)
        return r;
    _Atomic uint64_t *w = leaf_at(m, leaf_no(m, dir, plane));
    for (uint64_t i = 0; i < LEAF_WORDS; i++)
        atomic_store(&w[i], bits[i]);
    note_dirty(m, dir);
    atomic_fetch_add(&m->head->changes, 1);
    return 0;
}
