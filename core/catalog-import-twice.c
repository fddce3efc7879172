/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: rows with the same MAC or the same name; see catalog-import.h.
 *
 *   while rows are staged   each key goes into a filter of fixed size (Bloom); what may have been there before is a suspect
 *   then, with suspects     rows whose keys are suspects go into import_stage, where the ones that share one are found exactly
 *
 * Most files have no such rows, and then nothing is stored, sorted or looked up. A filter may take a key for another one, which costs a row in
 * import_stage; it never misses one that was there.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

/* 2 MiB. The bits of a key lie in one line of the processor's cache: looking for three in three places took longer than all else that is done with
 * a key. With 100,000 rows of two keys each, one import of eight takes a key for another one; with a million, one key of 200 is. */
#define LINE_WORDS  8
#define LINE_BITS   9 /* 64 * LINE_WORDS */
#define LINES_BITS  15
#define FILTER_SIZE (LINE_WORDS << LINES_BITS) /* words */
#define PROBES      5
#define WAITING     16 /* keys behind, so that nobody waits for memory: that took longer than all else, too */

enum { KIND_MAC = IMPORT_KINDS, KIND_RAW_NAME };

struct import_keys {
    uint64_t *words;           /* of both filters */
    uint64_t *seen, *suspects; /* in there */
    uint64_t n_suspects;
    uint64_t waiting[WAITING]; /* hashes, while their lines come from memory */
    size_t n;                  /* keys so far */
};

/* --- filters ------------------------------------------------------------------------------------------------------ */

static size_t line_of(uint64_t hash)
{
    return (size_t)(hash >> (64 - LINES_BITS)) * LINE_WORDS;
}

/* The bit of probe @i in its line. */
static unsigned probe(uint64_t hash, int i)
{
    return (unsigned)(hash >> i * LINE_BITS) % (1u << LINE_BITS);
}

static bool filter_has(const uint64_t *filter, uint64_t hash)
{
    const uint64_t *line = filter + line_of(hash);
    for (int i = 0; i < PROBES; i++) {
        unsigned bit = probe(hash, i);
        if (!(line[bit / 64] >> bit % 64 & 1))
            return false;
    }
    return true;
}

static void filter_add(uint64_t *filter, uint64_t hash)
{
    uint64_t *line = filter + line_of(hash);
    for (int i = 0; i < PROBES; i++) {
        unsigned bit = probe(hash, i);
        line[bit / 64] |= 1ULL << bit % 64;
    }
}

int import_keys_create(struct import_keys **ret, struct err *err)
{
    struct import_keys *k = calloc(1, sizeof(*k));
    if (k)
        k->words = calloc(2 * FILTER_SIZE + LINE_WORDS, sizeof(*k->words)); /* no memory before it is written */
    if (!k || !k->words) {
        import_keys_destroy(k);
        return err_sys(err, -ENOMEM, "cannot begin an import");
    }
    size_t over = (uintptr_t)k->words / sizeof(*k->words) % LINE_WORDS;
    k->seen = k->words + (over ? LINE_WORDS - over : 0); /* at the beginning of a line */
    k->suspects = k->seen + FILTER_SIZE;
    *ret = k;
    return 0;
}

void import_keys_destroy(struct import_keys *k)
{
    if (!k)
        return;
    free(k->words);
    free(k);
}

static void take_key(struct import_keys *k, uint64_t hash)
{
    if (filter_has(k->seen, hash)) {
        filter_add(k->suspects, hash);
        k->n_suspects++;
    }
    filter_add(k->seen, hash);
}

static void add_key(struct import_keys *k, const char *key, unsigned kind)
{
    if (!*key)
        return;
    uint64_t hash = import_key_hash(key, kind), *place = &k->waiting[k->n++ % WAITING];
    if (k->n > WAITING)
        take_key(k, *place);
    *place = hash;
    __builtin_prefetch(k->seen + line_of(hash), 1);
}

static void take_waiting(struct import_keys *k)
{
    for (size_t i = 0; i < MIN(k->n, (size_t)WAITING); i++)
        take_key(k, k->waiting[i]);
    k->n = 0;
}

void import_keys_add(struct import_keys *k, const char *mac, const char *raw_name)
{
    add_key(k, mac, KIND_MAC);
    add_key(k, raw_name, KIND_RAW_NAME);
}

static int stage_suspect(void *arg, const struct import_staged *row, struct err *err)
{
    struct import *im = arg;
    const uint64_t *suspects = im->keys->suspects;
    if (row->fate != IMPORT_OPEN)
        return 0;
    if (!(*row->mac && filter_has(suspects, import_key_hash(row->mac, KIND_MAC))) &&
        !(*row->raw_name && filter_has(suspects, import_key_hash(row->raw_name, KIND_RAW_NAME))))
        return 0;
    return import_run_kept(
        im, "INSERT INTO import_stage (row, mac, raw_name, src, fate, reason) VALUES (?, ?, ?, ?, 0, '')",
        ARGS(N(row->row), T(row->mac), T(row->raw_name), T(row->src)), err);
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

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
    int r = db_run(im->c, sql, ARGS(N(fate), T(reason), N(but), T(key)), err);
    if (r == 0) {
        im->staged[fate] += (uint64_t)sqlite3_changes(im->c->db);
        im->has_marks = true;
    }
    return r;
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

static int judge(struct import *im, enum import_duplicates policy, struct err *err)
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

int import_find_twice(struct import *im, enum import_duplicates policy, struct err *err)
{
    int r = 0;
    take_waiting(im->keys);
    if (im->keys->n_suspects > 0) {
        r = import_each_staged(im, stage_suspect, im, err);
        if (r == 0)
            r = db_exec(im->c,
                        "CREATE INDEX temp.import_stage_mac ON import_stage (mac, fate);"
                        "CREATE INDEX temp.import_stage_name ON import_stage (raw_name COLLATE NOCASE, fate);",
                        err);
        if (r == 0)
            r = judge(im, policy, err);
    }
    import_keys_destroy(im->keys);
    im->keys = NULL;
    return r;
}
