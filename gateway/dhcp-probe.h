/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who answers DHCP on a network besides us? A DHCPDISCOVER that asks as a PC does, and the offers that come back.
 *
 * Order of calls: dhcp_probe_open, dhcp_probe_send (again for those that were lost), dhcp_probe_receive until it returns 0, dhcp_probe_close.
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_DHCP_PROBE_H
#define DISKGATE_GATEWAY_DHCP_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* What one server offers. Texts are plain: everything that came from the network was checked or cut down. */
struct dhcp_offer {
    char server[16];   /* its address */
    char hardware[18]; /* the card that it came from */
    char address[16];  /* for the PC, "" = none: a proxyDHCP */
    char router[16], next_server[16];
    char boot_file[129];
};

/* --- packets: pure ----------------------------------------------------------------------------------------------- */

#define DHCP_FRAME_MAX 1500 /* IP header and what is behind it */

/* The packet for a card with the address @hardware, from its IP header on. Returns its length. */
size_t dhcp_discover_encode(uint32_t xid, const uint8_t hardware[6], uint8_t ret[DHCP_FRAME_MAX]);

/* An offer for @xid, from its IP header on; the hardware field stays empty. False for anything else. */
bool dhcp_offer_decode(const uint8_t *data, size_t len, uint32_t xid, struct dhcp_offer *ret);

/* --- the network ------------------------------------------------------------------------------------------------- */

struct dhcp_probe;

/* On network interface @interface, which must be of Ethernet's kind. Needs CAP_NET_RAW. */
int dhcp_probe_open(const char *interface, struct dhcp_probe **ret, struct err *err);
void dhcp_probe_close(struct dhcp_probe *p); /* NULL is allowed */

int dhcp_probe_send(struct dhcp_probe *p, struct err *err);
/* 1 and an offer, 0 when none waits; negative: the interface is gone. Never blocks. */
int dhcp_probe_receive(struct dhcp_probe *p, struct dhcp_offer *ret);

#endif
