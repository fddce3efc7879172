/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the new clients of a plan; see catalog-import-priv.h.
 *
 * One statement inserts all clients, sorted by name so that most of their indexes grow at one place; then come links. What the next import needs
 * goes along in packs (catalog-import-pack.c). Packs and links name ids before the rows have them: those that AUTOINCREMENT gives, the highest one that ever
 * was and one more, then one more for each. It counts up only, so if the last one is right all of them are.
 */
#include "core/catalog-import.h"

#include <assert.h>
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
    struct identity id;
    struct secret_source secrets;
    char now[TIME_LEN + 1];
};

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

/* Without ids: SQLite, which gives the same ones, need not look whether one is there. */
static const char insert_clients[] =
    "INSERT INTO client (name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment,"
    " created_at, is_disabled, netmask, gateway, dns) SELECT c1, c2, c3, c4, 'volatile', c5, c6, c7, c8, c9, ?,"
    " c10, c11, c12, c13 FROM import_feed";

static int note_links(struct adding *a, int64_t id, const struct import_text *links, struct err *err)
{
    char *to;
    size_t len = sizeof(id) + links->len + 1;
    int r = spool_room(a->links, len, &to, err);
    if (r < 0)
        return r;
    memcpy(to, &id, sizeof(id));
    memcpy(to + sizeof(id), links->text, links->len);
    to[len - 1] = 0;
    spool_commit(a->links, len);
    return 0;
}

/* The next row by name: its bytes for a pack, and its values, into @to. 1, 0 behind the last one. */
static int next_by_name(struct adding *a, struct import_batch *to, struct import_new *ret, struct err *err)
{
    const char *record;
    size_t len;
    int r = spool_merge_next(a->im->by_name, &record, &len, err);
    if (r <= 0)
        return r;
    r = import_new_take(record, len, ret, err);
    if (r < 0)
        return r;
    char *pack = to->pack + to->pack_len, *text = pack;
    import_pack_record(++a->last_id, record, ret, pack);
    to->pack_len += ret->pack_len;
    if (len > ret->pack_len + 1) { /* what it gets is not in the pack */
        text = memcpy(to->text + to->text_len, record, len);
        to->text_len += len;
    }
    ret->mac = text + (ret->mac - record);
    for (int i = 0; i < IMPORT_FIELDS; i++)
        ret->want[i].text = text + (ret->want[i].text - record);
    return 1;
}

/* A text of @len bytes that @to keeps. */
static struct import_cell keep(struct import_batch *to, const char *text, size_t len)
{
    char *copy = memcpy(to->text + to->text_len, text, len);
    to->text_len += len;
    return (struct import_cell){copy, (int64_t)len};
}

static struct import_cell cell(const struct import_text *t)
{
    return (struct import_cell){t->text, (int64_t)t->len};
}

/* IQN, label, secret and folder. */
static void put_identity(const struct adding *a, struct import_batch *to, struct import_cell *columns)
{
    const struct identity *id = &a->id;
    size_t prefix = a->iqn_prefix, label = strlen(id->label);
    static_assert(sizeof(id->iqn) + sizeof(id->secret) + sizeof(id->dir) <= 512, "a batch has room for that");
    columns[5] = keep(to, id->iqn, prefix + label); /* ends in the label */
    columns[6] = (struct import_cell){columns[5].text + prefix, (int64_t)label};
    columns[7] = keep(to, id->secret, strlen(id->secret));
    columns[8] = a->has_dirs ? keep(to, id->dir, strlen(id->dir)) : columns[1];
}

static int make_client(void *arg, struct import_batch *to, struct import_cell *columns, struct err *err)
{
    static const unsigned char fields[][2] = {{1, IMPORT_NAME},    {3, IMPORT_IP},       {4, IMPORT_GROUP},
                                              {9, IMPORT_COMMENT}, {11, IMPORT_NETMASK}, {12, IMPORT_GATEWAY},
                                              {13, IMPORT_DNS}};
    struct adding *a = arg;
    struct import_new row;
    char name[NAME_LEN + 1];
    int r = next_by_name(a, to, &row, err);
    if (r <= 0)
        return r;
    size_t len = MIN(row.want[IMPORT_NAME].len, (size_t)NAME_LEN); /* a longer one is refused */
    memcpy(name, row.want[IMPORT_NAME].text, len);
    name[len] = 0;
    r = make_identity(a, name, err);
    if (r == 0 && row.want[IMPORT_LINKS].len > 0)
        r = note_links(a, a->last_id, &row.want[IMPORT_LINKS], err);
    if (r < 0)
        return r;
    columns[0] = (struct import_cell){NULL, a->last_id};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        columns[fields[i][0]] = cell(&row.want[fields[i][1]]);
    columns[2] = (struct import_cell){row.mac, (int64_t)strlen(row.mac)};
    columns[10] = (struct import_cell){NULL, row.want[IMPORT_DISABLED].len > 0};
    put_identity(a, to, columns);
    return 1;
}

static int take_clients(void *arg, const struct import_batch *from, struct err *err)
{
    struct adding *a = arg;
    return import_packer_put(&a->packer, from->pack, from->pack_len, err);
}

static int add_clients(struct adding *a, struct err *err)
{
    const struct import_maker maker = {.make = make_client,
                                       .take = take_clients,
                                       .check = import_check_client,
                                       .is_apart = !a->has_labels && !a->has_dirs && a->im->rows >= IMPORT_ROWS_APART,
                                       .arg = a};
    int64_t before = a->last_id;
    int r = import_feed_run(a->im, insert_clients, ARGS(T(a->now)), &maker, err);
    if (r == 0 && a->last_id > before && sqlite3_last_insert_rowid(a->im->c->db) != a->last_id)
        return err_set(err, -EIO,
                       "new clients got other ids than they were to get: this is a bug, and nothing was changed");
    return r;
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
        r = add_clients(a, err);
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
