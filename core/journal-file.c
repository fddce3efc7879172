/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encoding and decoding of the journal; see journal-file.h. */
#include "core/journal-file.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/livemap.h"
#include "core/util.h"

#define JOURNAL_VERSION 2U /* 1 had no root */

static const char area_magic[8] = {'D', 'G', 'J', 'R', 'N', '\r', '\n', 0x1a};
static const char commit_magic[8] = {'D', 'G', 'C', 'M', 'T', '\r', '\n', 0x1a};

/* --- areas ------------------------------------------------------------------------------------------------------- */

void area_head_encode(const struct area_head *h, unsigned char block[JOURNAL_BLOCK])
{
    memset(block, 0, JOURNAL_BLOCK);
    memcpy(block, area_magic, sizeof(area_magic));
    put_u32(block + 8, JOURNAL_VERSION);
    put_u32(block + 12, 0); /* features */
    put_u64(block + 16, h->generation);
    put_u64(block + 24, h->area_bytes);
    put_u32(block + 32, h->index);
    memcpy(block + 36, h->root, strnlen(h->root, JOURNAL_ROOT_LEN));
    hash128(block, JOURNAL_BLOCK - 16, block + JOURNAL_BLOCK - 16);
}

int area_head_decode(const unsigned char block[JOURNAL_BLOCK], struct area_head *ret)
{
    unsigned char sum[16];
    if (memcmp(block, area_magic, sizeof(area_magic)) != 0)
        return -EBADMSG;
    uint32_t version = get_u32(block + 8);
    if (version < 1 || version > JOURNAL_VERSION || get_u32(block + 12) != 0)
        return -EOPNOTSUPP;
    hash128(block, JOURNAL_BLOCK - 16, sum);
    if (memcmp(sum, block + JOURNAL_BLOCK - 16, sizeof(sum)) != 0)
        return -EBADMSG;
    *ret = (struct area_head){.version = version,
                              .generation = get_u64(block + 16),
                              .area_bytes = get_u64(block + 24),
                              .index = get_u32(block + 32)};
    if (version > 1)
        memcpy(ret->root, block + 36, JOURNAL_ROOT_LEN);
    bool is_good = ret->area_bytes >= JOURNAL_AREA_MIN && ret->area_bytes <= JOURNAL_AREA_MAX &&
                   ret->area_bytes % JOURNAL_BLOCK == 0 && ret->index < 2;
    return is_good ? 0 : -EBADMSG;
}

/* --- commits ----------------------------------------------------------------------------------------------------- */

/* The check sum comes first and covers all that follows. */
void commit_seal(const struct commit_head *h, unsigned char *buf)
{
    memset(buf, 0, COMMIT_HEAD_BYTES);
    memcpy(buf + 16, commit_magic, sizeof(commit_magic));
    put_u64(buf + 24, h->generation);
    put_u64(buf + 32, h->number);
    put_u32(buf + 40, h->bytes);
    put_u32(buf + 44, h->entries);
    hash128(buf + 16, h->bytes - 16, buf);
}

int commit_open(const unsigned char *buf, size_t room, struct commit_head *ret)
{
    if (room < JOURNAL_BLOCK || memcmp(buf + 16, commit_magic, sizeof(commit_magic)) != 0)
        return -EBADMSG;
    *ret = (struct commit_head){.generation = get_u64(buf + 24),
                                .number = get_u64(buf + 32),
                                .bytes = get_u32(buf + 40),
                                .entries = get_u32(buf + 44)};
    if (ret->number == 0 || ret->number > JOURNAL_NUMBER_MAX || ret->bytes < JOURNAL_BLOCK ||
        ret->bytes % JOURNAL_BLOCK != 0 || ret->bytes > room)
        return -EBADMSG;
    unsigned char sum[16];
    hash128(buf + 16, ret->bytes - 16, sum);
    return memcmp(sum, buf, sizeof(sum)) == 0 ? 0 : -EBADMSG;
}

/* --- entries ----------------------------------------------------------------------------------------------------- */

void entry_encode(unsigned char *p, const unsigned char id[16], const struct map_run *runs, size_t n)
{
    memset(p, 0, ENTRY_HEAD_BYTES);
    memcpy(p, id, 16);
    put_u32(p + 16, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        unsigned char *r = p + ENTRY_HEAD_BYTES + i * RUN_BYTES;
        put_u64(r, runs[i].blk);
        put_u32(r + 8, runs[i].n);
        put_u32(r + 12, runs[i].state);
    }
}

int64_t entry_decode(const unsigned char *p, size_t room, unsigned char ret_id[16], struct map_run **ret, size_t *ret_n)
{
    if (room < ENTRY_HEAD_BYTES)
        return -EBADMSG;
    size_t n = get_u32(p + 16);
    if (n == 0 || n > JOURNAL_RUNS_MAX || n * RUN_BYTES > room - ENTRY_HEAD_BYTES)
        return -EBADMSG;
    _cleanup_free_ struct map_run *runs = calloc(n, sizeof(*runs));
    if (!runs)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *r = p + ENTRY_HEAD_BYTES + i * RUN_BYTES;
        runs[i] = (struct map_run){.blk = get_u64(r), .n = get_u32(r + 8), .state = get_u32(r + 12)};
        if (runs[i].n == 0 || (runs[i].state != BLOCK_PRESENT && runs[i].state != BLOCK_ZERO))
            return -EBADMSG;
    }
    memcpy(ret_id, p, 16);
    *ret = take_ptr(runs);
    *ret_n = n;
    return (int64_t)(ENTRY_HEAD_BYTES + n * RUN_BYTES);
}
