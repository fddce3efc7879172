/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What diskgated sees of the network (net-watch.h), as sentences of `status`.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_NET_REPORT_H
#define DISKGATE_GATEWAY_NET_REPORT_H

#include <jansson.h>

#include "core/catalog.h"

/* Add {"what","problem"} to @problems and {"what","notice"} to @notices, and "dhcp_servers" to @status: others that answered lately.
 * Nothing where diskgated does not run. */
void net_report(const char *root, struct catalog *c, json_t *problems, json_t *notices, json_t *status);

/* The answer of "net" for @mac (NULL: for nobody); NULL when diskgated does not answer. */
json_t *net_ask(const char *root, const char *mac);

#endif
