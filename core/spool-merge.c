/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sorting by pieces; see spool-merge.h.
 *
 *   spool: key record | key record | ...      a piece, sorted
 *          key record | ...                   the next piece
 *
 * (1) Pieces are numbered in the order in which they were filled, and of equal keys the piece with the lower number comes first.
 * (2) The heap holds each piece that has a record left, the least key on top.
 */
#include "core/spool-merge.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/spool.h"
#include "core/util.h"

#define READ_BYTES (16u << 10)

struct entry {
    uint64_t head;    /* the key's first bytes as a number */
    uint32_t at, len; /* in the bytes of the piece: key and record */
};

struct run {
    uint64_t begin, end; /* in the spool */
    struct spool_reader reader;
    const char *record; /* the one at hand, with its key */
    size_t len;
};

struct spool_merge {
    struct spool *spool;
    char *bytes; /* of the piece that is filled; the last record may lie behind SPOOL_PIECE_BYTES */
    size_t n_bytes;
    struct entry *entries;
    size_t n_entries, entries_size;
    struct run *runs;
    size_t n_runs;
    size_t *heap, n_heap; /* numbers of runs */
    bool is_taken;        /* the record on top was given away */
};

static int no_memory(struct err *err)
{
    return err_sys(err, -ENOMEM, "cannot sort");
}

int spool_merge_create(struct spool_merge **ret, struct err *err)
{
    struct spool_merge *m = calloc(1, sizeof(*m));
    if (!m)
        return no_memory(err);
    int r = spool_create(&m->spool, err);
    if (r < 0)
        spool_merge_destroy(m);
    else
        *ret = m;
    return r;
}

static void forget_piece(struct spool_merge *m)
{
    free(m->bytes);
    free(m->entries);
    m->bytes = NULL;
    m->entries = NULL;
    m->n_bytes = m->n_entries = m->entries_size = 0;
}

void spool_merge_destroy(struct spool_merge *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_runs; i++)
        spool_reader_finish(&m->runs[i].reader);
    forget_piece(m);
    spool_destroy(m->spool);
    free(m->runs);
    free(m->heap);
    free(m);
}

/* --- pieces ------------------------------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b, void *bytes)
{
    const struct entry *x = a, *y = b;
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    int by_key = memcmp((const char *)bytes + x->at, (const char *)bytes + y->at, SPOOL_KEY_BYTES);
    return by_key ? by_key : x->at < y->at ? -1 : x->at > y->at;
}

/* The piece becomes a run. */
static int store_piece(struct spool_merge *m, struct err *err)
{
    char *to;
    struct run *more = reallocarray(m->runs, m->n_runs + 1, sizeof(*more));
    if (!more)
        return no_memory(err);
    m->runs = more;
    struct run *run = &more[m->n_runs];
    *run = (struct run){.begin = spool_end(m->spool)};
    qsort_r(m->entries, m->n_entries, sizeof(*m->entries), compare_entries, m->bytes);
    for (size_t i = 0; i < m->n_entries; i++) {
        int r = spool_room(m->spool, m->entries[i].len, &to, err);
        if (r < 0)
            return r;
        memcpy(to, m->bytes + m->entries[i].at, m->entries[i].len);
        spool_commit(m->spool, m->entries[i].len);
    }
    run->end = spool_end(m->spool);
    m->n_runs++;
    m->n_bytes = m->n_entries = 0;
    return 0;
}

static int make_room(struct spool_merge *m, struct err *err)
{
    if (!m->bytes)
        m->bytes = malloc(SPOOL_PIECE_BYTES + SPOOL_RECORD_MAX);
    if (m->n_entries == m->entries_size) {
        size_t size = MAX(2 * m->entries_size, (size_t)1024);
        struct entry *more = reallocarray(m->entries, size, sizeof(*more));
        if (!more)
            return no_memory(err);
        m->entries = more;
        m->entries_size = size;
    }
    return m->bytes ? 0 : no_memory(err);
}

