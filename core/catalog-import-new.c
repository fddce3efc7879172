/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the new clients of a plan; see catalog-import-priv.h.
 *
 *   a piece of the plan, in its order     folders of overlays
 *   its rows in the order of their names  clients, so that most of their indexes grow at one place; then links
 *   its rows in the order of their MACs   what the next import needs (import_client), whose key they are
 *
 * A piece is so small that it lies in memory, and it was found to make no difference whether pieces are of ten or of a hundred thousand rows. Each step is one statement. Ids are given here, because the steps
 * are told by them: what AUTOINCREMENT would give, the highest one that ever was and one more.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define PIECE_ROWS  16384
#define PIECE_BYTES (4u << 20)
#define KEY_BYTES   24 /* a MAC and more */

struct new_row {
    char key[KEY_BYTES]; /* how its name begins, in lower case; then its MAC */
    uint32_t at, len;    /* of its record in the bytes of the piece */
    int64_t id;          /* of the client; negative: it has links */
};

struct identity {
    char label[64], iqn[224], secret[64], dir[OVERLAY_DIR_LEN + 1], tag[9];
};

struct adding {
    struct import *im;
    struct new_row *rows;
    char *bytes; /* one record may lie behind PIECE_BYTES */
    size_t n, n_bytes, at;
    bool is_over; /* the plan has no more */
    int64_t last_id;
    bool has_dirs; /* folders have names that clients had; else each gets its client's name */
    bool has_links;
    struct spool_reader *plan;
    struct import_planned planned;
    struct import_values want;
    struct identity id;
    struct secret_source secrets;
    char now[TIME_LEN + 1];
};

/* --- the piece ---------------------------------------------------------------------------------------------------- */

static void name_key(const char *name, char key[KEY_BYTES])
{
    size_t i = 0;
    for (; i < KEY_BYTES && name[i] && name[i] != '\x1f'; i++)
        key[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    memset(key + i, 0, KEY_BYTES - i);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, KEY_BYTES); /* the key is what a row begins with */
}

static void sort_rows(struct adding *a)
{
    qsort(a->rows, a->n, sizeof(*a->rows), compare_keys);
    a->at = 0;
}

/* The next new row of the plan into the piece: 1; 0 when the piece is full or the plan ends. */
static int take_new(struct adding *a, struct err *err)
{
    const char *record;
    size_t len;
    while (a->n < PIECE_ROWS && a->n_bytes < PIECE_BYTES) {
        int r = spool_next(a->plan, &record, &len, err);
        a->is_over = r == 0;
        if (r > 0)
            r = import_planned_take(record, len, &a->planned, err) < 0 ? -EIO : 1;
        if (r <= 0)
            return r;
        if (!a->planned.needs || a->planned.client_id)
            continue;
        struct new_row *row = &a->rows[a->n++];
        *row = (struct new_row){.at = (uint32_t)a->n_bytes, .len = (uint32_t)len};
        name_key(a->planned.want, row->key); /* what is wanted begins with the name */
        memcpy(a->bytes + a->n_bytes, record, len);
        a->n_bytes += len;
        return 1;
    }
    return 0;
}

static int load(struct adding *a, const struct new_row *row, struct err *err)
{
    return import_planned_take(a->bytes + row->at, row->len, &a->planned, err);
}

static int feed_dir(void *arg, struct arg *columns, struct err *err)
{
    struct adding *a = arg;
    int r = take_new(a, err);
    if (r <= 0)
        return r;
    import_unpack(a->planned.want, &a->want);
    columns[0] = T(a->want.f[IMPORT_NAME]);
    return 1;
}

static int collect(struct adding *a, struct err *err)
{
    int r;
    a->n = a->n_bytes = 0;
    if (!a->has_dirs) /* clients' names differ, so their folders' do */
        return import_feed_run(a->im, "INSERT INTO overlay_dir (name) SELECT c0 FROM import_feed", ARGS(), feed_dir, a,
                               err);
    while ((r = take_new(a, err)) > 0)
        ;
    return r;
}

/* --- identities --------------------------------------------------------------------------------------------------- */

