/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a tgtd says it serves: the parsed output of `tgtadm --op show --mode target`.
 *
 * The text is not to be trusted: an initiator chooses its own name and alias, tgtd prints them as they are, line breaks included, and so
 * an initiator could invent targets and LUNs. Therefore each section must come once and in tgtd's order, no number twice; anything
 * else is -EBADMSG, and the caller looks for the session with such a name (tgt_conn_parse()) and ends it.
 *
 * Threads: any number at once, on different objects.
 */
#ifndef DISKGATE_GATEWAY_TGT_SHOW_H
#define DISKGATE_GATEWAY_TGT_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

struct tgt_session {
    uint64_t sid;    /* the number of the I_T nexus */
    int64_t cid;     /* connection; -1 = a session without one. A second connection is a second entry */
    char *initiator; /* name; control characters became '?' */
    char *address;   /* "" when there is none */
};

struct tgt_lun {
    uint64_t lun;
    bool is_disk; /* not tgt's own controller, LUN 0 */
    bool is_online, is_thin;
    uint64_t size_mb; /* in units of 1000000 bytes, cut */
    char *sn, *path, *bstype;
};

struct tgt_target {
    int64_t tid;
    char *name;
    struct tgt_session *sessions;
    size_t n_sessions;
    struct tgt_lun *luns; /* LUN 0 too */
    size_t n_luns;
    char **accounts; /* user names of incoming accounts that are bound */
    size_t n_accounts;
    char **acls; /* addresses, "ALL" and initiator names, mixed as tgtd shows them */
    size_t n_acls;
};

struct tgt_state {
    struct tgt_target *targets;
    size_t n_targets;
    char **accounts; /* all accounts of this tgtd, bound or not (tgt_accounts_parse()) */
    size_t n_accounts;
};

void tgt_state_finish(struct tgt_state *s);

/* Output of `--op show --mode target`. @ret (zeroed by the caller) gets the targets. -EBADMSG with the line; -ENOMEM. */
int tgt_show_parse(const char *text, struct tgt_state *ret, struct err *err);

/* Output of `--op show --mode account`: fills accounts of @ret. */
int tgt_accounts_parse(const char *text, struct tgt_state *ret, struct err *err);

/* Output of `--op show --mode system`: does this tgtd have a store (its "bstype") named @name? */
bool tgt_store_parse(const char *text, const char *name);

struct tgt_conn {
    uint64_t sid, cid;
};

/* Output of `--op show --mode conn --tid N`. At most @max entries, numbers that were forged included: ending a connection that does
 * not exist harms nobody. *ret_is_odd: the text has lines that tgtd does not write. Returns the count. */
size_t tgt_conn_parse(const char *text, struct tgt_conn *ret, size_t max, bool *ret_is_odd);

/* NULL when there is none. */
const struct tgt_target *tgt_find(const struct tgt_state *s, int64_t tid);
const struct tgt_lun *tgt_find_lun(const struct tgt_target *t, uint64_t lun);
bool tgt_has(char *const *list, size_t n, const char *text);

#endif
