/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saved change map, SLOT.changes, little-endian; docs/change-map-format.md has the layout.
 *
 *   0      header, 4096 bytes; its last 16 bytes are the XXH3-128 of all other bytes of the file
 *   4096   records of 4104 bytes: u64 number of the page of tags, 1024 tags of u32
 *
 * Data and map file are known again by device, inode, size, mtime and ctime: a file that was put back from a backup has other ones.
 */
#include "core/changes-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/util.h"

#define HEAD_BYTES   4096U
#define SUM_OFF      (HEAD_BYTES - 16)
#define RECORD_BYTES (8U + 4096U)
#define FILE_MAX     (1ULL << 30)
#define PRINT_OFF    80U /* of the data file's print; the map file's follows */
#define PRINT_BYTES  40U

static const char saved_magic[8] = {'D', 'G', 'C', 'H', 'G', '\r', '\n', 0x1a};

/* --- what it must fit -------------------------------------------------------------------------------------------- */

static uint64_t ns_of(struct timespec t)
{
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static int file_print(int dir_fd, const char *name, unsigned char *ret)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    put_u64(ret, st.st_dev);
    put_u64(ret + 8, st.st_ino);
    put_u64(ret + 16, (uint64_t)st.st_size);
    put_u64(ret + 24, ns_of(st.st_mtim));
    put_u64(ret + 32, ns_of(st.st_ctim));
    return 0;
}

static int both_prints(const struct changes_place *p, unsigned char *ret)
{
    struct changes_names n = changes_names(p);
    int r = file_print(p->dir_fd, n.data, ret);
    return r < 0 ? r : file_print(p->dir_fd, n.map, ret + PRINT_BYTES);
}

/* --- write ------------------------------------------------------------------------------------------------------- */

static int encode_head(const struct changes_place *p, const struct changes_head *h, uint64_t records,
                       unsigned char *buf)
{
    memset(buf, 0, HEAD_BYTES);
    memcpy(buf, saved_magic, sizeof(saved_magic));
    put_u32(buf + 8, CHANGES_VERSION);
    put_u32(buf + 12, 0); /* features */
    memcpy(buf + 16, h->overlay_id, 16);
    memcpy(buf + 32, h->id, 16);
    put_u64(buf + 48, h->size_bytes);
    put_u64(buf + 56, records);
    put_u32(buf + 64, atomic_load(&h->epoch));
    put_u32(buf + 68, (uint32_t)CHANGES_REGION_BYTES);
    return both_prints(p, buf + PRINT_OFF);
}

static bool encode_page(const uint32_t *tags, uint64_t page, unsigned char *buf)
{
    if (is_zero(tags, CHANGES_PAGE))
        return false;
    put_u64(buf, page);
    for (size_t i = 0; i < CHANGES_PAGE_TAGS; i++)
        put_u32(buf + 8 + i * 4, tags[i]);
    return true;
}

struct bytes {
    unsigned char *p;
    size_t len, room;
};

static int need_room(struct bytes *b, size_t more)
{
    if (b->len + more <= b->room)
        return 0;
    size_t room = MAX(2 * b->room, b->len + 16 * more);
    unsigned char *p = realloc(b->p, room);
    if (!p)
        return -ENOMEM;
    b->p = p;
    b->room = room;
    return 0;
}

