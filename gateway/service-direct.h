/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `status` says about direct reads: which tgtds can do them, and why one cannot that should.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_SERVICE_DIRECT_H
#define DISKGATE_GATEWAY_SERVICE_DIRECT_H

#include <jansson.h>

#include "gateway/service-snapshot.h"

/* Adds {"direct": {"is_wanted", "served_disks", "shards": [{"shard", "is_on", "disks", "why"}]}} to @into ("why" where it is not on though wanted,
 * "disks" that tgtd has open in this way, "served_disks" that diskgate-fs has enabled to it, missing if that does not answer), and notices to the list. */
void direct_report(const struct service_snapshot *n, json_t *notices, json_t *into);

/* "Direct reads: on", as a line for people from those figures. */
void direct_line(const json_t *figures, void (*print)(void *arg, const char *line), void *arg);

#endif
