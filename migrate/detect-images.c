/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a client table says which images its clients boot: the ways that are looked for, the first that is found counts.
 *
 *   1. columns with paths of disk files: one, several, or several paths in one text        image = BootImage
 *   2. an id or a name that occurs in a unique column of a table with such paths            image = DiskID -> tblDisk.DiskID : DiskFile
 *   3. a table between, with the client's id and the image's id or path                     image = No -> StationImages.StationNo, ...
 *   4. a column that is called image and holds short texts: names of images                 image = Image
 *
 * Small numbers are contained in nearly every id column, so way 2 with numbers and way 3 want a word of the name, too. A way that comes
 * later and would also do is a remark in the saved mapping, not a second image.
 */
#include "migrate/mapping-priv.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/text.h"

#define LEAD 0.15

static const char *column_name(const struct profile *p, int i)
{
    return p->table->columns[i].name;
}

double detect_contained(const struct detect *d, const struct column_profile *c, const struct profile *in, int column)
{
    *d->is_unsure |= in->is_sample;
    return in->is_sample ? 0 : profile_contained(c, &in->columns[column]);
}

/* --- tables of images ------------------------------------------------------------------------------------------------- */

static int path_column(const struct profile *p)
{
    int best = -1;
    double best_score = 0.5;
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        double s = profile_share(c, c->images) + hint_of(HINT_IMAGE, column_name(p, (int)i)) * 0.1;
        if (c->is_text && s > best_score) {
            best = (int)i;
            best_score = s;
        }
    }
    return best;
}

/* The column that names the rows: what is called a name first, then any short text that is there in every row. */
static int label_column(const struct profile *p, int not )
{
    int best = -1;
    double best_score = 0;
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        bool is_name =
            c->is_text && (int)i != not &&profile_share(c, c->shorts) >= 0.9 && profile_share(c, c->paths) < 0.2;
        double s = is_name ? hint_of(HINT_LABEL, column_name(p, (int)i)) : 0;
        if (s > best_score) {
            best = (int)i;
            best_score = s;
        }
    }
    return best;
}

static bool has_macs(const struct profile *p)
{
    for (size_t i = 0; i < p->table->column_count; i++)
        if (profile_share(&p->columns[i], p->columns[i].macs) >= 0.6)
            return true;
    return false;
}

int detect_image_tables(struct detect *d)
{
    for (size_t t = 0; t < d->source->table_count; t++) {
        const struct profile *p = d->profiles[t];
        int path = p && !has_macs(p) ? path_column(p) : -1;
        if (path < 0)
            continue;
        struct image_table *more = reallocarray(d->images, d->image_count + 1, sizeof(*more));
        if (!more)
            return -ENOMEM;
        d->images = more;
        d->images[d->image_count++] = (struct image_table){(int)t, path, label_column(p, path)};
    }
    return 0;
}

/* --- 1: paths in the client table ---------------------------------------------------------------------------------- */

static double score_direct(const struct profile *p, int i)
{
    const struct column_profile *c = &p->columns[i];
    double share = profile_share(c, c->paths);
    const char *name = column_name(p, i);
    if (!c->is_text || share < 0.5)
        return 0;
    double content = share * (c->images * 2 >= c->paths ? 1 : 0.3);
    if (c->alien * 2 > c->paths)
        return 0;
    if (c->distinct == 1 && c->filled > 3)
        content *= 0.8; /* the same for all: rather a setting */
    double hint = MAX(hint_of(HINT_IMAGE, name), hint_of(HINT_DATA, name));
    return content + hint >= 0.6 ? content + hint : 0;
}

static bool is_data_name(const char *name)
{
    return hint_of(HINT_DATA, name) > 0 && hint_of(HINT_DATA, name) >= hint_of(HINT_IMAGE, name);
}

/* "Image1" and "Image2": a series. */
static bool same_series(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    while (na > 0 && isdigit((unsigned char)a[na - 1]))
        na--;
    while (nb > 0 && isdigit((unsigned char)b[nb - 1]))
        nb--;
    return na == nb && na > 0 && strncmp(a, b, na) == 0;
}

