/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables: the list is what sfdisk wrote; hostile ones end in a list or a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/part.h"
#include "core/util.h"

struct disk {
    char path[64];
    int fd;
    uint64_t size;
    unsigned reads;
    uint64_t read_bytes;
    struct part parts[PART_MAX];
    size_t n;
    char table[8];
    struct err err;
};

static int setup(void **state)
{
    struct disk *d = calloc(1, sizeof(*d));
    assert_non_null(d);
    strcpy(d->path, "/tmp/dg-test-part.XXXXXX");
    d->fd = mkostemp(d->path, O_CLOEXEC);
    assert_true(d->fd >= 0);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    closep(&d->fd);
    int r = unlink(d->path);
    free(d);
    return r;
}

static void resize(struct disk *d, uint64_t size)
{
    assert_int_equal(ftruncate(d->fd, (off_t)size), 0);
    d->size = size;
}

static void put(struct disk *d, const void *buf, size_t len, uint64_t off)
{
    assert_int_equal(pwrite_full(d->fd, buf, len, off), 0);
}

static int read_disk(void *arg, void *buf, size_t len, uint64_t off)
{
    struct disk *d = arg;
    assert_true(range_ok(off, len, d->size));
    d->reads++;
    d->read_bytes += len;
    return pread_full(d->fd, buf, len, off);
}

static int read_fails(void *arg, void *buf, size_t len, uint64_t off)
{
    return -EIO;
}

static int list(struct disk *d)
{
    memset(d->parts, 0xee, sizeof(d->parts));
    d->n = 99;
    d->err.msg[0] = 0;
    return part_list(read_disk, d, d->size, d->parts, &d->n, d->table, &d->err);
}

/* Skips the test where the tool is missing. */
static void need(const char *tool)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin; command -v %s >/dev/null", tool);
    if (system(command) != 0) { /* NOLINT: fixed command */
        print_message("%s is not installed\n", tool);
        skip();
    }
}

static void run_on(struct disk *d, const char *before, const char *after)
{
    char command[1024];
    (void)snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin; %s '%s' %s >/dev/null 2>&1", before, d->path,
                   after);
    int r = system(command); /* NOLINT: fixed commands on our own temp file */
    assert_true(WIFEXITED(r) && WEXITSTATUS(r) == 0);
}

static void sfdisk(struct disk *d, const char *script)
{
    char before[768];
    need("sfdisk");
    (void)snprintf(before, sizeof(before), "printf '%s' | sfdisk --no-reread --no-tell-kernel -q", script);
    run_on(d, before, "");
}

#define ESP   "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define LINUX "0fc63daf-8483-4772-8e79-3d69d8477de4"

static void make_gpt(struct disk *d)
{
    resize(d, 5 * GiB);
    sfdisk(d, "label: gpt\\nfirst-lba: 2048\\nstart=2048, size=204800, type=U, name=\"EFI system\"\\n"
              "start=206848, size=4194304, type=L, name=\"Gr\303\266\303\237e\"\\n");
}

static void check_gpt(struct disk *d)
{
    assert_int_equal(list(d), 0);
    assert_string_equal(d->table, "gpt");
    assert_int_equal(d->n, 2);
    assert_int_equal(d->parts[0].number, 1);
    assert_int_equal(d->parts[0].off, MiB);
    assert_int_equal(d->parts[0].len, 100 * MiB);
    assert_string_equal(d->parts[0].type, ESP);
    assert_string_equal(d->parts[0].name, "EFI system");
    assert_false(d->parts[0].is_outside);
    assert_false(d->parts[0].is_extended);
    assert_int_equal(d->parts[1].number, 2);
    assert_int_equal(d->parts[1].len, 2 * GiB);
    assert_string_equal(d->parts[1].type, LINUX);
    assert_string_equal(d->parts[1].name, "Gr\303\266\303\237e");
}

static void test_part_lists_gpt(void **state)
{
    make_gpt(*state);
    check_gpt(*state);
}

static void test_part_gpt_with_damaged_primary_uses_backup(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    put(d, "x", 1, 512 + 40);
    check_gpt(d);
}

static void test_part_gpt_with_damaged_entries_uses_backup(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    put(d, "x", 1, 1024 + 130);
    check_gpt(d);
}

static void test_part_gpt_of_a_disk_that_grew_still_works(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    resize(d, 6 * GiB);
    check_gpt(d);
}

