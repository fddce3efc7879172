/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statements of the catalog: prepare, bind, step, and what an SQLite error means to an administrator.
 *
 * Every statement is prepared, used and finalized within one call: the catalog has some hundred rows and is asked by people
 * and at boot, never on the data path.
 */
#include "core/catalog-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/util.h"

static void finalizep(sqlite3_stmt **st)
{
    (void)sqlite3_finalize(*st); /* repeats the error that sqlite3_step() gave */
}
#define _cleanup_stmt_ _cleanup_(finalizep)

/* --- errors ------------------------------------------------------------------------------------------------------ */

static int db_damaged(struct catalog *c, int code, struct err *err)
{
    if (code == SQLITE_NOTADB)
        return err_set(err, -EBADMSG, "'%.500s' is not a Diskgate catalog; put a good copy of it back", c->path);
    return err_set(err, -EBADMSG, "catalog '%.500s' is damaged (%s); put a good copy of it back", c->path,
                   sqlite3_errmsg(c->db));
}

static int db_full(struct catalog *c, struct err *err)
{
    return err_set(
        err, -ENOSPC,
        "the disk of catalog '%.500s' is full, so it cannot be changed; nothing was changed; make some room there "
        "(clients go on, and their writes wait)",
        c->path);
}

bool db_disk_is_full(const struct catalog *c)
{
    struct statvfs st;
    return statvfs(c->path, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < 64 * KiB;
}

int db_error(struct catalog *c, int sqlite_code, struct err *err)
{
    int code = sqlite_code & 0xff;
    if (code == SQLITE_IOERR && db_disk_is_full(c)) /* for want of room for the files beside the catalog */
        code = SQLITE_FULL;
    switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, -EBUSY, "catalog '%.500s' is being changed by another program; try again", c->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return db_damaged(c, code, err);
    case SQLITE_FULL:
        return db_full(c, err);
    case SQLITE_READONLY:
        return err_set(
            err, -EROFS,
            "catalog '%.500s' cannot be written (%s); is its disk mounted read-only, after an error of it perhaps?",
            c->path, sqlite3_errmsg(c->db));
    case SQLITE_CONSTRAINT:
        return err_set(err, -EINVAL, "catalog '%.500s' refuses the change (%s)", c->path, sqlite3_errmsg(c->db));
    case SQLITE_NOMEM:
        return err_sys(err, -ENOMEM, "catalog '%.500s'", c->path);
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        return err_set(err, -EACCES, "cannot open catalog '%.500s' (%s)", c->path, sqlite3_errmsg(c->db));
    default:
        return err_set(err, -EIO, "catalog '%.500s': %s", c->path, sqlite3_errmsg(c->db));
    }
}

/* --- statements -------------------------------------------------------------------------------------------------- */

static int bind_one(sqlite3_stmt *st, int i, const struct arg *arg)
{
    switch (arg->kind) {
    case ARG_TEXT:
        return sqlite3_bind_text(st, i, arg->text, -1, SQLITE_STATIC);
    case ARG_NUMBER:
        return sqlite3_bind_int64(st, i, arg->number);
    default:
        return sqlite3_bind_null(st, i);
    }
}

static int prepare(struct catalog *c, const char *sql, const struct arg *args, sqlite3_stmt **ret, struct err *err)
{
    _cleanup_stmt_ sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    for (int i = 0; code == SQLITE_OK && args[i].kind != ARG_END; i++)
        code = bind_one(st, i + 1, &args[i]);
    if (code != SQLITE_OK)
        return db_error(c, code, err);
    *ret = take_ptr(st);
    return 0;
}

int db_prepare(struct catalog *c, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    int code = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    return code == SQLITE_OK ? 0 : db_error(c, code, err);
}

/* 1 = a row, 0 = no more rows, negative errno. */
static int step(struct catalog *c, sqlite3_stmt *st, struct err *err)
{
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        return 1;
    return code == SQLITE_DONE ? 0 : db_error(c, code, err);
}

