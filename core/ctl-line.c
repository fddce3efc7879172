/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of JSON over a socket. Nothing blocks longer than its deadline, and a peer that vanished never kills us (MSG_NOSIGNAL). */
#include "core/ctl-line.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/clock.h"
#include "core/ctl.h"
#include "core/util.h"

int ctl_address(int dirfd, const char *name, struct sockaddr_un *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    int n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
    return n >= (int)sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

int ctl_wait(int fd, short events, int stop_fd, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
        int64_t left = deadline_ms < 0 ? -1 : MAX(deadline_ms - clock_ms(), 0);
        int n = poll(p, stop_fd >= 0 ? 2 : 1, (int)MIN(left, (int64_t)INT32_MAX));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && stop_fd >= 0 && p[1].revents)
            return -ECANCELED;
        if (n > 0)
            return 0;
        if (n == 0 && left >= 0 && clock_ms() >= deadline_ms)
            return -ETIMEDOUT;
    }
}

static bool must_wait(int code)
{
    return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

int ctl_send(int fd, json_t *msg, int stop_fd, int64_t deadline_ms)
{
    _cleanup_free_ char *text = json_dumps(msg, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    size_t len = strlen(text), done = 0;
    if (len >= CTL_LINE_MAX)
        return -EMSGSIZE;
    text[len++] = '\n'; /* in place of the ending zero */
    while (done < len) {
        ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && !must_wait(errno))
            return -errno;
        if (n > 0)
            done += (size_t)n;
        int r = n < 0 ? ctl_wait(fd, POLLOUT, stop_fd, deadline_ms) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* What has come so far. */
struct line {
    char *buf;
    size_t len, room;
};

static void line_finish(struct line *l)
{
    free(l->buf);
}

static int line_grow(struct line *l)
{
    if (l->len < l->room)
        return 0;
    if (l->room >= CTL_LINE_MAX)
        return -EMSGSIZE;
    size_t room = MIN(MAX(l->room * 2, (size_t)4096), (size_t)CTL_LINE_MAX);
    char *buf = realloc(l->buf, room);
    if (!buf)
        return -ENOMEM;
    l->buf = buf;
    l->room = room;
    return 0;
}

/* Receive up to a line break or the end of the stream; l->len is the length before it. */
static int line_recv(int fd, int stop_fd, int64_t deadline_ms, struct line *l)
{
    for (;;) {
        int r = line_grow(l);
        if (r == 0)
            r = ctl_wait(fd, POLLIN, stop_fd, deadline_ms);
        if (r < 0)
            return r;
        ssize_t n = recv(fd, l->buf + l->len, l->room - l->len, MSG_DONTWAIT);
        if (n < 0 && !must_wait(errno))
            return -errno;
        if (n == 0)
            return l->len > 0 ? 0 : -ENODATA;
        char *end = n > 0 ? memchr(l->buf + l->len, '\n', (size_t)n) : NULL;
        l->len = end ? (size_t)(end - l->buf) : l->len + (size_t)MAX(n, (ssize_t)0);
        if (end)
            return 0;
    }
}

int ctl_recv(int fd, int stop_fd, int64_t deadline_ms, json_t **ret, char why[JSON_ERROR_TEXT_LENGTH])
{
    _cleanup_(line_finish) struct line l = {0};
    int r = line_recv(fd, stop_fd, deadline_ms, &l);
    if (r < 0)
        return r;
    json_error_t jerr;
    _cleanup_json_ json_t *msg = json_loadb(l.buf, l.len, JSON_REJECT_DUPLICATES, &jerr);
    if (!msg || !json_is_object(msg)) {
        (void)snprintf(why, JSON_ERROR_TEXT_LENGTH, "%s", msg ? "not an object" : jerr.text);
        return -EPROTO;
    }
    *ret = take_ptr(msg);
    return 0;
}
