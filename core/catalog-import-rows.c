/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: its rows, which wait in two spools; see catalog-import-priv.h.
 *
 *   record: fixed numbers | length of each text (4 bytes) | texts, each with the zero byte behind it
 *
 * Both spools are in the order of the rows, and the plan has one record for each row that is open, so that a walk over both of them needs no index. The
 * fates that import_stage holds come along by a third cursor in the same order.
 *
 * What comes back is checked against the length of its record: a disk may have lost it.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

/* --- records ------------------------------------------------------------------------------------------------------ */

#define STAGED_TEXTS  8
#define PLANNED_TEXTS 8
#define SEPARATOR     '\x1f' /* between packed values */

struct staged_head {
    uint64_t row;
    uint32_t fate, none; /* no bytes without a value */
};

struct planned_head {
    uint64_t row;
    int64_t client_id;
    uint32_t fate, needs;
};

static int put_record(struct spool *s, const void *head, size_t head_len, const char *const *texts, size_t n,
                      struct err *err)
{
    uint32_t len[MAX(STAGED_TEXTS, PLANNED_TEXTS)];
    size_t all = head_len + n * sizeof(*len);
    char *to;
    for (size_t i = 0; i < n && all <= SPOOL_RECORD_MAX; i++) {
        size_t text = strnlen(texts[i], SPOOL_RECORD_MAX) + 1;
        len[i] = (uint32_t)text;
        all += text;
    }
    if (all > SPOOL_RECORD_MAX)
        return err_set(err, -EINVAL, "a row of the source is longer than %u bytes", SPOOL_RECORD_MAX);
    int r = spool_room(s, all, &to, err);
    if (r < 0)
        return r;
    to = mempcpy(to, head, head_len);
    to = mempcpy(to, len, n * sizeof(*len));
    for (size_t i = 0; i < n; i++) {
        memcpy(to, texts[i], len[i]);
        to += len[i];
    }
    spool_commit(s, all);
    return 0;
}

/* The parts of a record; -EIO when it has others. */
static int take_record(const char *p, size_t len, void *head, size_t head_len, const char **texts, size_t n,
                       struct err *err)
{
    uint32_t text[MAX(STAGED_TEXTS, PLANNED_TEXTS)];
    size_t at = head_len + n * sizeof(*text), i = 0;
    if (len >= at) {
        memcpy(head, p, head_len);
        memcpy(text, p + head_len, n * sizeof(*text));
        for (; i < n && text[i] > 0 && text[i] <= len - at && p[at + text[i] - 1] == 0; i++) {
            texts[i] = p + at;
            at += text[i];
        }
    }
    if (i == n && at == len)
        return 0;
    return err_set(err, -EIO, "a temporary file of the import does not hold what was written to it");
}

int import_staged_put(struct spool *s, const struct import_staged *row, struct err *err)
{
    struct staged_head head = {row->row, row->fate};
    const char *const texts[STAGED_TEXTS] = {row->mac, row->raw_mac, row->raw_name, row->source_id,
                                             row->src, row->rest,    row->doubt,    row->reason};
    return put_record(s, &head, sizeof(head), texts, STAGED_TEXTS, err);
}

static int take_staged(const char *p, size_t len, struct import_staged *ret, struct err *err)
{
    struct staged_head head;
    const char *t[STAGED_TEXTS];
    int r = take_record(p, len, &head, sizeof(head), t, STAGED_TEXTS, err);
    if (r == 0)
        *ret = (struct import_staged){.row = head.row,
                                      .fate = (enum import_fate)head.fate,
                                      .mac = t[0],
                                      .raw_mac = t[1],
                                      .raw_name = t[2],
                                      .source_id = t[3],
                                      .src = t[4],
                                      .rest = t[5],
                                      .doubt = t[6],
                                      .reason = t[7]};
    return r;
}

