/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks at boot code, GPT, protective MBR and EFI system partition.
 *
 *   sector 0      boot code | table of four | 55 aa         BIOS starts here
 *   sector 1      GPT header -> entries                     its copy: last sector -> entries before it
 *   ESP           FAT with \EFI\BOOT\BOOTX64.EFI            UEFI starts here when it boots from a disk that it does not know
 *
 * Why the end CHS matters: iPXE guesses the geometry that it tells by INT13 from the ends of the partitions. With an end at sector 6 a
 * "track" has 6 sectors, and a loader that reads track by track reads 3 KiB at a time: a boot of 3 s takes 14.
 * Sources: UEFI specification 2.10, chapter 5 (GPT); iPXE src/interface/pcbios/int13.c, guess of the geometry; GRUB, biosdisk.c.
 */
#include "core/bootcheck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/bytes.h"
#include "core/fat.h"
#include "core/part.h"
#include "core/util.h"

#define CODE_BYTES    440
#define TABLE_OFF     446
#define GPT_ARRAY_MAX (512 * KiB)
#define TYPE_GPT      0xee
#define ESP_GUID      "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define EFI_LOADER    "EFI/BOOT/BOOTX64.EFI"

const unsigned char bootcheck_chs[3] = {0xff, 0xff, 0xff};

struct look {
    int (*read)(void *arg, void *buf, size_t len, uint64_t off);
    void *arg;
    uint64_t size;
    bool is_boot;
    unsigned char mbr[SECTOR_BYTES];
    struct bootcheck *ret;
};

