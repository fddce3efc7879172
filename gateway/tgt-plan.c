/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparison of wanted and shown targets.
 *
 * A target is refreshed when its mark, its account or its ACL differs: ACLs off, then whatever differs, ACL on again. Sessions
 * live through that, since ACLs and accounts matter at login only.
 *
 *   closing                              opening
 *     target not wanted, other name        no target       new target
 *       -> all of it goes                  mark differs    ACLs off, parameters, account anew, mark
 *     LUN not wanted                       LUN missing     new LUN, its parameters
 *       -> it goes, sessions stay          LUN dead        online=0, path, online=1
 *     LUN with another file, aio, ...      other store     ACLs off, exchanged if nobody is logged in
 *       -> ACLs off, connections ended,    flags differ    its parameters
 *          it goes                         ACL differs     wrong ones off, right one on
 */
#include "gateway/tgt-plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "gateway/direct.h"

const char *const tgt_target_params[][2] = {
    {"MaxRecvDataSegmentLength", "262144"},
    {"FirstBurstLength", "262144"},
    {"MaxBurstLength", "1048576"},
    {"InitialR2T", "No"},
    {"MaxOutstandingR2T", "8"},
    {NULL, NULL},
};

void tgt_plan_finish(struct tgt_plan *p)
{
    if (p->ops)
        explicit_bzero(p->ops, p->n * sizeof(*p->ops));
    free(p->ops);
    *p = (struct tgt_plan){0};
}

static int add(struct tgt_plan *p, enum tgt_op_kind kind, int64_t tid, uint64_t lun, const char *text)
{
    if ((p->n & (p->n - 1)) == 0) {
        struct tgt_op *more = reallocarray(p->ops, p->n ? p->n * 2 : 1, sizeof(*more));
        if (!more)
            return -ENOMEM;
        p->ops = more;
    }
    struct tgt_op *op = &p->ops[p->n++];
    *op = (struct tgt_op){.kind = kind, .tid = tid, .lun = lun};
    if (text)
        (void)snprintf(op->text, sizeof(op->text), "%s", text); /* longer ones do not exist in the catalog */
    return 0;
}

/* FNV-1a. The mark is readable for root and for initiators that are logged in, so it must only not repeat by chance. */
static uint64_t hash_text(uint64_t h, const char *text)
{
    for (const unsigned char *s = (const unsigned char *)text;; s++) {
        h = (h ^ *s) * 0x100000001b3ULL;
        if (*s == 0)
            return h;
    }
}

void tgt_mark(const struct want_target *w, char ret[TGT_MARK_LEN + 1])
{
    uint64_t h = hash_text(0xcbf29ce484222325ULL, w->iqn);
    for (size_t i = 0; tgt_target_params[i][0]; i++)
        h = hash_text(hash_text(h, tgt_target_params[i][0]), tgt_target_params[i][1]);
    if (w->user)
        h = hash_text(hash_text(h, w->user), w->password);
    (void)snprintf(ret, TGT_MARK_LEN + 1, "dg-%016llx", (unsigned long long)h); /* fits */
}

static const struct want_target *find_want(const struct want_target *want, size_t n, int64_t tid)
{
    for (size_t i = 0; i < n; i++)
        if (want[i].tid == tid)
            return &want[i];
    return NULL;
}

static const struct want_lun *find_want_lun(const struct want_target *w, uint64_t lun)
{
    for (size_t i = 0; i < w->n_luns; i++)
        if (w->luns[i].lun == lun)
            return &w->luns[i];
    return NULL;
}

static int unbind_all(const struct tgt_target *t, const char *but, struct tgt_plan *p)
{
    int r = 0;
    for (size_t i = 0; i < t->n_acls && r == 0; i++)
        if (!but || strcmp(t->acls[i], but) != 0)
            r = add(p, TGT_UNBIND_ACL, t->tid, 0, t->acls[i]);
    return r;
}