int import_planned_put(struct spool *s, const struct import_planned *row, struct err *err)
{
    struct planned_head head = {row->row, row->client_id, row->fate, row->needs};
    const char *const texts[PLANNED_TEXTS] = {row->mac,    row->source_id, row->src,  row->reason,
                                              row->detail, row->now,       row->want, row->given};
    return put_record(s, &head, sizeof(head), texts, PLANNED_TEXTS, err);
}

int import_planned_take(const char *p, size_t len, struct import_planned *ret, struct err *err)
{
    struct planned_head head;
    const char *t[PLANNED_TEXTS];
    int r = take_record(p, len, &head, sizeof(head), t, PLANNED_TEXTS, err);
    if (r == 0)
        *ret = (struct import_planned){.row = head.row,
                                       .client_id = head.client_id,
                                       .fate = (enum import_fate)head.fate,
                                       .needs = head.needs,
                                       .mac = t[0],
                                       .source_id = t[1],
                                       .src = t[2],
                                       .reason = t[3],
                                       .detail = t[4],
                                       .now = t[5],
                                       .want = t[6],
                                       .given = t[7]};
    return r;
}

/* --- one spool ---------------------------------------------------------------------------------------------------- */

/* 1, 0 behind the last one, or a negative errno. */
static int next_staged(struct spool_reader *r, struct import_staged *ret, struct err *err)
{
    const char *p;
    size_t len;
    int e = spool_next(r, &p, &len, err);
    if (e > 0)
        e = take_staged(p, len, ret, err);
    else
        return e;
    return e < 0 ? e : 1;
}

static int next_planned(struct spool_reader *r, struct import_planned *ret, struct err *err)
{
    const char *p;
    size_t len;
    int e = spool_next(r, &p, &len, err);
    if (e > 0)
        e = import_planned_take(p, len, ret, err);
    else
        return e;
    return e < 0 ? e : 1;
}

int import_each_staged(struct import *im, import_staged_fn *each, void *arg, struct err *err)
{
    _cleanup_(spool_reader_finish) struct spool_reader r;
    struct import_staged row;
    int e;
    spool_reader_init(&r, im->stage);
    while ((e = next_staged(&r, &row, err)) > 0) {
        e = each(arg, &row, err);
        if (e < 0)
            return e;
    }
    return e;
}

int import_each_planned(struct import *im, import_planned_fn *each, void *arg, struct err *err)
{
    _cleanup_(spool_reader_finish) struct spool_reader r;
    struct import_planned row;
    int e;
    spool_reader_init(&r, im->plan);
    while ((e = next_planned(&r, &row, err)) > 0) {
        e = each(arg, &row, err);
        if (e < 0)
            return e;
    }
    return e;
}

/* --- both of them ------------------------------------------------------------------------------------------------- */

struct walk {
    struct import *im;
    struct spool_reader stage, plan;
    struct import_staged staged;
    struct import_planned planned;
    bool is_planned;    /* the row has a plan */
    bool with_plan;     /* plans are looked at */
    char reason[512];   /* that import_stage has */
    sqlite3_stmt *mark; /* at the next row of import_stage that has a fate; NULL behind the last one */
};

static void finish_walk(struct walk *w)
{
    spool_reader_finish(&w->stage);
    spool_reader_finish(&w->plan);
    (void)sqlite3_finalize(w->mark); /* repeats the error of step */
}

static int next_mark(struct walk *w, struct err *err)
{
    int code = sqlite3_step(w->mark);
    if (code == SQLITE_ROW)
        return 0;
    int r = code == SQLITE_DONE ? 0 : db_error(w->im->c, code, err);
    (void)sqlite3_finalize(w->mark); /* as above */
    w->mark = NULL;
    return r;
}

/* @is_behind: another thread plans; then there are no marks. */
static int begin_walk(struct walk *w, struct import *im, bool with_plan, bool is_behind, struct err *err)
{
    w->im = im;
    w->with_plan = with_plan;
    w->mark = NULL;
    spool_reader_init(&w->stage, im->stage);
    if (is_behind)
        spool_reader_behind(&w->plan, im->plan);
    else
        spool_reader_init(&w->plan, im->plan);
    if (!im->has_marks)
        return 0;
    int r = db_prepare(im->c, "SELECT row, fate, reason FROM import_stage WHERE fate <> 0 ORDER BY row", &w->mark, err);
    return r < 0 ? r : next_mark(w, err);
}

