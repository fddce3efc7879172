/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What diskgated sees of the network that PCs boot in: other DHCP servers, and what dnsmasq's log tells of each PC.
 *
 * It answers on ROOT/run/diskgated.sock (core/ctl.h):
 *   {"cmd":"net"}               -> {"servers":[{"server","hardware","address","router","next_server","boot_file","seen_s"}],
 *                                   "is_probed": a look has ended since the start,
 *                                   "full":{"mac","at_s","count"} or null}
 *   {"cmd":"net","mac":MAC}     -> the same, and "trace":{"address","asked_s","given_s","file_s","full_s","rival_s"} or null
 * Times are Unix seconds; 1 = before diskgated started, 0 = never.
 *
 * Order of calls: net_watch_open, net_watch_turn about once a second, net_watch_close.
 * Threads: one at a time per object; the socket has a thread of its own.
 */
#ifndef DISKGATE_GATEWAY_NET_WATCH_H
#define DISKGATE_GATEWAY_NET_WATCH_H

#include "core/catalog.h"
#include "core/err.h"

#define NET_SOCKET "diskgated.sock"

struct net_watch;

int net_watch_open(const char *root, struct net_watch **ret, struct err *err);
int net_watch_turn(struct net_watch *w, struct catalog *c, struct err *err);
void net_watch_close(struct net_watch *w); /* NULL is allowed */

#endif