static int close_target(const struct tgt_target *t, struct tgt_plan *p)
{
    int r = unbind_all(t, NULL, p);
    if (r == 0)
        r = add(p, TGT_DELETE_TARGET, t->tid, 0, NULL);
    for (size_t i = 0; i < t->n_accounts && r == 0; i++)
        r = add(p, TGT_DELETE_ACCOUNT, t->tid, 0, t->accounts[i]);
    return r;
}

static bool is_same_file(const struct want_lun *w, const struct tgt_lun *l)
{
    bool is_ours = strcmp(l->bstype, PLAIN_STORE) == 0 || strcmp(l->bstype, DIRECT_STORE) == 0;
    return strcmp(w->path, l->path) == 0 && is_ours;
}

static int close_luns(const struct want_target *w, const struct tgt_target *t, struct tgt_plan *p)
{
    bool is_shut = false;
    int r = 0;
    for (size_t i = 0; i < t->n_luns && r == 0; i++) {
        const struct tgt_lun *l = &t->luns[i];
        const struct want_lun *wl = find_want_lun(w, l->lun);
        if (l->lun == 0 || (wl && is_same_file(wl, l)))
            continue;
        if (wl && !is_shut) {
            r = unbind_all(t, NULL, p);
            r = r ? r : add(p, TGT_DROP, t->tid, 0, NULL);
            is_shut = true;
        }
        r = r ? r : add(p, TGT_DELETE_LUN, t->tid, l->lun, NULL);
    }
    return r;
}

/* Accounts that belong to no target that stays. Those of targets that go are removed with them. */
static int close_accounts(const struct want_target *want, size_t n, const struct tgt_state *have, struct tgt_plan *p)
{
    int r = 0;
    for (size_t i = 0; i < have->n_accounts && r == 0; i++) {
        const char *user = have->accounts[i];
        bool is_used = false;
        for (size_t k = 0; k < n && !is_used; k++)
            is_used = want[k].user && strcmp(want[k].user, user) == 0;
        for (size_t k = 0; k < have->n_targets && !is_used; k++)
            is_used = tgt_has(have->targets[k].accounts, have->targets[k].n_accounts, user);
        if (!is_used)
            r = add(p, TGT_DELETE_ACCOUNT, 0, 0, user);
    }
    return r;
}

int tgt_plan_close(const struct want_target *want, size_t n, const struct tgt_state *have, struct tgt_plan *p,
                   struct err *err)
{
    int r = 0;
    for (size_t i = 0; i < have->n_targets && r == 0; i++) {
        const struct tgt_target *t = &have->targets[i];
        const struct want_target *w = find_want(want, n, t->tid);
        if (!w || strcmp(w->iqn, t->name) != 0)
            r = close_target(t, p);
        else
            r = close_luns(w, t, p);
    }
    r = r ? r : close_accounts(want, n, have, p);
    return r ? err_sys(err, r, "cannot plan what tgtd has to do") : 0;
}

static int set_lun(const struct want_target *w, const struct want_lun *l, struct tgt_plan *p)
{
    char params[256];
    (void)snprintf(
        params, sizeof(params), "thin_provisioning=1,vendor_id=DISKGATE,product_id=DISK%u,scsi_id=%s,scsi_sn=%s",
        (unsigned)(l->lun - 1), l->sn, l->sn); /* fits; the serial number is last and so says that all is set */
    return add(p, TGT_SET_LUN, w->tid, l->lun, params);
}

/* Has it another store than wanted, and is nobody logged in who would feel an exchange? */
static bool is_due_now(const struct want_target *w, const struct tgt_target *t, const struct tgt_lun *l)
{
    return l->lun != 0 && strcmp(l->bstype, w->store) != 0 && t->n_sessions == 0;
}

static bool has_due(const struct want_target *w, const struct tgt_target *t)
{
    for (size_t i = 0; t && i < w->n_luns; i++) {
        const struct tgt_lun *have = tgt_find_lun(t, w->luns[i].lun);
        if (have && is_due_now(w, t, have))
            return true;
    }
    return false;
}

