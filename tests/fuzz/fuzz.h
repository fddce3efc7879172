/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets share: an input that is eaten piece by piece, and a folder in memory for formats that are read from files.
 *
 * Threads: none.
 */
#ifndef DISKGATE_TESTS_FUZZ_H
#define DISKGATE_TESTS_FUZZ_H

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* An assertion that no option leaves out. */
static inline void must(bool is_true)
{
    if (!is_true)
        abort();
}

struct input {
    const uint8_t *p;
    size_t left;
};

/* The next @n bytes, with zeros for those that are not there. */
static inline void input_take(struct input *in, void *ret, size_t n)
{
    size_t have = MIN(n, in->left);
    memset(ret, 0, n);
    memcpy(ret, in->p, have);
    in->p += have;
    in->left -= have;
}

static inline unsigned input_byte(struct input *in)
{
    uint8_t b;
    input_take(in, &b, 1);
    return b;
}

static inline unsigned input_word(struct input *in)
{
    unsigned low = input_byte(in);
    return low | input_byte(in) << 8;
}

static inline int new_memfd(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0);
    return fd;
}

/* A fresh folder in TMPDIR, open; its path into @ret_path (PATH_MAX bytes) if not NULL. tests/fuzz/run removes it. */
static inline int new_folder(char *ret_path)
{
    const char *place = getenv("TMPDIR");
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/fuzz-XXXXXX", place ? place : "/tmp");
    must(mkdtemp(path));
    if (ret_path)
        strcpy(ret_path, path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(fd >= 0);
    return fd;
}

static inline void put_file(int dirfd, const char *name, const void *data, size_t len)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && pwrite_full(fd, data, len, 0) == 0);
}

#endif
