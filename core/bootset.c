/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Merging, choosing and the file of boot sets; see bootset.h. */
#include "core/bootset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/util.h"

/* --- recording ----------------------------------------------------------------------------------------------------- */

struct boot_record {
    uint32_t *order; /* extents as they were first read */
    size_t count, room;
    uint64_t last;   /* extent of the read before, most reads are beside it */
    uint32_t *slots; /* number + 1, 0 = free; at most a quarter is taken */
    size_t slot_count;
};

struct boot_record *boot_record_create(void)
{
    struct boot_record *r = calloc(1, sizeof(*r));
    if (r)
        r->last = UINT64_MAX;
    return r;
}

void boot_record_destroy(struct boot_record *r)
{
    if (!r)
        return;
    free(r->order);
    free(r->slots);
    free(r);
}

size_t boot_record_count(const struct boot_record *r)
{
    return r->count;
}

static uint32_t *slot_of(uint32_t *slots, size_t slot_count, uint32_t number)
{
    size_t i = (number * 2654435761U) & (slot_count - 1);
    while (slots[i] && slots[i] != number + 1)
        i = (i + 1) & (slot_count - 1);
    return &slots[i];
}

/* Room for one more, in both tables. */
static bool grow(struct boot_record *r)
{
    if (r->count == r->room) {
        size_t room = r->room ? 2 * r->room : 256;
        uint32_t *order = realloc(r->order, room * sizeof(*order));
        if (!order)
            return false;
        r->order = order;
        r->room = room;
    }
    if (4 * (r->count + 1) <= r->slot_count)
        return true;
    size_t slot_count = r->slot_count ? 2 * r->slot_count : 2048;
    uint32_t *slots = calloc(slot_count, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < r->count; i++)
        *slot_of(slots, slot_count, r->order[i]) = r->order[i] + 1;
    free(r->slots);
    r->slots = slots;
    r->slot_count = slot_count;
    return true;
}

static void add_extent(struct boot_record *r, uint64_t number)
{
    if (number == r->last || number >= UINT32_MAX || r->count >= BOOTSET_EXTENTS_MAX)
        return;
    if (r->slots && *slot_of(r->slots, r->slot_count, (uint32_t)number)) {
        r->last = number;
        return;
    }
    if (!grow(r))
        return;
    *slot_of(r->slots, r->slot_count, (uint32_t)number) = (uint32_t)number + 1;
    r->order[r->count++] = (uint32_t)number;
    r->last = number;
}

void boot_record_add(struct boot_record *r, uint64_t off, uint64_t len)
{
    if (len == 0)
        return;
    for (uint64_t n = off / BOOTSET_EXTENT_BYTES; n <= (off + len - 1) / BOOTSET_EXTENT_BYTES; n++)
        add_extent(r, n);
}

/* --- set ----------------------------------------------------------------------------------------------------------- */

struct bootset {
    unsigned boots;
    size_t count;
    struct boot_extent *extents; /* by rising number */
};

struct bootset *bootset_create(void)
{
    return calloc(1, sizeof(struct bootset));
}

void bootset_destroy(struct bootset *s)
{
    if (!s)
        return;
    free(s->extents);
    free(s);
}

unsigned bootset_boots(const struct bootset *s)
{
    return s->boots;
}

size_t bootset_count(const struct bootset *s)
{
    return s->count;
}

const struct boot_extent *bootset_extent(const struct bootset *s, size_t i)
{
    return &s->extents[i];
}

static int by_number(const void *a, const void *b)
{
    const struct boot_extent *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Half of what was learnt is forgotten. */
static void halve(struct bootset *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        s->extents[i].boots /= 2;
        if (s->extents[i].boots > 0)
            s->extents[n++] = s->extents[i];
    }
    s->count = n;
    s->boots /= 2;
}

/* The extents of @r as a set of one boot, sorted. NULL without memory. */
static struct boot_extent *sorted(const struct boot_record *r)
{
    struct boot_extent *e = calloc(r->count, sizeof(*e));
    for (size_t i = 0; e && i < r->count; i++)
        e[i] = (struct boot_extent){.number = r->order[i], .boots = 1, .rank = (uint16_t)(i * 65535 / r->count)};
    if (e)
        qsort(e, r->count, sizeof(*e), by_number);
    return e;
}

