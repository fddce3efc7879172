/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings and interfaces for boot files.
 *
 * PXE is IPv4. The interface is the one that has gateway.address, or the one that boot.interface names; in that case gateway.address may be
 * one that is moved there later (a cluster's address), and the network is that of the interface's first address.
 */
#include "gateway/boot-net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"

/* --- settings ---------------------------------------------------------------------------------------------------- */

static int read_texts(struct boot_net *n, struct catalog *c, struct err *err)
{
    int r = setting_get(c, "boot.dhcp_dns", n->dns, err);
    r = r ? r : setting_get(c, "boot.dhcp_lease", n->lease, err);
    r = r ? r : setting_get(c, "boot.efi_file", n->efi_file, err);
    return r ? r : setting_get(c, "boot.ipxe_folder", n->ipxe_folder, err);
}

/* Setting @key, whose checker lets short values pass only, into @size bytes. */
static int read_short(struct catalog *c, const char *key, char *ret, size_t size, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, key, value, err);
    if (r < 0)
        return r;
    if (strlen(value) >= size)
        return err_set(err, -EINVAL, "setting %s is too long: '%.80s'", key, value);
    strcpy(ret, value);
    return 0;
}

static int read_address(struct boot_net *n, struct catalog *c, struct err *err)
{
    struct in_addr v4;
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "gateway.address", value, err);
    if (r < 0)
        return r;
    if (inet_pton(AF_INET, value, &v4) != 1)
        return err_set(err, -EINVAL,
                       "PCs boot by IPv4, and gateway.address is '%.60s': set it to an IPv4 address of this machine",
                       value);
    if (ntohl(v4.s_addr) >> 24 == 127)
        return err_set(err, -EINVAL,
                       "gateway.address is '%s', which no PC can reach: set it to this machine's address in the "
                       "clients' network with 'diskgate set gateway.address ADDRESS'",
                       value);
    strcpy(n->address, value);
    return 0;
}

static int read_range(struct boot_net *n, struct catalog *c, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "boot.dhcp_range", value, err);
    if (r == 0 && *value && sscanf(value, "%15[0-9.]-%15[0-9.]", n->first, n->last) != 2)
        r = err_set(err, -EINVAL, "setting boot.dhcp_range is no range: '%.80s'", value);
    return r;
}

static int read_modes(struct boot_net *n, struct catalog *c, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "boot.ra", value, err);
    n->has_ra = r == 0 && strcmp(value, "on") == 0;
    r = r ? r : setting_get(c, "boot.dhcp", value, err);
    if (r < 0)
        return r;
    n->mode = strcmp(value, "full") == 0    ? DHCP_FULL
              : strcmp(value, "proxy") == 0 ? DHCP_PROXY
              : strcmp(value, "tftp") == 0  ? DHCP_TFTP
                                            : DHCP_OFF;
    return 0;
}

int boot_net_read(struct boot_net *n, struct catalog *c, struct err *err)
{
    uint64_t port = 0;
    memset(n, 0, sizeof(*n));
    int r = read_address(n, c, err);
    r = r ? r : read_texts(n, c, err);
    r = r ? r : read_modes(n, c, err);
    r = r ? r : read_range(n, c, err);
    r = r ? r : read_short(c, "boot.dhcp_router", n->router, sizeof(n->router), err);
    r = r ? r : read_short(c, "boot.interface", n->interface, sizeof(n->interface), err);
    r = r ? r : setting_get_u64(c, "boot.port", &port, err);
    if (r < 0)
        return r;
    n->http_port = (unsigned)port;
    (void)snprintf(n->url, sizeof(n->url), "http://%s:%u/boot/${netX/mac}", n->address, n->http_port); /* fits */
    return 0;
}

/* --- interfaces -------------------------------------------------------------------------------------------------- */

static void freeifaddrsp(struct ifaddrs **list)
{
    if (*list)
        freeifaddrs(*list);
}

static const struct in_addr *v4_of(const struct sockaddr *a)
{
    return a && a->sa_family == AF_INET ? &((const struct sockaddr_in *)(const void *)a)->sin_addr : NULL;
}

/* The entry with gateway.address (of interface @name only, when that is not empty); else the first of interface @name. */
static const struct ifaddrs *find_entry(const struct ifaddrs *list, const char *name, struct in_addr address)
{
    const struct ifaddrs *first = NULL;
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        const struct in_addr *a = v4_of(i->ifa_addr);
        if (!a || !v4_of(i->ifa_netmask) || (*name && strcmp(i->ifa_name, name) != 0))
            continue;
        if (a->s_addr == address.s_addr)
            return i;
        if (!first && *name)
            first = i;
    }
    return first;
}

static int check_inside(const char *what, const char *text, struct in_addr net, struct in_addr mask,
                        const struct boot_net *n, struct err *err)
{
    struct in_addr a;
    if (!*text || (inet_pton(AF_INET, text, &a) == 1 && (a.s_addr & mask.s_addr) == net.s_addr))
        return 0;
    return err_set(err, -EINVAL,
                   "%s %s, which is not in the network %s/%s of interface %s: take an address of that network, or set "
                   "gateway.address or boot.interface to the network that is meant",
                   what, text, n->network, n->mask, n->interface);
}

int boot_net_find(struct boot_net *n, struct err *err)
{
    _cleanup_(freeifaddrsp) struct ifaddrs *list = NULL;
    struct in_addr address;
    if (inet_pton(AF_INET, n->address, &address) != 1)
        return err_set(err, -EINVAL, "gateway.address is no IPv4 address: '%s'", n->address);
    if (getifaddrs(&list) < 0)
        return err_sys(err, -errno, "cannot list the network interfaces");
    const struct ifaddrs *found = find_entry(list, n->interface, address);
    if (!found && *n->interface)
        return err_set(err, -ENODEV,
                       "there is no interface '%s' with an IPv4 address here: see 'ip addr', and set boot.interface",
                       n->interface);
    if (!found)
        return err_set(err, -EADDRNOTAVAIL,
                       "no interface of this machine has the address %s: set gateway.address to one that it has, or "
                       "name the interface in boot.interface",
                       n->address);
    struct in_addr mask = *v4_of(found->ifa_netmask), net = *v4_of(found->ifa_addr);
    net.s_addr &= mask.s_addr;
    (void)snprintf(n->interface, sizeof(n->interface), "%s", found->ifa_name); /* the kernel's names fit */
    (void)inet_ntop(AF_INET, &net, n->network, sizeof(n->network));            /* these cannot fail */
    (void)inet_ntop(AF_INET, &mask, n->mask, sizeof(n->mask));
    int r = check_inside("boot.dhcp_range begins at", n->first, net, mask, n, err);
    r = r ? r : check_inside("boot.dhcp_range ends at", n->last, net, mask, n, err);
    return r ? r : check_inside("boot.dhcp_router is", n->router, net, mask, n, err);
}
