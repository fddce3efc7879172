/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar on stderr for work that takes long; see progress.h. */
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/names.h"

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail with this clock */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void progress_init(struct progress *p, const char *label, bool is_quiet)
{
    *p = (struct progress){.label = label, .is_shown = !is_quiet && isatty(STDERR_FILENO), .start_ms = now_ms()};
    p->last_ms = p->start_ms + 800; /* the first bar comes after a second */
}

int progress_to_fd(struct progress *p, const char *text, struct err *err)
{
    char *end;
    if (!text)
        return 0;
    errno = 0;
    long fd = strtol(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end || fd < 1 || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0)
        return err_set(err, -EINVAL, "--progress '%s' is no open file descriptor", text);
    p->fd = (int)fd;
    p->is_shown = false;
    return 0;
}

void progress_update(struct progress *p, uint64_t done, uint64_t total)
{
    if (p->fd > 0)
        (void)dprintf(p->fd, "%llu %llu\n", (unsigned long long)done,
                      (unsigned long long)total); /* decoration, as the bar */
    int64_t now = p->is_shown ? now_ms() : 0;
    if (!p->is_shown || total == 0 || now - p->last_ms < 200)
        return;
    p->last_ms = now;
    p->is_drawn = true;
    double seconds = (double)(now - p->start_ms) / 1000, rate = (double)done / seconds;
    unsigned left = rate > 0 ? (unsigned)((double)(total - done) / rate + 0.5) : 0;
    char rate_text[32], total_text[32];
    size_text((uint64_t)rate, rate_text);
    size_text(total, total_text);
    /* Decoration: nobody misses it when stderr is gone. */
    (void)fprintf(stderr, "\r\033[K%s: %3u%% of %s, %s/s, %u:%02u left", p->label,
                  (unsigned)((double)done * 100 / (double)total), total_text, rate_text, left / 60, left % 60);
    (void)fflush(stderr);
}

void progress_finish(struct progress *p)
{
    if (p->is_drawn)
        (void)fputs("\r\033[K", stderr); /* decoration */
    p->is_drawn = false;
}

int progress_callback(void *arg, uint64_t done, uint64_t total)
{
    progress_update(arg, done, total);
    return 0;
}
