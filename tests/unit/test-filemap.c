/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes handed on from the page cache: only what was seen in memory, never of a file that was cut off, always what a read would give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/filemap.h"
#include "core/util.h"

#define FILE_BYTES (1 * MiB + 100)
#define DISK_BYTES (2 * MiB)

struct rig {
    int fd; /* the layer's */
    struct blk *base;
    char data[FILE_BYTES], buf[MiB];
};

/* A file without a name on a file system that can be mapped; -1 where the test's folder lies on another kind. */
static int disk_file(void)
{
    const char *folder = getenv("DISKGATE_TEST_TMP");
    int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct filemap *m = NULL;
    if (fd >= 0 && ftruncate(fd, 4096) == 0)
        m = filemap_create(fd, 4096);
    if (!m && fd >= 0) {
        (void)close(fd);
        fd = -1;
    }
    filemap_destroy(m);
    return fd;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->fd = disk_file();
    if (r->fd >= 0) {
        for (size_t i = 0; i < sizeof(r->data); i++)
            r->data[i] = (char)(i * 31 + i / 4096);
        assert_int_equal(pwrite_full(r->fd, r->data, sizeof(r->data), 0), 0);
        assert_int_equal(fsync(r->fd), 0);
        r->base = base_create(r->fd, FILE_BYTES, DISK_BYTES);
        assert_non_null(r->base);
    }
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    blk_destroy(r->base);
    free(r);
    return 0;
}

static struct rig *rig_of(void **state)
{
    struct rig *r = *state;
    if (!r->base)
        skip();
    return r;
}

/* Gather and compare with what the disk must hold. True if all of it came by way of the mapping. */
static bool gather(struct rig *r, uint64_t off, size_t len)
{
    struct gather g;
    char want[MiB] = {0};
    uint64_t at = 0;
    bool is_mapped = true;
    if (off < FILE_BYTES)
        memcpy(want, r->data + off, MIN(len, FILE_BYTES - off));
    assert_int_equal(blk_gather(r->base, &g, r->buf, len, off), 0);
    for (int i = 1; i <= g.count; i++) {
        const char *p = g.iov[i].iov_base;
        assert_true(at + g.iov[i].iov_len <= len);
        assert_memory_equal(p, want + at, g.iov[i].iov_len);
        is_mapped = is_mapped && (p < r->buf || p >= r->buf + sizeof(r->buf));
        at += g.iov[i].iov_len;
    }
    assert_int_equal(at, len);
    assert_true(!is_mapped || g.map);
    return is_mapped;
}

