/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XXH3-128: the one hash of this project, as 32 hex digits. Finds damage and tells files apart; it is no protection against an
 * attacker who chooses the content.
 *
 * The digits are those that `xxh128sum` prints (canonical order, high half first), so that a hash can be checked by hand.
 *
 * Threads: one at a time per object; any number of objects.
 */
#ifndef DISKGATE_CORE_HASH_H
#define DISKGATE_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_HEX_LEN 32 /* digits, without the ending zero */

struct hash;

/* NULL when memory is short. */
struct hash *hash_create(void);
void hash_destroy(struct hash *h); /* NULL is allowed */
static inline void hash_destroyp(struct hash **h)
{
    hash_destroy(*h);
}

void hash_update(struct hash *h, const void *buf, size_t len);

/* As hash_update() with @len zeros. */
void hash_update_zeros(struct hash *h, uint64_t len);

/* Hash of all bytes so far into @ret (HASH_HEX_LEN + 1 bytes). More may follow. */
void hash_hex(const struct hash *h, char *ret);

/* One call for bytes in memory. */
void hash_buf(const void *buf, size_t len, char *ret);

/* The same as 16 bytes in canonical order, for check sums inside of files. */
void hash128(const void *buf, size_t len, unsigned char ret[16]);

#endif
