/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Map file, little-endian; see docs/map-file-format.md.
 *
 *   0      header, 4096 bytes; its last 16 bytes are the XXH3-128 of all other bytes of the file
 *   4096   records of 4112 bytes: u64 directory index, u32 plane, u32 zero, 4096 bytes of leaf
 */
#include "core/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/blk.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/journal.h"
#include "core/util.h"

#define HEAD_BYTES    4096U
#define SUM_OFF       (HEAD_BYTES - 16)
#define RECORD_BYTES  (16U + 4096U)
#define MAP_VERSION   1U
#define MAP_BYTES_MAX (1ULL << 32)

static const char map_magic[8] = {'D', 'G', 'M', 'A', 'P', '\r', '\n', 0x1a};

/* --- encode ------------------------------------------------------------------------------------------------------ */

static void encode_head(unsigned char *p, const struct mapfile_info *info)
{
    memset(p, 0, HEAD_BYTES);
    memcpy(p, map_magic, sizeof(map_magic));
    put_u32(p + 8, MAP_VERSION);
    put_u32(p + 12, 0); /* features */
    memcpy(p + 16, info->stamp.overlay_id, 16);
    put_u64(p + 32, info->stamp.size_bytes);
    put_u32(p + 40, (uint32_t)BLOCK_BYTES);
    put_u32(p + 44, (uint32_t)LEAF_BLOCKS);
    put_u64(p + 48, info->sequence);
    put_u64(p + 56, info->leaves);
    memcpy(p + 64, info->stamp.base_identity, sizeof(info->stamp.base_identity));
}

static bool encode_leaf(const struct livemap *m, uint64_t dir, enum map_plane plane, unsigned char *p)
{
    uint64_t bits[LEAF_WORDS];
    if (!livemap_leaf_get(m, dir, plane, bits) || is_zero(bits, sizeof(bits)))
        return false;
    put_u64(p, dir);
    put_u32(p + 8, plane);
    put_u32(p + 12, 0);
    for (size_t i = 0; i < LEAF_WORDS; i++)
        put_u64(p + 16 + i * 8, bits[i]);
    return true;
}

int mapfile_encode(const struct livemap *m, uint64_t sequence, void **ret, size_t *ret_len)
{
    size_t room = HEAD_BYTES + 64 * RECORD_BYTES, len = HEAD_BYTES;
    _cleanup_free_ unsigned char *buf = malloc(room);
    struct mapfile_info info = {.stamp = *livemap_stamp(m), .sequence = sequence};
    if (!buf)
        return -ENOMEM;
    /* The zero plane of a leaf before its present plane, as livemap_run() does: of a block that is written meanwhile (ZERO ->
     * PRESENT) the other order could take neither bit, and ABSENT would bring back what lies below. */
    for (uint64_t i = 0; i < 2 * livemap_dir_count(m); i++) {
        if (len + RECORD_BYTES > room) {
            room *= 2;
            unsigned char *more = realloc(buf, room);
            if (!more)
                return -ENOMEM;
            buf = more;
        }
        if (!encode_leaf(m, i / 2, i % 2 ? PLANE_PRESENT : PLANE_ZERO, buf + len))
            continue;
        len += RECORD_BYTES;
        info.leaves++;
    }
    encode_head(buf, &info);
    unsigned char sum[16];
    hash128(buf, len, sum); /* the sum's own place is zero now */
    memcpy(buf + SUM_OFF, sum, sizeof(sum));
    *ret = take_ptr(buf);
    *ret_len = len;
    return 0;
}

int mapfile_write(int dirfd, const char *name, const void *buf, size_t len)
{
    return file_replace(dirfd, name, buf, len, 0600);
}

/* file_replace() writes to ".NAME.PID.tmp". */
void mapfile_sweep(int dirfd, const char *name)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t len = strlen(name);
    if (!d) {
        closep(&fd); /* what cannot be listed stays; it costs a little space */
        return;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        const char *end = strrchr(e->d_name, '.');
        if (e->d_name[0] == '.' && strncmp(e->d_name + 1, name, len) == 0 && e->d_name[1 + len] == '.' &&
            strcmp(end, ".tmp") == 0)
            (void)unlinkat(dirfd, e->d_name, 0); /* likewise */
    }
}

