/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a PC before its script: from dnsmasq's log, and from diskgated where that runs.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_BOOT_WHY_H
#define DISKGATE_GATEWAY_BOOT_WHY_H

#include <stdint.h>
#include <stdio.h>

#include "core/catalog.h"

/* Write sentences about the time after @since_s (Unix seconds; 0 = ever) to @f. Nothing when it is known that nothing happened, or
 * when that time cannot be told; with 0 there is always a sentence. */
void why_dhcp(FILE *f, const char *root, struct catalog *c, const struct client_row *client, int64_t since_s);

/* "2026-01-31 12:00:00 UTC"; returns @buf. */
const char *why_when(int64_t unix_s, char buf[32]);

#endif
