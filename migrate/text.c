/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that came from foreign files.
 *
 * The Unicode tables are libunistring's. Plain ASCII, which is nearly all of a site's text, takes a short way without it. Results are cut
 * at the end of the caller's buffer, between two characters: a comparison of cut texts is one of their beginnings.
 */
#include "migrate/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>
#include <uniwidth.h>

#include "core/util.h"
#include "migrate/utf8.h"

/* Zero bytes are none. */
static bool is_ascii(const char *text, size_t len)
{
    return utf8_ascii(text, len) == len;
}

/* How many of the first @max bytes of @text (@len) may be kept without cutting a character. */
static size_t cut_at(const char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

static size_t put(const char *text, size_t len, char *ret, size_t size)
{
    size_t n = cut_at(text, len, size - 1);
    memcpy(ret, text, n);
    ret[n] = 0;
    return n;
}

/* --- folding ------------------------------------------------------------------------------------------------------- */

static size_t ascii_lower(const char *text, size_t len, char *ret, size_t size)
{
    size_t n = MIN(len, size - 1);
    for (size_t i = 0; i < n; i++)
        ret[i] = (char)(text[i] | (text[i] >= 'A' && text[i] <= 'Z') << 5);
    ret[n] = 0;
    return n;
}

size_t text_fold(const char *text, char *ret, size_t size)
{
    size_t len = strlen(text), out_len = 0;
    if (is_ascii(text, len))
        return ascii_lower(text, len, ret, size);
    _cleanup_free_ uint8_t *out = u8_casefold((const uint8_t *)text, len, NULL, UNINORM_NFKC, NULL, &out_len);
    return out ? put((const char *)out, out_len, ret, size) : put(text, len, ret, size);
}

/* Letters with a stroke are letters of their own to Unicode and have no decomposition. */
static ucs4_t without_stroke(ucs4_t ch)
{
    switch (ch) {
    case 0x111: /* d with stroke, Vietnamese */
        return 'd';
    case 0x142:
        return 'l';
    case 0xf8:
        return 'o';
    default:
        return ch;
    }
}

size_t text_plain(const char *text, char *ret, size_t size)
{
    char folded[1024];
    size_t len = text_fold(text, folded, sizeof(folded)), out_len = 0, n = 0;
    if (is_ascii(folded, len))
        return put(folded, len, ret, size);
    _cleanup_free_ uint8_t *out = u8_normalize(UNINORM_NFKD, (const uint8_t *)folded, len, NULL, &out_len);
    if (!out)
        return put(folded, len, ret, size);
    for (size_t i = 0; i < out_len;) {
        ucs4_t ch;
        int step = u8_mbtouc(&ch, out + i, out_len - i);
        i += (size_t)step;
        if (uc_is_general_category(ch, UC_NON_SPACING_MARK))
            continue;
        int wrote = u8_uctomb((uint8_t *)ret + n, without_stroke(ch), (ptrdiff_t)(size - 1 - n));
        if (wrote < 0)
            break;
        n += (size_t)wrote;
    }
    ret[n] = 0;
    return n;
}

size_t text_nfkc(const char *text, size_t len, char *ret, size_t size)
{
    size_t out_len = 0;
    if (is_ascii(text, len))
        return put(text, len, ret, size);
    _cleanup_free_ uint8_t *out = u8_normalize(UNINORM_NFKC, (const uint8_t *)text, len, NULL, &out_len);
    return out ? put((const char *)out, out_len, ret, size) : put(text, len, ret, size);
}

bool text_same(const char *a, const char *b)
{
    char fa[1024], fb[1024];
    text_fold(a, fa, sizeof(fa));
    text_fold(b, fb, sizeof(fb));
    return strcmp(fa, fb) == 0;
}

/* --- showing ------------------------------------------------------------------------------------------------------- */

/* Control, format (direction marks, zero width), surrogate, unassigned and private characters, line and paragraph separators. */
static bool is_dangerous(ucs4_t ch)
{
    if (ch < 0x80)
        return ch < ' ' || ch == 0x7f;
    return uc_is_general_category_withtable(ch, UC_CATEGORY_MASK_C | UC_CATEGORY_MASK_Zl | UC_CATEGORY_MASK_Zp);
}

static void show_char(const uint8_t *p, int len, ucs4_t ch, char out[16])
{
    if (!is_dangerous(ch))
        (void)snprintf(out, 16, "%.*s", len, (const char *)p);
    else if (ch == '\n' || ch == '\t' || ch == '\r')
        (void)snprintf(out, 16, "\\%c", ch == '\n' ? 'n' : ch == '\t' ? 't' : 'r');
    else if (ch < 0x80)
        (void)snprintf(out, 16, "\\x%02x", (unsigned)ch);
    else
        (void)snprintf(out, 16, "\\u{%x}", (unsigned)ch);
}

char *text_shown(const char *text, char *ret, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t left = strlen(text), n = 0;
    while (left > 0) {
        ucs4_t ch;
        char out[16];
        if (*p >= ' ' && *p < 0x7f && n + 5 <= size) {
            ret[n++] = (char)*p++;
            left--;
            continue;
        }
        int step = u8_mbtouc(&ch, p, left);
        show_char(ch == 0xfffd ? (const uint8_t *)"\xef\xbf\xbd" : p, ch == 0xfffd ? 3 : step, ch, out);
        if (n + strlen(out) + 4 > size) {
            memcpy(ret + n, "...", 3);
            n += 3;
            break;
        }
        memcpy(ret + n, out, strlen(out));
        n += strlen(out);
        p += step;
        left -= (size_t)step;
    }
    ret[n] = 0;
    return ret;
}

/* --- pieces -------------------------------------------------------------------------------------------------------- */

bool text_copy(const char *text, size_t len, char *ret, size_t size)
{
    bool is_cut = len >= size;
    size_t n = is_cut ? cut_at(text, len, size - 4) : len;
    memcpy(ret, text, n);
    ret[n] = 0;
    if (is_cut)
        strcpy(ret + n, "...");
    return is_cut;
}

void text_mend(char *text)
{
    size_t len = strlen(text), back = 0;
    while (back < 3 && back < len && ((unsigned char)text[len - 1 - back] & 0xc0) == 0x80)
        back++;
    if (back == len)
        return;
    unsigned char lead = (unsigned char)text[len - 1 - back];
    size_t need = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (need > back)
        text[len - 1 - back] = 0;
}

void text_format(char *ret, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ret, size, fmt, ap);
    va_end(ap);
    text_mend(ret);
}

