/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DHCP: lines of dnsmasq are understood, lines that a PC makes it write are not; offers are decoded, broken ones are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"
#include "gateway/dhcp-log.h"
#include "gateway/dhcp-probe.h"

#define A "52:54:00:00:00:01"
#define B "52:54:00:00:00:02"

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct dhcp_log));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* --- the log ----------------------------------------------------------------------------------------------------- */

static void test_way_of_a_pc_is_followed(void **state)
{
    struct dhcp_log *l = *state;
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1350393586 DHCPDISCOVER(br0) " A " ", 10, NULL);
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1350393586 DHCPOFFER(br0) 10.77.0.101 " A " ", 11, NULL);
    assert_int_equal(dhcp_log_find(l, A)->asked_s, 11);
    assert_int_equal(dhcp_log_find(l, A)->given_s, 0);
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1350393586 DHCPACK(br0) 10.77.0.101 " A " pc01", 12, NULL);
    assert_string_equal(dhcp_log_find(l, A)->address, "10.77.0.101");
    assert_int_equal(dhcp_log_find(l, A)->given_s, 12);
    dhcp_log_line(l, "dnsmasq-tftp[43]: sent /a to 10.77.0.1/undionly.kpxe to 10.77.0.1", 13, NULL);
    assert_int_equal(dhcp_log_find(l, A)->file_s, 0);
    dhcp_log_line(l, "dnsmasq-tftp[43]: sent /srv/undionly.kpxe to 10.77.0.101", 14, NULL);
    assert_int_equal(dhcp_log_find(l, A)->file_s, 14);
    assert_null(dhcp_log_find(l, B));
}

static void test_address_that_is_given_again_is_of_the_last_pc(void **state)
{
    struct dhcp_log *l = *state;
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1 DHCPACK(br0) 10.77.0.101 " A, 10, NULL);
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1 DHCPACK(br0) 10.77.0.101 " B, 20, NULL);
    dhcp_log_line(l, "dnsmasq-tftp[43]: sent /srv/undionly.kpxe to 10.77.0.101", 21, NULL);
    assert_int_equal(dhcp_log_find(l, A)->file_s, 0);
    assert_int_equal(dhcp_log_find(l, B)->file_s, 21);
}

static void test_full_range_is_seen_until_somebody_gets_an_address(void **state)
{
    struct dhcp_log *l = *state;
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 281 DHCPDISCOVER(br0) " A " no address available", 10, NULL);
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 281 DHCPDISCOVER(br0) 10.77.0.9 " B " no leases left", 11, NULL);
    assert_string_equal(l->full_mac, B);
    assert_int_equal(l->full_count, 2);
    assert_int_equal(dhcp_log_find(l, A)->full_s, 10);
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 1 DHCPACK(br0) 10.77.0.101 " A, 20, NULL);
    assert_string_equal(l->full_mac, "");
    assert_int_equal(dhcp_log_find(l, A)->full_s, 0);
    assert_int_equal(dhcp_log_find(l, B)->full_s, 11);
}

static bool arp(const char *address, char *ret)
{
    strcpy(ret, B);
    return strcmp(address, "10.77.0.50") == 0;
}

static void test_file_for_an_address_of_another_server_finds_its_pc(void **state)
{
    struct dhcp_log *l = *state;
    dhcp_log_line(l, "dnsmasq-dhcp[43]: 174 PXE(br0) " B " proxy", 10, arp);
    dhcp_log_line(l, "dnsmasq-tftp[43]: sent /srv/snponly.efi to 10.77.0.51", 11, arp);
    assert_int_equal(dhcp_log_find(l, B)->file_s, 0);
    dhcp_log_line(l, "dnsmasq-tftp[43]: sent /srv/snponly.efi to 10.77.0.50", 12, arp);
    assert_int_equal(dhcp_log_find(l, B)->file_s, 12);
}

/* A PC chooses its vendor class, user class, host name and the file that it asks for. */
static void test_what_a_pc_writes_into_the_log_is_not_believed(void **state)
{
    static const char *const lines[] = {
        "",
        "dnsmasq-dhcp",
        "dnsmasq-dhcp[43]: ",
        "dnsmasq-dhcp[43]: 7 vendor class: DHCPACK(br0) 10.77.0.7 " A,
        "dnsmasq-dhcp[43]: 7 client provides name: DHCPDISCOVER(br0)" A,
        "dnsmasq-dhcp[43]: 7 user class: 1 DHCPDISCOVER(br0) " A " no address available",
        "dnsmasq-dhcp[43]: 7 DHCPACK(br0) 10.77.0.7",
        "dnsmasq-dhcp[43]: 7 DHCPACK(br0",
        "dnsmasq-dhcp[43]: 7 DHCPACK(br0) x y",
        "dnsmasq-dhcp[43]: 7 DHCPACK(br0) " A "x 10.77.0.7",
        "dnsmasq-tftp[43]: file /srv/sent /x to 10.77.0.7 not found",
        "other[43]: 7 DHCPDISCOVER(br0) " A,
    };
    struct dhcp_log *l = *state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        dhcp_log_line(l, lines[i], 10, NULL);
    assert_int_equal(l->n, 0);
    assert_string_equal(l->full_mac, "");
}

