/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of an import share: its rows, its statements, its temporary tables, packed values.
 *
 *   stage (a spool)      a row of the source: what it says, and its fate where it has one by itself
 *   plan (a spool)       of each row that the stage left open, in the same order: its fate, what is wanted
 *   temp.import_stage    rows of the stage that share their MAC or their name with another, and the fate that follows
 *   temp.import_mac      MACs of the stage, where the catalog has clients to compare with
 *   temp.import_name     names of clients that are here; weak ones belong to clients that are gone from the source (see also -keys.c)
 *   temp.import_ip       likewise addresses
 *   temp.import_label    labels of targets (see catalog-client-new.c)
 *   temp.import_suffix   the last number given behind a name, where memory has no room for it
 *   temp.import_gone     clients that are gone from the source
 *
 * Values are packed as one text, fields separated by the control character 0x1f, which no field holds.
 *
 * Only catalog-import*.c and their unit test include this header.
 */
#ifndef DISKGATE_CORE_CATALOG_IMPORT_PRIV_H
#define DISKGATE_CORE_CATALOG_IMPORT_PRIV_H

#include "core/catalog-import.h"
#include "core/catalog-priv.h"
#include "core/spool.h"

#define IMPORT_PACKED_LEN  (IMPORT_FIELDS * (IMPORT_FIELD_LEN + 1))
#define IMPORT_STATEMENTS  48
#define IMPORT_NEEDS_NAME  1
#define IMPORT_NEEDS_IP    2
#define IMPORT_WRITES      4 /* the client is not as it is wanted */
#define IMPORT_TRACK_NEW   8
#define IMPORT_TRACK_OTHER 16

struct import {
    struct catalog *c;
    char origin[16];
    int64_t run_id;
    bool is_staging;
    struct spool *stage, *plan, *other_plan;
    uint64_t rows, staged[IMPORT_FATES], planned[IMPORT_FATES]; /* counts; staged: by the fate that the stage knows */
    bool has_marks;                                             /* import_stage has fates of rows */
    struct import_keys *keys;
    struct import_taken *taken;
    struct import_feed *feed;
    struct spool_merge *by_name;  /* the plan's new clients (catalog-import-sort.c), NULL before they are sorted */
    bool has_odd_labels;          /* two of them could get one label */
    struct import_sorter *sorter; /* who sorts them beside the planning, NULL: they are put while they are planned */
    bool is_final;                /* the plan is going to be applied */
    bool is_all_new;        /* no row has a MAC that is known here: nothing to compare with, nothing is given back */
    bool are_suffixes_kept; /* some of them went to their table */
    struct suffix *suffixes;
    struct {
        const char *sql; /* address of the literal: who asks with the same one gets the same statement */
        sqlite3_stmt *st;
    } kept[IMPORT_STATEMENTS];
};

/* The statement of @sql, a literal, made once for the life of @im. */
int import_run_kept(struct import *im, const char *sql, const struct arg *args, struct err *err);
int import_one_kept(struct import *im, const char *sql, const struct arg *args, row_fill *fill, void *row,
                    struct err *err);
int import_number_kept(struct import *im, const char *sql, const struct arg *args, int64_t *ret, struct err *err);

struct import_packed {
    char text[IMPORT_PACKED_LEN];
};
struct import_packed import_pack(const struct import_values *v);
void import_unpack(const char *text, struct import_values *ret);
void import_col_values(sqlite3_stmt *st, int col, struct import_values *ret);

/* @v beside @as: a field that both have is IMPORT_SAME. Into @to of IMPORT_PACKED_LEN bytes; returns the byte behind the zero byte. */
#define IMPORT_SAME '\x1e' /* the whole field; no value is that */
char *import_pack_as(const struct import_values *v, const struct import_values *as, char *to);
/* What it made, or import_pack(). */
void import_unpack_as(const char *text, const struct import_values *as, struct import_values *ret);
/* The fields of a packed text; those that are the same as others stay as they are. */
void import_split(const char *packed, struct import_text ret[static IMPORT_FIELDS]);

/* --- rows (catalog-import-rows.c) --------------------------------------------------------------------------------- */

/* What a spool holds of a row, as texts in its buffer. */
struct import_staged {
    uint64_t row;
    enum import_fate fate;
    const char *mac, *raw_mac, *raw_name, *source_id, *src, *rest, *doubt, *reason;
};
struct import_planned {
    uint64_t row;
    int64_t client_id;
    enum import_fate fate;
    unsigned needs;
    const char *mac, *source_id, *src, *reason, *detail;
    const char *now;          /* empty: there was no client */
    const char *want, *given; /* by import_pack_as() beside src; given: empty = the same as want */
};
void import_unpack_given(const struct import_planned *row, const struct import_values *src,
                         const struct import_values *want, struct import_values *ret);