size_t text_number(int64_t n, char *ret)
{
    char digits[20];
    size_t k = sizeof(digits), len = 0;
    uint64_t v = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do
        digits[--k] = (char)('0' + v % 10);
    while (v /= 10);
    if (n < 0)
        ret[len++] = '-';
    memcpy(ret + len, digits + k, sizeof(digits) - k);
    len += sizeof(digits) - k;
    ret[len] = 0;
    return len;
}

/* Length of the blank that @p begins with, 0 when it is none: ASCII blanks, NO-BREAK SPACE, IDEOGRAPHIC SPACE, BOM. */
static size_t blank_at(const char *p, size_t len)
{
    if (len == 0 || ((unsigned char)*p > ' ' && (unsigned char)*p < 0xc2)) /* nearly always */
        return 0;
    if (strchr(" \t\r\n\v\f", *p) && *p)
        return 1;
    if (len >= 2 && memcmp(p, "\xc2\xa0", 2) == 0)
        return 2;
    if (len >= 3 && (memcmp(p, "\xe3\x80\x80", 3) == 0 || memcmp(p, "\xef\xbb\xbf", 3) == 0))
        return 3;
    return 0;
}

size_t text_trim_blanks(const char **text, size_t len)
{
    size_t step;
    while ((step = blank_at(*text, len)) > 0) {
        *text += step;
        len -= step;
    }
    for (;;) {
        if (len >= 1 && (unsigned char)((*text)[len - 1] - '!') < 0x7f - '!') /* nearly always */
            return len;
        if (len >= 1 && blank_at(*text + len - 1, 1) == 1)
            len -= 1;
        else if (len >= 2 && blank_at(*text + len - 2, 2) == 2)
            len -= 2;
        else if (len >= 3 && blank_at(*text + len - 3, 3) == 3)
            len -= 3;
        else
            return len;
    }
}

