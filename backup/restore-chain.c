/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests on top of each other; see restore-chain.h. */
#include "backup/restore-chain.h"

#include <errno.h>
#include <string.h>

#include "core/util.h"

struct chain {
    struct manifest_map *maps[CHAIN_MAX]; /* the topmost first */
    unsigned n;
    uint64_t data_bytes;
};

static uint64_t chunks_of(const struct manifest_head *h)
{
    return (h->size_bytes + h->chunk_bytes - 1) / h->chunk_bytes;
}

static size_t len_of(const struct manifest_head *h, uint64_t n)
{
    return (size_t)MIN((uint64_t)h->chunk_bytes, h->size_bytes - n * h->chunk_bytes);
}

const struct manifest_head *chain_head(const struct chain *c)
{
    return manifest_map_head(c->maps[0]);
}

const struct manifest_tail *chain_tail(const struct chain *c)
{
    return manifest_map_tail(c->maps[0]);
}

uint64_t chain_chunks(const struct chain *c)
{
    return chunks_of(chain_head(c));
}

uint64_t chain_data_bytes(const struct chain *c)
{
    return c->data_bytes;
}

size_t chain_len(const struct chain *c, uint64_t n)
{
    return len_of(chain_head(c), n);
}

void chain_close(struct chain *c)
{
    for (unsigned i = 0; c && i < c->n; i++)
        manifest_map_destroy(c->maps[i]);
    free(c);
}

/* --- open -------------------------------------------------------------------------------------------------------- */

/* One line of a manifest into its tree. 0; 1: the chunk is missing; a negative errno. */
static int add_line(struct reader *r, const struct manifest_map *m, struct manifest_tree *tree, uint64_t n,
                    uint64_t *ret_count, struct err *err)
{
    struct chunk_name name;
    struct chunk_ref ref;
    char text[CHUNK_NAME_LEN + 1], stream[NAME_LEN + 16];
    const struct manifest_head *h = manifest_map_head(m);
    int kind = manifest_map_find(m, n, &name, ret_count);
    if (kind == MANIFEST_END)
        return 0;
    if (kind == MANIFEST_INHERIT)
        return manifest_tree_inherit(tree, n, *ret_count);
    stream_id_text(&h->id, stream);
    (void)chunk_name_text(&name, text);
    int has = reader_has(r, &name, &ref);
    if (has < 0 && has != -ENOENT)
        return err_sys(err, has, "cannot look for the chunks of %s", stream);
    if (has < 0) {
        const char *problems = index_problems(reader_index(r));
        (void)err_set(err, -EBADMSG, "%s is not complete: chunk %s is in no pack that can be read%s%.500s", stream,
                      text, *problems ? ": " : "", problems);
        return 1;
    }
    if (ref.len != len_of(h, n))
        return err_set(err, -EBADMSG, "%s: chunk %s has %u bytes where %zu are expected", stream, text, ref.len,
                       len_of(h, n));
    return manifest_tree_chunk(tree, n, ref.sha256);
}

static int check_tree(struct reader *r, const struct manifest_map *m, uint64_t *missing, struct err *err)
{
    _cleanup_(manifest_tree_destroyp) struct manifest_tree *tree = manifest_tree_create();
    const struct manifest_head *h = manifest_map_head(m);
    unsigned char found[32];
    uint64_t lost = 0;
    if (!tree)
        return err_sys(err, -ENOMEM, "cannot check a manifest");
    for (uint64_t n = 0, count; n < chunks_of(h); n += count) {
        int e = add_line(r, m, tree, n, &count, err);
        lost += e == 1;
        if (e < 0 || (e == 1 && !missing))
            return e < 0 ? e : -EBADMSG;
    }
    int e = manifest_tree_finish(tree, found);
    if (e < 0)
        return err_sys(err, e, "cannot check a manifest");
    if (missing)
        *missing += lost;
    if (lost == 0 && memcmp(found, manifest_map_tail(m)->tree_sha256, sizeof(found)) != 0) {
        char stream[NAME_LEN + 16];
        stream_id_text(&h->id, stream);
        return err_set(err, -EBADMSG,
                       "%s: the chunks in the repository are not those that were backed up (the tree of "
                       "SHA-256 differs)",
                       stream);
    }
    return 0;
}

static bool is_in(const struct chain *c, const struct stream_id *id)
{
    for (unsigned i = 0; i < c->n; i++)
        if (stream_id_equal(&manifest_map_head(c->maps[i])->id, id))
            return true;
    return false;
}

