/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of a reconciliation; what they are based on is decided in tgt-want.c (wanted) and tgt-plan.c (difference).
 *
 * Clients stick to their shard: one with a session on another shard than the settings say stays there until the session has ended.
 * The catalog may be changed by another program between our reading and diskgate-fs's; then all is done once more.
 */
#include "gateway/tgt-sync.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/fsproc.h"
#include "gateway/mount.h"
#include "gateway/report.h"
#include "gateway/shard.h"
#include "gateway/tgt-exec.h"
#include "gateway/tgt-plan.h"
#include "gateway/tgt-want.h"
#include "gateway/tgtadm.h"

#define FS_SYNC_MS 300000 /* it may have to read whole images to know them again */
#define PROBE_MS   10000
#define ROUNDS     3

struct sync {
    const struct site *site;
    json_t *report;
    bool is_strict;
    pid_t pids[SHARDS_MAX];
    struct tgtadm tgtd[SHARDS_MAX];
    bool has_warned[SHARDS_MAX], has_direct[SHARDS_MAX];
    struct want want;
    struct tgt_state state[SHARDS_MAX]; /* of shards with a pid */
};

static void sync_finish(struct sync *y)
{
    want_finish(&y->want);
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        tgt_state_finish(&y->state[k]);
}

/* End the sessions of initiators whose names have line breaks in them. */
static int throw_out(struct tgtadm *a, const struct tgt_state *seen, json_t *report, struct err *err)
{
    for (size_t i = 0; i < seen->n_targets; i++) {
        int r = tgtadm_drop_connections(a, seen->targets[i].tid, true, err);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    report_change(report, "warning: an initiator of tgtd shard %u whose name has line breaks was thrown out", a->shard);
    return 0;
}

static int show_clean(struct tgtadm *a, struct tgt_state *ret, json_t *report, struct err *err)
{
    for (int i = 0;; i++) {
        tgt_state_finish(ret);
        int r = tgtadm_show(a, ret, err);
        if (r != -EBADMSG || i == ROUNDS)
            return r;
        r = throw_out(a, ret, report, err);
        if (r < 0)
            return r;
    }
}

int tgt_sync_show(const struct site *s, unsigned k, struct tgt_state *ret, json_t *report, struct err *err)
{
    struct tgtadm a = {s->run_fd, k};
    return show_clean(&a, ret, report, err);
}

/* A shard that does not answer any more is left out from here on. */
static void lose_shard(struct sync *y, unsigned k, const char *sentence)
{
    char what[32];
    (void)snprintf(what, sizeof(what), "tgtd %u", k); /* fits */
    report_problem(y->report, what, "%s", sentence);
    y->pids[k] = 0;
    tgt_state_finish(&y->state[k]);
}

static void show(struct sync *y, unsigned k)
{
    struct err e;
    if (y->pids[k] && show_clean(&y->tgtd[k], &y->state[k], y->report, &e) < 0)
        lose_shard(y, k, e.msg);
    if (y->pids[k] && y->tgtd[k].way == TGT_WAY_PROGRAM && !y->has_warned[k]) {
        report_change(y->report,
                      "warning: tgtd shard %u takes requests of another form than the tgt of Debian 12 does, so it is "
                      "asked by tgtadm: that takes longer, and passwords are in the process list for milliseconds",
                      k);
        y->has_warned[k] = true;
    }
}

static void show_all(struct sync *y)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        show(y, k);
}

/* Which of them took the library for direct reads? One that does not say it is left out: it must not look as if it had none, or all its LUNs would be
 * exchanged for plain ones. */
static void find_stores(struct sync *y)
{
    struct err e;
    for (unsigned k = 0; k < SHARDS_MAX && y->site->wants_direct; k++)
        if (y->pids[k] && tgtadm_has_store(&y->tgtd[k], DIRECT_STORE, &y->has_direct[k], &e) < 0)
            lose_shard(y, k, e.msg);
}

/* Clients stay where they have a session, and on the disk that they run from. The last call within a reconciliation
 * says so. */
static void place(struct sync *y, bool is_last)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        for (size_t i = 0; i < y->state[k].n_targets; i++) {
            const struct tgt_target *t = &y->state[k].targets[i];
            struct want_entry *e = t->n_sessions ? want_find(&y->want, t->tid) : NULL;
            if (want_keep_session(y->site, &y->want, t) && is_last)
                report_change(y->report, "client %s runs from slot %u and gets another disk at its next boot",
                              e->client->name, e->client->boot_slot);
            if (!e || e->shard == k || strcmp(t->name, e->target.iqn) != 0)
                continue;
            if (is_last)
                report_change(y->report, "client %s has a session on shard %u and moves to shard %u at its next boot",
                              e->client->name, k, e->shard);
            e->shard = k;
        }
    }
}

