/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be done to a tgtd so that it serves what is wanted: a pure function of two states, tested without a tgtd.
 *
 *   tgt_plan_close(want, have)   what must go: targets, LUNs and accounts that are not wanted, LUNs with another file
 *   tgt_plan_open(want, have)    what is missing or differs; @have was read after the closing was done
 *
 * (1) Nothing is planned for a target that is as it should be, nor for a session of another target.
 * (2) A target's ACLs are bound last: nobody logs in before its LUNs, parameters and account are there.
 * (3) An account is never removed or changed while an ACL of its target is bound (tgtd would admit anyone).
 * (4) A LUN changes its file only while its target has no ACL and no connection. A LUN with the same path whose file has
 *     died (@is_dead) is opened again under its sessions. A LUN that differs in its store only (see direct.h) is exchanged while
 *     nobody is logged in, and else stays as it is.
 * (5) Both plans of equal states are empty: what tgtd shows decides, nothing is remembered elsewhere. Secrets and target parameters, which
 *     tgtd does not show, leave a mark: the serial number of tgt's own LUN 0 is a hash of them, set after them and before the ACLs.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_TGT_PLAN_H
#define DISKGATE_GATEWAY_TGT_PLAN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/tgt-show.h"

#define TGT_MARK_LEN 19 /* "dg-" and 16 hex digits */

struct want_lun {
    uint64_t lun;
    char path[64]; /* relative to ROOT/run, "mnt/by-id/ID.img" */
    char sn[37];   /* serial number, also the designator of VPD page 0x83 */
    bool is_dead;  /* tgtd's file is not the view's any more */
};

struct want_target {
    int64_t tid;
    const char *iqn;             /* borrowed, as the next three */
    const char *acl;             /* the only one that is bound */
    const char *user, *password; /* NULL: no CHAP */
    const char *store;           /* of its LUNs */
    struct want_lun luns[SLOT_MAX + 1];
    size_t n_luns;
};

enum tgt_op_kind {
    TGT_UNBIND_ACL,     /* text */
    TGT_DROP,           /* end all connections of the target */
    TGT_DELETE_LUN,     /* lun; when busy, the target's connections are ended first */
    TGT_DELETE_TARGET,  /* with its order: ACLs are already unbound; connections, force, retry */
    TGT_DELETE_ACCOUNT, /* text */
    TGT_NEW_TARGET,     /* text = iqn */
    TGT_SET_TARGET,     /* all parameters of design.md section 4 */
    TGT_NEW_LUN,        /* lun, text = path, store */
    TGT_SWAP_LUN,       /* the same, for one that has another store; nothing if somebody is logged in */
    TGT_SET_LUN,        /* lun, text = parameters */
    TGT_HEAL_LUN,       /* lun, text = path */
    TGT_NEW_ACCOUNT,    /* text = user, secret */
    TGT_BIND_ACCOUNT,   /* text = user */
    TGT_MARK,           /* text */
    TGT_BIND_ACL,       /* text */
};

struct tgt_op {
    enum tgt_op_kind kind;
    int64_t tid; /* 0: belongs to no target */
    uint64_t lun;
    const char *store; /* borrowed, as long as the wish */
    char text[256];
    char secret[64];
};

struct tgt_plan {
    struct tgt_op *ops;
    size_t n;
};

void tgt_plan_finish(struct tgt_plan *p);

/* Parameter names and values that each target gets, ends with NULL. */
extern const char *const tgt_target_params[][2];

/* Append to @p (zeroed at first). -ENOMEM. */
int tgt_plan_close(const struct want_target *want, size_t n, const struct tgt_state *have, struct tgt_plan *p,
                   struct err *err);
int tgt_plan_open(const struct want_target *want, size_t n, const struct tgt_state *have, struct tgt_plan *p,
                  struct err *err);

/* The mark of (5) into @ret. */
void tgt_mark(const struct want_target *w, char ret[TGT_MARK_LEN + 1]);

#endif
