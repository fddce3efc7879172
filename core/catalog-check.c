/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is checked at every open of the catalog: whose file it is, its version, its pages, its references. */
#include "core/catalog-priv.h"

#include <errno.h>
#include <string.h>

static int check_version(struct catalog *c, int *ret, struct err *err)
{
    int64_t id = 0, version = 0;
    int r = db_number(c, "PRAGMA application_id", ARGS(), &id, err);
    if (r == 0)
        r = db_number(c, "PRAGMA user_version", ARGS(), &version, err);
    if (r < 0)
        return r;
    if (id != CATALOG_APPLICATION_ID)
        return err_set(err, -EBADMSG, "'%.500s' is a database of another program, not a Diskgate catalog", c->path);
    if (version > CATALOG_VERSION)
        return err_set(err, -EOPNOTSUPP,
                       "catalog '%.500s' has version %lld and this Diskgate knows versions up to %d; install the newer "
                       "Diskgate that made it",
                       c->path, (long long)version, CATALOG_VERSION);
    if (version < 1)
        return err_set(err, -EBADMSG, "catalog '%.500s' has the impossible version %lld; put a good copy of it back",
                       c->path, (long long)version);
    *ret = (int)version;
    return 0;
}

struct text_row {
    char text[200];
};

static void fill_text(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct text_row *)row)->text);
}

static int check_pages(struct catalog *c, struct err *err)
{
    struct text_row row = {""};
    int r = db_one(c, "PRAGMA quick_check(1)", ARGS(), fill_text, &row, err);
    if (r < 0 || strcmp(row.text, "ok") == 0)
        return r;
    const char *line = strrchr(row.text, '\n'); /* a heading may stand before it */
    return err_set(err, -EBADMSG, "catalog '%.500s' is damaged (%s); put a good copy of it back", c->path,
                   line ? line + 1 : row.text);
}

static int check_references(struct catalog *c, struct err *err)
{
    struct text_row row;
    int r = db_one(c,
                   "SELECT \"table\" || ' row ' || ifnull(rowid, '?') || ' refers to a missing ' || parent"
                   " FROM pragma_foreign_key_check LIMIT 1",
                   ARGS(), fill_text, &row, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    return err_set(err, -EBADMSG, "catalog '%.500s' is damaged (%s); put a good copy of it back", c->path, row.text);
}

int schema_check(struct catalog *c, int *ret_version, struct err *err)
{
    int version = 0;
    int r = check_version(c, &version, err);
    if (r == 0)
        r = check_pages(c, err);
    if (r == 0)
        r = check_references(c, err);
    if (r == 0)
        *ret_version = version;
    return r;
}
