/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which streams there are, and what is known of them before they are read; see capture.h. How one is read is in capture-stream.c. */
#include "backup/capture-priv.h"

#include <errno.h>
#include <string.h>

#include "backup/file-shape.h"
#include "core/util.h"

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
    if (stream_find_parent(c, &s.head.id, &parent, &s.parent) == 0) {
        int reused = reuse_version(c, &s, v, &parent);
        set_info_finish(&parent);
        if (reused)
            return put_shape(c, &s, &shape, err);
    }
    s.whole = hash_create();
    if (!s.whole)
        return err_sys(err, -ENOMEM, "cannot back up image '%s'", v->row.image);
    r = stream_run(&s, look_at_version, err);
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
    if (stream_find_parent(c, &s.head.id, &parent, &s.parent) == 0)
        set_info_finish(&parent);
    use_changes(&s, o);
    int r = stream_run(&s, look_at_overlay, err);
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
    return s.whole ? stream_run(&s, NULL, err) : err_sys(err, -ENOMEM, "cannot back up the catalog");
}
