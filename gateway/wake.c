/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wake-on-LAN.
 *
 * The packet leaves from gateway.address, so a machine with several networks sends it into the right one. It is sent three times, for
 * nobody answers. Source: AMD, Magic Packet Technology, publication 20213.
 */
#include "gateway/wake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util.h"

#define PORT  9
#define TIMES 3

void wake_packet(const char *mac, unsigned char *ret)
{
    unsigned char bytes[6] = {0};
    (void)sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
                 &bytes[5]); /* mac_parse() wrote it */
    memset(ret, 0xff, sizeof(bytes));
    for (size_t i = 1; i <= 16; i++)
        memcpy(ret + i * sizeof(bytes), bytes, sizeof(bytes));
}

/* Broadcast address of @address's network; false when there is none. It is made from the mask: an address that was added without a
 * broadcast address of its own ("ip addr add A/24") has itself there. */
static bool find_broadcast(struct in_addr address, struct in_addr *ret)
{
    struct ifaddrs *list = NULL;
    bool is_found = false;
    if (getifaddrs(&list) < 0)
        return false;
    for (const struct ifaddrs *i = list; i && !is_found; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_BROADCAST) || !i->ifa_netmask)
            continue;
        struct sockaddr_in own, mask;
        memcpy(&own, i->ifa_addr, sizeof(own));
        memcpy(&mask, i->ifa_netmask, sizeof(mask));
        uint32_t hosts = ~ntohl(mask.sin_addr.s_addr); /* at most one: a point to point link has nobody to be told */
        is_found = own.sin_addr.s_addr == address.s_addr && hosts > 1;
        ret->s_addr = address.s_addr | htonl(hosts);
    }
    freeifaddrs(list);
    return is_found;
}

static int find_addresses(struct catalog *c, struct in_addr *ret_from, struct in_addr *ret_to, struct err *err)
{
    char own[SETTING_LEN + 1], to[SETTING_LEN + 1];
    int r = setting_get(c, "gateway.address", own, err);
    r = r ? r : setting_get(c, "wake.address", to, err);
    if (r < 0)
        return r;
    bool is_v4 = inet_pton(AF_INET, own, ret_from) == 1;
    if (!is_v4)
        ret_from->s_addr = htonl(INADDR_ANY);
    if (*to && inet_pton(AF_INET, to, ret_to) == 1)
        return 0;
    if (is_v4 && find_broadcast(*ret_from, ret_to))
        return 0;
    return err_set(err, -ENODEV,
                   "gateway.address %s is on no network that could be told to wake a PC; set it to this server's "
                   "address, or say where to send with 'diskgate set wake.address ADDRESS'",
                   own);
}

int wake_send(struct catalog *c, const char *mac, char *ret, struct err *err)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    unsigned char packet[WAKE_BYTES];
    int on = 1, r = find_addresses(c, &from.sin_addr, &to.sin_addr, err);
    if (r < 0)
        return r;
    (void)inet_ntop(AF_INET, &to.sin_addr, ret, 46); /* fits */
    wake_packet(mac, packet);
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        return err_sys(err, -errno, "cannot send to %s", ret);
    for (int i = 0; i < TIMES; i++)
        if (sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
            return err_sys(err, -errno, "cannot send to %s", ret);
    return 0;
}
