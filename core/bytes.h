/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Little-endian numbers in bytes, for the formats on disk.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_BYTES_H
#define DISKGATE_CORE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void put_u32(unsigned char *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void put_u64(unsigned char *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static inline uint32_t get_u32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t get_u64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

#endif
