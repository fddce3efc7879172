/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: rows of this program as a table of SQLite, for INSERT ... SELECT; see catalog-import-priv.h.
 *
 * One statement for a hundred thousand rows does once what single ones do each time: it opens the indexes, counts up sqlite_sequence, is bound, stepped
 * and reset. The table is read from its beginning to its end and has no index; its columns are called c0, c1, ...
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

struct cursor {
    sqlite3_vtab_cursor base;
    struct import_feed *feed;
    bool is_at_end;
    int64_t row;
};

struct feed_table {
    sqlite3_vtab base;
    struct import_feed *feed;
};

static int feed_connect(sqlite3 *db, void *feed, int argc, const char *const *argv, sqlite3_vtab **ret, char **ret_msg)
{
    (void)argc;
    (void)argv;
    (void)ret_msg;
    int code = sqlite3_declare_vtab(db, "CREATE TABLE x (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13)");
    struct feed_table *t = code == SQLITE_OK ? sqlite3_malloc(sizeof(*t)) : NULL;
    if (!t)
        return code == SQLITE_OK ? SQLITE_NOMEM : code;
    *t = (struct feed_table){.feed = feed};
    *ret = &t->base;
    return sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
}

static int feed_disconnect(sqlite3_vtab *t)
{
    sqlite3_free(t);
    return SQLITE_OK;
}

static int feed_plan(sqlite3_vtab *t, sqlite3_index_info *info)
{
    (void)t;
    info->estimatedCost = 1e6;
    return SQLITE_OK;
}

static int feed_open(sqlite3_vtab *t, sqlite3_vtab_cursor **ret)
{
    struct cursor *c = sqlite3_malloc(sizeof(*c));
    if (!c)
        return SQLITE_NOMEM;
    *c = (struct cursor){.feed = ((struct feed_table *)t)->feed};
    *ret = &c->base;
    return SQLITE_OK;
}

static int feed_close(sqlite3_vtab_cursor *c)
{
    sqlite3_free(c);
    return SQLITE_OK;
}

static int feed_next(sqlite3_vtab_cursor *cursor)
{
    struct cursor *c = (struct cursor *)cursor;
    struct import_feed *f = c->feed;
    f->result = import_ahead_next(f->rows, &f->columns, f->err);
    c->is_at_end = f->result <= 0;
    c->row++;
    return f->result < 0 ? SQLITE_ABORT : SQLITE_OK;
}

static int feed_first(sqlite3_vtab_cursor *cursor, int index, const char *index_name, int argc, sqlite3_value **argv)
{
    (void)index;
    (void)index_name;
    (void)argc;
    (void)argv;
    return feed_next(cursor);
}

static int feed_is_at_end(sqlite3_vtab_cursor *cursor)
{
    return ((struct cursor *)cursor)->is_at_end;
}

static int feed_column(sqlite3_vtab_cursor *cursor, sqlite3_context *to, int i)
{
    const struct import_cell *c = &((struct cursor *)cursor)->feed->columns[i];
    if (c->text)
        sqlite3_result_text(to, c->text, (int)c->number,
                            SQLITE_STATIC); /* it is there until the next row is asked for */
    else
        sqlite3_result_int64(to, c->number);
    return SQLITE_OK;
}

static int feed_rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret)
{
    *ret = ((struct cursor *)cursor)->row;
    return SQLITE_OK;
}

static const sqlite3_module feed_module = {
    .xConnect = feed_connect, /* without xCreate: it is there, and nothing can be made of it */
    .xBestIndex = feed_plan,
    .xDisconnect = feed_disconnect,
    .xOpen = feed_open,
    .xClose = feed_close,
    .xFilter = feed_first,
    .xNext = feed_next,
    .xEof = feed_is_at_end,
    .xColumn = feed_column,
    .xRowid = feed_rowid,
};

int import_feed_create(struct import *im, struct err *err)
{
    struct import_feed *f = calloc(1, sizeof(*f));
    if (!f)
        return err_sys(err, -ENOMEM, "cannot begin an import");
    im->feed = f;
    int code = sqlite3_create_module_v2(im->c->db, "import_feed", &feed_module, f, free); /* also when it fails */
    if (code == SQLITE_OK)
        return 0;
    im->feed = NULL;
    return db_error(im->c, code, err);
}

void import_feed_destroy(struct import *im)
{
    if (im->feed)
        (void)sqlite3_create_module_v2(im->c->db, "import_feed", NULL, NULL, NULL); /* takes it away; nothing uses it */
    im->feed = NULL;
}

static int insert(struct import *im, const char *sql, const struct arg *args, struct err *err)
{
    int r = db_exec(im->c, "PRAGMA ignore_check_constraints = ON", err);
    if (r == 0)
        r = db_run(im->c, sql, args, err);
    int end = db_exec(im->c, "PRAGMA ignore_check_constraints = OFF", r < 0 ? NULL : err);
    return r < 0 ? r : end;
}

int import_feed_run(struct import *im, const char *sql, const struct arg *args, const struct import_maker *maker,
                    struct err *err)
{
    struct import_feed *f = im->feed;
    struct err own = {0}, db = {0};
    *f = (struct import_feed){.err = &own};
    int r = import_ahead_begin(&f->rows, im, maker, err);
    if (r < 0)
        return r;
    r = insert(im, sql, args, &db);
    import_ahead_end(f->rows);
    f->rows = NULL;
    if (r < 0 && f->result < 0)
        r = f->result;
    if (r < 0 && err)
        *err = own.msg[0] ? own : db;
    return r;
}
