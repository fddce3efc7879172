/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunk by chunk through a stream; see capture.h. */
#include "backup/capture-priv.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- results ----------------------------------------------------------------------------------------------------- */

static void count_read(struct capture *c, const struct pipe_item *i)
{
    c->counts.read_bytes += i->len;
    switch (i->result) {
    case STORE_ZERO:
        c->counts.zero++;
        break;
    case STORE_KNOWN:
        c->counts.known++;
        break;
    case STORE_COLLISION:
        c->counts.collisions++;
        c->counts.fresh++;
        break;
    case STORE_NEW:
        c->counts.fresh++;
    }
}

static bool is_as_expected(const struct pipe_item *i)
{
    if (!i->has_hint)
        return i->result == STORE_ZERO;
    return i->result != STORE_ZERO && i->ref.len == i->hint.len &&
           memcmp(i->ref.sha256, i->hint.sha256, sizeof(i->hint.sha256)) == 0;
}

static int put_read(struct stream *s, const struct pipe_item *i, struct err *err)
{
    count_read(s->c, i);
    s->c->counts.mended += i->is_mended;
    if (i->is_expected && !is_as_expected(i))
        s->c->counts.mismatches++;
    if (s->whole)
        hash_update(s->whole, i->buf, i->len);
    if (i->result == STORE_ZERO)
        return 0;
    return manifest_add(s->out, i->n, &i->ref, err);
}

static int done(void *arg, const struct pipe_item *i, struct err *err)
{
    struct stream *s = arg;
    uint64_t chunk = s->head.chunk_bytes;
    switch (i->kind) {
    case PIPE_READ:
        s->c->progress(s->c->arg, i->len);
        return put_read(s, i, err);
    case PIPE_KNOWN:
        s->c->progress(s->c->arg, i->len);
        s->c->counts.mapped++;
        return manifest_add(s->out, i->n, &i->ref, err);
    case PIPE_INHERIT:
        s->c->counts.inherited += i->count;
        return manifest_inherit(s->out, i->n, i->count, err);
    case PIPE_ZERO:
        s->c->counts.zero += i->count;
        if (s->whole)
            hash_update_zeros(s->whole, MIN(i->count * chunk, s->head.size_bytes - i->n * chunk));
    }
    return 0;
}

static int read_chunk(void *arg, void *buf, size_t len, uint64_t off, struct err *err)
{
    const struct stream *s = arg;
    if (!s->bytes)
        return source_read(&s->source, buf, len, off, err);
    memcpy(buf, s->bytes + off, len);
    return 0;
}

/* --- chunks ------------------------------------------------------------------------------------------------------ */

/* What the parent has at chunk @n: MANIFEST_CHUNK and *ret, MANIFEST_INHERIT, MANIFEST_END for zeros; -ENOENT: no parent, or its chunk is
 * not in the repository any more. */
static int parent_chunk(const struct stream *s, uint64_t n, struct chunk_ref *ret)
{
    struct chunk_name name;
    uint64_t count;
    int r = s->parent ? manifest_map_find(s->parent, n, &name, &count) : -ENOENT;
    return r == MANIFEST_CHUNK && store_has(s->c->store, &name, ret) < 0 ? -ENOENT : r;
}

/* 1: something in it may have changed since the parent set; 0; a negative errno. */
static int has_changed(struct stream *s, const struct pipe_item *i)
{
    uint64_t n, end = i->off + i->len;
    if (end <= s->same_until)
        return 0;
    int r = changes_unchanged(s->changes, s->since, i->off, s->head.size_bytes - i->off, &n);
    if (r < 0)
        return r;
    s->same_until = i->off + n;
    return end > s->same_until;
}

