/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the catalog share: the open database, its statements, and the frame of a writer.
 *
 *   int client_rename(c, ...) { return AS_WRITER(c, err, rename_steps(c, ..., err)); }
 *
 *     AS_WRITER     savepoint; the steps; release, or back to the savepoint when they fail
 *     db_run        one statement without rows
 *     db_one        one row through a fill function, -ENOENT without a sentence when there is none
 *     db_list       all rows into one array
 *     audit_add     the last step of every writer
 *
 * (1) A writer is complete or has changed nothing, also when its caller goes on and commits after a failure.
 * (2) SQLite may end a whole transaction by itself (disk full, I/O error): then every further writer and the commit fail.
 *
 * Only catalog*.c and their unit test include this header.
 */
#ifndef DISKGATE_CORE_CATALOG_PRIV_H
#define DISKGATE_CORE_CATALOG_PRIV_H

#include <jansson.h>
#include <sqlite3.h>

#include "core/catalog.h"

#define CATALOG_FILE            "catalog.db"
#define CATALOG_APPLICATION_ID  0x44476174 /* "DGat", offset 68 of the file */
#define CATALOG_BUSY_TIMEOUT_MS 30000      /* a queue of commands on a busy disk: each of them syncs */

struct catalog {
    sqlite3 *db;
    enum catalog_mode mode;
    bool is_in_transaction;
    bool is_audit_off;   /* within an import, which is one audit row */
    bool is_bulk;        /* without the write-ahead log */
    int bulk_fd;         /* then: of the file, SQLite's own; -1 = unknown */
    char path[PATH_MAX]; /* of catalog.db, for sentences */
    char root[PATH_MAX];
    char who[64];
};

/* --- catalog-sql.c: statements ----------------------------------------------------------------------------------- */

/* What a "?" stands for; text is borrowed until the statement is done. */
struct arg {
    enum { ARG_END, ARG_TEXT, ARG_NUMBER, ARG_NULL } kind;
    const char *text;
    int64_t number;
};
#define T(s)      ((struct arg){.kind = ARG_TEXT, .text = (s)})
#define N(n)      ((struct arg){.kind = ARG_NUMBER, .number = (int64_t)(n)})
#define NIL       ((struct arg){.kind = ARG_NULL})
#define ARGS(...) ((const struct arg[]){__VA_ARGS__ __VA_OPT__(, ){.kind = ARG_END}})

/* Takes one row of a statement into the caller's struct. */
typedef void row_fill(sqlite3_stmt *st, void *row);

/* True if there is no room for the files that SQLite makes beside the catalog. */
bool db_disk_is_full(const struct catalog *c);

/* The errno that fits an SQLite result code, and a sentence that says so. */
int db_error(struct catalog *c, int sqlite_code, struct err *err);

/* Several statements without arguments or rows. */
int db_exec(struct catalog *c, const char *sql, struct err *err);
/* 0 or an error. A constraint that does not hold is -EINVAL: writers look for what they can name before. */
int db_run(struct catalog *c, const char *sql, const struct arg *args, struct err *err);
/* 0; -ENOENT without a sentence when no row comes. */
int db_one(struct catalog *c, const char *sql, const struct arg *args, row_fill *fill, void *row, struct err *err);
/* First column of the first row as a number; -ENOENT without a sentence. */
int db_number(struct catalog *c, const char *sql, const struct arg *args, int64_t *ret, struct err *err);
/* All rows, each @row_bytes. *ret is to be freed, also when there are none. */
int db_list(struct catalog *c, const char *sql, const struct arg *args, row_fill *fill, size_t row_bytes, void **ret,
            size_t *ret_n, struct err *err);

/* A statement to be used often; the caller finalizes it. */
int db_prepare(struct catalog *c, const char *sql, sqlite3_stmt **ret, struct err *err);
/* Run it once: its first row through @fill, -ENOENT without a sentence when none comes; without @fill it is one without rows. */
int db_kept_one(struct catalog *c, sqlite3_stmt *st, const struct arg *args, row_fill *fill, void *row, struct err *err);
/* Every row through @each, which ends it by a negative errno. */
int db_each(struct catalog *c, const char *sql, const struct arg *args, int (*each)(void *arg, sqlite3_stmt *st),
            void *arg, struct err *err);

/* Column @col as text into @buf of @size bytes; NULL becomes "". */
void col_text(sqlite3_stmt *st, int col, char *buf, size_t size);
#define COL_TEXT(st, col, array) col_text(st, col, array, sizeof(array))

/* --- catalog.c: the frame of a writer ---------------------------------------------------------------------------- */

int writer_begin(struct catalog *c, struct err *err);
int writer_end(struct catalog *c, int r, struct err *err); /* returns @r, or the error of the end */

