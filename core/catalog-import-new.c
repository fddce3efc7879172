/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the new clients of a plan; see catalog-import-priv.h.
 *
 * One statement inserts all clients, sorted by name so that most of their indexes grow at one place; then come links. What the next import needs
 * goes along in packs (catalog-import-pack.c). Ids are given here, because packs and links name them: what AUTOINCREMENT would give, the highest one that ever
 * was and one more.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/spool-merge.h"
#include "core/util.h"

struct identity {
    char label[64], iqn[224], secret[64], dir[OVERLAY_DIR_LEN + 1], tag[9];
};

struct adding {
    struct import *im;
    struct spool *links; /* id of the client, its links as text */
    struct import_packer packer;
    int64_t last_id;
    bool has_dirs;     /* folders have names that clients had; else each gets its client's name */
    bool has_labels;   /* clients that were here have labels, or two of the new ones could get the same one */
    size_t iqn_prefix; /* bytes of id.iqn that all have */
    struct import_new row;
    struct import_values want;
    struct identity id;
    struct secret_source secrets;
    char now[TIME_LEN + 1];
};

/* --- by name ------------------------------------------------------------------------------------------------------ */

/* The next row by name into a->row and a->want. 1, 0 behind the last one. */
static int next_by_name(struct adding *a, struct err *err)
{
    const char *record;
    size_t len;
    int r = spool_merge_next(a->im->by_name, &record, &len, err);
    if (r <= 0)
        return r;
    r = import_new_take(record, len, &a->row, err);
    if (r < 0)
        return r;
    import_unpack(a->row.want, &a->want);
    return 1;
}

/* --- identities --------------------------------------------------------------------------------------------------- */

static void fill_nothing(sqlite3_stmt *st, void *row)
{
    *(bool *)row = true;
    (void)st;
}

/* Clients that are added by this very statement are seen, too. */
static int take_dir(struct import *im, const char *dir, struct err *err)
{
    bool is_taken = false;
    int r = import_one_kept(im, CLIENT_DIR_SQL, ARGS(T(dir)), fill_nothing, &is_taken, err);
    return r == -ENOENT ? 1 : r;
}

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
        r = is_label ? import_take(im, IMPORT_KIND_LABEL, ret, 0, err) : take_dir(im, ret, err);
        if (r > 0)
            return n == 1 ? 0 : import_suffix_used(im, key, n, err);
    }
    return r;
}

static int make_identity(struct adding *a, const char *name, struct err *err)
{
    struct identity *id = &a->id;
    char base[CLIENT_LABEL_LEN + 1];
    int r = 0;
    client_label(name, a->has_labels ? base : id->label);
    if (a->has_labels)
        r = first_free(a, true, base, id->label, sizeof(id->label), err);
    if (r == 0 && a->has_dirs)
        r = first_free(a, false, name, id->dir, sizeof(id->dir), err);
    if (r < 0)
        return r;
    strcpy(id->iqn + a->iqn_prefix, id->label);
    r = secret_next(&a->secrets, id->secret);
    return r < 0 ? err_sys(err, r, "cannot make a password for client '%s'", name) : 0;
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static const char insert_clients[] =
    "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
    " created_at, is_disabled, netmask, gateway, dns) SELECT c0, c1, c2, c3, c4, 'volatile', c5, c6, c7, c8, c9, ?,"
    " c10 <> '', c11, c12, c13 FROM import_feed";

static int note_links(struct adding *a, int64_t id, const char *links, struct err *err)
{
    char *to;
    size_t len = strlen(links) + 1;
    int r = spool_room(a->links, sizeof(id) + len, &to, err);
    if (r < 0)
        return r;
    memcpy(to, &id, sizeof(id));
    memcpy(to + sizeof(id), links, len);
    spool_commit(a->links, sizeof(id) + len);
    return 0;
}

static int feed_client(void *arg, struct arg *columns, struct err *err)
{
    struct adding *a = arg;
    const struct import_values *v = &a->want;
    int r = next_by_name(a, err);
    if (r <= 0)
        return r;
    r = make_identity(a, v->f[IMPORT_NAME], err);
    if (r == 0)
        r = import_packer_put(&a->packer, ++a->last_id, &a->row, err);
    if (r == 0 && *v->f[IMPORT_LINKS])
        r = note_links(a, a->last_id, v->f[IMPORT_LINKS], err);
    if (r < 0)
        return r;
    const struct arg values[IMPORT_FEED_COLUMNS] = {
        N(a->last_id),           T(v->f[IMPORT_NAME]),     T(a->row.mac),
        T(v->f[IMPORT_IP]),      T(v->f[IMPORT_GROUP]),    T(a->id.iqn),
        T(a->id.label),          T(a->id.secret),          T(a->has_dirs ? a->id.dir : v->f[IMPORT_NAME]),
        T(v->f[IMPORT_COMMENT]), T(v->f[IMPORT_DISABLED]), T(v->f[IMPORT_NETMASK]),
        T(v->f[IMPORT_GATEWAY]), T(v->f[IMPORT_DNS])};
    memcpy(columns, values, sizeof(values));
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
    _cleanup_(spool_reader_finish) struct spool_reader links;
    const char *record;
    size_t len;
    int64_t id;
    int r;
    spool_reader_init(&links, a->links);
    while ((r = spool_next(&links, &record, &len, err)) > 0) {
        if (len <= sizeof(id) || record[len - 1] != 0)
            return err_set(err, -EIO, "a temporary file of the import does not hold what was written to it");
        memcpy(&id, record, sizeof(id));
        r = insert_links(a, id, record + sizeof(id), err);
        if (r < 0)
            return r;
    }
    return r;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

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
        r = import_taken_look(a->im, IMPORT_KIND_LABEL, &a->has_labels, err);
    client_iqn(a->id.tag, "", a->id.iqn);
    a->iqn_prefix = strlen(a->id.iqn);
    if (r == 0)
        r = db_number(c, "SELECT EXISTS (SELECT 1 FROM overlay_dir) OR EXISTS (SELECT 1 FROM client)", ARGS(),
                      &has_dirs, err);
    if (r == 0)
        r = db_number(c,
                      "SELECT max(ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'client'), 0),"
                      " ifnull((SELECT max(id) FROM client), 0))",
                      ARGS(), &a->last_id, err);
    a->has_dirs = has_dirs != 0;
    a->has_labels = a->has_labels || a->im->has_odd_labels;
    return r;
}

static int add_all(struct adding *a, struct err *err)
{
    struct import *im = a->im;
    int r = import_sort_end(im, err);
    if (r == 0)
        r = import_packer_begin(&a->packer, im, err);
    if (r == 0)
        r = spool_create(&a->links, err);
    if (r == 0)
        r = look_at_catalog(a, err);
    if (r == 0)
        r = import_feed_run(im, insert_clients, ARGS(T(a->now)), feed_client, import_check_client, a, err);
    if (r == 0)
        r = add_links(a, err);
    return r < 0 ? r : import_packer_flush(&a->packer, err);
}

int import_add_new(struct import *im, struct err *err)
{
    _cleanup_free_ struct adding *a = calloc(1, sizeof(*a));
    if (!a)
        return err_sys(err, -ENOMEM, "cannot store the clients of the import");
    a->im = im;
    catalog_now(a->now);
    int r = add_all(a, err);
    import_sort_forget(im);
    import_packer_finish(&a->packer);
    spool_destroy(a->links);
    return r;
}
