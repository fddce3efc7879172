/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of settings that hold for a whole site: DHCP options by number, settings by name, or one row with a column each.
 *
 * Only small tables are looked at, and only those in which something of ours is really found: a name alone is not enough. A table that is taken
 * wrongly costs little: its values are shown, and imported only where they are what their key says.
 */
#include "migrate/mapping-priv.h"

#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/normalise.h"
#include "migrate/site.h"
#include "migrate/text.h"

#define SITE_ROWS_MAX 2000

static int best_column(const struct profile *p, enum hint h, int except)
{
    int best = -1;
    double best_score = 0;
    for (size_t i = 0; i < p->table->column_count; i++) {
        double s = (int)i == except ? 0 : hint_of(h, p->table->columns[i].name);
        if (s > best_score) {
            best = (int)i;
            best_score = s;
        }
    }
    return best;
}

struct look {
    struct site_item item;
    unsigned found;
};

static int look_at_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct look *l = arg;
    char buf[64], key[128];
    size_t len;
    const struct cell *c = &cells[l->item.key];
    const char *text = cell_text(c, buf, &len);
    if (cell_is_empty(c) || len >= sizeof(key))
        return 0;
    (void)text_copy(text, len, key, sizeof(key));
    if (l->item.kind == SITE_SETTINGS)
        l->found += site_key_of_name(key) != SITE_NONE;
    else if (strspn(key, "0123456789") == strlen(key))
        l->found += site_key_of_option(strtoll(key, NULL, 10)) != SITE_NONE;
    return 0;
}

/* Number of rows that say something of ours when the table is read as @item says. */
static unsigned count_known(struct detect *d, const struct site_item *item)
{
    struct look l = {*item, 0};
    return item->key < 0 || item->value < 0 ||
                   source_rows(d->source, (size_t)item->table, look_at_row, &l, NULL, NULL) < 0
               ? 0
               : l.found;
}

static unsigned count_known_columns(const struct profile *p)
{
    unsigned n = 0;
    for (size_t i = 0; i < p->table->column_count; i++)
        n += p->columns[i].filled > 0 && site_key_of_name(p->table->columns[i].name) != SITE_NONE;
    return n;
}

static void add(struct mapping *m, const struct site_item *item)
{
    if (m->site_count < MAPPING_SITES_MAX)
        m->sites[m->site_count++] = *item;
}

/* The column of option numbers: it may be called so, and most known numbers are in it. */
static struct site_item best_options(struct detect *d, int table, int value)
{
    const struct profile *p = d->profiles[table];
    struct site_item best = {SITE_OPTIONS, table, -1, value};
    unsigned best_known = 0;
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        bool may_be = profile_share(c, c->ints) >= 0.9 && hint_of(HINT_CODE, p->table->columns[i].name) > 0;
        struct site_item item = {SITE_OPTIONS, table, (int)i, value};
        unsigned known = may_be ? count_known(d, &item) : 0;
        if (known > best_known) {
            best = item;
            best_known = known;
        }
    }
    return best;
}

static void look_at_table(struct detect *d, struct mapping *m, int table)
{
    const struct profile *p = d->profiles[table];
    bool is_named = hint_of(HINT_SITE, p->table->name) > 0;
    int value = best_column(p, HINT_VALUE, -1), name = best_column(p, HINT_LABEL, value);
    if (name < 0)
        name = best_column(p, HINT_KEY, value);
    struct site_item options = best_options(d, table, value), settings = {SITE_SETTINGS, table, name, value};
    struct site_item columns = {SITE_COLUMNS, table, -1, -1};
    bool is_code = options.key >= 0 && hint_of(HINT_CODE, p->table->columns[options.key].name) >= 0.15;
    if (options.key >= 0 && value >= 0 && (is_named || is_code))
        add(m, &options);
    else if (is_named && count_known(d, &settings) >= 1)
        add(m, &settings);
    else if (p->rows <= 3 && is_named && count_known_columns(p) >= 2)
        add(m, &columns);
}

/* The first table of an INI file has the keys of all sections, however many there are, and those of clients are passed over when it is read. Where there are
 * clients it is taken for what the report keeps, too. */
static void look_at_ini(struct detect *d, struct mapping *m)
{
    struct site_item settings = {SITE_SETTINGS, 0, 1, 2};
    if (m->table > 0 || count_known(d, &settings) > 0)
        add(m, &settings);
}

void detect_site(struct detect *d, struct mapping *m)
{
    if (d->source->reader == &ini_reader) {
        look_at_ini(d, m);
        return;
    }
    for (size_t t = 0; t < d->source->table_count; t++) {
        const struct profile *p = d->profiles[t];
        if (p && (int)t != m->table && p->rows > 0 && p->rows <= SITE_ROWS_MAX && p->is_whole &&
            hint_of(HINT_OLD, p->table->name) == 0)
            look_at_table(d, m, (int)t);
    }
}
