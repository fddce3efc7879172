/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What holds for a whole site, wherever a source says it: which of our words a foreign key means.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_MIGRATE_SITE_H
#define DISKGATE_MIGRATE_SITE_H

enum site_key { SITE_NONE, SITE_NETMASK, SITE_GATEWAY, SITE_DNS, SITE_DOMAIN, SITE_RANGE_FIRST, SITE_RANGE_LAST };

/* By the number of a DHCP option (RFC 2132): 1, 3, 6, 15. */
enum site_key site_key_of_option(long long code);
/* By a name: "Gateway", "子网掩码", "range_first". */
enum site_key site_key_of_name(const char *name);

#endif
