/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A manifest in memory, for random access: its lines in order, found by bisection. */
#include "backup/manifest-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* Numbers above 32 bits are refused: that is a disk of 256 TB in the smallest chunks. */
struct row {
    uint32_t n, count;
    uint32_t suffix; /* INHERIT, or of the chunk */
    unsigned char xxh[16];
};

#define INHERIT UINT32_MAX

struct manifest_map {
    struct manifest_head head;
    struct manifest_tail tail;
    struct row *rows;
    size_t n, room;
};

static int add_row(struct manifest_map *m, const struct manifest_line *line, int kind)
{
    if (m->n == m->room) {
        size_t room = m->room ? m->room + m->room / 2 : 1024;
        struct row *more = reallocarray(m->rows, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        m->rows = more;
        m->room = room;
    }
    struct row *r = &m->rows[m->n++];
    *r = (struct row){.n = (uint32_t)line->n, .count = (uint32_t)line->count, .suffix = INHERIT};
    if (kind == MANIFEST_CHUNK) {
        r->suffix = line->name.suffix;
        memcpy(r->xxh, line->name.xxh, sizeof(r->xxh));
    }
    return 0;
}

int manifest_map_load(int fd, const char *what, struct manifest_map **ret, struct err *err)
{
    _cleanup_(manifest_map_destroyp) struct manifest_map *m = calloc(1, sizeof(*m));
    struct manifest_reader *reader;
    struct manifest_line line;
    if (!m) {
        (void)close(fd); /* read only */
        return err_set(err, -ENOMEM, "memory is out");
    }
    int kind, r = manifest_open(fd, what, &reader, err);
    if (r < 0)
        return r;
    m->head = *manifest_head(reader);
    if (head_chunks(&m->head) > UINT32_MAX - 1)
        r = err_set(err, -EOPNOTSUPP, "%s is of a disk that is too large", what);
    while (r == 0 && (kind = manifest_next(reader, &line, err)) != MANIFEST_END) {
        r = kind < 0 ? kind : add_row(m, &line, kind);
        if (r == -ENOMEM)
            err_set(err, r, "memory is out");
    }
    if (r < 0) {
        manifest_close(reader);
        return r;
    }
    m->tail = *manifest_tail(reader);
    manifest_close(reader);
    *ret = take_ptr(m);
    return 0;
}

void manifest_map_destroy(struct manifest_map *m)
{
    if (m)
        free(m->rows);
    free(m);
}

const struct manifest_head *manifest_map_head(const struct manifest_map *m)
{
    return &m->head;
}

const struct manifest_tail *manifest_map_tail(const struct manifest_map *m)
{
    return &m->tail;
}

int manifest_map_find(const struct manifest_map *m, uint64_t n, struct chunk_name *ret_name, uint64_t *ret_count)
{
    size_t low = 0, high = m->n; /* the first row that ends behind n */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uint64_t)m->rows[mid].n + m->rows[mid].count <= n)
            low = mid + 1;
        else
            high = mid;
    }
    const struct row *r = low < m->n ? &m->rows[low] : NULL;
    if (!r || r->n > n) {
        *ret_count = (r ? r->n : head_chunks(&m->head)) - n;
        return MANIFEST_END;
    }
    *ret_count = r->n + r->count - n;
    if (r->suffix == INHERIT)
        return MANIFEST_INHERIT;
    ret_name->suffix = r->suffix;
    memcpy(ret_name->xxh, r->xxh, sizeof(ret_name->xxh));
    return MANIFEST_CHUNK;
}
