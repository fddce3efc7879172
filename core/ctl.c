/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The caller's side of a control socket.
 *
 * One deadline covers the whole call: connecting (the daemon answers one caller at a time, so its queue may be full), sending, and
 * waiting for the answer.
 */
#include "core/ctl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/clock.h"
#include "core/ctl-line.h"
#include "core/root.h"
#include "core/util.h"

#define RETRY_MS 20

/* Connect to the full or free queue of a listener. -EAGAIN means full: try again until the deadline. */
static int connect_until(int fd, const struct sockaddr_un *address, int64_t deadline_ms)
{
    while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (clock_ms() >= deadline_ms)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, RETRY_MS); /* only a pause */
    }
    return 0;
}

static int connect_error(const char *root, const char *sock, int code, struct err *err)
{
    if (code == -ENOENT || code == -ECONNREFUSED)
        return err_set(err, code, "nobody listens at '%s/run/%s'; start it with 'diskgate up'", root, sock);
    if (code == -EACCES || code == -EPERM)
        return err_set(err, code, "'%s/run/%s' may be used by root and the daemon's own user only", root, sock);
    return err_sys(err, code, "cannot connect to '%s/run/%s'", root, sock);
}

/* Connected, non-blocking socket, or a negative errno with a sentence. */
static int connect_to(const char *root, const char *sock, int64_t deadline_ms, struct err *err)
{
    struct sockaddr_un address;
    _cleanup_close_ int dir = root_open_dir(root, "run", err);
    if (dir < 0)
        return dir == -ENOENT ? connect_error(root, sock, dir, err) : dir;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a socket");
    int r = ctl_address(dir, sock, &address);
    if (r == 0)
        r = connect_until(fd, &address, deadline_ms);
    if (r < 0)
        return connect_error(root, sock, r, err);
    return take_fd(&fd);
}

/* The daemon's own error, or 0. */
static int answer_error(const char *root, const char *sock, json_t *answer, struct err *err)
{
    json_t *sentence = json_object_get(answer, "error");
    if (!sentence)
        return 0;
    json_int_t code = json_integer_value(json_object_get(answer, "errno"));
    if (!json_is_string(sentence) || code < 1 || code > 4095)
        return err_set(err, -EPROTO, "malformed answer from '%s/run/%s': an error without its number or sentence", root,
                       sock);
    return err_set(err, -(int)code, "%s", json_string_value(sentence));
}

static int talk_error(const char *root, const char *sock, int code, int timeout_ms, const char *why, struct err *err)
{
    switch (code) {
    case -ETIMEDOUT:
        return err_set(err, code,
                       "no answer from '%s/run/%s' within %d.%d s; see 'diskgate status' and the log beside it", root,
                       sock, timeout_ms / 1000, timeout_ms % 1000 / 100);
    case -EPROTO:
        return err_set(err, code, "malformed answer from '%s/run/%s': %s", root, sock, why);
    case -ENODATA:
    case -EPIPE:
    case -ECONNRESET:
        return err_set(err, -ECONNRESET, "'%s/run/%s' closed the connection without an answer; see the log beside it",
                       root, sock);
    default:
        return err_sys(err, code, "cannot talk to '%s/run/%s'", root, sock);
    }
}

int ctl_call(const char *root, const char *sock, json_t *req, int timeout_ms, json_t **ret, struct err *err)
{
    int64_t deadline_ms = clock_ms() + timeout_ms;
    char why[JSON_ERROR_TEXT_LENGTH] = "";
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_close_ int fd = connect_to(root, sock, deadline_ms, err);
    if (fd < 0)
        return fd;
    int r = ctl_send(fd, req, -1, deadline_ms);
    /* A server that refuses a caller answers before it has read the request: look for an answer even when sending failed. */
    if (r == 0 || r == -EPIPE || r == -ECONNRESET)
        r = ctl_recv(fd, -1, deadline_ms, &answer, why);
    if (r < 0)
        return talk_error(root, sock, r, timeout_ms, why, err);
    r = answer_error(root, sock, answer, err);
    if (r == 0)
        *ret = take_ptr(answer);
    return r;
}
