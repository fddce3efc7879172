/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What boot_render() writes, for those that want to know more than that it is done.
 *
 * Threads: one at a time per root.
 */
#ifndef DISKGATE_GATEWAY_BOOT_RENDER_H
#define DISKGATE_GATEWAY_BOOT_RENDER_H

#include <jansson.h>

#include "core/catalog.h"
#include "gateway/boot-net.h"

#define DNSMASQ_CONF "dnsmasq.conf" /* these in ROOT/run */
#define DNSMASQ_PID  "dnsmasq.pid"
#define DNSMASQ_LOG  "dnsmasq.log"

/* Text of dnsmasq's configuration for @n (after boot_net_find()) into a malloc()ed *ret. */
int boot_render_conf(const char *root, struct catalog *c, const struct boot_net *n, char **ret, struct err *err);

/* As boot_render(), with [{"path","size_bytes","is_new"}] of all its files. Returns how many were written anew. */
int boot_render_files(const char *root, struct catalog *c, json_t **ret_files, struct err *err);

#endif