static void explain(struct item *i, const struct column_profile *c, const char *what, double share)
{
    text_format(i->evidence, sizeof(i->evidence), "%.0f %% of %llu values are %s", share * 100,
                (unsigned long long)c->filled, what);
}

static bool add_direct(struct mapping *m, const struct profile *p, int column)
{
    const struct column_profile *c = &p->columns[column];
    enum role role = is_data_name(column_name(p, column)) ? ROLE_DATA : ROLE_IMAGE;
    struct item *i = mapping_add_item(m, role, column);
    if (i)
        explain(i, c, "paths of disk files", profile_share(c, c->paths));
    uint64_t split = MAX(c->split_semicolon, c->split_pipe);
    if (i && split >= 2 && split * 10 >= c->filled)
        m->separator = c->split_semicolon >= c->split_pipe ? ';' : '|';
    return i != NULL;
}

/* Which of several columns for boot images; -1 = one of two is meant, and it cannot be told which. */
static int best_direct(const struct profile *p, int except, double *ret)
{
    int best = -1;
    *ret = 0;
    for (size_t i = 0; i < p->table->column_count; i++) {
        double s = (int)i == except || is_data_name(column_name(p, (int)i)) ? 0 : score_direct(p, (int)i);
        if (s > *ret) {
            best = (int)i;
            *ret = s;
        }
    }
    return best;
}

static bool detect_direct(struct mapping *m, const struct profile *p, bool *ret_is_open)
{
    double first, second;
    int best = best_direct(p, -1, &first);
    int next = best_direct(p, best, &second);
    bool is_series = next >= 0 && same_series(column_name(p, best), column_name(p, next));
    if (next >= 0 && !is_series && first - second < LEAD - 1e-9) {
        char a[160], b[160];
        mapping_ask(m,
                    "; question: image = %s or %s ? Both hold paths of disk files. Write the boot image as image and "
                    "the other one, if "
                    "it is a data or game disk, as data.",
                    text_shown(column_name(p, best), a, sizeof(a)), text_shown(column_name(p, next), b, sizeof(b)));
        m->open_roles |= 1u << ROLE_IMAGE;
        *ret_is_open = true;
    }
    for (size_t i = 0; i < p->table->column_count; i++) {
        bool is_chosen = (int)i == best || (is_series && same_series(column_name(p, best), column_name(p, (int)i)));
        if (score_direct(p, (int)i) > 0 && (is_chosen || is_data_name(column_name(p, (int)i))))
            (void)add_direct(m, p, (int)i); /* with more columns than there is room for, the rest stays in the report */
    }
    return best >= 0 || mapping_item(m, ROLE_DATA);
}

/* --- 2: an id or name of an image ------------------------------------------------------------------------------------ */

struct link {
    int column, images, key; /* the column, d->images[images], its unique column */
    double score, contained;
};

/* "Image" of "tblImages": the table's name says what the column's says. */
static bool is_named_after(const char *column, const char *table)
{
    char c[256], t[256];
    size_t n = text_plain(column, c, sizeof(c));
    text_plain(table, t, sizeof(t));
    if (n > 2 && strcmp(c + n - 2, "id") == 0)
        c[n - 2] = 0;
    while ((n = strlen(c)) > 0 && (c[n - 1] == '_' || c[n - 1] == ' '))
        c[n - 1] = 0;
    return n >= 3 && strstr(t, c);
}

/* What the names say for: column @name holds values of @key in @table. */
static double name_bonus(const char *name, const char *key, const char *table)
{
    if (hint_of(HINT_OTHER_SIZE_OR_TYPE, name) > 0.1)
        return 0;
    bool is_same = text_same(name, key) && hint_of(HINT_KEY, name) < HINT_MAX;
    double hint = MAX(hint_of(HINT_IMAGE, name), hint_of(HINT_DATA, name));
    return is_same ? HINT_MAX : is_named_after(name, table) ? MAX(hint, 0.15) : hint;
}

