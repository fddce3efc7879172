/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What dnsmasq's log tells of each PC, and of the network: asked, got an address, got its boot file, or there was none left.
 *
 * Pure: lines in, a table out. dnsmasq writes no times; the caller says when a line was seen.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_DHCP_LOG_H
#define DISKGATE_GATEWAY_DHCP_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/names.h"

#define DHCP_TRACES_MAX  1024
#define DHCP_ADDRESS_LEN 16 /* with its zero */

/* Times are Unix seconds as the caller gave them, 0 = never. */
struct dhcp_trace {
    char mac[MAC_LEN + 1];
    char address[DHCP_ADDRESS_LEN]; /* that it was given last, "" = none */
    int64_t asked_s, given_s, file_s;
    int64_t full_s;  /* no address was left for it */
    int64_t rival_s; /* it took the address of another server */
};

struct dhcp_log {
    struct dhcp_trace traces[DHCP_TRACES_MAX]; /* who has not asked for the longest time gives way */
    size_t n;
    char full_mac[MAC_LEN + 1]; /* the last one that got none; "" when one got an address since then */
    int64_t full_s;
    uint64_t full_count; /* since then */
};

/* Take one line, without its newline. @mac_of_address finds the MAC of an address that dnsmasq did not give (proxyDHCP); it returns false
 * when it does not know, and may be NULL. */
void dhcp_log_line(struct dhcp_log *l, const char *line, int64_t now_s,
                   bool (*mac_of_address)(const char *address, char *ret_mac));

/* NULL when it was never seen. */
const struct dhcp_trace *dhcp_log_find(const struct dhcp_log *l, const char *mac);

#endif
