/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT12, FAT16 and FAT32: from the boot sector to one name in one folder after the other.
 *
 *   boot sector | FAT | FAT | root folder (FAT12, 16) | clusters 2, 3, ...
 *
 * (1) Every position is checked against the file system's length by read_at().
 * (2) A folder is at most DIR_CLUSTERS_MAX clusters, so a chain that is a loop ends.
 * Not done: long names. A file that only has a long name has a short one too.
 * Source: Microsoft's FAT specification of 2000, fatgen103.
 */
#include "core/fat.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define ENTRY_BYTES      32
#define DIR_CLUSTERS_MAX 4096
#define ATTR_VOLUME      0x08
#define ATTR_FOLDER      0x10

struct fat {
    int (*read)(void *arg, void *buf, size_t len, uint64_t off);
    void *arg;
    uint64_t off, len;
    unsigned bits; /* 12, 16, 32 */
    uint32_t cluster_bytes, clusters, root_cluster, root_entries;
    uint64_t fat_off, root_off, data_off;
};

static int read_at(const struct fat *f, void *buf, size_t len, uint64_t off)
{
    return range_ok(off, len, f->len) ? f->read(f->arg, buf, len, f->off + off) : -EBADMSG;
}

static bool is_power_of_two(uint32_t n)
{
    return n && (n & (n - 1)) == 0;
}

static int decode(struct fat *f, const unsigned char *b)
{
    uint32_t sector = get_u16(b + 11), per_cluster = b[13], reserved = get_u16(b + 14), fats = b[16];
    uint32_t sectors = get_u16(b + 19) ? get_u16(b + 19) : get_u32(b + 32);
    uint32_t fat_sectors = get_u16(b + 22) ? get_u16(b + 22) : get_u32(b + 36);
    if (b[510] != 0x55 || b[511] != 0xaa || !is_power_of_two(sector) || sector < 512 || sector > 4096 ||
        !is_power_of_two(per_cluster) || reserved == 0 || fats == 0 || fats > 4 || fat_sectors == 0)
        return -EBADMSG;
    f->root_entries = get_u16(b + 17);
    f->cluster_bytes = sector * per_cluster;
    f->fat_off = (uint64_t)reserved * sector;
    f->root_off = f->fat_off + (uint64_t)fats * fat_sectors * sector;
    f->data_off = f->root_off + round_up((uint64_t)f->root_entries * ENTRY_BYTES, sector);
    uint64_t bytes = (uint64_t)sectors * sector;
    if (f->data_off >= bytes || bytes > f->len)
        return -EBADMSG;
    f->clusters = (uint32_t)MIN((bytes - f->data_off) / f->cluster_bytes, 0x0ffffff5U);
    f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
    f->root_cluster = f->bits == 32 ? get_u32(b + 44) : 0;
    return 0;
}

/* The cluster behind @cluster; 0 at the end of the chain. */
static int next_cluster(const struct fat *f, uint32_t cluster, uint32_t *ret)
{
    unsigned char b[4] = {0};
    uint64_t bit = (uint64_t)cluster * f->bits;
    int r = read_at(f, b, f->bits == 32 ? 4 : 2, f->fat_off + bit / 8);
    if (r < 0)
        return r;
    uint32_t n = f->bits == 32 ? get_u32(b) & 0x0fffffff : f->bits == 16 ? get_u16(b) : get_u16(b) >> (bit % 8) & 0xfff;
    *ret = n >= 2 && n < f->clusters + 2 ? n : 0;
    return 0;
}

/* Part of @path up to the next '/' as 8+3 characters. False when it is none. */
static bool short_name(const char *path, char ret[11])
{
    size_t at = 0, limit = 8;
    memset(ret, ' ', 11);
    for (; *path && *path != '/'; path++) {
        if (*path == '.' && limit == 8) {
            at = 8;
            limit = 11;
            continue;
        }
        if (at >= limit)
            return false;
        ret[at++] = (char)toupper((unsigned char)*path);
    }
    return ret[0] != ' ';
}

/* Look for @name among @len bytes of entries. 1 found, 0 not, -ENOENT the folder ends here. */
static int look(const unsigned char *entries, size_t len, const char name[11], unsigned char *ret)
{
    for (size_t i = 0; i + ENTRY_BYTES <= len; i += ENTRY_BYTES) {
        const unsigned char *e = entries + i;
        if (e[0] == 0)
            return -ENOENT;
        if ((e[11] & ATTR_VOLUME) || memcmp(e, name, 11) != 0)
            continue;
        memcpy(ret, e, ENTRY_BYTES);
        return 1;
    }
    return 0;
}

static int look_at(const struct fat *f, unsigned char *buf, size_t len, uint64_t off, const char name[11],
                   unsigned char *ret)
{
    int r = read_at(f, buf, len, off);
    return r < 0 ? r : look(buf, len, name, ret);
}

/* The entry @name of the folder that begins at @cluster, 0 = the root of FAT12 and 16. 1, or 0 when there is none. */
static int find_entry(const struct fat *f, uint32_t cluster, const char name[11], unsigned char *ret)
{
    size_t len = cluster ? f->cluster_bytes : (size_t)f->root_entries * ENTRY_BYTES;
    _cleanup_free_ unsigned char *buf = malloc(MAX(len, (size_t)1));
    if (!buf)
        return -ENOMEM;
    if (!cluster) {
        int r = look_at(f, buf, len, f->root_off, name, ret);
        return r == -ENOENT ? 0 : r;
    }
    for (unsigned n = 0; cluster >= 2 && cluster < f->clusters + 2 && n < DIR_CLUSTERS_MAX; n++) {
        int r = look_at(f, buf, len, f->data_off + (uint64_t)(cluster - 2) * f->cluster_bytes, name, ret);
        if (r != 0)
            return r == -ENOENT ? 0 : r;
        r = next_cluster(f, cluster, &cluster);
        if (r < 0)
            return r;
    }
    return 0;
}

int fat_has_file(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t off, uint64_t len,
                 const char *path)
{
    struct fat f = {.read = read, .arg = arg, .off = off, .len = len};
    unsigned char boot[512], entry[ENTRY_BYTES];
    int r = read_at(&f, boot, sizeof(boot), 0);
    r = r ? r : decode(&f, boot);
    if (r < 0)
        return r;
    uint32_t cluster = f.root_cluster;
    for (const char *p = path;; p++) {
        char name[11];
        if (!short_name(p, name))
            return 0;
        r = find_entry(&f, cluster, name, entry);
        if (r <= 0)
            return r;
        p = strchr(p, '/');
        bool is_folder = entry[11] & ATTR_FOLDER;
        if (!p)
            return !is_folder && get_u32(entry + 28) > 0;
        if (!is_folder)
            return 0;
        cluster = get_u16(entry + 26) | (f.bits == 32 ? get_u16(entry + 20) << 16 : 0);
        if (cluster == 0) /* only the root may be there */
            return -EBADMSG;
    }
}
