/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the new clients of a plan by name; see catalog-import-priv.h.
 *
 * Where every row of a plan that is going to be applied may be new, each one goes to the sorter when it is planned. Else the plan is gone through when it is
 * applied: names may have been given behind the last row.
 */
#include "core/catalog-import.h"

#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/spool-merge.h"
#include "core/util.h"

/* A text that begins with the name that is wanted. */
static const char *wanted_name(const struct import_planned *row)
{
    return *row->want == IMPORT_SAME ? row->src : row->want;
}

/* The name which @want begins with, in lower case. */
static void name_key(const char *want, char key[SPOOL_KEY_BYTES])
{
    size_t i = 0;
    for (; i < SPOOL_KEY_BYTES && want[i] && want[i] != '\x1f'; i++)
        key[i] = want[i] >= 'A' && want[i] <= 'Z' ? (char)(want[i] - 'A' + 'a') : want[i];
    memset(key + i, 0, SPOOL_KEY_BYTES - i);
}

/* Is the label that is made of the name which @want begins with made of no other name? */
static bool is_own_label(const char *want)
{
    size_t n = 0;
    for (; want[n] && want[n] != '\x1f'; n++)
        if (want[n] == '_')
            return false;
    return n <= CLIENT_LABEL_LEN;
}

void import_sort_forget(struct import *im)
{
    spool_merge_destroy(im->by_name);
    im->by_name = NULL;
    im->has_odd_labels = false;
}

int import_sort_begin(struct import *im, struct err *err)
{
    import_sort_forget(im);
    return spool_merge_create(&im->by_name, err);
}

int import_sort_put(struct import *im, const struct import_planned *row, struct err *err)
{
    char key[SPOOL_KEY_BYTES], *to;
    size_t len;
    if (!row->needs || row->client_id)
        return 0;
    int r = spool_merge_room(im->by_name, IMPORT_NEW_BYTES, &to, err);
    if (r == 0)
        r = import_new_put(row, to, &len, err);
    if (r < 0)
        return r;
    im->has_odd_labels = im->has_odd_labels || !is_own_label(wanted_name(row));
    name_key(wanted_name(row), key);
    spool_merge_commit(im->by_name, key, len);
    return 0;
}

static int put_row(void *arg, const struct import_planned *row, struct err *err)
{
    return import_sort_put(arg, row, err);
}

int import_sort_end(struct import *im, struct err *err)
{
    int r = 0;
    if (!im->by_name) {
        r = import_sort_begin(im, err);
        if (r == 0)
            r = import_each_planned(im, put_row, im, err);
    }
    return r < 0 ? r : spool_merge_begin(im->by_name, err);
}
