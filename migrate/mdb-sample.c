/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Some rows of a table, from all over it; see mdb-lib.h.
 *
 *   1. the table's pages, from its usage map (a bitmap, or a list of pages that are bitmaps)
 *   2. n times a page by lot: how many rows of each are wanted
 *   3. in the order of the file, as many of a page's rows by lot
 *
 * So each row has the same chance whatever the order of the rows is, and two of them come together no more often than two others; what is
 * counted in the sample holds for the table. Only the pages that were picked are read. The lots are the same each time: who reads a file twice
 * sees the same.
 *
 * A row that was moved is found by the pointer that it left behind (mdb-rows.c), so it has the chance of its old place.
 *
 * Source: usage maps: *documented* in libmdb's HACKING; kind 0 = u8 0, u32 first page, bits; kind 1 = u8 1, u32 pages, each 4 bytes of a head
 * and bits; a bit is set for each page of the table, the lowest one first.
 */
#include "migrate/mdb-lib.h"

#include <stdlib.h>

#include "core/bytes.h"
#include "core/util.h"

#define MAP_HEAD_BYTES      5
#define MAP_PAGE_HEAD_BYTES 4

struct pages {
    uint32_t *p;
    uint16_t *wanted; /* rows of each */
    size_t n, size;
};

static void pages_finish(struct pages *s)
{
    free(s->p);
    free(s->wanted);
}

/* --- the table's pages ---------------------------------------------------------------------------------------------- */

/* Pages only go upwards and lie in the file. */
static void add_page(struct pages *s, const struct mdb_file *f, uint64_t page)
{
    if (page == 0 || page >= f->pages || (s->n > 0 && page <= s->p[s->n - 1]))
        return;
    if (s->n == s->size) {
        s->size = MAX(2 * s->size, (size_t)256);
        s->p = realloc(s->p, s->size * sizeof(*s->p));
        if (!s->p)
            mdb_no_memory();
    }
    s->p[s->n++] = (uint32_t)page;
}

static void add_bits(struct pages *s, const struct mdb_file *f, uint64_t first, const unsigned char *bits, size_t len)
{
    for (size_t i = 0; i < len; i++)
        for (unsigned k = 0; bits[i] >> k; k++)
            if (bits[i] >> k & 1)
                add_page(s, f, first + 8 * i + k);
}

static void find_pages(struct pages *s, struct mdb_file *f, const MdbTableDef *def)
{
    const unsigned char *map = def->usage_map;
    size_t page_bytes = f->header->page_bytes, len = def->map_sz, per_page = 8 * (page_bytes - MAP_PAGE_HEAD_BYTES);
    if (len >= MAP_HEAD_BYTES && map[0] == 0)
        add_bits(s, f, get_u32(map + 1), map + MAP_HEAD_BYTES, len - MAP_HEAD_BYTES);
    for (size_t i = 0; map[0] == 1 && 1 + 4 * (i + 1) <= len; i++) {
        uint32_t page = get_u32(map + 1 + 4 * i);
        if (page > 0 && page < f->pages && mdb_read_alt_pg(f->mdb, page) == (ssize_t)page_bytes)
            add_bits(s, f, (uint64_t)i * per_page, f->mdb->alt_pg_buf + MAP_PAGE_HEAD_BYTES,
                     page_bytes - MAP_PAGE_HEAD_BYTES);
    }
}

/* --- lots ----------------------------------------------------------------------------------------------------------- */

/* A number below @n. */
static uint32_t lot(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 32) * n >> 32);
}

static void draw_pages(struct pages *s, uint64_t n, uint64_t *state)
{
    s->wanted = calloc(MAX(s->n, (size_t)1), sizeof(*s->wanted));
    if (!s->wanted)
        mdb_no_memory();
    for (uint64_t i = 0; s->n > 0 && i < n; i++) {
        uint32_t at = lot(state, (uint32_t)s->n);
        s->wanted[at] += s->wanted[at] < MDB_PAGE_ROWS_MAX;
    }
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

static bool go_to_page(struct mdb_file *f, const struct mdb_table *t, uint32_t page)
{
    return page > 0 && page < f->pages && mdb_read_pg(f->mdb, page) == (ssize_t)f->header->page_bytes &&
           mdb_page(f)[0] == MDB_PAGE_DATA && get_u32(mdb_page(f) + 4) == t->entry.table_pg;
}

/* The row at a place of the page at hand becomes the one that cells are read of. */
static bool take_row(struct mdb_file *f, struct mdb_table *t, unsigned row, bool is_moved)
{
    unsigned offset;
    return row < mdb_page_rows(f) && mdb_row_place(f, row, &offset, &t->row_begin, &t->row_end) &&
           t->row_begin < t->row_end && !(offset & MDB_ROW_POINTER) && !(offset & MDB_ROW_PASSED) == !is_moved &&
           mdb_read_row(t->def, row);
}

/* The row that lies or lay at @row; the page at hand may be another one afterwards. */
static bool find_row(struct mdb_file *f, struct mdb_table *t, unsigned row)
{
    unsigned offset;
    size_t begin, end;
    if (!mdb_row_place(f, row, &offset, &begin, &end))
        return false;
    if (!(offset & MDB_ROW_POINTER))
        return take_row(f, t, row, false);
    uint32_t to = end - begin >= 4 ? get_u32(mdb_page(f) + begin) : 0;
    return go_to_page(f, t, to >> 8) && take_row(f, t, to & 0xff, true);
}

/* Places of the page at hand that stand for a row. */
static unsigned find_places(const struct mdb_file *f, uint16_t places[MDB_PAGE_ROWS_MAX])
{
    unsigned n = 0, rows = mdb_page_rows(f), offset;
    size_t begin, end;
    for (unsigned i = 0; i < rows; i++) {
        (void)mdb_row_place(f, i, &offset, &begin, &end); /* only the flags are wanted */
        if (!(offset & MDB_ROW_PASSED))
            places[n++] = (uint16_t)i;
    }
    return n;
}

/* @wanted rows of one page. 0, or what @each said. */
static int sample_page(struct mdb_file *f, struct mdb_table *t, uint32_t page, unsigned wanted, uint64_t *state,
                       mdb_row_fn *each, void *arg)
{
    uint16_t places[MDB_PAGE_ROWS_MAX];
    unsigned n = go_to_page(f, t, page) ? find_places(f, places) : 0;
    int r = 0;
    for (unsigned i = 0; i < MIN(wanted, n) && r == 0; i++) {
        unsigned at = i + lot(state, n - i), row = places[at];
        places[at] = places[i];
        if (f->mdb->cur_pg != page && !go_to_page(f, t, page))
            break;
        r = find_row(f, t, row) ? each(arg, f, t) : 0;
    }
    return r;
}

int mdb_sample(struct mdb_file *f, struct mdb_table *t, uint64_t n, mdb_row_fn *each, void *arg)
{
    _cleanup_(pages_finish) struct pages s = {0};
    uint64_t state = 0x9e3779b97f4a7c15u;
    int r = 0;
    find_pages(&s, f, t->def);
    draw_pages(&s, n, &state);
    for (size_t i = 0; i < s.n && r == 0; i++)
        if (s.wanted[i] > 0)
            r = sample_page(f, t, s.p[i], s.wanted[i], &state, each, arg);
    return MIN(r, 0);
}
