/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE requests that are answered without the library: whole answers with the bytes of the disk, and what is not for this path is left
 * alone. A file takes the place of /dev/fuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/cow.h"
#include "core/util.h"
#include "fusefs/quick.h"
#include "fusefs/view.h"

#define DISK (4 * MiB + 512)

struct rig {
    int answers, data_fd, base_fd;
    struct blk *base, *cow;
    struct livemap *map;
    struct view view;
    char *model, *request, *out;
};

static int temp_file(uint64_t size)
{
    const char *folder = getenv("DISKGATE_TEST_TMP");
    int fd = open(folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct map_stamp stamp = {.size_bytes = DISK};
    struct err err;
    assert_non_null(r);
    r->model = malloc(DISK);
    r->request = malloc(2 * MiB);
    r->out = malloc(QUICK_BUF_BYTES);
    for (size_t i = 0; i < DISK; i++)
        r->model[i] = (char)(i * 7 + i / 4096);
    r->answers = memfd_create("answers", MFD_CLOEXEC);
    r->base_fd = temp_file(DISK);
    assert_int_equal(pwrite_full(r->base_fd, r->model, DISK, 0), 0);
    r->base = base_create(r->base_fd, DISK, DISK);
    r->data_fd = temp_file(round_up(DISK, 4096));
    assert_int_equal(livemap_create(memfd_create("map", MFD_CLOEXEC), &stamp, &r->map, &err), 0);
    r->cow = cow_create(r->base, r->data_fd, r->map, (struct cow_flush){0}, false);
    assert_non_null(r->cow);
    r->view = (struct view){.refs = 1, .kind = VIEW_CLIENT, .blk = r->cow, .dir_fd = -1};
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    blk_destroy(r->cow);
    blk_destroy(r->base);
    livemap_close(r->map);
    (void)close(r->data_fd);
    (void)close(r->answers);
    free(r->model);
    free(r->request);
    free(r->out);
    free(r);
    return 0;
}

/* --- requests and answers ---------------------------------------------------------------------------------------- */

static size_t build(struct rig *r, uint32_t opcode, const void *arg, size_t arg_len, const void *data, size_t data_len)
{
    struct fuse_in_header head = {.len = (uint32_t)(sizeof(head) + arg_len + data_len), .opcode = opcode, .unique = 77};
    memcpy(r->request, &head, sizeof(head));
    memcpy(r->request + sizeof(head), arg, arg_len);
    if (data_len)
        memcpy(r->request + sizeof(head) + arg_len, data, data_len);
    assert_true(ftruncate(r->answers, 0) == 0 && lseek(r->answers, 0, SEEK_SET) == 0);
    return head.len;
}

/* The answer's length behind its header, which must be whole and for our request. */
static size_t answer_len(const struct rig *r)
{
    struct fuse_out_header head;
    struct stat st;
    assert_int_equal(fstat(r->answers, &st), 0);
    assert_int_equal(pread_full(r->answers, &head, sizeof(head), 0), 0);
    assert_int_equal(head.unique, 77);
    assert_int_equal(head.error, 0);
    assert_int_equal(head.len, st.st_size);
    return head.len - sizeof(head);
}

static void assert_no_answer(const struct rig *r)
{
    struct stat st;
    assert_int_equal(fstat(r->answers, &st), 0);
    assert_int_equal(st.st_size, 0);
}

static bool send_read(struct rig *r, uint64_t off, uint32_t size)
{
    struct fuse_read_in in = {.fh = (uintptr_t)&r->view, .offset = off, .size = size};
    size_t len = build(r, FUSE_READ, &in, sizeof(in), NULL, 0);
    return quick_serve(r->answers, r->request, len, r->out);
}

static bool send_write(struct rig *r, uint64_t off, const void *data, uint32_t size)
{
    struct fuse_write_in in = {.fh = (uintptr_t)&r->view, .offset = off, .size = size};
    size_t len = build(r, FUSE_WRITE, &in, sizeof(in), data, size);
    return quick_serve(r->answers, r->request, len, r->out);
}

static void assert_read(struct rig *r, uint64_t off, uint32_t size)
{
    _cleanup_free_ char *got = malloc(size);
    size_t want = (size_t)MIN(size, DISK - off);
    assert_true(send_read(r, off, size));
    assert_int_equal(answer_len(r), want);
    assert_int_equal(pread_full(r->answers, got, want, sizeof(struct fuse_out_header)), 0);
    assert_memory_equal(got, r->model + off, want);
}

static void assert_write(struct rig *r, uint64_t off, uint32_t size, int byte)
{
    _cleanup_free_ char *data = malloc(size);
    struct fuse_write_out out;
    memset(data, byte, size);
    assert_true(send_write(r, off, data, size));
    assert_int_equal(answer_len(r), sizeof(out));
    assert_int_equal(pread_full(r->answers, &out, sizeof(out), sizeof(struct fuse_out_header)), 0);
    assert_int_equal(out.size, size);
    memcpy(r->model + off, data, size);
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_quick_read_gives_the_bytes_of_the_disk(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 2; i++) { /* the second time from the mapping */
        assert_read(r, 0, 4096);
        assert_read(r, 12345, 70000);
        assert_read(r, MiB, MiB);
        assert_read(r, DISK - 512, 512);
    }
    assert_int_equal(atomic_load(&r->view.count.reads), 8);
}

static void test_quick_read_stops_at_the_end_of_the_disk(void **state)
{
    assert_read(*state, DISK - 1000, 65536);
}

static void test_quick_write_is_read_back(void **state)
{
    struct rig *r = *state;
    assert_write(r, 4096, 4096, 'a');
    assert_write(r, 100000, 300000, 'b');
    assert_write(r, DISK - 512, 512, 'c');
    assert_read(r, 0, 512 * 1024);
    assert_read(r, DISK - 65536, 65536);
    assert_int_equal(atomic_load(&r->view.count.written_bytes), 4096 + 300000 + 512);
}

/* More pieces than an answer has room for. */
static void test_quick_read_of_many_pieces(void **state)
{
    struct rig *r = *state;
    assert_read(r, 0, MiB);
    for (uint64_t off = 0; off < MiB; off += 8192)
        assert_write(r, off, 4096, 'd');
    for (uint64_t off = MiB; off < 2 * MiB; off += 40960)
        assert_write(r, off, 512, 'e');
    assert_int_equal(blk_zero(r->cow, 2 * MiB + 4096, 20000), 0);
    memset(r->model + 2 * MiB + 4096, 0, 20000);
    for (int i = 0; i < 2; i++) {
        assert_read(r, 0, MiB);
        assert_read(r, MiB, MiB);
        assert_read(r, 2 * MiB - 512, MiB);
    }
}

static void test_quick_leaves_to_others_what_it_cannot_do(void **state)
{
    struct rig *r = *state;
    char byte = 'x';
    assert_false(send_read(r, DISK, 512));
    assert_no_answer(r);
    assert_false(send_read(r, UINT64_MAX, 512));
    assert_false(send_read(r, 0, 2 * MiB));
    assert_false(send_write(r, DISK, &byte, 1));
    assert_no_answer(r);
    atomic_store(&r->view.is_revoked, true);
    assert_false(send_read(r, 0, 512));
    assert_false(send_write(r, 0, &byte, 1));
    assert_no_answer(r);
}

static void test_quick_leaves_other_and_short_requests_alone(void **state)
{
    struct rig *r = *state;
    struct fuse_write_in in = {.fh = (uintptr_t)&r->view, .size = 4096};
    size_t len = build(r, FUSE_GETATTR, &in, sizeof(in), NULL, 0);
    assert_false(quick_serve(r->answers, r->request, len, r->out));
    len = build(r, FUSE_READ, &in, 8, NULL, 0);
    assert_false(quick_serve(r->answers, r->request, len, r->out));
    len = build(r, FUSE_WRITE, &in, sizeof(in), r->model, 4095); /* less than it says */
    assert_false(quick_serve(r->answers, r->request, len, r->out));
    assert_no_answer(r);
}

/* Both what was known before and what was not. */
static void test_quick_read_of_an_image_that_was_cut_off_is_no_answer(void **state)
{
    struct rig *r = *state;
    assert_read(r, 0, 65536);
    assert_read(r, 0, 65536);
    assert_int_equal(ftruncate(r->base_fd, 50000), 0);
    assert_false(send_read(r, 0, 65536));
    assert_false(send_read(r, MiB, 65536));
    assert_no_answer(r);
    assert_read(r, 0, 32768);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_quick_read_gives_the_bytes_of_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_read_stops_at_the_end_of_the_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_write_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_read_of_many_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_leaves_to_others_what_it_cannot_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_leaves_other_and_short_requests_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_read_of_an_image_that_was_cut_off_is_no_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
