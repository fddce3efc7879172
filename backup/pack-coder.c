/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One chunk becomes frames: libarchive writes the tar entry, zstd makes a frame of the header, one of the chunk, one of the padding where
 * there is any. Then the chunk's frame is decoded and compared: a bad memory chip or a bug of a compressor must not be found by a
 * restore.
 *
 * libarchive 3.6.2 compresses a whole archive into one frame only, so it writes plain tar here, into memory, and hands the chunk through
 * without copying it. All of zstd's parameters are explicit: they must not change with the length of the last chunk or with the library.
 */
#include "backup/pack-priv.h"

#include <archive_entry.h>
#include <errno.h>
#include <string.h>

#include "core/util.h"

/* --- zstd -------------------------------------------------------------------------------------------------------- */

struct zstd_row {
    int level, hash_log, chain_log, search_log, min_match, target, strategy;
};

/* The levels between take the parameters of the row below them. Window: one chunk. With ZSTD_fast a target of 1 leaves literals as they are, 0 has
 * them coded. docs/backup-format.md has the numbers. */
static const struct zstd_row zstd_rows[] = {
    {1, 12, 12, 1, 6, 1, ZSTD_fast},      {2, 13, 13, 1, 6, 1, ZSTD_fast},    {3, 12, 12, 1, 6, 0, ZSTD_fast},
    {5, 17, 17, 2, 5, 4, ZSTD_greedy},    {7, 17, 17, 3, 5, 8, ZSTD_lazy2},   {9, 17, 18, 4, 5, 16, ZSTD_lazy2},
    {12, 18, 18, 6, 4, 32, ZSTD_btlazy2}, {16, 18, 19, 5, 3, 64, ZSTD_btopt}, {19, 18, 19, 8, 3, 256, ZSTD_btultra2}};

static unsigned log2_of(uint32_t n)
{
    return 31U - (unsigned)__builtin_clz(n);
}

static int set_parameters(struct pack_coder *c)
{
    const struct zstd_row *row = zstd_rows;
    for (size_t i = 0; i < ARRAY_SIZE(zstd_rows) && zstd_rows[i].level <= c->level; i++)
        row = &zstd_rows[i];
    const struct {
        ZSTD_cParameter name;
        int value;
    } set[] = {{ZSTD_c_compressionLevel, 1}, /* what a 0 below stands for; all else is set */
               {ZSTD_c_checksumFlag, 1},
               {ZSTD_c_contentSizeFlag, 1},
               {ZSTD_c_windowLog, (int)log2_of(c->chunk_bytes)},
               {ZSTD_c_hashLog, row->hash_log},
               {ZSTD_c_chainLog, row->chain_log},
               {ZSTD_c_searchLog, row->search_log},
               {ZSTD_c_minMatch, row->min_match},
               {ZSTD_c_targetLength, row->target},
               {ZSTD_c_strategy, row->strategy}};
    for (size_t i = 0; i < ARRAY_SIZE(set); i++)
        if (ZSTD_isError(ZSTD_CCtx_setParameter(c->c, set[i].name, set[i].value)))
            return -EINVAL;
    return 0;
}

/* --- libarchive -------------------------------------------------------------------------------------------------- */

/* Called with pieces of the archive: header, the data itself, padding. */
static la_ssize_t take_piece(struct archive *a, void *arg, const void *buf, size_t len)
{
    struct pack_coder *c = arg;
    (void)a;
    if (buf == c->data)
        return (la_ssize_t)len;
    if (!c->data && c->header_len + len <= sizeof(c->header)) {
        memcpy(c->header + c->header_len, buf, len);
        c->header_len += len;
    } else {
        c->padding += len;
    }
    return (la_ssize_t)len;
}

static struct archive *tar_new(struct pack_coder *c)
{
    struct archive *a = archive_write_new();
    if (a && archive_write_set_format_ustar(a) == ARCHIVE_OK && archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK &&
        archive_write_open(a, c, NULL, take_piece, NULL) == ARCHIVE_OK)
        return a;
    (void)archive_write_free(a); /* NULL is allowed; nothing was written */
    return NULL;
}

/* Leaves the header in c->header and the length of the padding in c->padding. */
static int tar_entry(struct pack_coder *c, const char *name, const void *data, size_t len)
{
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return -ENOMEM;
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0600);
    archive_entry_set_size(e, (la_int64_t)len);
    archive_entry_set_mtime(e, 0, 0);
    c->header_len = c->padding = 0;
    c->data = NULL;
    int r = archive_write_header(c->tar, e);
    archive_entry_free(e);
    c->data = data;
    bool ok = r == ARCHIVE_OK && archive_write_data(c->tar, data, len) == (la_ssize_t)len &&
              archive_write_finish_entry(c->tar) == ARCHIVE_OK;
    ok = ok && c->header_len == TAR_BLOCK && (len + c->padding) % TAR_BLOCK == 0 && c->padding < TAR_BLOCK;
    return ok ? 0 : -EIO;
}

size_t pack_frame_max(void)
{
    return ZSTD_compressBound(CHUNK_BYTES_MAX);
}

/* --- coder ------------------------------------------------------------------------------------------------------- */

#define TAIL_MAX 1536U /* padding and the end of an archive */

