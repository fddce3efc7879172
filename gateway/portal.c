/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports and send buffers.
 *
 * tcp_wmem.saved has two lines: the three numbers before, and the three that we wrote. Only while the kernel still has the second line is it
 * ours to undo. tgtd of Debian 12 can be hung by one stalled client when the start size is below four PDUs (fixed in tgt 1.0.89).
 */
#include "gateway/portal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/proc.h"
#include "gateway/report.h"

#define WMEM_PATH  "/proc/sys/net/ipv4/tcp_wmem"
#define SAVED_NAME "tcp_wmem.saved"
#define DYING_MS   2000

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

typedef unsigned long long wmem_values[3];

static bool wmem_parse(const char *text, wmem_values ret)
{
    return sscanf(text, "%llu %llu %llu", &ret[0], &ret[1], &ret[2]) == 3;
}

static bool wmem_read(wmem_values ret)
{
    _cleanup_free_ char *text = NULL;
    return file_read(AT_FDCWD, WMEM_PATH, 256, &text, NULL) == 0 && wmem_parse(text, ret);
}

static int wmem_write(const wmem_values v)
{
    char text[80];
    int len = snprintf(text, sizeof(text), "%llu %llu %llu\n", v[0], v[1], v[2]);
    _cleanup_close_ int fd = open(WMEM_PATH, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : write_full(fd, text, (size_t)len);
}

/* The first line of an older file stays: it is what was before the first time. */
static int wmem_save(const struct site *s, const wmem_values old, const wmem_values ours)
{
    _cleanup_free_ char *text = NULL;
    wmem_values first;
    char line[160];
    memcpy(first, old, sizeof(first));
    if (file_read(s->run_fd, SAVED_NAME, 256, &text, NULL) == 0)
        (void)wmem_parse(text, first); /* a damaged file is replaced */
    int len = snprintf(line, sizeof(line), "%llu %llu %llu\n%llu %llu %llu\n", first[0], first[1], first[2], ours[0],
                       ours[1], ours[2]);
    return file_replace(s->run_fd, SAVED_NAME, line, (size_t)len, 0644);
}

void wmem_raise(const struct site *s, json_t *report)
{
    wmem_values old, want, ours;
    if (strcmp(s->tcp_wmem, "off") == 0 || !wmem_parse(s->tcp_wmem, want))
        return;
    int r = wmem_read(old) ? 0 : -EIO;
    bool is_larger = false;
    for (int i = 0; i < 3 && r == 0; i++) {
        ours[i] = MAX(old[i], want[i]);
        is_larger = is_larger || ours[i] > old[i];
    }
    if (r == 0 && !is_larger)
        return;
    r = r ? r : wmem_save(s, old, ours);
    r = r ? r : wmem_write(ours);
    if (r == 0)
        report_change(report, "net.ipv4.tcp_wmem raised to '%llu %llu %llu'", ours[0], ours[1], ours[2]);
    else
        report_change(report, "warning: cannot raise net.ipv4.tcp_wmem to '%s': %s; one stalled client may hang a tgtd",
                      s->tcp_wmem, strerrordesc_np(-r));
}

static bool any(pid_t pid, void *arg)
{
    return true;
}

void wmem_restore(const struct site *s)
{
    _cleanup_free_ char *text = NULL;
    wmem_values old, ours, now;
    if (file_read(s->run_fd, SAVED_NAME, 256, &text, NULL) < 0)
        return;
    char *second = strchr(text, '\n');
    if (second && wmem_parse(text, old) && wmem_parse(second, ours) && wmem_read(now) &&
        memcmp(ours, now, sizeof(now)) == 0 && !proc_find("tgtd", any, NULL))
        (void)wmem_write(old);                /* larger buffers than before harm nobody */
    (void)unlinkat(s->run_fd, SAVED_NAME, 0); /* absent is as good */
}