/* The fate that import_stage has for the row. */
static int take_mark(struct walk *w, struct err *err)
{
    if (!w->mark || (uint64_t)sqlite3_column_int64(w->mark, 0) != w->staged.row)
        return 0;
    w->staged.fate = (enum import_fate)sqlite3_column_int(w->mark, 1);
    COL_TEXT(w->mark, 2, w->reason);
    w->staged.reason = w->reason;
    return next_mark(w, err);
}

/* The next row; its plan is the next one of the plan, or it has none. */
static int next_row(struct walk *w, struct err *err)
{
    int r = next_staged(&w->stage, &w->staged, err);
    int e = r > 0 ? take_mark(w, err) : 0;
    w->is_planned = false;
    if (r <= 0 || e < 0 || !w->with_plan || w->staged.fate != IMPORT_OPEN)
        return e < 0 ? e : r;
    e = next_planned(&w->plan, &w->planned, err);
    if (e > 0 && w->planned.row != w->staged.row)
        return err_set(err, -EIO, "the plan of the import lost row %llu: this is a bug, and nothing was changed",
                       (unsigned long long)w->staged.row + 1);
    w->is_planned = e > 0;
    return e < 0 ? e : r;
}

static enum import_fate fate_of(const struct walk *w)
{
    return w->is_planned ? w->planned.fate : w->staged.fate;
}

static void copy(char *to, size_t size, const char *text)
{
    size_t n = strnlen(text, size - 1);
    memcpy(to, text, n);
    to[n] = 0;
}
#define COPY(array, text) copy(array, sizeof(array), text)

static void fill_row(const struct walk *w, struct import_row *row)
{
    const struct import_staged *s = &w->staged;
    const struct import_planned *p = w->is_planned ? &w->planned : NULL;
    row->row = s->row;
    COPY(row->source_id, s->source_id);
    COPY(row->mac, s->mac);
    COPY(row->raw_mac, s->raw_mac);
    COPY(row->raw_name, s->raw_name);
    row->rest = s->rest;
    row->doubt = s->doubt;
    row->fate = fate_of(w);
    COPY(row->reason, p ? p->reason : s->reason);
    import_unpack(p ? p->src : s->src, &row->src);
    row->detail = p ? p->detail : "";
    row->client_id = p ? p->client_id : 0;
    if (p)
        import_unpack_as(p->want, &row->src, &row->want);
    else
        import_values_clear(&row->want);
}

int import_each(struct import *im, enum import_fate fate, import_each_fn *each, void *arg, struct err *err)
{
    _cleanup_(finish_walk) struct walk w;
    _cleanup_free_ struct import_row *row = malloc(sizeof(*row));
    int r = begin_walk(&w, im, fate != IMPORT_OPEN, false, err);
    if (r == 0 && !row)
        r = err_sys(err, -ENOMEM, "cannot go through the rows of the import");
    if (r < 0)
        return r;
    while ((r = next_row(&w, err)) > 0) {
        if (fate_of(&w) != fate)
            continue;
        fill_row(&w, row);
        r = each(arg, row, err);
        if (r < 0)
            return r;
    }
    return r;
}

/* --- for the report ----------------------------------------------------------------------------------------------- */

int import_told_begin(struct import *im, bool *ret, struct err *err)
{
    int r = spool_flush(im->stage, err);
    if (r < 0)
        return r;
    *ret = im->is_all_new && !im->has_marks; /* else fates or what has changed are in the catalog's connection */
    if (*ret) {
        spool_grow_begin(im->plan);
        import_sort_apart(im);
    }
    return 0;
}

