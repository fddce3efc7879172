/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XXH3-128 by libxxhash. The only file that knows that library. */
#include "core/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "core/util.h"

_Static_assert(sizeof(XXH128_canonical_t) * 2 == HASH_HEX_LEN, "length of an XXH3-128 in hex");

struct hash {
    XXH3_state_t *state; /* libxxhash allocates it, for its alignment */
};

static const unsigned char zeros[64 * 1024];

struct hash *hash_create(void)
{
    _cleanup_(hash_destroyp) struct hash *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->state = XXH3_createState();
    if (!h->state || XXH3_128bits_reset(h->state) != XXH_OK)
        return NULL;
    return take_ptr(h);
}

void hash_destroy(struct hash *h)
{
    if (!h)
        return;
    (void)XXH3_freeState(h->state); /* always XXH_OK; NULL is allowed */
    free(h);
}

void hash_update(struct hash *h, const void *buf, size_t len)
{
    if (len == 0)
        return;
    XXH_errorcode r = XXH3_128bits_update(h->state, buf, len);
    assert(r == XXH_OK); /* fails for NULL only */
    (void)r;
}

void hash_update_zeros(struct hash *h, uint64_t len)
{
    while (len > 0) {
        size_t n = (size_t)MIN(len, (uint64_t)sizeof(zeros));
        hash_update(h, zeros, n);
        len -= n;
    }
}

static void to_hex(XXH128_hash_t value, char *ret)
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, value);
    for (size_t i = 0; i < sizeof(bytes.digest); i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes.digest[i]);
}

void hash_hex(const struct hash *h, char *ret)
{
    to_hex(XXH3_128bits_digest(h->state), ret);
}

void hash_buf(const void *buf, size_t len, char *ret)
{
    to_hex(XXH3_128bits(buf, len), ret);
}

void hash128(const void *buf, size_t len, unsigned char ret[16])
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits(buf, len));
    memcpy(ret, bytes.digest, sizeof(bytes.digest));
}
