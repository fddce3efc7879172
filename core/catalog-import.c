/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the stage, and what an import remembers; see catalog-import.h. */
#include "core/catalog-import.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define SEPARATOR '\x1f'
#define BULK_ROWS 10000 /* some MiB of catalog: less is not worth the syncs of two changes of mode */

static const char *const field_names[] = {
    [IMPORT_NAME] = "name",       [IMPORT_IP] = "ip",
    [IMPORT_NETMASK] = "netmask", [IMPORT_GATEWAY] = "gateway",
    [IMPORT_DNS] = "dns",         [IMPORT_GROUP] = "group",
    [IMPORT_COMMENT] = "comment", [IMPORT_DISABLED] = "is_disabled",
    [IMPORT_LINKS] = "links",     [IMPORT_IMAGES] = "images",
};

static const char *const fate_names[] = {
    [IMPORT_OPEN] = "open",           [IMPORT_NEW] = "imported",    [IMPORT_CHANGED] = "changed",
    [IMPORT_UNCHANGED] = "unchanged", [IMPORT_KEPT] = "kept-local", [IMPORT_CONFLICT] = "conflict",
    [IMPORT_SKIPPED] = "skipped",
};

const char *import_field_name(enum import_field f)
{
    return field_names[f];
}

const char *import_fate_name(enum import_fate f)
{
    return fate_names[f];
}

/* --- values ------------------------------------------------------------------------------------------------------- */

bool import_values_equal(const struct import_values *a, const struct import_values *b)
{
    for (int i = 0; i < IMPORT_FIELDS; i++)
        if (strcmp(a->f[i], b->f[i]) != 0)
            return false;
    return true;
}

/* Fields are mostly short. */
void import_values_copy(struct import_values *to, const struct import_values *from)
{
    for (int i = 0; i < IMPORT_FIELDS; i++)
        strcpy(to->f[i], from->f[i]);
}

void import_values_clear(struct import_values *v)
{
    for (int i = 0; i < IMPORT_FIELDS; i++)
        v->f[i][0] = 0;
}

struct import_packed import_pack(const struct import_values *v)
{
    struct import_packed p;
    char *to = p.text;
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        if (i > 0)
            *to++ = SEPARATOR;
        if (v->f[i][0]) /* many are empty */
            to = stpcpy(to, v->f[i]);
    }
    *to = 0;
    return p;
}

void import_unpack(const char *text, struct import_values *ret)
{
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        size_t n = (size_t)(strchrnul(text, SEPARATOR) - text), take = MIN(n, (size_t)IMPORT_FIELD_LEN);
        memcpy(ret->f[i], text, take);
        ret->f[i][take] = 0;
        text += n + (text[n] != 0);
    }
}

void import_col_values(sqlite3_stmt *st, int col, struct import_values *ret)
{
    const char *text = (const char *)sqlite3_column_text(st, col);
    import_unpack(text ? text : "", ret);
}

/* --- statements --------------------------------------------------------------------------------------------------- */

static int kept(struct import *im, const char *sql, sqlite3_stmt **ret, struct err *err)
{
    size_t i = 0;
    while (i < IMPORT_STATEMENTS && im->kept[i].sql && im->kept[i].sql != sql)
        i++;
    assert(i < IMPORT_STATEMENTS);
    if (!im->kept[i].sql) {
        int r = db_prepare(im->c, sql, &im->kept[i].st, err);
        if (r < 0)
            return r;
        im->kept[i].sql = sql;
    }
    *ret = im->kept[i].st;
    return 0;
}

int import_run_kept(struct import *im, const char *sql, const struct arg *args, struct err *err)
{
    sqlite3_stmt *st;
    int r = kept(im, sql, &st, err);
    return r < 0 ? r : db_kept_one(im->c, st, args, NULL, NULL, err);
}

int import_one_kept(struct import *im, const char *sql, const struct arg *args, row_fill *fill, void *row,
                    struct err *err)
{
    sqlite3_stmt *st;
    int r = kept(im, sql, &st, err);
    return r < 0 ? r : db_kept_one(im->c, st, args, fill, row, err);
}

static void fill_number(sqlite3_stmt *st, void *row)
{
    *(int64_t *)row = sqlite3_column_int64(st, 0);
}

