/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM pool: how much memory the volatile overlays of a root may fill with what their clients wrote, and the thread that makes room.
 *
 *   0                 60 %        70 %                                  100 % of the limit (or of a client's quota)
 *   |------ rest -------|--- spill until here ---|------ spill ----------|  full: new blocks go straight to the disk
 *
 * Order of calls:
 *   ram_pool_create() -> p, ram_pool_set_limits(p, ...)
 *   ram_pool_start(p)                       the thread, after the daemon has forked
 *     ram_pool_join(p, member), ram_take(), ram_give(), ram_pool_leave(member)
 *   ram_pool_stop(p), ram_pool_destroy(p)   when every member has left
 *
 * (1) Nobody ever waits for room: who gets none writes to the disk, and is as fast as the disk. A full RAM slows, it never fails.
 * (2) Who has most for his share is spilled first, in runs by rising offset.
 * (3) A member is not in use by the thread any more when ram_pool_leave() returns.
 * (4) When the disk takes nothing, what is in RAM stays there, and the thread tries again every half second.
 *
 * The hot path (ram_take, ram_give) takes no lock: two atomic additions, and those only for blocks that were not in RAM before.
 *
 * Threads: any number at once, for all but create, start, stop and destroy.
 */
#ifndef DISKGATE_CORE_RAMPOOL_H
#define DISKGATE_CORE_RAMPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ram_pool;
struct ram_quota; /* of one client: all its disks count together */

/* One overlay with blocks in RAM. The caller's memory from join to leave. */
struct ram_member {
    /* Move about @max bytes from memory to disk: bytes moved, 0 when none are left, or a negative errno. */
    int64_t (*spill)(void *arg, size_t max);
    void *arg;
    /* The pool's: */
    struct ram_pool *pool;
    struct ram_quota *quota;
    struct ram_member *next;
    _Atomic uint64_t used_bytes;
    unsigned pins;
    int64_t not_before_ms;
};

struct ram_pool *ram_pool_create(void); /* NULL when memory is out */
int ram_pool_start(struct ram_pool *p);
void ram_pool_stop(struct ram_pool *p);
void ram_pool_destroy(struct ram_pool *p); /* NULL is allowed */

/* Bytes that all members together and those of one client may have; @client_bytes 0 = no limit of its own. Less than is used now: what is
 * too much is spilled. */
void ram_pool_set_limits(struct ram_pool *p, uint64_t limit_bytes, uint64_t client_bytes);
/* Another quota than the general one for client @client_id; 0 = the general one. */
int ram_pool_set_quota(struct ram_pool *p, int64_t client_id, uint64_t bytes);
bool ram_pool_is_on(const struct ram_pool *p); /* there is a limit above 0 */

/* @m has @used_bytes in RAM already (it was left by a process that died). -ENOMEM. */
int ram_pool_join(struct ram_pool *p, struct ram_member *m, int64_t client_id, uint64_t used_bytes);
/* Gives back all that it has. */
void ram_pool_leave(struct ram_member *m);

/* Room for @bytes more of @m's. */
bool ram_take(struct ram_member *m, uint64_t bytes);
void ram_give(struct ram_member *m, uint64_t bytes);

struct ram_stats {
    uint64_t limit_bytes, used_bytes;
    uint64_t spilled_bytes; /* moved to disk since the start */
    uint64_t refused_bytes; /* written straight to disk for want of room */
    int error;              /* what the last move to disk failed with, 0 = it did not */
};
void ram_pool_stats(struct ram_pool *p, struct ram_stats *ret);

#endif