static void say(struct look *l, bool is_damage, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct look *l, bool is_damage, const char *fmt, ...)
{
    va_list ap;
    if (l->ret->n == BOOTCHECK_MAX)
        return;
    struct bootcheck_finding *f = &l->ret->findings[l->ret->n++];
    f->is_damage = is_damage;
    va_start(ap, fmt);
    (void)vsnprintf(f->sentence, sizeof(f->sentence), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
}

/* CRC-32 of IEEE 802.3, as GPT has it; @crc of what came before, 0 at first. */
static uint32_t crc32(uint32_t crc, const unsigned char *p, size_t len)
{
    crc = ~crc;
    for (; len > 0; len--) {
        crc ^= *p++;
        for (unsigned i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
    }
    return ~crc;
}

static bool has_signature(const struct look *l)
{
    return l->mbr[510] == 0x55 && l->mbr[511] == 0xaa;
}

static const unsigned char *mbr_entry(const struct look *l, unsigned i)
{
    return l->mbr + TABLE_OFF + 16 * i;
}

/* --- GPT --------------------------------------------------------------------------------------------------------- */

enum gpt_state { GPT_NONE, GPT_GOOD, GPT_BAD };

struct gpt {
    enum gpt_state state;
    uint64_t other; /* sector of the other header */
    uint32_t array_crc;
};

/* Check sum over the entries, as the header says they lie. */
static int check_array(const struct look *l, const unsigned char *header, bool *ret_good)
{
    uint64_t off, len = (uint64_t)get_u32(header + 80) * get_u32(header + 84);
    *ret_good = false;
    if (len == 0 || len > GPT_ARRAY_MAX || !mul_ok(get_u64(header + 72), SECTOR_BYTES, &off) ||
        !range_ok(off, len, l->size))
        return 0;
    _cleanup_free_ unsigned char *array = malloc((size_t)len);
    if (!array)
        return -ENOMEM;
    int r = l->read(l->arg, array, (size_t)len, off);
    if (r == 0)
        *ret_good = crc32(0, array, (size_t)len) == get_u32(header + 88);
    return r;
}

static int read_gpt(const struct look *l, uint64_t lba, struct gpt *ret)
{
    unsigned char header[SECTOR_BYTES], zero[4] = {0};
    *ret = (struct gpt){GPT_NONE, 0, 0};
    if (!range_ok(lba * SECTOR_BYTES, SECTOR_BYTES, l->size))
        return 0;
    int r = l->read(l->arg, header, sizeof(header), lba * SECTOR_BYTES);
    if (r < 0 || memcmp(header, "EFI PART", 8) != 0)
        return r;
    uint32_t len = get_u32(header + 12);
    bool is_good = false;
    ret->state = GPT_BAD;
    if (len < 92 || len > SECTOR_BYTES || get_u64(header + 24) != lba)
        return 0;
    uint32_t crc = crc32(crc32(crc32(0, header, 16), zero, 4), header + 20, len - 20);
    if (crc != get_u32(header + 16))
        return 0;
    r = check_array(l, header, &is_good);
    ret->state = is_good ? GPT_GOOD : GPT_BAD;
    ret->other = get_u64(header + 32);
    ret->array_crc = get_u32(header + 88);
    return r;
}

/* Sentences on a GPT whose first header is good. */
static int check_backup(struct look *l, const struct gpt *first)
{
    struct gpt second;
    uint64_t last = l->size / SECTOR_BYTES - 1;
    if (first->other > last) {
        l->ret->is_cut_off = true;
        say(l, true,
            "the disk has %" PRIu64 " sectors, but its GPT was made for %" PRIu64 ": the image is cut off at its end",
            last + 1, first->other + 1);
        return 0;
    }
    int r = read_gpt(l, first->other, &second);
    if (r < 0)
        return r;
    if (second.state != GPT_GOOD)
        say(l, true,
            "the backup of the GPT at sector %" PRIu64 " is %s: 'sgdisk -e' on a copy of the image writes it anew",
            first->other, second.state == GPT_NONE ? "missing" : "damaged");
    else if (second.array_crc != first->array_crc)
        say(l, true,
            "the GPT and its backup list different partitions: 'sgdisk -e' on a copy of the image takes those "
            "of the first");
    else if (first->other < last)
        say(l, false,
            "the backup of the GPT is at sector %" PRIu64 " and not at the end of the disk, sector %" PRIu64
            ": the image was made larger; 'sgdisk -e' on a copy moves it",
            first->other, last);
    return 0;
}

static bool is_protective(const struct look *l)
{
    for (unsigned i = 0; i < 4; i++)
        if (has_signature(l) && mbr_entry(l, i)[4] == TYPE_GPT)
            return true;
    return false;
}

static int check_gpt(struct look *l, bool *ret_is_gpt)
{
    struct gpt first, backup;
    int r = read_gpt(l, 1, &first);
    *ret_is_gpt = r == 0 && (first.state == GPT_GOOD || is_protective(l));
    if (r < 0 || !*ret_is_gpt)
        return r;
    if (first.state == GPT_GOOD)
        return check_backup(l, &first);
    r = read_gpt(l, l->size / SECTOR_BYTES - 1, &backup);
    if (r < 0)
        return r;
    if (backup.state == GPT_GOOD)
        say(l, true,
            "the GPT at sector 1 is damaged, its backup is not: 'sgdisk' on a copy of the image, command r, "
            "then b, then w, restores it");
    else
        say(l, true, "the protective MBR promises a GPT, but neither the one at sector 1 nor its backup is valid");
    return 0;
}

/* --- geometry ---------------------------------------------------------------------------------------------------- */

/* What iPXE takes for the sectors of a track: the greatest that a partition ends at. */
static void check_chs(struct look *l)
{
    unsigned most = 0;
    int protective = -1;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned char *e = mbr_entry(l, i);
        if (e[4] == 0)
            continue;
        most = MAX(most, e[6] & 63U);
        if (e[4] == TYPE_GPT)
            protective = (int)i;
    }
    if (most == 63 || protective < 0)
        return;
    l->ret->has_short_chs = true;
    l->ret->chs_off = TABLE_OFF + 16 * (unsigned)protective + 5;
    say(l, false,
        "its protective MBR ends at CHS sector %u, so PCs with BIOS take %u sectors for a track, and a loader that "
        "reads "
        "track by track starts slowly; 'image check --mend-chs' mends it in a copy",
        most, most);
}

/* --- loaders ----------------------------------------------------------------------------------------------------- */

static int check_esp(struct look *l, const struct part *parts, size_t n, bool *ret_has_loader)
{
    const struct part *esp = NULL;
    *ret_has_loader = false;
    for (size_t i = 0; i < n && !esp; i++)
        if (!parts[i].is_outside && (strcasecmp(parts[i].type, ESP_GUID) == 0 || strcmp(parts[i].type, "0xef") == 0))
            esp = &parts[i];
    if (!esp) {
        say(l, false, "it has no EFI system partition: PCs with UEFI do not boot from it");
        return 0;
    }
    int r = fat_has_file(l->read, l->arg, esp->off, esp->len, EFI_LOADER);
    if (r == -EBADMSG)
        say(l, true,
            "its EFI system partition %u holds no FAT file system that can be read: PCs with UEFI do not boot "
            "from it",
            esp->number);
    if (r == 0)
        say(l, false,
            "its EFI system partition %u has no \\EFI\\BOOT\\BOOTX64.EFI, which PCs with UEFI start from a disk that "
            "they see for the first time",
            esp->number);
    *ret_has_loader = r == 1;
    return r == -EBADMSG ? 0 : MIN(r, 0);
}

static void check_parts(struct look *l, const struct part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!parts[i].is_outside)
            continue;
        l->ret->is_cut_off = true;
        say(l, true,
            "partition %u reaches beyond the end of the disk: the image is cut off, or its table is of a larger disk",
            parts[i].number);
    }
}

