/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables by libblkid, on a sparse copy of the places where they live.
 *
 *   disk   |1 MiB|......|EBR|.......|EBR|............|1 MiB|        a stack of layers
 *             |           |           |                 |
 *   copy   |1 MiB|      |EBR|       |EBR|            |1 MiB|        memory file of the disk's size, holes in between
 *             libblkid -> list
 *
 * Copied besides the two ends: the chain of extended boot records, and the sector of an NTFS volume's MFT, because libblkid looks
 * there to tell a volume without a table from a table.
 *
 * (1) Nothing is decoded here that ends up in the list. What we follow ourselves (the chain) only decides what is copied.
 * (2) Every position from the disk goes through range_ok() or mul_ok(); a chain has at most CHAIN_MAX links, so a loop ends.
 * (3) libblkid reads the whole entry array that a GPT header claims, up to 4 GiB. A header that claims more than GPT_ARRAY_MAX bytes is
 *     blanked in the copy, which leads to the backup or to "damaged".
 * (4) Only the outermost table counts: BSD labels and the like within a partition are not listed.
 * Not done: disks with 4096-byte sectors; GPT entry arrays that lie outside of the first and last MiB.
 */
#include "core/part.h"

#include <blkid.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "core/bytes.h"
#include "core/util.h"

#define END_BYTES     MiB
#define CHAIN_MAX     64
#define MBR_TABLE_OFF 446
#define MBR_ENTRIES   4
#define GPT_ARRAY_MAX (512 * KiB)
#define GPT_FLOOR     (1440 * KiB + 1) /* libblkid looks for a GPT on disks of at least this size */
#define MBR_GPT       0xee

struct source {
    int (*read)(void *arg, void *buf, size_t len, uint64_t off);
    void *arg;
    uint64_t size;
    int fd; /* the copy */
    unsigned char mbr[SECTOR_BYTES];
};

/* --- MBR, as far as copying needs it ------------------------------------------------------------------------------ */

static bool has_signature(const unsigned char *sector)
{
    return sector[510] == 0x55 && sector[511] == 0xaa;
}

static const unsigned char *mbr_entry(const unsigned char *sector, unsigned i)
{
    return sector + MBR_TABLE_OFF + 16 * i;
}

static uint32_t entry_start(const unsigned char *entry)
{
    return get_u32(entry + 8);
}

