/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The running half of a root: diskgate-fs, the tgtd shards and their targets, seen from the command line.
 *
 *   service_up()      start what does not run, repair what broke, then service_sync()
 *   service_sync()    make diskgate-fs and every tgtd follow the catalog, touching only what differs
 *   service_down()    stop all of it
 *
 * One of these runs at a time in a root (ROOT/run/up.lock); a second one waits.
 *
 * A report is a JSON object:
 *   {"problems":[{"what":"client pc1 slot 0","problem":SENTENCE}],
 *    "changes":["target of client pc3 opened", ...]}
 * The call returns 0 when all of the catalog is served. It returns -EREMOTEIO with "problems" filled when everything else is
 * served but these are not: their targets are closed, the others go on. Any other error: the sentence in @err.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_SERVICE_H
#define DISKGATE_GATEWAY_SERVICE_H

#include <jansson.h>
#include <stdbool.h>

#include "core/catalog.h"
#include "core/err.h"

int service_up(const char *root, struct catalog *c, json_t **ret_report, struct err *err);
int service_sync(const char *root, struct catalog *c, json_t **ret_report, struct err *err);

/* Order: targets closed (tgt-operations: unbind, delete connections, delete with force, retry), tgtd stopped, diskgate-fs stopped and its
 * mount gone, sockets and pid files removed. Works without a readable catalog and after crashes; idempotent. */
int service_down(const char *root, json_t **ret_report, struct err *err);

/* True if any part of the root runs. */
bool service_is_up(const char *root);

/* Sessions that are logged in now: [{"client","target_iqn","initiator","address","lun_count","store" (of the boot disk)}], of @client only when not NULL.
 * An empty array when nothing runs. */
int service_sessions(const char *root, struct catalog *c, const char *client, json_t **ret, struct err *err);

/* What `target list --json` prints (design section 6), without secrets unless @with_secrets. Rows exist for all linked slots, also when
 * nothing runs; "state" tells "open", "closed" or "down", and "problem" why it is closed. */
int service_targets(const char *root, struct catalog *c, bool with_secrets, json_t **ret, struct err *err);

/* What `status` prints: {"root","state":"up"|"down"|"degraded","parts":[{"part":"diskgate-fs"|"tgtd 0"..,"state","pid","detail"}],
 *  "clients":N,"clients_online":N,"problems":[...],"notices":[{"what","notice"}] (no problem, worth knowing),"overlay_free_bytes","overlay_bytes", ...}. */
int service_status(const char *root, struct catalog *c, json_t **ret, struct err *err);

#endif
