/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a manifest line by line. Memory does not grow with the file: a line has at most 512 bytes, zstd's window at most 8 MiB.
 *
 *   HEAD --"--"--> BODY --"--"--> TAIL --"end"--> END
 *
 * Chunk numbers rise and lie within the disk, "inherit" stands only where there is a backing stream, nothing follows the last line, and the
 * check sum holds: only then MANIFEST_END is returned.
 */
#include "backup/manifest-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "core/util.h"

#define BUF_BYTES (64U * 1024U)

struct manifest_reader {
    int fd;
    char *what;
    struct manifest_head head;
    struct manifest_tail tail;
    ZSTD_DCtx *zstd;
    struct hash *hash;
    uint64_t next; /* the first chunk number that may come */
    size_t line;
    bool is_done, frame_ended, file_ended;
    ZSTD_inBuffer in;
    char in_buf[BUF_BYTES], out[BUF_BYTES];
    size_t out_pos, out_len;
    char text[MANIFEST_LINE_MAX + 1]; /* the line in work, LF included */
};

static int bad(const struct manifest_reader *m, const char *problem, struct err *err)
{
    return err_set(err, -EBADMSG, "%s is damaged: line %zu: %s", m->what, m->line, problem);
}

/* --- bytes --------------------------------------------------------------------------------------------------------- */

static int fill_in(struct manifest_reader *m, struct err *err)
{
    ssize_t n;
    do
        n = read(m->fd, m->in_buf, sizeof(m->in_buf));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_sys(err, -errno, "cannot read %s", m->what);
    m->file_ended = n == 0;
    m->in = (ZSTD_inBuffer){m->in_buf, (size_t)n, 0};
    return 0;
}

/* More text into m->out; m->out_len is 0 at the end of the one frame. */
static int fill_out(struct manifest_reader *m, struct err *err)
{
    m->out_pos = m->out_len = 0;
    while (m->out_len == 0) {
        if (m->in.pos == m->in.size && !m->file_ended) {
            int r = fill_in(m, err);
            if (r < 0)
                return r;
        }
        if (m->frame_ended)
            return m->in.pos < m->in.size ? bad(m, "there is more behind its end", err) : 0;
        if (m->file_ended)
            return bad(m, "it was cut off", err);
        ZSTD_outBuffer out = {m->out, sizeof(m->out), 0};
        size_t left = ZSTD_decompressStream(m->zstd, &out, &m->in);
        if (ZSTD_isError(left))
            return err_set(err, -EBADMSG, "%s is damaged: %s", m->what, ZSTD_getErrorName(left));
        m->frame_ended = left == 0;
        m->out_len = out.pos;
    }
    return 0;
}

/* The next line into m->text. 1; 0 at the end; a negative errno. */
static int next_line(struct manifest_reader *m, struct field *ret, struct err *err)
{
    size_t len = 0;
    m->line++;
    for (;;) {
        if (m->out_pos == m->out_len) {
            int r = fill_out(m, err);
            if (r < 0)
                return r;
            if (m->out_len == 0)
                return len ? bad(m, "it ends in the middle", err) : 0;
        }
        char c = m->out[m->out_pos++];
        if (len == MANIFEST_LINE_MAX)
            return bad(m, "it is too long", err);
        m->text[len++] = c;
        if (c == '\n')
            break;
    }
    *ret = (struct field){m->text, len - 1};
    return 1;
}

/* As next_line(), for lines that the check sum covers; the end of the file is damage. */
static int need_line(struct manifest_reader *m, struct field *ret, struct err *err)
{
    int r = next_line(m, ret, err);
    if (r == 0)
        return bad(m, "the rest is missing", err);
    if (r > 0 && !(ret->len > 4 && memcmp(ret->p, "end ", 4) == 0))
        hash_update(m->hash, ret->p, ret->len + 1);
    return r < 0 ? r : 0;
}

/* --- head ---------------------------------------------------------------------------------------------------------- */

static int read_head(struct manifest_reader *m, struct err *err)
{
    struct field line;
    unsigned have = 0;
    int r = need_line(m, &line, err);
    if (r == 0)
        r = text_check_first(line, "diskgate-manifest", m->what, err);
    while (r == 0 && (r = need_line(m, &line, err)) == 0 && !field_is(line, "--")) {
        r = head_take(&m->head, line, &have);
        if (r == -EBADMSG)
            bad(m, "not what it should be", err);
        else if (r < 0)
            err_set(err, r, "%s has a line '%.*s', which this diskgate-backup does not know", m->what,
                    (int)MIN(line.len, (size_t)60), line.p);
    }
    if (r == 0 && !head_is_complete(&m->head, have))
        r = bad(m, "lines are missing above", err);
    return r;
}

