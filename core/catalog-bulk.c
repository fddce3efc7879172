/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions that make most of the catalog: without the write-ahead log; see catalog_begin_bulk().
 *
 * In the log each page is written twice, and read once more in between: when it is committed, and when the log is brought into the file. With a rollback
 * journal a page that is new goes to its place at once, and only the few old ones are saved before.
 *
 *   WAL -> [rollback journal: BEGIN ... COMMIT] -> WAL        the log comes and goes only while nobody else has the catalog open
 *
 * (1) Whoever has the catalog open keeps it in WAL mode, and the transaction is like any other.
 * (2) A process that dies leaves a journal, which the next one that opens the catalog plays back, or a catalog that is whole and without a log: the next
 *     writer brings it back to WAL mode. Both modes are right; in WAL mode readers do not wait.
 * (3) synchronous = EXTRA: in this mode a commit is the journal's end, so its folder has to be synced, too.
 */
#include "core/catalog-priv.h"

#include <strings.h>

struct mode {
    char name[16];
};

static void fill_mode(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct mode *)row)->name);
}

/* The mode that the catalog has after @sql, which nobody is waited for with. */
static bool becomes(struct catalog *c, const char *sql, const char *mode)
{
    struct mode now = {""};
    (void)sqlite3_busy_timeout(c->db, 0);
    int r = db_one(c, sql, ARGS(), fill_mode, &now, NULL);
    (void)sqlite3_busy_timeout(c->db, CATALOG_BUSY_TIMEOUT_MS);
    return r == 0 && strcasecmp(now.name, mode) == 0;
}

/* The log again, when nobody is in the way: else by the next one that writes. */
static void use_log(struct catalog *c)
{
    (void)becomes(c, "PRAGMA journal_mode = WAL", "wal");
    (void)db_exec(c, "PRAGMA synchronous = FULL",
                  NULL); /* of this connection; fails never but without memory, and EXTRA is not less */
}

int catalog_begin_bulk(struct catalog *c, struct err *err)
{
    c->is_bulk = becomes(c, "PRAGMA journal_mode = DELETE", "delete");
    int r = c->is_bulk ? db_exec(c, "PRAGMA synchronous = EXTRA", err) : 0;
    if (r == 0)
        r = catalog_begin(c, err);
    if (r < 0)
        bulk_end(c);
    return r;
}

void bulk_end(struct catalog *c)
{
    if (c->is_bulk)
        use_log(c);
    c->is_bulk = false;
}

void bulk_mend(struct catalog *c)
{
    if (becomes(c, "PRAGMA journal_mode", "delete"))
        use_log(c);
}
