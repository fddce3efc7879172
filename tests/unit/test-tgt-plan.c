/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plans for tgtd: checked by running them on a model of tgtd that obeys tgt's rules and counts what a plan must not do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"
#include "gateway/tgt-plan.h"

/* --- a model of tgtd --------------------------------------------------------------------------------------------- */

#define MAX_ITEMS 8

struct model_lun {
    uint64_t lun;
    char path[64], sn[64], store[16];
    bool is_thin, is_online;
};

struct model_target {
    int64_t tid; /* 0 = free */
    char name[64];
    struct model_lun luns[MAX_ITEMS];
    size_t n_luns;
    char accounts[MAX_ITEMS][64], acls[MAX_ITEMS][64];
    size_t n_accounts, n_acls, n_sessions;
    bool has_params;
};

struct model {
    struct model_target t[MAX_ITEMS];
    char accounts[MAX_ITEMS][64], secrets[MAX_ITEMS][64];
    size_t n_accounts;
};

static struct model_target *target(struct model *m, int64_t tid)
{
    for (size_t i = 0; i < MAX_ITEMS; i++)
        if (m->t[i].tid == tid)
            return &m->t[i];
    return NULL;
}

static int find(char list[][64], size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], text) == 0)
            return (int)i;
    return -1;
}

static void take(char list[][64], size_t *n, const char *text)
{
    int i = find(list, *n, text);
    assert_true(i >= 0);
    memmove(list[i], list[i + 1], (size_t)(MAX_ITEMS - 1 - i) * 64);
    (*n)--;
}

static void put(char list[][64], size_t *n, const char *text)
{
    assert_true(find(list, *n, text) < 0 && *n < MAX_ITEMS - 1);
    strcpy(list[(*n)++], text);
}

static struct model_lun *lun(struct model_target *t, uint64_t number)
{
    for (size_t i = 0; i < t->n_luns; i++)
        if (t->luns[i].lun == number)
            return &t->luns[i];
    return NULL;
}

static void delete_account(struct model *m, const char *user)
{
    int i = find(m->accounts, m->n_accounts, user);
    assert_true(i >= 0);
    memmove(m->secrets[i], m->secrets[i + 1], (size_t)(MAX_ITEMS - 1 - i) * 64);
    take(m->accounts, &m->n_accounts, user);
    for (size_t k = 0; k < MAX_ITEMS; k++) {
        struct model_target *t = &m->t[k];
        if (!t->tid || find(t->accounts, t->n_accounts, user) < 0)
            continue;
        assert_int_equal(t->n_acls, 0); /* else it would be open to anyone now */
        take(t->accounts, &t->n_accounts, user);
    }
}

