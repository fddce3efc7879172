/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A copy of the whole catalog for a backup: SQLite's own backup into memory, checked there. No lock is held for longer than that copy takes, and
 * nothing of a write-ahead log has to go with it.
 */
#include "core/catalog-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

#define COPY_BYTES_MAX (1LL << 30)

static void close_db(sqlite3 **db)
{
    (void)sqlite3_close(*db); /* memory only; all statements are done */
}

static int copy_pages(struct catalog *c, sqlite3 *to, struct err *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", c->db, "main");
    if (!b)
        return err_set(err, -ENOMEM, "cannot copy catalog '%.500s': %s", c->path, sqlite3_errmsg(to));
    int code = sqlite3_backup_step(b, -1);
    int end = sqlite3_backup_finish(b);
    if (code == SQLITE_DONE && end == SQLITE_OK)
        return 0;
    return db_error(c, code == SQLITE_DONE ? end : code, err);
}

/* "PRAGMA integrity_check" answers with one row "ok", or with what is wrong. */
static int check_pages(struct catalog *c, sqlite3 *db, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : sqlite3_errmsg(db);
    int r = 0;
    if (code != SQLITE_ROW || !text || strcmp(text, "ok") != 0)
        r = err_set(
            err, -EBADMSG,
            "catalog '%.300s' is damaged (%.200s); put a good copy of it back, from an earlier backup for example",
            c->path, text ? text : "no answer");
    (void)sqlite3_finalize(st); /* the step told */
    return r;
}

static int take_bytes(sqlite3 *db, void **ret, size_t *ret_len, struct err *err)
{
    sqlite3_int64 n = 0;
    unsigned char *bytes = sqlite3_serialize(db, "main", &n, 0);
    void *copy = bytes && n > 0 && n <= COPY_BYTES_MAX ? malloc((size_t)n) : NULL;
    if (copy)
        memcpy(copy, bytes, (size_t)n);
    sqlite3_free(bytes);
    if (!copy)
        return err_set(err, -ENOMEM, "no memory for a copy of the catalog");
    *ret = copy;
    *ret_len = (size_t)n;
    return 0;
}

int catalog_copy(struct catalog *c, void **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(close_db) sqlite3 *db = NULL;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK ||
        sqlite3_create_collation(db, "by_name", SQLITE_UTF8, NULL, catalog_name_order) != SQLITE_OK)
        return err_set(err, -ENOMEM, "no memory for a copy of the catalog");
    int r = copy_pages(c, db, err);
    if (r == 0)
        r = check_pages(c, db, err);
    return r < 0 ? r : take_bytes(db, ret, ret_len, err);
}
