/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which observation is a problem depends on what boot.dhcp says we are:
 *
 *   boot.dhcp   another DHCP server         two others that give addresses   nobody gives addresses
 *   full        problem: PCs take either                                     -
 *   proxy       as it must be               notice                           notice
 *   tftp        as it must be               notice                           - (it may be behind a router)
 *   off         not looked for
 *
 * A range without a free address is a problem (an empty range, which is meant so, a notice) for FULL_S after the last PC that got none, or until one gets an address.
 */
#include "gateway/net-report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/ctl.h"
#include "gateway/net-watch.h"

#define ANSWER_MS 2000
#define FULL_S    600
#define WHAT      "network"

json_t *net_ask(const char *root, const char *mac)
{
    _cleanup_json_ json_t *req =
        mac ? json_pack("{s:s, s:s}", "cmd", "net", "mac", mac) : json_pack("{s:s}", "cmd", "net");
    json_t *ret = NULL;
    return req && ctl_call(root, NET_SOCKET, req, ANSWER_MS, &ret, NULL) == 0 ? ret : NULL;
}

/* Lists that are too short are all that a lack of memory can do here. */
static void add(json_t *list, const char *kind, const char *sentence)
{
    (void)json_array_append_new(list, json_pack("{s:s, s:s}", "what", WHAT, kind, sentence));
}

static void report_full(const json_t *net, struct catalog *c, json_t *problems, json_t *notices)
{
    char text[512], range[SETTING_LEN + 1] = "";
    const json_t *full = json_object_get(net, "full");
    if (!full || (int64_t)time(NULL) - json_integer_value(json_object_get(full, "at_s")) > FULL_S)
        return;
    (void)setting_get(c, "boot.dhcp_range", range, NULL); /* words only */
    (void)snprintf(text, sizeof(text),
                   *range ? "dnsmasq has no address for %s: all of boot.dhcp_range %s are taken; make it larger with "
                            "'diskgate set boot.dhcp_range FIRST-LAST', or boot.dhcp_lease shorter"
                          : "dnsmasq has no address for %s: boot.dhcp_range is empty%s, so only clients with one of "
                            "their own get one; set it, or give the client one with 'diskgate client set NAME --ip A'",
                   json_text(full, "mac"), range); /* fits */
    if (*range)
        add(problems, "problem", text);
    else
        add(notices, "notice", text);
}

static void report_rival(const json_t *row, json_t *problems)
{
    char text[512];
    const char *address = json_text(row, "address"), *file = json_text(row, "boot_file");
    (void)snprintf(
        text, sizeof(text),
        "another DHCP server, %s (%s), answers PCs here with %s%s%s%s: whoever takes its answer does not boot "
        "from this server; turn it off, or set boot.dhcp to proxy and let it give the addresses",
        json_text(row, "server"), json_text(row, "hardware"), *address ? "the address " : "a boot file", address,
        *file ? " and the boot file " : "", file); /* fits */
    add(problems, "problem", text);
}

static void report_count(const json_t *servers, const char *mode, bool is_probed, json_t *notices)
{
    char text[512], list[160] = "";
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const json_t *row = json_array_get(servers, i);
        if (!*json_text(row, "address"))
            continue;
        size_t at = strlen(list);
        (void)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "",
                       json_text(row, "server")); /* 8 of them fit */
        n++;
    }
    if (n > 1) {
        (void)snprintf(text, sizeof(text),
                       "%zu DHCP servers give addresses here: %s; unless they were made to work together, PCs take "
                       "either",
                       n, list); /* fits */
        add(notices, "notice", text);
    }
    if (n == 0 && is_probed && strcmp(mode, "proxy") == 0)
        add(notices, "notice",
            "boot.dhcp is proxy, and no DHCP server answers on this network: PCs get no address; set boot.dhcp to full "
            "if there is to be none");
}

void net_report(const char *root, struct catalog *c, json_t *problems, json_t *notices, json_t *status)
{
    char mode[SETTING_LEN + 1] = "";
    _cleanup_json_ json_t *net = net_ask(root, NULL);
    json_t *servers = json_object_get(net, "servers");
    if (!net || setting_get(c, "boot.dhcp", mode, NULL) < 0 || strcmp(mode, "off") == 0)
        return;
    report_full(net, c, problems, notices);
    for (size_t i = 0; i < json_array_size(servers) && strcmp(mode, "full") == 0; i++)
        report_rival(json_array_get(servers, i), problems);
    if (strcmp(mode, "full") != 0)
        report_count(servers, mode, json_is_true(json_object_get(net, "is_probed")), notices);
    (void)json_object_set(status, "dhcp_servers", servers); /* missing without memory */
}
