/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DHCPDISCOVER and DHCPOFFER by a packet socket. Source: RFC 2131, RFC 2132, RFC 4578 (PXE's options), packet(7).
 *
 * (1) A probe never takes a lease: DHCPDISCOVER is the only message that is ever encoded here. A server may keep the address that it
 *     offered free for some seconds; since we always ask by the same card, that is one address, and the same one each time.
 * (2) The packet leaves by the wire only: a packet socket does not reach the sockets of this machine, so our own dnsmasq does not see it, and
 *     nobody needs port 68. What it hears is the interface's traffic to port 68; a filter in the kernel keeps all else away.
 * (3) It asks as a PC with BIOS does (vendor class PXEClient), because a proxyDHCP answers to nobody else.
 * (4) The answer is hostile: every length is checked, text is cut down to printable characters.
 */
#include "gateway/dhcp-probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "core/util.h"

enum {
    IP_BYTES = 20,
    UDP_BYTES = 8,
    BOOTP_BYTES = 236, /* to the magic number */
    OFFSET_XID = 4,
    OFFSET_YIADDR = 16,
    OFFSET_SIADDR = 20,
    OFFSET_CHADDR = 28,
    OFFSET_FILE = 108,
    FILE_BYTES = 128,
    PORT_SERVER = 67,
    PORT_CLIENT = 68,
    BOOTREPLY = 2,
    DHCPDISCOVER = 1,
    DHCPOFFER = 2,
};

static const uint8_t magic[4] = {0x63, 0x82, 0x53, 0x63};

/* --- encode ------------------------------------------------------------------------------------------------------ */

static void put_u16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static unsigned get_u16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static unsigned checksum(const uint8_t *data, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += get_u16(data + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static void put_ip(uint8_t *ip, size_t len)
{
    ip[0] = 0x45;
    put_u16(ip + 2, (unsigned)len);
    ip[8] = 64; /* hops */
    ip[9] = IPPROTO_UDP;
    memset(ip + 16, 0xff, 4); /* from 0.0.0.0 to everybody */
    put_u16(ip + 10, checksum(ip, IP_BYTES));
    uint8_t *udp = ip + IP_BYTES;
    put_u16(udp, PORT_CLIENT);
    put_u16(udp + 2, PORT_SERVER);
    put_u16(udp + 4, (unsigned)(len - IP_BYTES)); /* without a check sum, as IPv4 allows */
}

size_t dhcp_discover_encode(uint32_t xid, const uint8_t hardware[6], uint8_t ret[DHCP_FRAME_MAX])
{
    static const uint8_t options[] = {
        53,  1,   DHCPDISCOVER, /* message type */
        55,  6,   1,
        3,   6,   43,
        66,  67, /* what we would like to know */
        60,  32,  'P',
        'X', 'E', 'C',
        'l', 'i', 'e',
        'n', 't', ':',
        'A', 'r', 'c',
        'h', ':', '0',
        '0', '0', '0',
        '0', ':', 'U',
        'N', 'D', 'I',
        ':', '0', '0',
        '2', '0', '0',
        '1', /* vendor class */
        93,  2,   0,
        0, /* BIOS */
        94,  3,   1,
        2,   1, /* UNDI 2.1 */
        97,  17,  0,
        'd', 'i', 's',
        'k', 'g', 'a',
        't', 'e', 'p',
        'r', 'o', 'b',
        'e', 0,   0,
        0, /* machine */
        255,
    };
    uint8_t *bootp = ret + IP_BYTES + UDP_BYTES;
    memset(ret, 0, DHCP_FRAME_MAX);
    bootp[0] = 1; /* request, by Ethernet */
    bootp[1] = 1;
    bootp[2] = 6;
    put_u16(bootp + OFFSET_XID, xid >> 16);
    put_u16(bootp + OFFSET_XID + 2, xid & 0xffff);
    put_u16(bootp + 10, 0x8000); /* answers to everybody: we have no address */
    memcpy(bootp + OFFSET_CHADDR, hardware, 6);
    memcpy(bootp + BOOTP_BYTES, magic, sizeof(magic));
    memcpy(bootp + BOOTP_BYTES + sizeof(magic), options, sizeof(options));
    size_t len = IP_BYTES + UDP_BYTES + BOOTP_BYTES + sizeof(magic) + sizeof(options);
    put_ip(ret, len);
    return len;
}

/* --- decode ------------------------------------------------------------------------------------------------------ */

/* The value of option @code, its length in *ret_len; NULL when there is none, or the options are broken before it. */
static const uint8_t *find_option(const uint8_t *p, size_t len, unsigned code, size_t *ret_len)
{
    for (size_t at = 0; at < len && p[at] != 255;) {
        if (p[at] == 0) {
            at++;
            continue;
        }
        if (at + 2 > len || at + 2 + p[at + 1] > len)
            return NULL;
        if (p[at] == code) {
            *ret_len = p[at + 1];
            return p + at + 2;
        }
        at += 2 + (size_t)p[at + 1];
    }
    return NULL;
}

/* An address as text, "" for 0.0.0.0. */
static void put_address(char ret[16], const uint8_t *p)
{
    static const uint8_t none[4] = {0};
    ret[0] = 0;
    if (memcmp(p, none, 4) != 0)
        (void)inet_ntop(AF_INET, p, ret, 16); /* fits */
}

static void put_text(char *ret, const uint8_t *p, size_t len, size_t max)
{
    size_t n = 0;
    for (; n < len && n + 1 < max && p[n]; n++)
        ret[n] = p[n] > ' ' && p[n] < 127 ? (char)p[n] : '?';
    ret[n] = 0;
}

/* The BOOTP packet within an IP packet; NULL when it is no answer of a DHCP server. */
static const uint8_t *find_bootp(const uint8_t *data, size_t len, size_t *ret_len)
{
    if (len < IP_BYTES || data[0] >> 4 != 4 || data[9] != IPPROTO_UDP || (get_u16(data + 6) & 0x3fff) != 0)
        return NULL;
    size_t head = (size_t)(data[0] & 15) * 4;
    if (head < IP_BYTES || head + UDP_BYTES > len || get_u16(data + head + 2) != PORT_CLIENT)
        return NULL;
    size_t udp = get_u16(data + head + 4);
    if (udp < UDP_BYTES + BOOTP_BYTES + sizeof(magic) || head + udp > len)
        return NULL;
    *ret_len = udp - UDP_BYTES;
    return data + head + UDP_BYTES;
}

bool dhcp_offer_decode(const uint8_t *data, size_t len, uint32_t xid, struct dhcp_offer *ret)
{
    size_t n = 0, got = 0;
    const uint8_t *b = find_bootp(data, len, &n);
    if (!b || b[0] != BOOTREPLY || (get_u16(b + OFFSET_XID) << 16 | get_u16(b + OFFSET_XID + 2)) != xid ||
        memcmp(b + BOOTP_BYTES, magic, sizeof(magic)) != 0)
        return false;
    const uint8_t *options = b + BOOTP_BYTES + sizeof(magic), *p;
    n -= BOOTP_BYTES + sizeof(magic);
    p = find_option(options, n, 53, &got);
    if (!p || got != 1 || *p != DHCPOFFER)
        return false;
    *ret = (struct dhcp_offer){0};
    p = find_option(options, n, 54, &got);
    put_address(ret->server, p && got == 4 ? p : data + 12); /* else who sent it */
    put_address(ret->address, b + OFFSET_YIADDR);
    put_address(ret->next_server, b + OFFSET_SIADDR);
    p = find_option(options, n, 3, &got);
    if (p && got >= 4)
        put_address(ret->router, p);
    p = find_option(options, n, 67, &got);
    put_text(ret->boot_file, p ? p : b + OFFSET_FILE, p ? got : FILE_BYTES, sizeof(ret->boot_file));
    return *ret->server;
}

/* --- the network ------------------------------------------------------------------------------------------------- */

struct dhcp_probe {
    int fd;
    uint32_t xid;
    uint8_t hardware[6];
    struct sockaddr_ll to;
};

/* Only unfragmented UDP to port 68. The packet begins with its IP header. */
static int set_filter(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 6),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 4, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PORT_CLIENT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, DHCP_FRAME_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {ARRAY_SIZE(code), code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ? -errno : 0;
}

static int read_hardware(int fd, const char *interface, uint8_t ret[6], struct err *err)
{
    struct ifreq q = {0};
    (void)snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", interface); /* the kernel's names fit */
    if (ioctl(fd, SIOCGIFHWADDR, &q) < 0)
        return err_sys(err, -errno, "cannot look for other DHCP servers on interface '%s'", interface);
    if (q.ifr_hwaddr.sa_family != ARPHRD_ETHER)
        return err_set(err, -EOPNOTSUPP, "interface '%s' is no Ethernet: other DHCP servers are not looked for",
                       interface);
    memcpy(ret, q.ifr_hwaddr.sa_data, 6);
    return 0;
}

static int bind_to(struct dhcp_probe *p, const char *interface, struct err *err)
{
    p->to = (struct sockaddr_ll){.sll_family = AF_PACKET,
                                 .sll_protocol = htons(ETH_P_IP),
                                 .sll_ifindex = (int)if_nametoindex(interface),
                                 .sll_halen = 6};
    memset(p->to.sll_addr, 0xff, 6);
    int r = read_hardware(p->fd, interface, p->hardware, err);
    if (r < 0)
        return r;
    if (set_filter(p->fd) < 0 || bind(p->fd, (struct sockaddr *)&p->to, sizeof(p->to)) < 0 ||
        getrandom(&p->xid, sizeof(p->xid), 0) != sizeof(p->xid))
        return err_sys(err, -errno, "cannot look for other DHCP servers on interface '%s'", interface);
    return 0;
}

int dhcp_probe_open(const char *interface, struct dhcp_probe **ret, struct err *err)
{
    struct dhcp_probe *p = calloc(1, sizeof(*p));
    if (!p)
        return err_sys(err, -ENOMEM, "cannot look for other DHCP servers");
    p->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); /* hears nothing before it is bound */
    int r = p->fd < 0 ? err_sys(err, -errno, "cannot look for other DHCP servers on interface '%s'", interface)
                      : bind_to(p, interface, err);
    if (r < 0) {
        dhcp_probe_close(p);
        return r;
    }
    *ret = p;
    return 0;
}

void dhcp_probe_close(struct dhcp_probe *p)
{
    if (!p)
        return;
    closep(&p->fd);
    free(p);
}

int dhcp_probe_send(struct dhcp_probe *p, struct err *err)
{
    uint8_t packet[DHCP_FRAME_MAX];
    size_t len = dhcp_discover_encode(p->xid, p->hardware, packet);
    if (sendto(p->fd, packet, len, MSG_NOSIGNAL, (struct sockaddr *)&p->to, sizeof(p->to)) < 0)
        return err_sys(err, -errno, "cannot look for other DHCP servers");
    return 0;
}

int dhcp_probe_receive(struct dhcp_probe *p, struct dhcp_offer *ret)
{
    uint8_t packet[DHCP_FRAME_MAX];
    struct sockaddr_ll from;
    for (;;) {
        socklen_t size = sizeof(from);
        ssize_t n = recvfrom(p->fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &size);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (!dhcp_offer_decode(packet, (size_t)n, p->xid, ret))
            continue;
        const uint8_t *h = from.sll_addr;
        (void)snprintf(ret->hardware, sizeof(ret->hardware), "%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3],
                       h[4], h[5]); /* fits */
        return 1;
    }
}