int import_number_kept(struct import *im, const char *sql, const struct arg *args, int64_t *ret, struct err *err)
{
    return import_one_kept(im, sql, args, fill_number, ret, err);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* The catalog keeps what is temporary in memory; names and addresses of a hundred thousand rows go to SQLite's own temporary file. */
static const char temp_tables[] =
    "PRAGMA main.cache_size = -4000; PRAGMA temp_store = FILE; PRAGMA temp.page_size = 8192;"
    "PRAGMA temp.cache_size = -6000;"
    "CREATE TEMP TABLE import_stage (row INTEGER PRIMARY KEY, mac TEXT, raw_name TEXT, src TEXT, fate INTEGER,"
    " reason TEXT);"
    "CREATE TEMP TABLE import_mac (mac TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_name (name TEXT PRIMARY KEY COLLATE NOCASE, client_id INTEGER, is_weak INTEGER)"
    " WITHOUT ROWID;"
    "CREATE TEMP TABLE import_ip (ip TEXT PRIMARY KEY, client_id INTEGER, is_weak INTEGER) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_suffix (base TEXT PRIMARY KEY COLLATE NOCASE, next INTEGER) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_label (label TEXT PRIMARY KEY, client_id INTEGER) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_gone (client_id INTEGER PRIMARY KEY, mac TEXT, name TEXT, new_name TEXT, loses_ip "
    "INTEGER,"
    " is_new INTEGER);";

int import_open(struct catalog *c, const char *origin, struct import **ret, struct err *err)
{
    _cleanup_(import_closep) struct import *im = calloc(1, sizeof(*im));
    if (!im)
        return err_sys(err, -ENOMEM, "cannot begin an import");
    im->c = c;
    (void)snprintf(im->origin, sizeof(im->origin), "%s", origin);
    int r = db_exec(c, temp_tables, err);
    if (r == 0)
        r = spool_create(&im->stage, err);
    if (r == 0)
        r = spool_create(&im->plan, err);
    if (r == 0)
        r = import_keys_create(&im->keys, err);
    if (r == 0)
        r = import_feed_create(im, err);
    if (r == 0)
        *ret = take_ptr(im);
    return r;
}

void import_close(struct import *im)
{
    if (!im)
        return;
    if (im->is_staging)
        (void)db_exec(im->c, "ROLLBACK", NULL); /* temporary tables only */
    for (size_t i = 0; i < IMPORT_STATEMENTS; i++)
        (void)sqlite3_finalize(im->kept[i].st); /* NULL is allowed; repeats what step said */
    import_sort_forget(im); /* its thread reads the plan */
    spool_destroy(im->stage);
    spool_destroy(im->plan);
    spool_destroy(im->other_plan);
    import_keys_destroy(im->keys);
    import_taken_destroy(im->taken);
    import_feed_destroy(im);
    free(im->suffixes);
    free(im);
}

/* --- stage -------------------------------------------------------------------------------------------------------- */

int import_row_add(struct import *im, const struct import_row *row, struct err *err)
{
    struct import_packed src = import_pack(&row->src);
    struct import_staged staged = {.row = row->row,
                                   .fate = row->fate,
                                   .mac = row->mac,
                                   .raw_mac = row->raw_mac,
                                   .raw_name = row->raw_name,
                                   .source_id = row->source_id,
                                   .src = src.text,
                                   .rest = row->rest ? row->rest : "",
                                   .doubt = row->doubt ? row->doubt : "",
                                   .reason = row->reason};
    int r = import_staged_put(im->stage, &staged, err);
    if (r < 0)
        return r;
    if (row->fate == IMPORT_OPEN)
        import_keys_add(im->keys, row->mac, row->raw_name);
    im->rows++;
    im->staged[row->fate]++;
    return 0;
}

int import_stage_end(struct import *im, enum import_duplicates policy, struct err *err)
{
    int r = db_exec(im->c, "BEGIN", err); /* takes no lock: only temporary tables are written */
    im->is_staging = r == 0;
    if (r == 0)
        r = import_find_twice(im, policy, err);
    if (r == 0)
        r = db_exec(im->c, "COMMIT", err);
    if (r == 0)
        im->is_staging = false;
    return r;
}

/* --- the transaction ---------------------------------------------------------------------------------------------- */

int import_begin(struct import *im, bool is_final, struct err *err)
{
    int64_t clients = 0;
    im->is_final = is_final;
    if (is_final && im->rows >= BULK_ROWS) {
        int r = db_number(im->c, "SELECT count(*) FROM client", ARGS(), &clients, err);
        if (r < 0)
            return r;
        if ((uint64_t)clients < im->rows / 4)
            return catalog_begin_bulk(im->c, err);
    }
    return catalog_begin(im->c, err);
}

/* --- image paths of the source ------------------------------------------------------------------------------------ */

static void fill_source(sqlite3_stmt *st, void *row)
{
    struct import_source *s = row;
    s->id = sqlite3_column_int64(st, 0);
    s->image_id = sqlite3_column_int64(st, 1);
    s->is_image_here = sqlite3_column_int(st, 2) != 0;
}

int import_source_get(struct catalog *c, const char *key, struct import_source *ret, struct err *err)
{
    return db_one(c,
                  "SELECT id, image_id, EXISTS (SELECT 1 FROM image WHERE image.id = image_id) FROM import_source"
                  " WHERE key = ?",
                  ARGS(T(key)), fill_source, ret, err);
}

int import_source_register(struct import *im, const char *key, const char *raw, struct import_source *ret,
                           struct err *err)
{
    int r = import_source_get(im->c, key, ret, err);
    if (r != -ENOENT)
        return r;
    r = db_run(
        im->c,
        "INSERT INTO import_source (key, raw, image_id, run_id, image_run_id, is_added) VALUES (?, ?, 0, ?, 0, 0)",
        ARGS(T(key), T(raw), N(im->run_id)), err);
    return r < 0 ? r : import_source_get(im->c, key, ret, err);
}

struct text {
    char *to;
    size_t size;
};

static void fill_text(sqlite3_stmt *st, void *row)
{
    const struct text *t = row;
    col_text(st, 0, t->to, t->size);
}

static int text_of(struct catalog *c, const char *sql, int64_t id, char *ret, size_t size, struct err *err)
{
    struct text t = {ret, size};
    *ret = 0;
    int r = db_one(c, sql, ARGS(N(id)), fill_text, &t, err);
    return r == -ENOENT ? 0 : r;
}

int import_source_raw(struct catalog *c, int64_t id, char *ret, size_t size, struct err *err)
{
    return text_of(c, "SELECT raw FROM import_source WHERE id = ?", id, ret, size, err);
}

int import_image_name(struct catalog *c, int64_t id, char *ret, size_t size, struct err *err)
{
    return text_of(c, "SELECT name FROM image WHERE id = ?", id, ret, size, err);
}

int import_source_link(struct import *im, int64_t source_id, int64_t image_id, bool is_added, struct err *err)
{
    return db_run(im->c, "UPDATE import_source SET image_id = ?, image_run_id = ?, is_added = ? WHERE id = ?",
                  ARGS(N(image_id), N(im->run_id), N(is_added), N(source_id)), err);
}

/* --- runs --------------------------------------------------------------------------------------------------------- */

int import_run_begin(struct import *im, const char *source, const char *sha256, int64_t *ret_id, struct err *err)
{
    char now[TIME_LEN + 1];
    catalog_now(now);
    int r = db_run(im->c,
                   "INSERT INTO import_run (at, who, origin, source, sha256, summary, is_undone)"
                   " VALUES (?, ?, ?, ?, ?, '{}', 0)",
                   ARGS(T(now), T(im->c->who), T(im->origin), T(source), T(sha256)), err);
    if (r == 0)
        r = db_number(im->c, "SELECT last_insert_rowid()", ARGS(), &im->run_id, err);
    if (r == 0)
        *ret_id = im->run_id;
    return r;
}

int import_run_end(struct import *im, json_t *summary, struct err *err)
{
    _cleanup_free_ char *text = json_dumps(summary, JSON_COMPACT);
    char object[64];
    if (!text)
        return err_sys(err, -ENOMEM, "cannot note the import in the catalog");
    (void)snprintf(object, sizeof(object), "import %lld", (long long)im->run_id);
    int r = db_run(im->c, "UPDATE import_run SET summary = ? WHERE id = ?", ARGS(T(text), N(im->run_id)), err);
    return r < 0 ? r : audit_add(im->c, "import", object, NULL, json_incref(summary), err);
}

static void fill_run(sqlite3_stmt *st, void *row)
{
    struct import_run_row *r = row;
    r->id = sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, r->at);
    COL_TEXT(st, 2, r->origin);
    COL_TEXT(st, 3, r->source);
    r->is_undone = sqlite3_column_int(st, 4) != 0;
}

int import_run_list(struct catalog *c, struct import_run_row **ret, size_t *ret_n, struct err *err)
{
    return db_list(c, "SELECT id, at, origin, source, is_undone FROM import_run ORDER BY id", ARGS(), fill_run,
                   sizeof(**ret), (void **)ret, ret_n, err);
}
