/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Live map in a shared file mapping; see livemap.h for the states and docs/live-map-format.md for the layout.
 *
 *   0      header, 4096 bytes
 *   4096   directory: for each 128 MiB { u32 present leaf, u32 zero leaf }, 0 = none, 0xffffffff = ALL (zero leaves only)
 *   leafs  leaf n at leaf_off + (n - 1) * 4096
 *
 * The file is truncated to its greatest possible size at creation and stays sparse. Header and directory get storage at once, a leaf
 * just before it is first touched: on tmpfs even reading a page that has none may fault. All counters and bits are in the machine's
 * byte order: the file never leaves the boot it was made in.
 *
 * Leaves are numbered in the order of their making. Death between the counting of a leaf and its entry in the directory leaves one
 * that nobody names; the next opening takes the greatest number that is named as the count, and so makes it free again.
 */
#include "core/livemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/blk.h"
#include "core/lock.h"
#include "core/names.h"
#include "core/util.h"

#define LIVE_MAGIC   "DGLIVE1"
#define LIVE_VERSION 1U
#define PAGE         4096ULL
#define LEAF_NONE    0U
#define LEAF_ALL     0xffffffffU

struct live_header {
    char magic[8];
    uint32_t version, features; /* features: bits that a reader must know; none yet */
    unsigned char boot_id[16];
    struct map_stamp stamp;
    uint64_t leaf_off; /* bytes */
    _Atomic uint32_t is_complete;
    _Atomic uint32_t leaf_count;
    _Atomic uint64_t changes;
    _Atomic uint32_t lost_errno; /* 0 = all that was written to the data file is there */
};
_Static_assert(sizeof(struct live_header) <= PAGE, "the header is one page");
_Static_assert(offsetof(struct live_header, boot_id) == 16, "the same in every version");
_Static_assert(offsetof(struct live_header, stamp) == 32 && offsetof(struct map_stamp, size_bytes) == 96 &&
                   offsetof(struct live_header, leaf_off) == 136 && offsetof(struct live_header, is_complete) == 144 &&
                   offsetof(struct live_header, leaf_count) == 148 && offsetof(struct live_header, changes) == 152 &&
                   offsetof(struct live_header, lost_errno) == 160,
               "as docs/live-map-format.md says");

struct live_dir {
    _Atomic uint32_t leaf[2]; /* by enum map_plane */
};

struct livemap {
    int fd;
    size_t map_bytes;
    uint64_t dir_count, nblk, leaf_max;
    struct live_header *head; /* the mapping */
    struct live_dir *dir;
    unsigned char *leaves;
    _Atomic uint64_t *dirty; /* bit n: directory entry n changed since it was taken */
    struct lock lock;        /* protects the allocation of leaves */
};

/* --- header ------------------------------------------------------------------------------------------------------ */

static int boot_id(unsigned char ret[16])
{
    _cleanup_free_ char *text = NULL;
    int r = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, NULL);
    if (r < 0)
        return r;
    text[strcspn(text, "\n")] = 0;
    return uuid_decode(text, ret);
}

static uint64_t dir_count_of(uint64_t size_bytes)
{
    return (size_bytes + LEAF_BLOCKS * BLOCK_BYTES - 1) / (LEAF_BLOCKS * BLOCK_BYTES);
}

static uint64_t leaf_off_of(uint64_t size_bytes)
{
    return PAGE + round_up(dir_count_of(size_bytes) * sizeof(struct live_dir), PAGE);
}

static uint64_t file_bytes_of(uint64_t size_bytes)
{
    return leaf_off_of(size_bytes) + 2 * dir_count_of(size_bytes) * PAGE;
}

static bool size_ok(uint64_t size_bytes)
{
    return size_bytes > 0 && size_bytes % SECTOR_BYTES == 0 && size_bytes <= LIVEMAP_SIZE_MAX;
}

