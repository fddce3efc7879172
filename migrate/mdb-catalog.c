/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of an Access file, from MSysObjects on page 2; see mdb-lib.h.
 *
 * Left out are what Access hides (flags), and names that begin with "~", "MSys" or "USys".
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"

#define CATALOG_PAGE 2
#define PAGE_MASK    0xffffffu
#define TYPE_LOCAL   1
#define TYPE_ODBC    4
#define TYPE_LINKED  6
#define FLAGS_SYSTEM 0x80000002u
#define FLAGS_HIDDEN 0x8u

enum { COL_ID, COL_NAME, COL_TYPE, COL_FLAGS, COL_MUST, COL_DATABASE = COL_MUST, COL_FOREIGN, COL_COUNT };

struct catalog {
    int at[COL_COUNT]; /* number of the column, -1 = none */
    struct mdb_object *objects;
    size_t n;
};

static void catalog_finish(struct catalog *c)
{
    free(c->objects);
}

/* --- its columns --------------------------------------------------------------------------------------------------- */

static bool find_columns(struct catalog *c, const struct mdb_table *t)
{
    static const struct {
        const char *name;
        int type, other_type;
    } wanted[COL_COUNT] = {
        [COL_ID] = {"Id", MDB_LONGINT, MDB_LONGINT},       [COL_NAME] = {"Name", MDB_TEXT, MDB_TEXT},
        [COL_TYPE] = {"Type", MDB_INT, MDB_INT},           [COL_FLAGS] = {"Flags", MDB_LONGINT, MDB_LONGINT},
        [COL_DATABASE] = {"Database", MDB_MEMO, MDB_TEXT}, [COL_FOREIGN] = {"ForeignName", MDB_TEXT, MDB_MEMO},
    };
    for (int k = 0; k < COL_COUNT; k++) {
        c->at[k] = -1;
        for (size_t i = 0; i < t->n_columns; i++) {
            int type = t->columns[i].col->col_type;
            if (strcmp(t->columns[i].name, wanted[k].name) == 0 &&
                (type == wanted[k].type || type == wanted[k].other_type))
                c->at[k] = (int)i;
        }
        if (k < COL_MUST && c->at[k] < 0)
            return false;
    }
    return true;
}

/* --- its rows ------------------------------------------------------------------------------------------------------ */

static int64_t take_int(const struct catalog *c, struct mdb_file *f, struct mdb_table *t, int column)
{
    struct cell cell;
    mdb_cell(f, t, (size_t)c->at[column], &cell);
    return cell.kind == CELL_INT ? cell.integer : -1;
}

static bool take_text(const struct catalog *c, struct mdb_file *f, struct mdb_table *t, int column, char *ret,
                      size_t max)
{
    struct cell cell = {.kind = CELL_NONE};
    ret[0] = 0;
    if (c->at[column] >= 0)
        mdb_cell(f, t, (size_t)c->at[column], &cell);
    if (cell.kind != CELL_TEXT || cell.len >= max)
        return false;
    memcpy(ret, cell.text, cell.len + 1);
    return true;
}

/* "C:\CCBoot\Data\clients_be.mdb", with the table's name there when it is another one. */
static void take_target(const struct catalog *c, struct mdb_file *f, struct mdb_table *t, struct mdb_object *o)
{
    char foreign[SOURCE_NAME_MAX + 1];
    (void)take_text(c, f, t, COL_DATABASE, o->linked_to, sizeof(o->linked_to) - sizeof(foreign) - 16); /* else empty */
    if (!take_text(c, f, t, COL_FOREIGN, foreign, sizeof(foreign)) || strcmp(foreign, o->name) == 0)
        return;
    size_t n = strlen(o->linked_to);
    (void)snprintf(o->linked_to + n, sizeof(o->linked_to) - n, "%s(table '%s')", n > 0 ? " " : "", foreign);
}

static bool is_hidden(int64_t flags, const char *name)
{
    return ((uint64_t)flags & (FLAGS_SYSTEM | FLAGS_HIDDEN)) || name[0] == '~' || strncasecmp(name, "MSys", 4) == 0 ||
           strncasecmp(name, "USys", 4) == 0;
}

static int keep(struct catalog *c, const struct mdb_object *o)
{
    if (c->n >= SOURCE_TABLES_MAX)
        return -EFBIG;
    struct mdb_object *bigger = reallocarray(c->objects, c->n + 1, sizeof(*bigger));
    if (!bigger)
        mdb_no_memory();
    c->objects = bigger;
    c->objects[c->n++] = *o;
    return 0;
}

static int take_object(void *arg, struct mdb_file *f, struct mdb_table *t)
{
    struct catalog *c = arg;
    struct mdb_object o = {0};
    int64_t type = take_int(c, f, t, COL_TYPE);
    if (type != TYPE_LOCAL && type != TYPE_ODBC && type != TYPE_LINKED)
        return 0;
    int64_t flags = take_int(c, f, t, COL_FLAGS);
    if (!take_text(c, f, t, COL_NAME, o.name, sizeof(o.name)) || is_hidden(flags < 0 ? (uint32_t)flags : flags, o.name))
        return 0;
    o.page = (uint32_t)take_int(c, f, t, COL_ID) & PAGE_MASK;
    o.is_linked = type != TYPE_LOCAL;
    if (o.is_linked)
        take_target(c, f, t, &o);
    return keep(c, &o);
}

int mdb_catalog(struct mdb_file *f, mdb_object_fn *each, void *arg, struct mdb_row_counts *ret, struct err *err)
{
    _cleanup_(catalog_finish) struct catalog c = {0};
    _cleanup_free_ struct mdb_table *t = malloc(sizeof(*t));
    if (!t)
        mdb_no_memory();
    int r = mdb_table_open(f, t, CATALOG_PAGE, "MSysObjects", err);
    if (r < 0)
        return r;
    r = find_columns(&c, t) ? mdb_rows(f, t, take_object, &c, ret, err)
                            : err_set(err, -EBADMSG, "is no list of tables");
    mdb_table_close(t);
    if (r == -EFBIG)
        (void)err_set(err, r, "has more than %d tables", SOURCE_TABLES_MAX);
    for (size_t i = 0; i < c.n && r == 0; i++)
        r = each(arg, f, &c.objects[i]);
    return r;
}