static bool is_extended_type(unsigned type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static bool is_extended_entry(const unsigned char *entry)
{
    return is_extended_type(entry[4]) && get_u32(entry + 12) != 0;
}

static bool is_protective(const unsigned char *sector)
{
    for (unsigned i = 0; i < MBR_ENTRIES; i++)
        if (mbr_entry(sector, i)[4] == MBR_GPT)
            return has_signature(sector);
    return false;
}

/* --- the copy ----------------------------------------------------------------------------------------------------- */

static int copy_range(struct source *s, void *buf, size_t len, uint64_t off)
{
    int r = s->read(s->arg, buf, len, off);
    return r < 0 ? r : pwrite_full(s->fd, buf, len, off);
}

static int copy_ends(struct source *s)
{
    size_t len = (size_t)MIN(s->size, END_BYTES);
    _cleanup_free_ unsigned char *buf = malloc(len);
    if (!buf)
        return -ENOMEM;
    int r = copy_range(s, buf, len, 0);
    if (r < 0)
        return r;
    memcpy(s->mbr, buf, sizeof(s->mbr));
    if (s->size <= END_BYTES)
        return 0;
    uint64_t last = MAX(END_BYTES, s->size - END_BYTES);
    return copy_range(s, buf, (size_t)(s->size - last), last);
}

/* Copy the chain that begins at sector @first of an extended partition. It ends where a link leaves the disk or is no boot record. */
static int copy_chain(struct source *s, uint32_t first)
{
    uint64_t lba = first;
    for (unsigned n = 0; n < CHAIN_MAX; n++) {
        unsigned char sector[SECTOR_BYTES];
        if (!range_ok(lba * SECTOR_BYTES, SECTOR_BYTES, s->size))
            return 0;
        int r = copy_range(s, sector, sizeof(sector), lba * SECTOR_BYTES);
        if (r < 0 || !has_signature(sector))
            return r;
        unsigned i = 0;
        while (i < MBR_ENTRIES && !is_extended_entry(mbr_entry(sector, i)))
            i++;
        if (i == MBR_ENTRIES)
            return 0;
        lba = (uint64_t)first + entry_start(mbr_entry(sector, i));
    }
    return 0;
}

static int copy_chains(struct source *s)
{
    int r = 0;
    if (!has_signature(s->mbr))
        return 0;
    for (unsigned i = 0; i < MBR_ENTRIES && r == 0; i++)
        if (is_extended_entry(mbr_entry(s->mbr, i)) && entry_start(mbr_entry(s->mbr, i)) != 0)
            r = copy_chain(s, entry_start(mbr_entry(s->mbr, i)));
    return r;
}

/* Source: the NTFS boot sector, documented: bytes a sector at 11, sectors a cluster at 13, cluster of $MFT at 48. */
static int copy_mft(struct source *s)
{
    uint64_t off;
    unsigned char buf[4 * KiB];
    if (memcmp(s->mbr + 3, "NTFS    ", 8) != 0)
        return 0;
    uint64_t sectors = s->mbr[13] <= 128 ? s->mbr[13] : 1ULL << MIN(256U - s->mbr[13], 31U);
    uint64_t cluster_bytes = get_u16(s->mbr + 11) * sectors;
    if (!mul_ok(get_u64(s->mbr + 48), cluster_bytes, &off) || !range_ok(off, sizeof(buf), s->size))
        return 0;
    return copy_range(s, buf, sizeof(buf), off);
}

/* Invariant 3. Source: UEFI specification, GPT header: signature at 0, number of entries at 80, their size at 84. */
static int blank_huge_gpt(struct source *s, uint64_t lba)
{
    unsigned char header[SECTOR_BYTES];
    int r = pread_full(s->fd, header, sizeof(header), lba * SECTOR_BYTES);
    if (r < 0 || memcmp(header, "EFI PART", 8) != 0)
        return r;
    if ((uint64_t)get_u32(header + 80) * get_u32(header + 84) <= GPT_ARRAY_MAX)
        return 0;
    memset(header, 0, sizeof(header));
    return pwrite_full(s->fd, header, sizeof(header), lba * SECTOR_BYTES);
}

/* Fill the memory file. */
static int make_copy(struct source *s)
{
    if (ftruncate(s->fd, (off_t)s->size) < 0)
        return -errno;
    int r = copy_ends(s);
    if (r == 0)
        r = copy_chains(s);
    if (r == 0)
        r = copy_mft(s);
    if (r == 0 && s->size >= 2 * SECTOR_BYTES)
        r = blank_huge_gpt(s, 1);
    if (r == 0)
        r = blank_huge_gpt(s, s->size / SECTOR_BYTES - 1);
    return r;
}

/* --- libblkid ----------------------------------------------------------------------------------------------------- */

static void probe_freep(blkid_probe *pr)
{
    blkid_free_probe(*pr);
}

static int open_probe(int fd, blkid_probe *ret)
{
    static char dos[] = "dos", gpt[] = "gpt";
    char *tables[] = {dos, gpt, NULL};
    _cleanup_(probe_freep) blkid_probe pr = blkid_new_probe();
    if (!pr || blkid_probe_set_device(pr, fd, 0, 0) != 0)
        return -ENOMEM;
    if (blkid_probe_enable_superblocks(pr, 0) != 0 || blkid_probe_enable_partitions(pr, 1) != 0 ||
        blkid_probe_filter_partitions_type(pr, BLKID_FLTR_ONLYIN, tables) != 0)
        return -ENOMEM;
    *ret = take_ptr(pr);
    return 0;
}

/* Names come from the disk: keep whole UTF-8 characters that fit, and no control characters. */
static void copy_name(const char *name, char *ret, size_t size)
{
    size_t n = name ? strnlen(name, size) : 0;
    if (n == size)
        for (n = size - 1; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80;)
            n--;
    for (size_t i = 0; i < n; i++)
        ret[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    ret[n] = 0;
}

/* False for an entry that is not listed: nested tables, and numbers that cannot be. */
static bool fill_part(blkid_partition p, blkid_parttable table, uint64_t disk_bytes, struct part *ret)
{
    int number = blkid_partition_get_partno(p);
    blkid_loff_t start = blkid_partition_get_start(p), size = blkid_partition_get_size(p);
    memset(ret, 0, sizeof(*ret));
    if (blkid_partition_get_table(p) != table || number <= 0 || start < 0 || size <= 0)
        return false;
    ret->number = (unsigned)number;
    ret->is_outside = !mul_ok((uint64_t)start, SECTOR_BYTES, &ret->off) ||
                      !mul_ok((uint64_t)size, SECTOR_BYTES, &ret->len) || !range_ok(ret->off, ret->len, disk_bytes);
    const char *guid = blkid_partition_get_type_string(p);
    int type = blkid_partition_get_type(p);
    if (guid)
        copy_name(guid, ret->type, sizeof(ret->type));
    else
        (void)snprintf(ret->type, sizeof(ret->type), "0x%02x", (unsigned)type & 0xff);
    ret->is_extended = !guid && is_extended_type((unsigned)type);
    copy_name(blkid_partition_get_name(p), ret->name, sizeof(ret->name));
    return true;
}

static void list_parts(blkid_partlist list, uint64_t disk_bytes, struct part *ret, size_t *ret_n, char *ret_table)
{
    blkid_parttable table = blkid_partlist_get_table(list);
    const char *name = table ? blkid_parttable_get_type(table) : NULL;
    int n = blkid_partlist_numof_partitions(list);
    size_t count = 0;
    if (!name)
        return;
    for (int i = 0; i < n && count < PART_MAX; i++) {
        blkid_partition p = blkid_partlist_get_partition(list, i);
        if (p && fill_part(p, table, disk_bytes, &ret[count]))
            count++;
    }
    *ret_n = count;
    (void)snprintf(ret_table, 8, "%s", name);
}

/* libblkid found nothing. A protective MBR promises a GPT, so its absence is damage. */
static int no_table(const struct source *s, struct err *err)
{
    if (!is_protective(s->mbr))
        return 0;
    if (s->size < GPT_FLOOR)
        return err_set(err, -EBADMSG,
                       "a disk of %" PRIu64 " bytes with a protective MBR is too small for its GPT to be read",
                       s->size);
    return err_set(err, -EBADMSG,
                   "the protective MBR promises a GPT, but neither the one at sector 1 nor its backup in the last "
                   "sector is valid: the disk "
                   "is damaged or has another size than when it was partitioned (sgdisk -e or the partitioning tool of "
                   "the system repairs "
                   "that)");
}

static int probe_copy(const struct source *s, struct part *ret, size_t *ret_n, char *ret_table, struct err *err)
{
    _cleanup_(probe_freep) blkid_probe pr = NULL;
    int r = open_probe(s->fd, &pr);
    if (r < 0)
        return err_sys(err, r, "cannot start libblkid");
    errno = 0;
    r = blkid_do_fullprobe(pr);
    if (r < 0)
        return err_set(err, errno == ENOMEM ? -ENOMEM : -EBADMSG, "libblkid cannot understand the partition table");
    blkid_partlist list = r == 0 ? blkid_probe_get_partitions(pr) : NULL;
    if (!list)
        return no_table(s, err);
    list_parts(list, s->size, ret, ret_n, ret_table);
    return 0;
}

int part_list(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t size_bytes,
              struct part *ret, size_t *ret_n, char *ret_table, struct err *err)
{
    *ret_n = 0;
    ret_table[0] = 0;
    if (size_bytes < SECTOR_BYTES)
        return 0;
    _cleanup_close_ int fd = memfd_create("diskgate-part", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a memory file for the partition table");
    struct source s = {.read = read, .arg = arg, .size = round_down(size_bytes, SECTOR_BYTES), .fd = fd};
    int r = make_copy(&s);
    if (r < 0)
        return err_sys(err, r, "cannot read the partition table");
    return probe_copy(&s, ret, ret_n, ret_table, err);
}
