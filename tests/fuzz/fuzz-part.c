/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of partition tables: any disk gives a list or a sentence, without reading outside of the disk or without end.
 *
 * The input is a disk in short: one byte picks the size of the disk, then come pieces of 514 bytes: a 16-bit number and a sector. Its low
 * 15 bits are the sector's place from the beginning, or from the end where the highest bit is set. A sector 0 gets a boot signature.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/part.h"
#include "core/util.h"

#define READS_MAX 1000

struct disk {
    int fd;
    uint64_t size;
    unsigned reads;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

static int read_disk(void *arg, void *buf, size_t len, uint64_t off)
{
    struct disk *d = arg;
    must(range_ok(off, len, d->size) && d->reads++ < READS_MAX);
    return pread_full(d->fd, buf, len, off);
}

static void put_sector(struct disk *d, const uint8_t *piece)
{
    unsigned char sector[SECTOR_BYTES];
    uint64_t lba = (uint64_t)piece[0] | (uint64_t)(piece[1] & 0x7f) << 8, total = d->size / SECTOR_BYTES;
    memcpy(sector, piece + 2, sizeof(sector));
    if (lba >= total)
        return;
    if (piece[1] & 0x80)
        lba = total - 1 - lba;
    if (lba == 0)
        memcpy(sector + 510, "\x55\xaa", 2);
    must(pwrite_full(d->fd, sector, sizeof(sector), lba * SECTOR_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint64_t sizes[] = {512, 1024, MiB, 1440 * KiB + 512, 2 * MiB, 64 * MiB, 10 * GiB, 4 * TiB};
    struct part parts[PART_MAX];
    struct err err;
    size_t n = 0;
    char table[8];
    if (len == 0)
        return 0;
    _cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC);
    struct disk d = {.fd = fd, .size = sizes[data[0] % ARRAY_SIZE(sizes)]};
    must(fd >= 0 && ftruncate(fd, (off_t)d.size) == 0);
    for (size_t i = 1; i + 2 + SECTOR_BYTES <= len; i += 2 + SECTOR_BYTES)
        put_sector(&d, data + i);
    int r = part_list(read_disk, &d, d.size, parts, &n, table, &err);
    must(r == 0 || r == -EBADMSG);
    must(n <= PART_MAX && (r == 0 || n == 0));
    for (size_t i = 0; i < n; i++)
        must(parts[i].is_outside || (parts[i].len > 0 && range_ok(parts[i].off, parts[i].len, d.size)));
    return 0;
}