struct context {
    struct sync *sync;
    unsigned shard;
    int64_t *failed; /* tids */
    size_t n_failed;
};

/* "client NAME", or the target's own name for one that the catalog does not know any more. */
static void name_target(const struct sync *y, unsigned k, int64_t tid, char *ret, size_t max)
{
    for (size_t i = 0; i < y->want.n_clients; i++)
        if (y->want.clients[i].id == tid) {
            (void)snprintf(ret, max, "client %s", y->want.clients[i].name);
            return;
        }
    const struct tgt_target *t = tgt_find(&y->state[k], tid);
    (void)snprintf(ret, max, "%s", t ? t->name : "a former client");
}

static void note_failure(void *arg, int64_t tid, const char *sentence)
{
    struct context *x = arg;
    char what[256];
    name_target(x->sync, x->shard, tid, what, sizeof(what));
    report_problem(x->sync->report, what, "%s", sentence);
    x->failed[x->n_failed++] = tid;
}

static bool has_failed(const struct context *x, int64_t tid)
{
    for (size_t i = 0; i < x->n_failed; i++)
        if (x->failed[i] == tid)
            return true;
    return false;
}

/* "slot 3", "the boot disk": a LUN that closes may have been any of the boot slots. */
static const char *disk_name(uint64_t lun, char ret[32])
{
    if (lun == BOOT_LUN)
        return "the boot disk";
    (void)snprintf(ret, 32, "slot %u", (unsigned)lun - 1); /* fits */
    return ret;
}

/* @is_new: the plan makes the whole target, which says it all. */
static void tell_op(const struct context *x, const struct tgt_op *op, bool is_new)
{
    char who[256], disk[32];
    name_target(x->sync, x->shard, op->tid, who, sizeof(who));
    json_t *report = x->sync->report;
    if (op->kind == TGT_NEW_TARGET)
        report_change(report, "target of %s opened", who);
    else if (op->kind == TGT_DELETE_TARGET)
        report_change(report, "target of %s closed", who);
    else if (op->kind == TGT_NEW_LUN && !is_new)
        report_change(report, "%s of %s opened", disk_name(op->lun, disk), who);
    else if (op->kind == TGT_DELETE_LUN)
        report_change(report, "%s of %s closed", disk_name(op->lun, disk), who);
    else if (op->kind == TGT_HEAL_LUN)
        report_change(report, "%s of %s revived", disk_name(op->lun, disk), who);
    else if (op->kind == TGT_BIND_ACL && !is_new)
        report_change(report, "access rules of %s renewed", who);
}

static void tell_plan(const struct context *x, const struct tgt_plan *p)
{
    int64_t new_tid = 0; /* the operations of one target follow one another, and its making is the first of them */
    for (size_t i = 0; i < p->n; i++) {
        const struct tgt_op *op = &p->ops[i];
        if (op->kind == TGT_NEW_TARGET)
            new_tid = op->tid;
        if (!has_failed(x, op->tid))
            tell_op(x, op, op->tid == new_tid);
    }
}

static int run_plan(struct sync *y, unsigned k, const struct tgt_plan *p, struct err *err)
{
    _cleanup_free_ int64_t *failed = calloc(p->n + 1, sizeof(*failed));
    if (!failed)
        return err_sys(err, -ENOMEM, "cannot change the targets");
    struct context x = {y, k, failed, 0};
    struct err e;
    if (tgt_exec(&y->tgtd[k], p, note_failure, &x, &e) < 0)
        lose_shard(y, k, e.msg);
    else
        tell_plan(&x, p);
    return 0;
}

/* Close what has to go on shard @k, and read its state again if anything had. */
static int close_on(struct sync *y, unsigned k, struct err *err)
{
    _cleanup_(tgt_plan_finish) struct tgt_plan plan = {0};
    size_t n;
    _cleanup_free_ struct want_target *want = want_of_shard(&y->want, k, want_store(y->site, y->has_direct[k]), &n);
    if (!want)
        return err_sys(err, -ENOMEM, "cannot plan the targets");
    int r = tgt_plan_close(want, n, &y->state[k], &plan, err);
    if (r < 0 || plan.n == 0)
        return r;
    r = run_plan(y, k, &plan, err);
    show(y, k);
    return r;
}