static int add_stream(struct chain *c, struct reader *r, const struct set_info *s, const struct stream_id *id,
                      uint64_t *missing, struct err *err)
{
    char stream[NAME_LEN + 16], what[SET_ID_LEN + MANIFEST_NAME_LEN + 8], file[MANIFEST_NAME_LEN + 1];
    stream_id_text(id, stream);
    stream_file_name(id, file);
    (void)snprintf(what, sizeof(what), "%s/%s", s->id, file); /* fits */
    if (c->n == CHAIN_MAX || is_in(c, id))
        return err_set(err, -EBADMSG, "set %s: %s lies over itself or over too many others", s->id, stream);
    int fd = set_manifest_fd(reader_repo(r), s, id, err);
    if (fd < 0)
        return fd;
    int e = manifest_map_load(fd, what, &c->maps[c->n], err);
    if (e < 0)
        return e;
    c->n++;
    const struct manifest_head *h = manifest_map_head(c->maps[c->n - 1]);
    if (strcmp(h->repo, repo_format(reader_repo(r))->id) != 0 || !stream_id_equal(&h->id, id) ||
        h->chunk_bytes != repo_format(reader_repo(r))->chunk_bytes)
        return err_set(err, -EBADMSG, "the manifest '%s' is of another repository or stream", what);
    return check_tree(r, c->maps[c->n - 1], missing, err);
}

static void count_data(struct chain *c)
{
    struct chunk_name name;
    for (uint64_t n = 0, count; n < chain_chunks(c); n += count)
        if (chain_find(c, n, &name, &count, NULL) == CHAIN_DATA)
            c->data_bytes += chain_len(c, n);
}

int chain_open(struct reader *r, const struct set_info *s, const struct stream_id *id, uint64_t *ret_missing,
               struct chain **ret, struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = calloc(1, sizeof(*c));
    struct stream_id next = *id;
    if (!c)
        return err_sys(err, -ENOMEM, "cannot open a set");
    if (ret_missing)
        *ret_missing = 0;
    for (bool more = true; more;) {
        int e = add_stream(c, r, s, &next, ret_missing, err);
        if (e < 0)
            return e;
        const struct manifest_head *h = manifest_map_head(c->maps[c->n - 1]);
        more = h->has_backing;
        next = h->backing;
    }
    count_data(c);
    *ret = take_ptr(c);
    return 0;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

enum chain_kind chain_find(const struct chain *c, uint64_t n, struct chunk_name *ret_name, uint64_t *ret_count,
                           unsigned *ret_depth)
{
    uint64_t run = chain_chunks(c) - n;
    unsigned depth = 0;
    for (; depth < c->n; depth++) {
        uint64_t count, chunks = chunks_of(manifest_map_head(c->maps[depth]));
        if (n >= chunks) /* what lies below is shorter: zeros */
            break;
        int kind = manifest_map_find(c->maps[depth], n, ret_name, &count);
        run = MIN(run, count);
        if (kind == MANIFEST_INHERIT)
            continue;
        *ret_count = run;
        if (ret_depth)
            *ret_depth = depth;
        return kind == MANIFEST_CHUNK ? CHAIN_DATA : CHAIN_ZERO;
    }
    *ret_count = run;
    if (ret_depth)
        *ret_depth = depth;
    return CHAIN_ZERO;
}

int chain_read(const struct chain *c, struct reader_worker *w, uint64_t n, void *buf, bool is_strict, struct err *err)
{
    struct chunk_name name;
    struct chunk_ref ref;
    uint64_t count;
    unsigned depth;
    size_t len = chain_len(c, n);
    if (chain_find(c, n, &name, &count, &depth) == CHAIN_ZERO) {
        memset(buf, 0, len);
        return CHAIN_ZERO;
    }
    int r = reader_get(w, &name, buf, is_strict ? &ref : NULL, err);
    if (r < 0)
        return r;
    size_t have = len_of(manifest_map_head(c->maps[depth]), n); /* checked when it was opened */
    if (have < len)
        memset((char *)buf + have, 0, len - have);
    return CHAIN_DATA;
}

bool chain_matches(const struct chain *c, struct reader *r, uint64_t n, const void *buf, bool is_strict)
{
    struct chunk_name name;
    struct chunk_ref ref;
    uint64_t count;
    unsigned depth;
    unsigned char xxh[16], sha256[32];
    size_t len = chain_len(c, n);
    if (chain_find(c, n, &name, &count, &depth) == CHAIN_ZERO)
        return is_zero(buf, len);
    size_t have = MIN(len_of(manifest_map_head(c->maps[depth]), n), len);
    chunk_hash(buf, have, xxh);
    if (memcmp(xxh, name.xxh, sizeof(xxh)) != 0 || !is_zero((const char *)buf + have, len - have))
        return false;
    return !is_strict || (reader_has(r, &name, &ref) == 0 && sha256_buf(buf, have, sha256) == 0 &&
                          memcmp(sha256, ref.sha256, sizeof(sha256)) == 0);
}
