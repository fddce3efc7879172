/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing a pack. It grows in tmp/ and gets its name when all of it is durable.
 *
 *   tmp/STEM.tar.zst   head, entries, TOC, seek table - fdatasync - rename - fsync of packs/NN   (packs/NN and its entry in packs/ before)
 *   packs/NN/STEM.toc  in the same way, afterwards: a .toc without its pack would be a lie, a pack without its .toc is not
 *
 * Places are given out before the bytes are written, so that several threads write at once.
 */
#include "backup/pack-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "backup/repo-priv.h"
#include "core/bytes.h"
#include "core/util.h"

#define EARLY_BYTES (2 * MiB)

struct seek_entry {
    uint32_t clen, len;
};

struct pack_writer {
    struct repo *repo;
    struct pack_id id;
    int fd;
    bool is_finished;
    int failed; /* 0, or of the first write that failed */
    uint64_t end;
    struct pack_entry *entries;
    size_t n, room;
    struct seek_entry *seek;
    size_t n_seek, seek_room;
};

const struct pack_id *pack_writer_id(const struct pack_writer *w)
{
    return &w->id;
}

uint64_t pack_writer_bytes(const struct pack_writer *w)
{
    return w->end;
}

int pack_writer_fd(const struct pack_writer *w)
{
    return w->fd;
}

size_t pack_writer_count(const struct pack_writer *w)
{
    return w->n;
}

static void temp_path(const struct pack_writer *w, char *ret)
{
    (void)snprintf(ret, 64, "tmp/%s.tar.zst", w->id.stem); /* 35 bytes */
}

