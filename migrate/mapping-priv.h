/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of a mapping: which columns mean what, how an image is reached, and why. For mapping*.c, detect*.c, record*.c, image-sizes.c and site.c only.
 *
 * Tables and columns are numbers of the source here: names from files select them once (mapping-file.c) and are never built into anything.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_MAPPING_PRIV_H
#define DISKGATE_MIGRATE_MAPPING_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/mapping.h"
#include "migrate/profile.h"
#include "migrate/source.h"

#define MAPPING_ITEMS_MAX 64
#define MAPPING_SITES_MAX 32
#define MAPPING_PATHS_MAX 256
#define MAC_COLUMNS       6

enum role {
    ROLE_KEY,
    ROLE_MAC,
    ROLE_NAME,
    ROLE_IP,
    ROLE_NETMASK,
    ROLE_GATEWAY,
    ROLE_DNS,
    ROLE_GROUP,
    ROLE_COMMENT,
    ROLE_ENABLED,
    ROLE_DISABLED,
    ROLE_IMAGE,
    ROLE_DATA,
    ROLE_COUNT
};

/* Where the value of a role stands: in a column of the client table, or behind one or two look-ups:
 *
 *   column -> hops[0].table, rows whose hops[0].key is the same [, hops[0].next -> hops[1].table.hops[1].key] : value
 */
struct hop {
    int table, key, next;
};
struct item {
    enum role role;
    int columns[MAC_COLUMNS]; /* more than one for a MAC in six columns only */
    unsigned column_count;
    struct hop hops[2];
    unsigned hop_count;
    int value, label; /* columns of the last hop's table; label -1 = none */
    int order;        /* column of the first hop's table; -1 = as the rows come */
    char evidence[256];
};

enum site_kind {
    SITE_OPTIONS,  /* number of a DHCP option, value */
    SITE_SETTINGS, /* name, value */
    SITE_COLUMNS,  /* one row, a column each */
};
struct site_item {
    enum site_kind kind;
    int table, key, value;
};

struct rejected {
    int table;
    double score;
    char why[256];
};

struct mapping {
    struct source *source; /* borrowed */
    int table;             /* of the clients; -1 = none */
    struct item items[MAPPING_ITEMS_MAX];
    unsigned item_count;
    char separator;                           /* between paths in one text; 0 = one path a text */
    int names_table, names_path, names_label; /* a table that knows the images by path; -1 = none */
    int sizes_table, sizes_path, sizes_value; /* likewise their sizes */
    struct site_item sites[MAPPING_SITES_MAX];
    unsigned site_count;
    struct path_rule *paths;
    size_t path_count;
    struct mapping_policy policy;
    char charset[32];
    double score;
    char evidence[512];
    struct rejected *rejected;
    size_t rejected_count;
    unsigned open_roles; /* bits by enum role: saved as "?", which is no answer */
    bool is_table_open;  /* likewise */
    char *questions;     /* comment lines of the saved file, each ends in \n; NULL = none */
};

struct mapping *mapping_new(struct source *s); /* NULL = out of memory */
const char *role_name(enum role r);            /* as in the file */
int role_from_name(const char *name);          /* -1 = there is none */

/* Append; NULL when there are too many. Columns and tables are set to "none" first. */
struct item *mapping_add_item(struct mapping *m, enum role role, int column);
const struct item *mapping_item(const struct mapping *m, enum role role); /* the first, or NULL */
bool mapping_uses_column(const struct mapping *m, int column);
void mapping_reject(struct mapping *m, int table, double score, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A line of a question or a remark for the saved file. */
void mapping_ask(struct mapping *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* How an item is written in the file, into @ret. */
void item_text(const struct mapping *m, const struct item *i, char *ret, size_t size);
/* TABLE.COLUMN : COLUMN, or with @a < 0 TABLE alone. */
void mapping_place_text(const struct mapping *m, int table, int a, int b, char *ret, size_t size);
/* A name as the file has it: bare where that is clear, else in quotes with escapes. */
void name_text(const char *name, char *ret, size_t size);

static inline const struct source_column *column_at(const struct source *s, int table, int column)
{
    return &source_table(s, (size_t)table)->columns[column];
}

/* --- looking for one (detect*.c) -------------------------------------------------------------------------------------- */

/* A table that knows images: a column with their paths, unique columns, a name. */
struct image_table {
    int table, path, label;
};

struct detect {
    struct source *source;
    struct profile **profiles; /* by table, NULL where it was not looked at */
    struct image_table *images;
    size_t image_count;
    bool *is_unsure; /* set where a sample cannot answer: does a value occur in the table? */
};

/* Share (0..1) of the values of @c that occur in column @column of @in. What is no value of a sample may be one of its table: then 0, and
 * @d is unsure. */
double detect_contained(const struct detect *d, const struct column_profile *c, const struct profile *in, int column);

/* The roles of table @table into @m, whose table it becomes, with evidence; the score. A question that has no answer is put to
 * mapping_ask() and *ret_is_open set. 0 when the table holds no MACs. */
double detect_roles(struct detect *d, int table, struct mapping *m, bool *ret_is_open);
/* Images of the client table of @m: adds items. *ret_is_open as above. */
void detect_images(struct detect *d, struct mapping *m, bool *ret_is_open);
/* d->images. -ENOMEM. */
int detect_image_tables(struct detect *d);
/* group = GroupID -> Groups.ID : Name, where the table has such a column. */
void detect_group(struct detect *d, struct mapping *m);
void detect_site(struct detect *d, struct mapping *m);

#endif