/* "@base", "@base@sep2", ...: the first one that is nobody's. Labels and folders count by themselves. */
static int first_free(struct adding *a, bool is_label, const char *base, char *ret, size_t size, struct err *err)
{
    struct import *im = a->im;
    char key[NAME_LEN + 4], sep = is_label ? '-' : '.';
    unsigned n;
    key[0] = sep;
    strcpy(key + 1, base);
    int r = import_suffix(im, key, 1, &n, err);
    for (; r == 0; n++) {
        (void)import_number_text(base, "", sep, n, ret, size);
        if (is_label) {
            r = import_take(im, IMPORT_KIND_LABEL, ret, 0, err);
        } else {
            r = import_run_kept(im, "INSERT INTO overlay_dir (name) VALUES (?) ON CONFLICT DO NOTHING", ARGS(T(ret)),
                                err);
            r = r < 0 ? r : sqlite3_changes(im->c->db) > 0;
        }
        if (r > 0)
            return n == 1 ? 0 : import_suffix_used(im, key, n, err);
    }
    return r;
}

static int make_identity(struct adding *a, const char *name, struct err *err)
{
    struct identity *id = &a->id;
    char base[CLIENT_LABEL_LEN + 1];
    client_label(name, base);
    int r = first_free(a, true, base, id->label, sizeof(id->label), err);
    if (r == 0 && a->has_dirs)
        r = first_free(a, false, name, id->dir, sizeof(id->dir), err);
    if (r < 0)
        return r;
    client_iqn(id->tag, id->label, id->iqn);
    r = secret_next(&a->secrets, id->secret);
    return r < 0 ? err_sys(err, r, "cannot make a password for client '%s'", name) : 0;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static const char insert_clients[] =
    "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
    " created_at, is_disabled, netmask, gateway, dns) SELECT c0, c1, c2, c3, c4, 'volatile', c5, c6, c7, c8, c9, ?,"
    " c10 <> '', c11, c12, c13 FROM import_feed";

static int feed_client(void *arg, struct arg *columns, struct err *err)
{
    struct adding *a = arg;
    const struct import_values *v = &a->want;
    if (a->at == a->n)
        return 0;
    struct new_row *row = &a->rows[a->at];
    int r = load(a, row, err);
    if (r < 0)
        return r;
    import_unpack(a->planned.want, &a->want);
    r = make_identity(a, v->f[IMPORT_NAME], err);
    if (r < 0)
        return r;
    a->at++;
    memset(row->key, 0, sizeof(row->key));
    memcpy(row->key, a->planned.mac, strnlen(a->planned.mac, MAC_LEN));
    row->id = ++a->last_id;
    const struct arg values[IMPORT_FEED_COLUMNS] = {N(row->id),
                                                    T(v->f[IMPORT_NAME]),
                                                    T(a->planned.mac),
                                                    T(v->f[IMPORT_IP]),
                                                    T(v->f[IMPORT_GROUP]),
                                                    T(a->id.iqn),
                                                    T(a->id.label),
                                                    T(a->id.secret),
                                                    T(a->has_dirs ? a->id.dir : v->f[IMPORT_NAME]),
                                                    T(v->f[IMPORT_COMMENT]),
                                                    T(v->f[IMPORT_DISABLED]),
                                                    T(v->f[IMPORT_NETMASK]),
                                                    T(v->f[IMPORT_GATEWAY]),
                                                    T(v->f[IMPORT_DNS])};
    memcpy(columns, values, sizeof(values));
    if (*v->f[IMPORT_LINKS]) {
        row->id = -row->id;
        a->has_links = true;
    }
    return 1;
}

/* --- links -------------------------------------------------------------------------------------------------------- */

static int insert_links(struct adding *a, int64_t client_id, const char *links, struct err *err)
{
    struct import *im = a->im;
    struct import_link link;
    char id[UUID_LEN + 1];
    int r = 0;
    while (r == 0 && import_next_link(&links, &link)) {
        r = import_run_kept(im, "INSERT INTO link (client_id, slot, image_id, pinned) VALUES (?, ?, ?, NULL)",
                            ARGS(N(client_id), N(link.slot), N(link.image_id)), err);
        if (r == 0 && uuid_new(id) < 0)
            r = err_set(err, -EIO, "cannot make an id for an overlay");
        if (r == 0)
            r = import_run_kept(im,
                                "INSERT INTO overlay (link_id, uuid, version_id, created_at) SELECT ?, ?, version.id, ?"
                                " FROM image JOIN version ON image_id = image.id AND number = image.current"
                                " WHERE image.id = ?",
                                ARGS(N(sqlite3_last_insert_rowid(im->c->db)), T(id), T(a->now), N(link.image_id)), err);
    }
    return r;
}

static int add_links(struct adding *a, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < a->n; i++) {
        struct new_row *row = &a->rows[i];
        if (row->id > 0)
            continue;
        row->id = -row->id;
        r = load(a, row, err);
        if (r < 0)
            return r;
        import_unpack(a->planned.want, &a->want);
        r = insert_links(a, row->id, a->want.f[IMPORT_LINKS], err);
    }
    a->has_links = false;
    return r;
}