int import_staged_put(struct spool *s, const struct import_staged *row, struct err *err);
int import_planned_put(struct spool *s, const struct import_planned *row, struct err *err);
typedef int import_staged_fn(void *arg, const struct import_staged *row, struct err *err);
typedef int import_planned_fn(void *arg, const struct import_planned *row, struct err *err);
/* All rows in order. */
int import_each_staged(struct import *im, import_staged_fn *each, void *arg, struct err *err);
int import_each_planned(struct import *im, import_planned_fn *each, void *arg, struct err *err);
/* What a record of the plan holds. -EIO when it is none. */
int import_planned_take(const char *record, size_t len, struct import_planned *ret, struct err *err);

/* --- rows that share a MAC or a name (catalog-import-twice.c) ----------------------------------------------------- */

struct import_keys;
int import_keys_create(struct import_keys **ret, struct err *err);
void import_keys_destroy(struct import_keys *k); /* NULL is allowed */
/* Note MAC and name of a row that is open. */
void import_keys_add(struct import_keys *k, const char *mac, const char *raw_name);
/* Give the rows that share one their fate in import_stage. */
int import_find_twice(struct import *im, enum import_duplicates policy, struct err *err);

/* --- what is taken (catalog-import-keys.c) ------------------------------------------------------------------------ */

enum import_kind { IMPORT_KIND_NAME, IMPORT_KIND_IP, IMPORT_KIND_LABEL, IMPORT_KINDS };

/* Without regard to the case of letters; @kind keeps texts of different sorts apart. */
uint64_t import_key_hash(const char *key, unsigned kind);
/* Nothing is given yet. */
int import_taken_begin(struct import *im, struct err *err);
/* The table of @kind was filled: it counts, too. *@ret_any (NULL is allowed): is anything in it? */
int import_taken_look(struct import *im, enum import_kind kind, bool *ret_any, struct err *err);
void import_taken_destroy(struct import_taken *t); /* NULL is allowed */
/* True if this import gave @text to a new client, but for what is in the table. */
bool import_is_given(const struct import *im, enum import_kind kind, const char *text);
/* The next calls on @text will be faster. */
void import_take_soon(const struct import *im, enum import_kind kind, const char *text);
/* 1 when @text was nobody's and is @owner's now; 0 when another has it. */
int import_take(struct import *im, enum import_kind kind, const char *text, int64_t owner, struct err *err);

/* --- what the next import needs of new clients (catalog-import-pack.c) --------------------------------------------- */

/* A new client of the plan while it is sorted: bytes of a pack, and behind them what it gets, where that is not "given". */
struct import_new {
    const char *mac;
    size_t pack_len;                        /* of the record: what goes into a pack */
    struct import_text want[IMPORT_FIELDS]; /* in the record */
};
#define IMPORT_NEW_BYTES (3 * IMPORT_PACKED_LEN + 256) /* at most */
/* Of a row of the plan into @buf of IMPORT_NEW_BYTES. */
int import_new_put(const struct import_planned *row, char *buf, size_t *ret_len, struct err *err);
/* From @record, which the texts point to. -EIO when it is none. */
int import_new_take(const char *record, size_t len, struct import_new *ret, struct err *err);

/* --- new clients by name (catalog-import-sort.c) ------------------------------------------------------------------- */

#define IMPORT_ROWS_APART 2000 /* fewer are not worth a thread */

/* Rows that are put before import_sort_end() are all of them; else that takes those of the plan. */
int import_sort_begin(struct import *im, struct err *err);
/* A row of the plan, which may be none that becomes a new client. */
int import_sort_put(struct import *im, const struct import_planned *row, struct err *err);
/* A thread of its own puts the rows behind the planning, which has begun: im->plan grows. Not for few rows, nor for a trial; then this does nothing. */
void import_sort_apart(struct import *im);
/* The plan has stopped growing: that thread ends. What went wrong there; when the plan is not @is_whole, nothing was sorted. */
int import_sort_join(struct import *im, bool is_whole, struct err *err);
/* From here on im->by_name gives each as import_new_put() made it. */
int import_sort_end(struct import *im, struct err *err);
void import_sort_forget(struct import *im);

struct import_packer {
    struct import *im;
    char *buf;
    size_t len;
};
int import_packer_begin(struct import_packer *p, struct import *im, struct err *err);
void import_packer_finish(struct import_packer *p); /* one that was not begun is allowed */
/* The bytes of a pack for @client_id, as @record of import_new_put() has them, into @to. */
void import_pack_record(int64_t client_id, const char *record, const struct import_new *row, char *to);
/* Such bytes of any number of clients; at most IMPORT_BATCH_BYTES and what one more client has. */
int import_packer_put(struct import_packer *p, const char *bytes, size_t len, struct err *err);
/* The last call, or what was put is lost. */
int import_packer_flush(struct import_packer *p, struct err *err);
/* All packs of @origin become rows of import_client. */
int import_unpack_origin(struct catalog *c, const char *origin, struct err *err);

/* --- rows for INSERT ... SELECT ... FROM import_feed (catalog-import-feed.c) --------------------------------------- */

#define IMPORT_FEED_COLUMNS 14
struct import_cell {
    const char *text; /* NULL: a number; no zero byte behind it */
    int64_t number;   /* of a text: its bytes */
};

