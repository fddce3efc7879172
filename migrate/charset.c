/* SPDX-License-Identifier: GPL-2.0-or-later */
/* charset_guess(): which character set a text without a mark is written in.
 *
 * Bytes above 0x7f tell, by the places where the letters of a language lie:
 *
 *   GBK           pairs; the common Chinese characters begin with b0..d7 and end with a1..fe
 *   Big5          pairs; the common ones begin with a4..c6 and end with 40..7e or a1..fe
 *   windows-1251  runs of letters c0..ff, mostly small ones e0..ff
 *   KOI8-R        the same with small letters c0..df
 *   CP866         small letters a0..af and e0..ef, capital ones 80..9f
 *   windows-1252  single letters between ASCII ones; Western European, and what is left
 */
#include <string.h>
#include <unistr.h>

#include "core/util.h"
#include "migrate/text-file.h"

struct counts {
    size_t high;                       /* bytes >= 0x80 */
    size_t runs, odd_runs;             /* runs of them, and those of odd length */
    size_t gb_pairs, gb_common, pairs; /* pairs from the beginning of a run */
    size_t big5_pairs, big5_common;
    size_t r80, ra0, rb0, rc0, re0, rf0; /* by range: 80-9f, a0-af, b0-bf, c0-df, e0-ef, f0-ff */
};

static void count_range(struct counts *c, unsigned char b)
{
    size_t *n = b < 0xa0   ? &c->r80
                : b < 0xb0 ? &c->ra0
                : b < 0xc0 ? &c->rb0
                : b < 0xe0 ? &c->rc0
                : b < 0xf0 ? &c->re0
                           : &c->rf0;
    (*n)++;
}

static void count_pair(struct counts *c, unsigned char a, unsigned char b)
{
    bool is_high = b >= 0xa1 && b <= 0xfe, is_low = b >= 0x40 && b <= 0x7e;
    c->pairs++;
    c->gb_pairs += a >= 0x81 && a <= 0xfe && (is_high || is_low || (b >= 0x80 && b <= 0xa0));
    c->gb_common += ((a >= 0xb0 && a <= 0xd7) || a == 0xa1 || a == 0xa3) && is_high;
    c->big5_pairs += a >= 0xa1 && a <= 0xf9 && (is_high || is_low);
    c->big5_common += a >= 0xa4 && a <= 0xc6 && (is_high || is_low);
}

/* Pairs as GBK and Big5 readers would make them: a high byte takes the next one along, whatever it is. */
static void count_pairs(struct counts *c, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++)
        if (p[i] >= 0x81) {
            count_pair(c, p[i], p[i + 1]);
            i++;
        }
}

static void count_runs(struct counts *c, const unsigned char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        for (; i + n < len && p[i + n] >= 0x80; n++)
            count_range(c, p[i + n]);
        c->high += n;
        c->runs += n > 0;
        c->odd_runs += n % 2;
        i += n + 1;
    }
}

static bool most(size_t n, size_t of, unsigned percent)
{
    return of > 0 && n * 100 >= of * percent;
}

static const char *guess_cyrillic(const struct counts *c)
{
    size_t words = c->rc0 + c->re0 + c->rf0;
    if (!most(c->high, c->runs * 2 + 1, 100)) /* letters stand alone: no words of Cyrillic */
        return NULL;
    if (most(words, c->high, 90))
        return c->rc0 > c->re0 + c->rf0 ? "KOI8-R" : "CP1251";
    if (most(c->r80 + c->ra0 + c->re0, c->high, 90) && c->ra0 > 0)
        return "CP866";
    return NULL;
}

/* UTF-16 of mostly Western text has a zero byte in nearly every pair, always at the same place. */
static const char *guess_utf16(const unsigned char *p, size_t len)
{
    size_t even = 0, odd = 0, pairs = MIN(len, (size_t)65536) / 2;
    for (size_t i = 0; i < pairs; i++) {
        even += p[2 * i] == 0;
        odd += p[2 * i + 1] == 0;
    }
    if (len % 2 == 0 && most(odd, pairs, 40) && even * 20 < odd + 1)
        return "UTF-16LE";
    if (len % 2 == 0 && most(even, pairs, 40) && odd * 20 < even + 1)
        return "UTF-16BE";
    return NULL;
}

const char *charset_guess(const unsigned char *p, size_t len, bool *ret_is_guess)
{
    struct counts c = {0};
    *ret_is_guess = false;
    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        return "UTF-8";
    if (len >= 2 && (memcmp(p, "\xff\xfe", 2) == 0 || memcmp(p, "\xfe\xff", 2) == 0))
        return p[0] == 0xff ? "UTF-16LE" : "UTF-16BE";
    const char *utf16 = len >= 4 ? guess_utf16(p, len) : NULL;
    if (utf16)
        return utf16;
    const uint8_t *bad = u8_check(p, len);
    if (!bad || (bad > p && (size_t)(p + len - bad) < 4)) /* cut in the middle of the last character */
        return "UTF-8";
    *ret_is_guess = true;
    count_runs(&c, p, len);
    count_pairs(&c, p, len);
    if (most(c.gb_common, c.pairs, 75) && c.odd_runs * 10 <= c.runs)
        return "GBK";
    if (most(c.big5_common, c.pairs, 85) && most(c.big5_pairs, c.pairs, 95))
        return "BIG5";
    const char *cyrillic = guess_cyrillic(&c);
    if (cyrillic)
        return cyrillic;
    return most(c.gb_pairs, c.pairs, 99) && most(c.gb_common, c.pairs, 50) ? "GBK" : "CP1252";
}
