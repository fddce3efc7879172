/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: what the catalog knows of a client, and who gets which name and address; see catalog-import.h.
 *
 *   name or address    is given to
 *   free               who asks first, in the order of the rows
 *   strong             nobody else: its client is here and stays as it is
 *   weak               who asks: its client is gone from the source and was not edited here
 *
 * Clients that get another name have given their old one back before the first new one is given, so two may exchange theirs.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define NAMES_MAX 10000000

/* --- what is known ------------------------------------------------------------------------------------------------ */

/* Name, address, ... and links at columns @col.. */
static void col_now(sqlite3_stmt *st, int col, struct import_values *ret)
{
    for (int i = 0; i <= IMPORT_LINKS; i++)
        COL_TEXT(st, col + i, ret->f[i]);
    ret->f[IMPORT_IMAGES][0] = 0;
    if (strcmp(ret->f[IMPORT_DISABLED], "0") == 0)
        ret->f[IMPORT_DISABLED][0] = 0;
}

#define NOW_COLUMNS                                                                                                    \
    "client.name, client.ip, client.netmask, client.gateway, client.dns, client.\"group\", client.comment,"            \
    " client.is_disabled, " IMPORT_LINKS_SQL

static void fill_now(sqlite3_stmt *st, void *row)
{
    col_now(st, 0, row);
}

int import_now(struct catalog *c, int64_t client_id, const char *images, struct import_values *ret, struct err *err)
{
    int r = db_one(c, "SELECT " NOW_COLUMNS " FROM client WHERE id = ?", ARGS(N(client_id)), fill_now, ret, err);
    if (r == 0)
        (void)snprintf(ret->f[IMPORT_IMAGES], sizeof(ret->f[IMPORT_IMAGES]), "%s", images);
    return r;
}

static void fill_client(sqlite3_stmt *st, void *row)
{
    struct import_known *k = row;
    k->client_id = sqlite3_column_int64(st, 0);
    k->mode = col_mode(st, 1);
    col_now(st, 2, &k->now);
}

static void fill_track(sqlite3_stmt *st, void *row)
{
    struct import_known *k = row;
    k->is_tracked = true;
    k->tracked_id = sqlite3_column_int64(st, 0);
    import_col_values(st, 1, &k->src);
    import_col_values(st, 2, &k->given);
    k->is_gone = sqlite3_column_int(st, 3) != 0;
}

static void fill_nothing(sqlite3_stmt *st, void *row)
{
    *(bool *)row = true;
    (void)st;
}

int import_known(struct import *im, const char *mac, struct import_known *ret, struct err *err)
{
    memset(ret, 0, sizeof(*ret));
    if (im->is_catalog_empty)
        return 0;
    int r = import_one_kept(im, "SELECT id, mode, " NOW_COLUMNS " FROM client WHERE mac = ?", ARGS(T(mac)), fill_client,
                            ret, err);
    if (r == 0 || r == -ENOENT)
        r = import_one_kept(im, "SELECT client_id, src, given, is_gone FROM import_client WHERE mac = ? AND origin = ?",
                            ARGS(T(mac), T(im->origin)), fill_track, ret, err);
    if (r < 0 && r != -ENOENT)
        return r;
    if (ret->is_tracked)
        strcpy(ret->now.f[IMPORT_IMAGES], ret->given.f[IMPORT_IMAGES]);
    if (!ret->is_tracked || ret->tracked_id == ret->client_id)
        return 0;
    r = import_one_kept(im, "SELECT 1 FROM client WHERE id = ?", ARGS(N(ret->tracked_id)), fill_nothing,
                        &ret->has_other_mac, err);
    return r == -ENOENT ? 0 : r;
}

/* --- plan --------------------------------------------------------------------------------------------------------- */

/* Clients that this origin had and whose MAC is in no row; what was edited here keeps its name and address. */
static const char find_gone[] = "INSERT INTO import_gone (client_id, mac, name, new_name, loses_ip, is_new)"
                                " SELECT t.client_id, t.mac, client.name, '', 0, NOT t.is_gone FROM import_client t"
                                " JOIN client ON client.id = t.client_id AND client.mac = t.mac"
                                " WHERE t.origin = ? AND NOT EXISTS (SELECT 1 FROM import_stage s WHERE s.mac = t.mac)";