/* What the CHECK constraints of the table say of the row: 0 or -EINVAL (catalog-import-check.c). */
typedef int import_check_fn(const struct import *im, const struct import_cell *columns, struct err *err);
import_check_fn import_check_client;

/* Rows that are made ahead (catalog-import-ahead.c), and what else is made along with them. */
#define IMPORT_BATCH_ROWS  256
#define IMPORT_BATCH_BYTES (64u << 10)
struct import_batch {
    struct import_cell rows[IMPORT_BATCH_ROWS][IMPORT_FEED_COLUMNS];
    size_t n;
    bool is_last;
    int result; /* of the last one: 0, or why there are no more rows behind these */
    struct err err;
    size_t pack_len, text_len; /* a batch that has IMPORT_BATCH_BYTES of one of them is full */
    char pack[IMPORT_BATCH_BYTES + IMPORT_NEW_BYTES], text[IMPORT_BATCH_BYTES + IMPORT_NEW_BYTES + 512];
};
struct import_maker {
    /* The next row into @columns: 1; 0 behind the last one; a negative errno. Texts lie in @to, or live longer than the maker. */
    int (*make)(void *arg, struct import_batch *to, struct import_cell *columns, struct err *err);
    /* The rows of @from are going to be inserted. In the thread of SQLite. NULL is allowed. */
    int (*take)(void *arg, const struct import_batch *from, struct err *err);
    import_check_fn *check; /* each row is asked for */
    bool is_apart;          /* @make needs nothing of the catalog's connection: another thread may call it */
    void *arg;
};

struct import_ahead;
int import_ahead_begin(struct import_ahead **ret, const struct import *im, const struct import_maker *maker,
                       struct err *err);
/* The next row; it is there until the next call: 1; 0 behind the last one; a negative errno. */
int import_ahead_next(struct import_ahead *a, const struct import_cell **ret, struct err *err);
void import_ahead_end(struct import_ahead *a); /* NULL is allowed; nobody calls @make any more */

struct import_feed {
    struct import_ahead *rows;
    struct err *err;
    int result;
    const struct import_cell *columns;
};
int import_feed_create(struct import *im, struct err *err);
void import_feed_destroy(struct import *im);
/* Run @sql, which inserts from import_feed what @maker makes into one table, whose CHECK constraints @maker->check stands for. */
int import_feed_run(struct import *im, const char *sql, const struct arg *args, const struct import_maker *maker,
                    struct err *err);

/* --- links as text ------------------------------------------------------------------------------------------------ */

struct import_link {
    unsigned slot;
    int64_t image_id;
    uint32_t pinned;
};
/* The next "0:12@3" at *@p; false at the end. */
bool import_next_link(const char **p, struct import_link *ret);

/* --- new clients (catalog-import-new.c) --------------------------------------------------------------------------- */

/* Add the new clients of the plan, their links, and what the next import needs of them. */
int import_add_new(struct import *im, struct err *err);

/* --- names (catalog-import-names.c) ------------------------------------------------------------------------------- */

/* The number to go on with for names that begin with @base, at least @first; and a note that @n was given. Without it many rows with one
 * name would take a time that grows with the square of their number. */
int import_suffix(struct import *im, const char *base, unsigned first, unsigned *ret, struct err *err);
int import_suffix_used(struct import *im, const char *base, unsigned n, struct err *err);
/* Every number begins anew. */
int import_suffix_forget(struct import *im, struct err *err);
/* "@base", "@base@tail", "@base@tail@sep2", ...: @n = 1 is without a number. @base is cut where @size is not enough. Returns the length. */
size_t import_number_text(const char *base, const char *tail, char sep, unsigned n, char *ret, size_t size);

/* import_known() that asks the catalog in any case. */
int import_known_here(struct import *im, const char *mac, struct import_known *ret, struct err *err);

/* Give @row the name and address that it @needs: what it wants, or what is free instead, with a reason. */
int import_name_row(struct import *im, struct import_row *row, unsigned needs, struct err *err);
/* Its next call on @row will be faster. */
void import_name_soon(const struct import *im, const struct import_row *row);
/* The client @id as the catalog has it, with @images in its last field. -ENOENT without a sentence. */
int import_now(struct catalog *c, int64_t client_id, const char *images, struct import_values *ret, struct err *err);
/* The column of a client's links as IMPORT_LINKS tells them. */
#define IMPORT_LINKS_SQL                                                                                               \
    "ifnull((SELECT group_concat(x, ',') FROM (SELECT slot || ':' || image_id || ifnull('@' || pinned, '') AS x"       \
    " FROM link WHERE client_id = client.id ORDER BY slot)), '')"

/* Bring client @id to @want (all fields but IMPORT_IMAGES). Names and addresses that are in the way are gone already. */
int import_set_client(struct catalog *c, int64_t client_id, const struct import_values *now,
                      const struct import_values *want, struct err *err);
/* Take name and address from client @id, so that another may have them. */
int import_park_client(struct catalog *c, int64_t client_id, struct err *err);

#endif
