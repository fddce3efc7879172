/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `status` tells: the parts, the problems, counts and sizes. */
#include "gateway/service.h"

#include <errno.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/auto-limit.h"
#include "gateway/backup-report.h"
#include "gateway/net-report.h"
#include "gateway/service-direct.h"
#include "gateway/service-memory.h"
#include "gateway/service-snapshot.h"

static void add_part(json_t *parts, const char *name, int error, int pid, const char *detail, bool is_up)
{
    const char *state = error == 0 ? "up" : pid > 0 ? "failed" : "down";
    json_t *row = json_pack("{s:s, s:s, s:o, s:s}", "part", name, "state", is_up ? state : "down", "pid",
                            pid > 0 ? json_integer(pid) : json_null(), "detail", is_up && error ? detail : "");
    (void)json_array_append_new(parts, row); /* a list too short is all that can happen */
}

static json_t *part_list(const struct service_snapshot *n)
{
    json_t *parts = json_array();
    add_part(parts, "diskgate-fs", n->fs_error, n->fs_pid, n->fs_problem.msg, n->is_up);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "tgtd %u", k); /* fits */
        if (k < n->site.shards || n->pids[k])
            add_part(parts, name, n->shard_errors[k], n->pids[k], n->shard_problems[k].msg, n->is_up);
    }
    add_part(parts, "diskgated", n->daemon_error, n->daemon_pid, n->daemon_problem.msg, n->is_up);
    if (n->is_dnsmasq_wanted || n->dnsmasq_pid)
        add_part(parts, "dnsmasq", n->dnsmasq_pid ? 0 : -ENOENT, n->dnsmasq_pid, DNSMASQ_DOWN, n->is_up);
    return parts;
}

static size_t online_count(const struct service_snapshot *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->want.n; i++) {
        unsigned k = 0;
        const struct tgt_target *t = service_find_target(n, &n->want.entries[i], &k);
        count += t && t->n_sessions > 0;
    }
    return count;
}

static size_t disabled_count(const struct service_snapshot *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->want.n_clients; i++)
        count += n->want.clients[i].is_disabled;
    return count;
}

static json_int_t overlay_bytes(const json_t *fs)
{
    json_int_t sum = 0;
    const json_t *views = json_object_get(fs, "views");
    for (size_t i = 0; i < json_array_size(views); i++)
        sum += json_integer_value(json_object_get(json_array_get(views, i), "overlay_bytes"));
    return sum;
}

int service_status(const char *root, struct catalog *c, json_t **ret, struct err *err)
{
    _cleanup_(service_snapshot_finish) struct service_snapshot n = {0};
    int r = service_snapshot_take(&n, root, c, err);
    if (r < 0)
        return r;
    char folder[PATH_MAX];
    struct statvfs fs;
    bool has_space = root_path(root, "overlays", folder, NULL) == 0 && statvfs(folder, &fs) == 0;
    json_t *problems = service_problems(&n, c), *notices = service_notices(&n);
    _cleanup_json_ json_t *net = json_object();
    if (n.is_up)
        net_report(root, c, problems, notices, net);
    if (n.is_up)
        direct_report(&n, notices, net);
    if (n.is_up)
        auto_limit_report(c, problems, notices);
    backup_report(root, c, problems, net);
    if (n.is_up && !n.fs_error)
        memory_report(n.fs, problems, notices, net);
    const char *state = !n.is_up ? "down" : json_array_size(problems) ? "degraded" : "up";
    json_t *status = json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:I}", "root", root, "state", state, "parts",
                               part_list(&n), "clients", (json_int_t)n.want.n_clients, "clients_online",
                               (json_int_t)online_count(&n), "problems", problems, "overlay_free_bytes",
                               has_space ? json_integer((json_int_t)(fs.f_bavail * fs.f_frsize)) : json_null(),
                               "overlay_bytes", overlay_bytes(n.fs));
    if (status) { /* without memory they are missing */
        (void)json_object_set(status, "notices", notices);
        (void)json_object_update(status, net);
        (void)json_object_set_new(status, "clients_disabled", json_integer((json_int_t)disabled_count(&n)));
    }
    json_decref(notices);
    *ret = status;
    return status ? 0 : err_sys(err, -ENOMEM, "cannot tell the state");
}
