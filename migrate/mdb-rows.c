/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The live rows of a table; see mdb-lib.h.
 *
 * On a data page each row has an offset of 13 bits with two flags: 0x8000 this place is not to be read in passing, 0x4000 four bytes lie here
 * that point to where the row went. A row that was moved leaves such a pointer behind and lies elsewhere with 0x8000 set; a deleted one has
 * 0x8000 set, too. libmdb 1.0 takes 0x4000 for deleted and reads all others, so deleted rows come back and moved ones twice.
 *
 *   pass 1   all pages: the targets of living pointers, sorted; a count of the rows that lie where they always lay
 *   pass 2   libmdb's rows, of those with 0x8000 only the ones that are targets
 *
 * (1) What pass 2 delivers is compared with what pass 1 counted. A difference is reported, it cannot be repaired.
 * (2) Places only go upwards: where libmdb comes by a page again (it does when it goes over from the list of pages to reading page after
 *     page), its rows are not taken again.
 * (3) Of a page that the file does not hold completely no row is taken.
 * (4) The page at hand is mdb->cur_pg: what the table says is one too high once libmdb has gone over to reading page after page.
 *
 * Not done: later versions of libmdb follow the pointers themselves (commit 3effd4c); the fixture s16 shows it.
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define OFFSET_MASK 0x1fffu

/* --- targets ------------------------------------------------------------------------------------------------------ */

struct targets {
    uint32_t *p; /* page << 8 | row */
    size_t n, size;
    uint64_t plain; /* rows in their own place */
    uint64_t found; /* targets that pass 2 came by */
};

/* Where a pass is. */
struct place {
    uint32_t page, row;
    bool is_begun;
};

/* Go on to a place; false when it is none that may be taken. */
static bool go_on(struct place *at, const struct mdb_file *f, uint32_t page, uint32_t row)
{
    bool is_behind = !at->is_begun || page > at->page || (page == at->page && row > at->row);
    if (!is_behind || page >= f->pages)
        return false;
    *at = (struct place){page, row, true};
    return true;
}

static void targets_finish(struct targets *s)
{
    free(s->p);
}

static int add_target(struct targets *s, uint32_t at)
{
    if (s->n >= SOURCE_ROWS_MAX)
        return -EFBIG;
    if (s->n == s->size) {
        size_t size = MAX(2 * s->size, (size_t)256);
        uint32_t *bigger = realloc(s->p, size * sizeof(*bigger));
        if (!bigger)
            mdb_no_memory();
        s->p = bigger;
        s->size = size;
    }
    s->p[s->n++] = at;
    return 0;
}

static int compare_targets(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_target(struct targets *s, uint32_t at)
{
    bool is_one = s->n > 0 && bsearch(&at, s->p, s->n, sizeof(at), compare_targets);
    s->found += is_one;
    return is_one;
}

/* --- a page ------------------------------------------------------------------------------------------------------- */

static unsigned page_u16(const struct mdb_file *f, size_t at)
{
    const unsigned char *p = mdb_page(f);
    return at + 2 <= f->header->page_bytes ? p[at] | (unsigned)p[at + 1] << 8 : 0;
}

unsigned mdb_page_rows(const struct mdb_file *f)
{
    return MIN(page_u16(f, f->mdb->fmt->row_count_offset), (unsigned)MDB_PAGE_ROWS_MAX);
}

bool mdb_row_place(const struct mdb_file *f, unsigned row, unsigned *ret_offset, size_t *ret_begin, size_t *ret_end)
{
    size_t table = f->mdb->fmt->row_count_offset + 2u, at = table + 2u * row;
    *ret_offset = page_u16(f, at);
    *ret_begin = *ret_offset & OFFSET_MASK;
    *ret_end = row == 0 ? f->header->page_bytes : page_u16(f, at - 2) & OFFSET_MASK;
    return at + 2 <= f->header->page_bytes && *ret_begin >= table && *ret_begin <= *ret_end &&
           *ret_end <= f->header->page_bytes;
}

static int scan_page(struct mdb_file *f, struct targets *s)
{
    unsigned rows = mdb_page_rows(f), offset;
    size_t begin, end;
    for (unsigned i = 0; i < rows; i++) {
        bool is_there = mdb_row_place(f, i, &offset, &begin, &end);
        if (!(offset & (MDB_ROW_POINTER | MDB_ROW_PASSED)))
            s->plain++;
        if ((offset & MDB_ROW_PASSED) || !(offset & MDB_ROW_POINTER))
            continue;
        int r = is_there && end - begin >= 4 ? add_target(s, get_u32(mdb_page(f) + begin)) : add_target(s, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

static int first_pass(struct mdb_file *f, struct mdb_table *t, struct targets *s)
{
    uint64_t pages = 0;
    struct place at = {0};
    mdb_rewind_table(t->def);
    while (mdb_read_next_dpg(t->def)) {
        if (++pages > 2 * f->pages + 2)
            return -EBADMSG;
        int r = go_on(&at, f, f->mdb->cur_pg, 0) ? scan_page(f, s) : 0;
        if (r < 0)
            return r;
    }
    if (s->n > 0)
        qsort(s->p, s->n, sizeof(*s->p), compare_targets);
    return 0;
}

/* --- all rows ----------------------------------------------------------------------------------------------------- */

/* Does the row that libmdb has just read live? */
static bool is_live(struct mdb_file *f, struct mdb_table *t, struct targets *s, struct place *at)
{
    unsigned row = t->def->cur_row - 1, offset;
    if (!go_on(at, f, f->mdb->cur_pg, row) || !mdb_row_place(f, row, &offset, &t->row_begin, &t->row_end))
        return false;
    return !(offset & MDB_ROW_PASSED) || is_target(s, f->mdb->cur_pg << 8 | (row & 0xff));
}

static int second_pass(struct mdb_file *f, struct mdb_table *t, struct targets *s, mdb_row_fn *each, void *arg,
                       struct mdb_row_counts *ret)
{
    uint64_t fetched = 0;
    struct place at = {0};
    mdb_rewind_table(t->def);
    while (mdb_fetch_row(t->def)) {
        if (++fetched > 2 * (f->pages + 1) * MDB_PAGE_ROWS_MAX)
            return -EBADMSG;
        if (!is_live(f, t, s, &at))
            continue;
        if (ret->read >= SOURCE_ROWS_MAX)
            return -EFBIG;
        ret->read++;
        int r = each(arg, f, t);
        if (r != 0) {
            ret->is_ended = r > 0;
            return MIN(r, 0);
        }
    }
    return 0;
}

int mdb_rows(struct mdb_file *f, struct mdb_table *t, mdb_row_fn *each, void *arg, struct mdb_row_counts *ret,
             struct err *err)
{
    _cleanup_(targets_finish) struct targets s = {0};
    *ret = (struct mdb_row_counts){0};
    int r = first_pass(f, t, &s);
    if (r == 0)
        r = second_pass(f, t, &s, each, arg, ret);
    if (r == -EBADMSG)
        return err_set(err, r, "has a list of pages that leads in a circle");
    if (r == -EFBIG)
        return err_set(err, r, "has more than %d rows", SOURCE_ROWS_MAX);
    if (r == 0 && !ret->is_ended) {
        uint64_t plain = ret->read - s.found;
        ret->lost = s.plain > plain ? s.plain - plain : 0;
        ret->stray = s.n > s.found ? s.n - s.found : 0;
    }
    return r;
}
