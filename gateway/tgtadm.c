/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests, the two ways to a tgtd, and sentences for what goes wrong.
 *
 *   way unknown   greeted by the socket    as a tgtd of our form answers   -> socket
 *                                          anything else, or a hangup      -> program
 *                                          silence, nobody                 -> stays unknown, the call fails
 */
#include "gateway/tgtadm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/tgt-mgmt.h"
#include "gateway/tgt-program.h"

#define CONN_MAX 256

static unsigned port(const struct tgtadm *a)
{
    return a->shard + 1;
}

/* --- one request ------------------------------------------------------------------------------------------------- */

/* The sentence of the whole for @r, a refusal or what tgt-mgmt.h lists. @what is the deed in "... refuses to WHAT", @why what came from below. */
static int explain(const struct tgtadm *a, int r, int timeout_ms, const char *what, const char *why, struct err *err)
{
    if (r == -ETIMEDOUT)
        return err_set(err, r, "tgtd shard %u does not answer within %d s (%s)", a->shard, timeout_ms / 1000, what);
    if (r == -ENOTCONN)
        return err_set(err, r, "tgtd shard %u does not run", a->shard);
    return err_set(err, r, "tgtd shard %u cannot be asked to %s: %s", a->shard, what, why);
}

static int refuse(const struct tgtadm *a, int code, const char *what, const char *words, struct err *err)
{
    return err_set(err, code, "tgtd shard %u refuses to %s: %s", a->shard, what, words);
}

/* What answers the greeting that was sent to @fd (or the error of sending it) decides the way. 0, or as tgt_mgmt_receive(). */
static int learn_way(struct tgtadm *a, int fd, int64_t deadline_ms, struct err *err)
{
    _cleanup_(tgt_answer_finish) struct tgt_answer answer = {0};
    int r = fd < 0 ? fd : tgt_mgmt_receive(fd, deadline_ms, &answer, err);
    if (r < 0 && r != -EPROTO && r != -EFBIG)
        return r;
    a->way = r == 0 && tgt_mgmt_knows(&answer) ? TGT_WAY_SOCKET : TGT_WAY_PROGRAM;
    return 0;
}

static int greet(struct tgtadm *a, int64_t deadline_ms, struct err *err)
{
    _cleanup_close_ int fd = tgt_mgmt_send(a->dirfd, port(a), &tgt_mgmt_hello, deadline_ms, err);
    return learn_way(a, fd, deadline_ms, err);
}

static int ask_socket(const struct tgtadm *a, const struct tgt_request *q, int64_t deadline_ms, struct tgt_answer *ret,
                      struct err *err)
{
    _cleanup_close_ int fd = tgt_mgmt_send(a->dirfd, port(a), q, deadline_ms, err);
    return fd < 0 ? fd : tgt_mgmt_receive(fd, deadline_ms, ret, err);
}

static int run_socket(struct tgtadm *a, const struct tgt_request *q, int timeout_ms, const char *what, char **ret_text,
                      struct err *err)
{
    _cleanup_(tgt_answer_finish) struct tgt_answer answer = {0};
    int64_t deadline_ms = clock_ms() + timeout_ms;
    struct err e;
    int r = ask_socket(a, q, deadline_ms, &answer, &e);
    if (r < 0)
        return explain(a, r, timeout_ms, what, e.msg, err);
    if (answer.refusal)
        return refuse(a, tgt_refusal_code(answer.refusal), what, tgt_refusal_words(answer.refusal), err);
    *ret_text = take_ptr(answer.text);
    return 0;
}

static int run_program(struct tgtadm *a, const struct tgt_request *q, int timeout_ms, const char *what, char **ret_text,
                       struct err *err)
{
    char words[512];
    struct err e;
    int r = tgt_program_run(a->dirfd, port(a), q, timeout_ms, ret_text, words, sizeof(words), &e);
    if (r == 0)
        return 0;
    return *words && r != -ENOTCONN ? refuse(a, r, what, words, err) : explain(a, r, timeout_ms, what, e.msg, err);
}

/* @ret_text gets what tgtd shows; NULL when nobody wants it. */
static int run(struct tgtadm *a, const struct tgt_request *q, const char *what, char **ret_text, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int timeout_ms = a->timeout_ms ? a->timeout_ms : TGTADM_TIMEOUT_MS;
    struct err e;
    int r = a->way == TGT_WAY_UNKNOWN ? greet(a, clock_ms() + timeout_ms, &e) : 0;
    if (r < 0)
        return explain(a, r, timeout_ms, what, e.msg, err);
    r = (a->way == TGT_WAY_SOCKET ? run_socket : run_program)(a, q, timeout_ms, what, &text, err);
    if (r == 0 && ret_text)
        *ret_text = take_ptr(text);
    return r;
}

