/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting and letting go of shards.
 *
 * A shard that listens on another address or port than the settings say now is started anew as soon as it has no session; until then it goes on
 * as it is, and the report says so. So is one that was started without the library for direct reads where it could have it; that hurts nobody, so
 * `status` has a notice and the report nothing.
 */
#include "gateway/service-parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/fsproc.h"
#include "gateway/portal.h"
#include "gateway/report.h"
#include "gateway/shard.h"
#include "gateway/tgt-sync.h"
#include "gateway/tgtadm.h"

#define ANSWER_MS 10000

bool parts_listens_right(const struct site *s, unsigned k)
{
    struct tgtadm a = {s->run_fd, k};
    char portal[82];
    _cleanup_free_ char *list = NULL;
    site_portal(s, k, portal);
    strcat(portal, "\n");
    return tgtadm_portals(&a, &list, NULL) < 0 || strcmp(list, portal) == 0;
}

static bool has_session(const struct site *s, unsigned k)
{
    _cleanup_(tgt_state_finish) struct tgt_state state = {0};
    if (tgt_sync_show(s, k, &state, NULL, NULL) < 0)
        return true;
    for (size_t i = 0; i < state.n_targets; i++)
        if (state.targets[i].n_sessions > 0)
            return true;
    return false;
}

/* As judge_shard(), of one that is right but for direct reads. */
static int give_library(const struct site *s, unsigned k, pid_t pid, json_t *report, struct err *err)
{
    char library[PATH_MAX];
    if (!s->wants_direct || direct_was_given(pid) || direct_library(library, NULL) < 0 || has_session(s, k))
        return 0;
    int r = shard_stop(s, k, pid, false, NULL, err);
    report_change(report, "tgtd shard %u stopped, it had no library for direct reads", k);
    return r < 0 ? r : 1;
}

/* A shard that runs: may it go on? 0 yes, 1 it was stopped, or an error. */
static int judge_shard(const struct site *s, unsigned k, pid_t pid, bool is_strict, json_t *report, struct err *err)
{
    char what[32];
    (void)snprintf(what, sizeof(what), "tgtd %u", k); /* fits */
    int r = shard_check(s, k, pid, ANSWER_MS, err);
    if (r < 0 && !is_strict)
        return r;
    if (r < 0) {
        r = shard_stop(s, k, pid, true, NULL, err);
        report_change(report, "tgtd shard %u did not answer and was ended by force", k);
        return r < 0 ? r : 1;
    }
    if (parts_listens_right(s, k))
        return give_library(s, k, pid, report, err);
    if (has_session(s, k)) {
        report_problem(
            report, what,
            "it listens on its former address or port until its sessions have ended; run 'diskgate target sync' then");
        return 0;
    }
    if (portal_check_free(s, k, err) == -EADDRNOTAVAIL) { /* better the former address than none */
        report_problem(report, what, "%s; until then it listens on its former address", err->msg);
        return 0;
    }
    r = shard_stop(s, k, pid, false, NULL, err);
    report_change(report, "tgtd shard %u stopped, it listened on another address or port", k);
    return r < 0 ? r : 1;
}

static int ensure_shard(const struct site *s, unsigned k, bool is_strict, struct parts *p, json_t *report,
                        struct err *err)
{
    int r = p->pids[k] ? judge_shard(s, k, p->pids[k], is_strict, report, err) : 1;
    if (r <= 0)
        return r;
    p->pids[k] = 0;
    r = shard_start(s, k, err);
    if (r < 0)
        return r;
    pid_t now[SHARDS_MAX];
    (void)shard_find(s, now);
    p->pids[k] = now[k];
    p->was_started[k] = true;
    report_change(report, "tgtd shard %u started", k);
    return 0;
}

int parts_ensure(const struct site *s, bool is_strict, struct parts *p, json_t *report, struct err *err)
{
    *p = (struct parts){0};
    int r = fsproc_ensure(s, &p->fs_was_started, report, err);
    if (r < 0)
        return r;
    (void)shard_find(s, p->pids);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        struct err e;
        char what[32];
        (void)snprintf(what, sizeof(what), "tgtd %u", k); /* fits */
        if (k < s->shards)
            r = ensure_shard(s, k, is_strict, p, report, &e);
        else
            r = p->pids[k] ? shard_check(s, k, p->pids[k], ANSWER_MS, &e) : 0;
        if (r < 0 && is_strict && k < s->shards)
            return err_set(err, r, "%s", e.msg);
        if (r < 0) {
            report_problem(report, what, "%s", e.msg);
            p->pids[k] = 0;
        }
    }
    return 0;
}

void parts_undo(const struct site *s, const struct parts *p)
{
    /* The failure that is reported came before; what cannot be stopped is for `down`. */
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        if (p->was_started[k])
            (void)shard_stop(s, k, p->pids[k], false, NULL, NULL);
    if (p->fs_was_started)
        (void)fsproc_stop(s, NULL, NULL);
}

void parts_drain(const struct site *s, const struct parts *p, json_t *report)
{
    for (unsigned k = s->shards; k < SHARDS_MAX; k++) {
        _cleanup_(tgt_state_finish) struct tgt_state state = {0};
        if (!p->pids[k] || tgt_sync_show(s, k, &state, NULL, NULL) < 0 || state.n_targets > 0)
            continue;
        if (shard_stop(s, k, p->pids[k], false, NULL, NULL) == 0)
            report_change(report, "tgtd shard %u stopped, it is not needed any more", k);
    }
}
