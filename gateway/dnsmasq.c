/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a dnsmasq.
 *
 *   start   dnsmasq --test -> is there another DHCP server here -> dnsmasq -k in the background -> its pid file is there: it has its sockets
 *   anew    configuration younger than the pid file -> stop, start; leases are in a file, so no PC notices
 *   stop    SIGTERM -> SIGKILL -> pid file removed
 *
 * It changes to / by itself, so all paths in its command line are whole. A full DHCP server that lost its leases gives out the same addresses
 * again, since it makes them from the MAC.
 */
#include "gateway/dnsmasq.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/boot-net.h"
#include "gateway/boot-render.h"
#include "gateway/proc.h"
#include "gateway/report.h"
#include "gateway/spawn.h"
#include "gateway/units.h"

#define TEST_MS  10000
#define START_MS 10000
#define END_MS   5000

static bool is_ours(pid_t pid, void *arg)
{
    const char *wanted = arg, *word;
    char args[2 * PATH_MAX + 256];
    size_t len = proc_args(pid, args, sizeof(args));
    for (size_t i = 1; (word = proc_arg(args, len, i)); i++)
        if (strncmp(word, "--conf-file=", 12) == 0 && strcmp(word + 12, wanted) == 0)
            return true;
    return false;
}

pid_t dnsmasq_find(const struct site *s)
{
    char conf[PATH_MAX];
    return root_path(s->root, "run/" DNSMASQ_CONF, conf, NULL) < 0 ? 0 : proc_find("dnsmasq", is_ours, conf);
}

bool dnsmasq_is_wanted(struct catalog *c)
{
    char value[SETTING_LEN + 1];
    return setting_get(c, "boot.dhcp", value, NULL) == 0 && strcmp(value, "off") != 0;
}

/* A mistake in the configuration is told in one line before anything was stopped for it. */
static int test_conf(const struct site *s, const char *conf_option, struct err *err)
{
    const char *const argv[] = {"dnsmasq", "--test", conf_option, NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    int r = spawn_run(&(struct spawn){argv, NULL, s->run_fd}, TEST_MS, &o, err);
    if (r == -ENOENT)
        return err_set(err, r,
                       "dnsmasq is not installed; install it with 'apt-get install dnsmasq-base', or set "
                       "boot.dhcp to off");
    if (r < 0)
        return r;
    return o.status == 0 ? 0 : err_set(err, -EINVAL, "dnsmasq refuses its configuration: %s", o.error);
}

/* Port 67 on @interface: 0 when it is free, -EADDRINUSE when somebody has it there. dnsmasq and dhcpd share it without a word, so that a
 * bind that shares would always work. */
static int try_port(const char *interface)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(67)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0)
        return -errno;
    return bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

/* A second DHCP server on this very machine is one that diskgated's looks do not find: they ask the wire. Who has the port on our interface
 * alone answers our PCs; who has it on all of them (dhcpd, Kea) may serve other networks only, which is told and no more. */
static int refuse_rival(struct catalog *c, json_t *report, struct err *err)
{
    struct boot_net n;
    int r = boot_net_read(&n, c, err);
    r = r ? r : boot_net_find(&n, err);
    if (r < 0 || n.mode != DHCP_FULL || try_port(n.interface) != -EADDRINUSE)
        return r;
    if (try_port("lo") != -EADDRINUSE)
        return err_set(
            err, -EADDRINUSE,
            "another DHCP server on this machine serves interface %s ('ss -ulnp sport = :67' shows it): stop "
            "it, for example with 'systemctl disable --now dnsmasq', or set boot.dhcp to proxy or tftp",
            n.interface);
    report_change(report,
                  "note: another DHCP server on this machine listens on all interfaces ('ss -ulnp sport = :67' shows "
                  "it): if it serves the PCs of %s, too, stop it, or set boot.dhcp to proxy or tftp",
                  n.interface);
    return 0;
}

