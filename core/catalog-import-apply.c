/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the plan becomes clients and links; see catalog-import.h.
 *
 *   what is in the way is parked -> gone clients get their other names -> known clients are changed -> new ones are added
 *   -> what the next import and an undo need
 *
 * New clients are inserted by statements that are kept, all others by the writers of the catalog. The labels that their targets are
 * called by are looked up in a table of their own: the usual search through all IQNs would take for ever with many.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

/* --- links as text ------------------------------------------------------------------------------------------------ */

struct text_link {
    unsigned slot;
    int64_t image_id;
    uint32_t pinned;
};

/* The next "0:12@3" at *@p; false at the end. */
static bool next_link(const char **p, struct text_link *ret)
{
    const char *start = *p;
    char *end;
    ret->slot = (unsigned)strtoul(start, &end, 10);
    ret->image_id = *end == ':' ? strtoll(end + 1, &end, 10) : 0;
    ret->pinned = *end == '@' ? (uint32_t)strtoul(end + 1, &end, 10) : 0;
    *p = end + (*end == ',');
    return end > start;
}

static bool find_slot(const char *links, unsigned slot, struct text_link *ret)
{
    while (next_link(&links, ret))
        if (ret->slot == slot)
            return true;
    return false;
}

/* --- one client that is here -------------------------------------------------------------------------------------- */

int import_park_client(struct catalog *c, int64_t client_id, struct err *err)
{
    char id[UUID_LEN + 1], name[NAME_LEN + 1];
    int r = uuid_new(id);
    if (r < 0)
        return err_sys(err, r, "cannot get random bytes");
    (void)snprintf(name, sizeof(name), "parked-%s", id);
    return db_run(c, "UPDATE client SET name = ?, ip = '' WHERE id = ?", ARGS(T(name), N(client_id)), err);
}

struct image_name {
    char name[NAME_LEN + 1];
};

static void fill_image(sqlite3_stmt *st, void *row)
{
    COL_TEXT(st, 0, ((struct image_name *)row)->name);
}

static int set_links(struct catalog *c, const char *client, const char *now, const char *want, struct err *err)
{
    struct text_link link, other;
    int r = 0;
    for (const char *p = now; r == 0 && next_link(&p, &link);)
        if (!find_slot(want, link.slot, &other))
            r = link_remove(c, client, link.slot, err);
    for (const char *p = want; r == 0 && next_link(&p, &link);) {
        struct image_name image;
        if (find_slot(now, link.slot, &other) && other.image_id == link.image_id && other.pinned == link.pinned)
            continue;
        r = db_one(c, "SELECT name FROM image WHERE id = ?", ARGS(N(link.image_id)), fill_image, &image, err);
        if (r == -ENOENT)
            return err_set(err, r, "an image that client '%s' was linked to is not here any more", client);
        if (r == 0)
            r = link_set(c, client, link.slot, image.name, link.pinned, err);
    }
    return r;
}

int import_set_client(struct catalog *c, int64_t client_id, const struct import_values *now,
                      const struct import_values *want, struct err *err)
{
    int r = db_run(c,
                   "UPDATE client SET name = ?, ip = ?, netmask = ?, gateway = ?, dns = ?, \"group\" = ?, comment = ?,"
                   " is_disabled = ? WHERE id = ?",
                   ARGS(T(want->f[IMPORT_NAME]), T(want->f[IMPORT_IP]), T(want->f[IMPORT_NETMASK]),
                        T(want->f[IMPORT_GATEWAY]), T(want->f[IMPORT_DNS]), T(want->f[IMPORT_GROUP]),
                        T(want->f[IMPORT_COMMENT]), N(want->f[IMPORT_DISABLED][0] != 0), N(client_id)),
                   err);
    if (r < 0 || strcmp(now->f[IMPORT_LINKS], want->f[IMPORT_LINKS]) == 0)
        return r;
    return set_links(c, want->f[IMPORT_NAME], now->f[IMPORT_LINKS], want->f[IMPORT_LINKS], err);
}

/* --- new clients -------------------------------------------------------------------------------------------------- */

/* "@base", "@base@sep2", ...: the first one that @sql can insert. */
static int first_free(struct import *im, const char *sql, const char *base, char sep, char *ret, size_t size,
                      struct err *err)
{
    char key[NAME_LEN + 4];
    unsigned n;
    key[0] = sep; /* labels and folders count by themselves */
    strcpy(key + 1, base);
    int r = import_suffix(im, key, 1, &n, err);
    for (; r == 0; n++) {
        if (n == 1)
            strcpy(ret, base);
        else
            (void)snprintf(ret, size, "%s%c%u", base, sep, n);
        r = import_run_kept(im, sql, ARGS(T(ret)), err);
        if (r == 0 && sqlite3_changes(im->c->db) > 0)
            return n == 1 ? 0 : import_suffix_used(im, key, n, err);
    }
    return r;
}

