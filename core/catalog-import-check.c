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

static bool is_letter_or_digit(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

static bool fits(const struct import_cell *c, int64_t bytes)
{
    return c->number <= bytes;
}

/* IS_NAME of the schema, and of a folder. */
static bool is_name(const struct import_cell *c, int64_t max)
{
    if (c->number == 0 || !fits(c, max) || !is_letter_or_digit(*c->text))
        return false;
    for (int64_t i = 1; i < c->number; i++) {
        char ch = c->text[i];
        if (!is_letter_or_digit(ch) && ch != '.' && ch != '_' && ch != '-')
            return false;
    }
    return true;
}

static bool is_mac(const struct import_cell *c)
{
    for (int i = 0; i < MAC_LEN && c->number == MAC_LEN; i++) {
        char ch = c->text[i];
        bool is_hex = (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'f');
        if (i % 3 == 2 ? ch != ':' : !is_hex)
            return false;
    }
    return c->number == MAC_LEN;
}

static bool is_secret(const struct import_cell *c)
{
    for (int64_t i = 0; i < c->number; i++)
        if (!is_letter_or_digit(c->text[i])) /* so a byte is a character */
            return false;
    return c->number >= 12 && c->number <= 16;
}

static int refused(const struct import *im, const char *what, struct err *err)
{
    return err_set(err, -EINVAL, "catalog '%.500s' refuses the change (CHECK constraint failed: %s)", im->c->path,
                   what);
}

int import_check_client(const struct import *im, const struct import_cell *c, struct err *err)
{
    static const struct {
        unsigned char column, max;
        const char *name;
    } texts[] = {{3, 45, "ip"},       {4, 63, "group"},    {5, 223, "iqn"},     {6, 63, "chap_user"},
                 {9, 255, "comment"}, {11, 15, "netmask"}, {12, 15, "gateway"}, {13, 255, "dns"}};
    if (!is_name(&c[1], NAME_LEN))
        return refused(im, "name", err);
    if (!is_name(&c[8], OVERLAY_DIR_LEN))
        return refused(im, "overlay_dir", err);
    if (!is_mac(&c[2]))
        return refused(im, "mac", err);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (!fits(&c[texts[i].column], texts[i].max))
            return refused(im, texts[i].name, err);
    if (c[5].number < 4 || memcmp(c[5].text, "iqn.", 4) != 0)
        return refused(im, "iqn", err);
    if (c[6].number == 0)
        return refused(im, "chap_user", err);
    if (c[10].text || c[10].number < 0 || c[10].number > 1)
        return refused(im, "is_disabled", err);
    return is_secret(&c[7]) ? 0 : refused(im, "chap_password", err);
}