static int add_lun(struct tgt_plan *p, enum tgt_op_kind kind, const struct want_target *w, const struct want_lun *l)
{
    int r = add(p, kind, w->tid, l->lun, l->path);
    if (r == 0)
        p->ops[p->n - 1].store = w->store;
    return r;
}

static int open_lun(const struct want_target *w, const struct want_lun *l, const struct tgt_target *t,
                    struct tgt_plan *p)
{
    const struct tgt_lun *have = t ? tgt_find_lun(t, l->lun) : NULL;
    int r = 0;
    bool is_due = have && is_due_now(w, t, have);
    if (!have)
        r = add_lun(p, TGT_NEW_LUN, w, l);
    else if (is_due)
        r = add_lun(p, TGT_SWAP_LUN, w, l);
    else if (l->is_dead || !have->is_online)
        r = add(p, TGT_HEAL_LUN, w->tid, l->lun, l->path);
    if (r == 0 && (!have || is_due || !have->is_thin || strcmp(have->sn, l->sn) != 0))
        r = set_lun(w, l, p);
    return r;
}

static int renew_account(const struct want_target *w, const struct tgt_target *t, const struct tgt_state *have,
                         struct tgt_plan *p)
{
    int r = 0;
    for (size_t i = 0; t && i < t->n_accounts && r == 0; i++)
        r = add(p, TGT_DELETE_ACCOUNT, w->tid, 0, t->accounts[i]);
    if (r < 0 || !w->user)
        return r;
    if (tgt_has(have->accounts, have->n_accounts, w->user) && (!t || !tgt_has(t->accounts, t->n_accounts, w->user)))
        r = add(p, TGT_DELETE_ACCOUNT, w->tid, 0, w->user);
    r = r ? r : add(p, TGT_NEW_ACCOUNT, w->tid, 0, w->user);
    if (r == 0)
        (void)snprintf(p->ops[p->n - 1].secret, sizeof(p->ops[0].secret), "%s",
                       w->password); /* same room in the catalog */
    return r ? r : add(p, TGT_BIND_ACCOUNT, w->tid, 0, w->user);
}

static bool has_right_account(const struct want_target *w, const struct tgt_target *t)
{
    return w->user ? t->n_accounts == 1 && strcmp(t->accounts[0], w->user) == 0 : t->n_accounts == 0;
}

static int open_target(const struct want_target *w, const struct tgt_target *t, const struct tgt_state *have,
                       struct tgt_plan *p)
{
    char mark[TGT_MARK_LEN + 1];
    tgt_mark(w, mark);
    const struct tgt_lun *lun0 = t ? tgt_find_lun(t, 0) : NULL;
    bool has_mark = lun0 && strcmp(lun0->sn, mark) == 0;
    bool has_access = has_mark && has_right_account(w, t), is_shut = !has_access || has_due(w, t);
    int r = t ? unbind_all(t, is_shut ? NULL : w->acl, p) : add(p, TGT_NEW_TARGET, w->tid, 0, w->iqn);
    if (r == 0 && !has_mark)
        r = add(p, TGT_SET_TARGET, w->tid, 0, NULL);
    for (size_t i = 0; i < w->n_luns && r == 0; i++)
        r = open_lun(w, &w->luns[i], t, p);
    if (r == 0 && !has_access) {
        r = renew_account(w, t, have, p);
        r = r ? r : add(p, TGT_MARK, w->tid, 0, mark);
    }
    if (r == 0 && (is_shut || !tgt_has(t->acls, t->n_acls, w->acl)))
        r = add(p, TGT_BIND_ACL, w->tid, 0, w->acl);
    return r;
}

int tgt_plan_open(const struct want_target *want, size_t n, const struct tgt_state *have, struct tgt_plan *p,
                  struct err *err)
{
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = open_target(&want[i], tgt_find(have, want[i].tid), have, p);
    return r ? err_sys(err, r, "cannot plan what tgtd has to do") : 0;
}