int import_plan_begin(struct import *im, struct err *err)
{
    int r =
        db_exec(im->c,
                "DELETE FROM import_name; DELETE FROM import_ip; DELETE FROM import_gone; DELETE FROM import_suffix;"
                "INSERT INTO import_name SELECT name, id, 0 FROM client;"
                "INSERT INTO import_ip SELECT ip, id, 0 FROM client WHERE ip <> '';",
                err);
    int64_t known = 1;
    if (r == 0)
        r = db_number(im->c, "SELECT EXISTS (SELECT 1 FROM client) OR EXISTS (SELECT 1 FROM import_client)", ARGS(),
                      &known, err);
    im->is_catalog_empty = known == 0;
    if (r == 0)
        r = db_run(im->c, find_gone, ARGS(T(im->origin)), err);
    if (r == 0)
        r = db_run(im->c,
                   "UPDATE import_name SET is_weak = 1 WHERE client_id IN (SELECT g.client_id FROM import_gone g"
                   " JOIN import_client t ON t.mac = g.mac AND t.origin = ?"
                   " WHERE substr(t.given, 1, instr(t.given, char(31)) - 1) = g.name)",
                   ARGS(T(im->origin)), err);
    if (r == 0)
        r = db_exec(im->c,
                    "UPDATE import_ip SET is_weak = 1 WHERE client_id IN"
                    " (SELECT client_id FROM import_name WHERE is_weak)",
                    err);
    return r;
}

static int give_back(struct import *im, const struct import_row *row, unsigned needs, struct err *err)
{
    int r = 0;
    if (row->client_id && (needs & IMPORT_NEEDS_NAME))
        r = import_run_kept(
            im, "DELETE FROM import_name WHERE client_id = ?1 AND name = (SELECT name FROM client WHERE id = ?1)",
            ARGS(N(row->client_id)), err);
    if (r == 0 && row->client_id && (needs & IMPORT_NEEDS_IP))
        r = import_run_kept(im, "DELETE FROM import_ip WHERE ip = (SELECT ip FROM client WHERE id = ?)",
                            ARGS(N(row->client_id)), err);
    return r;
}

int import_row_plan(struct import *im, const struct import_row *row, const struct import_known *known, struct err *err)
{
    struct import_packed want = import_pack(&row->want), now, given;
    now.text[0] = given.text[0] = 0; /* a new client was nothing; given is mostly the same as want */
    if (row->client_id)
        now = import_pack(&known->now);
    if (!import_values_equal(&row->want, &row->given))
        given = import_pack(&row->given);
    unsigned needs = 0;
    bool is_removed = !row->client_id && row->fate != IMPORT_NEW; /* here, and stays so */
    if (row->fate < IMPORT_CONFLICT && !is_removed) {
        if (!row->client_id || strcmp(known->now.f[IMPORT_NAME], row->want.f[IMPORT_NAME]) != 0)
            needs |= IMPORT_NEEDS_NAME;
        if (strcmp(known->now.f[IMPORT_IP], row->want.f[IMPORT_IP]) != 0)
            needs |= IMPORT_NEEDS_IP;
        for (int i = 0; i < IMPORT_IMAGES; i++)
            if (!row->client_id || strcmp(known->now.f[i], row->want.f[i]) != 0)
                needs |= IMPORT_WRITES;
        if (!known->is_tracked)
            needs |= IMPORT_TRACK_NEW;
        else if (known->is_gone || !import_values_equal(&known->src, &row->src) ||
                 !import_values_equal(&known->given, &row->given))
            needs |= IMPORT_TRACK_OTHER;
    }
    int r = give_back(im, row, needs, err);
    if (r < 0)
        return r;
    return import_run_kept(
        im,
        "UPDATE import_stage SET fate = ?, reason = ?, detail = ?, client_id = ?, needs = ?, now = ?,"
        " want = ?, given = ?, src = ? WHERE row = ?",
        ARGS(N(row->fate), T(row->reason), T(row->detail ? row->detail : ""), N(row->client_id), N(needs), T(now.text),
             T(want.text), T(given.text), T(import_pack(&row->src).text), N(row->row)),
        err);
}