static int encode_pages(int fd, uint64_t pages, struct bytes *b, uint64_t *ret_records)
{
    uint32_t tags[CHANGES_PAGE_TAGS];
    *ret_records = 0;
    for (uint64_t i = 0; i < pages; i++) {
        off_t data = lseek(fd, (off_t)((1 + i) * CHANGES_PAGE), SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno;
        i = (uint64_t)data / CHANGES_PAGE - 1;
        int r = pread_full(fd, tags, sizeof(tags), (1 + i) * CHANGES_PAGE);
        if (r == 0)
            r = need_room(b, RECORD_BYTES);
        if (r < 0)
            return r;
        if (!encode_page(tags, i, b->p + b->len))
            continue;
        b->len += RECORD_BYTES;
        ++*ret_records;
    }
    return 0;
}

static int encode(const struct changes_place *p, int fd, struct bytes *b)
{
    struct changes_head h;
    uint64_t records;
    unsigned char sum[16];
    int r = pread_full(fd, &h, sizeof(h), 0);
    if (r == 0)
        r = need_room(b, HEAD_BYTES);
    if (r < 0)
        return r;
    b->len = HEAD_BYTES;
    r = encode_pages(fd, changes_pages(h.size_bytes), b, &records);
    if (r == 0)
        r = encode_head(p, &h, records, b->p);
    if (r < 0)
        return r;
    hash128(b->p, b->len, sum); /* the sum's own place is zero now */
    memcpy(b->p + SUM_OFF, sum, sizeof(sum));
    return 0;
}

int changes_write_saved(const struct changes_place *p, int fd)
{
    struct changes_names n = changes_names(p);
    struct bytes b = {0};
    int r = encode(p, fd, &b);
    if (r == 0)
        r = file_replace(p->dir_fd, n.saved, b.p, b.len, 0600);
    free(b.p);
    return r;
}

/* --- read -------------------------------------------------------------------------------------------------------- */

static int check(const struct changes_place *p, unsigned char *buf, size_t len)
{
    unsigned char stored[16], sum[16], print[2 * PRINT_BYTES];
    if (len < HEAD_BYTES || memcmp(buf, saved_magic, sizeof(saved_magic)) != 0)
        return -EBADMSG;
    if (get_u32(buf + 8) != CHANGES_VERSION || get_u32(buf + 12) != 0 || get_u32(buf + 68) != CHANGES_REGION_BYTES)
        return -EOPNOTSUPP;
    memcpy(stored, buf + SUM_OFF, sizeof(stored));
    memset(buf + SUM_OFF, 0, sizeof(stored));
    hash128(buf, len, sum);
    uint64_t bytes;
    if (memcmp(stored, sum, sizeof(sum)) != 0 || !mul_ok(get_u64(buf + 56), RECORD_BYTES, &bytes) ||
        bytes != len - HEAD_BYTES)
        return -EBADMSG;
    if (memcmp(buf + 16, p->stamp->overlay_id, 16) != 0 || get_u64(buf + 48) != p->stamp->size_bytes)
        return -ESTALE;
    uint32_t epoch = get_u32(buf + 64);
    if (epoch == 0 || epoch >= UINT32_MAX - 1) /* the next one would be none, and its marks would say "never" */
        return -EBADMSG;
    int r = both_prints(p, print);
    if (r < 0)
        return r;
    return memcmp(print, buf + PRINT_OFF, sizeof(print)) == 0 ? 0 : -ESTALE;
}

static int put_page(int fd, const unsigned char *record, uint64_t pages)
{
    uint32_t tags[CHANGES_PAGE_TAGS];
    uint64_t page = get_u64(record);
    if (page >= pages)
        return -EBADMSG;
    for (size_t i = 0; i < CHANGES_PAGE_TAGS; i++)
        tags[i] = get_u32(record + 8 + i * 4);
    return pwrite_full(fd, tags, sizeof(tags), (1 + page) * CHANGES_PAGE);
}

int changes_load_saved(const struct changes_place *p, int fd)
{
    struct changes_names n = changes_names(p);
    _cleanup_free_ char *text = NULL;
    size_t len;
    int r = file_read(p->dir_fd, n.saved, FILE_MAX, &text, &len);
    if (r < 0)
        return r;
    unsigned char *buf = (unsigned char *)text;
    r = check(p, buf, len);
    if (r == 0)
        r = changes_new_file(fd, p->stamp, buf + 32, get_u32(buf + 64));
    for (size_t off = HEAD_BYTES; r == 0 && off < len; off += RECORD_BYTES)
        r = put_page(fd, buf + off, changes_pages(p->stamp->size_bytes));
    return r;
}
