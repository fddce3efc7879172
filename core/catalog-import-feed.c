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
    f->result = f->next(f->arg, f->columns, f->err);
    if (f->result > 0 && f->check) {
        int r = f->check(f->im, f->columns, f->err);
        f->result = r < 0 ? r : 1;
    }
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
    const struct arg *a = &((struct cursor *)cursor)->feed->columns[i];
    if (a->kind == ARG_TEXT)
        sqlite3_result_text(to, a->text, -1, SQLITE_STATIC); /* it is there until the next row is asked for */
    else if (a->kind == ARG_NUMBER)
        sqlite3_result_int64(to, a->number);
    return SQLITE_OK; /* else NULL */
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

int import_feed_run(struct import *im, const char *sql, const struct arg *args, import_feed_fn *next,
                    import_check_fn *check, void *arg, struct err *err)
{
    struct import_feed *f = im->feed;
    struct err own = {0}, db = {0};
    *f = (struct import_feed){.im = im, .next = next, .check = check, .arg = arg, .err = &own};
    int r = db_exec(im->c, "PRAGMA ignore_check_constraints = ON", &db);
    if (r == 0)
        r = db_run(im->c, sql, args, &db);
    int end = db_exec(im->c, "PRAGMA ignore_check_constraints = OFF", r < 0 ? NULL : &db);
    r = r < 0 ? r : end;
    if (r < 0 && f->result < 0)
        r = f->result;
    if (r < 0 && err)
        *err = own.msg[0] ? own : db;
    return r;
}
