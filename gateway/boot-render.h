/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of dnsmasq, written from the settings.
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

/* Write ROOT/run/dnsmasq.conf and ROOT/run/tftp/ from the settings; nothing is touched that is right already. Returns how many were written
 * anew; *ret_files, where it is not NULL, gets [{"path","size_bytes","is_new"}] of all. -ENOENT with a sentence when Debian's ipxe files are
 * missing. */
int boot_render_files(const char *root, struct catalog *c, json_t **ret_files, struct err *err);

#endif