static void test_flood_of_macs_fills_the_table_and_no_more(void **state)
{
    struct dhcp_log *l = *state;
    char line[128], mac[18];
    for (unsigned i = 0; i < 3 * DHCP_TRACES_MAX; i++) {
        (void)snprintf(mac, sizeof(mac), "52:54:00:%02x:%02x:%02x", i >> 16 & 255, i >> 8 & 255, i & 255);
        (void)snprintf(line, sizeof(line), "dnsmasq-dhcp[43]: 7 DHCPDISCOVER(br0) %s", mac);
        dhcp_log_line(l, line, 10 + i, NULL);
    }
    assert_int_equal(l->n, DHCP_TRACES_MAX);
    assert_non_null(dhcp_log_find(l, mac));
}

/* --- offers ------------------------------------------------------------------------------------------------------ */

static const uint8_t card[6] = {0x52, 0x54, 0, 0, 0, 1};

/* An answer to a probe, made from the probe itself. */
static size_t make_offer(uint8_t *p, uint32_t xid, const uint8_t *options, size_t len)
{
    (void)dhcp_discover_encode(xid, card, p);
    uint8_t *bootp = p + 28;
    bootp[0] = 2;
    memcpy(p + 12, "\x0a\x4d\x00\x02", 4);
    p[22] = 0, p[23] = 68; /* to the client's port */
    memcpy(bootp + 16, "\x0a\x4d\x00\x64", 4);
    memcpy(bootp + 20, "\x0a\x4d\x00\x03", 4);
    strcpy((char *)bootp + 108, "pxelinux.0");
    memset(bootp + 240, 0, DHCP_FRAME_MAX - 28 - 240);
    memcpy(bootp + 240, options, len);
    size_t total = 28 + 240 + len;
    p[24] = (uint8_t)((total - 20) >> 8), p[25] = (uint8_t)(total - 20);
    return total;
}

#define OFFER "\x35\x01\x02"

static void test_probe_asks_and_takes_nothing(void **state)
{
    uint8_t p[DHCP_FRAME_MAX];
    size_t len = dhcp_discover_encode(0x12345678, card, p);
    assert_in_range(len, 28 + 240 + 3, DHCP_FRAME_MAX);
    assert_memory_equal(p + 28 + 4, "\x12\x34\x56\x78", 4);
    assert_memory_equal(p + 28 + 28, card, 6);
    assert_memory_equal(p + 28 + 236, "\x63\x82\x53\x63\x35\x01\x01", 7); /* DISCOVER, never REQUEST */
    unsigned sum = 0;
    for (size_t i = 0; i < 20; i += 2)
        sum += (unsigned)p[i] << 8 | p[i + 1];
    assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
}

static void test_offer_tells_who_and_what(void **state)
{
    static const uint8_t options[] = OFFER "\x36\x04\x0a\x4d\x00\x09\x03\x08\x0a\x4d\x00\x01\x0a\x4d\x00\x02\xff";
    uint8_t p[DHCP_FRAME_MAX];
    struct dhcp_offer o;
    size_t len = make_offer(p, 7, options, sizeof(options) - 1);
    assert_true(dhcp_offer_decode(p, len, 7, &o));
    assert_string_equal(o.server, "10.77.0.9");
    assert_string_equal(o.address, "10.77.0.100");
    assert_string_equal(o.router, "10.77.0.1");
    assert_string_equal(o.next_server, "10.77.0.3");
    assert_string_equal(o.boot_file, "pxelinux.0");
    assert_false(dhcp_offer_decode(p, len, 8, &o));
}

static void test_offer_without_a_server_is_of_its_sender(void **state)
{
    static const uint8_t options[] = OFFER "\x43\x04\x61\x0a\x7f\x62\xff";
    uint8_t p[DHCP_FRAME_MAX];
    struct dhcp_offer o;
    assert_true(dhcp_offer_decode(p, make_offer(p, 7, options, sizeof(options) - 1), 7, &o));
    assert_string_equal(o.server, "10.77.0.2");
    assert_string_equal(o.boot_file, "a??b");
}

/* Each cut and each changed byte: the sanitizers watch. */
static void test_broken_offers_harm_nobody(void **state)
{
    static const uint8_t options[] = OFFER "\x36\x04\x0a\x4d\x00\x09\x03\x04\x0a\x4d\x00\x01\x43\x05"
                                           "a.efi\xff";
    uint8_t p[DHCP_FRAME_MAX];
    struct dhcp_offer o;
    size_t len = make_offer(p, 7, options, sizeof(options) - 1);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut + 1); /* so that a read behind its end is seen */
        memcpy(exact, p, cut);
        assert_false(dhcp_offer_decode(exact, cut, 7, &o));
        free(exact);
    }
    for (size_t at = 0; at < len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *exact = malloc(len);
            memcpy(exact, p, len);
            exact[at] ^= (uint8_t)(1U << bit);
            if (dhcp_offer_decode(exact, len, 7, &o))
                for (const char *c = o.boot_file; *c; c++)
                    assert_in_range(*c, '!', '~');
            free(exact);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_way_of_a_pc_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_address_that_is_given_again_is_of_the_last_pc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_range_is_seen_until_somebody_gets_an_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_for_an_address_of_another_server_finds_its_pc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_pc_writes_into_the_log_is_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flood_of_macs_fills_the_table_and_no_more, setup, teardown),
        cmocka_unit_test(test_probe_asks_and_takes_nothing),
        cmocka_unit_test(test_offer_tells_who_and_what),
        cmocka_unit_test(test_offer_without_a_server_is_of_its_sender),
        cmocka_unit_test(test_broken_offers_harm_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
