/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to one flag of a VHDX; see vhdx.h. */
#include "gateway/vhdx.h"

#include <stdint.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define TABLE_BYTES 65536
#define ENTRY_BYTES 32
#define HAS_PARENT  2

static const unsigned char metadata_region[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
static const unsigned char file_parameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                                  0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};

/* The entry of @id among @n of them from @p + @at on; NULL when there is none. */
static const unsigned char *find_entry(const unsigned char *p, size_t at, size_t n, const unsigned char *id)
{
    for (size_t i = 0; i < n && at + (i + 1) * ENTRY_BYTES <= TABLE_BYTES; i++)
        if (memcmp(p + at + i * ENTRY_BYTES, id, 16) == 0)
            return p + at + i * ENTRY_BYTES;
    return NULL;
}

/* Where the region of metadata begins; 0 = it is not found. */
static uint64_t find_metadata(int fd, unsigned char *p)
{
    for (uint64_t at = 192 * KiB; at <= 256 * KiB; at += 64 * KiB) {
        if (pread_full(fd, p, TABLE_BYTES, at) < 0 || memcmp(p, "regi", 4) != 0)
            continue;
        const unsigned char *entry = find_entry(p, 16, get_u32(p + 8), metadata_region);
        uint64_t offset = entry ? get_u64(entry + 16) : 0;
        if (offset > 0 && offset < INT64_MAX / 2)
            return offset;
    }
    return 0;
}

bool vhdx_has_parent(int fd)
{
    unsigned char item[8];
    _cleanup_free_ unsigned char *p = malloc(TABLE_BYTES);
    uint64_t at = p ? find_metadata(fd, p) : 0;
    if (at == 0 || pread_full(fd, p, TABLE_BYTES, at) < 0 || memcmp(p, "metadata", 8) != 0)
        return false;
    const unsigned char *entry = find_entry(p, 32, get_u16(p + 10), file_parameters);
    return entry && pread_full(fd, item, sizeof(item), at + get_u32(entry + 16)) == 0 &&
           (get_u32(item + 4) & HAS_PARENT);
}