static int check_loaders(struct look *l, const char *table, const struct part *parts, size_t n)
{
    bool has_efi, has_bios = has_signature(l) && !is_zero(l->mbr, CODE_BYTES);
    if (!has_signature(l) && !*table) {
        say(l, false, "it begins with neither boot code nor a partition table: no PC boots from it");
        return 0;
    }
    int r = check_esp(l, parts, n, &has_efi);
    if (r == 0 && !has_bios)
        say(l, false, "it has no boot code in its first sector: PCs with BIOS do not boot from it");
    return r;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static int check_disk(struct look *l, struct err *err)
{
    _cleanup_free_ struct part *parts = calloc(PART_MAX, sizeof(*parts));
    char table[8] = "";
    size_t n = 0;
    bool is_gpt = false;
    struct err unused;
    if (!parts)
        return -ENOMEM;
    int r = check_gpt(l, &is_gpt);
    if (r < 0)
        return r;
    r = part_list(l->read, l->arg, l->size, parts, &n, table, &unused);
    if (r == -EBADMSG && l->ret->n == 0)
        say(l, true, "%.380s", unused.msg);
    if (r < 0)
        return r == -EBADMSG ? 0 : r;
    check_parts(l, parts, n);
    if (l->is_boot && is_gpt)
        check_chs(l);
    return l->is_boot ? check_loaders(l, table, parts, n) : 0;
}

int bootcheck(int (*read)(void *arg, void *buf, size_t len, uint64_t off), void *arg, uint64_t size_bytes, bool is_boot,
              struct bootcheck *ret, struct err *err)
{
    struct look l = {
        .read = read, .arg = arg, .size = round_down(size_bytes, SECTOR_BYTES), .is_boot = is_boot, .ret = ret};
    memset(ret, 0, sizeof(*ret));
    if (l.size < 2 * SECTOR_BYTES)
        return 0;
    int r = read(arg, l.mbr, sizeof(l.mbr), 0);
    r = r ? r : check_disk(&l, err);
    return r < 0 ? err_sys(err, r, "cannot look at the tables and loaders of the disk") : 0;
}
