/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IPv4 addresses in settings and clients' rows: checks, and one spelling. What passes here goes into the files of DHCP servers. */
#include "core/catalog-priv.h"

#include <arpa/inet.h>
#include <string.h>

bool address_is_host_v4(const char *text)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    uint32_t host = ntohl(v4.s_addr);
    return host >> 24 != 0 && host < 0xe0000000U; /* not 0.0.0.0, not multicast or broadcast */
}

bool address_is_netmask(const char *text)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    uint32_t rest = ~ntohl(v4.s_addr);
    return rest != UINT32_MAX && (rest & (rest + 1)) == 0;
}

bool address_list_parse(char *text)
{
    char list[SETTING_LEN + 1] = "";
    char *save = NULL;
    for (char *word = strtok_r(text, ", ", &save); word; word = strtok_r(NULL, ", ", &save)) {
        if (!address_is_host_v4(word) || strlen(list) + strlen(word) + 2 > sizeof(list))
            return false;
        if (*list)
            strcat(list, ",");
        strcat(list, word);
    }
    strcpy(text, list);
    return true;
}
