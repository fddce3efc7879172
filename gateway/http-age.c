/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A list of sockets with their last moments, and a thread that looks at it every LOOK_MS.
 *
 * libmicrohttpd ends a connection on which nothing happens; one on which a byte comes now and then would live for ever. Its own files are
 * not touched from here: a socket that was shut down reads as ended by the other side, and the library closes it as usual.
 *
 * The list is as long as the server has connections (HTTP_CONNECTIONS), so it is simply walked.
 */
#include "gateway/http-age.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/proc.h"

#define LOOK_MS 500

struct http_age_entry {
    struct http_age_entry *next, **at; /* at: who points to us */
    int fd;
    int64_t end_ms; /* 0: no limit */
};

struct http_age {
    pthread_t thread;
    pthread_mutex_t mutex; /* protects what follows */
    pthread_cond_t stopped;
    struct http_age_entry *first;
    bool must_stop;
};

static void shut_old(struct http_age *a)
{
    int64_t now_ms = clock_ms();
    for (struct http_age_entry *e = a->first; e; e = e->next) {
        if (e->end_ms == 0 || now_ms < e->end_ms)
            continue;
        (void)shutdown(e->fd, SHUT_RDWR); /* the other side may have ended it just now */
        e->end_ms = 0;
    }
}

static void *look(void *arg)
{
    struct http_age *a = arg;
    (void)pthread_mutex_lock(&a->mutex);
    while (!a->must_stop) {
        struct timespec next;
        shut_old(a);
        (void)clock_gettime(CLOCK_MONOTONIC, &next); /* cannot fail */
        next.tv_nsec += LOOK_MS * 1000000L;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_sec++;
            next.tv_nsec -= 1000000000L;
        }
        (void)pthread_cond_timedwait(&a->stopped, &a->mutex, &next); /* woken too early it looks once more */
    }
    (void)pthread_mutex_unlock(&a->mutex);
    return NULL;
}

static void destroy(struct http_age *a)
{
    for (struct http_age_entry *e = a->first, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    (void)pthread_cond_destroy(&a->stopped);
    (void)pthread_mutex_destroy(&a->mutex);
    free(a);
}

int http_age_start(struct http_age **ret, struct err *err)
{
    struct http_age *a = calloc(1, sizeof(*a));
    pthread_condattr_t attr;
    if (!a)
        return err_sys(err, -ENOMEM, "cannot serve the boot scripts");
    (void)pthread_condattr_init(&attr); /* these cannot fail in glibc */
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&a->stopped, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&a->mutex, NULL);
    int r = pthread_create(&a->thread, NULL, look, a);
    if (r) {
        destroy(a);
        return err_sys(err, -r, "cannot start a thread for the boot scripts");
    }
    *ret = a;
    return 0;
}

void http_age_stop(struct http_age *a)
{
    if (!a)
        return;
    (void)pthread_mutex_lock(&a->mutex);
    a->must_stop = true;
    (void)pthread_cond_broadcast(&a->stopped);
    (void)pthread_mutex_unlock(&a->mutex);
    (void)pthread_join(a->thread, NULL);
    destroy(a);
}

struct http_age_entry *http_age_add(struct http_age *a, int fd, int limit_ms)
{
    struct http_age_entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->fd = fd;
    e->end_ms = clock_ms() + limit_ms;
    (void)pthread_mutex_lock(&a->mutex);
    e->next = a->first;
    e->at = &a->first;
    if (e->next)
        e->next->at = &e->next;
    a->first = e;
    (void)pthread_mutex_unlock(&a->mutex);
    return e;
}

void http_age_set(struct http_age *a, struct http_age_entry *e, int limit_ms)
{
    if (!e)
        return;
    (void)pthread_mutex_lock(&a->mutex);
    e->end_ms = limit_ms > 0 ? clock_ms() + limit_ms : 0;
    (void)pthread_mutex_unlock(&a->mutex);
}

void http_age_remove(struct http_age *a, struct http_age_entry *e)
{
    if (!e)
        return;
    (void)pthread_mutex_lock(&a->mutex);
    *e->at = e->next;
    if (e->next)
        e->next->at = e->at;
    (void)pthread_mutex_unlock(&a->mutex);
    free(e);
}
