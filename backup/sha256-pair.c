/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two SHA-256 in step with the instructions of x86; see sha256-pair.h. FIPS 180-4 has the algorithm and the constants. */
#include "backup/sha256-pair.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "core/util.h"

#define BLOCK   64U
#define LANES   2
#define USES_NI __attribute__((target("sha,sse4.1,ssse3")))

static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* The eight words of a state as the instructions want them: A B E F and C D G H. */
struct state {
    __m128i abef, cdgh;
};

USES_NI static inline void load_state(struct state *s, const uint32_t words[8])
{
    __m128i t = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&words[0]), 0xB1);
    __m128i u = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)&words[4]), 0x1B);
    s->abef = _mm_alignr_epi8(t, u, 8);
    s->cdgh = _mm_blend_epi16(u, t, 0xF0);
}

USES_NI static inline void store_state(const struct state *s, uint32_t words[8])
{
    __m128i t = _mm_shuffle_epi32(s->abef, 0x1B), u = _mm_shuffle_epi32(s->cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)&words[0], _mm_blend_epi16(t, u, 0xF0));
    _mm_storeu_si128((__m128i *)&words[4], _mm_alignr_epi8(u, t, 8));
}

/* Four rounds with the words in w[r % 4], which become those that four times four rounds later will need. */
USES_NI static inline void four_rounds(struct state *s, __m128i w[4], unsigned r)
{
    __m128i k = _mm_add_epi32(w[r % 4], _mm_load_si128((const __m128i *)&constants[4 * r]));
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, k);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(k, 0x0E));
    if (r >= 12)
        return;
    __m128i next = _mm_sha256msg1_epu32(w[r % 4], w[(r + 1) % 4]);
    next = _mm_add_epi32(next, _mm_alignr_epi8(w[(r + 3) % 4], w[(r + 2) % 4], 4));
    w[r % 4] = _mm_sha256msg2_epu32(next, w[(r + 3) % 4]);
}

USES_NI static inline void load_block(__m128i w[4], const unsigned char *p)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    for (unsigned i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * (size_t)i)), big_endian);
}

USES_NI static void add_blocks(uint32_t words[LANES][8], const unsigned char *a, const unsigned char *b, size_t n)
{
    struct state s[LANES], before[LANES];
    __m128i w[LANES][4];
    load_state(&s[0], words[0]);
    load_state(&s[1], words[1]);
    for (; n > 0; n--, a += BLOCK, b += BLOCK) {
        memcpy(before, s, sizeof(before));
        load_block(w[0], a);
        load_block(w[1], b);
#pragma GCC unroll 16
        for (unsigned r = 0; r < 16; r++) {
            four_rounds(&s[0], w[0], r);
            four_rounds(&s[1], w[1], r);
        }
        for (unsigned i = 0; i < LANES; i++) {
            s[i].abef = _mm_add_epi32(s[i].abef, before[i].abef);
            s[i].cdgh = _mm_add_epi32(s[i].cdgh, before[i].cdgh);
        }
    }
    store_state(&s[0], words[0]);
    store_state(&s[1], words[1]);
}

/* What is left of a message, a one, zeros, its length in bits: one block or two. Returns how many. */
static size_t last_blocks(const unsigned char *rest, size_t left, uint64_t len, unsigned char ret[2 * BLOCK])
{
    size_t n = left + 9 <= BLOCK ? 1 : 2;
    uint64_t bits = __builtin_bswap64(len * 8);
    memset(ret, 0, n * BLOCK);
    memcpy(ret, rest, left);
    ret[left] = 0x80;
    memcpy(ret + n * BLOCK - sizeof(bits), &bits, sizeof(bits));
    return n;
}

void sha256_pair(const void *a, const void *b, size_t len, unsigned char ret_a[32], unsigned char ret_b[32])
{
    uint32_t words[LANES][8];
    unsigned char end[LANES][2 * BLOCK];
    size_t whole = len / BLOCK, at = whole * BLOCK;
    memcpy(words[0], start, sizeof(start));
    memcpy(words[1], start, sizeof(start));
    add_blocks(words, a, b, whole);
    (void)last_blocks((const unsigned char *)a + at, len - at, len, end[0]); /* as many as for the other */
    add_blocks(words, end[0], end[1], last_blocks((const unsigned char *)b + at, len - at, len, end[1]));
    for (unsigned i = 0; i < 8; i++) {
        words[0][i] = __builtin_bswap32(words[0][i]);
        words[1][i] = __builtin_bswap32(words[1][i]);
    }
    memcpy(ret_a, words[0], 32);
    memcpy(ret_b, words[1], 32);
}

/* --- may it be used? ---------------------------------------------------------------------------------------------- */

static bool has_instructions(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

static bool is_right(const unsigned char *a, const unsigned char *b, size_t len)
{
    unsigned char got[LANES][32], want[LANES][32];
    sha256_pair(a, b, len, got[0], got[1]);
    return EVP_Digest(a, len, want[0], NULL, EVP_sha256(), NULL) == 1 &&
           EVP_Digest(b, len, want[1], NULL, EVP_sha256(), NULL) == 1 && memcmp(got, want, sizeof(want)) == 0;
}

static bool works;

static void find_out(void)
{
    unsigned char a[5 * BLOCK], b[5 * BLOCK];
    for (unsigned i = 0; i < sizeof(a); i++) {
        a[i] = (unsigned char)(i * 167 + 13);
        b[i] = (unsigned char)(i * 29 + (i >> 3));
    }
    works = has_instructions();
    for (size_t len = sizeof(a) - 2 * BLOCK; works && len <= sizeof(a); len += 11)
        works = is_right(a, b, len);
}

bool sha256_pair_works(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, find_out); /* cannot fail */
    return works;
}

#else

bool sha256_pair_works(void)
{
    return false;
}

void sha256_pair(const void *a, const void *b, size_t len, unsigned char ret_a[32], unsigned char ret_b[32])
{
    (void)a, (void)b, (void)len, (void)ret_a, (void)ret_b;
    __builtin_trap(); /* sha256_pair_works() said so */
}

#endif