static int change(struct tgtadm *a, const struct tgt_request *q, const char *what, struct err *err)
{
    return run(a, q, what, NULL, err);
}

/* --- is it awake? ------------------------------------------------------------------------------------------------ */

static int finish_ping(struct tgtadm *a, int fd, int64_t deadline_ms, int timeout_ms, struct err *err)
{
    static const struct tgt_request q = {.mode = TGT_MODE_SYSTEM, .verb = TGT_VERB_SHOW};
    struct err e;
    /* Whose queue was full may have room now. */
    int r = fd == -ETIMEDOUT ? greet(a, deadline_ms, &e) : learn_way(a, fd, deadline_ms, &e);
    if (r < 0)
        return explain(a, r, timeout_ms, "show its state", e.msg, err);
    return a->way == TGT_WAY_SOCKET ? 0 : run(a, &q, "show its state", NULL, err);
}

void tgtadm_ping_all(struct tgtadm *list, size_t n, int timeout_ms, int *ret_codes, struct err *ret_errs)
{
    int64_t deadline_ms = clock_ms() + timeout_ms;
    for (size_t i = 0; i < n; i++) /* waits for nobody */
        ret_codes[i] = tgt_mgmt_send(list[i].dirfd, port(&list[i]), &tgt_mgmt_hello, 0, &ret_errs[i]);
    for (size_t i = 0; i < n; i++) {
        _cleanup_close_ int fd = ret_codes[i];
        list[i].timeout_ms = timeout_ms;
        ret_codes[i] = finish_ping(&list[i], fd, deadline_ms, timeout_ms, &ret_errs[i]);
    }
}

int tgtadm_ping(struct tgtadm *a, int timeout_ms, struct err *err)
{
    struct err e;
    int code;
    tgtadm_ping_all(a, 1, timeout_ms, &code, &e);
    return code < 0 ? err_set(err, code, "%s", e.msg) : 0;
}

int tgtadm_stop(struct tgtadm *a, struct err *err)
{
    return change(a, &(struct tgt_request){.mode = TGT_MODE_SYSTEM, .verb = TGT_VERB_DELETE}, "end", err);
}

/* --- what is there ----------------------------------------------------------------------------------------------- */

int tgtadm_show(struct tgtadm *a, struct tgt_state *ret, struct err *err)
{
    static const struct tgt_request targets = {.mode = TGT_MODE_TARGET, .verb = TGT_VERB_SHOW};
    static const struct tgt_request accounts = {.mode = TGT_MODE_ACCOUNT, .verb = TGT_VERB_SHOW};
    _cleanup_free_ char *t = NULL, *acc = NULL;
    int r = run(a, &targets, "show its targets", &t, err);
    r = r ? r : run(a, &accounts, "show its accounts", &acc, err);
    r = r ? r : tgt_show_parse(t, ret, err);
    return r ? r : tgt_accounts_parse(acc, ret, err);
}

static int drop_connection(struct tgtadm *a, int64_t tid, const struct tgt_conn *c, struct err *err)
{
    struct tgt_request q = {.mode = TGT_MODE_CONNECTION, .verb = TGT_VERB_DELETE};
    q.tid = tid;
    q.sid = c->sid;
    q.cid = c->cid;
    int r = change(a, &q, "end a connection", err);
    return r == -ENOENT ? 0 : r;
}

int tgtadm_drop_connections(struct tgtadm *a, int64_t tid, bool only_odd, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct tgt_request q = {.mode = TGT_MODE_CONNECTION, .verb = TGT_VERB_SHOW, .tid = tid};
    int r = run(a, &q, "show its connections", &text, err);
    if (r < 0)
        return r;
    struct tgt_conn conns[CONN_MAX];
    bool is_odd;
    size_t n = tgt_conn_parse(text, conns, CONN_MAX, &is_odd);
    for (size_t i = 0; i < n && r == 0 && (is_odd || !only_odd); i++)
        r = drop_connection(a, tid, &conns[i], err);
    return r;
}

int tgtadm_is_used(struct tgtadm *a, int64_t tid, bool *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct tgt_request q = {.mode = TGT_MODE_CONNECTION, .verb = TGT_VERB_SHOW, .tid = tid};
    int r = run(a, &q, "show its connections", &text, err);
    if (r == 0)
        *ret = *text != 0;
    return r;
}

int tgtadm_has_store(struct tgtadm *a, const char *name, bool *ret, struct err *err)
{
    static const struct tgt_request q = {.mode = TGT_MODE_SYSTEM, .verb = TGT_VERB_SHOW};
    _cleanup_free_ char *text = NULL;
    int r = run(a, &q, "show its state", &text, err);
    if (r == 0)
        *ret = tgt_store_parse(text, name);
    return r;
}

