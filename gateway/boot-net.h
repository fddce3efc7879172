/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the settings boot.* and this machine's interfaces say about the network that clients boot in.
 *
 * Threads: a struct boot_net belongs to its caller.
 */
#ifndef DISKGATE_GATEWAY_BOOT_NET_H
#define DISKGATE_GATEWAY_BOOT_NET_H

#include <limits.h>
#include <net/if.h>
#include <stdbool.h>

#include "core/catalog.h"
#include "core/err.h"

enum boot_dhcp { DHCP_OFF, DHCP_TFTP, DHCP_PROXY, DHCP_FULL };

#define BOOT_ADDRESS_LEN 16 /* "255.255.255.255" with its zero */

struct boot_net {
    enum boot_dhcp mode;
    unsigned http_port;
    bool has_ra;
    char address[BOOT_ADDRESS_LEN];                                                 /* gateway.address */
    char first[BOOT_ADDRESS_LEN], last[BOOT_ADDRESS_LEN], router[BOOT_ADDRESS_LEN]; /* empty = none */
    char dns[SETTING_LEN + 1], lease[SETTING_LEN + 1], efi_file[SETTING_LEN + 1], ipxe_folder[SETTING_LEN + 1];
    /* That iPXE is sent to; "${netX/mac}" is for iPXE to fill in, with the card that it uses: net0 is its first one, be it in use or not. */
    char url[80];

    /* By boot_net_find(): */
    char interface[IF_NAMESIZE];
    char network[BOOT_ADDRESS_LEN], mask[BOOT_ADDRESS_LEN];
};

/* Read the settings. -EINVAL with a sentence when gateway.address is no address that a PC can boot from. */
int boot_net_read(struct boot_net *n, struct catalog *c, struct err *err);

/* Find the interface, and its network where there is a range to check or to serve. -EADDRNOTAVAIL, -ENODEV, -EINVAL with sentences. */
int boot_net_find(struct boot_net *n, struct err *err);

/* The name of a PC's first boot file for BIOS; for UEFI it is efi_file. */
#define BOOT_BIOS_FILE "undionly.kpxe"

#endif