/* --- decode ------------------------------------------------------------------------------------------------------ */

static int decode_head(const unsigned char *p, const char *name, struct mapfile_info *ret, struct err *err)
{
    if (memcmp(p, map_magic, sizeof(map_magic)) != 0)
        return err_set(err, -EBADMSG, "'%s' is not a map file", name);
    if (get_u32(p + 8) != MAP_VERSION || get_u32(p + 12) != 0)
        return err_set(err, -EOPNOTSUPP, "'%s' was made by a newer version of Diskgate (map version %u, features 0x%x)",
                       name, get_u32(p + 8), get_u32(p + 12));
    if (get_u32(p + 40) != BLOCK_BYTES || get_u32(p + 44) != LEAF_BLOCKS)
        return err_set(err, -EOPNOTSUPP, "'%s' has another block size", name);
    memcpy(ret->stamp.overlay_id, p + 16, 16);
    ret->stamp.size_bytes = get_u64(p + 32);
    ret->sequence = get_u64(p + 48);
    ret->leaves = get_u64(p + 56);
    memcpy(ret->stamp.base_identity, p + 64, sizeof(ret->stamp.base_identity));
    if (ret->stamp.size_bytes == 0 || ret->stamp.size_bytes % SECTOR_BYTES != 0 ||
        ret->stamp.size_bytes > LIVEMAP_SIZE_MAX || ret->sequence > JOURNAL_NUMBER_MAX ||
        !memchr(ret->stamp.base_identity, 0, sizeof(ret->stamp.base_identity)))
        return err_set(err, -EBADMSG, "the header of '%s' is damaged", name);
    return 0;
}

int mapfile_info(int dirfd, const char *name, struct mapfile_info *ret, struct err *err)
{
    unsigned char head[HEAD_BYTES];
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s'", name);
    int r = pread_full(fd, head, sizeof(head), 0);
    if (r < 0)
        return err_set(err, -EBADMSG, "'%s' is cut short", name);
    return decode_head(head, name, ret, err);
}

static int check_sum(unsigned char *buf, size_t len, const char *name, struct err *err)
{
    unsigned char stored[16], sum[16];
    memcpy(stored, buf + SUM_OFF, sizeof(stored));
    memset(buf + SUM_OFF, 0, sizeof(stored));
    hash128(buf, len, sum);
    if (memcmp(stored, sum, sizeof(sum)) != 0)
        return err_set(err, -EBADMSG, "the check sum of '%s' does not fit", name);
    return 0;
}

static int load_leaf(const unsigned char *p, struct livemap *into, const char *name, struct err *err)
{
    uint64_t dir = get_u64(p), bits[LEAF_WORDS];
    uint32_t plane = get_u32(p + 8);
    if (dir >= livemap_dir_count(into) || plane > PLANE_ZERO || get_u32(p + 12) != 0)
        return err_set(err, -EBADMSG, "a record of '%s' is damaged", name);
    for (size_t i = 0; i < LEAF_WORDS; i++)
        bits[i] = get_u64(p + 16 + i * 8);
    int r = livemap_leaf_put(into, dir, plane, bits);
    return r < 0 ? err_sys(err, r, "cannot load '%s'", name) : 0;
}

int mapfile_load(int dirfd, const char *name, struct livemap *into, struct mapfile_info *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    int r = file_read(dirfd, name, MAP_BYTES_MAX, &text, &len);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", name);
    unsigned char *buf = (unsigned char *)text;
    if (len < HEAD_BYTES)
        return err_set(err, -EBADMSG, "'%s' is cut short", name);
    struct mapfile_info info;
    r = decode_head(buf, name, &info, err);
    if (r == 0)
        r = check_sum(buf, len, name, err);
    if (r < 0)
        return r;
    if (info.stamp.size_bytes != livemap_stamp(into)->size_bytes || info.leaves != (len - HEAD_BYTES) / RECORD_BYTES ||
        (len - HEAD_BYTES) % RECORD_BYTES != 0)
        return err_set(err, -EBADMSG, "'%s' has the wrong size", name);
    for (uint64_t i = 0; i < info.leaves && r == 0; i++)
        r = load_leaf(buf + HEAD_BYTES + i * RECORD_BYTES, into, name, err);
    if (r == 0)
        *ret = info;
    return r;
}
