/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The quick step: sets by their check sums, manifests by theirs, chunks by the index. And the image step: whole disks. */
#include "backup/verify-priv.h"

#include <errno.h>
#include <string.h>

#include "backup/restore-chain.h"

/* --- one manifest ------------------------------------------------------------------------------------------------ */

struct look {
    struct verify *v;
    struct verify_set *set;
    uint64_t chunks, missing;
};

static size_t pack_place(const struct verify *v, uint32_t number)
{
    size_t n, low = 0;
    const struct pack_id *packs = index_packs(reader_index(v->reader), &n);
    for (size_t high = n; low < high;) { /* by rising number */
        size_t mid = low + (high - low) / 2;
        if (packs[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int look_at_line(struct look *l, const struct manifest_line *line, int kind, struct manifest_tree *tree)
{
    struct chunk_place place;
    if (kind == MANIFEST_INHERIT)
        return manifest_tree_inherit(tree, line->n, line->count);
    l->chunks++;
    int r = index_find(reader_index(l->v->reader), &line->name, &place);
    if (r < 0) {
        l->missing++;
        return r == -ENOENT ? 0 : r; /* the index's own file cannot be read: that says nothing about the chunk */
    }
    l->set->packs[pack_place(l->v, place.pack)] = 1;
    return manifest_tree_chunk(tree, line->n, place.ref.sha256);
}

/* 0; -EBADMSG with a sentence: the manifest is damaged; another negative errno. */
static int look_at_stream(struct look *l, const struct stream_id *id, struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = NULL;
    _cleanup_(manifest_tree_destroyp) struct manifest_tree *tree = manifest_tree_create();
    struct manifest_line line;
    unsigned char found[32];
    char text[NAME_LEN + 16];
    int kind, r = set_manifest_open(reader_repo(l->v->reader), l->set->info, id, &m, err);
    if (r < 0)
        return r;
    if (!tree)
        return err_sys(err, -ENOMEM, "cannot check a manifest");
    while ((kind = manifest_next(m, &line, err)) > MANIFEST_END)
        if ((r = look_at_line(l, &line, kind, tree)) < 0)
            return err_sys(err, r, "cannot check a manifest");
    if (kind < 0)
        return kind;
    r = manifest_tree_finish(tree, found);
    if (r < 0)
        return err_sys(err, r, "cannot check a manifest");
    stream_id_text(id, text);
    if (l->missing == 0 && memcmp(found, manifest_tail(m)->tree_sha256, sizeof(found)) != 0)
        return err_set(err, -EBADMSG,
                       "%s: the chunks in the repository are not those that were backed up (the tree of "
                       "SHA-256 differs)",
                       text);
    return 0;
}

static bool is_damage(int r)
{
    return r == -EBADMSG || r == -EOPNOTSUPP || r == -ENOENT || r == -EIO;
}

static int look_at_streams(struct verify *v, struct verify_set *s, bool is_again, struct err *err)
{
    for (size_t i = 0; i < s->info->n_streams; i++) {
        struct look l = {.v = v, .set = s};
        struct err why;
        char text[NAME_LEN + 16];
        const struct stream_id *id = &s->info->streams[i].id;
        int r = look_at_stream(&l, id, &why);
        if (r < 0 && !is_damage(r)) {
            *err = why;
            return r;
        }
        if (v->work->stop && *v->work->stop)
            return err_set(err, -EINTR, "stopped by a signal");
        stream_id_text(id, text);
        s->is_damaged |= r < 0 || l.missing > 0;
        if (!is_again) {
            v->report->manifest_chunks += l.chunks;
            if (r < 0)
                verify_problem(v, "set %s: %s", s->info->id, why.msg);
        }
        if (l.missing > 0)
            (void)json_array_append_new(v->report->affected,
                                        json_pack("{ss ss sI}", "set", s->info->id, "stream", text, "chunks",
                                                  (json_int_t)l.missing)); /* missing without memory; the count stays */
    }
    return 0;
}

/* --- all sets ---------------------------------------------------------------------------------------------------- */

static int look_at_set(struct verify *v, struct verify_set *s, struct err *err)
{
    struct err why;
    struct repo *repo = reader_repo(v->reader);
    if (s->info->problem) {
        s->is_damaged = true;
        verify_problem(v, "%s", s->info->reason.msg);
        return 0;
    }
    int r = set_check_sums(repo, s->info->id, &why);
    if (r == 0 && v->p->key_file) {
        r = set_check_signature(repo, s->info->id, v->p->key_file, err);
        if (r < 0)
            return r;
    }
    if (r < 0) {
        s->is_damaged = true;
        verify_problem(v, "%s", why.msg);
    }
    return look_at_streams(v, s, false, err);
}

int verify_sets(struct verify *v, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < v->n_sets; i++)
        r = look_at_set(v, &v->sets[i], err);
    v->report->sets = v->n_sets;
    return r;
}

int verify_affected(struct verify *v, struct err *err)
{
    int r = json_array_clear(v->report->affected);
    for (size_t i = 0; r == 0 && i < v->n_sets; i++)
        if (!v->sets[i].info->problem)
            r = look_at_streams(v, &v->sets[i], true, err);
    return r;
}

/* --- whole disks ------------------------------------------------------------------------------------------------- */

struct assemble {
    struct verify *v;
    struct chain *chain;
    struct hash *hash; /* NULL: none was recorded, then several threads may read */
    _Atomic uint64_t done;
};

static int read_piece(void *arg, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    struct assemble *a = arg;
    size_t len = chain_len(a->chain, n);
    int kind = chain_read(a->chain, w, n, buf, true, err);
    if (kind < 0)
        return kind;
    if (a->hash)
        hash_update(a->hash, buf, len);
    if (kind == CHAIN_DATA)
        a->done += len;
    return 0;
}

static int assemble(struct verify *v, const struct set_info *s, const struct stream_id *id, struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = NULL;
    _cleanup_(hash_destroyp) struct hash *hash = NULL;
    char found[HASH_HEX_LEN + 1], text[NAME_LEN + 16];
    int r = chain_open(v->reader, s, id, NULL, &c, err);
    if (r < 0)
        return r;
    const char *expected = chain_tail(c)->image_xxh128;
    struct work work = *v->work;
    if (*expected) {
        hash = hash_create();
        work.threads = 1; /* one number after the other */
        if (!hash)
            return err_sys(err, -ENOMEM, "cannot check a disk");
    }
    struct assemble a = {.v = v, .chain = c, .hash = hash};
    const struct crew_job job = {.work = &work,
                                 .reader = v->reader,
                                 .n = chain_chunks(c),
                                 .step = read_piece,
                                 .arg = &a,
                                 .what = "putting disks together",
                                 .done_bytes = &a.done,
                                 .total_bytes = chain_data_bytes(c)};
    r = crew_run(&job, err);
    if (r < 0)
        return r;
    v->report->disks++;
    v->report->disk_bytes += chain_head(c)->size_bytes;
    if (!hash)
        return 0;
    hash_hex(hash, found);
    stream_id_text(id, text);
    return strcmp(found, expected) == 0
               ? 0
               : err_set(err, -EBADMSG, "%s: the XXH3-128 of the disk is %s, and %s was backed up", text, found,
                         expected);
}

int verify_images(struct verify *v, const struct verify_set *s, struct err *err)
{
    for (size_t i = 0; i < s->info->n_streams; i++) {
        struct err why;
        int r = assemble(v, s->info, &s->info->streams[i].id, &why);
        if (r < 0 && !is_damage(r)) {
            *err = why;
            return r;
        }
        if (r < 0)
            verify_problem(v, "set %s: %s", s->info->id, why.msg);
    }
    return 0;
}