static struct boot_extent both(const struct boot_extent *old, const struct boot_extent *fresh)
{
    return (struct boot_extent){
        .number = old->number,
        .boots = (uint16_t)(old->boots + 1),
        .rank = (uint16_t)(((uint32_t)old->rank * old->boots + fresh->rank) / (old->boots + 1U)),
    };
}

/* Keep the extents that most boots read, should there be too many. */
static void cut(struct bootset *s)
{
    for (unsigned least = 2; s->count > BOOTSET_EXTENTS_MAX; least++) {
        size_t n = 0;
        for (size_t i = 0; i < s->count; i++)
            if (s->extents[i].boots >= least)
                s->extents[n++] = s->extents[i];
        s->count = n;
    }
}

int bootset_merge(struct bootset *s, const struct boot_record *r)
{
    if (r->count == 0)
        return 0;
    _cleanup_free_ struct boot_extent *fresh = sorted(r);
    struct boot_extent *all = calloc(s->count + r->count, sizeof(*all));
    if (!fresh || !all) {
        free(all);
        return -ENOMEM;
    }
    if (s->boots >= BOOTSET_BOOTS_MAX)
        halve(s);
    size_t n = 0, i = 0, k = 0;
    while (i < s->count || k < r->count) {
        if (k == r->count || (i < s->count && s->extents[i].number < fresh[k].number)) {
            all[n++] = s->extents[i++];
        } else if (i == s->count || fresh[k].number < s->extents[i].number) {
            all[n++] = fresh[k++];
        } else {
            all[n++] = both(&s->extents[i++], &fresh[k++]);
        }
    }
    free(s->extents);
    s->extents = all;
    s->count = n;
    s->boots++;
    cut(s);
    return 0;
}

static int by_worth(const void *a, const void *b)
{
    const struct boot_extent *x = a, *y = b;
    if (x->boots != y->boots)
        return x->boots > y->boots ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int bootset_choose(const struct bootset *s, uint64_t budget_bytes, uint64_t disk_bytes, uint32_t **ret, size_t *ret_n)
{
    _cleanup_free_ struct boot_extent *e = malloc((s->count + 1) * sizeof(*e));
    uint32_t *numbers = malloc((s->count + 1) * sizeof(*numbers));
    if (!e || !numbers) {
        free(numbers);
        return -ENOMEM;
    }
    unsigned least = s->boots >= 2 ? 2 : 1;
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->extents[i].boots >= least && s->extents[i].number * BOOTSET_EXTENT_BYTES < disk_bytes)
            e[n++] = s->extents[i];
    if (n > 0)
        qsort(e, n, sizeof(*e), by_worth);
    n = MIN(n, (size_t)(budget_bytes / BOOTSET_EXTENT_BYTES));
    for (size_t i = 0; i < n; i++)
        numbers[i] = e[i].number;
    if (n > 0)
        qsort(numbers, n, sizeof(*numbers), by_value);
    *ret = numbers;
    *ret_n = n;
    return 0;
}

/* --- file ---------------------------------------------------------------------------------------------------------- */

#define MAGIC        "DGBOOT\r\n"
#define VERSION      1U
#define HEAD_BYTES   48U
#define EXTENT_BYTES 8U
#define SUM_AT       32U

void bootset_name(const char *identity, char *ret)
{
    char hex[HASH_HEX_LEN + 1];
    hash_buf(identity, strlen(identity), hex);
    (void)snprintf(ret, BOOTSET_NAME_LEN + 1, "%s.boot", hex); /* fits */
}

/* Over all bytes, those of the sum itself taken as zeros. */
static void checksum(const unsigned char *buf, size_t len, unsigned char ret[16])
{
    static const unsigned char zeros[16];
    char hex[HASH_HEX_LEN + 1];
    struct hash *h = hash_create();
    memset(ret, 0, 16);
    if (!h)
        return;
    hash_update(h, buf, SUM_AT);
    hash_update(h, zeros, sizeof(zeros));
    hash_update(h, buf + HEAD_BYTES, len - HEAD_BYTES);
    hash_hex(h, hex);
    hash_destroy(h);
    for (size_t i = 0; i < 16; i++) {
        unsigned byte = 0;
        (void)sscanf(hex + 2 * i, "%2x", &byte); /* our own digits */
        ret[i] = (unsigned char)byte;
    }
}

