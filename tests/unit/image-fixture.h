/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of image files share: a folder with one file in it at a time.
 *
 * Threads: none.
 */
#ifndef DISKGATE_TESTS_IMAGE_FIXTURE_H
#define DISKGATE_TESTS_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/image.h"
#include "core/util.h"
#include "core/vhd.h"

struct place {
    char dir[64], path[128];
    int fd; /* of the file at path, -1 = none */
};

static inline int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->fd = -1;
    strcpy(p->dir, "/tmp/dg-test-image.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    *state = p;
    return 0;
}

static inline int teardown(void **state)
{
    struct place *p = *state;
    closep(&p->fd);
    if (p->path[0])
        (void)unlink(p->path);
    int r = rmdir(p->dir);
    free(p);
    return r;
}

/* A fresh, empty file @name, open for reading and writing; the one before it goes. */
static inline void make(struct place *p, const char *name)
{
    closep(&p->fd);
    if (p->path[0])
        (void)unlink(p->path);
    (void)snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, name);
    p->fd = open(p->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(p->fd >= 0);
}

static inline void put(struct place *p, const void *buf, size_t len, uint64_t off)
{
    assert_int_equal(pwrite_full(p->fd, buf, len, off), 0);
}

static inline void grow(struct place *p, uint64_t size)
{
    assert_int_equal(ftruncate(p->fd, (off_t)size), 0);
}

static inline void make_footer(unsigned char *buf, enum vhd_type type, uint64_t disk_bytes)
{
    struct vhd_footer f = {
        .type = type,
        .original_bytes = disk_bytes,
        .current_bytes = disk_bytes,
        .header_off = type == VHD_FIXED ? UINT64_MAX : 512,
        .features = 2,
        .version = 0x10000,
        .creator = "test",
        .creator_system = "Wi2k",
    };
    vhd_footer_encode(&f, buf);
}

static inline void make_vhd(struct place *p, const char *name, uint64_t held_bytes, uint64_t footer_bytes)
{
    unsigned char footer[VHD_FOOTER_BYTES];
    make(p, name);
    put(p, "boot", 4, 0);
    make_footer(footer, VHD_FIXED, footer_bytes);
    put(p, footer, sizeof(footer), held_bytes);
}

static inline int probe(struct place *p, struct image_info *info, struct err *err)
{
    memset(info, 0xee, sizeof(*info));
    err->msg[0] = 0;
    return image_probe(p->fd, p->path, info, err);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
