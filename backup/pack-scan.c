/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A look at every frame of a pack, for one that was cut off or whose table of contents is gone.
 *
 *   head | header, chunk, (padding) | header, chunk ...
 *
 * A frame that decodes to a tar header names the chunk in the frame behind it; that one is decoded and must have the name's hash. What
 * does not fit is counted, and the scan goes on at the next byte that looks like the beginning of a frame.
 */
#include "backup/pack-priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/bytes.h"
#include "core/util.h"

struct scan {
    int fd;
    uint64_t at, bytes;    /* where we are; length of the pack */
    unsigned char *window; /* bytes at `at` */
    size_t have, room;
    unsigned char *raw; /* a decoded frame */
    size_t raw_room;
    ZSTD_DCtx *d;
    uint64_t bad;
};

/* The octal number in a tar header. */
static bool octal(const unsigned char *p, size_t n, uint64_t *ret)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v * 8 + (uint64_t)(p[i] - '0');
    *ret = v;
    return i > 0 && i < 20;
}

int tar_header_decode(const unsigned char *header, size_t len, char *ret_name, size_t room, uint64_t *ret_size)
{
    uint64_t told, sum = 0;
    if (len != TAR_BLOCK || memcmp(header + 257, "ustar", 5) != 0 || !octal(header + 148, 8, &told))
        return -EBADMSG;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : header[i];
    size_t n = strnlen((const char *)header, 100);
    if (sum != told || n >= room || !octal(header + 124, 12, ret_size))
        return -EBADMSG;
    memcpy(ret_name, header, n);
    ret_name[n] = 0;
    return 0;
}

static int fill(struct scan *s)
{
    s->have = (size_t)MIN((uint64_t)s->room, s->bytes - s->at);
    return pread_full(s->fd, s->window, s->have, s->at);
}

/* The frame at the window's beginning, decoded into s->raw. Its length in the file, or 0 when it is none. */
static size_t decode(struct scan *s, size_t *ret_raw)
{
    if (s->have < 8)
        return 0;
    size_t clen = ZSTD_findFrameCompressedSize(s->window, s->have);
    if (ZSTD_isError(clen))
        return 0;
    *ret_raw = 0;
    if ((get_u32(s->window) & ~15U) == SKIPPABLE_HEAD_MAGIC)
        return clen;
    size_t n = ZSTD_decompressDCtx(s->d, s->raw, s->raw_room, s->window, clen);
    if (ZSTD_isError(n))
        return 0;
    *ret_raw = n;
    return clen;
}

/* On to the next byte behind @from where a frame may begin. */
static int resync(struct scan *s, uint64_t from)
{
    unsigned char magic[4];
    put_u32(magic, ZSTD_FRAME_MAGIC);
    for (s->at = from; s->at < s->bytes; s->at += s->have - 3) {
        int r = fill(s);
        if (r < 0 || s->have < 4) {
            s->at = s->bytes;
            return r;
        }
        const unsigned char *hit = memmem(s->window, s->have, magic, sizeof(magic));
        if (hit) {
            s->at += (uint64_t)(hit - s->window);
            return 0;
        }
        if (s->at + s->have == s->bytes)
            break;
    }
    s->at = s->bytes;
    return 0;
}

/* The frame at s->at should be the chunk called @name. */
static int take_chunk(struct scan *s, const struct chunk_name *name, uint64_t size, pack_entry_fn *fn, void *arg)
{
    struct pack_entry e = {.ref.name = *name, .off = s->at};
    unsigned char xxh[16];
    size_t raw = 0;
    int r = fill(s);
    if (r < 0)
        return r;
    size_t clen = decode(s, &raw);
    if (clen && raw == size && raw > 0) {
        chunk_hash(s->raw, raw, xxh);
        e.clen = (uint32_t)clen;
        e.ref.len = (uint32_t)raw;
        if (memcmp(xxh, name->xxh, sizeof(xxh)) == 0 && sha256_buf(s->raw, raw, e.ref.sha256) == 0) {
            s->at += clen;
            return fn(arg, &e);
        }
    }
    s->bad++;
    return resync(s, s->at + (clen ? clen : 1));
}

static int scan_frames(struct scan *s, pack_entry_fn *fn, void *arg)
{
    char text[128];
    struct chunk_name name;
    uint64_t size;
    int r = 0;
    while (r == 0 && s->at < s->bytes) {
        size_t raw = 0, clen;
        if ((r = fill(s)) < 0)
            break;
        clen = decode(s, &raw);
        if (clen == 0) {
            s->bad++;
            r = resync(s, s->at + 1);
            continue;
        }
        s->at += clen;
        if (raw >= TAR_BLOCK && tar_header_decode(s->raw, raw, text, sizeof(text), &size) == 0 &&
            chunk_name_parse(text, strlen(text), &name) == 0)
            r = take_chunk(s, &name, size, fn, arg);
    }
    return r;
}

static int start(struct scan *s, int fd, const struct repo_format *format)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    s->fd = fd;
    s->bytes = (uint64_t)st.st_size;
    s->raw_room = MAX((size_t)format->chunk_bytes, (size_t)64 * KiB);
    s->room = ZSTD_compressBound(s->raw_room) + 64;
    s->window = malloc(s->room);
    s->raw = malloc(s->raw_room);
    s->d = ZSTD_createDCtx();
    return s->window && s->raw && s->d ? 0 : -ENOMEM;
}

int pack_scan(int fd, const char *name, const struct repo_format *format, pack_entry_fn *fn, void *arg,
              uint64_t *ret_bad, struct err *err)
{
    struct scan s = {0};
    int r = start(&s, fd, format);
    if (r == 0)
        r = scan_frames(&s, fn, arg);
    *ret_bad = s.bad;
    free(s.window);
    free(s.raw);
    (void)ZSTD_freeDCtx(s.d); /* always 0 */
    return r < 0 ? err_sys(err, r, "cannot read pack %s", name) : 0;
}