#define AS_WRITER(c, err, steps)                                                                                       \
    ({                                                                                                                 \
        int as_writer_ret = writer_begin(c, err);                                                                      \
        as_writer_ret < 0 ? as_writer_ret : writer_end(c, (steps), err);                                               \
    })

/* The collation by_name, as SQLite calls it. */
int catalog_name_order(void *arg, int a_len, const void *a, int b_len, const void *b);

/* Time of now as the catalog stores it. @ret holds TIME_LEN + 1 bytes. */
void catalog_now(char *ret);

/* 0, or -EINVAL with a sentence: at most COMMENT_LEN bytes of UTF-8 without control characters. */
int comment_check(const char *comment, struct err *err);

/* --- catalog-schema.c: tables and migrations --------------------------------------------------------------------- */

/* What leads from user_version - 1 to user_version. */
struct schema_step {
    int user_version;
    const char *sql;
};

const struct schema_step *schema_steps(size_t *ret_n);
/* Apply the steps above the stored user_version, all in one transaction of its own. */
int schema_migrate(struct catalog *c, const struct schema_step *steps, size_t n, struct err *err);

/* --- catalog-check.c: what is checked at every open -------------------------------------------------------------- */

/* Identity, version, quick integrity check, foreign keys. *ret_version is the stored user_version, at most CATALOG_VERSION. */
int schema_check(struct catalog *c, int *ret_version, struct err *err);

/* --- catalog-bulk.c: transactions without the write-ahead log ------------------------------------------------------ */

/* After the transaction that catalog_begin_bulk() began, and after others without effect. */
void bulk_end(struct catalog *c);
/* Begin to write to the disk what such a transaction has put into the file. From any thread, as long as the transaction lasts. */
void bulk_write_soon(const struct catalog *c);
/* For a writer that opens: what a process left that died in between. */
void bulk_mend(struct catalog *c);

/* --- catalog-audit.c --------------------------------------------------------------------------------------------- */

/* Takes @before and @after (NULL: there was nothing, there is nothing), also on failure. */
int audit_add(struct catalog *c, const char *verb, const char *object, json_t *before, json_t *after, struct err *err);
/* A JSON string of any bytes: cut when it is long, what is no UTF-8 becomes "?". */
json_t *audit_text(const char *text);
/* The login that the process acts for, into @ret of @size bytes. */
void audit_default_who(char *ret, size_t size);

/* --- catalog-address.c ------------------------------------------------------------------------------------------- */

bool address_is_host_v4(const char *text); /* one that a machine can have */
bool address_is_netmask(const char *text); /* ones, then zeros; not 0.0.0.0 */
/* "A B C" or "A,B,C" -> "A,B,C" in place (SETTING_LEN + 1 bytes); "" stays. False when one is no address of a machine. */
bool address_list_parse(char *text);

/* --- catalog-client-check.c: 0, or a negative errno with a sentence ----------------------------------------------- */

/* @own_id: the client itself, which may keep what it has; 0 for a new one. */
int client_name_check(struct catalog *c, const char *name, int64_t own_id, struct err *err);
int client_chap_user_check(struct catalog *c, const char *user, int64_t own_id, struct err *err);
/* What the boot menu is to do. */
int client_boot_check(struct catalog *c, const struct client_row *row, struct err *err);
/* All that add and set have in common; spells mac, ip and dns in @row anew. */
int client_fields_check(struct catalog *c, struct client_row *row, struct err *err);

/* --- catalog-client-new.c ---------------------------------------------------------------------------------------- */

/* iqn, chap_user and chap_password of the new client @row, and its overlay folder's name (OVERLAY_DIR_LEN + 1 bytes). */
int client_give(struct catalog *c, struct client_row *row, char *ret_dir, struct err *err);

/* A row if the folder ?1 was ever given to a client. */
#define CLIENT_DIR_SQL "SELECT 1 FROM overlay_dir WHERE name = ?1 UNION ALL SELECT 1 FROM client WHERE overlay_dir = ?1"

/* The label that a client's target begins with, into @ret (CLIENT_LABEL_LEN + 1 bytes), room left for "-4294967295";
 * and the IQN of a label, into @ret (224 bytes). */
#define CLIENT_LABEL_LEN 52
void client_label(const char *name, char *ret);
void client_iqn(const char *tag, const char *label, char *ret);

/* --- rows that several files need -------------------------------------------------------------------------------- */

/* catalog-client.c: the mode that a column names. */
enum overlay_mode col_mode(sqlite3_stmt *st, int col);

/* catalog-link.c: {"0":"win11","1":"games@3"} into *ret, a new object. */
int links_json(struct catalog *c, int64_t client_id, json_t **ret, struct err *err);

/* catalog-link.c: note the overlay of one slot of the client (@slot < 0: of all slots) as garbage. None there is no error. */
int garbage_add(struct catalog *c, int64_t client_id, int slot, struct err *err);

#endif