static size_t log_size(const struct site *s)
{
    struct stat st;
    return fstatat(s->run_fd, DNSMASQ_LOG, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (size_t)st.st_size : 0;
}

static int wait_ready(const struct site *s, int pidfd, size_t log_from, struct err *err)
{
    char tail[400];
    int64_t end = clock_ms() + START_MS;
    while (proc_is_alive(pidfd)) {
        if (proc_pid_file(s->run_fd, DNSMASQ_PID) > 0)
            return 0;
        if (clock_ms() >= end)
            return err_set(err, -ETIMEDOUT, "dnsmasq is not ready within %d s after its start; see '%s/run/%s'",
                           START_MS / 1000, s->root, DNSMASQ_LOG);
        proc_sleep_ms(20);
    }
    spawn_log_tail(s->run_fd, DNSMASQ_LOG, log_from, tail, sizeof(tail));
    return err_set(err, -ECHILD,
                   "dnsmasq ended as soon as it was started: %s. Another DHCP or TFTP server on this machine must be "
                   "stopped first, or set boot.dhcp to off",
                   *tail ? tail : "it said nothing");
}

static int make_options(const struct site *s, char conf[PATH_MAX + 16], char pid[PATH_MAX + 16], struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(s->root, "run/" DNSMASQ_CONF, path, err);
    (void)snprintf(conf, PATH_MAX + 16, "--conf-file=%s", r ? "" : path); /* these fit */
    r = r ? r : root_path(s->root, "run/" DNSMASQ_PID, path, err);
    (void)snprintf(pid, PATH_MAX + 16, "--pid-file=%s", r ? "" : path);
    return r;
}

static int start(const struct site *s, struct err *err)
{
    char conf[PATH_MAX + 16], pid_file[PATH_MAX + 16];
    int r = make_options(s, conf, pid_file, err);
    if (r < 0)
        return r;
    if (units_manage(s))
        return units_start(s, "-dnsmasq", err);
    (void)unlinkat(s->run_fd, DNSMASQ_PID, 0); /* of one that died; absent is as good */
    const char *const argv[] = {"dnsmasq", "-k", conf, pid_file, NULL};
    size_t log_from = log_size(s);
    pid_t pid;
    r = spawn_daemon(&(struct spawn){argv, NULL, s->run_fd}, DNSMASQ_LOG, &pid, err);
    if (r < 0)
        return r;
    _cleanup_close_ int pidfd = proc_open(pid);
    r = wait_ready(s, pidfd, log_from, err);
    if (r < 0) {
        (void)proc_end(pidfd, SIGKILL, END_MS); /* the failure that is reported came before */
        (void)unlinkat(s->run_fd, DNSMASQ_PID, 0);
    }
    return r;
}

/* Its messages go to the same file in either case: diskgated reads them. */
int dnsmasq_exec(const struct site *s, struct catalog *c, struct err *err)
{
    char conf[PATH_MAX + 16], pid_file[PATH_MAX + 16];
    int r = dnsmasq_find(s) > 0 ? err_set(err, -EBUSY, "a dnsmasq serves '%s' already", s->root)
                                : boot_render_files(s->root, c, NULL, err);
    r = r < 0 ? r : make_options(s, conf, pid_file, err);
    r = r ? r : test_conf(s, conf, err);
    r = r ? r : refuse_rival(c, NULL, err);
    if (r < 0)
        return r;
    (void)unlinkat(s->run_fd, DNSMASQ_PID, 0); /* of one that died; absent is as good */
    _cleanup_close_ int log =
        openat(s->run_fd, DNSMASQ_LOG, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        return err_sys(err, -errno, "cannot open '%s/run/%s'", s->root, DNSMASQ_LOG);
    const char *const argv[] = {"dnsmasq", "-k", conf, pid_file, NULL};
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvp("dnsmasq", (char *const *)(uintptr_t)argv);
    return err_sys(err, -errno, "cannot start dnsmasq");
}

/* Was the configuration written after dnsmasq had started? */
static bool is_outdated(const struct site *s)
{
    struct stat conf, pid;
    if (fstatat(s->run_fd, DNSMASQ_CONF, &conf, 0) < 0 || fstatat(s->run_fd, DNSMASQ_PID, &pid, 0) < 0)
        return true;
    return conf.st_mtim.tv_sec != pid.st_mtim.tv_sec ? conf.st_mtim.tv_sec > pid.st_mtim.tv_sec
                                                     : conf.st_mtim.tv_nsec > pid.st_mtim.tv_nsec;
}

static int end(const struct site *s, struct err *err)
{
    pid_t pid = dnsmasq_find(s);
    _cleanup_close_ int pidfd = pid > 0 ? proc_open(pid) : -1;
    if (pidfd >= 0 && dnsmasq_find(s) == pid && !proc_end(pidfd, SIGTERM, END_MS) && !proc_end(pidfd, SIGKILL, END_MS))
        return err_set(err, -EBUSY, "dnsmasq (pid %d) does not end even by SIGKILL", (int)pid);
    (void)unlinkat(s->run_fd, DNSMASQ_PID, 0); /* absent is as good */
    return pid > 0;
}

int dnsmasq_stop(const struct site *s, json_t *report, struct err *err)
{
    int r = end(s, err);
    if (r > 0)
        report_change(report, "dnsmasq stopped");
    return MIN(r, 0);
}

int dnsmasq_ensure(const struct site *s, struct catalog *c, json_t *report, struct err *err)
{
    if (!dnsmasq_is_wanted(c))
        return dnsmasq_stop(s, report, err);
    char conf[PATH_MAX + 16], unused[PATH_MAX + 16];
    int r = boot_render_files(s->root, c, NULL, err);
    if (r < 0)
        return r;
    bool was_running = dnsmasq_find(s) > 0;
    if (was_running && !is_outdated(s))
        return 0;
    r = make_options(s, conf, unused, err);
    r = r ? r : test_conf(s, conf, err);
    if (r == 0 && !was_running)
        r = refuse_rival(c, report, err);
    else if (r == 0)
        r = end(s, err);
    r = r < 0 ? r : start(s, err);
    if (r == 0)
        report_change(report, was_running ? "dnsmasq started anew with its new configuration" : "dnsmasq started");
    return r;
}
