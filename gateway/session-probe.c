/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ending the session of a PC that was reset.
 *
 * A PC that loses its power says nothing to tgtd. Its session lives on until tgtd's own pings (nop_interval, nop_count) have failed, 15 to
 * 30 s, and that long the PC's next boot would have to wait: its disk must not be exchanged under a system that may be running.
 *
 * What is known: a PC that asks for its boot script by its MAC, from the address that its session comes from. That is a hint and no proof:
 * the same request may come from a browser on a PC that runs. The proof is in its TCP. Whoever was reset has a new TCP that does not know
 * the old connection, and answers any segment of it with RST; whoever lives answers with ACK, also while its system is busy or its
 * disk is idle, since its kernel does it. So the connection is made to send a segment: a keepalive probe, the empty one that TCP has for
 * this question. The kernel that gets the RST checks it against the sequence numbers and ends the connection; tgtd sees that and drops the
 * session. Nothing here ends anything: the worst that a wrong guess can do is one empty packet.
 *
 *   PC                    answer         then
 *   reset, new TCP        RST            the connection ends, the boot goes on
 *   runs, busy or idle    ACK            the session stays, the PC is told to wait
 *   off, another address  none           as before: tgtd's pings find out
 *
 * Where data of tgtd waits for an acknowledgement TCP sends no probe but repeats the data, at growing distances; the answer to that is the
 * same, and the PC's next request finds its session gone.
 *
 * The sockets are tgtd's. pidfd_getfd(2) gives us copies, which takes the right to trace tgtd (CAP_SYS_PTRACE). Their former keepalive
 * times are put back. Not used: SOCK_DESTROY (`ss -K`), which ends a connection without asking the other side.
 */
#include "gateway/session-probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/proc.h"
#include "gateway/shard.h"

#define PROBES_MAX 64 /* connections from one address; more would be many PCs behind one router */

struct probe {
    int fd;
    int idle_s, interval_s, on; /* as they were */
};

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The other end of @fd is @address, as text; a mapped IPv4 address is that address. */
static bool is_peer(int fd, const char *address)
{
    union address a = {0};
    socklen_t len = sizeof(a);
    char text[INET6_ADDRSTRLEN] = "";
    if (getpeername(fd, &a.sa, &len) < 0)
        return false;
    if (a.sa.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof(text)); /* fits */
    else if (a.sa.sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof(text)); /* fits */
    return *text && strcmp(strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text, address) == 0;
}

static int get_option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, level, name, &value, &len) == 0 ? value : 0;
}

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

/* Idle for a second is enough; the kernel sends the probe as soon as that is set on a connection that was idle for longer. */
static bool begin(struct probe *p, int fd)
{
    *p = (struct probe){.fd = fd,
                        .idle_s = get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE),
                        .interval_s = get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL),
                        .on = get_option(fd, SOL_SOCKET, SO_KEEPALIVE)};
    return p->idle_s > 0 && p->interval_s > 0 && set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1) && set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
}

static bool is_gone(int fd)
{
    struct tcp_info i = {0};
    socklen_t len = sizeof(i);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &len) == 0 && i.tcpi_state == TCP_CLOSE;
}

static void end(struct probe *p)
{
    /* A socket that is gone needs none of it. */
    (void)set_option(p->fd, IPPROTO_TCP, TCP_KEEPIDLE, p->idle_s);
    (void)set_option(p->fd, IPPROTO_TCP, TCP_KEEPINTVL, p->interval_s);
    (void)set_option(p->fd, SOL_SOCKET, SO_KEEPALIVE, p->on);
    closep(&p->fd);
}

/* Probes for the connections of process @pid to @address; returns the new count. */
static size_t probe_process(pid_t pid, const char *address, struct probe *list, size_t n)
{
    char path[64], link[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid); /* fits */
    _cleanup_closedir_ DIR *d = opendir(path);
    _cleanup_close_ int pidfd = d ? proc_open(pid) : -1;
    for (struct dirent *e; d && pidfd >= 0 && n < PROBES_MAX && (e = readdir(d));) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
        link[MAX(len, 0)] = 0;
        if (strncmp(link, "socket:", 7) != 0)
            continue;
        _cleanup_close_ int fd = pidfd_getfd(pidfd, (int)strtol(e->d_name, NULL, 10), 0);
        if (fd >= 0 && is_peer(fd, address) && begin(&list[n], fd)) {
            n++;
            (void)take_fd(&fd);
        }
    }
    return n;
}

/* True as soon as one of them is gone. */
static bool await(const struct probe *list, size_t n, int wait_ms)
{
    int64_t end_ms = clock_ms() + wait_ms;
    for (;;) {
        for (size_t i = 0; i < n; i++)
            if (is_gone(list[i].fd))
                return true;
        if (n == 0 || clock_ms() >= end_ms)
            return false;
        proc_sleep_ms(10);
    }
}

bool session_probe(const struct site *s, const char *address, int wait_ms)
{
    struct probe list[PROBES_MAX];
    pid_t pids[SHARDS_MAX];
    size_t n = 0;
    (void)shard_find(s, pids);
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        if (pids[k])
            n = probe_process(pids[k], address, list, n);
    bool is_any_gone = await(list, n, wait_ms);
    for (size_t i = 0; i < n; i++)
        end(&list[i]);
    return is_any_gone;
}