static void run(struct model *m, const struct tgt_op *op)
{
    struct model_target *t = op->tid ? target(m, op->tid) : NULL;
    struct model_lun *l = t ? lun(t, op->lun) : NULL;
    switch (op->kind) {
    case TGT_UNBIND_ACL:
        take(t->acls, &t->n_acls, op->text);
        return;
    case TGT_DROP:
        assert_int_equal(t->n_acls, 0); /* else they are back at once */
        t->n_sessions = 0;
        return;
    case TGT_DELETE_LUN:
        assert_non_null(l);
        assert_int_not_equal(op->lun, 0);
        *l = t->luns[--t->n_luns];
        return;
    case TGT_DELETE_TARGET:
        assert_int_equal(t->n_acls, 0);
        *t = (struct model_target){0};
        return;
    case TGT_DELETE_ACCOUNT:
        delete_account(m, op->text);
        return;
    case TGT_NEW_TARGET:
        assert_null(t);
        t = target(m, 0);
        t->tid = op->tid;
        strcpy(t->name, op->text);
        t->luns[t->n_luns++] = (struct model_lun){.sn = "beaf", .is_online = true};
        return;
    case TGT_SET_TARGET:
        assert_int_equal(t->n_acls, 0);
        t->has_params = true;
        return;
    case TGT_NEW_LUN:
        assert_null(l);
        l = &t->luns[t->n_luns++];
        *l = (struct model_lun){.lun = op->lun, .is_online = true};
        strcpy(l->path, op->text);
        strcpy(l->store, op->store);
        return;
    case TGT_SWAP_LUN:
        assert_non_null(l);
        assert_string_equal(l->path, op->text);
        assert_string_not_equal(l->store, op->store);
        assert_int_equal(t->n_acls, 0);
        if (t->n_sessions > 0) /* of somebody who was faster */
            return;
        *l = (struct model_lun){.lun = op->lun, .is_online = true};
        strcpy(l->path, op->text);
        strcpy(l->store, op->store);
        return;
    case TGT_SET_LUN:
        l->is_thin = strstr(op->text, "thin_provisioning=1") != NULL;
        strcpy(l->sn, strstr(op->text, "scsi_sn=") + 8);
        return;
    case TGT_HEAL_LUN:
        assert_string_equal(l->path, op->text);
        l->is_online = true;
        return;
    case TGT_NEW_ACCOUNT:
        put(m->accounts, &m->n_accounts, op->text);
        strcpy(m->secrets[m->n_accounts - 1], op->secret);
        return;
    case TGT_BIND_ACCOUNT:
        assert_true(find(m->accounts, m->n_accounts, op->text) >= 0);
        assert_int_equal(t->n_acls, 0);
        put(t->accounts, &t->n_accounts, op->text);
        return;
    case TGT_MARK:
        assert_int_equal(t->n_acls, 0);
        strcpy(lun(t, 0)->sn, op->text);
        return;
    case TGT_BIND_ACL:
        assert_true(t->has_params && t->n_luns > 1); /* nobody logs in before all is there */
        put(t->acls, &t->n_acls, op->text);
        assert_int_equal(t->n_acls, 1); /* tgt ORs them */
        return;
    }
}

/* What tgt_show_parse() would give. Pointers go into the model; the arrays are one allocation each. */
struct shown {
    struct tgt_state s;
    struct tgt_target targets[MAX_ITEMS];
    struct tgt_lun luns[MAX_ITEMS][MAX_ITEMS];
    struct tgt_session sessions[MAX_ITEMS];
    char *accounts[MAX_ITEMS][MAX_ITEMS], *acls[MAX_ITEMS][MAX_ITEMS], *all[MAX_ITEMS];
};

static void show(struct model *m, struct shown *w)
{
    *w = (struct shown){.s = {.targets = w->targets, .accounts = w->all, .n_accounts = m->n_accounts}};
    for (size_t i = 0; i < m->n_accounts; i++)
        w->all[i] = m->accounts[i];
    for (size_t i = 0; i < MAX_ITEMS; i++) {
        struct model_target *t = &m->t[i];
        if (!t->tid)
            continue;
        size_t n = w->s.n_targets++;
        for (size_t k = 0; k < t->n_luns; k++)
            w->luns[n][k] = (struct tgt_lun){.lun = t->luns[k].lun,
                                             .is_online = t->luns[k].is_online,
                                             .is_thin = t->luns[k].is_thin,
                                             .sn = t->luns[k].sn,
                                             .path = t->luns[k].path,
                                             .bstype = t->luns[k].store};
        for (size_t k = 0; k < t->n_accounts; k++)
            w->accounts[n][k] = t->accounts[k];
        for (size_t k = 0; k < t->n_acls; k++)
            w->acls[n][k] = t->acls[k];
        w->targets[n] = (struct tgt_target){.tid = t->tid,
                                            .name = t->name,
                                            .luns = w->luns[n],
                                            .n_luns = t->n_luns,
                                            .accounts = w->accounts[n],
                                            .n_accounts = t->n_accounts,
                                            .acls = w->acls[n],
                                            .n_acls = t->n_acls,
                                            .sessions = w->sessions,
                                            .n_sessions = t->n_sessions};
    }
}

/* --- fixtures ---------------------------------------------------------------------------------------------------- */

