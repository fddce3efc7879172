/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file is hashed beside; see source-hash.h. Where no thread can be had, it is done at the end. */
#include "migrate/source-hash.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/util.h"

#define PIECE_BYTES (256 * KiB)

struct source_hash {
    int fd;
    struct stat at_start;
    pthread_t thread;
    bool has_thread, is_done;
    atomic_bool is_stopped;
    /* Of the thread, ours once it is joined. */
    int error;
    uint64_t bytes;
    unsigned char sha256[32];
};

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static int add_pieces(struct source_hash *h, struct sha256 *s, char *buf)
{
    while (!atomic_load_explicit(&h->is_stopped, memory_order_relaxed)) {
        ssize_t n = pread(h->fd, buf, PIECE_BYTES, (off_t)h->bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = sha256_update(s, buf, (size_t)n);
        if (r < 0)
            return r;
        h->bytes += (uint64_t)n;
    }
    return -ECANCELED;
}

static int hash(struct source_hash *h)
{
    _cleanup_(sha256_destroyp) struct sha256 *s = sha256_create();
    _cleanup_free_ char *buf = malloc(PIECE_BYTES);
    int r = s && buf ? add_pieces(h, s, buf) : -ENOMEM;
    return r < 0 ? r : sha256_finish(s, h->sha256);
}

static void *run(void *arg)
{
    struct source_hash *h = arg;
    h->error = hash(h);
    return NULL;
}

/* --- start and end -------------------------------------------------------------------------------------------------- */

static bool start_thread(struct source_hash *h)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* valid arguments, here and below */
    bool is_started = pthread_create(&h->thread, NULL, run, h) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_started;
}

int source_hash_start(int fd, struct source_hash **ret)
{
    struct source_hash *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    if (fstat(fd, &h->at_start) < 0) {
        int r = -errno;
        free(h);
        return r;
    }
    h->fd = fd;
    h->has_thread = start_thread(h);
    *ret = h;
    return 0;
}

const struct stat *source_hash_stat(const struct source_hash *h)
{
    return &h->at_start;
}

static void finish(struct source_hash *h)
{
    if (h->has_thread)
        (void)pthread_join(h->thread, NULL); /* ours, and joined once */
    else if (!h->is_done)
        h->error = hash(h);
    h->has_thread = false;
    h->is_done = true;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int check_unchanged(const struct source_hash *h)
{
    struct stat now;
    const struct stat *then = &h->at_start;
    if (fstat(h->fd, &now) < 0)
        return -errno;
    bool is_same = now.st_size == then->st_size && is_same_time(&now.st_mtim, &then->st_mtim) &&
                   is_same_time(&now.st_ctim, &then->st_ctim) && h->bytes == (uint64_t)now.st_size;
    return is_same ? 0 : -ESTALE;
}

int source_hash_end(struct source_hash *h, char *ret)
{
    finish(h);
    int r = h->error < 0 ? h->error : check_unchanged(h);
    if (r == 0)
        hex_text(h->sha256, sizeof(h->sha256), ret);
    return r;
}

void source_hash_stop(struct source_hash *h)
{
    if (!h)
        return;
    atomic_store_explicit(&h->is_stopped, true, memory_order_relaxed);
    if (h->has_thread)
        (void)pthread_join(h->thread, NULL); /* ours, and joined once */
    (void)close(h->fd);                      /* read only */
    free(h);
}
