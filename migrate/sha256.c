/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256; see sha256.h. Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.3.3 and 6.2; Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
 *
 * Where the processor has instructions for it they do the work, in a fraction of the time.
 */
#include "migrate/sha256.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "core/util.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t turn(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* Letter @n of a to h, when round @k has moved all of them up by @k. */
#define LETTER(n) v[((n) + 8 - k) % 8]

static inline void take_round(uint32_t v[8], unsigned k, uint32_t add)
{
    uint32_t a = LETTER(0), e = LETTER(4);
    uint32_t s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25), choice = (e & LETTER(5)) ^ (~e & LETTER(6));
    uint32_t s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22),
             most = (a & LETTER(1)) ^ (a & LETTER(2)) ^ (LETTER(1) & LETTER(2));
    uint32_t t = LETTER(7) + s1 + choice + add;
    LETTER(3) += t;
    LETTER(7) = t + s0 + most;
}

static void take_block(uint32_t h[8], const unsigned char *p)
{
    uint32_t w[64], v[8];
    for (unsigned i = 0; i < 16; i++) {
        memcpy(&w[i], p + 4 * i, 4);
        w[i] = be32toh(w[i]);
    }
    for (unsigned i = 16; i < 64; i++) {
        uint32_t s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, h, sizeof(v));
    for (unsigned i = 0; i < 64; i += 8) /* eight rounds later each letter is in its old place */
        for (unsigned k = 0; k < 8; k++)
            take_round(v, k, w[i + k] + K[i + k]);
    for (unsigned i = 0; i < 8; i++)
        h[i] += v[i];
}

/* --- by the processor ---------------------------------------------------------------------------------------------- */

#ifdef __x86_64__

static bool has_instructions(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* Rounds 4 * @i to 4 * @i + 3. @w: the last 16 words of the schedule; the letters lie as the instructions want them, ABEF and CDGH. */
__attribute__((target("sha,sse4.1"))) static inline void take_rounds(__m128i w[4], __m128i *abef, __m128i *cdgh,
                                                                     unsigned i)
{
    if (i >= 4) {
        __m128i next = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
        w[i & 3] = _mm_sha256msg2_epu32(next, w[(i + 3) & 3]);
    }
    __m128i add = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)(K + 4 * i)));
    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, add);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(add, 0x0e));
}

__attribute__((target("sha,sse4.1"))) static void take_blocks_fast(uint32_t h[8], const unsigned char *p, size_t n)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; n > 0; n--, p += 64) {
        __m128i w[4], abef_before = abef, cdgh_before = cdgh;
        for (unsigned i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), big_endian);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i++)
            take_rounds(w, &abef, &cdgh, i);
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#else

static bool has_instructions(void)
{
    return false;
}

static void take_blocks_fast(uint32_t h[8], const unsigned char *p, size_t n)
{
    (void)h, (void)p, (void)n; /* never called */
}

#endif

static void take_blocks(struct sha256 *s, const unsigned char *p, size_t n)
{
    if (s->is_fast) {
        take_blocks_fast(s->h, p, n);
        return;
    }
    for (; n > 0; n--, p += 64)
        take_block(s->h, p);
}

/* --- the whole ----------------------------------------------------------------------------------------------------- */

void sha256_init(struct sha256 *s)
{
    sha256_init_plain(s);
    s->is_fast = has_instructions();
}

void sha256_init_plain(struct sha256 *s)
{
    *s = (struct sha256){
        .h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(struct sha256 *s, const void *buf, size_t len)
{
    const unsigned char *p = buf;
    while (len > 0) {
        size_t at = s->bytes % 64, n = MIN(len, 64 - at);
        if (n == 64) {
            n = len - len % 64;
            take_blocks(s, p, n / 64);
        } else {
            memcpy(s->block + at, p, n);
            if (at + n == 64)
                take_blocks(s, s->block, 1);
        }
        s->bytes += n;
        p += n;
        len -= n;
    }
}

void sha256_hex(struct sha256 *s, char *ret)
{
    static const unsigned char pad[64] = {0x80};
    uint64_t bits = htobe64(s->bytes * 8);
    sha256_update(s, pad, 1 + (119 - s->bytes % 64) % 64);
    sha256_update(s, &bits, sizeof(bits));
    for (int i = 0; i < 8; i++)
        (void)snprintf(ret + 8 * i, 9, "%08x", s->h[i]);
}

int sha256_file(int fd, char *ret)
{
    struct sha256 s;
    unsigned char buf[65536];
    uint64_t off = 0;
    sha256_init(&s);
    for (;;) {
        ssize_t n = pread(fd, buf, sizeof(buf), (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sha256_update(&s, buf, (size_t)n);
        off += (uint64_t)n;
    }
    sha256_hex(&s, ret);
    return 0;
}
