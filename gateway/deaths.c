/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for the end of processes; see deaths.h. */
#include "gateway/deaths.h"

#include <poll.h>

#include "core/util.h"
#include "gateway/proc.h"

void deaths_watch(struct deaths *d, const pid_t *pids, size_t count)
{
    deaths_finish(d);
    for (size_t i = 0; i < count && d->n < DEATHS_MAX; i++) {
        int fd = pids[i] > 0 ? proc_open(pids[i]) : -1;
        if (fd >= 0)
            d->fds[d->n++] = fd;
    }
}

/* Leave out those that ended. */
static bool drop_ended(struct deaths *d, const struct pollfd *polled)
{
    size_t kept = 0, n = d->n;
    for (size_t i = 0; i < n; i++) {
        if (polled[i].revents)
            closep(&d->fds[i]);
        else
            d->fds[kept++] = d->fds[i];
    }
    d->n = kept;
    return kept < n;
}

bool deaths_wait(struct deaths *d, int ms)
{
    struct pollfd polled[DEATHS_MAX];
    for (size_t i = 0; i < d->n; i++)
        polled[i] = (struct pollfd){.fd = d->fds[i], .events = POLLIN};
    return poll(polled, d->n, ms) > 0 && drop_ended(d, polled); /* a failure is a short wait */
}

void deaths_finish(struct deaths *d)
{
    while (d->n > 0)
        closep(&d->fds[--d->n]);
}
