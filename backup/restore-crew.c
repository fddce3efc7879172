/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads that take pieces by rising number; see restore-crew.h. */
#include "backup/restore-crew.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>

#include "core/util.h"

#define THREADS_MAX 8U
#define TICK_NS     200000000L

struct crew {
    const struct crew_job *job;
    _Atomic uint64_t next;
    _Atomic bool is_over;
    pthread_mutex_t lock; /* protects what follows; held over nothing */
    pthread_cond_t ended;
    unsigned running;
    int code;
    struct err err;
};

unsigned work_threads(const struct work *w)
{
    cpu_set_t set;
    unsigned n = sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    return w->threads > 0 ? w->threads : MIN(MAX(n, 1U), THREADS_MAX);
}

void work_warn(const struct work *w, const char *fmt, ...)
{
    struct err e;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
    va_end(ap);
    if (w->warn)
        w->warn(w->arg, e.msg);
}

static void fail(struct crew *c, int code, const struct err *err)
{
    atomic_store(&c->is_over, true);
    pthread_mutex_lock(&c->lock);
    if (c->code == 0 && code < 0) {
        c->code = code;
        c->err = *err;
    }
    pthread_mutex_unlock(&c->lock);
}

static bool is_stopped(const struct crew *c)
{
    const volatile sig_atomic_t *stop = c->job->work->stop;
    return stop && *stop;
}

static void work_pieces(struct crew *c, struct reader_worker *w, void *buf)
{
    struct err err = {""};
    while (!atomic_load(&c->is_over) && !is_stopped(c)) {
        uint64_t i = atomic_fetch_add(&c->next, 1);
        if (i >= c->job->n)
            return;
        int r = c->job->step(c->job->arg, w, buf, i, &err);
        if (r != 0)
            fail(c, r, &err);
    }
}

static void *run_thread(void *arg)
{
    struct crew *c = arg;
    struct err err;
    _cleanup_(reader_worker_destroyp) struct reader_worker *w = reader_worker_create(c->job->reader);
    _cleanup_free_ void *buf = malloc(repo_format(reader_repo(c->job->reader))->chunk_bytes);
    if (w && buf)
        work_pieces(c, w, buf);
    else
        fail(c, err_sys(&err, -ENOMEM, "cannot begin to read"), &err);
    pthread_mutex_lock(&c->lock);
    c->running--;
    pthread_cond_signal(&c->ended);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void show(const struct crew *c)
{
    const struct crew_job *j = c->job;
    if (j->work->progress && j->done_bytes)
        j->work->progress(j->work->arg, j->what, MIN(atomic_load(j->done_bytes), j->total_bytes), j->total_bytes);
}

static void wait_for_all(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->running > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until); /* cannot fail with this clock */
        until.tv_nsec += TICK_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&c->ended, &c->lock, &until); /* either way it is looked at again */
        pthread_mutex_unlock(&c->lock);
        show(c);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

int crew_run(const struct crew_job *job, struct err *err)
{
    struct crew c = {.job = job};
    unsigned n = (unsigned)MIN((uint64_t)work_threads(job->work), MAX(job->n, (uint64_t)1)), started = 0;
    pthread_t threads[n];
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.ended, NULL);
    c.running = n;
    while (started < n && pthread_create(&threads[started], NULL, run_thread, &c) == 0)
        started++;
    pthread_mutex_lock(&c.lock);
    c.running -= n - started;
    pthread_mutex_unlock(&c.lock);
    wait_for_all(&c);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL); /* they are ours and end */
    int r = c.code;
    if (r < 0)
        *err = c.err;
    else if (started == 0)
        r = err_sys(err, -EAGAIN, "cannot start a thread");
    else if (is_stopped(&c))
        r = err_set(err, -EINTR, "stopped by a signal");
    pthread_cond_destroy(&c.ended);
    pthread_mutex_destroy(&c.lock);
    return r;
}