static void try_link(const struct detect *d, const struct profile *p, int column, size_t images, struct link *ret)
{
    const struct image_table *t = &d->images[images];
    const struct profile *to = d->profiles[t->table];
    const struct column_profile *c = &p->columns[column];
    bool is_number = profile_share(c, c->ints) > 0.9 || profile_share(c, c->guids) > 0.9;
    for (size_t k = 0; k < to->table->column_count; k++) {
        if ((int)k == t->path || !profile_is_key(to, k))
            continue;
        double contained = detect_contained(d, c, to, (int)k);
        double bonus = name_bonus(column_name(p, column), column_name(to, (int)k), to->table->name);
        bool is_link = contained >= 0.6 && contained + bonus >= 0.8 && (bonus > 0 || (!is_number && contained >= 0.8));
        if (is_link && contained + bonus > ret->score)
            *ret = (struct link){column, (int)images, (int)k, contained + bonus, contained};
    }
}

static struct link best_link(const struct detect *d, const struct profile *p, int column)
{
    struct link l = {-1, -1, -1, 0, 0};
    const struct column_profile *c = &p->columns[column];
    bool may_be = c->filled > 0 && profile_share(c, c->macs) < 0.2 && profile_share(c, c->ips) < 0.2;
    for (size_t i = 0; may_be && i < d->image_count; i++)
        if (d->profiles[d->images[i].table] != p)
            try_link(d, p, column, i, &l);
    return l;
}

static void add_link(const struct detect *d, struct mapping *m, const struct profile *p, const struct link *l)
{
    const struct image_table *t = &d->images[l->images];
    struct item *i = mapping_add_item(m, is_data_name(column_name(p, l->column)) ? ROLE_DATA : ROLE_IMAGE, l->column);
    if (!i)
        return;
    i->hop_count = 1;
    i->hops[0] = (struct hop){t->table, l->key, -1};
    i->value = t->path;
    i->label = t->label;
    explain(i, &p->columns[l->column], "keys of a table of images", l->contained);
}

static bool detect_links(const struct detect *d, struct mapping *m, const struct profile *p, bool *ret_is_open)
{
    struct link boot = {-1, -1, -1, 0, 0}, second = boot;
    bool found = false;
    for (size_t i = 0; i < p->table->column_count; i++) {
        struct link l = mapping_uses_column(m, (int)i) ? boot : best_link(d, p, (int)i);
        if (l.column != (int)i)
            continue;
        if (is_data_name(column_name(p, l.column))) {
            add_link(d, m, p, &l);
            found = true;
        } else if (l.score > boot.score) {
            second = boot;
            boot = l;
        } else if (l.score > second.score) {
            second = l;
        }
    }
    if (boot.column < 0)
        return found;
    if (second.column >= 0 && boot.score - second.score < LEAD - 1e-9) {
        char a[160], b[160];
        mapping_ask(m, "; question: image = by %s or by %s ? Both hold keys of a table of images.",
                    text_shown(column_name(p, boot.column), a, sizeof(a)),
                    text_shown(column_name(p, second.column), b, sizeof(b)));
        m->open_roles |= 1u << ROLE_IMAGE;
        *ret_is_open = true;
    }
    add_link(d, m, p, &boot);
    return true;
}

/* --- 3: a table between --------------------------------------------------------------------------------------------- */

struct join {
    int table, to_client, own, to_image,
        order;         /* to_client of the table holds values of the client table's column own */
    struct link image; /* image.images < 0: to_image holds the path itself */
    double score;
};

static double client_bonus(const char *column, const char *own, const char *table)
{
    bool is_same = text_same(column, own) && hint_of(HINT_KEY, own) < HINT_MAX;
    bool hints = hint_of(HINT_CLIENT, column) > 0 || hint_of(HINT_MAC, column) > 0;
    return is_same ? HINT_MAX : hints || is_named_after(column, table) ? 0.15 : 0;
}