/* Give [off, off + len) of the file storage. tmpfs gives up with EINTR whenever a signal is pending. */
static int reserve(int fd, uint64_t off, uint64_t len)
{
    while (fallocate(fd, 0, (off_t)off, (off_t)len) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int map_file(int fd, uint64_t size_bytes, bool read_only, struct livemap **ret, struct err *err)
{
    struct livemap *m = calloc(1, sizeof(*m));
    if (!m)
        return err_sys(err, -ENOMEM, "cannot open the live map");
    m->map_bytes = file_bytes_of(size_bytes);
    void *p = mmap(NULL, m->map_bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        int r = -errno;
        free(m);
        return err_sys(err, r, "cannot map the live map");
    }
    (void)madvise(p, m->map_bytes,
                  MADV_RANDOM); /* a hint: one page is wanted, not those around it, for a thousand clients */
    m->fd = fd;
    m->dir_count = dir_count_of(size_bytes);
    m->leaf_max = 2 * m->dir_count;
    m->nblk = (size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    m->head = p;
    m->dir = (struct live_dir *)((char *)p + PAGE);
    m->leaves = (unsigned char *)p + leaf_off_of(size_bytes);
    m->dirty = calloc(m->dir_count / 64 + 1, sizeof(*m->dirty));
    if (!m->dirty) {
        (void)munmap(p, m->map_bytes); /* it is ours */
        free(m);
        return err_sys(err, -ENOMEM, "cannot open the live map");
    }
    lock_init(&m->lock, LOCK_MAP);
    *ret = m;
    return 0;
}

static void unmap_file(struct livemap *m)
{
    (void)munmap(m->head, m->map_bytes); /* the mapping is ours; what is in it stays in the file */
    lock_finish(&m->lock);
    free((void *)m->dirty);
    free(m);
}

int livemap_create(int fd, const struct map_stamp *stamp, struct livemap **ret, struct err *err)
{
    assert(size_ok(stamp->size_bytes));
    uint64_t bytes = file_bytes_of(stamp->size_bytes);
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)bytes) < 0)
        return err_sys(err, -errno, "cannot make a live map of %llu bytes", (unsigned long long)bytes);
    int r = reserve(fd, 0, leaf_off_of(stamp->size_bytes));
    if (r < 0)
        return err_sys(err, r, "cannot make a live map");
    struct livemap *m;
    r = map_file(fd, stamp->size_bytes, false, &m, err);
    if (r < 0)
        return r;
    struct live_header *h = m->head;
    memcpy(h->magic, LIVE_MAGIC, sizeof(h->magic));
    h->version = LIVE_VERSION;
    h->stamp = *stamp;
    h->leaf_off = leaf_off_of(stamp->size_bytes);
    r = boot_id(h->boot_id);
    if (r < 0) {
        unmap_file(m);
        return err_sys(err, r, "cannot read the boot id of the machine");
    }
    atomic_store(&h->is_complete, 1);
    if (fdatasync(fd) < 0) { /* after a power cut the boot id must tell that it is old; zeros would look like damage */
        r = -errno;
        unmap_file(m);
        return err_sys(err, r, "cannot make a live map");
    }
    *ret = m;
    return 0;
}

static int check_header(const struct live_header *h, struct err *err)
{
    unsigned char now[16];
    if (memcmp(h->magic, LIVE_MAGIC, sizeof(h->magic)) != 0 || !h->is_complete)
        return err_set(err, -EBADMSG, "the live map is not complete");
    int r = boot_id(now);
    if (r < 0)
        return err_sys(err, r, "cannot read the boot id of the machine");
    if (memcmp(h->boot_id, now, sizeof(now)) != 0)
        return err_set(err, -ESTALE, "the live map is from before the machine's last boot");
    if (h->version != LIVE_VERSION || h->features != 0)
        return err_set(err, -EOPNOTSUPP, "the live map was made by another version of diskgate-fs");
    const struct map_stamp *s = &h->stamp;
    if (!size_ok(s->size_bytes) || h->leaf_off != leaf_off_of(s->size_bytes) ||
        !memchr(s->base_identity, 0, sizeof(s->base_identity)))
        return err_set(err, -EBADMSG, "the header of the live map is damaged");
    return 0;
}

