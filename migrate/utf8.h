/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-8: written character by character, and checked. Surrogates, overlong forms and what lies beyond U+10FFFF are not UTF-8.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_UTF8_H
#define DISKGATE_MIGRATE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define UTF8_REPLACEMENT 0xfffd /* stands for what could not be decoded */

/* Up to 4 bytes at @ret, their number is returned. What is no character becomes the replacement. */
size_t utf8_put(char *ret, uint32_t c);

/* The next character of @len > 0 bytes into *ret_c; the number of its bytes, 0 when they are no UTF-8. */
size_t utf8_get(const char *p, size_t len, uint32_t *ret_c);

/* True if the bytes are UTF-8 without a zero byte. */
bool utf8_is_text(const char *p, size_t len);

/* Eight bytes of ASCII, none of them zero. */
static inline bool utf8_is_ascii8(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return (((v - 0x0101010101010101ULL) | v) & 0x8080808080808080ULL) == 0;
}

/* How many of the first bytes are ASCII and not zero: nearly always all of them. */
static inline size_t utf8_ascii(const char *p, size_t len)
{
    size_t n = 0;
    while (n + 8 <= len && utf8_is_ascii8(p + n))
        n += 8;
    if (n + 8 > len && len >= 8 && utf8_is_ascii8(p + len - 8))
        return len;
    while (n < len && (unsigned char)(p[n] - 1) < 0x7f)
        n++;
    return n;
}

#endif
