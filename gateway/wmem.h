/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's send buffers, which all roots of a machine share.
 *
 * Threads: any number at once; processes, too.
 */
#ifndef DISKGATE_GATEWAY_WMEM_H
#define DISKGATE_GATEWAY_WMEM_H

#include <jansson.h>

#include "gateway/site.h"

/* Raise net.ipv4.tcp_wmem to the setting gateway.tcp_wmem, never lower it, and note that this root wants it so. A failure is a warning in the
 * report's "changes". */
void wmem_raise(const struct site *s, json_t *report);

/* This root wants it no longer. If no other root that runs does and nobody has changed ours, the values of before are back. Works without
 * settings. */
void wmem_restore(const struct site *s, json_t *report);

#endif