static struct want_target make_want(int64_t tid, const char *iqn, const char *user, const char *password,
                                    const char *file)
{
    struct want_target w = {
        .tid = tid, .iqn = iqn, .acl = "ALL", .user = user, .password = password, .store = "rdwr", .n_luns = 1};
    w.luns[0].lun = 1;
    strcpy(w.luns[0].path, file);
    (void)snprintf(w.luns[0].sn, sizeof(w.luns[0].sn), "tag-%d-0", (int)tid);
    return w;
}

/* Plan and run a closing and an opening; the count of operations. @last (may be NULL) gets the opening's plan. */
static size_t converge(struct model *m, const struct want_target *want, size_t n)
{
    struct shown w;
    size_t count = 0;
    for (int phase = 0; phase < 2; phase++) {
        _cleanup_(tgt_plan_finish) struct tgt_plan p = {0};
        show(m, &w);
        assert_int_equal((phase ? tgt_plan_open : tgt_plan_close)(want, n, &w.s, &p, NULL), 0);
        for (size_t i = 0; i < p.n; i++)
            run(m, &p.ops[i]);
        count += p.n;
    }
    return count;
}

static void assert_right(struct model *m, const struct want_target *want, size_t n)
{
    size_t targets = 0, accounts = 0;
    for (size_t i = 0; i < MAX_ITEMS; i++)
        targets += m->t[i].tid != 0;
    assert_int_equal(targets, n);
    for (size_t i = 0; i < n; i++) {
        struct model_target *t = target(m, want[i].tid);
        assert_string_equal(t->name, want[i].iqn);
        assert_int_equal(t->n_luns, want[i].n_luns + 1);
        for (size_t k = 0; k < want[i].n_luns; k++) {
            assert_string_equal(lun(t, want[i].luns[k].lun)->path, want[i].luns[k].path);
            assert_string_equal(lun(t, want[i].luns[k].lun)->sn, want[i].luns[k].sn);
            assert_true(t->n_sessions > 0 || strcmp(lun(t, want[i].luns[k].lun)->store, want[i].store) == 0);
        }
        assert_int_equal(t->n_acls, 1);
        assert_string_equal(t->acls[0], want[i].acl);
        assert_int_equal(t->n_accounts, want[i].user ? 1 : 0);
        accounts += t->n_accounts;
        if (want[i].user)
            assert_string_equal(m->secrets[find(m->accounts, m->n_accounts, want[i].user)], want[i].password);
    }
    assert_int_equal(m->n_accounts, accounts);
    assert_int_equal(converge(m, want, n), 0);
}

/* Two targets, each with one LUN, an account, and one session. */
struct setup {
    struct model m;
    struct want_target w[2];
};

static void set_up(struct setup *x)
{
    *x = (struct setup){0};
    x->w[0] = make_want(1, "iqn.x:pc1", "u1", "p1", "mnt/by-id/a.img");
    x->w[1] = make_want(2, "iqn.x:pc2", "u2", "p2", "mnt/by-id/b.img");
    assert_true(converge(&x->m, x->w, 2) > 0);
    assert_right(&x->m, x->w, 2);
    target(&x->m, 1)->n_sessions = target(&x->m, 2)->n_sessions = 1;
}

/* --- claims ------------------------------------------------------------------------------------------------------ */

static void test_tgt_plan_builds_from_nothing(void **state)
{
    struct setup x;
    set_up(&x);
}

static void test_tgt_plan_of_equal_states_is_empty(void **state)
{
    struct setup x;
    set_up(&x);
    assert_int_equal(converge(&x.m, x.w, 2), 0);
}

static void test_tgt_plan_removes_one_client_only(void **state)
{
    struct setup x;
    set_up(&x);
    struct model_target other = *target(&x.m, 2);
    assert_true(converge(&x.m, &x.w[1], 1) > 0);
    assert_right(&x.m, &x.w[1], 1);
    assert_memory_equal(&other, target(&x.m, 2), sizeof(other));
}

