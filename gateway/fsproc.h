/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-fs of a root and its mount, as processes: start, look, stop.
 *
 * It runs as long as ROOT/run/fs.lock is held, answers on ROOT/run/fs.sock and serves the mount ROOT/run/mnt.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_FSPROC_H
#define DISKGATE_GATEWAY_FSPROC_H

#include <jansson.h>
#include <stdbool.h>

#include "core/err.h"
#include "gateway/site.h"

/* True if it runs; *ret_pid is its process, 0 where it cannot be told. */
bool fsproc_runs(const struct site *s, int *ret_pid);

/* 0 when it answers and its mount is alive. -ENOENT when it does not run; -ENOTCONN when it runs without its mount; -ETIMEDOUT when it
 * hangs; all with a sentence. */
int fsproc_check(const struct site *s, int timeout_ms, struct err *err);

/* End it in whatever state it is, if it runs, and start it; returns when it serves. */
int fsproc_replace(const struct site *s, json_t *report, struct err *err);

/* Make it run: dead mounts are taken away, a diskgate-fs without a mount is replaced. *ret_started: none ran before.
 * Returns when it serves. -ETIMEDOUT when one runs that does not answer: it is left alone, for clients may still be served by it. */
int fsproc_ensure(const struct site *s, bool *ret_started, json_t *report, struct err *err);

/* Command without arguments, "status" or "sync". */
int fsproc_call(const struct site *s, const char *cmd, int timeout_ms, json_t **ret, struct err *err);

/* Tell it that client @name boots now, for the boot set of its image. A failure costs speed later, no more. */
void fsproc_note_boot(const struct site *s, const char *name);

/* End it by SIGTERM, or by SIGKILL and abort of its mount when it hangs; remove its mount, socket and lock. Idempotent. */
int fsproc_stop(const struct site *s, json_t *report, struct err *err);

/* Behind fsproc_stop(), when nothing is to go on: the RAM write cache that one which died left mounted. */
int fsproc_release_memory(const struct site *s, json_t *report, struct err *err);

/* Become the diskgate-fs of the root, in the foreground: for a unit of systemd. Returns only when that fails. */
int fsproc_exec(const struct site *s, struct err *err);

#endif
