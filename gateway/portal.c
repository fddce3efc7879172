/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports seen from the network; see portal.h. */
#include "gateway/portal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/proc.h"

#define DYING_MS 2000

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int portal_address(const struct site *s, unsigned k, union address *ret, socklen_t *ret_len, struct err *err)
{
    in_port_t port = htons((uint16_t)(s->port + k));
    *ret = (union address){0};
    if (inet_pton(AF_INET, s->address, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = port;
        *ret_len = sizeof(ret->v4);
        return 0;
    }
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = port;
    *ret_len = sizeof(ret->v6);
    if (inet_pton(AF_INET6, s->address, &ret->v6.sin6_addr) == 1)
        return 0;
    return err_set(err, -EINVAL,
                   "setting gateway.address is '%s', which is no IP address; change it with 'diskgate set "
                   "gateway.address ADDRESS'",
                   s->address);
}

static int free_fail(const struct site *s, unsigned k, int code, struct err *err)
{
    if (code == -EADDRINUSE)
        return err_set(
            err, code,
            "port %u on %s is taken by another program (Debian's own tgt service, or another root?); stop it "
            "with 'systemctl disable --now tgt' or choose another port with 'diskgate set gateway.port N'",
            s->port + k, s->address);
    if (code == -EADDRNOTAVAIL)
        return err_set(err, code,
                       "%s is no address of this machine; choose one that 'ip addr' shows with 'diskgate set "
                       "gateway.address ADDRESS'",
                       s->address);
    return err_sys(err, code, "cannot listen on port %u of %s", s->port + k, s->address);
}

static int try_listen(const union address *a, socklen_t len)
{
    int on = 1;
    _cleanup_close_ int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* As tgtd does: connections of a former life in TIME_WAIT do not count. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->sa.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    return bind(fd, &a->sa, len) < 0 || listen(fd, 1) < 0 ? -errno : 0;
}

/* A tgtd that was killed has its port for as long as the kernel ends it: longer on a busy machine, or while it writes a core file. */
int portal_check_free(const struct site *s, unsigned k, struct err *err)
{
    union address a;
    socklen_t len;
    int r = portal_address(s, k, &a, &len, err);
    if (r < 0)
        return r;
    int64_t end_ms = clock_ms() + DYING_MS;
    while ((r = try_listen(&a, len)) == -EADDRINUSE && clock_ms() < end_ms)
        proc_sleep_ms(50);
    return r < 0 ? free_fail(s, k, r, err) : 0;
}

int portal_check_answers(const struct site *s, unsigned k, struct err *err)
{
    union address a;
    socklen_t len;
    int r = portal_address(s, k, &a, &len, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a socket");
    r = connect(fd, &a.sa, len) < 0 ? -errno : 0;
    if (r == -EINPROGRESS) {
        struct pollfd p = {fd, POLLOUT, 0};
        socklen_t size = sizeof(r);
        int n = poll(&p, 1, 5000);
        if (n <= 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &r, &size) < 0)
            r = n == 0 ? ETIMEDOUT : errno;
        r = -r;
    }
    return r ? err_sys(err, r, "tgtd shard %u does not accept connections on %s port %u", k, s->address, s->port + k)
             : 0;
}