static int close_all(struct sync *y, struct err *err)
{
    int r = 0;
    for (unsigned k = 0; k < SHARDS_MAX && r >= 0; k++)
        if (y->pids[k])
            r = close_on(y, k, err);
    return r;
}

/* Is one of the files that tgtd holds the one that has the path's name in the mount today? */
static bool is_held(const struct shard_file *files, ssize_t n, const char *path, const struct file_id *id)
{
    const char *name = strrchr(path, '/') + 1;
    for (ssize_t i = 0; i < n; i++)
        if (strcmp(files[i].name, name) == 0 && files[i].dev == id->dev && files[i].ino == id->ino)
            return true;
    return false;
}

/* Mark LUNs whose file died. @ids are of the LUNs of all entries, in order. Returns how many died on shard @k. */
static int find_dead(struct sync *y, unsigned k, const struct file_id *ids, struct err *err)
{
    _cleanup_free_ struct shard_file *files = NULL;
    ssize_t n_files = shard_files(y->pids[k], &files);
    int n = 0;
    if (n_files < 0)
        return err_sys(err, (int)n_files, "cannot see the files of tgtd shard %u", k);
    for (size_t i = 0, at = 0; i < y->want.n; i++) {
        struct want_entry *e = &y->want.entries[i];
        const struct tgt_target *t = e->shard == k ? tgt_find(&y->state[k], e->target.tid) : NULL;
        for (size_t m = 0; m < e->target.n_luns; m++, at++) {
            struct want_lun *l = &e->target.luns[m];
            const struct tgt_lun *have = t ? tgt_find_lun(t, l->lun) : NULL;
            l->is_dead = have && strcmp(have->path, l->path) == 0 && !is_held(files, n_files, l->path, &ids[at]);
            n += l->is_dead;
        }
    }
    return n;
}

/* Bring shard @k to what is wanted. *ret_revived = LUNs that were opened again under their sessions. */
static int open_on(struct sync *y, unsigned k, const struct file_id *ids, int *ret_revived, struct err *err)
{
    _cleanup_(tgt_plan_finish) struct tgt_plan plan = {0};
    int r = find_dead(y, k, ids, err);
    *ret_revived = r;
    size_t n;
    _cleanup_free_ struct want_target *want = want_of_shard(&y->want, k, want_store(y->site, y->has_direct[k]), &n);
    if (r >= 0)
        r = want ? tgt_plan_open(want, n, &y->state[k], &plan, err) : err_sys(err, -ENOMEM, "cannot plan the targets");
    return r < 0 || plan.n == 0 ? r : run_plan(y, k, &plan, err);
}

/* LUNs that are dead though they were revived: their targets are closed and opened anew. */
static int rebuild_dead(struct sync *y, unsigned k, const struct file_id *ids, struct err *err)
{
    show(y, k);
    int r = y->pids[k] ? find_dead(y, k, ids, err) : 0;
    if (r <= 0)
        return r;
    for (size_t i = 0; i < y->want.n; i++) {
        const struct want_target *w = &y->want.entries[i].target;
        bool is_dead = false;
        for (size_t m = 0; m < w->n_luns && y->want.entries[i].shard == k; m++)
            is_dead = is_dead || w->luns[m].is_dead;
        const struct tgt_target *t = is_dead ? tgt_find(&y->state[k], w->tid) : NULL;
        struct err e;
        if (t && tgt_exec_close(&y->tgtd[k], t, PROBE_MS, &e) < 0)
            report_problem(y->report, y->want.entries[i].client->name, "%s", e.msg);
    }
    show(y, k);
    return y->pids[k] ? open_on(y, k, ids, &r, err) : 0;
}

/* Where is each wanted LUN's file in the mount? Those without one become problems. A fresh array. */
static int find_files(struct sync *y, struct file_id **ret, struct err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < y->want.n; i++)
        n += y->want.entries[i].target.n_luns;
    _cleanup_free_ const char **names = calloc(n + 1, sizeof(*names));
    _cleanup_free_ struct file_id *ids = calloc(n + 1, sizeof(*ids));
    if (!names || !ids)
        return err_sys(err, -ENOMEM, "cannot look for the views");
    n = 0;
    for (size_t i = 0; i < y->want.n; i++)
        for (size_t m = 0; m < y->want.entries[i].target.n_luns; m++)
            names[n++] = y->want.entries[i].target.luns[m].path + strlen("mnt/");
    int r = mount_probe(y->site->mount, names, n, PROBE_MS, ids, err);
    for (size_t i = 0; i < n && r == 0; i++)
        if (ids[i].ino == 0)
            r = err_set(err, -ENOENT, "'%s/%s' is missing though diskgate-fs says that it serves it", y->site->mount,
                        names[i]);
    if (r == 0)
        *ret = take_ptr(ids);
    return r;
}