/* --- names and addresses ------------------------------------------------------------------------------------------ */

struct holder {
    int64_t client_id;
    bool is_weak;
};

static void fill_holder(sqlite3_stmt *st, void *row)
{
    struct holder *h = row;
    h->client_id = sqlite3_column_int64(st, 0);
    h->is_weak = sqlite3_column_int(st, 1) != 0;
}

static int find_name(struct import *im, const char *name, struct holder *ret, struct err *err)
{
    return import_one_kept(im, "SELECT client_id, is_weak FROM import_name WHERE name = ?", ARGS(T(name)), fill_holder,
                           ret, err);
}

/* "@base@tail", or that with a number, whichever is nobody's. */
static int free_name(struct import *im, const char *base, const char *tail, unsigned first, char *ret, struct err *err)
{
    char stem[NAME_LEN + 16], end[32];
    struct holder h;
    unsigned n;
    (void)snprintf(stem, sizeof(stem), "%s%s", base, tail);
    int r = import_suffix(im, stem, first, &n, err);
    for (; r == 0 && n < NAMES_MAX; n++) {
        (void)snprintf(end, sizeof(end), n == 1 ? "%s" : "%s-%u", tail, n);
        (void)snprintf(ret, NAME_LEN + 1, "%.*s%s", (int)(NAME_LEN - strlen(end)), base, end);
        r = find_name(im, ret, &h, err);
        if (r == -ENOENT)
            return import_suffix_used(im, stem, n, err);
    }
    return r < 0 ? r : err_set(err, -EEXIST, "every name that begins with '%s' is taken", base);
}

/* 1 when the name or address was nobody's, and is @owner's now; else 0. */
static int take_if_free(struct import *im, const char *sql, const char *value, int64_t owner, struct err *err)
{
    int r = import_run_kept(im, sql, ARGS(T(value), N(owner)), err);
    return r < 0 ? r : sqlite3_changes(im->c->db) > 0;
}

static int store_name(struct import *im, const char *name, int64_t owner, struct err *err)
{
    return import_run_kept(im, "INSERT OR REPLACE INTO import_name (name, client_id, is_weak) VALUES (?, ?, 0)",
                           ARGS(T(name), N(owner)), err);
}

/* The client that is gone makes way for its successor. */
static int push_aside(struct import *im, int64_t gone_id, const char *name, struct err *err)
{
    char other[NAME_LEN + 1];
    int r = free_name(im, name, "-gone", 1, other, err);
    if (r == 0)
        r = store_name(im, other, gone_id, err);
    return r < 0 ? r
                 : import_run_kept(im, "UPDATE import_gone SET new_name = ? WHERE client_id = ?",
                                   ARGS(T(other), N(gone_id)), err);
}

