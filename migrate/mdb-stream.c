/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file as libmdb reads it; see mdb-lib.h.
 *
 * For each page libmdb asks where the end of the file is, seeks and reads, and between two pages of rows it reads the map of pages again. That is four calls
 * of the system a page, each of which the jail's filter looks at. Here the size is known, a place is a number, and pages come from a few windows of the
 * file: those that were used last.
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/util.h"

#define PAGE_BYTES   4096u
#define WINDOW_BYTES 32768u
#define WINDOWS      4u

struct window {
    char bytes[WINDOW_BYTES];
    uint64_t number; /* from 1; 0 = empty */
    uint64_t used;   /* when */
    size_t len;
};

struct stream {
    int fd;
    uint64_t size, at, uses;
    struct window windows[WINDOWS];
};

static int load(const struct stream *s, struct window *w, uint64_t number)
{
    ssize_t n;
    w->number = 0;
    do
        n = pread(s->fd, w->bytes, WINDOW_BYTES, (off_t)(number * WINDOW_BYTES));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    w->number = number + 1;
    w->len = (size_t)n;
    return 0;
}

/* Window @number, which is loaded in place of another one; NULL when it cannot be read. */
static const struct window *window_of(struct stream *s, uint64_t number)
{
    struct window *w = s->windows;
    for (size_t i = 0; i < WINDOWS && w->number != number + 1; i++)
        if (s->windows[i].number == number + 1 || s->windows[i].used < w->used)
            w = &s->windows[i];
    w->used = ++s->uses;
    return w->number == number + 1 || load(s, w, number) == 0 ? w : NULL;
}

static ssize_t stream_read(void *cookie, char *buf, size_t len)
{
    struct stream *s = cookie;
    uint64_t number = s->at / WINDOW_BYTES;
    size_t begin = s->at % WINDOW_BYTES;
    const struct window *w = window_of(s, number);
    if (!w)
        return -1;
    size_t n = begin < w->len ? MIN(len, w->len - begin) : 0;
    memcpy(buf, w->bytes + begin, n);
    s->at += n;
    return (ssize_t)n;
}

static int stream_seek(void *cookie, off64_t *at, int whence)
{
    struct stream *s = cookie;
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (int64_t)s->at : (int64_t)s->size, to;
    if (__builtin_add_overflow(base, *at, &to) || to < 0)
        return -1;
    s->at = (uint64_t)to;
    *at = to;
    return 0;
}

static int stream_close(void *cookie)
{
    struct stream *s = cookie;
    (void)close(s->fd); /* read only */
    free(s);
    return 0;
}

FILE *mdb_stream_open(int fd, uint64_t size)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->fd = fd;
    s->size = size;
    FILE *f =
        fopencookie(s, "rb", (cookie_io_functions_t){.read = stream_read, .seek = stream_seek, .close = stream_close});
    if (!f) {
        free(s);
        return NULL;
    }
    (void)setvbuf(f, NULL, _IOFBF, PAGE_BYTES); /* so a page is read past it, into libmdb's own */
    return f;
}
