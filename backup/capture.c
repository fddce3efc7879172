/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunk by chunk through a stream; see capture.h. */
#include "backup/capture.h"

#include <errno.h>
#include <string.h>

#include "backup/file-shape.h"
#include "core/util.h"

struct stream {
    struct capture *c;
    struct source source;
    struct manifest_head head;
    struct manifest_writer *out;
    struct manifest_map *parent;        /* NULL: none */
    const struct changes_look *changes; /* with a parent that it fits: what did not change after `since` */
    uint32_t since;
    bool is_checking; /* all is read, and the change map compared */
    struct hash *whole;
    const char *bytes;   /* a stream in memory instead of a source */
    uint64_t data_until; /* from where we are to there is nothing but data */
};

static void stream_finish(struct stream *s)
{
    manifest_map_destroy(s->parent);
    hash_destroy(s->whole);
}

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

/* A chunk with data in it. */
static int plan_data(const struct stream *s, struct pipe_item *i, struct err *err)
{
    int parent = parent_chunk(s, i->n, &i->hint);
    i->kind = PIPE_READ;
    i->has_hint = parent == MANIFEST_CHUNK && i->hint.len == i->len;
    if (!s->changes || parent < 0 || parent == MANIFEST_INHERIT)
        return 0;
    int changed = changes_since(s->changes, s->since, i->off, i->len);
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

/* What is true only once all is read. */
typedef int last_look(const struct stream *s, struct err *err);

static int end_stream(struct stream *s, struct err *err)
{
    char hex[HASH_HEX_LEN + 1];
    if (s->whole)
        hash_hex(s->whole, hex);
    return set_manifest_end(s->c->set, take_ptr(s->out), s->whole ? hex : NULL, NULL, err);
}

static int run_stream(struct stream *s, last_look *look, struct err *err)
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

/* The newest set with this stream, and its manifest. No failure: without a parent everything is read. */
static int find_parent(const struct capture *c, const struct stream_id *id, struct set_info *ret_set,
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

/* --- versions ---------------------------------------------------------------------------------------------------- */

static int look_at_version(const struct stream *s, struct err *err)
{
    const struct version_file *v = s->source.file;
    if (!version_file_has_changed(v))
        return 0;
    return err_set(err, -ESTALE, "'%s' of image '%s' version %u was changed while it was read", v->path, v->row.image,
                   v->row.number);
}

static void check_full_hash(const struct stream *s)
{
    const struct version_file *v = s->source.file;
    char hex[HASH_HEX_LEN + 1];
    struct err e;
    hash_hex(s->whole, hex);
    if (!v->row.full_hash[0] || v->info.data_bytes != v->info.size_bytes || strcmp(hex, v->row.full_hash) == 0)
        return;
    (void)err_set(
        &e, 0,
        "the content of image '%s' version %u is not what was recorded; it is in the backup as it is now; see "
        "'diskgate image check %s'",
        v->row.image, v->row.number, v->row.image);
    s->c->warn(s->c->arg, e.msg);
}

/* 1: the parent's stream was taken over. */
static int reuse_version(struct capture *c, struct stream *s, const struct version_file *v,
                         const struct set_info *parent)
{
    struct err why;
    const struct manifest_head *head = manifest_map_head(s->parent);
    if (c->is_full || !v->identity[0] || strcmp(head->identity, v->identity) != 0 ||
        head->size_bytes != s->head.size_bytes || head->chunk_bytes != s->head.chunk_bytes)
        return 0;
    if (set_reuse(c->set, parent, &s->head.id, &why) < 0)
        return 0; /* a chunk of it is missing: reading it again mends that */
    c->counts.reused++;
    c->progress(c->arg, source_estimate(&s->source));
    return 1;
}

/* The version's message in one line. */
static void label_of(const struct version_file *v, char *ret)
{
    (void)snprintf(ret, MANIFEST_TEXT_LEN + 1, "%s", v->row.comment); /* cut is better than none */
    for (char *p = ret; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

/* Sets have the disk; what else the file has is kept beside it. */
static int read_shape(const struct version_file *v, struct file_shape *ret, struct err *err)
{
    uint64_t behind = v->info.file_bytes - MIN(v->info.data_bytes, v->info.file_bytes);
    *ret = (struct file_shape){.data_bytes = v->info.data_bytes};
    if (behind == 0 || behind > FILE_TAIL_MAX)
        return 0;
    ret->tail_len = (size_t)behind;
    int r = pread_full(v->fd, ret->tail, ret->tail_len, v->info.data_bytes);
    if (r == 0)
        return 0;
    (void)err_sys(err, r, "cannot read '%s' at byte %llu", v->path, (unsigned long long)v->info.data_bytes);
    return -EREMOTEIO;
}

static int put_shape(struct capture *c, const struct stream *s, const struct file_shape *shape, struct err *err)
{
    if (shape->tail_len == 0 && shape->data_bytes == s->head.size_bytes)
        return 0;
    return file_shape_put(c->set, &s->head.id, shape, err);
}

int capture_version(struct capture *c, const struct version_file *v, struct err *err)
{
    _cleanup_(stream_finish) struct stream s = {.c = c, .head = {.size_bytes = v->info.size_bytes}};
    struct set_info parent;
    struct file_shape shape;
    s.head.chunk_bytes = repo_format(c->repo)->chunk_bytes;
    source_of_version(&s.source, v);
    scope_version_stream(&v->row, &s.head.id);
    memcpy(s.head.identity, v->identity, sizeof(s.head.identity));
    label_of(v, s.head.label);
    (void)snprintf(s.head.source, sizeof(s.head.source), "scan");
    int r = read_shape(v, &shape, err);
    if (r == 0)
        r = look_at_version(&s, err); /* what is taken over is not looked at again */
    if (r < 0)
        return r;
    if (find_parent(c, &s.head.id, &parent, &s.parent) == 0) {
        int reused = reuse_version(c, &s, v, &parent);
        set_info_finish(&parent);
        if (reused)
            return put_shape(c, &s, &shape, err);
    }
    s.whole = hash_create();
    if (!s.whole)
        return err_sys(err, -ENOMEM, "cannot back up image '%s'", v->row.image);
    r = run_stream(&s, look_at_version, err);
    if (r == 0)
        check_full_hash(&s);
    return r < 0 ? r : put_shape(c, &s, &shape, err);
}

/* --- overlays ---------------------------------------------------------------------------------------------------- */

static int look_at_overlay(const struct stream *s, struct err *err)
{
    return still_check(s->source.still, err);
}

/* How many sets in a row relied on the change map. */
static unsigned map_count(const struct manifest_head *head)
{
    unsigned n;
    return sscanf(head->source, "map %u", &n) == 1 ? n : 0;
}

/* Does the parent say up to which epoch it read this very overlay? */
static void use_changes(struct stream *s, const struct still_overlay *o)
{
    const struct manifest_head *head = s->parent ? manifest_map_head(s->parent) : NULL;
    (void)snprintf(s->head.source, sizeof(s->head.source), "scan");
    if (!head || !o->changes || !o->epoch_id[0] || strcmp(head->overlay_id, s->head.overlay_id) != 0 ||
        strcmp(head->epoch_id, o->epoch_id) != 0 || head->epoch == 0 || head->epoch > o->epoch ||
        head->size_bytes != s->head.size_bytes || head->chunk_bytes != s->head.chunk_bytes)
        return;
    s->changes = o->changes;
    s->since = (uint32_t)head->epoch;
    s->is_checking = s->c->is_full || map_count(head) >= CAPTURE_MAP_MAX;
    if (!s->is_checking)
        (void)snprintf(s->head.source, sizeof(s->head.source), "map %u", map_count(head) + 1);
}

int capture_overlay(struct capture *c, const struct still *still, const struct still_overlay *o,
                    const struct version_file *below, struct err *err)
{
    _cleanup_(stream_finish) struct stream s = {.c = c,
                                                .head = {.size_bytes = o->row->size_bytes, .has_backing = true}};
    struct set_info parent;
    struct err e;
    uint64_t missed = c->counts.mismatches;
    s.head.chunk_bytes = repo_format(c->repo)->chunk_bytes;
    source_of_overlay(&s.source, still, o, below);
    scope_view_stream(o->row, &s.head.id);
    scope_version_stream(&below->row, &s.head.backing);
    memcpy(s.head.overlay_id, o->row->overlay_id, sizeof(s.head.overlay_id));
    memcpy(s.head.epoch_id, o->epoch_id, sizeof(s.head.epoch_id));
    s.head.epoch = o->epoch;
    if (find_parent(c, &s.head.id, &parent, &s.parent) == 0)
        set_info_finish(&parent);
    use_changes(&s, o);
    int r = run_stream(&s, look_at_overlay, err);
    missed = c->counts.mismatches - missed;
    if (r == 0 && missed > 0) {
        (void)err_set(
            &e, 0,
            "client '%s' slot %u: the map of changes had missed %llu changed chunks; all of the disk was read "
            "now, so this backup is right, but the sets since the last full one may lack them",
            o->row->client, o->row->slot, (unsigned long long)missed);
        c->warn(c->arg, e.msg);
    }
    return r;
}

int capture_catalog(struct capture *c, const void *buf, size_t len, struct err *err)
{
    _cleanup_(stream_finish) struct stream s = {
        .c = c, .head = {.id = {.kind = STREAM_CATALOG, .name = "catalog"}, .size_bytes = len}, .bytes = buf};
    s.head.chunk_bytes = repo_format(c->repo)->chunk_bytes;
    (void)snprintf(s.head.source, sizeof(s.head.source), "scan");
    s.whole = hash_create();
    return s.whole ? run_stream(&s, NULL, err) : err_sys(err, -ENOMEM, "cannot back up the catalog");
}
