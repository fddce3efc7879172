/* SPDX-License-Identifier: GPL-2.0-or-later */
/* up, sync and down.
 *
 * Each holds ROOT/run/up.lock, so there is one at a time in a root. Nothing is remembered about what runs: locks, sockets, /proc and the
 * tgtds themselves are asked each time, and so a crash of anything, of ourselves too, needs no special care.
 *
 * down keeps ROOT/run/live (the live maps of volatile overlays, good until the machine's next boot) and the logs.
 */
#include "gateway/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/daemon.h"
#include "gateway/dnsmasq.h"
#include "gateway/fsproc.h"
#include "gateway/image-sweep.h"
#include "gateway/mount.h"
#include "gateway/net-watch.h"
#include "gateway/portal.h"
#include "gateway/report.h"
#include "gateway/service-parts.h"
#include "gateway/shard.h"
#include "gateway/site.h"
#include "gateway/tgt-sync.h"
#include "gateway/units.h"
#include "gateway/wmem.h"

#define UP_LOCK "up.lock"

static int finish_report(int r, json_t **report, json_t **ret_report, struct err *err)
{
    if (r < 0)
        return r;
    size_t n = report_problems(*report);
    *ret_report = take_ptr(*report);
    if (n == 0)
        return 0;
    return err_set(err, -EREMOTEIO, "%zu %s not served; the list of problems says why", n,
                   n == 1 ? "part is" : "parts are");
}

/* What a root that is down has no use for in ROOT/run, also what processes that died have left. The lock goes last. */
static void remove_rest(const struct site *s)
{
    _cleanup_closedir_ DIR *d = NULL;
    int fd = openat(s->run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && !(d = fdopendir(fd)))
        (void)close(fd);
    for (struct dirent *e; d && (e = readdir(d));) {
        unsigned k;
        int at = 0, unused;
        bool is_socket =
            sscanf(e->d_name, "tgt.%u%n", &k, &at) == 1 && (e->d_name[at] == 0 || strcmp(e->d_name + at, ".lock") == 0);
        bool is_pid = !is_socket && sscanf(e->d_name, "tgt%u.pid%n", &k, &at) == 1 && at > 0 && e->d_name[at] == 0;
        bool is_lock = strcmp(e->d_name, "init.lock") == 0 && !root_locked(s->root, e->d_name, &unused);
        bool is_net = strcmp(e->d_name, NET_SOCKET) == 0 && !root_locked(s->root, "diskgated.lock", &unused);
        if (is_socket || is_pid || is_lock || is_net)
            (void)unlinkat(s->run_fd, e->d_name, 0); /* what cannot be removed does no harm */
    }
    (void)unlinkat(s->run_fd, "mnt", AT_REMOVEDIR);
    (void)unlinkat(s->run_fd, UP_LOCK, 0); /* who waits for it sees that the name is gone and begins again */
}

static int check_portals(const struct site *s, const struct parts *p, struct err *err)
{
    int r = 0;
    for (unsigned k = 0; k < s->shards && r == 0; k++)
        if (p->was_started[k])
            r = portal_check_answers(s, k, err);
    return r;
}

/* tgt_sync(); a diskgate-fs that lost its privileged half (-EPIPE) is replaced first, as one that died is. */
static int follow_catalog(const struct site *s, struct catalog *c, struct parts *p, bool is_strict, json_t *report,
                          struct err *err)
{
    int r = tgt_sync(s, c, p->pids, is_strict, report, err);
    if (r != -EPIPE || p->fs_was_started)
        return r;
    r = fsproc_replace(s, report, err);
    return r ? r : tgt_sync(s, c, p->pids, is_strict, report, err);
}

static int bring_up(const struct site *s, struct catalog *c, json_t *report, struct err *err)
{
    struct parts parts;
    wmem_raise(s, report);
    int r = parts_ensure(s, true, &parts, report, err);
    r = r ? r : follow_catalog(s, c, &parts, true, report, err);
    r = r ? r : check_portals(s, &parts, err);
    bool had_dnsmasq = dnsmasq_find(s) > 0, daemon_was_started = false;
    r = r ? r : daemon_ensure(s, c, &daemon_was_started, report, err);
    r = r ? r : dnsmasq_ensure(s, c, report, err);
    if (r == 0)
        parts_drain(s, &parts, report);
    else
        parts_undo(s, &parts);
    /* The failure that is reported came before. */
    if (r < 0 && !had_dnsmasq)
        (void)dnsmasq_stop(s, NULL, NULL);
    if (r < 0 && daemon_was_started)
        (void)daemon_stop(s, NULL, NULL);
    return r;
}

int service_up(const char *root, struct catalog *c, json_t **ret_report, struct err *err)
{
    _cleanup_(site_finish) struct site s = {.run_fd = -1};
    _cleanup_(json_decrefp) json_t *report = report_new();
    int r = root_check_trusted(root, err);
    r = r ? r : site_open(&s, root, true, err);
    if (r < 0)
        return r;
    _cleanup_close_ int lock = root_lock(root, UP_LOCK, -1, err);
    r = lock < 0 ? lock : site_read(&s, c, err);
    bool was_up = r == 0 && service_is_up(root);
    if (r == 0)
        image_sweep(root, image_swept_report, report);
    r = r ? r : bring_up(&s, c, report, err);
    if (r < 0 && lock >= 0 && !was_up && !service_is_up(root)) {
        wmem_restore(&s, report);
        remove_rest(&s);
    }
    return finish_report(r, &report, ret_report, err);
}

