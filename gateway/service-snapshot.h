/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs, asked once: diskgate-fs's status, and the targets of each tgtd that answers. Nothing is changed or started, and no lock is taken:
 * it may show a moment in the middle of an `up`.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_SERVICE_SNAPSHOT_H
#define DISKGATE_GATEWAY_SERVICE_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/site.h"
#include "gateway/tgt-show.h"
#include "gateway/tgt-want.h"

#define DNSMASQ_DOWN "dnsmasq does not run; start it with 'diskgate up'"

struct service_snapshot {
    struct site site;
    bool is_up; /* anything runs */
    int fs_pid; /* 0 = does not run */
    int fs_error;
    struct err fs_problem; /* if fs_error */
    json_t *fs;            /* its status; NULL when it does not answer */
    pid_t pids[SHARDS_MAX];
    int shard_errors[SHARDS_MAX];
    struct err *shard_problems; /* SHARDS_MAX entries */
    struct tgt_state states[SHARDS_MAX];
    bool has_direct[SHARDS_MAX]; /* has the store for direct reads */
    int daemon_pid, daemon_error;
    struct err daemon_problem; /* if daemon_error */
    pid_t dnsmasq_pid;
    bool is_dnsmasq_wanted;
    struct want want; /* before any view was taken out */
};

/* @n: zeros. To be finished after a failure, too. */
int service_snapshot_take(struct service_snapshot *n, const char *root, struct catalog *c, struct err *err);
void service_snapshot_finish(struct service_snapshot *n);

/* The target of client @e and the shard that has it; NULL when none has. One with a session comes first. */
const struct tgt_target *service_find_target(const struct service_snapshot *n, const struct want_entry *e,
                                             unsigned *ret_shard);

/* Why the disk of view @v is not open, "" if it is. One that is no LUN must only be there. */
void service_lun_problem(const struct service_snapshot *n, const struct want_entry *e, const struct view_row *v,
                         const struct tgt_target *t, char *ret, size_t max);

/* service-problems.c: [{"what","problem"}], sentences about parts that do not work, disks that are not open, and images that are in danger. */
json_t *service_problems(const struct service_snapshot *n, struct catalog *c);
/* service-problems.c: [{"what","notice"}], what is as it must be, and worth knowing. */
json_t *service_notices(const struct service_snapshot *n);

#endif
