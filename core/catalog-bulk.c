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
 * (3) Pages of the transaction may go to the disk at any time, for the journal is synced before the first of them is written. So the disk is asked to begin
 *     while more are made, and the commit waits for the last ones only.
 * (4) synchronous = EXTRA: in this mode a commit is the journal's end, so its folder has to be synced, too. secure_delete = OFF: next to nothing is deleted.
 */
#include "core/catalog-priv.h"

#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

#define FDS_LOOKED_AT 256

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
    (void)db_exec(c, "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON", NULL); /* fails only without memory */
}

/* SQLite's descriptor of the catalog, -1 when it is not found. It is looked for among those that are open: to open the file once more and to close that
 * again would take away SQLite's locks. */
static int find_fd(const struct catalog *c)
{
    struct stat file, st;
    if (stat(c->path, &file) < 0)
        return -1;
    for (int fd = 0; fd < FDS_LOOKED_AT; fd++)
        if (fstat(fd, &st) == 0 && st.st_dev == file.st_dev && st.st_ino == file.st_ino)
            return fd;
    return -1;
}

void bulk_write_soon(const struct catalog *c)
{
    if (c->is_bulk && c->bulk_fd >= 0)
        (void)sync_file_range(c->bulk_fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* a failure comes again with the sync */
}

int catalog_begin_bulk(struct catalog *c, struct err *err)
{
    c->is_bulk = becomes(c, "PRAGMA journal_mode = DELETE", "delete");
    c->bulk_fd = c->is_bulk ? find_fd(c) : -1;
    int r = c->is_bulk ? db_exec(c, "PRAGMA synchronous = EXTRA; PRAGMA secure_delete = OFF", err) : 0;
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