int service_sync(const char *root, struct catalog *c, json_t **ret_report, struct err *err)
{
    _cleanup_(site_finish) struct site s = {.run_fd = -1};
    _cleanup_(json_decrefp) json_t *report = report_new();
    if (!service_is_up(root))
        return finish_report(0, &report, ret_report, err);
    int r = site_open(&s, root, false, err);
    if (r < 0)
        return r;
    _cleanup_close_ int lock = root_lock(root, UP_LOCK, -1, err);
    if (lock < 0)
        return lock;
    if (!service_is_up(root)) /* a `down` was faster */
        return finish_report(0, &report, ret_report, err);
    struct parts parts;
    r = site_read(&s, c, err);
    r = r ? r : parts_ensure(&s, false, &parts, report, err);
    r = r ? r : follow_catalog(&s, c, &parts, false, report, err);
    if (r == 0) {
        struct err why;
        bool unused;
        parts_drain(&s, &parts, report);
        if (daemon_ensure(&s, c, &unused, report, &why) < 0)
            report_problem(report, "diskgated", "%s", why.msg);
        if (dnsmasq_ensure(&s, c, report, &why) < 0)
            report_problem(report, "dnsmasq", "%s", why.msg);
    }
    return finish_report(r, &report, ret_report, err);
}

/* Is a mount of a diskgate-fs that died still there? */
static bool has_mount(const struct site *s)
{
    unsigned minor;
    return mount_count(s->mount, &minor) > 0;
}

bool service_is_up(const char *root)
{
    _cleanup_(site_finish) struct site s = {.run_fd = -1};
    pid_t pids[SHARDS_MAX];
    int pid;
    if (site_open(&s, root, false, NULL) < 0)
        return false;
    return fsproc_runs(&s, &pid) || shard_find(&s, pids) > 0 || has_mount(&s) || dnsmasq_find(&s) > 0 ||
           daemon_runs(&s, &pid);
}

/* First round asks, second round kills what a dead mount had held. */
static int stop_shards(const struct site *s, bool is_hung, json_t *report, size_t *sessions, struct err *err)
{
    pid_t pids[SHARDS_MAX];
    int first = 0, codes[SHARDS_MAX] = {0};
    struct err errs[SHARDS_MAX];
    (void)shard_find(s, pids);
    if (!is_hung)
        shard_check_all(s, pids, 3000, codes, errs);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        if (!pids[k])
            continue;
        struct err e;
        bool is_silent = is_hung || codes[k] < 0;
        int r = shard_stop(s, k, pids[k], is_silent, sessions, &e);
        if (r == 0)
            report_change(report, "tgtd shard %u stopped%s", k, is_silent ? " by force" : "");
        else if (first == 0)
            first = err_set(err, r, "%s", e.msg);
    }
    return first;
}

static int bring_down(const struct site *s, json_t *report, struct err *err)
{
    size_t sessions = 0;
    struct err first, of_dnsmasq, of_daemon;
    units_stop(s);
    int r2 = daemon_stop(s, report, &of_daemon); /* it would repair what is stopped below */
    int r0 = dnsmasq_stop(s, report, &of_dnsmasq);
    int r1 = stop_shards(s, false, report, &sessions, &first);
    int r = fsproc_stop(s, report, err);
    if (r == 0)
        r = fsproc_release_memory(s, report, err);
    if (r1 < 0) /* a request of it may have hung in the mount that is gone now */
        r1 = stop_shards(s, true, report, &sessions, &first);
    if (r == 0 && r1 < 0)
        r = err_set(err, r1, "%s", first.msg);
    if (r == 0 && r0 < 0)
        r = err_set(err, r0, "%s", of_dnsmasq.msg);
    if (r == 0 && r2 < 0)
        r = err_set(err, r2, "%s", of_daemon.msg);
    if (sessions > 0)
        report_change(report, "%zu live session%s ended", sessions, sessions == 1 ? "" : "s");
    wmem_restore(s, report);
    if (r == 0)
        remove_rest(s);
    return r;
}

int service_down(const char *root, json_t **ret_report, struct err *err)
{
    _cleanup_(site_finish) struct site s = {.run_fd = -1};
    _cleanup_(json_decrefp) json_t *report = report_new();
    int r = site_open(&s, root, false, err);
    if (r == -ENOENT)
        return finish_report(0, &report, ret_report, err);
    if (r < 0)
        return r;
    /* A file system that went read-only must not keep anybody from stopping what is left. */
    _cleanup_close_ int lock = root_lock(root, UP_LOCK, -1, err);
    r = lock < 0 && lock != -EROFS ? lock : bring_down(&s, report, err);
    return finish_report(r, &report, ret_report, err);
}
