/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Portals seen from the network: is the port free, does somebody answer.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_PORTAL_H
#define DISKGATE_GATEWAY_PORTAL_H

#include "core/err.h"
#include "gateway/site.h"

/* 0 when shard @k could listen; -EADDRINUSE, -EADDRNOTAVAIL, ... with a sentence that says the way out. */
int portal_check_free(const struct site *s, unsigned k, struct err *err);

/* 0 when a TCP connection to shard @k's portal is accepted within 5 s. */
int portal_check_answers(const struct site *s, unsigned k, struct err *err);

#endif
