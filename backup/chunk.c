/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of chunks; see chunk.h. */
#include "backup/chunk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/util.h"

#ifdef DISKGATE_TEST_HASHBITS
#define HASH_BITS DISKGATE_TEST_HASHBITS
#define TEXT_(n)  #n
#define TEXT(n)   TEXT_(n)
const char *const chunk_hash_name = "xxh3-128/" TEXT(DISKGATE_TEST_HASHBITS);
#else
#define HASH_BITS 128
const char *const chunk_hash_name = "xxh3-128";
#endif

void chunk_hash(const void *buf, size_t len, unsigned char ret[16])
{
    hash128(buf, len, ret);
    for (unsigned bit = HASH_BITS; bit < 128; bit++)
        ret[bit / 8] &= (unsigned char)~(0x80U >> bit % 8);
}

bool chunk_bytes_ok(uint64_t bytes)
{
    return bytes >= CHUNK_BYTES_MIN && bytes <= CHUNK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

bool chunk_name_equal(const struct chunk_name *a, const struct chunk_name *b)
{
    return chunk_name_compare(a, b) == 0;
}

int chunk_name_compare(const struct chunk_name *a, const struct chunk_name *b)
{
    int r = memcmp(a->xxh, b->xxh, sizeof(a->xxh));
    return r ? r : (a->suffix > b->suffix) - (a->suffix < b->suffix);
}

size_t chunk_name_text(const struct chunk_name *name, char *ret)
{
    hex_text(name->xxh, sizeof(name->xxh), ret);
    if (name->suffix == 0)
        return 32;
    return 32 + (size_t)snprintf(ret + 32, CHUNK_NAME_LEN + 1 - 32, ".%u", name->suffix);
}

int chunk_name_parse(const char *text, size_t len, struct chunk_name *ret)
{
    uint32_t suffix = 0;
    if (len < 32 || hex_parse(text, 32, ret->xxh, sizeof(ret->xxh)) < 0)
        return -EBADMSG;
    if (len == 32) {
        ret->suffix = 0;
        return 0;
    }
    if (text[32] != '.' || len < 34 || len > CHUNK_NAME_LEN || text[33] == '0')
        return -EBADMSG;
    for (size_t i = 33; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EBADMSG;
        suffix = suffix * 10 + (uint32_t)(text[i] - '0'); /* nine digits fit */
    }
    ret->suffix = suffix;
    return 0;
}
