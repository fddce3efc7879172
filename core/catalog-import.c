/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the stage, and what an import remembers; see catalog-import.h. */
#include "core/catalog-import.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define SEPARATOR '\x1f'

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
        to = stpcpy(to, v->f[i]);
    }
    return p;
}

void import_unpack(const char *text, struct import_values *ret)
{
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        size_t n = strcspn(text, "\x1f"), take = MIN(n, (size_t)IMPORT_FIELD_LEN);
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

void import_col_given(sqlite3_stmt *st, int col, const struct import_values *want, struct import_values *ret)
{
    if (sqlite3_column_bytes(st, col) == 0)
        *ret = *want;
    else
        import_col_values(st, col, ret);
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

/* The catalog keeps what is temporary in memory; a hundred thousand rows go to SQLite's own temporary file. What is decided has a table of its
 * own: rows at the end of a table cost a fraction of rows that are changed where they lie. */
static const char temp_tables[] =
    "PRAGMA temp_store = FILE; PRAGMA temp.page_size = 8192; PRAGMA temp.cache_size = -6000;"
    "CREATE TEMP TABLE import_stage (row INTEGER PRIMARY KEY, mac TEXT, raw_mac TEXT, raw_name TEXT, source_id TEXT,"
    " src TEXT, images TEXT, rest TEXT, doubt TEXT, fate INTEGER, reason TEXT);"
    "CREATE TEMP TABLE import_plan (row INTEGER PRIMARY KEY, mac TEXT, source_id TEXT, src TEXT, fate INTEGER,"
    " reason TEXT, detail TEXT, client_id INTEGER, needs INTEGER, now TEXT, want TEXT, given TEXT);"
    "CREATE TEMP TABLE import_name (name TEXT PRIMARY KEY COLLATE NOCASE, client_id INTEGER, is_weak INTEGER)"
    " WITHOUT ROWID;"
    "CREATE TEMP TABLE import_ip (ip TEXT PRIMARY KEY, client_id INTEGER, is_weak INTEGER) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_suffix (base TEXT PRIMARY KEY COLLATE NOCASE, next INTEGER) WITHOUT ROWID;"
    "CREATE TEMP TABLE import_label (label TEXT PRIMARY KEY) WITHOUT ROWID;"
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
    free(im->suffixes);
    free(im);
}

/* --- stage -------------------------------------------------------------------------------------------------------- */

int import_stage_begin(struct import *im, struct err *err)
{
    int r = db_exec(im->c, "BEGIN", err); /* takes no lock: only temporary tables are written */
    im->is_staging = r == 0;
    return r;
}

int import_row_add(struct import *im, const struct import_row *row, struct err *err)
{
    struct import_packed src = import_pack(&row->src);
    return import_run_kept(im,
                           "INSERT INTO import_stage (row, mac, raw_mac, raw_name, source_id, src, images, rest, doubt,"
                           " fate, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                           ARGS(N(row->row), T(row->mac), T(row->raw_mac), T(row->raw_name), T(row->source_id),
                                T(src.text), T(row->images ? row->images : ""), T(row->rest ? row->rest : ""),
                                T(row->doubt ? row->doubt : ""), N(row->fate), T(row->reason)),
                           err);
}

struct group {
    char key[256];
    int64_t first, last, says; /* rows, and how many different things they say */
    char rows[80];
};

static void fill_group(sqlite3_stmt *st, void *row)
{
    struct group *g = row;
    COL_TEXT(st, 0, g->key);
    g->first = sqlite3_column_int64(st, 1);
    g->last = sqlite3_column_int64(st, 2);
    g->says = sqlite3_column_int64(st, 3);
    COL_TEXT(st, 4, g->rows);
}

static int mark(struct import *im, const char *where, const char *key, int64_t but, enum import_fate fate,
                const char *reason, struct err *err)
{
    char sql[256];
    (void)snprintf(sql, sizeof(sql),
                   "UPDATE import_stage SET fate = ?1, reason = ?2 WHERE fate = 0 AND row <> ?3 AND %s", where);
    return db_run(im->c, sql, ARGS(N(fate), T(reason), N(but), T(key)), err);
}

