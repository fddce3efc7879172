/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing a manifest: lines go through the check sum and zstd to the file as they come; memory does not grow with the disk. */
#include "backup/manifest-priv.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "core/util.h"

#define BUF_BYTES (64U * 1024U)
#define LEVEL     3

struct manifest_writer {
    int fd;
    char *what;
    struct manifest_head head;
    struct manifest_tail tail;
    ZSTD_CCtx *zstd;
    struct hash *hash;
    struct manifest_tree *tree;
    uint64_t lines, next;    /* the first chunk number that may come */
    uint64_t run, run_count; /* of "inherit", not written yet */
    size_t used;
    char in[BUF_BYTES], out[BUF_BYTES];
    int failed;
};

/* --- the tree ------------------------------------------------------------------------------------------------------ */

struct manifest_tree {
    struct sha256 *sha256;
    uint64_t run, run_count;
};

struct manifest_tree *manifest_tree_create(void)
{
    _cleanup_(manifest_tree_destroyp) struct manifest_tree *t = calloc(1, sizeof(*t));
    if (t)
        t->sha256 = sha256_create();
    return t && t->sha256 ? take_ptr(t) : NULL;
}

void manifest_tree_destroy(struct manifest_tree *t)
{
    if (t)
        sha256_destroy(t->sha256);
    free(t);
}

/* "17-40 inherit", or "17 inherit" for one. Returns the length. */
static size_t inherit_text(uint64_t n, uint64_t count, char *ret, size_t room)
{
    return (size_t)(count == 1 ? snprintf(ret, room, "%" PRIu64 " inherit\n", n)
                               : snprintf(ret, room, "%" PRIu64 "-%" PRIu64 " inherit\n", n, n + count - 1));
}

/* Runs are joined as in the manifest, so it does not matter how a reader cuts them. */
static int tree_end_run(struct manifest_tree *t)
{
    char line[64];
    if (t->run_count == 0)
        return 0;
    size_t len = inherit_text(t->run, t->run_count, line, sizeof(line));
    t->run_count = 0;
    return sha256_update(t->sha256, line, len);
}

int manifest_tree_chunk(struct manifest_tree *t, uint64_t n, const unsigned char sha256[32])
{
    char line[128], hex[SHA256_HEX_LEN + 1];
    hex_text(sha256, 32, hex);
    int r = tree_end_run(t), len = snprintf(line, sizeof(line), "%" PRIu64 " %s\n", n, hex);
    return r < 0 ? r : sha256_update(t->sha256, line, (size_t)len);
}

int manifest_tree_inherit(struct manifest_tree *t, uint64_t n, uint64_t count)
{
    int r = 0;
    if (t->run_count && t->run + t->run_count != n)
        r = tree_end_run(t);
    if (t->run_count == 0)
        t->run = n;
    t->run_count += count;
    return r;
}

int manifest_tree_finish(struct manifest_tree *t, unsigned char ret[32])
{
    int r = tree_end_run(t);
    return r < 0 ? r : sha256_finish(t->sha256, ret);
}

/* --- bytes --------------------------------------------------------------------------------------------------------- */

static int compress(struct manifest_writer *w, ZSTD_EndDirective end)
{
    ZSTD_inBuffer in = {w->in, w->used, 0};
    for (;;) {
        ZSTD_outBuffer out = {w->out, sizeof(w->out), 0};
        size_t left = ZSTD_compressStream2(w->zstd, &out, &in, end);
        int r = ZSTD_isError(left) ? -EIO : write_full(w->fd, w->out, out.pos);
        if (r < 0)
            return r;
        if (end == ZSTD_e_end ? left == 0 : in.pos == in.size)
            break;
    }
    w->used = 0;
    return 0;
}

static int put(struct manifest_writer *w, const char *p, size_t len)
{
    int r = 0;
    for (size_t i = 0; i < len; i++)
        w->lines += p[i] == '\n';
    hash_update(w->hash, p, len);
    while (r == 0 && len > 0) {
        size_t n = MIN(len, sizeof(w->in) - w->used);
        memcpy(w->in + w->used, p, n);
        w->used += n;
        p += n;
        len -= n;
        if (w->used == sizeof(w->in))
            r = compress(w, ZSTD_e_continue);
    }
    return r;
}

static int fail(struct manifest_writer *w, int r, struct err *err)
{
    w->failed = r;
    return err_sys(err, r, "cannot write %s", w->what);
}

/* --- writer -------------------------------------------------------------------------------------------------------- */