static int add_seek(struct pack_writer *w, size_t clen, size_t len)
{
    if (w->n_seek == w->seek_room) {
        size_t room = w->seek_room ? 2 * w->seek_room : 1024;
        struct seek_entry *more = reallocarray(w->seek, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        w->seek = more;
        w->seek_room = room;
    }
    w->seek[w->n_seek++] = (struct seek_entry){(uint32_t)clen, (uint32_t)len};
    return 0;
}

static int start_file(struct pack_writer *w)
{
    unsigned char head[PACK_HEAD_BYTES];
    char path[64];
    temp_path(w, path);
    w->fd = openat(w->repo->dirfd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return -errno;
    pack_head_encode(&w->repo->format, &w->id, head);
    w->end = sizeof(head);
    int r = add_seek(w, sizeof(head), 0);
    return r < 0 ? r : pwrite_full(w->fd, head, sizeof(head), 0);
}

int pack_create(struct repo *r, uint32_t number, struct pack_writer **ret, struct err *err)
{
    unsigned char random[8];
    if (number > PACK_NUMBER_MAX)
        return err_set(err, -ENOSPC, "the repository '%s' has used up its %u numbers for packs; make a new one",
                       r->path, PACK_NUMBER_MAX);
    struct pack_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, -ENOMEM, "memory is out");
    w->repo = r;
    w->fd = -1;
    w->id.number = number;
    int n = snprintf(w->id.stem, sizeof(w->id.stem), "%06u-", number % (PACK_NUMBER_MAX + 1)), e = 0;
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        e = -EIO;
    hex_text(random, sizeof(random), w->id.stem + n);
    if (e == 0)
        e = start_file(w);
    if (e < 0) {
        pack_destroy(w);
        return err_sys(err, e, "cannot begin a pack in the repository '%s'", r->path);
    }
    *ret = w;
    return 0;
}

void pack_destroy(struct pack_writer *w)
{
    char path[64];
    if (!w)
        return;
    if (w->fd >= 0)
        (void)close(w->fd); /* synced before, or not wanted */
    temp_path(w, path);
    if (!w->is_finished)
        (void)unlinkat(w->repo->dirfd, path, 0); /* else the next opening does it */
    free(w->entries);
    free(w->seek);
    free(w);
}

/* --- chunks -------------------------------------------------------------------------------------------------------- */

static int add_entry(struct pack_writer *w, const struct pack_entry *e)
{
    if (w->n == w->room) {
        size_t room = w->room ? 2 * w->room : 512;
        struct pack_entry *more = reallocarray(w->entries, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        w->entries = more;
        w->room = room;
    }
    w->entries[w->n++] = *e;
    return 0;
}

static int add_frames(struct pack_writer *w, const struct pack_coder *c)
{
    int r = 0;
    for (int i = 0; r == 0 && i < FRAMES; i++)
        if (c->len[i])
            r = add_seek(w, c->len[i], c->raw[i]);
    return r;
}

int pack_reserve(struct pack_writer *w, const struct pack_coder *c, struct pack_entry *ret)
{
    struct pack_entry e = {.ref = c->ref, .off = w->end + c->len[FRAME_HEADER], .clen = (uint32_t)c->len[FRAME_CHUNK]};
    int r = add_entry(w, &e);
    if (r == 0)
        r = add_frames(w, c);
    if (r < 0) {
        w->failed = r;
        return r;
    }
    w->end += coder_bytes(c);
    *ret = e;
    return 0;
}

static int fail(struct pack_writer *w, int r, struct err *err)
{
    __atomic_store_n(&w->failed, r, __ATOMIC_RELAXED); /* looked at when all writers are done */
    return err_sys(err, r, "cannot write pack %s in the repository '%s'", w->id.stem, w->repo->path);
}

/* Let the disk begin, in large pieces, so that the fdatasync at the end has little to wait for. What goes wrong here, that one reports. */
static void write_early(const struct pack_writer *w, uint64_t at, size_t len)
{
    uint64_t piece = (at + len) / EARLY_BYTES;
    if (piece > at / EARLY_BYTES)
        (void)sync_file_range(w->fd, (off_t)((piece - 1) * EARLY_BYTES), (off_t)EARLY_BYTES, SYNC_FILE_RANGE_WRITE);
}

int pack_write(struct pack_writer *w, const struct pack_coder *c, const struct pack_entry *e, struct err *err)
{
    uint64_t at = e->off - c->len[FRAME_HEADER];
    int r = pwrite_full(w->fd, c->frames, coder_bytes(c), at);
    if (r < 0)
        return fail(w, r, err);
    write_early(w, at, coder_bytes(c));
    return 0;
}

/* --- the end ------------------------------------------------------------------------------------------------------- */

static int write_toc(struct pack_writer *w, const struct text_out *toc, struct err *err)
{
    if (toc->len > TOC_TEXT_MAX)
        return err_set(err, -EFBIG, "pack %s has too many chunks", w->id.stem);
    struct pack_coder *c = pack_coder_create(CHUNK_BYTES_MAX * 4, 3); /* the table has at most 10 MiB */
    int r = c ? coder_entry(c, "TOC", toc->buf, toc->len, 2 * TAR_BLOCK, err) : err_set(err, -ENOMEM, "memory is out");
    if (r == 0)
        r = add_frames(w, c);
    if (r == 0 && (r = pwrite_full(w->fd, c->frames, coder_bytes(c), w->end)) < 0)
        fail(w, r, err);
    if (r == 0)
        w->end += coder_bytes(c);
    pack_coder_destroy(c);
    return r;
}

static int write_seek_table(struct pack_writer *w, struct err *err)
{
    size_t len = 8 + 8 * w->n_seek + SEEK_FOOTER_BYTES;
    _cleanup_free_ unsigned char *buf = malloc(len);
    if (!buf)
        return err_set(err, -ENOMEM, "memory is out");
    put_u32(buf, SEEK_TABLE_MAGIC);
    put_u32(buf + 4, (uint32_t)len - 8);
    for (size_t i = 0; i < w->n_seek; i++) {
        put_u32(buf + 8 + 8 * i, w->seek[i].clen);
        put_u32(buf + 12 + 8 * i, w->seek[i].len);
    }
    unsigned char *footer = buf + len - SEEK_FOOTER_BYTES;
    put_u32(footer, (uint32_t)w->n_seek);
    footer[4] = 0; /* no check sums in the table: each frame has its own */
    put_u32(footer + 5, SEEKABLE_MAGIC);
    int r = pwrite_full(w->fd, buf, len, w->end);
    w->end += len;
    return r < 0 ? fail(w, r, err) : 0;
}

/* The folder packs/NN, durable before anything is in it. */
static int need_folder(struct repo *r, uint32_t number, struct err *err)
{
    char name[32];
    (void)snprintf(name, sizeof(name), "packs/%02u", number / 256);
    return repo_make_dir(r, name, err);
}

static int publish(struct pack_writer *w, struct err *err)
{
    char temp[64], path[64];
    temp_path(w, temp);
    pack_path(&w->id, ".tar.zst", path);
    if (fdatasync(w->fd) < 0)
        return fail(w, -errno, err);
    int r = need_folder(w->repo, w->id.number, err);
    if (r == 0)
        r = repo_rename(w->repo, temp, path, err);
    return r;
}

static int make_toc(const struct pack_writer *w, struct toc_out *t)
{
    int r = toc_begin(t, w->repo->format.id, &w->id);
    for (size_t i = 0; r == 0 && i < w->n; i++)
        toc_line(t, &w->entries[i]);
    return r < 0 ? r : text_seal(&t->text);
}

int pack_finish(struct pack_writer *w, struct err *err)
{
    struct toc_out t = {{0}};
    char path[64];
    if (w->failed)
        return err_sys(err, w->failed, "cannot write pack %s in the repository '%s'", w->id.stem, w->repo->path);
    int r = make_toc(w, &t);
    if (r < 0)
        err_set(err, r, "memory is out");
    if (r == 0)
        r = write_toc(w, &t.text, err);
    if (r == 0)
        r = write_seek_table(w, err);
    if (r == 0)
        r = publish(w, err);
    if (r == 0) {
        w->is_finished = true;
        pack_path(&w->id, ".toc", path);
        r = repo_file_put(w->repo, path, t.text.buf, t.text.len, err);
    }
    text_out_finish(&t.text);
    return r;
}