int bootset_store(int dirfd, const char *name, const struct bootset *s)
{
    size_t len = HEAD_BYTES + s->count * EXTENT_BYTES;
    _cleanup_free_ unsigned char *buf = calloc(1, len);
    if (!buf)
        return -ENOMEM;
    memcpy(buf, MAGIC, 8);
    put_u32(buf + 8, VERSION);
    put_u32(buf + 16, (uint32_t)BOOTSET_EXTENT_BYTES);
    put_u32(buf + 20, s->boots);
    put_u32(buf + 24, (uint32_t)s->count);
    for (size_t i = 0; i < s->count; i++) {
        unsigned char *p = buf + HEAD_BYTES + i * EXTENT_BYTES;
        put_u32(p, s->extents[i].number);
        put_u32(p + 4, (uint32_t)s->extents[i].boots | (uint32_t)s->extents[i].rank << 16);
    }
    checksum(buf, len, buf + SUM_AT);
    return file_replace(dirfd, name, buf, len, 0600);
}

static int check_head(const unsigned char *buf, size_t len, struct err *err)
{
    unsigned char sum[16];
    if (len < HEAD_BYTES || memcmp(buf, MAGIC, 8) != 0)
        return err_set(err, -EBADMSG, "it is no boot set");
    if (get_u32(buf + 8) != VERSION || get_u32(buf + 12) != 0 || get_u32(buf + 16) != BOOTSET_EXTENT_BYTES)
        return err_set(err, -EOPNOTSUPP, "it was made by another version of diskgate-fs");
    uint32_t n = get_u32(buf + 24), boots = get_u32(buf + 20);
    if (n > BOOTSET_EXTENTS_MAX || boots > BOOTSET_BOOTS_MAX || len != HEAD_BYTES + (size_t)n * EXTENT_BYTES)
        return err_set(err, -EBADMSG, "its length or its counts are wrong");
    checksum(buf, len, sum);
    return memcmp(sum, buf + SUM_AT, sizeof(sum)) == 0 ? 0 : err_set(err, -EBADMSG, "its check sum is wrong");
}

int bootset_decode(const void *bytes, size_t len, struct bootset **ret, struct err *err)
{
    const unsigned char *buf = bytes;
    int r = check_head(buf, len, err);
    if (r < 0)
        return r;
    _cleanup_(bootset_destroyp) struct bootset *s = bootset_create();
    size_t n = get_u32(buf + 24);
    if (s)
        s->extents = calloc(n + 1, sizeof(*s->extents));
    if (!s || !s->extents)
        return err_sys(err, -ENOMEM, "cannot read a boot set");
    s->boots = get_u32(buf + 20);
    for (; s->count < n; s->count++) {
        const unsigned char *p = buf + HEAD_BYTES + s->count * EXTENT_BYTES;
        uint32_t both_halves = get_u32(p + 4);
        struct boot_extent e = {
            .number = get_u32(p), .boots = (uint16_t)both_halves, .rank = (uint16_t)(both_halves >> 16)};
        bool is_rising = s->count == 0 || e.number > s->extents[s->count - 1].number;
        if (!is_rising || e.boots == 0 || e.boots > s->boots)
            return err_set(err, -EBADMSG, "extent %zu of it is impossible", s->count);
        s->extents[s->count] = e;
    }
    *ret = take_ptr(s);
    return 0;
}

int bootset_load(int dirfd, const char *name, struct bootset **ret, struct err *err)
{
    _cleanup_free_ char *buf = NULL;
    size_t len;
    int r = file_read(dirfd, name, HEAD_BYTES + (size_t)BOOTSET_EXTENTS_MAX * EXTENT_BYTES, &buf, &len);
    if (r == -EFBIG)
        return err_set(err, -EBADMSG, "it is too long for a boot set");
    if (r < 0)
        return r == -ENOENT ? r : err_sys(err, r, "cannot read it");
    return bootset_decode(buf, len, ret, err);
}
