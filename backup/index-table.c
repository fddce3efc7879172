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

size_t table_find(const unsigned char *table, size_t n, const unsigned char xxh[16], uint32_t suffix)
{
    unsigned char key[20];
    size_t low = 0, high = n;
    memcpy(key, xxh, 16);
    put_u32(key + 16, suffix);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare_names(table + mid * INDEX_ENTRY_BYTES, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
