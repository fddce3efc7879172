/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arrays of entries; see index-table.h. */
#include "backup/index-table.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/bytes.h"
#include "core/util.h"

void index_entry_encode(const struct chunk_place *place, unsigned char *p)
{
    memcpy(p, place->ref.name.xxh, 16);
    put_u32(p + 16, place->ref.name.suffix);
    put_u32(p + 20, place->pack);
    put_u64(p + 24, place->off);
    put_u32(p + 32, place->clen);
    put_u32(p + 36, place->ref.len);
    memcpy(p + 40, place->ref.sha256, 32);
}

void index_entry_decode(const unsigned char *p, struct chunk_place *ret)
{
    memcpy(ret->ref.name.xxh, p, 16);
    ret->ref.name.suffix = get_u32(p + 16);
    ret->pack = get_u32(p + 20);
    ret->off = get_u64(p + 24);
    ret->clen = get_u32(p + 32);
    ret->ref.len = get_u32(p + 36);
    memcpy(ret->ref.sha256, p + 40, 32);
}

#define FIRST_BYTES (64U * 1024U)

int entries_add(struct entries *e, const struct chunk_place *place)
{
    if ((e->n + 1) * INDEX_ENTRY_BYTES > e->room_bytes) {
        size_t room = e->room_bytes ? 2 * e->room_bytes : FIRST_BYTES;
        void *p = e->p ? mremap(e->p, e->room_bytes, room, MREMAP_MAYMOVE)
                       : mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || e->n >= UINT32_MAX - 1)
            return -ENOMEM;
        e->p = p;
        e->room_bytes = room;
    }
    index_entry_encode(place, e->p + e->n++ * INDEX_ENTRY_BYTES);
    return 0;
}

void entries_finish(struct entries *e)
{
    if (e->p)
        (void)munmap(e->p, e->room_bytes); /* it is ours */
    *e = (struct entries){0};
}

/* --- order ------------------------------------------------------------------------------------------------------- */

static int compare_names(const unsigned char *a, const unsigned char *b)
{
    int r = memcmp(a, b, 16);
    uint32_t x = get_u32(a + 16), y = get_u32(b + 16);
    return r ? r : (x > y) - (x < y);
}

int index_entry_compare(const unsigned char *a, const unsigned char *b)
{
    int r = compare_names(a, b);
    uint32_t x = get_u32(a + 20) + 1, y = get_u32(b + 20) + 1; /* INDEX_BAD becomes 0, the worst */
    return r ? r : (x < y) - (x > y);
}

static int compare_numbers(const void *a, const void *b, void *arg)
{
    const struct entries *e = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int r = index_entry_compare(e->p + (size_t)x * INDEX_ENTRY_BYTES, e->p + (size_t)y * INDEX_ENTRY_BYTES);
    return r ? r : (x < y) - (x > y); /* of equal ones the younger */
}

int entries_order(const struct entries *e, uint32_t **ret, size_t *ret_n)
{
    uint32_t *order = calloc(e->n + 1, sizeof(*order));
    size_t n = 0;
    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < e->n; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, e->n, sizeof(*order), compare_numbers, (void *)e);
    for (size_t i = 0; i < e->n; i++)
        if (n == 0 || compare_names(e->p + (size_t)order[n - 1] * INDEX_ENTRY_BYTES,
                                    e->p + (size_t)order[i] * INDEX_ENTRY_BYTES) != 0)
            order[n++] = order[i];
    *ret = order;
    *ret_n = n;
    return 0;
}

/* --- the table in its file ----------------------------------------------------------------------------------------- */

#ifdef DISKGATE_TEST_HASHBITS
#define BLOCK_ENTRIES 3U /* so that small tests cross many */
#else
#define BLOCK_ENTRIES 56U /* 4032 bytes */
#endif

static size_t blocks_of(const struct table *t)
{
    return (t->n + BLOCK_ENTRIES - 1) / BLOCK_ENTRIES;
}

/* The beginning of a name as a number of the same order. */
static uint64_t fence_of(const unsigned char *xxh)
{
    return __builtin_bswap64(get_u64(xxh));
}