size_t text_chars(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

size_t text_columns(const char *text)
{
    return (size_t)u8_width((const uint8_t *)text, strlen(text), "UTF-8");
}

/* No two of its results are the same. */
static uint64_t mix(uint64_t h)
{
    h *= 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}

uint64_t text_hash(const char *text, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ULL ^ len, v = 0;
    for (; len >= sizeof(v); text += sizeof(v), len -= sizeof(v)) {
        memcpy(&v, text, sizeof(v));
        h = mix(h ^ v);
    }
    v = 0;
    memcpy(&v, text, len);
    return mix(mix(h ^ v));
}

/* --- growing text -------------------------------------------------------------------------------------------------- */

#define EIGHT(byte)    (0x0101010101010101ULL * (byte))
#define BELOW(v, byte) (((v)-EIGHT(byte)) & ~(v)&EIGHT(0x80)) /* not 0 if one of eight bytes is; up to 0x80 */

/* How many of the first bytes stand in a JSON string as they are. */
static size_t json_plain(const char *text, size_t len)
{
    size_t n = 0;
    for (uint64_t v; n + sizeof(v) <= len; n += sizeof(v)) {
        memcpy(&v, text + n, sizeof(v));
        uint64_t quote = v ^ EIGHT('"'), slash = v ^ EIGHT('\\'), del = v ^ EIGHT(0x7f);
        if (BELOW(v, ' ') | BELOW(quote, 1) | BELOW(slash, 1) | BELOW(del, 1))
            break;
    }
    while (n < len && text[n] != '"' && text[n] != '\\' && (unsigned char)text[n] >= ' ' && text[n] != 0x7f)
        n++;
    return n;
}

/* Append one JSON string, with @mark at its end; false when it does not fit. The last bytes of the buffer are kept free for text_json_end(). */
#define JSON_TAIL 12
static bool json_string(struct text_out *o, const char *text, size_t len, const char *mark)
{
    size_t n = o->len, limit = o->size - JSON_TAIL - strlen(mark), i = 0;
    if (n + 2 > limit)
        return false;
    o->buf[n++] = '"';
    if (n + len + 8 <= limit) { /* room for all of them, and nearly always all are plain */
        i = json_plain(text, len);
        memcpy(o->buf + n, text, i);
        n += i;
    }
    for (; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (n + 8 > limit)
            return false;
        if (ch == '"' || ch == '\\') {
            o->buf[n++] = '\\';
            o->buf[n++] = (char)ch;
        } else if (ch < ' ' || ch == 0x7f) {
            n += (size_t)snprintf(o->buf + n, 7, "\\u%04x", ch);
        } else {
            o->buf[n++] = (char)ch;
        }
    }
    n = (size_t)(stpcpy(o->buf + n, mark) - o->buf);
    o->buf[n++] = '"';
    o->len = n;
    return true;
}

void text_json_begin(struct text_out *o, char *buf, size_t size)
{
    *o = (struct text_out){.buf = buf, .size = size, .len = 1};
    strcpy(buf, "{");
}

static void put_comma(struct text_out *o)
{
    if (o->len > 1 && o->len + JSON_TAIL < o->size)
        o->buf[o->len++] = ',';
}

/* What follows a key; without it the member, which began at @begin, is left out. */
static bool end_member(struct text_out *o, size_t begin, bool fits, const char *value, size_t len, size_t max)
{
    size_t keep = cut_at(value, len, max);
    fits = fits && json_string(o, value, keep, keep < len ? "..." : "");
    if (!fits) {
        o->len = begin;
        o->is_full = true;
    }
    return fits && keep == len;
}

bool text_json_member(struct text_out *o, const char *key, const char *value, size_t len, size_t max)
{
    size_t begin = o->len;
    put_comma(o);
    bool fits = json_string(o, key, strlen(key), "") && o->len + JSON_TAIL + 1 < o->size;
    if (fits)
        o->buf[o->len++] = ':';
    return end_member(o, begin, fits, value, len, max);
}

bool text_json_member_of(struct text_out *o, const char *key, size_t key_len, const char *value, size_t len, size_t max)
{
    size_t begin = o->len;
    put_comma(o);
    bool fits = o->len + key_len + JSON_TAIL < o->size;
    if (fits) {
        memcpy(o->buf + o->len, key, key_len);
        o->len += key_len;
    }
    return end_member(o, begin, fits, value, len, max);
}

char *text_json_key(const char *key, size_t *ret_len)
{
    size_t len = strlen(key), size = 6 * len + 32; /* an escape has six bytes */
    struct text_out o = {.buf = malloc(size), .size = size};
    if (!o.buf)
        return NULL;
    (void)json_string(&o, key, len, ""); /* fits */
    o.buf[o.len++] = ':';
    o.buf[o.len] = 0;
    *ret_len = o.len;
    return o.buf;
}

void text_json_end(struct text_out *o)
{
    const char *end = !o->is_full ? "}" : o->len > 1 ? ",\"...\":\"\"}" : "\"...\":\"\"}";
    strcpy(o->buf + o->len, end);
    o->len += strlen(end);
}

void text_add_sentence(char *buf, size_t size, const char *fmt, ...)
{
    size_t len = strlen(buf);
    char sentence[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
    va_end(ap);
    text_mend(sentence);
    if (len + strlen(sentence) + 6 < size)
        (void)snprintf(buf + len, size - len, "%s%s", len ? " " : "", sentence);
    else if (len >= 3 && strcmp(buf + len - 3, "...") != 0 && len + 5 <= size)
        strcpy(buf + len, " ...");
}
