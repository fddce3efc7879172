/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is in a pack: by its .toc, by the table of contents at its end, or by a look at every frame.
 *
 * Each way gives the same entries; the first one that holds is taken. A pack that cannot even be opened gives -EBADMSG or the disk's error.
 */
#include "backup/pack-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/repo-priv.h"
#include "core/bytes.h"
#include "core/util.h"

/* Entries are handed on only when all of them are known to be good. */
struct gather {
    struct pack_entry *e;
    size_t n, room;
};

static int gather_add(void *arg, const struct pack_entry *e)
{
    struct gather *g = arg;
    if (g->n == g->room) {
        size_t room = g->room ? 2 * g->room : 1024;
        struct pack_entry *more = reallocarray(g->e, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        g->e = more;
        g->room = room;
    }
    g->e[g->n++] = *e;
    return 0;
}

static int decode_into(struct gather *g, struct repo *r, const struct pack_id *id, const char *text, size_t len,
                       uint64_t pack_bytes, struct err *err)
{
    struct pack_id told;
    g->n = 0;
    int e = toc_decode(text, len, pack_bytes, r->format.id, &told, gather_add, g, err);
    if (e == 0 && strcmp(told.stem, id->stem) != 0)
        e = err_set(err, -EBADMSG, "the table of contents is that of pack %s", told.stem);
    return e;
}

static int from_file(struct gather *g, struct repo *r, const struct pack_id *id, uint64_t pack_bytes, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    char path[64];
    size_t len;
    pack_path(id, ".toc", path);
    int e = file_read(r->dirfd, path, TOC_TEXT_MAX, &text, &len);
    return e < 0 ? err_sys(err, e, "cannot read '%s'", path) : decode_into(g, r, id, text, len, pack_bytes, err);
}

/* --- the table in the pack ------------------------------------------------------------------------------------------- */

/* Where the frame with the table's text lies, by the seek table: the last frame but one. */
static int find_toc(int fd, uint64_t bytes, uint64_t *ret_off, uint32_t *ret_clen, uint32_t *ret_len)
{
    unsigned char footer[SEEK_FOOTER_BYTES];
    if (bytes < PACK_HEAD_BYTES + 8 + SEEK_FOOTER_BYTES ||
        pread_full(fd, footer, sizeof(footer), bytes - sizeof(footer)) < 0 || get_u32(footer + 5) != SEEKABLE_MAGIC)
        return -EBADMSG;
    uint64_t n = get_u32(footer), len = 8 + 8 * n + SEEK_FOOTER_BYTES;
    if (n < 4 || n > 3ULL * PACK_CHUNKS_MAX + 16 || len > bytes)
        return -EBADMSG;
    _cleanup_free_ unsigned char *table = malloc(len);
    if (!table)
        return -ENOMEM;
    if (pread_full(fd, table, len, bytes - len) < 0 || get_u32(table) != SEEK_TABLE_MAGIC)
        return -EBADMSG;
    uint64_t off = 0, at = 0;
    for (uint64_t i = 0; i < n; i++) {
        at = i == n - 2 ? off : at;
        off += get_u32(table + 8 + 8 * i);
    }
    *ret_off = at;
    *ret_clen = get_u32(table + 8 + 8 * (n - 2));
    *ret_len = get_u32(table + 12 + 8 * (n - 2));
    return off == bytes - len && range_ok(at, *ret_clen, bytes) && *ret_len <= TOC_TEXT_MAX && *ret_clen <= TOC_TEXT_MAX
               ? 0
               : -EBADMSG;
}

static int from_pack(struct gather *g, struct repo *r, int fd, const struct pack_id *id, uint64_t bytes,
                     struct err *err)
{
    uint64_t off;
    uint32_t clen, len;
    int e = find_toc(fd, bytes, &off, &clen, &len);
    if (e < 0)
        return err_set(err, e, "it has no table of contents");
    _cleanup_free_ char *text = malloc((size_t)len + 1);
    _cleanup_free_ void *frame = malloc((size_t)clen + 1);
    if (!text || !frame)
        return err_set(err, -ENOMEM, "memory is out");
    e = pread_full(fd, frame, clen, off);
    if (e < 0)
        return err_sys(err, e, "cannot read it");
    size_t n = ZSTD_decompress(text, len, frame, clen);
    if (ZSTD_isError(n) || n != len)
        return err_set(err, -EBADMSG, "its table of contents is damaged");
    return decode_into(g, r, id, text, len, bytes, err);
}

/* --- all ways -------------------------------------------------------------------------------------------------------- */

static int gather_any(struct gather *g, struct repo *r, int fd, const struct pack_id *id, uint64_t bytes, int *ret_how,
                      struct err *err)
{
    uint64_t bad;
    int e = from_file(g, r, id, bytes, err);
    *ret_how = PACK_FROM_TOC_FILE;
    if (e == 0 || e == -ENOMEM)
        return e;
    *ret_how = PACK_FROM_PACK;
    e = from_pack(g, r, fd, id, bytes, err);
    if (e == 0 || e == -ENOMEM)
        return e;
    *ret_how = PACK_FROM_SCAN;
    g->n = 0;
    return pack_scan(fd, id->stem, &r->format, gather_add, g, &bad, err);
}

static int open_pack(struct repo *r, const struct pack_id *id, uint64_t *ret_bytes, struct err *err)
{
    struct stat st;
    char path[64];
    pack_path(id, ".tar.zst", path);
    int fd = openat(r->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        int e = fd < 0 || !S_ISREG(st.st_mode) ? -errno : -EIO;
        if (fd >= 0)
            (void)close(fd); /* read only */
        return err_sys(err, e < 0 ? e : -EBADMSG, "cannot open pack '%s/%s'", r->path, path);
    }
    *ret_bytes = (uint64_t)st.st_size;
    return fd;
}

int pack_entries(struct repo *r, const struct pack_id *id, pack_entry_fn *fn, void *arg, int *ret_how, struct err *err)
{
    struct gather g = {0};
    uint64_t bytes = 0;
    _cleanup_close_ int fd = open_pack(r, id, &bytes, err);
    if (fd < 0)
        return fd;
    int e = gather_any(&g, r, fd, id, bytes, ret_how, err);
    for (size_t i = 0; e == 0 && i < g.n; i++)
        e = fn(arg, &g.e[i]);
    free(g.e);
    return e;
}

int pack_head_read(struct repo *r, const struct pack_id *id, struct repo_format *ret)
{
    unsigned char head[PACK_HEAD_BYTES];
    struct pack_id told;
    struct err ignored;
    char path[64];
    pack_path(id, ".tar.zst", path);
    _cleanup_close_ int fd = openat(r->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    int e = pread_full(fd, head, sizeof(head), 0);
    if (e == 0)
        e = pack_head_decode(head, sizeof(head), ret, &told, &ignored);
    return e < 0 ? e : strcmp(told.stem, id->stem) == 0 ? 0 : -EBADMSG;
}

int pack_toc_restore(struct repo *r, const struct pack_id *id, struct err *err)
{
    struct gather g = {0};
    struct toc_out t = {{0}};
    char path[64];
    int how, e = pack_entries(r, id, gather_add, &g, &how, err);
    if (e == 0 && how != PACK_FROM_TOC_FILE) {
        e = toc_begin(&t, r->format.id, id);
        for (size_t i = 0; e == 0 && i < g.n; i++)
            toc_line(&t, &g.e[i]);
        if (e < 0 || (e = text_seal(&t.text)) < 0)
            err_set(err, e, "memory is out");
        pack_path(id, ".toc", path);
        if (e == 0)
            e = repo_file_put(r, path, t.text.buf, t.text.len, err);
        text_out_finish(&t.text);
    }
    free(g.e);
    return e;
}