/* --- what the next import needs ----------------------------------------------------------------------------------- */

static const char insert_tracks[] =
    "INSERT INTO import_client (mac, origin, client_id, run_id, is_created, is_gone, source_id, src, given)"
    " SELECT c0, ?1, c1, ?2, 1, 0, c2, c3, c4 FROM import_feed";

static int feed_track(void *arg, struct arg *columns, struct err *err)
{
    struct adding *a = arg;
    if (a->at == a->n)
        return 0;
    const struct new_row *row = &a->rows[a->at++];
    const struct import_planned *p = &a->planned;
    int r = load(a, row, err);
    if (r < 0)
        return r;
    columns[0] = T(p->mac);
    columns[1] = N(row->id);
    columns[2] = T(p->source_id);
    columns[3] = T(p->src);
    columns[4] = T(*p->given ? p->given : p->want);
    return 1;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static int add_piece(struct adding *a, struct err *err)
{
    struct import *im = a->im;
    sort_rows(a);
    int r = import_feed_run(im, insert_clients, ARGS(T(a->now)), feed_client, a, err);
    if (r == 0 && a->has_links)
        r = add_links(a, err);
    if (r < 0)
        return r;
    sort_rows(a);
    return import_feed_run(im, insert_tracks, ARGS(T(im->origin), N(im->run_id)), feed_track, a, err);
}

static int look_at_catalog(struct adding *a, struct err *err)
{
    struct catalog *c = a->im->c;
    int64_t has_dirs = 0;
    int r = catalog_root_tag(c, a->id.tag, err);
    if (r == 0)
        r = db_exec(c,
                    "DELETE FROM import_label; INSERT OR IGNORE INTO import_label SELECT chap_user, id FROM client;"
                    "INSERT OR IGNORE INTO import_label"
                    " SELECT replace(iqn, rtrim(iqn, replace(iqn, ':', '')), ''), id FROM client;",
                    err);
    if (r == 0)
        r = import_taken_look(a->im, IMPORT_KIND_LABEL, err);
    if (r == 0)
        r = db_number(c, "SELECT EXISTS (SELECT 1 FROM overlay_dir)", ARGS(), &has_dirs, err);
    if (r == 0)
        r = db_number(c,
                      "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'client'), 0),"
                      " ifnull((SELECT max(id) FROM client), 0))",
                      ARGS(), &a->last_id, err);
    a->has_dirs = has_dirs != 0;
    return r;
}

static int add_all(struct adding *a, struct err *err)
{
    _cleanup_(spool_reader_finish) struct spool_reader plan;
    spool_reader_init(&plan, a->im->plan);
    a->plan = &plan;
    int r = look_at_catalog(a, err);
    do {
        if (r == 0)
            r = collect(a, err);
        if (r == 0 && a->n > 0)
            r = add_piece(a, err);
    } while (r == 0 && !a->is_over);
    return r;
}

int import_add_new(struct import *im, struct err *err)
{
    _cleanup_free_ struct adding *a = calloc(1, sizeof(*a));
    _cleanup_free_ struct new_row *rows = malloc(PIECE_ROWS * sizeof(*rows));
    _cleanup_free_ char *bytes = malloc(PIECE_BYTES + SPOOL_RECORD_MAX);
    if (!a || !rows || !bytes)
        return err_sys(err, -ENOMEM, "cannot store the clients of the import");
    a->im = im;
    a->rows = rows;
    a->bytes = bytes;
    catalog_now(a->now);
    return add_all(a, err);
}