struct pack_coder *pack_coder_create(uint32_t chunk_bytes, int level)
{
    struct pack_coder *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->chunk_bytes = chunk_bytes;
    c->level = level;
    c->room = ZSTD_compressBound(chunk_bytes) + ZSTD_compressBound(TAR_BLOCK) + ZSTD_compressBound(TAIL_MAX);
    c->frames = malloc(c->room);
    c->decoded = malloc(chunk_bytes);
    c->c = ZSTD_createCCtx();
    c->d = ZSTD_createDCtx();
    c->tar = tar_new(c);
    if (c->frames && c->decoded && c->c && c->d && c->tar && set_parameters(c) == 0)
        return c;
    pack_coder_destroy(c);
    return NULL;
}

void pack_coder_destroy(struct pack_coder *c)
{
    if (!c)
        return;
    if (c->tar)
        (void)archive_write_free(c->tar); /* its end of an archive goes nowhere */
    (void)ZSTD_freeCCtx(c->c);            /* always 0, as the next one; NULL is allowed */
    (void)ZSTD_freeDCtx(c->d);
    free(c->frames);
    free(c->decoded);
    free(c);
}

size_t coder_bytes(const struct pack_coder *c)
{
    return c->len[FRAME_HEADER] + c->len[FRAME_CHUNK] + c->len[FRAME_PADDING];
}

static int add_frame(struct pack_coder *c, int which, const void *raw, size_t len)
{
    size_t at = coder_bytes(c), n = ZSTD_compress2(c->c, c->frames + at, c->room - at, raw, len);
    if (ZSTD_isError(n))
        return -EIO;
    c->len[which] = n;
    c->raw[which] = len;
    return 0;
}

static int header_and(struct pack_coder *c, const char *name, const void *data, size_t len, size_t tail,
                      int (*middle)(struct pack_coder *c, const void *p, size_t n), const void *p, size_t n)
{
    static const unsigned char zeros[TAIL_MAX];
    memset(c->len, 0, sizeof(c->len));
    memset(c->raw, 0, sizeof(c->raw));
    int r = tar_entry(c, name, data, len);
    if (r == 0)
        r = add_frame(c, FRAME_HEADER, c->header, c->header_len);
    if (r == 0)
        r = middle(c, p, n);
    size_t behind = c->padding + tail;
    return r == 0 && behind ? add_frame(c, FRAME_PADDING, zeros, behind) : r;
}

static int compress_chunk(struct pack_coder *c, const void *p, size_t n)
{
    return add_frame(c, FRAME_CHUNK, p, n);
}

static int copy_frame(struct pack_coder *c, const void *frame, size_t clen)
{
    size_t at = coder_bytes(c);
    if (clen > c->room - at - ZSTD_compressBound(TAIL_MAX))
        return -EBADMSG;
    memcpy(c->frames + at, frame, clen);
    c->len[FRAME_CHUNK] = clen;
    c->raw[FRAME_CHUNK] = c->ref.len;
    return 0;
}

int coder_entry(struct pack_coder *c, const char *name, const void *data, size_t len, size_t tail, struct err *err)
{
    int r = header_and(c, name, data, len, tail, compress_chunk, data, len);
    return r < 0 ? err_sys(err, r, "cannot compress '%s'", name) : 0;
}

int pack_encode(struct pack_coder *c, const struct chunk_ref *ref, const void *buf, struct err *err)
{
    char name[CHUNK_NAME_LEN + 1];
    (void)chunk_name_text(&ref->name, name);
    c->ref = *ref;
    int r = coder_entry(c, name, buf, ref->len, 0, err);
    if (r < 0)
        return r;
    size_t n =
        ZSTD_decompressDCtx(c->d, c->decoded, c->chunk_bytes, c->frames + c->len[FRAME_HEADER], c->len[FRAME_CHUNK]);
    if (ZSTD_isError(n) || n != ref->len || memcmp(c->decoded, buf, n) != 0)
        return err_set(err, -EIO, "chunk %s was compressed wrongly: the memory of this machine or its zstd is broken",
                       name);
    return 0;
}

int pack_encode_frame(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen,
                      struct err *err)
{
    char name[CHUNK_NAME_LEN + 1];
    (void)chunk_name_text(&ref->name, name);
    c->ref = *ref;
    int r = pack_decode(c, ref, frame, clen, c->decoded);
    unsigned char sha256[32];
    if (r == 0 && sha256_buf(c->decoded, ref->len, sha256) == 0 && memcmp(sha256, ref->sha256, 32) != 0)
        r = -EBADMSG;
    if (r == 0)
        r = header_and(c, name, c->decoded, ref->len, 0, copy_frame, frame, clen);
    return r < 0 ? err_sys(err, r, "cannot copy chunk %s", name) : 0;
}

int pack_inflate(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen, void *buf)
{
    size_t n = ZSTD_decompressDCtx(c->d, buf, ref->len, frame, clen);
    return ZSTD_isError(n) || n != ref->len ? -EBADMSG : 0;
}

int pack_decode(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen, void *buf)
{
    unsigned char xxh[16];
    if (pack_inflate(c, ref, frame, clen, buf) < 0)
        return -EBADMSG;
    chunk_hash(buf, ref->len, xxh);
    return memcmp(xxh, ref->name.xxh, sizeof(xxh)) == 0 ? 0 : -EBADMSG;
}