static void test_part_gpt_that_is_damaged_twice_is_refused(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    put(d, "x", 1, 512 + 40);
    put(d, "x", 1, d->size - 512 + 40);
    assert_int_equal(list(d), -EBADMSG);
    assert_non_null(strstr(d->err.msg, "GPT"));
    assert_int_equal(d->n, 0);
}

static void test_part_gpt_of_a_disk_that_shrank_is_refused(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    resize(d, 4 * GiB);
    assert_int_equal(list(d), -EBADMSG);
}

/* A header that claims 4 GiB of entries must not make libblkid read them. */
static void test_part_gpt_with_huge_array_uses_backup(void **state)
{
    struct disk *d = *state;
    make_gpt(d);
    put(d, "\xff\xff\xff\x01", 4, 512 + 80);
    check_gpt(d);
    put(d, "\xff\xff\xff\x01", 4, d->size - 512 + 80);
    assert_int_equal(list(d), -EBADMSG);
}

static void test_part_lists_mbr_with_logical_partitions(void **state)
{
    struct disk *d = *state;
    resize(d, 8 * GiB);
    sfdisk(d, "label: dos\\nstart=2048, size=204800, type=7, bootable\\nstart=2097152, size=12582912, type=5\\n"
              "start=206848, size=204800, type=83\\nstart=2099200, size=2097152, type=83\\nstart=4200448, "
              "size=2097152, type=82\\n"
              "start=6299648, size=8192, type=7\\n");
    assert_int_equal(list(d), 0);
    assert_string_equal(d->table, "dos");
    const struct part *p = d->parts;
    const unsigned numbers[] = {1, 2, 3, 5, 6, 7};
    const char *const types[] = {"0x07", "0x05", "0x83", "0x83", "0x82", "0x07"};
    const uint64_t starts[] = {2048, 2097152, 206848, 2099200, 4200448, 6299648};
    const uint64_t sizes[] = {204800, 12582912, 204800, 2097152, 2097152, 8192};
    assert_int_equal(d->n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(p[i].number, numbers[i]);
        assert_string_equal(p[i].type, types[i]);
        assert_int_equal(p[i].off, starts[i] * 512);
        assert_int_equal(p[i].len, sizes[i] * 512);
        assert_int_equal(p[i].is_extended, i == 1);
        assert_false(p[i].is_outside);
    }
    assert_true(d->read_bytes < 3 * MiB);
}

static void test_part_beyond_the_end_is_marked(void **state)
{
    struct disk *d = *state;
    resize(d, 200 * MiB);
    sfdisk(d, "label: dos\\nstart=2048, size=20480, type=83\\nstart=30720, size=300000, type=83\\n");
    resize(d, 100 * MiB);
    assert_int_equal(list(d), 0);
    assert_int_equal(d->n, 2);
    assert_false(d->parts[0].is_outside);
    assert_true(d->parts[1].is_outside);
}

static void test_part_hybrid_mbr_is_a_gpt(void **state)
{
    struct disk *d = *state;
    static const unsigned char entry[16] = {0x80, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x20, 3, 0};
    make_gpt(d);
    put(d, entry, sizeof(entry), 446 + 16);
    check_gpt(d);
}

static void put_entry(struct disk *d, uint64_t lba, unsigned i, unsigned type, uint32_t start, uint32_t size)
{
    unsigned char e[16] = {0, 0, 0, 0, (unsigned char)type};
    for (unsigned k = 0; k < 4; k++) {
        e[8 + k] = (unsigned char)(start >> 8 * k);
        e[12 + k] = (unsigned char)(size >> 8 * k);
    }
    put(d, e, sizeof(e), lba * 512 + 446 + 16 * i);
    put(d, "\x55\xaa", 2, lba * 512 + 510);
}

static void test_part_chain_that_loops_ends(void **state)
{
    struct disk *d = *state;
    resize(d, GiB);
    put_entry(d, 0, 0, 5, 4096, 1000000);
    put_entry(d, 4096, 0, 0x83, 2048, 2048);
    put_entry(d, 4096, 1, 5, 0, 1000000); /* the next link is the first one */
    assert_int_equal(list(d), 0);
    assert_string_equal(d->table, "dos");
    assert_true(d->n >= 2);
    assert_true(d->reads < 100);
}

