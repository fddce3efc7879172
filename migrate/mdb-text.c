/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text of Access files; see mdb-text.h. */
#include "migrate/mdb-text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"
#include "migrate/utf8.h"

#define UTF8_MAX 4 /* bytes of a character */

/* --- bytes that grow ---------------------------------------------------------------------------------------------- */

void text_buf_finish(struct text_buf *t)
{
    free(t->p);
    *t = (struct text_buf){0};
}

bool text_buf_reserve(struct text_buf *t, size_t len)
{
    if (t->len + len < t->size)
        return true;
    size_t size = MAX(2 * t->size, t->len + len + 256);
    char *bigger = realloc(t->p, size);
    if (!bigger)
        return false;
    t->p = bigger;
    t->size = size;
    return true;
}

bool text_buf_add(struct text_buf *t, const void *p, size_t len)
{
    if (!text_buf_reserve(t, len))
        return false;
    if (len > 0)
        memcpy(t->p + t->len, p, len);
    t->len += len;
    t->p[t->len] = 0;
    return true;
}

static void put(struct text_buf *t, uint32_t c, uint64_t *bad)
{
    if (c == 0)
        c = UTF8_REPLACEMENT;
    if (c == UTF8_REPLACEMENT)
        ++*bad;
    t->len += utf8_put(t->p + t->len, c);
}

/* --- UTF-16 ------------------------------------------------------------------------------------------------------- */

/* One unit after the other; the half of a pair waits in *high. */
static void put_unit(struct text_buf *t, uint32_t *high, unsigned unit, uint64_t *bad)
{
    bool is_low = unit >= 0xdc00 && unit < 0xe000;
    if (*high && is_low) {
        put(t, 0x10000 + ((*high - 0xd800) << 10) + (unit - 0xdc00), bad);
        *high = 0;
        return;
    }
    if (*high)
        put(t, UTF8_REPLACEMENT, bad);
    *high = unit >= 0xd800 && unit < 0xdc00 ? unit : 0;
    if (!*high)
        put(t, is_low ? UTF8_REPLACEMENT : unit, bad);
}

/* Nearly all text is ASCII, which becomes UTF-8 without looking at each character. */
static size_t put_ascii(struct text_buf *t, const unsigned char *src, size_t len)
{
    size_t n = utf8_ascii((const char *)src, len);
    memcpy(t->p + t->len, src, n);
    t->len += n;
    return n;
}

/* The bytes of whole runs of four units that are ASCII and not zero. */
static size_t put_ascii_units(struct text_buf *t, const unsigned char *src, size_t len)
{
    size_t n = 0;
    for (; n + 8 <= len; n += 8) {
        uint64_t v = get_u64(src + n);
        if ((v & 0xff80ff80ff80ff80ULL) != 0 || ((v - 0x0001000100010001ULL) & 0x8000800080008000ULL) != 0)
            break;
        v = (v | v >> 8) & 0x0000ffff0000ffffULL;
        put_u32((unsigned char *)t->p + t->len, (uint32_t)(v | v >> 16));
        t->len += 4;
    }
    return n;
}

static void put_compressed(struct text_buf *t, uint32_t *high, const unsigned char *src, size_t len, uint64_t *bad)
{
    bool is_wide = false;
    for (size_t i = 0; i < len;) {
        if (!is_wide && !*high)
            i += put_ascii(t, src + i, len - i);
        if (i == len)
            break;
        if (src[i] == 0) {
            is_wide = !is_wide;
            i++;
        } else if (!is_wide) {
            put_unit(t, high, src[i++], bad);
        } else if (i + 1 < len) {
            put_unit(t, high, src[i] | (unsigned)src[i + 1] << 8, bad);
            i += 2;
        } else {
            put_unit(t, high, UTF8_REPLACEMENT, bad);
            i++;
        }
    }
}

