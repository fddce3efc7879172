/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: what the catalog knows of a client, and what is planned for it; see catalog-import.h. Names and addresses are given in
 * catalog-import-names.c: at once where no row can give one back, that is where all rows are new; else when all rows are planned.
 */
#include "core/catalog-import.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

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

static void clear_known(struct import_known *k)
{
    import_values_clear(&k->now);
    import_values_clear(&k->src);
    import_values_clear(&k->given);
    k->client_id = k->tracked_id = 0;
    k->mode = OVERLAY_VOLATILE;
    k->is_tracked = k->is_gone = k->has_other_mac = false;
}

int import_known_here(struct import *im, const char *mac, struct import_known *ret, struct err *err)
{
    clear_known(ret);
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

int import_known(struct import *im, const char *mac, struct import_known *ret, struct err *err)
{
    if (!im->is_all_new)
        return import_known_here(im, mac, ret, err);
    clear_known(ret);
    return 0;
}

/* --- plan --------------------------------------------------------------------------------------------------------- */

/* Clients that this origin had and whose MAC is in no row; what was edited here keeps its name and address. */
static const char find_gone[] = "INSERT INTO import_gone (client_id, mac, name, new_name, loses_ip, is_new)"
                                " SELECT t.client_id, t.mac, client.name, '', 0, NOT t.is_gone FROM import_client t"
                                " JOIN client ON client.id = t.client_id AND client.mac = t.mac"
                                " WHERE t.origin = ? AND NOT EXISTS (SELECT 1 FROM import_mac s WHERE s.mac = t.mac)";

static const char any_here[] =
    "SELECT EXISTS (SELECT 1 FROM client) OR EXISTS (SELECT 1 FROM import_client WHERE origin = ?)";

static const char any_known[] =
    "SELECT EXISTS (SELECT 1 FROM client WHERE EXISTS (SELECT 1 FROM import_mac s WHERE s.mac = client.mac)) OR"
    " EXISTS (SELECT 1 FROM import_client t WHERE t.origin = ? AND EXISTS"
    " (SELECT 1 FROM import_mac s WHERE s.mac = t.mac))";

static int note_mac(void *arg, const struct import_staged *row, struct err *err)
{
    if (!*row->mac)
        return 0;
    return import_run_kept(arg, "INSERT OR IGNORE INTO import_mac (mac) VALUES (?)", ARGS(T(row->mac)), err);
}

/* Compare the MACs of the source with those of the catalog, if it has any. */
static int compare_macs(struct import *im, struct err *err)
{
    int64_t known = 1;
    int r = db_number(im->c, any_here, ARGS(T(im->origin)), &known, err);
    if (r == 0 && known)
        r = import_each_staged(im, note_mac, im, err);
    if (r == 0 && known)
        r = db_number(im->c, any_known, ARGS(T(im->origin)), &known, err);
    im->is_all_new = known == 0;
    return r < 0 ? r : db_run(im->c, find_gone, ARGS(T(im->origin)), err);
}

int import_plan_begin(struct import *im, struct err *err)
{
    int r = import_unpack_origin(im->c, im->origin, err);
    if (r < 0)
        return r;
    r = db_exec(im->c,
                "DELETE FROM import_name; DELETE FROM import_ip; DELETE FROM import_gone; DELETE FROM import_mac;"
                "INSERT INTO import_name SELECT name, id, 0 FROM client;"
                "INSERT INTO import_ip SELECT ip, id, 0 FROM client WHERE ip <> '';",
                err);
    memset(im->planned, 0, sizeof(im->planned));
    import_sort_forget(im);
    if (r == 0)
        r = spool_clear(im->plan, err);
    if (r == 0)
        r = import_suffix_forget(im, err);
    if (r == 0)
        r = import_taken_begin(im, err);
    if (r == 0)
        r = import_taken_look(im, IMPORT_KIND_NAME, NULL, err);
    if (r == 0)
        r = import_taken_look(im, IMPORT_KIND_IP, NULL, err);
    if (r == 0)
        r = compare_macs(im, err);
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
    return r == 0 && im->is_all_new && im->is_final ? import_sort_begin(im, err) : r;
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

/* What is to be done for a row, as IMPORT_NEEDS_NAME and so on. */
static unsigned needs_of(const struct import_row *row, const struct import_known *known)
{
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
    return needs;
}

static int store_planned(struct import *im, const struct import_planned *planned, struct err *err)
{
    int r = import_planned_put(im->plan, planned, err);
    if (r < 0)
        return r;
    im->planned[planned->fate]++;
    return im->by_name && !im->sorter ? import_sort_put(im, planned, err) : 0;
}

static int store_plan(struct import *im, const struct import_row *row, const struct import_known *known, unsigned needs,
                      struct err *err)
{
    struct import_packed src = import_pack(&row->src), want, now, given;
    struct import_planned planned = {.row = row->row,
                                     .client_id = row->client_id,
                                     .fate = row->fate,
                                     .needs = needs,
                                     .mac = row->mac,
                                     .source_id = row->source_id,
                                     .src = src.text,
                                     .reason = row->reason,
                                     .detail = row->detail ? row->detail : "",
                                     .now = now.text,
                                     .want = want.text,
                                     .given = given.text};
    now.text[0] = given.text[0] = 0; /* a new client was nothing; given is mostly the same as want */
    if (row->client_id)
        now = import_pack(&known->now);
    (void)import_pack_as(&row->want, &row->src, want.text);
    if (needs && !import_values_equal(&row->want, &row->given)) /* what needs nothing has no given */
        (void)import_pack_as(&row->given, &row->src, given.text);
    return store_planned(im, &planned, err);
}

int import_row_plan(struct import *im, struct import_row *row, const struct import_known *known, struct err *err)
{
    unsigned needs = needs_of(row, known);
    int r = im->is_all_new ? import_name_row(im, row, needs, err) : give_back(im, row, needs, err);
    return r < 0 ? r : store_plan(im, row, known, needs, err);
}

bool import_knows_none(const struct import *im)
{
    return im->is_all_new;
}

/* What differs from src of a new client: name and address. */
static void pack_new(const struct import_row *row, char ret[static IMPORT_PACKED_LEN])
{
    static const char others[] = "\x1f\x1e\x1f\x1e\x1f\x1e\x1f\x1e\x1f\x1e\x1f\x1e\x1f\x1e\x1f\x1e";
    static_assert(sizeof(others) == 2 * (IMPORT_FIELDS - IMPORT_IP - 1) + 1, "all fields behind these");
    for (int i = IMPORT_NAME; i <= IMPORT_IP; i++) {
        if (i > IMPORT_NAME)
            *ret++ = others[0];
        if (strcmp(row->want.f[i], row->src.f[i]) == 0)
            *ret++ = IMPORT_SAME;
        else
            ret = stpcpy(ret, row->want.f[i]);
    }
    memcpy(ret, others, sizeof(others));
}

int import_row_plan_new(struct import *im, struct import_row *row, struct err *err)
{
    unsigned needs = IMPORT_NEEDS_NAME | IMPORT_NEEDS_IP | IMPORT_WRITES | IMPORT_TRACK_NEW;
    char want[IMPORT_PACKED_LEN];
    strcpy(row->want.f[IMPORT_IP], row->src.f[IMPORT_IP]);
    import_name_soon(im, row);
    struct import_packed src = import_pack(&row->src);
    int r = import_name_row(im, row, needs, err);
    if (r < 0)
        return r;
    pack_new(row, want);
    row->fate = IMPORT_NEW;
    struct import_planned planned = {.row = row->row,
                                     .fate = IMPORT_NEW,
                                     .needs = needs,
                                     .mac = row->mac,
                                     .source_id = row->source_id,
                                     .src = src.text,
                                     .reason = row->reason,
                                     .detail = "",
                                     .now = "",
                                     .want = want,
                                     .given = ""};
    return store_planned(im, &planned, err);
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
