/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A name that Diskgate accepts from whatever the source calls a machine or a group. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/record.h"
#include "migrate/text.h"

static bool is_alnum(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool is_mark(char ch)
{
    return ch == '.' || ch == '_' || ch == '-';
}

/* Length of a name that may stay as it is, 0 when it may not. */
static size_t good_as_it_is(const char *raw)
{
    size_t n = 0;
    while (n <= NAME_LEN && (is_alnum(raw[n]) || is_mark(raw[n])))
        n++;
    return n > 0 && n <= NAME_LEN && !raw[n] && is_alnum(raw[0]) && is_alnum(raw[n - 1]) ? n : 0;
}

bool name_from_raw(const char *raw, char *ret)
{
    char wide[512];
    size_t n = good_as_it_is(raw);
    if (n > 0) {
        memcpy(ret, raw, n + 1);
        return true;
    }
    (void)text_nfkc(raw, strlen(raw), wide, sizeof(wide));
    for (const char *p = wide; *p && n < NAME_LEN; p++) {
        bool is_kept = is_alnum(*p) || (n > 0 && is_mark(*p));
        if (is_kept)
            ret[n++] = *p;
        else if (n > 0 && ret[n - 1] != '-')
            ret[n++] = '-'; /* one for any number of other characters */
    }
    while (n > 0 && !is_alnum(ret[n - 1]))
        n--;
    ret[n] = 0;
    return n > 0;
}

/* Six hex digits of @text, the same in every version: the next import gives the same name. FNV-1a. */
static void digits_of(const char *text, char ret[8])
{
    uint32_t h = 0x811c9dc5;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x01000193;
    (void)snprintf(ret, 8, "%06x", (h >> 24 ^ h) & 0xffffff);
}

void group_from_raw(const char *raw, char *ret)
{
    char folded[1024], digits[8];
    bool is_there = name_from_raw(raw, ret), is_ascii = true;
    (void)text_fold(raw, folded, sizeof(folded)); /* groups are compared without regard to case, here and there */
    for (const char *p = folded; *p; p++)
        is_ascii = is_ascii && (unsigned char)*p < 0x80;
    if (is_there && is_ascii)
        return;
    digits_of(folded, digits);
    size_t n = is_there ? MIN(strlen(ret), NAME_LEN - sizeof(digits)) : 0;
    while (n > 0 && !is_alnum(ret[n - 1]))
        n--;
    (void)snprintf(ret + n, NAME_LEN + 1 - n, "%s-%s", n ? "" : "group", digits);
}