int spool_merge_room(struct spool_merge *m, size_t max, char **ret, struct err *err)
{
    assert(max <= SPOOL_RECORD_MAX - SPOOL_KEY_BYTES);
    int r = m->n_bytes >= SPOOL_PIECE_BYTES ? store_piece(m, err) : 0;
    if (r == 0)
        r = make_room(m, err);
    if (r == 0)
        *ret = m->bytes + m->n_bytes + SPOOL_KEY_BYTES;
    return r;
}

void spool_merge_commit(struct spool_merge *m, const char key[SPOOL_KEY_BYTES], size_t len)
{
    m->entries[m->n_entries++] =
        (struct entry){get_be64((const unsigned char *)key), (uint32_t)m->n_bytes, (uint32_t)(SPOOL_KEY_BYTES + len)};
    memcpy(m->bytes + m->n_bytes, key, SPOOL_KEY_BYTES);
    m->n_bytes += SPOOL_KEY_BYTES + len;
}

int spool_merge_put(struct spool_merge *m, const char key[SPOOL_KEY_BYTES], const void *record, size_t len,
                    struct err *err)
{
    char *to;
    int r = spool_merge_room(m, len, &to, err);
    if (r < 0)
        return r;
    memcpy(to, record, len);
    spool_merge_commit(m, key, len);
    return 0;
}

/* --- merging ------------------------------------------------------------------------------------------------------ */

static bool is_before(const struct spool_merge *m, size_t a, size_t b)
{
    int by_key = memcmp(m->runs[a].record, m->runs[b].record, SPOOL_KEY_BYTES);
    return by_key ? by_key < 0 : a < b;
}

static void sink(struct spool_merge *m, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        child += child + 1 < m->n_heap && is_before(m, m->heap[child + 1], m->heap[child]);
        if (!is_before(m, m->heap[child], m->heap[i]))
            return;
        size_t run = m->heap[i];
        m->heap[i] = m->heap[child];
        m->heap[child] = run;
    }
}

/* The next record of @run: 1; 0 when it has no more. */
static int advance(struct run *run, struct err *err)
{
    if (run->reader.place >= run->end)
        return 0;
    int r = spool_next(&run->reader, &run->record, &run->len, err);
    if (r > 0 && run->len >= SPOOL_KEY_BYTES)
        return 1;
    return r < 0 ? r : err_set(err, -EIO, "a temporary file does not hold what was written to it");
}

int spool_merge_begin(struct spool_merge *m, struct err *err)
{
    int r = m->n_entries > 0 ? store_piece(m, err) : 0;
    if (r < 0)
        return r;
    forget_piece(m);
    free(m->heap);
    m->heap = calloc(MAX(m->n_runs, (size_t)1), sizeof(*m->heap));
    m->n_heap = 0;
    m->is_taken = false;
    if (!m->heap)
        return no_memory(err);
    for (size_t i = 0; i < m->n_runs; i++) {
        spool_reader_finish(&m->runs[i].reader);
        spool_reader_init(&m->runs[i].reader, m->spool);
        m->runs[i].reader.place = m->runs[i].begin;
        m->runs[i].reader.buffer_bytes = READ_BYTES;
        r = advance(&m->runs[i], err);
        if (r < 0)
            return r;
        m->heap[m->n_heap++] = i; /* no run is empty */
    }
    for (size_t i = m->n_heap / 2; i-- > 0;)
        sink(m, i);
    return 0;
}

int spool_merge_next(struct spool_merge *m, const char **ret, size_t *ret_len, struct err *err)
{
    if (m->is_taken && m->n_heap > 0) {
        int r = advance(&m->runs[m->heap[0]], err);
        if (r < 0)
            return r;
        if (r == 0)
            m->heap[0] = m->heap[--m->n_heap];
        sink(m, 0);
    }
    m->is_taken = m->n_heap > 0;
    if (!m->is_taken)
        return 0;
    const struct run *top = &m->runs[m->heap[0]];
    *ret = top->record + SPOOL_KEY_BYTES;
    *ret_len = top->len - SPOOL_KEY_BYTES;
    return 1;
}
