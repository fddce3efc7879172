/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs, seen from outside; see service-snapshot.h. */
#include "gateway/service-snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/daemon.h"
#include "gateway/direct.h"
#include "gateway/dnsmasq.h"
#include "gateway/fsproc.h"
#include "gateway/service.h"
#include "gateway/shard.h"
#include "gateway/tgtadm.h"

#define ANSWER_MS 3000
#define TGTD_MS   2000 /* all of them together; they answer within a millisecond */

void service_snapshot_finish(struct service_snapshot *n)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        tgt_state_finish(&n->states[k]);
    json_decref(n->fs);
    free(n->shard_problems);
    want_finish(&n->want);
    site_finish(&n->site);
}

static void look_at_fs(struct service_snapshot *n)
{
    n->fs_error = fsproc_check(&n->site, ANSWER_MS, &n->fs_problem);
    if (fsproc_runs(&n->site, &n->fs_pid) && n->fs_error == 0)
        n->fs_error = fsproc_call(&n->site, "status", ANSWER_MS, &n->fs, &n->fs_problem);
    want_index_views(n->fs);
}

static int look_at_shard(struct tgtadm *a, struct service_snapshot *n, unsigned k)
{
    int r = tgtadm_show(a, &n->states[k], &n->shard_problems[k]);
    return r ? r : tgtadm_has_store(a, DIRECT_STORE, &n->has_direct[k], &n->shard_problems[k]);
}

static void look_at_shards(struct service_snapshot *n)
{
    (void)shard_find(&n->site, n->pids);
    shard_check_all(&n->site, n->pids, TGTD_MS, n->shard_errors, n->shard_problems);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        struct tgtadm a = {.dirfd = n->site.run_fd, .shard = k, .timeout_ms = TGTD_MS};
        if (n->pids[k] && n->shard_errors[k] == 0)
            n->shard_errors[k] = look_at_shard(&a, n, k);
        else if (!n->pids[k] && k < n->site.shards)
            n->shard_errors[k] =
                err_set(&n->shard_problems[k], -ENOENT, "tgtd shard %u does not run; start it with 'diskgate up'", k);
    }
}

static void keep_sessions(struct service_snapshot *n)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        for (size_t i = 0; i < n->states[k].n_targets; i++)
            (void)want_keep_session(&n->site, &n->want, &n->states[k].targets[i]);
}

int service_snapshot_take(struct service_snapshot *n, const char *root, struct catalog *c, struct err *err)
{
    n->site.run_fd = -1;
    n->shard_problems = calloc(SHARDS_MAX, sizeof(*n->shard_problems));
    if (!n->shard_problems)
        return err_sys(err, -ENOMEM, "cannot look at what runs");
    int r = site_open(&n->site, root, false, err);
    if (r < 0 && r != -ENOENT)
        return r;
    r = site_read(&n->site, c, err);
    r = r ? r : want_read(&n->site, c, &n->want, err);
    if (r < 0)
        return r;
    n->is_up = service_is_up(root);
    if (n->is_up) {
        look_at_fs(n);
        look_at_shards(n);
        keep_sessions(n);
        n->dnsmasq_pid = dnsmasq_find(&n->site);
        n->daemon_error = daemon_check(&n->site, c, ANSWER_MS, &n->daemon_problem);
        (void)daemon_runs(&n->site, &n->daemon_pid);
    }
    n->is_dnsmasq_wanted = dnsmasq_is_wanted(c);
    return 0;
}

const struct tgt_target *service_find_target(const struct service_snapshot *n, const struct want_entry *e,
                                             unsigned *ret_shard)
{
    const struct tgt_target *found = NULL;
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        const struct tgt_target *t = tgt_find(&n->states[k], e->target.tid);
        if (!t || strcmp(t->name, e->target.iqn) != 0 || (found && t->n_sessions == 0))
            continue;
        found = t;
        *ret_shard = k;
    }
    return found;
}

void service_lun_problem(const struct service_snapshot *n, const struct want_entry *e, const struct view_row *v,
                         const struct tgt_target *t, char *ret, size_t max)
{
    char path[64];
    want_path(v->overlay_id, path);
    unsigned lun = want_lun(e->client, v->slot);
    const struct tgt_lun *l = t ? tgt_find_lun(t, lun) : NULL;
    ret[0] = 0;
    if (!n->is_up)
        return;
    if (e->client->is_disabled && lun > 0)
        (void)snprintf(ret, max, "the client is disabled; 'diskgate client set %s --disabled off' lets it boot again",
                       e->client->name);
    else if (n->fs_error)
        (void)snprintf(ret, max, "%s", n->fs_problem.msg);
    else
        want_view_problem(v, n->fs, ret, max);
    if (lun == 0) {
        if (want_is_lost(n->fs, v->overlay_id)) /* nobody runs from it, and it is exchanged when it is chosen */
            ret[0] = 0;
        return;
    }
    if (!*ret)
        want_acl_problem(&n->site, e->client, ret, max);
    if (!*ret && !t && n->shard_errors[e->shard])
        (void)snprintf(ret, max, "%s", n->shard_problems[e->shard].msg);
    if (!*ret && (!l || strcmp(l->path, path) != 0 || !l->is_online || t->n_acls == 0))
        (void)snprintf(ret, max, "its target is not as the catalog says; run 'diskgate target sync'");
}
