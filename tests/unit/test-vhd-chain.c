/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of differencing VHDs with hostile bytes: every answer is a refusal or a read, never a crash or a read beyond the file. Good chains are
 * read in tests/system/test_migrate_images.py. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/util.h"
#include "core/vhd-chain.h"
#include "core/vhd.h"

#define BLOCK     4096U
#define DISK      (16 * BLOCK)
#define TABLE_OFF 2048U
#define DATA_OFF  2560U
#define FILE_LEN  (DATA_OFF + 2 * (512 + BLOCK) + 512)
#define ROUNDS    3000

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void seal_header(unsigned char *p)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < 1024; i++)
        if (i < 36 || i >= 40)
            sum += p[i];
    put32(p + 36, ~sum);
}

/* A VHD with blocks 1 and 3, each with every other sector: bytes of @fill. */
static void make(unsigned char *p, enum vhd_type type, unsigned char id, unsigned char parent, unsigned char fill)
{
    struct vhd_footer f = {.type = type,
                           .original_bytes = DISK,
                           .current_bytes = DISK,
                           .header_off = 512,
                           .features = 2,
                           .version = 0x10000};
    memset(p, 0, FILE_LEN);
    memset(f.id, id, sizeof(f.id));
    vhd_footer_encode(&f, p);
    vhd_footer_encode(&f, p + FILE_LEN - 512);
    unsigned char *h = p + 512;
    memcpy(h, "cxsparse", 8);
    memset(h + 8, 0xff, 8);
    put32(h + 20, TABLE_OFF);
    put32(h + 24, 0x10000);
    put32(h + 28, 16);
    put32(h + 32, BLOCK);
    memset(h + 40, parent, 16);
    h[65] = 'p';
    seal_header(h);
    memset(p + TABLE_OFF, 0xff, 512);
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t at = DATA_OFF + k * (512 + BLOCK);
        put32(p + TABLE_OFF + 4 * (2 * k + 1), at / 512);
        p[at] = 0xaa;
        memset(p + at + 512, fill, BLOCK);
    }
}

struct files {
    char paths[2][32];
    unsigned char child[FILE_LEN], parent[FILE_LEN];
};

static void store(const char *path, const unsigned char *p, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, len, 0), len);
    (void)close(fd);
}

static int setup(void **state)
{
    struct files *f = calloc(1, sizeof(*f));
    for (int i = 0; f && i < 2; i++) {
        strcpy(f->paths[i], "/tmp/test-vhd-chain.XXXXXX");
        int fd = mkstemp(f->paths[i]);
        if (fd < 0)
            return -1;
        (void)close(fd);
    }
    if (!f)
        return -1;
    make(f->child, VHD_DIFFERENCING, 1, 2, 'c');
    make(f->parent, VHD_DYNAMIC, 2, 0, 'b');
    store(f->paths[0], f->child, FILE_LEN);
    store(f->paths[1], f->parent, FILE_LEN);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct files *f = *state;
    (void)unlink(f->paths[0]);
    (void)unlink(f->paths[1]);
    free(f);
    return 0;
}

/* Open and read all of it, if it can be. */
static int read_all(const struct files *f, unsigned char *buf, size_t size)
{
    const char *const paths[] = {f->paths[0], f->paths[1]};
    _cleanup_(vhd_chain_closep) struct vhd_chain *c = NULL;
    struct err err = {0};
    int r = vhd_chain_open(paths, 2, &c, &err);
    for (uint64_t off = 0; r == 0 && off < MIN(vhd_chain_size(c), (uint64_t)size); off += 512)
        r = vhd_chain_read(c, buf + off, 512, off, &err);
    if (r < 0 && r != -ENODATA)
        assert_true(err.msg[0] != 0);
    return r;
}

static void test_sector_comes_from_the_first_file_that_has_it(void **state)
{
    const struct files *f = *state;
    unsigned char buf[DISK];
    assert_int_equal(read_all(f, buf, sizeof(buf)), 0);
    for (size_t sector = 0; sector < DISK / 512; sector++) {
        size_t block = sector / 8;
        bool is_here = (block == 1 || block == 3) && sector % 2 == 0;
        assert_int_equal(buf[sector * 512], is_here ? 'c' : 0); /* the parent has the same sectors */
    }
}

static void test_damage_is_refused_or_read_and_never_worse(void **state)
{
    struct files *f = *state;
    unsigned char *bad = malloc(FILE_LEN), *buf = malloc(4 * MiB);
    unsigned refused = 0;
    assert_non_null(bad);
    assert_non_null(buf);
    srandom(7);
    for (int round = 0; round < ROUNDS; round++) {
        bool is_child = random() % 2;
        size_t len = random() % 8 ? FILE_LEN : (size_t)random() % FILE_LEN;
        memcpy(bad, is_child ? f->child : f->parent, FILE_LEN);
        for (long n = random() % 4; n >= 0; n--)
            bad[random() % 2 ? (size_t)(512 + random() % 100) : (size_t)random() % (DATA_OFF + 512)] =
                (unsigned char)random();
        if (random() % 2)
            seal_header(bad + 512);
        store(f->paths[!is_child], bad, len);
        refused += read_all(f, buf, 4 * MiB) < 0;
        store(f->paths[!is_child], is_child ? f->child : f->parent, FILE_LEN);
    }
    assert_true(refused > ROUNDS / 10 && refused < ROUNDS);
    free(bad);
    free(buf);
}

static void test_chain_that_bites_its_tail_is_refused(void **state)
{
    struct files *f = *state;
    unsigned char buf[DISK];
    make(f->parent, VHD_DIFFERENCING, 2, 1, 'b');
    store(f->paths[1], f->parent, FILE_LEN);
    assert_int_equal(read_all(f, buf, sizeof(buf)), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sector_comes_from_the_first_file_that_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused_or_read_and_never_worse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chain_that_bites_its_tail_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
