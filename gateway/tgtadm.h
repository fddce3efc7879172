/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One function for each thing that is asked of a tgtd, with a time limit.
 *
 * tgtd is asked by its control socket (tgt-mgmt.h). One whose requests have another form is asked by running `tgtadm` (tgt-program.h); which it is
 * is found out by the first call and kept in the struct, so that a tgtd that was exchanged meanwhile is looked at again by the next user.
 *
 * Results, each with a sentence: 0; -ETIMEDOUT when tgtd does not answer; -ENOTCONN when no tgtd listens; -EBUSY when what is to
 * be removed is in use; -ENOENT, -EEXIST when the thing is not there, or is there already; -EREMOTEIO for any other refusal; -EPROTO and -EFBIG for
 * an answer that is none.
 *
 * Threads: one at a time per struct; tgtd answers one after the other.
 */
#ifndef DISKGATE_GATEWAY_TGTADM_H
#define DISKGATE_GATEWAY_TGTADM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "gateway/tgt-show.h"

#define TGTADM_TIMEOUT_MS 10000

enum tgt_way { TGT_WAY_UNKNOWN, TGT_WAY_SOCKET, TGT_WAY_PROGRAM };

/* tgtd shard @shard of the root whose ROOT/run is open as @dirfd (borrowed). Its control port is shard + 1; 0 is Debian's own. */
struct tgtadm {
    int dirfd;
    unsigned shard;
    enum tgt_way way;
    int timeout_ms; /* of each call; 0: TGTADM_TIMEOUT_MS */
};

int tgtadm_ping(struct tgtadm *a, int timeout_ms, struct err *err);
int tgtadm_stop(struct tgtadm *a, struct err *err); /* asks tgtd to end */

/* Ping @n of them at once: what they need together is @timeout_ms. Result and sentence of each into @ret_codes and @ret_errs. */
void tgtadm_ping_all(struct tgtadm *list, size_t n, int timeout_ms, int *ret_codes, struct err *ret_errs);

/* All targets and accounts; @ret is to be finished. -EBADMSG: see tgt-show.h. */
int tgtadm_show(struct tgtadm *a, struct tgt_state *ret, struct err *err);
/* End each session of target @tid; with @only_odd, of a target only if an initiator's name forges lines. 0 when there is none. */
int tgtadm_drop_connections(struct tgtadm *a, int64_t tid, bool only_odd, struct err *err);
/* Is anybody logged in to target @tid? */
int tgtadm_is_used(struct tgtadm *a, int64_t tid, bool *ret, struct err *err);
/* Has it a store of this name? */
int tgtadm_has_store(struct tgtadm *a, const char *name, bool *ret, struct err *err);
/* Address and port of the portals, one in a line, into a fresh string: "127.0.0.1:3260\n". */
int tgtadm_portals(struct tgtadm *a, char **ret, struct err *err);

int tgtadm_target_new(struct tgtadm *a, int64_t tid, const char *iqn, struct err *err);
int tgtadm_target_set(struct tgtadm *a, int64_t tid, const char *name, const char *value, struct err *err);
int tgtadm_target_delete(struct tgtadm *a, int64_t tid, struct err *err); /* with force */

int tgtadm_lun_new(struct tgtadm *a, int64_t tid, uint64_t lun, const char *path, const char *store, struct err *err);
int tgtadm_lun_set(struct tgtadm *a, int64_t tid, uint64_t lun, const char *params, struct err *err);
int tgtadm_lun_delete(struct tgtadm *a, int64_t tid, uint64_t lun, struct err *err);

int tgtadm_account_new(struct tgtadm *a, const char *user, const char *password, struct err *err);
int tgtadm_account_delete(struct tgtadm *a, const char *user, struct err *err);
int tgtadm_account_bind(struct tgtadm *a, int64_t tid, const char *user, struct err *err);

/* An initiator name begins with "iqn.", "eui." or "naa."; all else is an address or "ALL". */
bool tgt_acl_is_name(const char *acl);
int tgtadm_acl_bind(struct tgtadm *a, int64_t tid, const char *acl, struct err *err);
int tgtadm_acl_unbind(struct tgtadm *a, int64_t tid, const char *acl, struct err *err);

#endif
