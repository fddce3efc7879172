/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records in a temporary file; see spool.h.
 *
 * While a spool grows, its thread tells others behind every few writes how far the file goes. That is always the end of a record, because a buffer
 * is written before a record that it has no room for; the buffer itself stays its own.
 */
#include "core/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/lock.h"
#include "core/util.h"

#define HEAD_BYTES   sizeof(uint32_t)
#define BUFFER_BYTES (128u << 10)
#define TOLD_BYTES   (512u << 10) /* so much is new before readers of other threads are woken */

enum growth { STILL, GROWS, WHOLE, GIVEN_UP };

struct spool {
    int fd;
    uint64_t stored; /* bytes in the file */
    char *buf;       /* what comes behind them */
    size_t size, len;
    char dir[PATH_MAX];
    struct lock lock;    /* protects what follows, for readers of other threads */
    pthread_cond_t told; /* one of them changed */
    enum growth growth;  /* these two are changed by the thread that puts only, so it reads them without the lock */
    uint64_t readable;   /* bytes of the file */
};

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* A file without a name in @dir. */
static int open_in(const char *dir)
{
    char path[PATH_MAX];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd < 0 ? -errno : fd;
    if (snprintf(path, sizeof(path), "%s/diskgate-XXXXXX", dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)unlink(path); /* made a moment ago */
    return fd;
}

static int open_file(struct spool *s, struct err *err)
{
    const char *const dirs[] = {getenv("SQLITE_TMPDIR"), getenv("TMPDIR"), "/var/tmp", "/tmp"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        s->fd = dirs[i] && *dirs[i] == '/' ? open_in(dirs[i]) : -ENOENT;
        if (s->fd >= 0) {
            (void)snprintf(s->dir, sizeof(s->dir), "%s", dirs[i]);
            return 0;
        }
    }
    return err_sys(err, s->fd, "cannot make a temporary file in '/var/tmp' or '/tmp'");
}

int spool_create(struct spool **ret, struct err *err)
{
    struct spool *s = calloc(1, sizeof(*s));
    if (!s)
        return err_sys(err, -ENOMEM, "cannot make a temporary file");
    s->fd = -1;
    lock_init(&s->lock, LOCK_SPOOL);
    pthread_cond_init(&s->told, NULL);
    int r = open_file(s, err);
    if (r < 0)
        spool_destroy(s);
    else
        *ret = s;
    return r;
}

void spool_destroy(struct spool *s)
{
    if (!s)
        return;
    closep(&s->fd);
    pthread_cond_destroy(&s->told);
    lock_finish(&s->lock);
    free(s->buf);
    free(s);
}

int spool_clear(struct spool *s, struct err *err)
{
    assert(s->growth != GROWS);
    s->growth = STILL;
    if (s->stored > 0 && ftruncate(s->fd, 0) < 0)
        return err_sys(err, -errno, "cannot empty a temporary file in '%s'", s->dir);
    s->stored = 0;
    s->len = 0;
    return 0;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

uint64_t spool_end(const struct spool *s)
{
    return s->stored + s->len;
}

static void tell(struct spool *s, enum growth growth)
{
    LOCK_SCOPE(&s->lock);
    s->growth = growth;
    s->readable = s->stored;
    pthread_cond_broadcast(&s->told);
}

int spool_flush(struct spool *s, struct err *err)
{
    if (s->len == 0)
        return 0;
    int r = pwrite_full(s->fd, s->buf, s->len, s->stored);
    if (r < 0)
        return err_sys(err, r, "cannot write a temporary file in '%s'", s->dir);
    s->stored += s->len;
    s->len = 0;
    if (s->growth == GROWS && s->stored - s->readable >= TOLD_BYTES)
        tell(s, GROWS);
    return 0;
}

void spool_grow_begin(struct spool *s)
{
    tell(s, GROWS);
}

int spool_grow_end(struct spool *s, bool is_whole, struct err *err)
{
    if (s->growth != GROWS)
        return 0;
    int r = is_whole ? spool_flush(s, err) : 0;
    tell(s, is_whole && r == 0 ? WHOLE : GIVEN_UP);
    return r;
}

static int reserve(char **buf, size_t *size, size_t want, struct err *err)
{
    if (want <= *size)
        return 0;
    char *bigger = realloc(*buf, want);
    if (!bigger)
        return err_sys(err, -ENOMEM, "cannot use a temporary file");
    *buf = bigger;
    *size = want;
    return 0;
}

int spool_room(struct spool *s, size_t max, char **ret, struct err *err)
{
    assert(max <= SPOOL_RECORD_MAX);
    int r = s->len > 0 && s->len + HEAD_BYTES + max > s->size ? spool_flush(s, err) : 0;
    if (r == 0)
        r = reserve(&s->buf, &s->size, MAX(HEAD_BYTES + max, (size_t)BUFFER_BYTES), err);
    if (r == 0)
        *ret = s->buf + s->len + HEAD_BYTES;
    return r;
}

void spool_commit(struct spool *s, size_t len)
{
    uint32_t head = (uint32_t)len;
    assert(s->len + HEAD_BYTES + len <= s->size);
    memcpy(s->buf + s->len, &head, sizeof(head));
    s->len += HEAD_BYTES + len;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Bytes [@at, @at + @len) of the file, which has them, into @buf. */
static int load(struct spool *s, char *buf, size_t len, uint64_t at, struct err *err)
{
    int r = pread_full(s->fd, buf, len, at);
    return r < 0 ? err_sys(err, r, "cannot read a temporary file in '%s'", s->dir) : 0;
}

static int strange(const struct spool *s, struct err *err)
{
    return err_set(err, -EIO, "a temporary file in '%s' does not hold what was written to it", s->dir);
}

void spool_reader_init(struct spool_reader *r, struct spool *s)
{
    *r = (struct spool_reader){.s = s, .buffer_bytes = BUFFER_BYTES};
}

void spool_reader_behind(struct spool_reader *r, struct spool *s)
{
    spool_reader_init(r, s);
    r->is_behind = true;
}

void spool_reader_finish(struct spool_reader *r)
{
    free(r->buf);
    r->buf = NULL;
}

/* *@ret: bytes of the file that another thread wrote, when there are more than @place or there will be no more. */
static int wait_for_more(struct spool *s, uint64_t place, uint64_t *ret, struct err *err)
{
    LOCK_SCOPE(&s->lock);
    while (s->growth == GROWS && s->readable <= place)
        pthread_cond_wait(&s->told, &s->lock.mutex);
    *ret = s->readable;
    return s->growth == GIVEN_UP ? err_set(err, -ECANCELED, "what was read along with its writing was given up") : 0;
}

static int look(struct spool_reader *r, uint64_t *ret, struct err *err)
{
    if (r->is_behind)
        return wait_for_more(r->s, r->place, ret, err);
    int e = spool_flush(r->s, err);
    *ret = r->s->stored;
    return e;
}

/* Have @want bytes of the record at r->place in one piece. 0; 1 when there are no more. */
static int have(struct spool_reader *r, size_t want, struct err *err)
{
    struct spool *s = r->s;
    uint64_t all;
    if (r->end - r->begin >= want)
        return 0;
    int e = look(r, &all, err);
    if (e < 0 || r->place == all)
        return e < 0 ? e : 1;
    if (!range_ok(r->place, want, all))
        return strange(s, err);
    e = reserve(&r->buf, &r->size, MAX(want, r->buffer_bytes), err);
    if (e < 0)
        return e;
    size_t left = r->end - r->begin, len = (size_t)MIN((uint64_t)(r->size - left), all - r->place - left);
    memmove(r->buf, r->buf + r->begin, left);
    r->begin = 0;
    r->end = left;
    e = load(s, r->buf + left, len, r->place + left, err);
    if (e == 0)
        r->end += len;
    return e;
}

int spool_next(struct spool_reader *r, const char **ret, size_t *ret_len, struct err *err)
{
    uint32_t head;
    int e = have(r, HEAD_BYTES, err);
    if (e != 0)
        return e < 0 ? e : 0;
    memcpy(&head, r->buf + r->begin, sizeof(head));
    if (head > SPOOL_RECORD_MAX)
        return strange(r->s, err);
    e = have(r, HEAD_BYTES + head, err);
    if (e != 0)
        return e < 0 ? e : strange(r->s, err);
    *ret = r->buf + r->begin + HEAD_BYTES;
    *ret_len = head;
    r->begin += HEAD_BYTES + head;
    r->place += HEAD_BYTES + head;
    return 1;
}