/* Take note of leaf @n, which the directory names, and count it. False when it cannot be: out of bounds, or named before. */
static bool claim_leaf(const struct livemap *m, uint32_t n, unsigned char *seen, uint32_t *named)
{
    if (n == LEAF_NONE)
        return true;
    if (n > m->leaf_max || n > atomic_load(&m->head->leaf_count) || seen[n / 8] >> (n % 8) & 1)
        return false;
    seen[n / 8] |= (unsigned char)(1U << (n % 8));
    ++*named;
    return true;
}

/* Check the directory; *ret_count is the greatest leaf that it names. Who writes needs that there are no gaps: leaves are numbered in the
 * order of their making. Who only reads may look while another is making some. */
static int check_directory(const struct livemap *m, bool read_only, uint32_t *ret_count, struct err *err)
{
    _cleanup_free_ unsigned char *seen = calloc(1, m->leaf_max / 8 + 1);
    if (!seen)
        return err_sys(err, -ENOMEM, "cannot open the live map");
    uint32_t count = 0, named = 0;
    for (uint64_t i = 0; i < m->dir_count; i++) {
        uint32_t p = atomic_load(&m->dir[i].leaf[PLANE_PRESENT]), z = atomic_load(&m->dir[i].leaf[PLANE_ZERO]);
        if (z == LEAF_ALL)
            z = LEAF_NONE;
        if (!claim_leaf(m, p, seen, &named) || !claim_leaf(m, z, seen, &named))
            return err_set(err, -EBADMSG, "entry %llu of the live map's directory is damaged", (unsigned long long)i);
        count = MAX(count, MAX(p, z));
    }
    if (named != count && !read_only)
        return err_set(err, -EBADMSG, "the directory of the live map lacks entries");
    *ret_count = count;
    return 0;
}

/* Make sure of the storage of all that will be touched: a file that was copied may have lost some. */
static int take_over(struct livemap *m, uint32_t count, struct err *err)
{
    int r = reserve(m->fd, 0, m->head->leaf_off + count * PAGE);
    if (r < 0)
        return err_sys(err, r, "cannot open the live map");
    atomic_store(&m->head->leaf_count, count);
    return 0;
}

int livemap_open(int fd, bool read_only, struct livemap **ret, struct err *err)
{
    struct live_header h;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the live map");
    int r = pread_full(fd, &h, sizeof(h), 0);
    if (r < 0)
        return err_set(err, -EBADMSG, "the live map is cut short");
    r = check_header(&h, err);
    if (r < 0)
        return r;
    if ((uint64_t)st.st_size != file_bytes_of(h.stamp.size_bytes))
        return err_set(err, -EBADMSG, "the live map has the wrong size");
    struct livemap *m;
    r = map_file(fd, h.stamp.size_bytes, read_only, &m, err);
    if (r < 0)
        return r;
    uint32_t count = 0;
    r = check_directory(m, read_only, &count, err);
    if (r == 0 && !read_only)
        r = take_over(m, count, err);
    if (r < 0) {
        unmap_file(m);
        return r;
    }
    livemap_mark_dirty(m);
    *ret = m;
    return 0;
}

void livemap_close(struct livemap *m)
{
    if (!m)
        return;
    (void)close(m->fd); /* nothing is buffered in the descriptor */
    unmap_file(m);
}

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
    return (_Atomic uint64_t *)(m->leaves + (uint64_t)(n - 1) * PAGE);
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
    int r = reserve(m->fd, m->head->leaf_off + (uint64_t)(n - 1) * PAGE, PAGE);
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
    memset((void *)leaf_at(m, n), old == LEAF_ALL ? 0xff : 0, PAGE);
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
