/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes a boot slow or fail: disks made here, each with one fault, and the one sentence that it must give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bootcheck.h"
#include "core/bytes.h"
#include "core/fat.h"
#include "core/util.h"

#define DISK_SECTORS 16384ULL /* 8 MiB */
#define ESP_LBA      2048ULL
#define ESP_SECTORS  8192ULL
#define LAST         (DISK_SECTORS - 1)
#define ARRAY_BYTES  (128 * 128)

/* --- a disk in memory -------------------------------------------------------------------------------------------- */

struct disk {
    unsigned char *bytes;
    uint64_t size;
    struct bootcheck found;
    struct err err;
};

static int read_disk(void *arg, void *buf, size_t len, uint64_t off)
{
    const struct disk *d = arg;
    assert_true(range_ok(off, len, d->size));
    memcpy(buf, d->bytes + off, len);
    return 0;
}

static uint32_t crc(const unsigned char *p, size_t len)
{
    uint32_t c = ~0U;
    for (; len > 0; len--) {
        c ^= *p++;
        for (unsigned i = 0; i < 8; i++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320U : 0);
    }
    return ~c;
}

static unsigned char *sector(struct disk *d, uint64_t lba)
{
    return d->bytes + lba * SECTOR_BYTES;
}

static void put_header(struct disk *d, uint64_t lba, uint64_t other, uint64_t array_lba)
{
    unsigned char *h = sector(d, lba);
    memset(h, 0, SECTOR_BYTES);
    memcpy(h, "EFI PART", 8);
    put_u32(h + 8, 0x10000);
    put_u32(h + 12, 92);
    put_u64(h + 24, lba);
    put_u64(h + 32, other);
    put_u64(h + 40, 34);
    put_u64(h + 48, DISK_SECTORS - 34);
    h[56] = 1; /* disk GUID */
    put_u64(h + 72, array_lba);
    put_u32(h + 80, 128);
    put_u32(h + 84, 128);
    put_u32(h + 88, crc(sector(d, array_lba), ARRAY_BYTES));
    put_u32(h + 16, crc(h, 92));
}

static void put_gpt(struct disk *d)
{
    static const unsigned char esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                          0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
    unsigned char *e = sector(d, 2);
    memset(e, 0, ARRAY_BYTES);
    memcpy(e, esp, sizeof(esp));
    e[16] = 7;
    put_u64(e + 32, ESP_LBA);
    put_u64(e + 40, ESP_LBA + ESP_SECTORS - 1);
    memcpy(sector(d, LAST - 32), e, ARRAY_BYTES);
    put_header(d, 1, LAST, 2);
    put_header(d, LAST, 1, LAST - 32);
}

static void put_mbr(struct disk *d)
{
    memset(d->bytes, 0x90, 440);
    memcpy(d->bytes + 446, "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff", 16);
    d->bytes[510] = 0x55;
    d->bytes[511] = 0xaa;
}

static void put_entry(unsigned char *e, const char *name, unsigned attr, unsigned cluster, unsigned size)
{
    memcpy(e, name, 11);
    e[11] = (unsigned char)attr;
    e[26] = (unsigned char)cluster;
    put_u32(e + 28, size);
}

/* FAT16 of 512-byte clusters: root folder at sector 1 + 2 * 32 = 65, 512 entries; clusters from sector 97 on. */
static void put_fat16(struct disk *d)
{
    unsigned char *b = sector(d, ESP_LBA), *fat = b + SECTOR_BYTES, *root = b + 65 * SECTOR_BYTES;
    unsigned char *clusters = b + 97 * SECTOR_BYTES;
    memset(b, 0, ESP_SECTORS * SECTOR_BYTES);
    memcpy(b, "\xeb\x3c\x90MSDOS5.0", 11);
    memcpy(b + 11, "\x00\x02\x01\x01\x00\x02\x00\x02\x00\x20\xf8\x20\x00", 13);
    b[510] = 0x55;
    b[511] = 0xaa;
    memset(fat + 4, 0xff, 6); /* clusters 2, 3, 4 end their chains */
    put_entry(root, "ESP        ", 0x08, 0, 0);
    put_entry(root + 32, "EFI        ", 0x10, 2, 0);
    put_entry(clusters, "BOOT       ", 0x10, 3, 0);
    put_entry(clusters + SECTOR_BYTES, "BOOTX64 EFI", 0x20, 4, 512);
}

static int setup(void **state)
{
    struct disk *d = calloc(1, sizeof(*d));
    assert_non_null(d);
    d->size = DISK_SECTORS * SECTOR_BYTES;
    d->bytes = calloc(1, d->size);
    assert_non_null(d->bytes);
    put_mbr(d);
    put_gpt(d);
    put_fat16(d);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    free(d->bytes);
    free(d);
    return 0;
}