int db_exec(struct catalog *c, const char *sql, struct err *err)
{
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_error(c, code, err);
}

int db_run(struct catalog *c, const char *sql, const struct arg *args, struct err *err)
{
    _cleanup_stmt_ sqlite3_stmt *st = NULL;
    int r = prepare(c, sql, args, &st, err);
    if (r < 0)
        return r;
    while ((r = step(c, st, err)) > 0)
        ;
    return r;
}

int db_one(struct catalog *c, const char *sql, const struct arg *args, row_fill *fill, void *row, struct err *err)
{
    _cleanup_stmt_ sqlite3_stmt *st = NULL;
    int r = prepare(c, sql, args, &st, err);
    if (r == 0)
        r = step(c, st, err);
    if (r < 0)
        return r;
    if (r == 0)
        return -ENOENT;
    fill(st, row);
    return 0;
}

static void fill_number(sqlite3_stmt *st, void *row)
{
    *(int64_t *)row = sqlite3_column_int64(st, 0);
}

int db_number(struct catalog *c, const char *sql, const struct arg *args, int64_t *ret, struct err *err)
{
    return db_one(c, sql, args, fill_number, ret, err);
}

int db_list(struct catalog *c, const char *sql, const struct arg *args, row_fill *fill, size_t row_bytes, void **ret,
            size_t *ret_n, struct err *err)
{
    _cleanup_stmt_ sqlite3_stmt *st = NULL;
    size_t n = 0, room = 8;
    _cleanup_free_ char *rows = calloc(room, row_bytes);
    if (!rows)
        return err_sys(err, -ENOMEM, "catalog '%.500s'", c->path);
    int r = prepare(c, sql, args, &st, err);
    if (r < 0)
        return r;
    while ((r = step(c, st, err)) > 0) {
        if (n == room) {
            char *more = reallocarray(rows, room *= 2, row_bytes);
            if (!more)
                return err_sys(err, -ENOMEM, "catalog '%.500s'", c->path);
            rows = more;
        }
        memset(rows + n * row_bytes, 0, row_bytes);
        fill(st, rows + n++ * row_bytes);
    }
    if (r < 0)
        return r;
    *ret = take_ptr(rows);
    *ret_n = n;
    return 0;
}

int db_kept_one(struct catalog *c, sqlite3_stmt *st, const struct arg *args, row_fill *fill, void *row, struct err *err)
{
    int code = SQLITE_OK;
    for (int i = 0; code == SQLITE_OK && args[i].kind != ARG_END; i++)
        code = bind_one(st, i + 1, &args[i]);
    int r = code == SQLITE_OK ? step(c, st, err) : db_error(c, code, err);
    if (r > 0 && fill)
        fill(st, row);
    (void)sqlite3_reset(st);          /* repeats the error of step */
    (void)sqlite3_clear_bindings(st); /* the texts are the caller's; cannot fail */
    if (r < 0 || !fill)
        return MIN(r, 0);
    return r == 0 ? -ENOENT : 0;
}

int db_each(struct catalog *c, const char *sql, const struct arg *args, int (*each)(void *arg, sqlite3_stmt *st),
            void *arg, struct err *err)
{
    _cleanup_stmt_ sqlite3_stmt *st = NULL;
    int r = prepare(c, sql, args, &st, err);
    if (r < 0)
        return r;
    while ((r = step(c, st, err)) > 0) {
        r = each(arg, st);
        if (r < 0)
            return r;
    }
    return r;
}

void col_text(sqlite3_stmt *st, int col, char *buf, size_t size)
{
    const unsigned char *text = sqlite3_column_text(st, col);
    size_t len = text ? (size_t)sqlite3_column_bytes(st, col) : 0;
    len = MIN(len, size - 1); /* CHECK constraints keep all but audit rows short */
    if (len > 0)
        memcpy(buf, text, len);
    buf[len] = 0;
}