static void test_tgt_plan_renews_secret_under_sessions(void **state)
{
    struct setup x;
    set_up(&x);
    x.w[0].password = "new";
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

static void test_tgt_plan_turns_chap_off_and_on(void **state)
{
    struct setup x;
    set_up(&x);
    const char *user = x.w[0].user, *password = x.w[0].password;
    x.w[0].user = x.w[0].password = NULL;
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    x.w[0].user = user;
    x.w[0].password = password;
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

static void test_tgt_plan_repairs_a_missing_account(void **state)
{
    struct setup x;
    set_up(&x);
    struct model_target *t = target(&x.m, 1);
    take(t->accounts, &t->n_accounts, "u1"); /* somebody's tgtadm: the target is open now */
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
}

static void test_tgt_plan_changes_acl_under_sessions(void **state)
{
    struct setup x;
    set_up(&x);
    x.w[0].acl = "iqn.x:pc1:initiator";
    assert_int_equal(converge(&x.m, x.w, 2), 2);
    assert_right(&x.m, x.w, 2);
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

static void test_tgt_plan_unbinds_foreign_acls(void **state)
{
    struct setup x;
    set_up(&x);
    struct model_target *t = target(&x.m, 1);
    put(t->acls, &t->n_acls, "10.0.0.0/8");
    assert_int_equal(converge(&x.m, x.w, 2), 1);
    assert_right(&x.m, x.w, 2);
}

static void test_tgt_plan_ends_sessions_before_another_file(void **state)
{
    struct setup x;
    set_up(&x);
    strcpy(x.w[0].luns[0].path, "mnt/by-id/c.img");
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    assert_int_equal(target(&x.m, 1)->n_sessions, 0);
    assert_int_equal(target(&x.m, 2)->n_sessions, 1);
}

static void test_tgt_plan_adds_and_removes_slots_under_sessions(void **state)
{
    struct setup x;
    set_up(&x);
    x.w[0].n_luns = 2;
    x.w[0].luns[1] = (struct want_lun){.lun = 3, .path = "mnt/by-id/d.img", .sn = "tag-1-2"};
    assert_int_equal(converge(&x.m, x.w, 2), 2);
    assert_right(&x.m, x.w, 2);
    x.w[0].n_luns = 1;
    assert_int_equal(converge(&x.m, x.w, 2), 1);
    assert_right(&x.m, x.w, 2);
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

static void test_tgt_plan_heals_dead_luns_in_place(void **state)
{
    struct setup x;
    struct shown w;
    _cleanup_(tgt_plan_finish) struct tgt_plan p = {0};
    set_up(&x);
    x.w[0].luns[0].is_dead = true;
    show(&x.m, &w);
    assert_int_equal(tgt_plan_open(x.w, 2, &w.s, &p, NULL), 0);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.ops[0].kind, TGT_HEAL_LUN);
    run(&x.m, &p.ops[0]);
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

static void test_tgt_plan_exchanges_the_store_when_nobody_is_logged_in(void **state)
{
    struct setup x;
    set_up(&x);
    x.w[0].store = x.w[1].store = "diskgate";
    target(&x.m, 1)->n_sessions = 0;
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    assert_string_equal(lun(target(&x.m, 1), 1)->store, "diskgate");
}

static void test_tgt_plan_leaves_the_store_under_a_session(void **state)
{
    struct setup x;
    set_up(&x);
    struct model before = x.m;
    x.w[0].store = x.w[1].store = "diskgate";
    assert_int_equal(converge(&x.m, x.w, 2), 0);
    assert_memory_equal(&before, &x.m, sizeof(before));
}

/* The listing is older than the login. */
static void test_tgt_plan_leaves_the_store_to_who_logs_in_meanwhile(void **state)
{
    struct setup x;
    struct shown w;
    _cleanup_(tgt_plan_finish) struct tgt_plan p = {0};
    set_up(&x);
    x.w[0].store = "diskgate";
    target(&x.m, 1)->n_sessions = 0;
    show(&x.m, &w);
    assert_int_equal(tgt_plan_open(x.w, 2, &w.s, &p, NULL), 0);
    target(&x.m, 1)->n_sessions = 1;
    for (size_t i = 0; i < p.n; i++)
        run(&x.m, &p.ops[i]);
    assert_right(&x.m, x.w, 2);
    assert_string_equal(lun(target(&x.m, 1), 1)->store, "rdwr");
    assert_int_equal(target(&x.m, 1)->n_sessions, 1);
}

/* bs_aio says that flushes are done and does none: better no session than one of those. */
static void test_tgt_plan_throws_foreign_stores_out(void **state)
{
    struct setup x;
    set_up(&x);
    strcpy(lun(target(&x.m, 1), 1)->store, "aio");
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
    assert_string_equal(lun(target(&x.m, 1), 1)->store, "rdwr");
    assert_int_equal(target(&x.m, 1)->n_sessions, 0);
    assert_int_equal(target(&x.m, 2)->n_sessions, 1);
}

static void test_tgt_plan_replaces_target_with_other_name(void **state)
{
    struct setup x;
    set_up(&x);
    x.w[0].iqn = "iqn.x:another";
    assert_true(converge(&x.m, x.w, 2) > 0);
    assert_right(&x.m, x.w, 2);
}

/* A plan that was cut at any point (a kill, a failing tgtd) is completed by the next one. */
static void test_tgt_plan_resumes_after_any_interruption(void **state)
{
    for (size_t stop = 0; stop < 40; stop++) {
        struct setup x;
        struct shown w;
        set_up(&x);
        x.w[0] = make_want(3, "iqn.x:pc3", "u3", "p3", "mnt/by-id/e.img");
        x.w[1].password = "new";
        size_t done = 0;
        for (int phase = 0; phase < 2; phase++) {
            _cleanup_(tgt_plan_finish) struct tgt_plan p = {0};
            show(&x.m, &w);
            assert_int_equal((phase ? tgt_plan_open : tgt_plan_close)(x.w, 2, &w.s, &p, NULL), 0);
            for (size_t i = 0; i < p.n && done < stop; i++, done++)
                run(&x.m, &p.ops[i]);
        }
        (void)converge(&x.m, x.w, 2);
        assert_right(&x.m, x.w, 2);
    }
}

static void test_tgt_mark_tells_secrets_apart(void **state)
{
    char a[TGT_MARK_LEN + 1], b[TGT_MARK_LEN + 1], c[TGT_MARK_LEN + 1];
    struct want_target w = make_want(1, "iqn.x:pc1", "u1", "p1", "f");
    tgt_mark(&w, a);
    w.user = "u1p";
    w.password = "1";
    tgt_mark(&w, b);
    w.user = w.password = NULL;
    tgt_mark(&w, c);
    assert_int_equal(strlen(a), TGT_MARK_LEN);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tgt_plan_builds_from_nothing),
        cmocka_unit_test(test_tgt_plan_of_equal_states_is_empty),
        cmocka_unit_test(test_tgt_plan_removes_one_client_only),
        cmocka_unit_test(test_tgt_plan_renews_secret_under_sessions),
        cmocka_unit_test(test_tgt_plan_turns_chap_off_and_on),
        cmocka_unit_test(test_tgt_plan_repairs_a_missing_account),
        cmocka_unit_test(test_tgt_plan_changes_acl_under_sessions),
        cmocka_unit_test(test_tgt_plan_unbinds_foreign_acls),
        cmocka_unit_test(test_tgt_plan_ends_sessions_before_another_file),
        cmocka_unit_test(test_tgt_plan_adds_and_removes_slots_under_sessions),
        cmocka_unit_test(test_tgt_plan_heals_dead_luns_in_place),
        cmocka_unit_test(test_tgt_plan_exchanges_the_store_when_nobody_is_logged_in),
        cmocka_unit_test(test_tgt_plan_leaves_the_store_under_a_session),
        cmocka_unit_test(test_tgt_plan_leaves_the_store_to_who_logs_in_meanwhile),
        cmocka_unit_test(test_tgt_plan_throws_foreign_stores_out),
        cmocka_unit_test(test_tgt_plan_replaces_target_with_other_name),
        cmocka_unit_test(test_tgt_plan_resumes_after_any_interruption),
        cmocka_unit_test(test_tgt_mark_tells_secrets_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