int import_told_end(struct import *im, bool is_whole, struct err *err)
{
    int r = spool_grow_end(im->plan, is_whole, err);
    int sorted = import_sort_join(im, is_whole && r == 0, r < 0 ? NULL : err);
    return r < 0 ? r : sorted;
}

static void fill_told(const struct walk *w, struct import_told *ret)
{
    const struct import_staged *s = &w->staged;
    const struct import_planned *p = w->is_planned ? &w->planned : NULL;
    bool has_want = p && *p->want && *p->want != SEPARATOR;
    *ret = (struct import_told){.row = s->row,
                                .fate = fate_of(w),
                                .is_planned = p != NULL,
                                .mac = s->mac,
                                .raw_mac = s->raw_mac,
                                .raw_name = s->raw_name,
                                .source_id = s->source_id,
                                .reason = p ? p->reason : s->reason,
                                .detail = p ? p->detail : "",
                                .doubt = s->doubt,
                                .rest = s->rest};
    import_split(p ? p->src : s->src, ret->values);
    ret->images = ret->values[IMPORT_IMAGES].text; /* the last one, so a zero byte is behind it */
    if (has_want)
        import_split(p->want, ret->values);
}

/* Behind the last row: nothing more is planned. A reader behind waits here until that is sure. */
static int end_told(struct walk *w, struct err *err)
{
    int r = next_planned(&w->plan, &w->planned, err);
    return r <= 0 ? r
                  : err_set(err, -EIO,
                            "the plan of the import has row %llu once more: this is a bug, and nothing was changed",
                            (unsigned long long)w->planned.row + 1);
}

int import_each_told(struct import *im, bool is_behind, import_told_fn *each, void *arg, struct err *err)
{
    _cleanup_(finish_walk) struct walk w;
    struct import_told row;
    int r = begin_walk(&w, im, true, is_behind, err);
    if (r < 0)
        return r;
    while ((r = next_row(&w, err)) > 0) {
        fill_told(&w, &row);
        r = each(arg, &row, err);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : end_told(&w, err);
}

/* --- rows of the plan with a remark -------------------------------------------------------------------------------- */

struct remark {
    enum import_fate fate;
    const char *but;
    struct import_row *row;
    import_each_fn *each;
    void *arg;
};

static bool has_remark(const struct import_planned *row, const struct remark *r)
{
    return row->fate == r->fate && *row->reason && strncmp(row->reason, r->but, strlen(r->but)) != 0;
}

static int remark(void *arg, const struct import_planned *planned, struct err *err)
{
    const struct remark *r = arg;
    struct import_row *row = r->row;
    if (!has_remark(planned, r))
        return 0;
    row->row = planned->row;
    row->fate = planned->fate;
    row->client_id = planned->client_id;
    row->detail = planned->detail;
    COPY(row->source_id, planned->source_id);
    COPY(row->mac, planned->mac);
    COPY(row->reason, planned->reason);
    import_unpack(planned->src, &row->src);
    import_unpack_as(planned->want, &row->src, &row->want);
    return r->each(r->arg, row, err);
}

int import_each_remark(struct import *im, enum import_fate fate, const char *but, import_each_fn *each, void *arg,
                       struct err *err)
{
    _cleanup_free_ struct import_row *row = calloc(1, sizeof(*row));
    struct remark r = {fate, but, row, each, arg};
    return row ? import_each_planned(im, remark, &r, err)
               : err_sys(err, -ENOMEM, "cannot go through the rows of the import");
}

int import_counts(struct import *im, uint64_t counts[static IMPORT_FATES], uint64_t *ret_rows, struct err *err)
{
    uint64_t decided = 0;
    (void)err;
    for (int i = 0; i < IMPORT_FATES; i++) {
        counts[i] = im->planned[i] + (i == IMPORT_OPEN ? 0 : im->staged[i]);
        decided += counts[i];
    }
    counts[IMPORT_OPEN] += im->rows - decided;
    *ret_rows = im->rows;
    return 0;
}
