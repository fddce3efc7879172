/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations of a plan as requests.
 *
 * Those of one target are done one after the other, since each builds on the one before; several targets are worked on at once, so that neither
 * we nor tgtd wait for being scheduled after each of many thousand requests. tgtd has one thread for all of them; its queue holds 32.
 *
 * Removing what is in use: tgtd refuses with "still active" while a command is in the backing store, and initiators log in again as soon as
 * they were thrown out. So the ACLs are off before, and connections are ended again in each round. A session that tgtd sets up at the same
 * moment may be missing from a listing; the next round sees it.
 */
#include "gateway/tgt-exec.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/proc.h"

#define CREW     8
#define ROUND_MS 100
#define BUSY_MS  (50 * ROUND_MS)

static int delete_target(struct tgtadm *a, int64_t tid, int timeout_ms, struct err *err)
{
    int64_t end = clock_ms() + timeout_ms;
    for (;;) {
        int r = tgtadm_drop_connections(a, tid, false, err);
        if (r == 0)
            r = tgtadm_target_delete(a, tid, err);
        if (r == -ENOENT)
            return 0;
        if (r == 0 || r == -ETIMEDOUT || r == -ENOTCONN || clock_ms() >= end)
            return r;
        proc_sleep_ms(ROUND_MS);
    }
}

