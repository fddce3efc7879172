/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: the new clients of a plan by name; see catalog-import-priv.h.
 *
 *   the plan is going to be applied, and           they are sorted
 *   its rows may all be new, and are many          by a thread that reads behind the planning
 *   its rows may all be new                        each when it is planned
 *   else                                           when the plan is applied: names may have been given behind the last row
 *
 * While that thread runs, im->by_name and im->has_odd_labels are its own.
 */
#include "core/catalog-import.h"

#include <pthread.h>
#include <stdlib.h>
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

struct import_sorter {
    struct import *im;
    pthread_t thread;
    int result;
    struct err err;
};

void import_sort_forget(struct import *im)
{
    if (im->sorter) {
        (void)spool_grow_end(im->plan, false, NULL); /* else the thread waits for more; not again where it has ended */
        (void)import_sort_join(im, false, NULL);
    }
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

/* --- beside the planning ------------------------------------------------------------------------------------------- */

static int sort_behind(struct import *im, struct err *err)
{
    _cleanup_(spool_reader_finish) struct spool_reader plan;
    struct import_planned row;
    const char *record;
    size_t len;
    int r;
    spool_reader_behind(&plan, im->plan);
    while ((r = spool_next(&plan, &record, &len, err)) > 0) {
        r = import_planned_take(record, len, &row, err);
        if (r == 0)
            r = import_sort_put(im, &row, err);
        if (r < 0)
            return r;
    }
    return r;
}

static void *run(void *arg)
{
    struct import_sorter *s = arg;
    s->result = sort_behind(s->im, &s->err);
    return NULL;
}

void import_sort_apart(struct import *im)
{
    struct import_sorter *s = im->by_name && im->rows >= IMPORT_ROWS_APART ? calloc(1, sizeof(*s)) : NULL;
    if (!s)
        return;
    s->im = im;
    if (pthread_create(&s->thread, NULL, run, s) == 0)
        im->sorter = s;
    else
        free(s); /* each row is put when it is planned */
}

int import_sort_join(struct import *im, bool is_whole, struct err *err)
{
    _cleanup_free_ struct import_sorter *s = im->sorter;
    if (!s)
        return 0;
    (void)pthread_join(s->thread, NULL); /* ours, and joined once */
    im->sorter = NULL;
    if (!is_whole) {
        import_sort_forget(im);
        return 0;
    }
    if (s->result < 0 && err)
        *err = s->err;
    return s->result;
}
