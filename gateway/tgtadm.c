/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines of tgtadm, and sentences for its refusals.
 *
 * tgtadm ends with an errno as its status and one line on stderr, "tgtadm: can't find the target". The status is 22 for most of
 * them, so the words decide.
 */
#include "gateway/tgtadm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/spawn.h"

#define ARGS_MAX 24
#define CONN_MAX 256

static int refusal_code(const struct spawn_output *o)
{
    static const struct {
        const char *words;
        int code;
    } table[] = {
        {"still active", -EBUSY},
        {"can't find", -ENOENT},
        {"does not exist", -ENOENT},
        {"already exists", -EEXIST},
        {"failed to send request", -ENOTCONN},
        {"failed to connect", -ENOTCONN},
        {"can't open a socket", -ENOTCONN},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (strstr(o->error, table[i].words))
            return table[i].code;
    return o->status == ENOTCONN || o->status == ECONNREFUSED ? -ENOTCONN : -EREMOTEIO;
}

/* Run tgtadm with the words @args (ends with NULL). @what is the deed in the sentence "... refuses to WHAT". */
static int run(const struct tgtadm *a, int timeout_ms, const char *const *args, const char *what,
               struct spawn_output *ret, struct err *err)
{
    static const char *const env[] = {TGT_SOCKET_ENV, "LC_ALL=C", NULL};
    char port[16];
    (void)snprintf(port, sizeof(port), "%u", a->shard + 1); /* fits */
    const char *argv[ARGS_MAX] = {"tgtadm", "-C", port, "--lld", "iscsi"};
    for (size_t i = 5; i < ARGS_MAX - 1 && *args; i++)
        argv[i] = *args++;
    int r = spawn_run(&(struct spawn){argv, env, a->dirfd}, timeout_ms, ret, err);
    if (r == -ETIMEDOUT)
        return err_set(err, r, "tgtd shard %u does not answer within %d s (%s)", a->shard, timeout_ms / 1000, what);
    if (r < 0 || ret->status == 0)
        return r;
    r = refusal_code(ret);
    if (r == -ENOTCONN)
        return err_set(err, r, "tgtd shard %u does not run", a->shard);
    const char *text = strncmp(ret->error, "tgtadm: ", 8) == 0 ? ret->error + 8 : ret->error;
    return err_set(err, r, "tgtd shard %u refuses to %s: %s", a->shard, what, *text ? text : "no reason given");
}

static int __attribute__((sentinel)) call(const struct tgtadm *a, struct err *err, const char *what, ...)
{
    const char *args[ARGS_MAX] = {0};
    va_list ap;
    va_start(ap, what);
    for (size_t i = 0; i < ARGS_MAX - 1; i++)
        if (!(args[i] = va_arg(ap, const char *)))
            break;
    va_end(ap);
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    return run(a, TGTADM_TIMEOUT_MS, args, what, &o, err);
}

#define NUMBER_LEN 24

static const char *number(char buf[NUMBER_LEN], uint64_t n)
{
    (void)snprintf(buf, NUMBER_LEN, "%llu", (unsigned long long)n); /* fits */
    return buf;
}

int tgtadm_ping(const struct tgtadm *a, int timeout_ms, struct err *err)
{
    static const char *const args[] = {"--op", "show", "--mode", "system", NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    return run(a, timeout_ms, args, "show its state", &o, err);
}

int tgtadm_stop(const struct tgtadm *a, struct err *err)
{
    return call(a, err, "end", "--op", "delete", "--mode", "system", NULL);
}

int tgtadm_show(const struct tgtadm *a, struct tgt_state *ret, struct err *err)
{
    static const char *const targets[] = {"--op", "show", "--mode", "target", NULL};
    static const char *const accounts[] = {"--op", "show", "--mode", "account", NULL};
    _cleanup_(spawn_output_finish) struct spawn_output t = {0}, acc = {0};
    int r = run(a, TGTADM_TIMEOUT_MS, targets, "show its targets", &t, err);
    if (r < 0)
        return r;
    r = run(a, TGTADM_TIMEOUT_MS, accounts, "show its accounts", &acc, err);
    if (r < 0)
        return r;
    r = tgt_show_parse(t.out, ret, err);
    return r < 0 ? r : tgt_accounts_parse(acc.out, ret, err);
}

int tgtadm_drop_connections(const struct tgtadm *a, int64_t tid, bool only_odd, struct err *err)
{
    char t[NUMBER_LEN], s[NUMBER_LEN], c[NUMBER_LEN];
    const char *const args[] = {"--op", "show", "--mode", "conn", "--tid", number(t, (uint64_t)tid), NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    int r = run(a, TGTADM_TIMEOUT_MS, args, "show its connections", &o, err);
    if (r < 0)
        return r;
    struct tgt_conn conns[CONN_MAX];
    bool is_odd;
    size_t n = tgt_conn_parse(o.out, conns, CONN_MAX, &is_odd);
    for (size_t i = 0; i < n && (is_odd || !only_odd); i++) {
        r = call(a, err, "end a connection", "--op", "delete", "--mode", "conn", "--tid", t, "--sid",
                 number(s, conns[i].sid), "--cid", number(c, conns[i].cid), NULL);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

int tgtadm_portals(const struct tgtadm *a, char **ret, struct err *err)
{
    static const char *const args[] = {"--op", "show", "--mode", "portal", NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    int r = run(a, TGTADM_TIMEOUT_MS, args, "show its portals", &o, err);
    if (r < 0)
        return r;
    /* "Portal: 127.0.0.1:3260,1" in each line. */
    char *to = o.out;
    for (char *line = o.out, *next; *line; line = next) {
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
    *ret = take_ptr(o.out);
    return 0;
}

int tgtadm_target_new(const struct tgtadm *a, int64_t tid, const char *iqn, struct err *err)
{
    char t[NUMBER_LEN];
    return call(a, err, "make a target", "--op", "new", "--mode", "target", "--tid", number(t, (uint64_t)tid), "-T",
                iqn, NULL);
}

int tgtadm_target_set(const struct tgtadm *a, int64_t tid, const char *name, const char *value, struct err *err)
{
    char t[NUMBER_LEN];
    return call(a, err, "set a parameter of a target", "--op", "update", "--mode", "target", "--tid",
                number(t, (uint64_t)tid), "--name", name, "--value", value, NULL);
}

int tgtadm_target_delete(const struct tgtadm *a, int64_t tid, struct err *err)
{
    char t[NUMBER_LEN];
    return call(a, err, "remove a target", "--op", "delete", "--mode", "target", "--force", "--tid",
                number(t, (uint64_t)tid), NULL);
}

int tgtadm_lun_new(const struct tgtadm *a, int64_t tid, uint64_t lun, const char *path, struct err *err)
{
    char t[NUMBER_LEN], l[NUMBER_LEN];
    return call(a, err, "open a LUN", "--op", "new", "--mode", "logicalunit", "--tid", number(t, (uint64_t)tid),
                "--lun", number(l, lun), "-b", path, "--bstype", "rdwr", NULL);
}

int tgtadm_lun_set(const struct tgtadm *a, int64_t tid, uint64_t lun, const char *params, struct err *err)
{
    char t[NUMBER_LEN], l[NUMBER_LEN];
    return call(a, err, "set the parameters of a LUN", "--op", "update", "--mode", "logicalunit", "--tid",
                number(t, (uint64_t)tid), "--lun", number(l, lun), "--params", params, NULL);
}

int tgtadm_lun_delete(const struct tgtadm *a, int64_t tid, uint64_t lun, struct err *err)
{
    char t[NUMBER_LEN], l[NUMBER_LEN];
    return call(a, err, "close a LUN", "--op", "delete", "--mode", "logicalunit", "--tid", number(t, (uint64_t)tid),
                "--lun", number(l, lun), NULL);
}

int tgtadm_account_new(const struct tgtadm *a, const char *user, const char *password, struct err *err)
{
    return call(a, err, "make an account", "--op", "new", "--mode", "account", "--user", user, "--password", password,
                NULL);
}

int tgtadm_account_delete(const struct tgtadm *a, const char *user, struct err *err)
{
    return call(a, err, "remove an account", "--op", "delete", "--mode", "account", "--user", user, NULL);
}

int tgtadm_account_bind(const struct tgtadm *a, int64_t tid, const char *user, struct err *err)
{
    char t[NUMBER_LEN];
    return call(a, err, "bind an account", "--op", "bind", "--mode", "account", "--tid", number(t, (uint64_t)tid),
                "--user", user, NULL);
}

bool tgt_acl_is_name(const char *acl)
{
    return strncmp(acl, "iqn.", 4) == 0 || strncmp(acl, "eui.", 4) == 0 || strncmp(acl, "naa.", 4) == 0;
}

static int acl(const struct tgtadm *a, const char *op, const char *what, int64_t tid, const char *text, struct err *err)
{
    char t[NUMBER_LEN];
    return call(a, err, what, "--op", op, "--mode", "target", "--tid", number(t, (uint64_t)tid),
                tgt_acl_is_name(text) ? "-Q" : "-I", text, NULL);
}

int tgtadm_acl_bind(const struct tgtadm *a, int64_t tid, const char *text, struct err *err)
{
    return acl(a, "bind", "admit an initiator", tid, text, err);
}

int tgtadm_acl_unbind(const struct tgtadm *a, int64_t tid, const char *text, struct err *err)
{
    return acl(a, "unbind", "shut an initiator out", tid, text, err);
}
