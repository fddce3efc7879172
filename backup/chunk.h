/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks: what a disk is cut into, and what they are called.
 *
 * A chunk is `chunk_bytes` of a stream (a power of two, fixed for a repository), the last one of a stream may be shorter. Its name is
 * the XXH3-128 of its bytes, as `xxhsum -H2` prints it; a second chunk with the same XXH3-128 and other bytes is called NAME.1, a third
 * NAME.2. The name finds a chunk and finds rot; it never proves that two chunks are equal (two different ones with the same
 * name can be written down without a search): SHA-256 does.
 *
 * Zero chunks are recognized by their bytes and are never stored.
 *
 * Built with DISKGATE_TEST_HASHBITS=N only the first N bits of the XXH3-128 count, so that tests meet collisions all the time; the format
 * file says so and no other build opens such a repository.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_CHUNK_H
#define DISKGATE_BACKUP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sha256.h"

#define CHUNK_BYTES_MIN     (64U << 10)
#define CHUNK_BYTES_MAX     (4U << 20)
#define CHUNK_BYTES_DEFAULT (256U << 10)
#define CHUNK_SUFFIX_MAX    999999999U
#define CHUNK_NAME_LEN      42 /* 32 digits, ".999999999"; without the ending zero */

/* What the format file calls the hash of this build. */
extern const char *const chunk_hash_name;

struct chunk_name {
    unsigned char xxh[16]; /* canonical: high half first */
    uint32_t suffix;       /* 0 for most */
};

/* A chunk that is known to be in the repository. */
struct chunk_ref {
    struct chunk_name name;
    uint32_t len;
    unsigned char sha256[32];
};

void chunk_hash(const void *buf, size_t len, unsigned char ret[16]);
/* True if 64 KiB <= @bytes <= 4 MiB and it is a power of two. */
bool chunk_bytes_ok(uint64_t bytes);

bool chunk_name_equal(const struct chunk_name *a, const struct chunk_name *b);
/* By hash, then by suffix; as memcmp(). */
int chunk_name_compare(const struct chunk_name *a, const struct chunk_name *b);
/* Into @ret, CHUNK_NAME_LEN + 1 bytes. Returns the length. */
size_t chunk_name_text(const struct chunk_name *name, char *ret);
/* The @len bytes at @text, all of them. 0 or -EBADMSG. */
int chunk_name_parse(const char *text, size_t len, struct chunk_name *ret);

#endif
