/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: rows for SQLite, made by a thread of their own while SQLite inserts the ones before them; see catalog-import-priv.h.
 *
 *   made      0 1 2 3 4 ...     batches that the maker has filled, batch n in place n % PLACES
 *   taken     0 1 2 ...         batches that SQLite is done with
 *
 * (1) taken <= made <= taken + PLACES. The maker fills place made % PLACES only while made < taken + PLACES, SQLite reads place taken % PLACES only while
 *     taken < made: so a batch belongs to one thread at a time, and needs no lock.
 * (2) The batch that is marked as the last one is the last one; what went wrong comes behind its rows.
 * (3) Every row that comes out was checked.
 *
 * Where making a row needs the catalog's connection, or few rows are there, SQLite's thread makes them itself, one at a time: then the rows before it are
 * inserted.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>

#include "core/catalog-import-priv.h"
#include "core/lock.h"

#define PLACES          3
#define BATCHES_WRITTEN 32 /* some MiB of the catalog */

struct import_ahead {
    const struct import *im;
    struct import_maker maker;
    const struct import_batch *batch; /* the one that SQLite is at, NULL before the first one */
    size_t row;                       /* of it: what comes next */
    bool has_thread;
    pthread_t thread;
    struct lock lock;       /* protects what follows */
    pthread_cond_t changed; /* one of them did */
    uint64_t made, taken;
    bool stops; /* nobody wants more */
    struct import_batch places[PLACES];
};

/* --- making ------------------------------------------------------------------------------------------------------- */

static int make_row(const struct import_ahead *a, struct import_batch *b)
{
    struct import_cell *row = b->rows[b->n];
    int r = a->maker.make(a->maker.arg, b, row, &b->err);
    int e = r > 0 ? a->maker.check(a->im, row, &b->err) : r;
    return e < 0 ? e : r;
}

static void fill(const struct import_ahead *a, struct import_batch *b, size_t max)
{
    int r = 1;
    b->n = b->pack_len = b->text_len = 0;
    while (r > 0 && b->n < max && b->pack_len < IMPORT_BATCH_BYTES && b->text_len < IMPORT_BATCH_BYTES) {
        r = make_row(a, b);
        b->n += r > 0;
    }
    b->is_last = r <= 0;
    b->result = r < 0 ? r : 0;
}

/* A place to fill; NULL when nobody wants more. */
static struct import_batch *wait_for_place(struct import_ahead *a)
{
    LOCK_SCOPE(&a->lock);
    while (!a->stops && a->made == a->taken + PLACES)
        pthread_cond_wait(&a->changed, &a->lock.mutex);
    return a->stops ? NULL : &a->places[a->made % PLACES];
}

/* The batch is SQLite's now. How many there were. */
static uint64_t hand_over(struct import_ahead *a)
{
    LOCK_SCOPE(&a->lock);
    pthread_cond_broadcast(&a->changed);
    return ++a->made;
}

static void *run(void *arg)
{
    struct import_ahead *a = arg;
    struct import_batch *b;
    bool is_last = false;
    while (!is_last && (b = wait_for_place(a))) {
        fill(a, b, IMPORT_BATCH_ROWS);
        is_last = b->is_last;
        if (hand_over(a) % BATCHES_WRITTEN == 0)
            bulk_write_soon(a->im->c);
    }
    return NULL;
}

/* --- taking ------------------------------------------------------------------------------------------------------- */

static const struct import_batch *wait_for_batch(struct import_ahead *a)
{
    LOCK_SCOPE(&a->lock);
    if (a->batch) {
        a->taken++;
        pthread_cond_broadcast(&a->changed);
    }
    while (a->taken == a->made)
        pthread_cond_wait(&a->changed, &a->lock.mutex);
    return &a->places[a->taken % PLACES];
}

static int next_batch(struct import_ahead *a, struct err *err)
{
    if (a->has_thread)
        a->batch = wait_for_batch(a);
    else
        fill(a, &a->places[0], 1);
    if (!a->has_thread)
        a->batch = &a->places[0];
    a->row = 0;
    return a->maker.take && a->batch->n > 0 ? a->maker.take(a->maker.arg, a->batch, err) : 0;
}

int import_ahead_next(struct import_ahead *a, const struct import_cell **ret, struct err *err)
{
    while (!a->batch || a->row == a->batch->n) {
        if (a->batch && a->batch->is_last) {
            if (a->batch->result < 0)
                *err = a->batch->err;
            return a->batch->result;
        }
        int r = next_batch(a, err);
        if (r < 0)
            return r;
    }
    *ret = a->batch->rows[a->row++];
    return 1;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int import_ahead_begin(struct import_ahead **ret, const struct import *im, const struct import_maker *maker,
                       struct err *err)
{
    struct import_ahead *a = malloc(sizeof(*a));
    if (!a)
        return err_sys(err, -ENOMEM, "cannot store the clients of the import");
    a->im = im;
    a->maker = *maker;
    a->batch = NULL;
    a->row = 0;
    a->made = a->taken = 0;
    a->stops = false;
    lock_init(&a->lock, LOCK_AHEAD);
    pthread_cond_init(&a->changed, NULL);
    a->has_thread = maker->is_apart && pthread_create(&a->thread, NULL, run, a) == 0;
    *ret = a;
    return 0;
}

static void stop(struct import_ahead *a)
{
    LOCK_SCOPE(&a->lock);
    a->stops = true;
    pthread_cond_broadcast(&a->changed);
}

void import_ahead_end(struct import_ahead *a)
{
    if (!a)
        return;
    if (a->has_thread) {
        stop(a);
        (void)pthread_join(a->thread, NULL); /* ours, and joined once */
    }
    pthread_cond_destroy(&a->changed);
    lock_finish(&a->lock);
    free(a);
}