struct identity {
    char label[64], iqn[224], secret[64], dir[OVERLAY_DIR_LEN + 1], tag[9];
};

static int make_identity(struct import *im, const char *name, struct identity *ret, struct err *err)
{
    char base[CLIENT_LABEL_LEN + 1];
    client_label(name, base);
    int r = first_free(im, "INSERT INTO import_label (label) VALUES (?) ON CONFLICT DO NOTHING", base, '-', ret->label,
                       sizeof(ret->label), err);
    if (r == 0)
        r = first_free(im, "INSERT INTO overlay_dir (name) VALUES (?) ON CONFLICT DO NOTHING", name, '.', ret->dir,
                       sizeof(ret->dir), err);
    if (r < 0)
        return r;
    client_iqn(ret->tag, ret->label, ret->iqn);
    r = secret_new(ret->secret);
    return r < 0 ? err_sys(err, r, "cannot make a password for client '%s'", name) : 0;
}

/* What a row of the plan wants, as insert_client() takes it. */
struct new_client {
    const char *mac;
    struct import_values want;
};

static int insert_client(struct import *im, const struct new_client *client, const struct identity *id, const char *now,
                         int64_t *ret_id, struct err *err)
{
    const struct import_values *v = &client->want;
    int r = import_run_kept(
        im,
        "INSERT INTO client (name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
        " created_at, is_disabled, netmask, gateway, dns) VALUES (?, ?, ?, ?, 'volatile', ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "?)",
        ARGS(T(v->f[IMPORT_NAME]), T(client->mac), T(v->f[IMPORT_IP]), T(v->f[IMPORT_GROUP]), T(id->iqn), T(id->label),
             T(id->secret), T(id->dir), T(v->f[IMPORT_COMMENT]), T(now), N(v->f[IMPORT_DISABLED][0] != 0),
             T(v->f[IMPORT_NETMASK]), T(v->f[IMPORT_GATEWAY]), T(v->f[IMPORT_DNS])),
        err);
    *ret_id = sqlite3_last_insert_rowid(im->c->db);
    return r;
}

static int insert_links(struct import *im, int64_t client_id, const char *links, const char *now, struct err *err)
{
    struct text_link link;
    char id[UUID_LEN + 1];
    int r = 0;
    while (r == 0 && next_link(&links, &link)) {
        r = import_run_kept(im, "INSERT INTO link (client_id, slot, image_id, pinned) VALUES (?, ?, ?, NULL)",
                            ARGS(N(client_id), N(link.slot), N(link.image_id)), err);
        if (r == 0 && uuid_new(id) < 0)
            r = err_set(err, -EIO, "cannot make an id for an overlay");
        if (r == 0)
            r = import_run_kept(im,
                                "INSERT INTO overlay (link_id, uuid, version_id, created_at) SELECT ?, ?, version.id, ?"
                                " FROM image JOIN version ON image_id = image.id AND number = image.current"
                                " WHERE image.id = ?",
                                ARGS(N(sqlite3_last_insert_rowid(im->c->db)), T(id), T(now), N(link.image_id)), err);
    }
    return r;
}

/* --- what the next import needs of new clients -------------------------------------------------------------------- */

/* Rows are stored in the order of their MACs, which is that of the table: in pieces, so that memory does not grow with their number. */
#define TRACKS 65536

struct track {
    uint64_t mac, place; /* of the row in the plan */
    int64_t client_id;
};

static uint64_t mac_number(const char *mac)
{
    uint64_t n = 0;
    for (; *mac; mac++)
        if (*mac != ':')
            n = n << 4 | (uint64_t)(*mac >= 'a' ? *mac - 'a' + 10 : *mac - '0');
    return n;
}

static int compare_tracks(const void *a, const void *b)
{
    const struct track *x = a, *y = b;
    return x->mac < y->mac ? -1 : x->mac > y->mac;
}