/* A chunk with data in it. */
static int plan_data(struct stream *s, struct pipe_item *i, struct err *err)
{
    int parent = parent_chunk(s, i->n, &i->hint);
    i->kind = PIPE_READ;
    i->has_hint = parent == MANIFEST_CHUNK && i->hint.len == i->len;
    if (!s->changes || parent < 0 || parent == MANIFEST_INHERIT)
        return 0;
    int changed = has_changed(s, i);
    if (changed < 0)
        return err_sys(err, changed, "cannot read the change map of '%s'", s->head.id.name);
    if (changed)
        return 0;
    i->is_expected = parent == MANIFEST_END || i->has_hint;
    if (s->is_checking || !i->is_expected)
        return 0;
    i->kind = i->has_hint ? PIPE_KNOWN : PIPE_ZERO;
    i->ref = i->hint;
    return 0;
}

/* The next chunk, or run of chunks, from @i->n on. */
static int plan(struct stream *s, struct pipe_item *i, struct err *err)
{
    uint64_t size = s->head.size_bytes, chunk = s->head.chunk_bytes, len = 0;
    enum source_run run = SOURCE_DATA;
    i->off = i->n * chunk;
    i->len = (size_t)MIN(chunk, size - i->off);
    i->count = 1;
    if (s->bytes || i->off + i->len <= s->data_until)
        return plan_data(s, i, err);
    int r = source_look(&s->source, i->off, size - i->off, &run, &len, err);
    if (r < 0)
        return r;
    if (run == SOURCE_DATA)
        s->data_until = i->off + len;
    if (run == SOURCE_DATA || len < i->len)
        return plan_data(s, i, err);
    i->kind = run == SOURCE_ZERO ? PIPE_ZERO : PIPE_INHERIT;
    i->count = i->off + len == size ? (len + chunk - 1) / chunk : len / chunk;
    return 0;
}

static int push_all(struct stream *s, struct err *err)
{
    const struct pipe_stream stream = {.read = read_chunk, .done = done, .arg = s, .is_paranoid = s->c->is_paranoid};
    uint64_t end = (s->head.size_bytes + s->head.chunk_bytes - 1) / s->head.chunk_bytes;
    int r = 0;
    for (uint64_t n = 0; n < end && r == 0;) {
        struct pipe_item item = {.n = n};
        r = *s->c->stop ? err_set(err, -EINTR, "stopped by a signal; what was stored is used by the next backup") : 0;
        if (r == 0)
            r = plan(s, &item, err);
        if (r == 0)
            r = pipe_push(s->c->pipe, &stream, &item, err);
        n += item.count;
    }
    if (r == 0)
        return pipe_drain(s->c->pipe, err);
    pipe_reset(s->c->pipe);
    return r;
}

/* --- a stream ---------------------------------------------------------------------------------------------------- */

static int end_stream(struct stream *s, struct err *err)
{
    char hex[HASH_HEX_LEN + 1];
    if (s->whole)
        hash_hex(s->whole, hex);
    return set_manifest_end(s->c->set, take_ptr(s->out), s->whole ? hex : NULL, NULL, err);
}

int stream_run(struct stream *s, last_look *look, struct err *err)
{
    int r = set_manifest_begin(s->c->set, &s->head, &s->out, err);
    if (r < 0)
        return r;
    r = push_all(s, err);
    if (r == 0 && look)
        r = look(s, err);
    if (r == 0)
        return end_stream(s, err);
    pipe_reset(s->c->pipe);
    set_manifest_drop(s->c->set, take_ptr(s->out));
    return r;
}

int stream_find_parent(const struct capture *c, const struct stream_id *id, struct set_info *ret_set,
                       struct manifest_map **ret)
{
    struct err ignored;
    int r = set_newest_with(c->repo, id, ret_set, &ignored);
    if (r < 0)
        return r;
    int fd = set_manifest_fd(c->repo, ret_set, id, &ignored);
    r = fd < 0 ? fd : manifest_map_load(fd, ret_set->id, ret, &ignored);
    if (r < 0) {
        if (fd >= 0)
            (void)close(fd); /* a reader */
        set_info_finish(ret_set);
    }
    return r;
}

void stream_finish(struct stream *s)
{
    manifest_map_destroy(s->parent);
    hash_destroy(s->whole);
}
