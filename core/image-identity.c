/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content identity and full hash of an image; image.h defines both.
 *
 * (1) The identity covers the disk's bytes only, not the format: a fixed VHD and a raw file of the same disk have the same one. The
 *     recorded format and file size tell those two apart.
 * (2) The full hash is of the same bytes that `head -c SIZE FILE | xxh128sum` hashes. SEEK_DATA and SEEK_HOLE only save reading what
 *     the file system promises to be zeros; where it cannot tell (a block device), everything is read.
 * (3) A file that changes its size or mtime while it is hashed gives -ESTALE, not a hash of a mixture.
 * The pages that were read stay in the page cache, because clients may be reading the same file.
 */
#include "core/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "core/util.h"

#define EDGE_BYTES     (64 * KiB)
#define SAMPLE_BYTES   (4 * KiB)
#define SAMPLES        256U
#define SAMPLED_BYTES  (2 * EDGE_BYTES + SAMPLES * SAMPLE_BYTES)
#define READ_BYTES     (4 * MiB)
#define PROGRESS_BYTES (16 * MiB)

/* --- identity ---------------------------------------------------------------------------------------------------- */

static uint64_t sample_off(const struct image_info *info, unsigned i)
{
    uint64_t step = round_down((info->data_bytes - 2 * EDGE_BYTES) / SAMPLES, SAMPLE_BYTES);
    return EDGE_BYTES + i * step;
}

/* Lets a slow disk sort the 256 reads instead of answering one after the other. */
static void read_ahead(int fd, const struct image_info *info)
{
    for (unsigned i = 0; i < SAMPLES; i++)
        (void)posix_fadvise(fd, (off_t)sample_off(info, i), SAMPLE_BYTES, POSIX_FADV_WILLNEED); /* a hint */
}

static int add_range(int fd, struct hash *h, void *buf, size_t len, uint64_t off)
{
    int r = pread_full(fd, buf, len, off);
    if (r == 0)
        hash_update(h, buf, len);
    return r;
}

static int add_samples(int fd, const struct image_info *info, struct hash *h, void *buf)
{
    if (info->data_bytes <= SAMPLED_BYTES)
        return add_range(fd, h, buf, (size_t)info->data_bytes, 0);
    read_ahead(fd, info);
    int r = add_range(fd, h, buf, EDGE_BYTES, 0);
    for (unsigned i = 0; i < SAMPLES && r == 0; i++)
        r = add_range(fd, h, buf, SAMPLE_BYTES, sample_off(info, i));
    if (r == 0)
        r = add_range(fd, h, buf, EDGE_BYTES, info->data_bytes - EDGE_BYTES);
    return r;
}

int image_identity(int fd, const struct image_info *info, char *ret, struct err *err)
{
    _cleanup_(hash_destroyp) struct hash *h = hash_create();
    _cleanup_free_ void *buf = malloc(SAMPLED_BYTES);
    if (!h || !buf)
        return err_set(err, -ENOMEM, "no memory to compute a content identity");
    int r = add_samples(fd, info, h, buf);
    if (r < 0)
        return err_sys(err, r, "cannot read the image to compute its content identity");
    char hex[HASH_HEX_LEN + 1];
    hash_hex(h, hex);
    (void)snprintf(ret, IDENTITY_LEN + 1, "xxh3s1:%" PRIu64 ":%s", info->data_bytes, hex); /* at most 60 bytes */
    return 0;
}

/* --- full hash --------------------------------------------------------------------------------------------------- */

/* Position of the work. [off, data_off) is a hole, [data_off, data_end) is data, what follows is not known yet. */
struct full {
    int fd;
    uint64_t off, total;
    uint64_t data_off, data_end;
    bool cannot_seek;  /* the file system does not tell holes */
    uint64_t reported; /* off at the last call of progress */
    struct hash *hash;
    unsigned char *buf; /* READ_BYTES */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

/* Learn about the bytes at f->off and behind. Whatever the answers of lseek, data_off >= off and data_end > off hold afterwards. */
static void find_data(struct full *f)
{
    off_t data = f->cannot_seek ? -1 : lseek(f->fd, (off_t)f->off, SEEK_DATA);
    if (data < 0 && !f->cannot_seek && errno == ENXIO) {
        f->data_off = f->data_end =
            f->total; /* only a hole follows; that the file did not shrink is checked at the end */
        return;
    }
    off_t hole = data < 0 ? -1 : lseek(f->fd, data, SEEK_HOLE);
    if (hole <= data || (uint64_t)data < f->off) {
        f->cannot_seek = true;
        f->data_off = f->off;
        f->data_end = f->total;
        return;
    }
    f->data_off = MIN((uint64_t)data, f->total);
    f->data_end = MIN((uint64_t)hole, f->total);
}

/* Hash the next piece, of a hole or of data. */
static int full_step(struct full *f)
{
    if (f->off >= f->data_end)
        find_data(f);
    if (f->off < f->data_off) {
        uint64_t len = MIN(f->data_off - f->off, PROGRESS_BYTES);
        hash_update_zeros(f->hash, len);
        f->off += len;
        return 0;
    }
    size_t len = (size_t)MIN(f->data_end - f->off, READ_BYTES);
    int r = pread_full(f->fd, f->buf, len, f->off);
    if (r < 0)
        return r;
    hash_update(f->hash, f->buf, len);
    f->off += len;
    return 0;
}

static int full_progress(struct full *f)
{
    if (!f->progress || (f->off < f->total && f->off - f->reported < PROGRESS_BYTES))
        return 0;
    f->reported = f->off;
    return f->progress(f->arg, f->off, f->total);
}

static bool is_unchanged(int fd, const struct image_info *info)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return false;
    if (!S_ISREG(st.st_mode))
        return true;
    return (uint64_t)st.st_size == info->file_bytes &&
           st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec == info->mtime_ns;
}

static int full_run(struct full *f, const struct image_info *info, struct err *err)
{
    while (f->off < f->total) {
        int r = full_step(f);
        if (r < 0)
            return err_sys(err, r, "cannot read the image at offset %" PRIu64 " to compute its full hash", f->off);
        r = full_progress(f);
        if (r < 0)
            return err_set(err, r, "the full hash was given up at offset %" PRIu64, f->off);
    }
    if (!is_unchanged(f->fd, info))
        return err_set(err, -ESTALE,
                       "the image was changed while its full hash was computed; stop what writes to it and try again");
    return 0;
}

int image_full_hash(int fd, const struct image_info *info, char *ret,
                    int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg, struct err *err)
{
    _cleanup_(hash_destroyp) struct hash *h = hash_create();
    _cleanup_free_ unsigned char *buf = malloc(READ_BYTES);
    if (!h || !buf)
        return err_set(err, -ENOMEM, "no memory to compute a full hash");
    struct full f = {.fd = fd, .total = info->data_bytes, .hash = h, .buf = buf, .progress = progress, .arg = arg};
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint, as is the next one */
    int r = full_run(&f, info, err);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    if (r == 0)
        hash_hex(h, ret);
    return r;
}
