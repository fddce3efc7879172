/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is the initiator of a session still there? Asked of its own TCP, so that a dead session ends at once and a live one never.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_SESSION_PROBE_H
#define DISKGATE_GATEWAY_SESSION_PROBE_H

#include <stdbool.h>

#include "gateway/site.h"

/* Make the connections of all tgtds of @s to @address ask the other side now whether it still has them, and give the answers @wait_ms;
 * those that the other side does not know are reset by it, and tgtd ends their sessions. True if any connection is gone afterwards (its
 * session may take tgtd a moment longer). False without the right to look into tgtd: then nothing was changed. */
bool session_probe(const struct site *s, const char *address, int wait_ms);

#endif
