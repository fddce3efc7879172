/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Portals seen from the network: is the port free, does somebody answer; and the send buffers of the kernel.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_PORTAL_H
#define DISKGATE_GATEWAY_PORTAL_H

#include <jansson.h>

#include "core/err.h"
#include "gateway/site.h"

/* 0 when shard @k could listen; -EADDRINUSE, -EADDRNOTAVAIL, ... with a sentence that says the way out. */
int portal_check_free(const struct site *s, unsigned k, struct err *err);

/* 0 when a TCP connection to shard @k's portal is accepted within 5 s. */
int portal_check_answers(const struct site *s, unsigned k, struct err *err);

/* Raise net.ipv4.tcp_wmem to the setting gateway.tcp_wmem, never lower it; a failure is a warning in the report's "changes".
 * The old values go to ROOT/run/tcp_wmem.saved. */
void wmem_raise(const struct site *s, json_t *report);

/* Put the old values back if nobody has changed ours and no tgtd runs on this machine any more. Works without settings. */
void wmem_restore(const struct site *s);

#endif