static void add_reason(struct import_row *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_reason(struct import_row *row, const char *fmt, ...)
{
    size_t n = strlen(row->reason);
    if (n > 0 && n + 2 < sizeof(row->reason)) {
        memcpy(row->reason + n, "; ", 3);
        n += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(row->reason + n, sizeof(row->reason) - n, fmt, ap); /* names and addresses are short */
    va_end(ap);
}

static int give_name(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    char name[NAME_LEN + 1];
    struct holder h = {0};
    (void)snprintf(name, sizeof(name), "%.*s", NAME_LEN, row->want.f[IMPORT_NAME]);
    int r =
        take_if_free(im, "INSERT INTO import_name (name, client_id, is_weak) VALUES (?, ?, 0) ON CONFLICT DO NOTHING",
                     name, owner, err);
    if (r != 0)
        return MIN(r, 0);
    r = find_name(im, name, &h, err);
    if (r == 0 && h.is_weak) {
        r = push_aside(im, h.client_id, name, err);
    } else if (r == 0 && h.client_id != owner) {
        char taken[NAME_LEN + 1];
        strcpy(taken, name);
        r = free_name(im, taken, "", 2, name, err);
        if (r == 0)
            add_reason(row, "called '%s' here, for '%s' is taken", name, taken);
    }
    if (r < 0 && r != -ENOENT)
        return r;
    r = store_name(im, name, owner, err);
    im->is_row_changed = true;
    strcpy(row->want.f[IMPORT_NAME], name);
    strcpy(row->given.f[IMPORT_NAME], name);
    return r;
}

static int give_ip(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    struct holder h;
    char *ip = row->want.f[IMPORT_IP];
    if (!*ip)
        return 0;
    int r =
        import_one_kept(im, "SELECT client_id, is_weak FROM import_ip WHERE ip = ?", ARGS(T(ip)), fill_holder, &h, err);
    if (r == 0 && h.is_weak) {
        r = import_run_kept(im, "UPDATE import_gone SET loses_ip = 1 WHERE client_id = ?", ARGS(N(h.client_id)), err);
    } else if (r == 0 && h.client_id != owner) {
        add_reason(row, "without a fixed address: another client has %s", ip);
        im->is_row_changed = true;
        ip[0] = row->given.f[IMPORT_IP][0] = 0;
        return 0;
    }
    if (r < 0 && r != -ENOENT)
        return r;
    return import_run_kept(im, "INSERT OR REPLACE INTO import_ip (ip, client_id, is_weak) VALUES (?, ?, 0)",
                           ARGS(T(ip), N(owner)), err);
}

struct naming {
    struct import *im;
    struct err *err;
};

static int name_row(void *arg, sqlite3_stmt *st)
{
    const struct naming *a = arg;
    struct import_row row = {.row = (uint64_t)sqlite3_column_int64(st, 0)};
    unsigned needs = (unsigned)sqlite3_column_int(st, 2);
    COL_TEXT(st, 1, row.reason);
    row.client_id = sqlite3_column_int64(st, 3);
    import_col_values(st, 4, &row.want);
    import_col_given(st, 5, &row.want, &row.given);
    int64_t owner = row.client_id ? row.client_id : -(int64_t)row.row - 1;
    a->im->is_row_changed = false;
    int r = needs & IMPORT_NEEDS_NAME ? give_name(a->im, &row, owner, a->err) : 0;
    if (r == 0 && (needs & IMPORT_NEEDS_IP))
        r = give_ip(a->im, &row, owner, a->err);
    if (r < 0)
        return r;
    return import_run_kept(
        a->im, "UPDATE import_stage SET reason = ?, want = ?, given = ? WHERE row = ?",
        ARGS(T(row.reason), T(import_pack(&row.want).text), T(import_pack(&row.given).text), N(row.row)), a->err);
}

int import_names(struct import *im, struct err *err)
{
    struct naming a = {im, err};
    return db_each(im->c,
                   "SELECT row, reason, needs, client_id, want, given FROM import_stage WHERE needs & 3 ORDER BY row",
                   ARGS(), name_row, &a, err);
}

/* --- gone --------------------------------------------------------------------------------------------------------- */

static void fill_gone(sqlite3_stmt *st, void *row)
{
    struct import_gone *g = row;
    g->client_id = sqlite3_column_int64(st, 0);
    COL_TEXT(st, 1, g->mac);
    COL_TEXT(st, 2, g->name);
    COL_TEXT(st, 3, g->new_name);
    g->loses_ip = sqlite3_column_int(st, 4) != 0;
}

int import_gone_list(struct import *im, struct import_gone **ret, size_t *ret_n, struct err *err)
{
    return db_list(im->c,
                   "SELECT client_id, mac, name, new_name, loses_ip FROM import_gone"
                   " WHERE is_new OR new_name <> '' OR loses_ip ORDER BY name COLLATE by_name",
                   ARGS(), fill_gone, sizeof(**ret), (void **)ret, ret_n, err);
}
