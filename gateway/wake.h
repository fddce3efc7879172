/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wake-on-LAN: a packet that switches a PC on.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_WAKE_H
#define DISKGATE_GATEWAY_WAKE_H

#include "core/catalog.h"

#define WAKE_BYTES 102

/* The packet: 6 bytes of 0xff, 16 times the MAC (as mac_parse() writes it). @ret holds WAKE_BYTES. */
void wake_packet(const char *mac, unsigned char *ret);

/* Send it by UDP, port 9, to wake.address, or to the broadcast address of the network of gateway.address. Where it went to is in @ret
 * (46 bytes). -ENODEV with a sentence where there is no such network. */
int wake_send(struct catalog *c, const char *mac, char *ret, struct err *err);

#endif