/* Let diskgate-fs follow the catalog; *ret_status is what it serves then. */
static int sync_fs(struct sync *y, json_t **ret_status, struct err *err)
{
    struct err why;
    int r = fsproc_call(y->site, "sync", FS_SYNC_MS, ret_status, &why);
    if (r == 0)
        return 0;
    if (y->is_strict || r == -EPIPE || fsproc_call(y->site, "status", PROBE_MS, ret_status, NULL) < 0)
        return err_set(err, r, "diskgate-fs cannot follow the catalog: %s", why.msg);
    report_problem(y->report, "diskgate-fs", "%s", why.msg);
    return 0;
}

/* Step 2; *ret_status is diskgate-fs's answer. */
static int sync_views(struct sync *y, struct catalog *c, json_t **ret_status, struct err *err)
{
    int r = 0;
    for (int i = 0; i < ROUNDS && r >= 0; i++) {
        json_decref(*ret_status);
        *ret_status = NULL;
        r = sync_fs(y, ret_status, err);
        if (r < 0)
            return r;
        want_index_views(*ret_status);
        want_finish(&y->want);
        r = want_read(y->site, c, &y->want, err);
        if (r < 0 || want_knows_all(&y->want, *ret_status))
            break;
        place(y, false);
        r = close_all(y, err);
    }
    return r;
}

/* Images that changed while clients run from them: those go on, nobody else gets to see them, and it must be said. What keeps a view from
 * being served at all is said with the view. */
static void note_changed_images(const struct sync *y, const json_t *status)
{
    const json_t *images = json_object_get(status, "images"), *views = json_object_get(status, "views");
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *row = json_array_get(images, i);
        const char *image = json_string_value(json_object_get(row, "image"));
        const char *why = json_string_value(json_object_get(row, "error"));
        bool is_served = false;
        for (size_t k = 0; k < json_array_size(views) && image && why; k++) {
            const json_t *v = json_array_get(views, k);
            const char *of = json_string_value(json_object_get(v, "image"));
            const char *state = json_string_value(json_object_get(v, "state"));
            is_served = is_served || (of && state && strcmp(of, image) == 0 && strcmp(state, "ready") == 0);
        }
        char what[NAME_LEN + 16];
        (void)snprintf(what, sizeof(what), "image %s", image ? image : "?"); /* fits */
        if (is_served)
            report_problem(y->report, what, "%s", why);
    }
}

static void note_unserved(struct sync *y)
{
    for (size_t i = 0; i < y->want.n; i++) {
        const struct want_entry *e = &y->want.entries[i];
        char what[NAME_LEN + 16];
        (void)snprintf(what, sizeof(what), "client %s", e->client->name); /* fits */
        if (!y->pids[e->shard])
            report_problem(y->report, what, "tgtd shard %u does not serve it; run 'diskgate up'", e->shard);
    }
}

/* Step 3. */
static int open_all(struct sync *y, const json_t *status, struct err *err)
{
    place(y, true); /* first: which views are LUNs depends on it */
    want_check_views(y->site, &y->want, status, y->report);
    note_changed_images(y, status);
    int r = close_all(y, err);
    _cleanup_free_ struct file_id *ids = NULL;
    if (r >= 0)
        r = find_files(y, &ids, err);
    for (unsigned k = 0; k < SHARDS_MAX && r >= 0; k++) {
        int revived = 0;
        if (y->pids[k])
            r = open_on(y, k, ids, &revived, err);
        if (r >= 0 && revived > 0)
            r = rebuild_dead(y, k, ids, err);
    }
    note_unserved(y);
    return r;
}

int tgt_sync(const struct site *s, struct catalog *c, const pid_t pids[SHARDS_MAX], bool is_strict, json_t *report,
             struct err *err)
{
    _cleanup_(sync_finish) struct sync y = {.site = s, .report = report, .is_strict = is_strict};
    _cleanup_json_ json_t *status = NULL;
    memcpy(y.pids, pids, sizeof(y.pids));
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        y.tgtd[k] = (struct tgtadm){s->run_fd, k};
    int r = want_read(s, c, &y.want, err);
    if (r < 0)
        return r;
    show_all(&y);
    find_stores(&y);
    place(&y, false);
    r = close_all(&y, err);
    if (r >= 0)
        r = sync_views(&y, c, &status, err);
    if (r >= 0)
        r = open_all(&y, status, err);
    return r < 0 ? r : 0;
}