int tgt_exec_close(struct tgtadm *a, const struct tgt_target *t, int timeout_ms, struct err *err)
{
    for (size_t i = 0; i < t->n_acls; i++) {
        int r = tgtadm_acl_unbind(a, t->tid, t->acls[i], err);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return delete_target(a, t->tid, timeout_ms, err);
}

/* All ACLs of a target off, whatever they are now. */
static int shut(struct tgtadm *a, int64_t tid, struct err *err)
{
    _cleanup_(tgt_state_finish) struct tgt_state s = {0};
    int r = tgtadm_show(a, &s, err);
    const struct tgt_target *t = r < 0 ? NULL : tgt_find(&s, tid);
    for (size_t i = 0; t && i < t->n_acls && r == 0; i++)
        r = tgtadm_acl_unbind(a, tid, t->acls[i], err);
    return r;
}

static int delete_lun(struct tgtadm *a, int64_t tid, uint64_t lun, struct err *err)
{
    int r = tgtadm_lun_delete(a, tid, lun, err);
    if (r != -EBUSY)
        return r == -ENOENT ? 0 : r;
    r = shut(a, tid, err);
    int64_t end = clock_ms() + BUSY_MS;
    while (r == 0) {
        r = tgtadm_drop_connections(a, tid, false, err);
        r = r ? r : tgtadm_lun_delete(a, tid, lun, err);
        if (r != -EBUSY || clock_ms() >= end)
            return r == -ENOENT ? 0 : r;
        proc_sleep_ms(ROUND_MS);
        r = 0;
    }
    return r;
}

/* All connections of a target away. It has no ACL any more, so they do not come back. */
static int drop(struct tgtadm *a, int64_t tid, struct err *err)
{
    int64_t end = clock_ms() + BUSY_MS;
    for (;;) {
        _cleanup_(tgt_state_finish) struct tgt_state s = {0};
        int r = tgtadm_drop_connections(a, tid, false, err);
        if (r < 0)
            return r;
        r = tgtadm_show(a, &s, err);
        const struct tgt_target *t = r < 0 ? NULL : tgt_find(&s, tid);
        if (r == 0 && (!t || t->n_sessions == 0))
            return 0;
        if ((r < 0 && r != -EBADMSG) || clock_ms() >= end)
            return r < 0 ? r
                         : err_set(err, -EBUSY, "tgtd shard %u does not end a connection: a command is in work",
                                   a->shard);
        proc_sleep_ms(ROUND_MS);
    }
}

static int set_target(struct tgtadm *a, int64_t tid, struct err *err)
{
    int r = 0;
    for (size_t i = 0; tgt_target_params[i][0] && r == 0; i++)
        r = tgtadm_target_set(a, tid, tgt_target_params[i][0], tgt_target_params[i][1], err);
    return r;
}

static int heal_lun(struct tgtadm *a, const struct tgt_op *op, struct err *err)
{
    char params[sizeof(op->text) + 8];
    (void)snprintf(params, sizeof(params), "path=%s", op->text); /* fits */
    int r = tgtadm_lun_set(a, op->tid, op->lun, "online=0", err);
    r = r ? r : tgtadm_lun_set(a, op->tid, op->lun, params, err);
    return r ? r : tgtadm_lun_set(a, op->tid, op->lun, "online=1", err);
}

/* What can be served without direct reads is not left closed for want of them. */
static int new_lun(struct tgtadm *a, const struct tgt_op *op, struct err *err)
{
    int r = tgtadm_lun_new(a, op->tid, op->lun, op->text, op->store, err);
    if (r != -EREMOTEIO || strcmp(op->store, PLAIN_STORE) == 0)
        return r;
    return tgtadm_lun_new(a, op->tid, op->lun, op->text, PLAIN_STORE, err);
}

/* The ACLs are off: who is not logged in now stays out until the LUN is there again. Commands of a session that has just ended may still be in work. */
static int swap_lun(struct tgtadm *a, const struct tgt_op *op, struct err *err)
{
    bool is_used;
    int r = tgtadm_is_used(a, op->tid, &is_used, err);
    if (r < 0 || is_used)
        return r;
    r = tgtadm_lun_delete(a, op->tid, op->lun, err);
    if (r == -EBUSY)
        return 0;
    return r < 0 && r != -ENOENT ? r : new_lun(a, op, err);
}

static int set_mark(struct tgtadm *a, const struct tgt_op *op, struct err *err)
{
    char params[sizeof(op->text) + 16];
    (void)snprintf(params, sizeof(params), "scsi_sn=%s", op->text); /* fits */
    return tgtadm_lun_set(a, op->tid, 0, params, err);
}

/* @r, but 0 for @code: what was to be done is done already. */
static int unless(int r, int code)
{
    return r == code ? 0 : r;
}

static int run_op(struct tgtadm *a, const struct tgt_op *op, struct err *err)
{
    switch (op->kind) {
    case TGT_UNBIND_ACL:
        return unless(tgtadm_acl_unbind(a, op->tid, op->text, err), -ENOENT);
    case TGT_DROP:
        return drop(a, op->tid, err);
    case TGT_DELETE_LUN:
        return delete_lun(a, op->tid, op->lun, err);
    case TGT_DELETE_TARGET:
        return delete_target(a, op->tid, BUSY_MS, err);
    case TGT_DELETE_ACCOUNT:
        return unless(tgtadm_account_delete(a, op->text, err), -ENOENT);
    case TGT_NEW_TARGET:
        return tgtadm_target_new(a, op->tid, op->text, err);
    case TGT_SET_TARGET:
        return set_target(a, op->tid, err);
    case TGT_NEW_LUN:
        return new_lun(a, op, err);
    case TGT_SWAP_LUN:
        return swap_lun(a, op, err);
    case TGT_SET_LUN:
        return tgtadm_lun_set(a, op->tid, op->lun, op->text, err);
    case TGT_HEAL_LUN:
        return heal_lun(a, op, err);
    case TGT_NEW_ACCOUNT:
        return tgtadm_account_new(a, op->text, op->secret, err);
    case TGT_BIND_ACCOUNT:
        return unless(tgtadm_account_bind(a, op->tid, op->text, err), -EEXIST);
    case TGT_MARK:
        return set_mark(a, op, err);
    case TGT_BIND_ACL:
        return unless(tgtadm_acl_bind(a, op->tid, op->text, err), -EEXIST);
    }
    return err_set(err, -EINVAL, "unknown step in a plan for tgtd");
}

/* --- several targets at once ------------------------------------------------------------------------------------- */

/* The operations of one target, or one operation that belongs to none. Whoever takes it is the only one who writes to it. */
struct group {
    size_t first, n;
    int code; /* of the first operation that failed */
    struct err err;
};

struct crew {
    const struct tgtadm *tgtd;
    const struct tgt_plan *plan;
    struct group *groups;
    size_t n;
    atomic_size_t next;    /* the first group that nobody has taken */
    atomic_bool must_stop; /* tgtd does not answer */
};

static bool is_end(int r)
{
    return r == -ETIMEDOUT || r == -ENOTCONN;
}

static void *run_groups(void *arg)
{
    struct crew *c = arg;
    struct tgtadm a = *c->tgtd;
    for (size_t at; !c->must_stop && (at = atomic_fetch_add(&c->next, 1)) < c->n;) {
        struct group *g = &c->groups[at];
        for (size_t i = 0; i < g->n && g->code == 0; i++)
            g->code = run_op(&a, &c->plan->ops[g->first + i], &g->err);
        if (is_end(g->code))
            c->must_stop = true;
    }
    return NULL;
}

/* The operations of one target follow one another. Returns the count. */
static size_t make_groups(const struct tgt_plan *p, struct group *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (n == 0 || p->ops[i].tid == 0 || p->ops[i].tid != p->ops[i - 1].tid)
            ret[n++] = (struct group){.first = i};
        ret[n - 1].n++;
    }
    return n;
}

static void run_crew(struct crew *c)
{
    pthread_t threads[CREW];
    size_t started = 0, wanted = MIN(c->n, (size_t)CREW) - 1; /* this thread works, too */
    while (started < wanted && pthread_create(&threads[started], NULL, run_groups, c) == 0)
        started++;
    (void)run_groups(c);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL); /* they exist */
}

int tgt_exec(struct tgtadm *a, const struct tgt_plan *p, tgt_exec_failed *failed, void *arg, struct err *err)
{
    _cleanup_free_ struct group *groups = calloc(p->n + 1, sizeof(*groups));
    if (!groups)
        return err_sys(err, -ENOMEM, "cannot change the targets");
    struct crew c = {.tgtd = a, .plan = p, .groups = groups, .n = make_groups(p, groups)};
    if (c.n > 0)
        run_crew(&c);
    for (size_t i = 0; i < c.n; i++) {
        if (is_end(groups[i].code))
            return err_set(err, groups[i].code, "%s", groups[i].err.msg);
        if (groups[i].code)
            failed(arg, p->ops[groups[i].first].tid, groups[i].err.msg);
    }
    return 0;
}