static int order_column(const struct profile *p, int a, int b)
{
    for (size_t i = 0; i < p->table->column_count; i++)
        if ((int)i != a && (int)i != b && profile_share(&p->columns[i], p->columns[i].ints) >= 1 &&
            hint_of(HINT_ORDER, column_name(p, (int)i)) > 0)
            return (int)i;
    return -1;
}

/* The column of table @p that leads to images, other than @except. */
static struct link image_side(const struct detect *d, const struct profile *p, int except)
{
    struct link best = {-1, -1, -1, 0, 0};
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        struct link l = best_link(d, p, (int)i);
        if (c->is_text && profile_share(c, c->images) > 0.5)
            l = (struct link){(int)i, -1, -1, 1.2, profile_share(c, c->images)};
        if ((int)i != except && l.score > best.score)
            best = l;
    }
    return best;
}

static void try_join(const struct detect *d, const struct profile *clients, int table, int to_client, struct join *best)
{
    const struct profile *p = d->profiles[table];
    struct link image = image_side(d, p, to_client);
    if (image.column < 0)
        return;
    for (size_t k = 0; k < clients->table->column_count; k++) {
        if (!profile_is_key(clients, k))
            continue;
        double bonus = client_bonus(column_name(p, to_client), column_name(clients, (int)k), clients->table->name);
        double contained = bonus > 0 ? detect_contained(d, &p->columns[to_client], clients, (int)k) : 0;
        double score = contained >= 0.8 ? contained + bonus + image.score : 0;
        if (score > best->score)
            *best = (struct join){table, to_client, (int)k, image.column, order_column(p, to_client, image.column),
                                  image, score};
    }
}

static struct join best_join(const struct detect *d, const struct profile *clients)
{
    struct join j = {.table = -1};
    for (size_t t = 0; t < d->source->table_count; t++) {
        const struct profile *p = d->profiles[t];
        if (!p || p == clients || p->rows == 0 || hint_of(HINT_OLD, p->table->name) > 0)
            continue;
        for (size_t i = 0; i < p->table->column_count; i++)
            try_join(d, clients, (int)t, (int)i, &j);
    }
    return j;
}

static void fill_join(const struct detect *d, struct item *i, const struct join *j)
{
    bool is_path = j->image.images < 0;
    const struct image_table *t = is_path ? NULL : &d->images[j->image.images];
    i->hop_count = is_path ? 1 : 2;
    i->hops[0] = (struct hop){j->table, j->to_client, is_path ? -1 : j->to_image};
    i->order = j->order;
    i->value = is_path ? j->to_image : t->path;
    if (!is_path) {
        i->hops[1] = (struct hop){t->table, j->image.key, -1};
        i->label = t->label;
    }
}

static bool detect_join(const struct detect *d, struct mapping *m, const struct profile *p, bool is_remark)
{
    struct join j = best_join(d, p);
    if (j.table < 0)
        return false;
    struct item remark = {
        .role = ROLE_IMAGE, .columns = {j.own}, .column_count = 1, .value = -1, .label = -1, .order = -1};
    struct item *i = is_remark ? &remark : mapping_add_item(m, ROLE_IMAGE, j.own);
    if (!i)
        return false;
    fill_join(d, i, &j);
    if (is_remark) {
        char text[1200], shown[1400];
        item_text(m, i, text, sizeof(text));
        mapping_ask(m, "; remark: another way to images, not used: image = %s", text_shown(text, shown, sizeof(shown)));
    } else {
        explain(i, &d->profiles[j.table]->columns[j.to_client], "keys of clients in a table that joins them to images",
                detect_contained(d, &d->profiles[j.table]->columns[j.to_client], p, j.own));
    }
    return true;
}

/* --- 4: names ------------------------------------------------------------------------------------------------------- */

