/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of the control socket's lines: whatever a peer sends is an object or an error, and an object comes through unchanged. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>

#include "core/ctl-line.h"
#include "core/clock.h"
#include "core/ctl.h"

static void pass_on(json_t *msg)
{
    int pair[2];
    char why[JSON_ERROR_TEXT_LENGTH];
    json_t *got = NULL;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    must(ctl_send(pair[0], msg, -1, clock_ms() + 2000) == 0);
    must(ctl_recv(pair[1], -1, clock_ms() + 2000, &got, why) == 0);
    must(json_equal(msg, got));
    json_decref(got);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    int pair[2];
    char why[JSON_ERROR_TEXT_LENGTH] = "";
    json_t *msg = NULL;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    must(len == 0 || send(pair[0], data, len, MSG_NOSIGNAL) == (ssize_t)len); /* inputs fit the socket's buffer */
    (void)shutdown(pair[0], SHUT_WR);
    int r = ctl_recv(pair[1], -1, clock_ms() + 2000, &msg, why);
    must(r == 0 || r == -ENODATA || (r == -EPROTO && why[0]));
    if (r == 0)
        pass_on(msg);
    json_decref(msg);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return 0;
}
