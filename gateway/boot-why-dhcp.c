/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a PC came before it asked for its script.
 *
 *   seen last              boot.dhcp     likely cause
 *   nothing                any           off, not set to network boot, another network, another MAC
 *   asked                  full          another DHCP server was faster
 *   asked, none was left   full          the range
 *   asked, refused ours    full          another DHCP server
 *   asked                  proxy         another boot server was faster, or the PC does not hear proxyDHCP
 *   got an address         full          network boot stands behind the disk, Secure Boot
 *   got its boot file      any           firewall, or a loader that is not iPXE
 *
 * diskgated knows times; without it the log's order has to do, and only for a PC that never asked for a script.
 */
#include "gateway/boot-why.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/boot-render.h"
#include "gateway/dhcp-log.h"
#include "gateway/net-report.h"

#define LOG_BYTES (1 * MiB)
#define BEFORE_S  1

struct known {
    bool has_log;
    struct dhcp_trace trace;
    json_t *servers; /* borrowed from the answer */
};

static void read_log(const char *root, const char *mac, struct known *k)
{
    char path[PATH_MAX];
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    _cleanup_free_ struct dhcp_log *log = calloc(1, sizeof(*log));
    if (!log || root_path(root, "run/" DNSMASQ_LOG, path, NULL) < 0)
        return;
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    if (!f)
        return;
    k->has_log = true;
    if (fseek(f, -(long)LOG_BYTES, SEEK_END) < 0)
        rewind(f);
    while (getline(&line, &room, f) > 0) {
        line[strcspn(line, "\n")] = 0;
        dhcp_log_line(log, line, BEFORE_S, NULL);
    }
    const struct dhcp_trace *t = dhcp_log_find(log, mac);
    if (t)
        k->trace = *t;
}

static int64_t time_of(const json_t *trace, const char *key)
{
    return json_integer_value(json_object_get(trace, key));
}

/* False when nobody watches. */
static bool read_answer(const json_t *net, struct known *k)
{
    const json_t *t = json_object_get(net, "trace");
    if (!net)
        return false;
    k->servers = json_object_get(net, "servers");
    k->trace = (struct dhcp_trace){.asked_s = time_of(t, "asked_s"),
                                   .given_s = time_of(t, "given_s"),
                                   .file_s = time_of(t, "file_s"),
                                   .full_s = time_of(t, "full_s"),
                                   .rival_s = time_of(t, "rival_s")};
    (void)snprintf(k->trace.address, sizeof(k->trace.address), "%s",
                   json_text(t, "address")); /* a cut one is still shown */
    return true;
}

static void tell_servers(FILE *f, const struct known *k)
{
    size_t n = json_array_size(k->servers);
    for (size_t i = 0; i < n; i++) /* memory only, checked at the end; so everywhere here */
        (void)fprintf(f, "%s%s", i == 0 ? " Another DHCP server answers here: " : ", ",
                      json_string_value(json_object_get(json_array_get(k->servers, i), "server")) ?: "?");
    (void)fputs(n > 0 ? "." : "", f);
}

static void tell_file(FILE *f, struct catalog *c, const struct known *k)
{
    char address[SETTING_LEN + 1] = "", port[SETTING_LEN + 1] = "";
    (void)setting_get(c, "gateway.address", address, NULL); /* words only */
    (void)setting_get(c, "boot.port", port, NULL);
    (void)fprintf(f,
                  "It %s%s%sfetched its boot file, but the loader did not ask for http://%s:%s/boot/: a firewall, or a "
                  "loader other than iPXE.",
                  *k->trace.address ? "got the address " : "", k->trace.address, *k->trace.address ? " and " : "",
                  address, port);
}

static void tell_asked(FILE *f, const struct known *k, const char *mode, const char *range)
{
    if (strcmp(mode, "proxy") == 0)
        (void)fputs("It asked how to boot and was told, but fetched no boot file from here: another boot server was "
                    "faster, or its firmware does not hear proxyDHCP; then the site's DHCP server must name the boot "
                    "file ('diskgate boot options').",
                    f);
    else if (k->trace.full_s > 0 && !*range)
        (void)fputs(
            "It asked for an address and there is none for it: boot.dhcp_range is empty and it has no address of "
            "its own.",
            f);
    else if (k->trace.full_s > 0)
        (void)fprintf(f, "It asked for an address and none was left: all of boot.dhcp_range %s are taken.", range);
    else if (k->trace.rival_s > 0)
        (void)fputs("It asked for an address and took the one of a second DHCP server.", f);
    else
        (void)fputs("It asked for an address and took none from here: a second DHCP server may have answered; "
                    "run/dnsmasq.log tells.",
                    f);
    tell_servers(f, k);
}

static void tell(FILE *f, struct catalog *c, const struct client_row *client, const struct known *k, int64_t since_s)
{
    const struct dhcp_trace *t = &k->trace;
    char mode[SETTING_LEN + 1] = "", range[SETTING_LEN + 1] = "";
    (void)setting_get(c, "boot.dhcp", mode, NULL); /* words only */
    (void)setting_get(c, "boot.dhcp_range", range, NULL);
    if (t->file_s > since_s)
        tell_file(f, c, k);
    else if (t->given_s > since_s)
        (void)fprintf(f,
                      "It got the address %s but fetched no boot file: network boot (PXE) may stand behind the disk in "
                      "its firmware, or Secure Boot refuses the loader.",
                      t->address);
    else if (t->asked_s > since_s)
        tell_asked(f, k, mode, range);
    else
        (void)fprintf(f,
                      "No DHCP request of %s was seen: it may be switched off, not set to network boot, on another "
                      "network, or have another MAC.",
                      client->mac);
}

void why_dhcp(FILE *f, const char *root, struct catalog *c, const struct client_row *client, int64_t since_s)
{
    struct known k = {0};
    char mode[SETTING_LEN + 1] = "", at[32];
    _cleanup_json_ json_t *net = net_ask(root, client->mac);
    (void)setting_get(c, "boot.dhcp", mode, NULL); /* words only */
    bool is_watched = read_answer(net, &k);
    if (!is_watched)
        read_log(root, client->mac, &k);
    int64_t last_s = MAX(k.trace.asked_s, k.trace.file_s);
    if (since_s > 0 && last_s <= since_s)
        return;
    if (since_s > 0)
        (void)fprintf(f, " At %s it was on its way again and did not ask for a script. ", why_when(last_s, at));
    if (last_s == 0 && (!is_watched ? !k.has_log : strcmp(mode, "full") != 0 && strcmp(mode, "proxy") != 0))
        (void)fputs(
            "Whether it asked for an address, the site's own DHCP server knows; 'diskgate boot options' says what that "
            "server must send.",
            f);
    else
        tell(f, c, client, &k, since_s);
}