static int put_head(struct manifest_writer *w)
{
    struct text_out o;
    int r = text_out_init(&o);
    if (r == 0) {
        (void)fputs("diskgate-manifest 1\n", o.f); /* memory only, as below */
        head_print(&w->head, o.f);
        (void)fputs("--\n", o.f);
        r = text_out_flush(&o);
        if (r == 0)
            r = put(w, o.buf, o.len);
        text_out_finish(&o);
    }
    return r;
}

int manifest_create(int fd, const char *what, const struct manifest_head *head, struct manifest_writer **ret,
                    struct err *err)
{
    int r = head_check(head, err);
    if (r < 0)
        return r;
    _cleanup_(manifest_destroyp) struct manifest_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, -ENOMEM, "memory is out");
    w->fd = fd;
    w->head = *head;
    w->what = strdup(what);
    w->zstd = ZSTD_createCCtx();
    w->hash = hash_create();
    w->tree = manifest_tree_create();
    if (!w->what || !w->zstd || !w->hash || !w->tree ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_windowLog, 20)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1)))
        return err_set(err, -ENOMEM, "memory is out");
    r = put_head(w);
    if (r < 0)
        return fail(w, r, err);
    *ret = take_ptr(w);
    return 0;
}

void manifest_destroy(struct manifest_writer *w)
{
    if (!w)
        return;
    (void)ZSTD_freeCCtx(w->zstd); /* always 0 */
    hash_destroy(w->hash);
    manifest_tree_destroy(w->tree);
    free(w->what);
    free(w);
}

static int end_run(struct manifest_writer *w)
{
    char line[64];
    if (w->run_count == 0)
        return 0;
    size_t len = inherit_text(w->run, w->run_count, line, sizeof(line));
    w->run_count = 0;
    return put(w, line, len);
}

int manifest_add(struct manifest_writer *w, uint64_t n, const struct chunk_ref *ref, struct err *err)
{
    char line[32 + CHUNK_NAME_LEN + 2];
    uint64_t off = n * w->head.chunk_bytes;
    assert(n >= w->next && n < head_chunks(&w->head));
    assert(ref->len == MIN((uint64_t)w->head.chunk_bytes, w->head.size_bytes - off));
    (void)off; /* without asserts */
    if (w->failed)
        return fail(w, w->failed, err);
    size_t len = (size_t)snprintf(line, sizeof(line), "%" PRIu64 " ", n);
    len += chunk_name_text(&ref->name, line + len);
    line[len++] = '\n';
    int r = end_run(w);
    if (r == 0)
        r = put(w, line, len);
    if (r == 0)
        r = manifest_tree_chunk(w->tree, n, ref->sha256);
    w->next = n + 1;
    w->tail.chunks++;
    return r < 0 ? fail(w, r, err) : 0;
}

int manifest_inherit(struct manifest_writer *w, uint64_t n, uint64_t count, struct err *err)
{
    assert(n >= w->next && count > 0 && range_ok(n, count, head_chunks(&w->head)) && w->head.has_backing);
    if (w->failed)
        return fail(w, w->failed, err);
    int r = 0;
    if (w->run_count && w->run + w->run_count != n)
        r = end_run(w);
    if (w->run_count == 0)
        w->run = n;
    w->run_count += count;
    if (r == 0)
        r = manifest_tree_inherit(w->tree, n, count);
    w->next = n + count;
    w->tail.inherit += count;
    return r < 0 ? fail(w, r, err) : 0;
}

int manifest_finish(struct manifest_writer *w, const char *image_xxh128, struct manifest_tail *ret_tail,
                    struct err *err)
{
    char text[512], hex[SHA256_HEX_LEN + 1], hash[HASH_HEX_LEN + 1];
    if (w->failed)
        return fail(w, w->failed, err);
    int r = end_run(w);
    if (r == 0)
        r = manifest_tree_finish(w->tree, w->tail.tree_sha256);
    hex_text(w->tail.tree_sha256, 32, hex);
    int n = snprintf(text, sizeof(text), "--\n%s%s%stree-sha256 %s\n", image_xxh128 ? "image-xxh128 " : "",
                     image_xxh128 ? image_xxh128 : "", image_xxh128 ? "\n" : "", hex);
    if (r == 0)
        r = put(w, text, (size_t)n);
    hash_hex(w->hash, hash);
    n = snprintf(text, sizeof(text), "end %" PRIu64 " %s\n", w->lines, hash);
    if (r == 0)
        r = put(w, text, (size_t)n);
    if (r == 0)
        r = compress(w, ZSTD_e_end);
    if (r < 0)
        return fail(w, r, err);
    if (image_xxh128)
        (void)snprintf(w->tail.image_xxh128, sizeof(w->tail.image_xxh128), "%s", image_xxh128);
    if (ret_tail)
        *ret_tail = w->tail;
    return 0;
}