/* What is not mapped by anybody goes; whatever the kernel keeps is no failure of ours. */
static void evict(const struct rig *r)
{
    assert_int_equal(posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void test_gather_hands_on_what_was_read_before(void **state)
{
    struct rig *r = rig_of(state);
    assert_false(gather(r, 65536, 65536));
    assert_true(gather(r, 65536, 65536));
    assert_true(gather(r, 65536 + 512, 32768 + 7));
    assert_false(gather(r, 65536 - 512, 65536)); /* a block before was not read */
    assert_true(gather(r, 65536 - 512, 65536));
}

static void test_gather_copies_small_reads(void **state)
{
    struct rig *r = rig_of(state);
    assert_false(gather(r, 8192, 4096));
    assert_false(gather(r, 8192, 4096));
}

static void test_gather_at_the_end_of_the_data_is_zero_behind(void **state)
{
    struct rig *r = rig_of(state);
    for (int i = 0; i < 2; i++) {
        (void)gather(r, FILE_BYTES - 32768, 65536);
        (void)gather(r, FILE_BYTES - 1, 4096);
        (void)gather(r, FILE_BYTES, 65536);
        (void)gather(r, DISK_BYTES - 65536, 65536);
    }
}

static void test_gather_checks_the_range(void **state)
{
    struct rig *r = rig_of(state);
    struct gather g;
    assert_int_equal(blk_gather(r->base, &g, r->buf, 4096, DISK_BYTES), -EINVAL);
    assert_int_equal(blk_gather(r->base, &g, r->buf, 4096, UINT64_MAX - 100), -EINVAL);
    assert_int_equal(blk_gather(r->base, &g, r->buf, 0, 0), 0);
    assert_int_equal(g.count, 0);
}

static void test_gather_does_not_wait_for_the_disk(void **state)
{
    struct rig *r = rig_of(state);
    struct gather g;
    evict(r);
    int n = blk_gather(r->base, &g, r->buf, 65536, 262144);
    if (n == 0)
        skip(); /* the kernel did not drop the pages */
    assert_int_equal(n, -EAGAIN);
    assert_int_equal(blk_read(r->base, r->buf, 65536, 262144), 0);
    assert_memory_equal(r->buf, r->data + 262144, 65536);
    assert_false(gather(r, 262144, 65536));
    assert_true(gather(r, 262144, 65536));
}

static void test_gather_sees_what_a_read_would_see(void **state)
{
    struct rig *r = rig_of(state);
    (void)gather(r, 0, 65536);
    assert_true(gather(r, 0, 65536));
    memset(r->data + 20000, 'x', 5000);
    assert_int_equal(pwrite_full(r->fd, r->data + 20000, 5000, 20000), 0);
    assert_true(gather(r, 0, 65536));
}

static void test_forgotten_blocks_are_asked_for_again(void **state)
{
    struct rig *r = rig_of(state);
    struct gather g;
    (void)gather(r, 0, 65536);
    assert_true(gather(r, 0, 65536));
    assert_int_equal(blk_gather(r->base, &g, r->buf, 65536, 0), 0);
    filemap_forget(g.map);
    assert_false(gather(r, 0, 65536));
    assert_true(gather(r, 0, 65536));
}

/* The page that has the new end in its middle must not turn into zeros. */
static void test_a_file_that_was_cut_off_is_not_handed_on(void **state)
{
    struct rig *r = rig_of(state);
    struct gather g;
    (void)gather(r, 0, 65536);
    assert_true(gather(r, 0, 65536));
    assert_int_equal(ftruncate(r->fd, 40000), 0);
    assert_true(blk_gather(r->base, &g, r->buf, 65536, 0) < 0);
    assert_int_equal(blk_read(r->base, r->buf, 65536, 0), -EIO);
    assert_int_equal(blk_gather(r->base, &g, r->buf, 32768, 0), 0); /* all of it is there still */
    assert_null(g.map);
    assert_memory_equal(r->buf, r->data, 32768);
}

/* What quick.c relies on. */
static void test_the_kernel_refuses_what_was_cut_off_under_it(void **state)
{
    struct rig *r = rig_of(state);
    struct gather g;
    _cleanup_close_ int sink = memfd_create("sink", MFD_CLOEXEC);
    (void)gather(r, 0, 65536);
    assert_int_equal(blk_gather(r->base, &g, r->buf, 65536, 0), 0);
    assert_non_null(g.map);
    assert_int_equal(ftruncate(r->fd, 0), 0);
    assert_int_equal(writev(sink, g.iov + 1, g.count), -1);
    assert_int_equal(errno, EFAULT);
}

static void test_what_cannot_be_mapped_is_read(void **state)
{
    char data[65536], buf[65536];
    struct gather g;
    int fd = memfd_create("base", MFD_CLOEXEC);
    memset(data, 'y', sizeof(data));
    assert_int_equal(pwrite_full(fd, data, sizeof(data), 0), 0);
    assert_null(filemap_create(fd, sizeof(data)));
    assert_null(filemap_at(NULL, 0, 1));
    _cleanup_(blk_destroyp) struct blk *b = base_create(fd, sizeof(data), sizeof(data));
    for (int i = 0; i < 2; i++) {
        int n = blk_gather(b, &g, buf, sizeof(buf), 0);
        assert_true(n == 0 || n == -EAGAIN); /* a kernel may not know what of it is in memory */
        assert_null(g.map);
        assert_true(n < 0 || memcmp(buf, data, sizeof(buf)) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gather_hands_on_what_was_read_before, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_copies_small_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_at_the_end_of_the_data_is_zero_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_checks_the_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_does_not_wait_for_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gather_sees_what_a_read_would_see, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_blocks_are_asked_for_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_that_was_cut_off_is_not_handed_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_kernel_refuses_what_was_cut_off_under_it, setup, teardown),
        cmocka_unit_test(test_what_cannot_be_mapped_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