int manifest_open(int fd, const char *what, struct manifest_reader **ret, struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = calloc(1, sizeof(*m));
    if (!m) {
        (void)close(fd); /* read only */
        return err_set(err, -ENOMEM, "memory is out");
    }
    m->fd = fd;
    m->what = strdup(what);
    m->zstd = ZSTD_createDCtx();
    m->hash = hash_create();
    int r = 0;
    if (!m->what || !m->zstd || !m->hash || ZSTD_isError(ZSTD_DCtx_setParameter(m->zstd, ZSTD_d_windowLogMax, 23)))
        r = err_set(err, -ENOMEM, "memory is out");
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = err_sys(err, -errno, "cannot read %s", what);
    if (r == 0)
        r = read_head(m, err);
    if (r == 0)
        *ret = take_ptr(m);
    return r;
}

void manifest_close(struct manifest_reader *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        (void)close(m->fd);       /* read only */
    (void)ZSTD_freeDCtx(m->zstd); /* always 0 */
    hash_destroy(m->hash);
    free(m->what);
    free(m);
}

const struct manifest_head *manifest_head(const struct manifest_reader *m)
{
    return &m->head;
}

const struct manifest_tail *manifest_tail(const struct manifest_reader *m)
{
    return m->is_done ? &m->tail : NULL;
}

/* --- tail ---------------------------------------------------------------------------------------------------------- */

static int read_end(struct manifest_reader *m, struct field line, struct err *err)
{
    char hash[HASH_HEX_LEN + 1];
    struct field word;
    uint64_t lines;
    hash_hex(m->hash, hash);
    if (!field_take(&line, &word) || !field_is(word, "end") || !field_take(&line, &word) ||
        !field_number(word, UINT64_MAX, &lines) || lines != m->line - 1 || !field_is(line, hash))
        return bad(m, "the check sum of the lines above does not hold", err);
    int r = next_line(m, &line, err);
    if (r > 0)
        return bad(m, "there is more behind its end", err);
    m->is_done = r == 0;
    return r;
}

static int read_tail(struct manifest_reader *m, struct err *err)
{
    struct field line, word, v;
    unsigned char bytes[16];
    bool has_tree = false;
    for (;;) {
        int r = need_line(m, &line, err);
        if (r < 0)
            return r;
        v = line;
        if (!field_take(&v, &word))
            return bad(m, "not what it should be", err);
        if (field_is(word, "end"))
            return has_tree ? read_end(m, line, err) : bad(m, "lines are missing above", err);
        bool ok = false;
        if (field_is(word, "tree-sha256") && !has_tree)
            ok = has_tree = hex_parse(v.p, v.len, m->tail.tree_sha256, 32) == 0;
        else if (field_is(word, "image-xxh128") && !m->tail.image_xxh128[0] && !has_tree)
            ok = hex_parse(v.p, v.len, bytes, 16) == 0 && field_text(v, m->tail.image_xxh128, HASH_HEX_LEN + 1);
        if (!ok)
            return bad(m, "not what it should be", err);
    }
}

/* --- body ---------------------------------------------------------------------------------------------------------- */

/* "17" or "17-40". */
static bool take_range(struct field f, struct manifest_line *ret)
{
    const char *dash = memchr(f.p, '-', f.len);
    struct field first = {f.p, dash ? (size_t)(dash - f.p) : f.len};
    uint64_t last;
    if (!field_number(first, UINT64_MAX, &ret->n))
        return false;
    last = ret->n;
    if (dash && (!field_number((struct field){dash + 1, f.len - first.len - 1}, UINT64_MAX, &last) || last <= ret->n))
        return false;
    ret->count = last - ret->n + 1;
    return true;
}

int manifest_next(struct manifest_reader *m, struct manifest_line *ret, struct err *err)
{
    struct field line, word;
    if (m->is_done)
        return MANIFEST_END;
    int r = need_line(m, &line, err);
    if (r < 0)
        return r;
    if (field_is(line, "--")) {
        r = read_tail(m, err);
        return r < 0 ? r : MANIFEST_END;
    }
    if (!field_take(&line, &word) || !take_range(word, ret) || ret->n < m->next ||
        !range_ok(ret->n, ret->count, head_chunks(&m->head)))
        return bad(m, "no chunk number that can be", err);
    m->next = ret->n + ret->count;
    if (field_is(line, "inherit")) {
        m->tail.inherit += ret->count;
        return m->head.has_backing ? MANIFEST_INHERIT : bad(m, "there is nothing to inherit from", err);
    }
    if (ret->count != 1 || chunk_name_parse(line.p, line.len, &ret->name) < 0)
        return bad(m, "no name of a chunk", err);
    m->tail.chunks++;
    return MANIFEST_CHUNK;
}
