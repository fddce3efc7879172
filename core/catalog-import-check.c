/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the CHECK constraints of the tables that are filled from import_feed, for a row at hand; see catalog-import-priv.h.
 *
 * SQLite takes a third of an INSERT's time to evaluate them: it copies each text to count its bytes, matches patterns, builds a table in memory for an IN.
 * So they are switched off for these statements, and what is here stands for them: never weaker than what the schema says, and told with the same words.
 * All other constraints (unique, not null, types, foreign keys) stay in force. schema_check() looks at all rows with the schema's own constraints whenever
 * the catalog is opened, and a unit test holds both against each other.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define DIGITS  "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static bool is_letter_or_digit(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

/* IS_NAME of the schema, and of a folder. */
static bool is_name(const char *text, size_t max)
{
    size_t n = 0;
    if (!is_letter_or_digit(*text))
        return false;
    for (; text[n]; n++)
        if (n == max || (!is_letter_or_digit(text[n]) && text[n] != '.' && text[n] != '_' && text[n] != '-'))
            return false;
    return true;
}

static bool is_mac(const char *text)
{
    for (int i = 0; i < MAC_LEN; i++) {
        bool is_hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
        if (i % 3 == 2 ? text[i] != ':' : !is_hex)
            return false;
    }
    return text[MAC_LEN] == 0;
}

static bool fits(const char *text, size_t bytes)
{
    return strnlen(text, bytes + 1) <= bytes;
}

static bool is_secret(const char *text)
{
    size_t n = strnlen(text, 17);
    return n >= 12 && n <= 16 && strspn(text, DIGITS LETTERS) == n; /* so a byte is a character */
}

static int refused(const struct import *im, const char *what, struct err *err)
{
    return err_set(err, -EINVAL, "catalog '%.500s' refuses the change (CHECK constraint failed: %s)", im->c->path,
                   what);
}

int import_check_client(const struct import *im, const struct arg *c, struct err *err)
{
    static const struct {
        unsigned char column, max;
        const char *name;
    } texts[] = {{3, 45, "ip"},       {4, 63, "group"},    {5, 223, "iqn"},     {6, 63, "chap_user"},
                 {9, 255, "comment"}, {11, 15, "netmask"}, {12, 15, "gateway"}, {13, 255, "dns"}};
    if (!is_name(c[1].text, NAME_LEN))
        return refused(im, "name", err);
    if (!is_name(c[8].text, OVERLAY_DIR_LEN))
        return refused(im, "overlay_dir", err);
    if (!is_mac(c[2].text))
        return refused(im, "mac", err);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (!fits(c[texts[i].column].text, texts[i].max))
            return refused(im, texts[i].name, err);
    if (strncmp(c[5].text, "iqn.", 4) != 0)
        return refused(im, "iqn", err);
    if (!*c[6].text)
        return refused(im, "chap_user", err);
    return is_secret(c[7].text) ? 0 : refused(im, "chap_password", err);
}