int table_init(struct table *t, int fd, uint64_t off, size_t n)
{
    *t = (struct table){.fd = fd, .off = off, .n = n};
    t->fences = calloc(blocks_of(t) + 1, sizeof(*t->fences));
    t->block = malloc((size_t)BLOCK_ENTRIES * INDEX_ENTRY_BYTES);
    if (t->fences && t->block)
        return 0;
    free(t->fences);
    free(t->block);
    *t = (struct table){0};
    return -ENOMEM;
}

void table_fence(struct table *t, size_t i, const unsigned char *entry)
{
    if (i % BLOCK_ENTRIES == 0)
        t->fences[i / BLOCK_ENTRIES] = fence_of(entry);
}

unsigned char *table_make_room(struct table *t)
{
    return t->entries = calloc(t->n + 1, INDEX_ENTRY_BYTES);
}

void table_leave_file(struct table *t)
{
    (void)close(t->fd); /* read only */
    t->fd = -1;
}

void table_finish(struct table *t)
{
    if (t->fences && t->fd >= 0)
        (void)close(t->fd); /* a cache */
    free(t->fences);
    free(t->bad);
    free(t->entries);
    free(t->block);
    *t = (struct table){0};
}

static bool is_bad(const struct table *t, size_t i)
{
    return t->bad && (t->bad[i / 64] >> (i % 64) & 1);
}

static int load_block(struct table *t, size_t number)
{
    size_t first = number * BLOCK_ENTRIES, n = MIN((size_t)BLOCK_ENTRIES, t->n - first);
    if (t->at == number + 1)
        return 0;
    t->at = 0;
    if (pread_full(t->fd, t->block, n * INDEX_ENTRY_BYTES, t->off + (uint64_t)first * INDEX_ENTRY_BYTES) < 0)
        return -EIO;
    for (size_t i = 0; i < n; i++)
        if (is_bad(t, first + i))
            put_u32(t->block + i * INDEX_ENTRY_BYTES + 20, INDEX_BAD);
    t->at = number + 1;
    return 0;
}

/* The entries of a block; NULL: the disk does not give them. */
static const unsigned char *block_at(struct table *t, size_t number)
{
    if (t->entries)
        return t->entries + number * BLOCK_ENTRIES * INDEX_ENTRY_BYTES;
    return load_block(t, number) < 0 ? NULL : t->block;
}

const unsigned char *table_entry(struct table *t, size_t i)
{
    const unsigned char *block = block_at(t, i / BLOCK_ENTRIES);
    return block ? block + i % BLOCK_ENTRIES * INDEX_ENTRY_BYTES : NULL;
}

/* The first block whose first name is not below @xxh, as far as its beginning tells. */
static size_t find_block(const struct table *t, const unsigned char xxh[16])
{
    uint64_t key = fence_of(xxh);
    size_t low = 0, high = blocks_of(t);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->fences[mid] < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int table_find(struct table *t, const unsigned char xxh[16], size_t *ret)
{
    size_t b = t->n ? find_block(t, xxh) : 0;
    for (b -= b > 0; b < blocks_of(t); b++) { /* it may lie in the one before */
        size_t low = 0, high = MIN((size_t)BLOCK_ENTRIES, t->n - b * BLOCK_ENTRIES), n = high;
        const unsigned char *block = block_at(t, b);
        if (!block)
            return -EIO;
        while (low < high) {
            size_t mid = low + (high - low) / 2;
            if (memcmp(block + mid * INDEX_ENTRY_BYTES, xxh, 16) < 0)
                low = mid + 1;
            else
                high = mid;
        }
        if (low < n) {
            *ret = b * BLOCK_ENTRIES + low;
            return 0;
        }
    }
    *ret = t->n;
    return 0;
}

int table_set_bad(struct table *t, size_t i)
{
    if (t->entries) {
        put_u32(t->entries + i * INDEX_ENTRY_BYTES + 20, INDEX_BAD);
        return 0;
    }
    if (!t->bad && !(t->bad = calloc(t->n / 64 + 1, sizeof(*t->bad))))
        return -ENOMEM;
    t->bad[i / 64] |= 1ULL << (i % 64);
    t->at = 0; /* to be read again */
    return 0;
}