static int judge_mac(struct import *im, const struct group *g, enum import_duplicates policy, struct err *err)
{
    char reason[256];
    int64_t kept_row = policy == IMPORT_DUP_LAST ? g->last : g->first;
    if (g->says == 1 || policy != IMPORT_DUP_CONFLICT) {
        kept_row = g->says == 1 ? g->first : kept_row;
        (void)snprintf(reason, sizeof(reason),
                       g->says == 1 ? "says the same as row %lld" : "row %lld has the same MAC and is taken",
                       (long long)kept_row + 1);
        return mark(im, "mac = ?4", g->key, kept_row, IMPORT_SKIPPED, reason, err);
    }
    (void)snprintf(reason, sizeof(reason), "duplicate MAC: rows %s have %.17s and say different things", g->rows,
                   g->key);
    return mark(im, "mac = ?4", g->key, -1, IMPORT_CONFLICT, reason, err);
}

/* The keys that occur more than once are found in an index that holds all that is asked for; only their rows are read. */
static int find_groups(struct import *im, const char *column, const char *order, struct group **ret, size_t *ret_n,
                       struct err *err)
{
    char sql[512];
    (void)snprintf(sql, sizeof(sql),
                   "SELECT %s, min(row), max(row), count(DISTINCT src), group_concat(row + 1, ', ') FROM import_stage"
                   " WHERE fate = 0 AND %s IN (SELECT %s FROM import_stage WHERE fate = 0 AND %s <> '' GROUP BY %s"
                   " HAVING count(*) > 1) GROUP BY %s ORDER BY min(row)",
                   column, order, column, column, order, order);
    return db_list(im->c, sql, ARGS(), fill_group, sizeof(**ret), (void **)ret, ret_n, err);
}

static int judge_duplicates(struct import *im, enum import_duplicates policy, struct err *err)
{
    _cleanup_free_ struct group *macs = NULL, *names = NULL;
    size_t n_macs = 0, n_names = 0;
    char reason[400];
    int r = find_groups(im, "mac", "mac", &macs, &n_macs, err);
    for (size_t i = 0; r == 0 && i < n_macs; i++)
        r = judge_mac(im, &macs[i], policy, err);
    if (r == 0)
        r = find_groups(im, "raw_name", "raw_name COLLATE NOCASE", &names, &n_names, err);
    for (size_t i = 0; r == 0 && i < n_names; i++) {
        (void)snprintf(reason, sizeof(reason), "duplicate name: rows %s are different PCs and are all called '%.150s'",
                       names[i].rows, names[i].key);
        r = mark(im, "raw_name = ?4 COLLATE NOCASE", names[i].key, -1, IMPORT_CONFLICT, reason, err);
    }
    return r;
}

