/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 by libcrypto; see sha256.h. */
#include "core/sha256.h"

#include <errno.h>
#include <openssl/evp.h>

#include "core/util.h"

#define PIECE_BYTES (64 * KiB)

struct sha256 {
    EVP_MD_CTX *ctx;
};

int sha256_buf(const void *buf, size_t len, unsigned char ret[32])
{
    return EVP_Digest(buf, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0 : -EIO;
}

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

/* One piece after the other until there is no more. */
static int add_file(struct sha256 *s, int fd, char *buf, uint64_t *ret_bytes)
{
    uint64_t off = 0;
    for (;;) {
        ssize_t n = pread(fd, buf, PIECE_BYTES, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        off += (uint64_t)n;
        int r = sha256_update(s, buf, (size_t)n);
        if (r < 0)
            return r;
    }
    if (ret_bytes)
        *ret_bytes = off;
    return 0;
}

int sha256_file(int fd, unsigned char ret[32], uint64_t *ret_bytes)
{
    _cleanup_(sha256_destroyp) struct sha256 *s = sha256_create();
    _cleanup_free_ char *buf = malloc(PIECE_BYTES);
    if (!s || !buf)
        return -ENOMEM;
    int r = add_file(s, fd, buf, ret_bytes);
    return r < 0 ? r : sha256_finish(s, ret);
}

/* --- digits ------------------------------------------------------------------------------------------------------ */

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
