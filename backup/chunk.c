/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of chunks, SHA-256 by libcrypto (which uses the processor's instructions for it), hex digits. */
#include "backup/chunk.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "backup/sha256-pair.h"
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

int chunk_sha256(const void *buf, size_t len, unsigned char ret[32])
{
    return EVP_Digest(buf, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

int chunk_sha256_pair(const void *const buf[2], const size_t len[2], unsigned char *const ret[2])
{
    if (len[0] == len[1] && sha256_pair_works()) {
        sha256_pair(buf[0], buf[1], len[0], ret[0], ret[1]);
        return 0;
    }
    int r = chunk_sha256(buf[0], len[0], ret[0]);
    return r < 0 ? r : chunk_sha256(buf[1], len[1], ret[1]);
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

/* --- hex --------------------------------------------------------------------------------------------------------- */

void hex_text(const unsigned char *bytes, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * n] = 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_parse(const char *text, size_t len, unsigned char *ret, size_t n)
{
    if (len != 2 * n)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EBADMSG;
        ret[i] = (unsigned char)(high << 4 | low);
    }
    return 0;
}

/* --- SHA-256 over pieces ----------------------------------------------------------------------------------------- */

struct sha256 {
    EVP_MD_CTX *ctx;
};

struct sha256 *sha256_create(void)
{
    _cleanup_(sha256_destroyp) struct sha256 *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1)
        return NULL;
    return take_ptr(s);
}

void sha256_destroy(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

int sha256_update(struct sha256 *s, const void *buf, size_t len)
{
    return EVP_DigestUpdate(s->ctx, buf, len) == 1 ? 0 : -EIO;
}

int sha256_finish(struct sha256 *s, unsigned char ret[32])
{
    return EVP_DigestFinal_ex(s->ctx, ret, NULL) == 1 ? 0 : -EIO;
}