int import_stage_end(struct import *im, enum import_duplicates policy, struct err *err)
{
    int r = db_exec(im->c,
                    "CREATE INDEX temp.import_stage_mac ON import_stage (mac, fate);"
                    "CREATE INDEX temp.import_stage_name ON import_stage (raw_name COLLATE NOCASE, fate);",
                    err);
    if (r == 0)
        r = judge_duplicates(im, policy, err);
    if (r == 0)
        r = db_exec(im->c, "COMMIT", err);
    if (r == 0)
        im->is_staging = false;
    return r;
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

int import_source_link(struct import *im, int64_t source_id, int64_t image_id, bool is_added, struct err *err)
{
    return db_run(im->c, "UPDATE import_source SET image_id = ?, image_run_id = ?, is_added = ? WHERE id = ?",
                  ARGS(N(image_id), N(im->run_id), N(is_added), N(source_id)), err);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void take_row(sqlite3_stmt *st, struct import_row *r)
{
    r->row = (uint64_t)sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, r->mac);
    COL_TEXT(st, 2, r->raw_mac);
    COL_TEXT(st, 3, r->raw_name);
    COL_TEXT(st, 4, r->source_id);
    import_col_values(st, 5, &r->src);
    r->images = (const char *)sqlite3_column_text(st, 6);
    r->rest = (const char *)sqlite3_column_text(st, 7);
    r->doubt = (const char *)sqlite3_column_text(st, 8);
    r->fate = (enum import_fate)sqlite3_column_int(st, 9);
    COL_TEXT(st, 10, r->reason);
    r->detail = (const char *)sqlite3_column_text(st, 11);
    r->client_id = sqlite3_column_int64(st, 12);
    import_col_values(st, 13, &r->want);
    import_col_given(st, 14, &r->want, &r->given);
}

struct visit {
    import_each_fn *each;
    void *arg;
    struct err *err;
};

static int visit_row(void *arg, sqlite3_stmt *st)
{
    const struct visit *v = arg;
    struct import_row row;
    take_row(st, &row);
    return v->each(v->arg, &row, v->err);
}

#define STAGED_AND_PLANNED                                                                                             \
    "SELECT s.row, s.mac, raw_mac, raw_name, s.source_id, ifnull(p.src, s.src), images, rest, doubt,"                  \
    " ifnull(p.fate, s.fate), ifnull(p.reason, s.reason), ifnull(p.detail, ''), ifnull(p.client_id, 0),"               \
    " ifnull(p.want, ''), ifnull(p.given, '') FROM import_stage s LEFT JOIN import_plan p ON p.row = s.row"

int import_each(struct import *im, enum import_fate fate, import_each_fn *each, void *arg, struct err *err)
{
    static const char staged[] = "SELECT row, mac, raw_mac, raw_name, source_id, src, images, rest, doubt, fate,"
                                 " reason, '', 0, '', '' FROM import_stage WHERE fate = 0 AND ? = 0 ORDER BY row";
    struct visit v = {each, arg, err};
    if (fate == IMPORT_OPEN)
        return db_each(im->c, staged, ARGS(N(fate)), visit_row, &v, err);
    if (fate == IMPORT_FATES)
        return db_each(im->c, STAGED_AND_PLANNED " ORDER BY s.row", ARGS(), visit_row, &v, err);
    return db_each(im->c, STAGED_AND_PLANNED " WHERE ifnull(p.fate, s.fate) = ? ORDER BY s.row", ARGS(N(fate)),
                   visit_row, &v, err);
}

int import_each_remark(struct import *im, enum import_fate fate, const char *but, import_each_fn *each, void *arg,
                       struct err *err)
{
    struct visit v = {each, arg, err};
    return db_each(im->c,
                   "SELECT s.row, s.mac, raw_mac, raw_name, s.source_id, p.src, images, rest, doubt, p.fate, p.reason,"
                   " p.detail, p.client_id, p.want, p.given FROM import_plan p CROSS JOIN import_stage s"
                   " ON s.row = p.row WHERE p.fate = ?1 AND (doubt <> '' OR"
                   " (p.reason <> '' AND substr(p.reason, 1, length(?2)) <> ?2)) ORDER BY p.row",
                   ARGS(N(fate), T(but)), visit_row, &v, err);
}

struct fate_count {
    int64_t fate, n;
};

static void fill_fate(sqlite3_stmt *st, void *row)
{
    struct fate_count *f = row;
    f->fate = sqlite3_column_int64(st, 0);
    f->n = sqlite3_column_int64(st, 1);
}

int import_counts(struct import *im, uint64_t counts[static IMPORT_FATES], uint64_t *ret_rows, struct err *err)
{
    _cleanup_free_ struct fate_count *list = NULL;
    size_t n = 0;
    int64_t rows, decided = 0;
    int r = db_number(im->c, "SELECT count(*) FROM import_stage", ARGS(), &rows, err);
    if (r == 0)
        r = db_list(im->c,
                    "SELECT fate, count(*) FROM import_plan GROUP BY fate UNION ALL"
                    " SELECT fate, count(*) FROM import_stage WHERE fate <> 0 GROUP BY fate",
                    ARGS(), fill_fate, sizeof(*list), (void **)&list, &n, err);
    if (r < 0)
        return r;
    memset(counts, 0, IMPORT_FATES * sizeof(*counts));
    for (size_t i = 0; i < n; i++) {
        counts[list[i].fate] += (uint64_t)list[i].n;
        decided += list[i].n;
    }
    counts[IMPORT_OPEN] += (uint64_t)(rows - decided);
    *ret_rows = (uint64_t)rows;
    return 0;
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
