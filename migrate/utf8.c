/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-8; see utf8.h. */
#include "migrate/utf8.h"

size_t utf8_put(char *ret, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = UTF8_REPLACEMENT;
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)((0xf00 >> n) | c);
    return n;
}

size_t utf8_get(const char *p, size_t len, uint32_t *ret_c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char b = (unsigned char)p[0];
    size_t n = b < 0x80 ? 1 : b >= 0xc2 && b < 0xe0 ? 2 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xf0 && b < 0xf5 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t c = n == 1 ? b : b & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | ((unsigned char)p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *ret_c = c;
    return n;
}

bool utf8_is_text(const char *p, size_t len)
{
    uint32_t c;
    for (;;) {
        size_t n = utf8_ascii(p, len);
        if (n == len)
            return true;
        p += n;
        len -= n;
        n = utf8_get(p, len, &c);
        if (n == 0 || c == 0)
            return false;
        p += n;
        len -= n;
    }
}
