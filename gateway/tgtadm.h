/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One function for each thing that is asked of a tgtd, by running `tgtadm` with a time limit.
 *
 * Results, each with a sentence: 0; -ETIMEDOUT when tgtd does not answer; -ENOTCONN when no tgtd listens; -EBUSY when what is to
 * be removed is in use; -ENOENT, -EEXIST when the thing is not there, or is there already; -EREMOTEIO for any other refusal.
 *
 * The secret of an account is visible in the process list for the milliseconds that its tgtadm runs: tgtadm takes it in no other way.
 *
 * Threads: any number at once; tgtd answers one after the other.
 */
#ifndef DISKGATE_GATEWAY_TGTADM_H
#define DISKGATE_GATEWAY_TGTADM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "gateway/tgt-show.h"

#define TGTADM_TIMEOUT_MS 10000

/* tgtd shard @shard of the root whose ROOT/run is open as @dirfd (borrowed). Its control port is shard + 1; 0 is Debian's own. */
struct tgtadm {
    int dirfd;
    unsigned shard;
};

/* The environment entry that makes tgtd and tgtadm meet at ROOT/run/tgt.N. */
#define TGT_SOCKET_ENV "TGT_IPC_SOCKET=tgt"

int tgtadm_ping(const struct tgtadm *a, int timeout_ms, struct err *err);
int tgtadm_stop(const struct tgtadm *a, struct err *err); /* asks tgtd to end */

/* All targets and accounts; @ret is to be finished. -EBADMSG: see tgt-show.h. */
int tgtadm_show(const struct tgtadm *a, struct tgt_state *ret, struct err *err);
/* End each session of target @tid; with @only_odd, of a target only if an initiator's name forges lines. 0 when there is none. */
int tgtadm_drop_connections(const struct tgtadm *a, int64_t tid, bool only_odd, struct err *err);
/* Address and port of the portals, one in a line, into a fresh string: "127.0.0.1:3260\n". */
int tgtadm_portals(const struct tgtadm *a, char **ret, struct err *err);

int tgtadm_target_new(const struct tgtadm *a, int64_t tid, const char *iqn, struct err *err);
int tgtadm_target_set(const struct tgtadm *a, int64_t tid, const char *name, const char *value, struct err *err);
int tgtadm_target_delete(const struct tgtadm *a, int64_t tid, struct err *err); /* with force */

int tgtadm_lun_new(const struct tgtadm *a, int64_t tid, uint64_t lun, const char *path, struct err *err); /* rdwr */
int tgtadm_lun_set(const struct tgtadm *a, int64_t tid, uint64_t lun, const char *params, struct err *err);
int tgtadm_lun_delete(const struct tgtadm *a, int64_t tid, uint64_t lun, struct err *err);

int tgtadm_account_new(const struct tgtadm *a, const char *user, const char *password, struct err *err);
int tgtadm_account_delete(const struct tgtadm *a, const char *user, struct err *err);
int tgtadm_account_bind(const struct tgtadm *a, int64_t tid, const char *user, struct err *err);

/* An initiator name begins with "iqn.", "eui." or "naa."; all else is an address or "ALL". */
bool tgt_acl_is_name(const char *acl);
int tgtadm_acl_bind(const struct tgtadm *a, int64_t tid, const char *acl, struct err *err);
int tgtadm_acl_unbind(const struct tgtadm *a, int64_t tid, const char *acl, struct err *err);

#endif