static int store_new_track(struct import *im, const struct track *t, struct err *err)
{
    struct import_planned row;
    int r = import_planned_get(im->plan, t->place, &row, err);
    if (r < 0)
        return r;
    return import_run_kept(im,
                           "INSERT INTO import_client (mac, origin, client_id, run_id, is_created, is_gone,"
                           " source_id, src, given) VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?)",
                           ARGS(T(row.mac), T(im->origin), N(t->client_id), N(im->run_id), T(row.source_id), T(row.src),
                                T(*row.given ? row.given : row.want)),
                           err);
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

struct applying {
    struct import *im;
    struct err *err;
    struct identity id;
    char now[TIME_LEN + 1];
    struct track *tracks;
    size_t n_tracks;
};

static int flush_tracks(struct applying *a)
{
    int r = 0;
    qsort(a->tracks, a->n_tracks, sizeof(*a->tracks), compare_tracks);
    for (size_t i = 0; r == 0 && i < a->n_tracks; i++)
        r = store_new_track(a->im, &a->tracks[i], a->err);
    a->n_tracks = 0;
    return r;
}

static int add_track(struct applying *a, const char *mac, int64_t client_id, uint64_t place)
{
    a->tracks[a->n_tracks++] = (struct track){mac_number(mac), place, client_id};
    return a->n_tracks == TRACKS ? flush_tracks(a) : 0;
}

static int park_gone(void *arg, sqlite3_stmt *st)
{
    const struct applying *a = arg;
    return import_park_client(a->im->c, sqlite3_column_int64(st, 0), a->err);
}

static int park_row(void *arg, const struct import_planned *row, struct err *err)
{
    const struct applying *a = arg;
    bool is_in_the_way = row->client_id && (row->needs & (IMPORT_NEEDS_NAME | IMPORT_NEEDS_IP));
    return is_in_the_way ? import_park_client(a->im->c, row->client_id, err) : 0;
}

static int park(struct applying *a)
{
    int r = a->im->is_all_new ? 0 : import_each_planned(a->im, park_row, a, a->err);
    if (r == 0)
        r = db_each(a->im->c, "SELECT client_id FROM import_gone WHERE new_name <> '' OR loses_ip", ARGS(), park_gone,
                    a, a->err);
    return r;
}

/* The state before and after, for an undo. */
static int note_change(struct import *im, int64_t client_id, const char *mac, const char *before, const char *after,
                       struct err *err)
{
    return import_run_kept(im,
                           "INSERT INTO import_change (run_id, client_id, mac, before, after, was_tracked, src, given,"
                           " was_gone) SELECT ?1, ?2, ?3, ?4, ?5, t.mac IS NOT NULL, ifnull(t.src, ''),"
                           " ifnull(t.given, ''), ifnull(t.is_gone, 0) FROM (SELECT ?3 AS mac) x"
                           " LEFT JOIN import_client t ON t.mac = x.mac AND t.origin = ?6",
                           ARGS(N(im->run_id), N(client_id), T(mac), T(before), T(after), T(im->origin)), err);
}

static int gone_row(void *arg, sqlite3_stmt *st)
{
    const struct applying *a = arg;
    struct import_values now, want;
    int64_t id = sqlite3_column_int64(st, 0);
    char mac[MAC_LEN + 1], name[NAME_LEN + 1];
    COL_TEXT(st, 1, mac);
    COL_TEXT(st, 2, name);
    import_col_values(st, 4, &now); /* as it was before it was parked */
    want = now;
    if (*name)
        strcpy(want.f[IMPORT_NAME], name);
    if (sqlite3_column_int(st, 3))
        want.f[IMPORT_IP][0] = 0;
    int r = note_change(a->im, id, mac, import_pack(&now).text, import_pack(&want).text, a->err);
    if (r == 0 && !import_values_equal(&now, &want))
        r = import_set_client(a->im->c, id, &now, &want, a->err);
    if (r == 0)
        r = import_run_kept(a->im, "UPDATE import_client SET is_gone = 1, given = ? WHERE mac = ? AND origin = ?",
                            ARGS(T(import_pack(&want).text), T(mac), T(a->im->origin)), a->err);
    return r;
}

static int store_track(struct import *im, const struct import_row *row, unsigned needs, struct err *err)
{
    struct import_packed src = import_pack(&row->src), given = import_pack(&row->given);
    if (needs & IMPORT_TRACK_NEW)
        return import_run_kept(im,
                               "INSERT INTO import_client (mac, origin, client_id, run_id, is_created, is_gone,"
                               " source_id, src, given) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?)",
                               ARGS(T(row->mac), T(im->origin), N(row->client_id), N(im->run_id), T(row->source_id),
                                    T(src.text), T(given.text)),
                               err);
    if (!(needs & IMPORT_TRACK_OTHER))
        return 0;
    return import_run_kept(im, "UPDATE import_client SET is_gone = 0, src = ?, given = ? WHERE mac = ? AND origin = ?",
                           ARGS(T(src.text), T(given.text), T(row->mac), T(im->origin)), err);
}

static int change_client(struct applying *a, const struct import_row *row, unsigned needs,
                         const struct import_values *now)
{
    struct import_packed before = import_pack(now), after = import_pack(&row->want);
    int r = 0;
    if (needs & (IMPORT_WRITES | IMPORT_TRACK_OTHER))
        r = note_change(a->im, row->client_id, row->mac, before.text, after.text, a->err);
    if (r == 0 && (needs & IMPORT_WRITES))
        r = import_set_client(a->im->c, row->client_id, now, &row->want, a->err);
    return r < 0 ? r : store_track(a->im, row, needs, a->err);
}

static int old_row(void *arg, const struct import_planned *planned, struct err *err)
{
    struct applying *a = arg;
    struct import_row row = {.row = planned->row, .client_id = planned->client_id};
    struct import_values now;
    (void)err; /* change_client() has it */
    if (!planned->needs || !planned->client_id)
        return 0;
    (void)snprintf(row.mac, sizeof(row.mac), "%s", planned->mac);
    (void)snprintf(row.source_id, sizeof(row.source_id), "%s", planned->source_id);
    import_unpack(planned->src, &row.src);
    import_unpack(planned->now, &now);
    import_unpack(planned->want, &row.want);
    import_unpack_given(planned->given, &row.want, &row.given);
    return change_client(a, &row, planned->needs, &now);
}

static int new_row(void *arg, sqlite3_stmt *st)
{
    struct applying *a = arg;
    struct import_planned row;
    struct new_client client;
    uint64_t place = (uint64_t)(-1 - sqlite3_column_int64(st, 0));
    int64_t id = 0;
    int r = import_planned_get(a->im->plan, place, &row, a->err);
    if (r < 0)
        return r;
    client.mac = row.mac;
    import_unpack(row.want, &client.want);
    r = make_identity(a->im, client.want.f[IMPORT_NAME], &a->id, a->err);
    if (r == 0)
        r = insert_client(a->im, &client, &a->id, a->now, &id, a->err);
    if (r == 0)
        r = insert_links(a->im, id, client.want.f[IMPORT_LINKS], a->now, a->err);
    return r < 0 ? r : add_track(a, row.mac, id, place);
}

/* By name: then most of the indexes of a client grow at one place. */
static int add_new(struct applying *a)
{
    int r = db_each(a->im->c, "SELECT client_id FROM import_name WHERE client_id < 0 ORDER BY name", ARGS(), new_row, a,
                    a->err);
    return r < 0 ? r : flush_tracks(a);
}

/* Values of clients that are gone as they are now, before anything is parked. */
static int note_gone(struct import *im, struct err *err)
{
    _cleanup_free_ struct import_gone *gone = NULL;
    size_t n = 0;
    int r = db_exec(im->c,
                    "CREATE TEMP TABLE IF NOT EXISTS import_gone_now (client_id INTEGER PRIMARY KEY, now TEXT);"
                    "DELETE FROM import_gone_now;",
                    err);
    if (r == 0)
        r = import_gone_list(im, &gone, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct import_known k;
        r = import_known_here(im, gone[i].mac, &k, err);
        if (r == 0)
            r = db_run(im->c, "INSERT INTO import_gone_now VALUES (?, ?)",
                       ARGS(N(gone[i].client_id), T(import_pack(&k.now).text)), err);
    }
    return r;
}

static int apply_all(struct applying *a)
{
    struct catalog *c = a->im->c;
    int r = catalog_root_tag(c, a->id.tag, a->err);
    if (r == 0)
        r = db_exec(c,
                    "DELETE FROM import_label; INSERT OR IGNORE INTO import_label SELECT chap_user FROM client;"
                    "INSERT OR IGNORE INTO import_label"
                    " SELECT replace(iqn, rtrim(iqn, replace(iqn, ':', '')), '') FROM client;",
                    a->err);
    if (r == 0)
        r = note_gone(a->im, a->err);
    if (r == 0)
        r = park(a);
    if (r == 0)
        r = db_each(c,
                    "SELECT g.client_id, mac, new_name, loses_ip, n.now FROM import_gone g JOIN import_gone_now n"
                    " ON n.client_id = g.client_id ORDER BY g.client_id",
                    ARGS(), gone_row, a, a->err);
    if (r == 0 && !a->im->is_all_new) /* what is here first, so that what is new finds names and addresses free */
        r = import_each_planned(a->im, old_row, a, a->err);
    return r < 0 ? r : add_new(a);
}

void import_audit_off(struct catalog *c, bool is_off)
{
    c->is_audit_off = is_off;
}

int import_apply(struct import *im, struct err *err)
{
    struct applying a = {.im = im, .err = err, .tracks = malloc(TRACKS * sizeof(*a.tracks))};
    if (!a.tracks)
        return err_sys(err, -ENOMEM, "cannot store the clients of the import");
    catalog_now(a.now);
    im->c->is_audit_off = true;
    int r = AS_WRITER(im->c, err, apply_all(&a));
    im->c->is_audit_off = false;
    free(a.tracks);
    return r;
}
