/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MAC addresses of foreign tables.
 *
 * core's mac_parse() knows what an administrator may type. Here comes what other programs write: quotes, braces, 0x, wide digits. Both end
 * in mac_parse(), so one thing only decides what a MAC is; before it the text is stripped and one rule added that mac_parse() does not
 * have: dots stand between groups of four only and colons, dashes and blanks between groups of two.
 */
#include "migrate/normalise.h"

#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/text.h"

static const char *const status_texts[] = {
    [MAC_GOOD] = "is good",
    [MAC_LOCAL] = "is locally administered: no maker gave it, so another card may have the same one",
    [MAC_EMPTY] = "is empty",
    [MAC_BAD_FORM] = "is not written as a MAC address",
    [MAC_ZERO] = "is all zero and belongs to no network card",
    [MAC_BROADCAST] = "is the broadcast address and belongs to no network card",
    [MAC_MULTICAST] = "is a group (multicast) address and belongs to no single network card",
};

const char *mac_status_text(enum mac_status s)
{
    return status_texts[s];
}

enum mac_status mac_from_bytes(const unsigned char *bytes, char *ret)
{
    static const unsigned char zero[6], ones[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    ret[0] = 0;
    if (memcmp(bytes, zero, 6) == 0)
        return MAC_ZERO;
    if (memcmp(bytes, ones, 6) == 0)
        return MAC_BROADCAST;
    if (bytes[0] & 1)
        return MAC_MULTICAST;
    for (int i = 0; i < 6; i++) {
        ret[3 * i] = "0123456789abcdef"[bytes[i] >> 4];
        ret[3 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
        ret[3 * i + 2] = i < 5 ? ':' : 0;
    }
    return bytes[0] & 2 ? MAC_LOCAL : MAC_GOOD;
}

static int hex_value(char ch)
{
    static const signed char values[256] = {
        ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
        ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
        ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
    };
    return values[(unsigned char)ch] - 1;
}

static bool is_separator(char ch)
{
    return ch == '-' || ch == ':' || ch == '.' || ch == ' ';
}

/* Take blanks, one pair of quotes or brackets and 0x away, as often as they are there. */
static const char *strip(const char *p, size_t *len)
{
    static const char open[] = "\"'{[(<", closed[] = "\"'}])>";
    for (;;) {
        *len = text_trim(&p, *len);
        const char *at = *len >= 2 && *p ? strchr(open, *p) : NULL;
        if (at && p[*len - 1] == closed[at - open]) {
            p++;
            *len -= 2;
        } else if (*len > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
            p += 2;
            *len -= 2;
        } else {
            return p;
        }
    }
}

/* Digits of one group at *p; their number, the value is added to *mac. */
static unsigned group(const char **p, const char *end, uint64_t *value)
{
    unsigned digits = 0;
    *value = 0;
    for (; *p < end && hex_value(**p) >= 0 && digits < 13; (*p)++, digits++)
        *value = *value << 4 | (uint64_t)hex_value(**p);
    return digits;
}

/* The four spellings. */
static bool form_ok(unsigned groups, unsigned digits, char separator)
{
    switch (groups) {
    case 1:
        return digits == 12;
    case 2:
        return digits == 6 && separator != '.';
    case 3:
        return digits == 4 && separator != ' ';
    case 6:
        return (digits == 1 || digits == 2) && separator != '.';
    default:
        return false;
    }
}

static bool parse(const char *p, size_t len, unsigned char ret[6])
{
    const char *end = p + len;
    uint64_t values[6];
    unsigned digits[6], n = 0;
    char separator = 0;
    for (;; p++) {
        if (n == 6)
            return false;
        digits[n] = group(&p, end, &values[n]);
        n++;
        if (p == end)
            break;
        if (!is_separator(*p) || (separator && separator != *p))
            return false;
        separator = *p;
    }
    unsigned bits = 48 / n;
    uint64_t mac = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!form_ok(n, digits[i], separator))
            return false;
        mac = n == 1 ? values[i] : mac << bits | values[i];
    }
    for (int i = 0; i < 6; i++)
        ret[i] = (unsigned char)(mac >> (40 - 8 * i));
    return true;
}

enum mac_status mac_from_text(const char *text, size_t len, char *ret)
{
    char wide[160];
    unsigned char bytes[6];
    ret[0] = 0;
    len = text_trim(&text, len);
    if (len == 0)
        return MAC_EMPTY;
    if (parse(text, len, bytes)) /* nothing around it, nothing wide in it */
        return mac_from_bytes(bytes, ret);
    if (len > 100 || memchr(text, 0, len))
        return MAC_BAD_FORM;
    len = text_nfkc(text, len, wide, sizeof(wide));
    const char *p = strip(wide, &len);
    return parse(p, len, bytes) ? mac_from_bytes(bytes, ret) : MAC_BAD_FORM;
}

enum mac_status mac_from_cell(const struct cell *c, char *ret)
{
    ret[0] = 0;
    switch (c->kind) {
    case CELL_NONE:
        return MAC_EMPTY;
    case CELL_TEXT:
        return mac_from_text(c->text, c->len, ret);
    case CELL_BYTES:
        return c->len == 6 ? mac_from_bytes((const unsigned char *)c->text, ret) : c->len ? MAC_BAD_FORM : MAC_EMPTY;
    default:
        return MAC_BAD_FORM;
    }
}