bool text_from_jet4(struct text_buf *t, const unsigned char *src, size_t len, uint64_t *bad)
{
    uint32_t high = 0;
    if (!text_buf_reserve(t, len * 3 + UTF8_MAX))
        return false;
    if (len >= 2 && src[0] == 0xff && src[1] == 0xfe) {
        put_compressed(t, &high, src + 2, len - 2, bad);
    } else {
        for (size_t i = put_ascii_units(t, src, len); i + 1 < len; i += 2)
            put_unit(t, &high, src[i] | (unsigned)src[i + 1] << 8, bad);
        if (len % 2 != 0)
            put_unit(t, &high, UTF8_REPLACEMENT, bad);
    }
    if (high)
        put(t, UTF8_REPLACEMENT, bad);
    t->p[t->len] = 0;
    return true;
}

/* --- code pages --------------------------------------------------------------------------------------------------- */

/* Zero characters would end the text of whoever takes it for a C string. */
static bool replace_zeros(struct text_buf *t, size_t from, uint64_t *bad)
{
    struct text_buf out = {0};
    if (!memchr(t->p + from, 0, t->len - from))
        return true;
    if (!text_buf_reserve(&out, (t->len - from) * 3))
        return false;
    for (size_t i = from; i < t->len; i++)
        if (t->p[i])
            out.p[out.len++] = t->p[i];
        else
            put(&out, 0, bad);
    t->len = from;
    bool is_added = text_buf_add(t, out.p, out.len);
    text_buf_finish(&out);
    return is_added;
}

bool text_from_charset(struct text_buf *t, iconv_t charset, const unsigned char *src, size_t len, uint64_t *bad)
{
    char *in = (char *)src; /* iconv() does not write there */
    size_t from = t->len;
    (void)iconv(charset, NULL, NULL, NULL, NULL); /* to the first state */
    while (len > 0) {
        if (!text_buf_reserve(t, len + 64))
            return false;
        char *out = t->p + t->len;
        size_t left = t->size - t->len - UTF8_MAX - 1;
        size_t n = iconv(charset, &in, &len, &out, &left);
        int e = errno;
        t->len = (size_t)(out - t->p);
        if (n == (size_t)-1 && e == E2BIG) {
            if (!text_buf_reserve(t, t->size - t->len + 64))
                return false;
        } else if (n == (size_t)-1) { /* a byte that is no character, or the beginning of one at the end */
            put(t, UTF8_REPLACEMENT, bad);
            in++;
            len--;
        }
    }
    if (!text_buf_reserve(t, 0))
        return false;
    t->p[t->len] = 0;
    return replace_zeros(t, from, bad);
}

const char *charset_of_code_page(unsigned code_page)
{
    static const struct {
        unsigned number;
        const char *name;
    } known[] = {
        {437, "CP437"},   {850, "CP850"},   {852, "CP852"},   {866, "CP866"},   {874, "CP874"},
        {932, "CP932"},   {936, "GBK"},     {949, "UHC"},     {950, "BIG5"},    {1250, "CP1250"},
        {1251, "CP1251"}, {1252, "CP1252"}, {1253, "CP1253"}, {1254, "CP1254"}, {1255, "CP1255"},
        {1256, "CP1256"}, {1257, "CP1257"}, {1258, "CP1258"}, {1361, "JOHAB"},  {10000, "MACINTOSH"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].number == code_page)
            return known[i].name;
    return NULL;
}

/* --- is it Chinese? ------------------------------------------------------------------------------------------------ */

void gbk_guess_add(struct gbk_guess *g, const unsigned char *src, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (src[i] < 0x80)
            continue;
        bool is_lead = src[i] > 0x80 && src[i] < 0xff && i + 1 < len;
        unsigned next = is_lead ? src[i + 1] : 0;
        if (is_lead && next >= 0x80 && next != 0xff) { /* both high: in Western text a rare neighbour */
            g->high += 2;
            g->paired += 2;
            i++;
        } else {
            g->high++;
            bool is_pair =
                next >= 0x40 && next != 0x7f && !(next >= 'A' && next <= 'Z') && !(next >= 'a' && next <= 'z');
            if (is_pair) {
                g->paired++;
                i++;
            }
        }
    }
}

bool gbk_guess_is_likely(const struct gbk_guess *g)
{
    return g->high >= 8 && g->paired * 10 >= g->high * 8;
}