static void look(struct disk *d, bool is_boot)
{
    assert_int_equal(bootcheck(read_disk, d, d->size, is_boot, &d->found, &d->err), 0);
}

/* Just this one finding. */
static void expect_one(struct disk *d, bool is_damage, const char *words)
{
    look(d, true);
    for (size_t i = 1; i < d->found.n; i++)
        print_message("also: %s\n", d->found.findings[i].sentence);
    assert_int_equal(d->found.n, 1);
    assert_int_equal(d->found.findings[0].is_damage, is_damage);
    if (!strstr(d->found.findings[0].sentence, words))
        fail_msg("'%s' is not in '%s'", words, d->found.findings[0].sentence);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_a_good_disk_gives_no_sentence(void **state)
{
    struct disk *d = *state;
    look(d, true);
    assert_int_equal(d->found.n, 0);
    assert_false(d->found.has_short_chs);
}

static void test_missing_boot_code_is_a_hint(void **state)
{
    struct disk *d = *state;
    memset(d->bytes, 0, 440);
    expect_one(d, false, "no boot code");
}

static void test_missing_esp_is_a_hint(void **state)
{
    struct disk *d = *state;
    sector(d, 2)[0] = 0x29;
    sector(d, LAST - 32)[0] = 0x29;
    put_header(d, 1, LAST, 2);
    put_header(d, LAST, 1, LAST - 32);
    expect_one(d, false, "no EFI system partition");
}

static void test_missing_loader_is_a_hint(void **state)
{
    struct disk *d = *state;
    memcpy(sector(d, ESP_LBA + 98), "BOOTIA32EFI", 11);
    expect_one(d, false, "BOOTX64.EFI");
}

static void test_an_empty_loader_is_none(void **state)
{
    struct disk *d = *state;
    put_u32(sector(d, ESP_LBA + 98) + 28, 0);
    expect_one(d, false, "BOOTX64.EFI");
}

static void test_esp_without_fat_is_damage(void **state)
{
    struct disk *d = *state;
    memset(sector(d, ESP_LBA), 0, SECTOR_BYTES);
    expect_one(d, true, "no FAT");
}

static void test_short_chs_is_a_hint_and_tells_where(void **state)
{
    struct disk *d = *state;
    memcpy(d->bytes + 451, "\x2a\x06\xff", 3);
    expect_one(d, false, "sector 6");
    assert_true(d->found.has_short_chs);
    assert_int_equal(d->found.chs_off, 451);
    memcpy(d->bytes + d->found.chs_off, bootcheck_chs, sizeof(bootcheck_chs));
    look(d, true);
    assert_int_equal(d->found.n, 0);
}

static void test_full_track_in_another_spelling_is_good(void **state)
{
    struct disk *d = *state;
    memcpy(d->bytes + 451, "\xfe\xff\xff", 3);
    look(d, true);
    assert_int_equal(d->found.n, 0);
}

static void test_missing_backup_is_damage(void **state)
{
    struct disk *d = *state;
    memset(sector(d, LAST), 0, SECTOR_BYTES);
    expect_one(d, true, "missing");
}

static void test_damaged_backup_is_damage(void **state)
{
    struct disk *d = *state;
    sector(d, LAST)[60] ^= 1;
    expect_one(d, true, "damaged");
}

static void test_damaged_backup_entries_are_damage(void **state)
{
    struct disk *d = *state;
    sector(d, LAST - 32)[200] ^= 1;
    expect_one(d, true, "damaged");
}

static void test_damaged_first_gpt_is_damage(void **state)
{
    struct disk *d = *state;
    sector(d, 1)[60] ^= 1;
    expect_one(d, true, "its backup is not");
}

static void test_both_gpts_damaged_is_damage(void **state)
{
    struct disk *d = *state;
    sector(d, 1)[60] ^= 1;
    sector(d, LAST)[60] ^= 1;
    expect_one(d, true, "neither");
}

static void test_different_backup_is_damage(void **state)
{
    struct disk *d = *state;
    put_u64(sector(d, LAST - 32) + 40, ESP_LBA + 100);
    put_header(d, LAST, 1, LAST - 32);
    expect_one(d, true, "different partitions");
}

static void test_cut_disk_is_damage(void **state)
{
    struct disk *d = *state;
    d->size = 12000 * SECTOR_BYTES;
    expect_one(d, true, "cut off");
}

static void test_partition_beyond_the_end_is_damage(void **state)
{
    struct disk *d = *state;
    memset(d->bytes, 0, d->size);
    put_mbr(d);
    d->bytes[450] = 0xef;
    put_u32(d->bytes + 454, ESP_LBA);
    put_u32(d->bytes + 458, ESP_SECTORS);
    put_fat16(d);
    look(d, true);
    assert_int_equal(d->found.n, 0);
    put_u32(d->bytes + 458, DISK_SECTORS);
    look(d, false);
    assert_int_equal(d->found.n, 1);
    assert_true(d->found.findings[0].is_damage);
    assert_non_null(strstr(d->found.findings[0].sentence, "reaches beyond"));
}

static void test_larger_disk_is_a_hint(void **state)
{
    struct disk *d = *state;
    d->bytes = realloc(d->bytes, d->size + MiB);
    assert_non_null(d->bytes);
    memset(d->bytes + d->size, 0, MiB);
    d->size += MiB;
    expect_one(d, false, "made larger");
}

static void test_an_empty_disk_boots_nobody(void **state)
{
    struct disk *d = *state;
    memset(d->bytes, 0, d->size);
    expect_one(d, false, "no PC boots");
    look(d, false);
    assert_int_equal(d->found.n, 0);
}

static void test_data_disk_gives_no_hints(void **state)
{
    struct disk *d = *state;
    memset(d->bytes, 0, 440);
    memcpy(d->bytes + 451, "\x2a\x06\xff", 3);
    look(d, false);
    assert_int_equal(d->found.n, 0);
}

static void test_a_folder_that_is_a_loop_ends(void **state)
{
    struct disk *d = *state;
    unsigned char *fat = sector(d, ESP_LBA + 1);
    memset(sector(d, ESP_LBA + 97), 0xe5, SECTOR_BYTES);
    fat[4] = 2;
    fat[5] = 0;
    expect_one(d, false, "BOOTX64.EFI");
}

/* Any bytes end in an answer, and nothing outside of the disk is read (read_disk asserts that). */
static void test_hostile_tables_end_in_an_answer(void **state)
{
    struct disk *d = *state;
    srandom(4711);
    for (unsigned round = 0; round < 600; round++) {
        uint64_t places[] = {0,
                             SECTOR_BYTES,
                             2 * SECTOR_BYTES,
                             LAST * SECTOR_BYTES,
                             ESP_LBA * SECTOR_BYTES,
                             (ESP_LBA + 1) * SECTOR_BYTES,
                             (ESP_LBA + 65) * SECTOR_BYTES,
                             (ESP_LBA + 97) * SECTOR_BYTES};
        for (unsigned n = 0; n < 3; n++)
            d->bytes[places[(size_t)random() % ARRAY_SIZE(places)] + (uint64_t)random() % 512] =
                (unsigned char)random();
        look(d, round & 1);
        if (round % 20 == 0) {
            put_mbr(d);
            put_gpt(d);
            put_fat16(d);
        }
    }
}

/* The boot sector alone, with the GPT around it left as it is. */
static void test_hostile_fat_ends_in_an_answer(void **state)
{
    struct disk *d = *state;
    srandom(815);
    for (unsigned round = 0; round < 20000; round++) {
        put_fat16(d);
        for (unsigned n = 0; n < 1 + (unsigned)random() % 4; n++)
            sector(d, ESP_LBA)[11 + random() % 40] = (unsigned char)random();
        int r = fat_has_file(read_disk, d, ESP_LBA * SECTOR_BYTES, ESP_SECTORS * SECTOR_BYTES, "EFI/BOOT/BOOTX64.EFI");
        assert_true(r == 0 || r == 1 || r == -EBADMSG);
    }
}

#define ROW(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_a_good_disk_gives_no_sentence),
        ROW(test_missing_boot_code_is_a_hint),
        ROW(test_missing_esp_is_a_hint),
        ROW(test_missing_loader_is_a_hint),
        ROW(test_an_empty_loader_is_none),
        ROW(test_esp_without_fat_is_damage),
        ROW(test_short_chs_is_a_hint_and_tells_where),
        ROW(test_full_track_in_another_spelling_is_good),
        ROW(test_missing_backup_is_damage),
        ROW(test_damaged_backup_is_damage),
        ROW(test_damaged_backup_entries_are_damage),
        ROW(test_damaged_first_gpt_is_damage),
        ROW(test_both_gpts_damaged_is_damage),
        ROW(test_different_backup_is_damage),
        ROW(test_cut_disk_is_damage),
        ROW(test_partition_beyond_the_end_is_damage),
        ROW(test_larger_disk_is_a_hint),
        ROW(test_an_empty_disk_boots_nobody),
        ROW(test_data_disk_gives_no_hints),
        ROW(test_a_folder_that_is_a_loop_ends),
        ROW(test_hostile_tables_end_in_an_answer),
        ROW(test_hostile_fat_ends_in_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
