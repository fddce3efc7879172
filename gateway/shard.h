/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One tgtd process of a root: start, look, stop.
 *
 * Shard k is the tgtd whose working folder is ROOT/run and whose control port (-C) is k + 1; so it is found in /proc even when its pid
 * file is lost, and no other root's tgtd nor Debian's own is ever taken for it. ROOT/run/tgtK.pid is written for people.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_SHARD_H
#define DISKGATE_GATEWAY_SHARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"
#include "gateway/site.h"

/* Pids of all shards that run into @ret (0 = none). Returns their count. */
size_t shard_find(const struct site *s, pid_t ret[SHARDS_MAX]);

/* Start shard @k, which must not run, and wait until it answers. On failure nothing is left. */
int shard_start(const struct site *s, unsigned k, struct err *err);

/* Become the tgtd of shard @k: for a unit of systemd. Returns only when that fails. */
int shard_exec(const struct site *s, unsigned k, struct err *err);

/* 0 when shard @k, process @pid, answers within @timeout_ms; -ETIMEDOUT with a sentence otherwise. */
int shard_check(const struct site *s, unsigned k, pid_t pid, int timeout_ms, struct err *err);

/* As shard_check() for each shard that has a pid, all at once: together they have @timeout_ms. Entries of the others stay as they are. */
void shard_check_all(const struct site *s, const pid_t pids[SHARDS_MAX], int timeout_ms, int ret_codes[SHARDS_MAX],
                     struct err *ret_errs);

/* Close its targets and end it; SIGKILL when it does not answer. *ret_sessions (may be NULL) is raised by the sessions that ended.
 * With @is_hung it is not asked at all. -EBUSY when even SIGKILL does not help: a request is in a file system that hangs. */
int shard_stop(const struct site *s, unsigned k, pid_t pid, bool is_hung, size_t *ret_sessions, struct err *err);

/* A file that a tgtd holds open. */
struct shard_file {
    char name[64]; /* last part of its path */
    uint64_t dev, ino;
};

/* Files below some "by-id/" folder that process @pid has open, without touching a file system; a fresh array. Count or a negative errno. */
ssize_t shard_files(pid_t pid, struct shard_file **ret);

#endif
