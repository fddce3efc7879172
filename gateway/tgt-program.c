/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines of tgtadm, and the meaning of its refusals.
 *
 * tgtadm ends with an errno as its status and one line on stderr, "tgtadm: can't find the target". The status is 22 for most of
 * them, so the words decide.
 */
#include "gateway/tgt-program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/spawn.h"

#define ARGS_MAX   24
#define NUMBER_LEN 24

struct command {
    size_t n;
    const char *args[ARGS_MAX];
    char port[NUMBER_LEN], tid[NUMBER_LEN], lun[NUMBER_LEN], sid[NUMBER_LEN], cid[NUMBER_LEN];
    char options[TGT_MGMT_PARAMS][32];
};

static const char *const modes[] = {
    [TGT_MODE_SYSTEM] = "system", [TGT_MODE_TARGET] = "target",   [TGT_MODE_LUN] = "logicalunit",
    [TGT_MODE_PORTAL] = "portal", [TGT_MODE_CONNECTION] = "conn", [TGT_MODE_ACCOUNT] = "account",
};
static const char *const verbs[] = {
    [TGT_VERB_NEW] = "new",   [TGT_VERB_DELETE] = "delete", [TGT_VERB_SHOW] = "show",
    [TGT_VERB_BIND] = "bind", [TGT_VERB_UNBIND] = "unbind", [TGT_VERB_UPDATE] = "update",
};

static void add(struct command *c, const char *option, const char *value)
{
    c->args[c->n++] = option; /* fits: 3 pairs, 4 numbers, 2 parameters of 4 words at most, and --force */
    if (value)
        c->args[c->n++] = value;
}

static void add_number(struct command *c, const char *option, char room[NUMBER_LEN], uint64_t value)
{
    (void)snprintf(room, NUMBER_LEN, "%llu", (unsigned long long)value); /* fits */
    add(c, option, room);
}

static void add_param(struct command *c, const struct tgt_request *q, const struct tgt_param *p, char option[32])
{
    if (q->verb == TGT_VERB_UPDATE && q->mode == TGT_MODE_LUN) {
        add(c, "--params", p->value);
    } else if (q->verb == TGT_VERB_UPDATE) {
        add(c, "--name", p->key);
        add(c, "--value", p->value);
    } else if (strcmp(p->key, "path") == 0) {
        add(c, "--backing-store", p->value);
    } else {
        (void)snprintf(option, 32, "--%s", p->key); /* fits: all keys are ours */
        add(c, option, p->value);
    }
}

static void make_command(struct command *c, unsigned port, const struct tgt_request *q)
{
    *c = (struct command){0};
    add(c, "tgtadm", NULL);
    add_number(c, "-C", c->port, port);
    add(c, "--lld", "iscsi");
    add(c, "--op", verbs[q->verb]);
    add(c, "--mode", modes[q->mode]);
    if (q->tid)
        add_number(c, "--tid", c->tid, (uint64_t)q->tid);
    if (q->mode == TGT_MODE_LUN)
        add_number(c, "--lun", c->lun, q->lun);
    if (q->mode == TGT_MODE_CONNECTION && q->verb == TGT_VERB_DELETE) {
        add_number(c, "--sid", c->sid, q->sid);
        add_number(c, "--cid", c->cid, q->cid);
    }
    if (q->is_forced)
        add(c, "--force", NULL);
    for (size_t i = 0; i < TGT_MGMT_PARAMS; i++)
        if (q->params[i].key)
            add_param(c, q, &q->params[i], c->options[i]);
}

static int refusal_code(const struct spawn_output *o)
{
    static const struct {
        const char *words;
        int code;
    } table[] = {
        {"still active", -EBUSY},
        {"is busy", -EBUSY},
        {"Prevent Removal", -EBUSY},
        {"can't find the driver", -EREMOTEIO},
        {"can't find", -ENOENT},
        {"does not exist", -ENOENT},
        {"already has", -EREMOTEIO},
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

int tgt_program_run(int dirfd, unsigned port, const struct tgt_request *q, int timeout_ms, char **ret_text,
                    char *ret_words, size_t max, struct err *err)
{
    static const char *const env[] = {TGT_SOCKET_ENV, "LC_ALL=C", NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    struct command c;
    make_command(&c, port, q);
    ret_words[0] = 0;
    int r = spawn_run(&(struct spawn){c.args, env, dirfd}, timeout_ms, &o, err);
    if (r < 0)
        return r;
    if (o.status == 0) {
        *ret_text = take_ptr(o.out);
        return 0;
    }
    const char *text = strncmp(o.error, "tgtadm: ", 8) == 0 ? o.error + 8 : o.error;
    (void)snprintf(ret_words, max, "%s", *text ? text : "no reason given"); /* a cut sentence will do */
    return refusal_code(&o);
}