int tgtadm_portals(struct tgtadm *a, char **ret, struct err *err)
{
    static const struct tgt_request q = {.mode = TGT_MODE_PORTAL, .verb = TGT_VERB_SHOW};
    _cleanup_free_ char *text = NULL;
    int r = run(a, &q, "show its portals", &text, err);
    if (r < 0)
        return r;
    /* "Portal: 127.0.0.1:3260,1" in each line. */
    char *to = text;
    for (char *line = text, *next; *line; line = next) {
        size_t len = strcspn(line, "\n");
        next = line + len + (line[len] == '\n');
        if (strncmp(line, "Portal: ", 8) != 0)
            continue;
        len = strcspn(line + 8, ",\n");
        memmove(to, line + 8, len);
        to += len;
        *to++ = '\n';
    }
    *to = 0;
    *ret = take_ptr(text);
    return 0;
}

/* --- changes ----------------------------------------------------------------------------------------------------- */

int tgtadm_target_new(struct tgtadm *a, int64_t tid, const char *iqn, struct err *err)
{
    struct tgt_request q = {TGT_MODE_TARGET, TGT_VERB_NEW, .tid = tid, .params = {{"targetname", iqn}}};
    return change(a, &q, "make a target", err);
}

int tgtadm_target_set(struct tgtadm *a, int64_t tid, const char *name, const char *value, struct err *err)
{
    struct tgt_request q = {TGT_MODE_TARGET, TGT_VERB_UPDATE, .tid = tid, .params = {{name, value}}};
    return change(a, &q, "set a parameter of a target", err);
}

int tgtadm_target_delete(struct tgtadm *a, int64_t tid, struct err *err)
{
    struct tgt_request q = {TGT_MODE_TARGET, TGT_VERB_DELETE, .tid = tid, .is_forced = true};
    return change(a, &q, "remove a target", err);
}

int tgtadm_lun_new(struct tgtadm *a, int64_t tid, uint64_t lun, const char *path, const char *store, struct err *err)
{
    struct tgt_request q = {TGT_MODE_LUN, TGT_VERB_NEW, .tid = tid, .lun = lun,
                            .params = {{"path", path}, {"bstype", store}}};
    return change(a, &q, "open a LUN", err);
}

int tgtadm_lun_set(struct tgtadm *a, int64_t tid, uint64_t lun, const char *params, struct err *err)
{
    struct tgt_request q = {TGT_MODE_LUN, TGT_VERB_UPDATE, .tid = tid, .lun = lun, .params = {{"params", params}}};
    return change(a, &q, "set the parameters of a LUN", err);
}

int tgtadm_lun_delete(struct tgtadm *a, int64_t tid, uint64_t lun, struct err *err)
{
    struct tgt_request q = {TGT_MODE_LUN, TGT_VERB_DELETE, .tid = tid, .lun = lun};
    return change(a, &q, "close a LUN", err);
}

int tgtadm_account_new(struct tgtadm *a, const char *user, const char *password, struct err *err)
{
    struct tgt_request q = {TGT_MODE_ACCOUNT, TGT_VERB_NEW, .params = {{"user", user}, {"password", password}}};
    return change(a, &q, "make an account", err);
}

int tgtadm_account_delete(struct tgtadm *a, const char *user, struct err *err)
{
    struct tgt_request q = {TGT_MODE_ACCOUNT, TGT_VERB_DELETE, .params = {{"user", user}}};
    return change(a, &q, "remove an account", err);
}

int tgtadm_account_bind(struct tgtadm *a, int64_t tid, const char *user, struct err *err)
{
    struct tgt_request q = {TGT_MODE_ACCOUNT, TGT_VERB_BIND, .tid = tid, .params = {{"user", user}}};
    return change(a, &q, "bind an account", err);
}

bool tgt_acl_is_name(const char *acl)
{
    return strncmp(acl, "iqn.", 4) == 0 || strncmp(acl, "eui.", 4) == 0 || strncmp(acl, "naa.", 4) == 0;
}

static int acl(struct tgtadm *a, enum tgt_verb verb, const char *what, int64_t tid, const char *text, struct err *err)
{
    const char *key = tgt_acl_is_name(text) ? "initiator-name" : "initiator-address";
    struct tgt_request q = {TGT_MODE_TARGET, verb, .tid = tid, .params = {{key, text}}};
    return change(a, &q, what, err);
}

int tgtadm_acl_bind(struct tgtadm *a, int64_t tid, const char *text, struct err *err)
{
    return acl(a, TGT_VERB_BIND, "admit an initiator", tid, text, err);
}

int tgtadm_acl_unbind(struct tgtadm *a, int64_t tid, const char *text, struct err *err)
{
    return acl(a, TGT_VERB_UNBIND, "shut an initiator out", tid, text, err);
}
