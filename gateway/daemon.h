/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgated of a root, as a process: start, look, stop.
 *
 * It runs as long as ROOT/run/diskgated.lock is held.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_DAEMON_H
#define DISKGATE_GATEWAY_DAEMON_H

#include <jansson.h>
#include <stdbool.h>

#include "core/catalog.h"
#include "core/err.h"
#include "gateway/site.h"

/* True if it runs; *ret_pid is its process, 0 where it cannot be told. */
bool daemon_runs(const struct site *s, int *ret_pid);

/* A port for boot scripts that somebody else holds is no failure as long as nobody chose it and nothing is served to the network: no PC
 * boots from 127.0.0.1, and 8080 is a popular port. diskgated takes it once it is free. */
bool daemon_port_is_spare(const char *address, unsigned port);

/* 0 when it runs and, where boot.http is on, answers as this root's on gateway.address and boot.port, unless that one is spare and taken.
 * A sentence. */
int daemon_check(const struct site *s, struct catalog *c, int timeout_ms, struct err *err);

/* Make it run; returns when it answers. One that runs and does not answer is ended and started anew. */
int daemon_ensure(const struct site *s, struct catalog *c, bool *ret_started, json_t *report, struct err *err);

/* Idempotent. */
int daemon_stop(const struct site *s, json_t *report, struct err *err);

#endif