static void test_part_chain_that_leaves_the_disk_ends(void **state)
{
    struct disk *d = *state;
    resize(d, GiB);
    put_entry(d, 0, 0, 15, 4096, 1000000);
    put_entry(d, 0, 1, 5, UINT32_MAX, UINT32_MAX);
    put_entry(d, 4096, 0, 0x83, 2048, 2048);
    put_entry(d, 4096, 1, 5, UINT32_MAX - 5, 1000);
    assert_int_equal(list(d), 0);
    assert_int_equal(d->parts[d->n - 1].number, 5);
    assert_int_equal(d->parts[d->n - 1].off, 6144 * 512);
    assert_true(d->parts[1].is_outside);
}

static void check_no_table(struct disk *d)
{
    assert_int_equal(list(d), 0);
    assert_int_equal(d->n, 0);
    assert_string_equal(d->table, "");
}

static void test_part_blank_disks_of_any_size_have_none(void **state)
{
    struct disk *d = *state;
    const uint64_t sizes[] = {512, 1024, 1536, MiB - 512, MiB, MiB + 512, 2 * MiB, 3 * MiB, 4 * TiB};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        resize(d, sizes[i]);
        check_no_table(d);
    }
}

static void test_part_plain_file_systems_have_none(void **state)
{
    static const char *const makers[] = {"mkfs.ext4 -q -F", "mkfs.vfat",  "mkfs.vfat -F 32", "mkfs.ntfs -q -F -f",
                                         "mkfs.xfs -q -f",  "mkfs.exfat", "mkswap -q"};
    struct disk *d = *state;
    unsigned done = 0;
    for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
        char command[128];
        (void)snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin; command -v %.*s >/dev/null",
                       (int)strcspn(makers[i], " "), makers[i]);
        if (system(command) != 0) /* NOLINT: fixed command */
            continue;
        resize(d, 0);
        resize(d, 512 * MiB);
        run_on(d, makers[i], "");
        check_no_table(d);
        done++;
    }
    if (done == 0)
        skip();
}

static void test_part_read_error_is_passed_on(void **state)
{
    struct disk *d = *state;
    resize(d, MiB);
    assert_int_equal(part_list(read_fails, d, d->size, d->parts, &d->n, d->table, &d->err), -EIO);
}

/* Whatever the bytes are: an answer, in bounds. */
static void test_part_random_tables_never_harm(void **state)
{
    struct disk *d = *state;
    unsigned char sector[512];
    uint32_t x = 12345;
    resize(d, 64 * MiB);
    for (unsigned round = 0; round < 300; round++) {
        for (size_t i = 0; i < sizeof(sector); i++) {
            x = x * 1664525 + 1013904223;
            sector[i] = (unsigned char)(x >> 24);
        }
        for (unsigned i = 0; i < 4; i++) {
            unsigned char *e = sector + 446 + 16 * i;
            static const unsigned char types[] = {5, 15, 0x85, 0xee, 7, 0xa5, 0x63, 0x82};
            e[0] = 0;
            e[4] = types[e[4] % sizeof(types)];
            e[11] = e[15] = 0; /* near enough to lie on the disk sometimes */
            e[10] &= 1;
        }
        memcpy(sector + 510, "\x55\xaa", 2);
        put(d, sector, sizeof(sector), round % 4 == 0 ? 0 : (uint64_t)(sector[0] | (unsigned)sector[1] << 8) * 512);
        int r = list(d);
        assert_true(r == 0 || r == -EBADMSG);
        assert_true(d->n <= PART_MAX);
        for (size_t i = 0; i < d->n; i++)
            assert_int_equal(d->parts[i].is_outside, !range_ok(d->parts[i].off, d->parts[i].len, d->size));
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_part_lists_gpt),
        T(test_part_gpt_with_damaged_primary_uses_backup),
        T(test_part_gpt_with_damaged_entries_uses_backup),
        T(test_part_gpt_of_a_disk_that_grew_still_works),
        T(test_part_gpt_that_is_damaged_twice_is_refused),
        T(test_part_gpt_of_a_disk_that_shrank_is_refused),
        T(test_part_gpt_with_huge_array_uses_backup),
        T(test_part_lists_mbr_with_logical_partitions),
        T(test_part_beyond_the_end_is_marked),
        T(test_part_hybrid_mbr_is_a_gpt),
        T(test_part_chain_that_loops_ends),
        T(test_part_chain_that_leaves_the_disk_ends),
        T(test_part_blank_disks_of_any_size_have_none),
        T(test_part_plain_file_systems_have_none),
        T(test_part_read_error_is_passed_on),
        T(test_part_random_tables_never_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
