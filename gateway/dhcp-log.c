/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of dnsmasq 2.85 to 2.90 with log-dhcp. Source: seen, and its rfc2131.c and tftp.c.
 *
 *   dnsmasq-dhcp[4336]: 1350393586 DHCPDISCOVER(br0) 52:54:00:00:00:01          asked
 *   dnsmasq-dhcp[4336]: 2810216990 DHCPDISCOVER(br0) 52:54:00:00:00:03 no address available
 *   dnsmasq-dhcp[4336]: 1350393586 DHCPACK(br0) 10.77.0.101 52:54:00:00:00:01 pc01
 *   dnsmasq-dhcp[4336]: 1745410002 PXE(br0) 52:54:00:00:00:01 proxy             asked, of a proxyDHCP
 *   dnsmasq-dhcp[4336]: 1350393586 DHCPNAK(br0) 10.88.0.7 52:54:00:00:00:01 wrong server-ID
 *   dnsmasq-tftp[4336]: sent /PATH/undionly.kpxe to 10.77.0.101
 *
 * A PC chooses its vendor class, host name and file names, so lines that only look like these do exist: a line counts when its words
 * stand where dnsmasq puts them. What a PC can invent is its own MAC, as everywhere.
 */
#include "gateway/dhcp-log.h"

#include <stdio.h>
#include <string.h>

/* --- the table --------------------------------------------------------------------------------------------------- */

const struct dhcp_trace *dhcp_log_find(const struct dhcp_log *l, const char *mac)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->traces[i].mac, mac) == 0)
            return &l->traces[i];
    return NULL;
}

static struct dhcp_trace *trace_of(struct dhcp_log *l, const char *mac)
{
    struct dhcp_trace *oldest = l->traces;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->traces[i].mac, mac) == 0)
            return &l->traces[i];
        if (l->traces[i].asked_s < oldest->asked_s)
            oldest = &l->traces[i];
    }
    struct dhcp_trace *t = l->n < DHCP_TRACES_MAX ? &l->traces[l->n++] : oldest;
    *t = (struct dhcp_trace){0};
    strcpy(t->mac, mac);
    return t;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

/* What stands behind "PROGRAM[PID]: ", NULL when the line is of somebody else. */
static const char *text_of(const char *line, const char *program)
{
    size_t len = strlen(program);
    if (strncmp(line, program, len) != 0)
        return NULL;
    const char *p = line + len;
    if (*p == '[')
        p += 1 + strspn(p + 1, "0123456789");
    p += *p == ']';
    return strncmp(p, ": ", 2) == 0 ? p + 2 : NULL;
}

struct words {
    char verb[24]; /* "DHCPACK" */
    char a[64], b[64];
    const char *rest; /* behind a */
};

/* "[XID ]VERB(INTERFACE) A B ..." */
static bool split(const char *text, struct words *w)
{
    int at = 0, end = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && text[digits] == ' ')
        text += digits + 1;
    w->b[0] = 0;
    if (sscanf(text, "%23[A-Z](%*[^)])%n %63s%n %63s", w->verb, &at, w->a, &end, w->b) < 2 || at == 0)
        return false;
    w->rest = text + end;
    return true;
}

static bool is_mac(const char *text, char ret[MAC_LEN + 1])
{
    return strlen(text) == MAC_LEN && mac_parse(text, ret, NULL) == 0;
}

static void note_dhcp(struct dhcp_log *l, const struct words *w, int64_t now_s)
{
    char mac[MAC_LEN + 1];
    bool is_first = is_mac(w->a, mac); /* "MAC ..." or "ADDRESS MAC ..." */
    if (!is_first && !is_mac(w->b, mac))
        return;
    struct dhcp_trace *t = trace_of(l, mac);
    t->asked_s = now_s;
    if (strcmp(w->verb, "DHCPACK") == 0 && !is_first && strlen(w->a) < sizeof(t->address)) {
        strcpy(t->address, w->a);
        t->given_s = now_s;
        t->full_s = t->rival_s = 0;
        l->full_mac[0] = 0;
        l->full_count = 0;
    } else if (strstr(w->rest, "no address available") || strstr(w->rest, "no leases left")) {
        t->full_s = now_s;
        strcpy(l->full_mac, mac);
        l->full_s = now_s;
        l->full_count++;
    } else if (strcmp(w->verb, "DHCPNAK") == 0 && strstr(w->rest, "wrong server-ID")) {
        t->rival_s = now_s;
    }
}

static void note_file(struct dhcp_log *l, const char *text, int64_t now_s,
                      bool (*mac_of_address)(const char *address, char *ret_mac))
{
    const char *to = NULL;
    char mac[MAC_LEN + 1];
    for (const char *p = strstr(text, " to "); p; p = strstr(p + 1, " to "))
        to = p + 4; /* the last one: a path may hold the word */
    if (strncmp(text, "sent ", 5) != 0 || !to)
        return;
    struct dhcp_trace *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->traces[i].address, to) == 0 && (!found || l->traces[i].given_s > found->given_s))
            found = &l->traces[i];
    if (!found && mac_of_address && mac_of_address(to, mac))
        found = trace_of(l, mac);
    if (found)
        found->file_s = now_s;
}

void dhcp_log_line(struct dhcp_log *l, const char *line, int64_t now_s,
                   bool (*mac_of_address)(const char *address, char *ret_mac))
{
    struct words w;
    const char *dhcp = text_of(line, "dnsmasq-dhcp"), *tftp = text_of(line, "dnsmasq-tftp");
    if (dhcp && split(dhcp, &w))
        note_dhcp(l, &w, now_s);
    if (tftp)
        note_file(l, tftp, now_s, mac_of_address);
}