static bool detect_names(struct mapping *m, const struct profile *p)
{
    int best = -1;
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        bool is_text = c->is_text && c->filled > 0 && profile_share(c, c->shorts) >= 0.9 &&
                       profile_share(c, c->macs) < 0.2 && profile_share(c, c->ips) < 0.2 &&
                       profile_share(c, c->ints) < 0.5;
        if (is_text && !mapping_uses_column(m, (int)i) &&
            hint_of(HINT_IMAGE_NAME, column_name(p, (int)i)) >= HINT_MAX && best < 0)
            best = (int)i;
    }
    struct item *i = best >= 0 ? mapping_add_item(m, ROLE_IMAGE, best) : NULL;
    if (i)
        explain(i, &p->columns[best], "short texts and no paths; the name says that they name images", 1);
    return i != NULL;
}

/* A table whose paths are those of the client table's image column: it knows the images' names. */
static void detect_labels(const struct detect *d, struct mapping *m, const struct profile *p)
{
    const struct item *i = mapping_item(m, ROLE_IMAGE);
    for (size_t k = 0; i && i->hop_count == 0 && k < d->image_count && m->names_table < 0; k++) {
        const struct image_table *t = &d->images[k];
        const struct profile *to = d->profiles[t->table];
        const struct column_profile *c = &p->columns[i->columns[0]];
        if (t->label < 0 || to == p || (!m->separator && detect_contained(d, c, to, t->path) < 0.3))
            continue;
        m->names_table = t->table;
        m->names_path = t->path;
        m->names_label = t->label;
    }
}

/* The size of each image, where the table that knows its path has such a column. */
static void detect_sizes(const struct detect *d, struct mapping *m)
{
    const struct item *item = mapping_item(m, ROLE_IMAGE);
    int table = item && item->hop_count ? item->hops[item->hop_count - 1].table : m->names_table;
    for (size_t k = 0; k < d->image_count; k++) {
        const struct image_table *t = &d->images[k];
        const struct profile *p = d->profiles[t->table];
        if (t->table != table)
            continue;
        for (size_t i = 0; i < p->table->column_count && m->sizes_table < 0; i++) {
            const struct column_profile *c = &p->columns[i];
            if (c->filled == 0 || c->numbers < c->filled || hint_of(HINT_SIZE, column_name(p, (int)i)) == 0)
                continue;
            m->sizes_table = table;
            m->sizes_path = t->path;
            m->sizes_value = (int)i;
        }
    }
}

void detect_images(struct detect *d, struct mapping *m, bool *ret_is_open)
{
    const struct profile *p = d->profiles[m->table];
    bool is_direct = detect_direct(m, p, ret_is_open);
    bool found = is_direct || detect_links(d, m, p, ret_is_open);
    if (!detect_join(d, m, p, found) && !found)
        (void)detect_names(m, p); /* a client without an image is one, too */
    if (is_direct)
        detect_labels(d, m, p);
    detect_sizes(d, m);
}

/* --- groups --------------------------------------------------------------------------------------------------------- */

void detect_group(struct detect *d, struct mapping *m)
{
    const struct profile *p = d->profiles[m->table];
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        if (hint_of(HINT_GROUP, column_name(p, (int)i)) <= 0 || profile_share(c, c->ints) < 0.9 || c->filled == 0)
            continue;
        for (size_t t = 0; t < d->source->table_count; t++) {
            const struct profile *to = d->profiles[t];
            if (!to || to == p || hint_of(HINT_GROUP, to->table->name) <= 0)
                continue;
            int label = label_column(to, -1);
            for (size_t k = 0; label >= 0 && k < to->table->column_count; k++) {
                if ((int)k == label || !profile_is_key(to, k) || detect_contained(d, c, to, (int)k) < 0.6)
                    continue;
                struct item *g = mapping_add_item(m, ROLE_GROUP, (int)i);
                if (!g)
                    return;
                g->hop_count = 1;
                g->hops[0] = (struct hop){(int)t, (int)k, -1};
                g->value = label;
                explain(g, c, "keys of a table of groups", detect_contained(d, c, to, (int)k));
                return;
            }
        }
    }
}
