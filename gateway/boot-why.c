/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What became of a client's last boot, in words.
 *
 *   seen last                          likely cause
 *   no script request                  DHCP: dnsmasq's log tells where it stopped, if dnsmasq is ours
 *   refused                            the sentence that the PC shows
 *   script                             the loader cannot log in: network, password, address rule
 *   login                              nothing was read: the loader cannot boot from it
 *   less than LOADER_BYTES read        no boot code for this firmware
 *   less than SYSTEM_BYTES, no write   the kernel runs and has no disk: network driver, iSCSI at boot
 *   more, or any write                 it runs, or ran
 *
 * The figures are from boots of Debian (19 MB by the loader, 60 MB in all); a Windows boot reads more.
 */
#include "gateway/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/service.h"

#define LOADER_BYTES (512 * KiB)
#define SYSTEM_BYTES (48 * MiB)
#define QUIET_S      60
#define PATIENCE_S   30
#define LOG_BYTES    (1 * MiB)
#define LOG_NAME     "run/dnsmasq.log"

static const char *when(int64_t unix_s, char buf[32])
{
    time_text(buf, 24, unix_s);
    buf[10] = ' ';
    strcpy(buf + 19, " UTC");
    return buf;
}

/* --- before the script ------------------------------------------------------------------------------------------- */

/* What dnsmasq has said about a MAC. It writes no times, so only the order tells. */
struct trace {
    bool is_there; /* a log */
    bool has_asked, has_address, has_file;
    char address[46];
};

static bool has_words(const char *line, const char *a, const char *b)
{
    return strstr(line, a) && strcasestr(line, b);
}

static void read_line(struct trace *t, const char *line, const char *mac)
{
    if (has_words(line, "DHCPDISCOVER", mac) || has_words(line, "DHCPREQUEST", mac) || has_words(line, "PXE", mac))
        t->has_asked = true;
    const char *ack = has_words(line, "DHCPACK", mac) ? strstr(line, "DHCPACK") : NULL;
    if (ack && sscanf(ack, "%*s %45s", t->address) == 1)
        t->has_address = true;
    const char *sent = *t->address ? strstr(line, "sent ") : NULL;
    const char *to = sent ? strstr(sent, " to ") : NULL;
    if (to && strncmp(to + 4, t->address, strlen(t->address)) == 0 && strcspn(to + 4, " \n") == strlen(t->address))
        t->has_file = true;
}

static struct trace read_log(const char *root, const char *mac)
{
    struct trace t = {0};
    char path[PATH_MAX];
    _cleanup_free_ char *line = NULL;
    size_t room = 0;
    if (root_path(root, LOG_NAME, path, NULL) < 0)
        return t;
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    if (!f)
        return t;
    t.is_there = true;
    if (fseek(f, -(long)LOG_BYTES, SEEK_END) < 0)
        rewind(f);
    while (getline(&line, &room, f) > 0)
        read_line(&t, line, mac);
    return t;
}

static void tell_dhcp(FILE *f, const char *root, struct catalog *c, const struct client_row *client)
{
    struct trace t = read_log(root, client->mac);
    char address[SETTING_LEN + 1] = "", port[SETTING_LEN + 1] = "";
    (void)setting_get(c, "gateway.address", address, NULL); /* words only */
    (void)setting_get(c, "boot.port", port, NULL);
    if (!t.is_there)
        (void)fputs(
            "Whether it asked for an address, the site's own DHCP server knows; 'diskgate boot options' says what that "
            "server must send.",
            f); /* memory only, checked at the end; so everywhere here */
    else if (t.has_file)
        (void)fprintf(
            f,
            "It got the address %s and fetched its boot file, but the loader did not ask for http://%s:%s/boot/: "
            "a firewall, or a loader other than iPXE.",
            t.address, address, port);
    else if (t.has_address)
        (void)fprintf(
            f,
            "It got the address %s but fetched no boot file: network boot (PXE) may stand behind the disk in its "
            "firmware, or Secure Boot refuses the loader.",
            t.address);
    else if (t.has_asked)
        (void)fputs(
            "It asked for an address and took none from here: the range may be full, or a second DHCP server has "
            "answered; run/dnsmasq.log tells.",
            f);
    else
        (void)fprintf(
            f,
            "No DHCP request of %s was seen: it may be switched off, not set to network boot, on another network, "
            "or have another MAC.",
            client->mac);
}

static void tell_settings(FILE *f, struct catalog *c)
{
    char value[SETTING_LEN + 1];
    _cleanup_free_ struct pending_row *rows = NULL;
    size_t n = 0;
    if (setting_get(c, "boot.http", value, NULL) == 0 && strcmp(value, "off") == 0)
        (void)fputs(" boot.http is off: nobody gets a script.", f);
    if (setting_get(c, "gateway.address", value, NULL) == 0 && strncmp(value, "127.", 4) == 0)
        (void)fprintf(f, " gateway.address is %s: no PC can reach this server.", value);
    if (pending_list(c, &rows, &n, NULL) == 0 && n > 0)
        (void)fprintf(f, " %zu unknown PC%s wait%s, see 'diskgate client pending'.", n, n == 1 ? "" : "s",
                      n == 1 ? "s" : "");
}

/* --- from the script on ------------------------------------------------------------------------------------------ */

static void tell_no_login(FILE *f, struct catalog *c, const struct client_row *client, const struct boot_row *b,
                          int64_t now_s)
{
    char acl[SETTING_LEN + 1] = "";
    (void)setting_get(c, "auth.acl", acl, NULL); /* words only */
    if (now_s - b->script_s < PATIENCE_S) {
        (void)fputs("It has not logged in to its target yet; give it a moment.", f);
    } else if (strcmp(acl, "address") == 0 && strcmp(b->address, client->ip) != 0) {
        (void)fprintf(f,
                      "It did not log in to its target: auth.acl is 'address' and it came from %s, not from %s; see "
                      "'diskgate client set %s --ip %s'.",
                      b->address, *client->ip ? client->ip : "an address that is set", client->name, b->address);
    } else {
        (void)fputs(
            "It did not log in to its target. The last lines on its screen tell why: 'Operation not permitted' is a "
            "wrong password (was the client changed meanwhile?), 'No such device' an access rule or a closed "
            "target, 'Connection timed out' a firewall between it and the iSCSI port; see also 'diskgate status'.",
            f);
    }
}

static void tell_phases(FILE *f, const struct boot_row *b)
{
    char size[32];
    size_text(b->read_bytes, size);
    (void)fprintf(f, "It logged in after %lld s", (long long)(b->login_s - b->script_s));
    if (b->first_read_s)
        (void)fprintf(f, ", read its first byte after %lld s and %s in all", (long long)(b->first_read_s - b->script_s),
                      size);
    (void)fputs(". ", f);
}

/* The system has taken its disk over from the loader. */
static bool is_running(const struct boot_row *b)
{
    return b->written_bytes > 0 || b->read_bytes >= SYSTEM_BYTES;
}

static void tell_login(FILE *f, const struct boot_row *b, int64_t now_s, bool is_online)
{
    char at[32];
    tell_phases(f, b);
    if (is_running(b) && is_online)
        (void)fprintf(f, "It runs, at %s.", b->address);
    else if (is_running(b))
        (void)fprintf(f, "It ran until %s.", when(b->end_s ? b->end_s : MAX(b->last_read_s, b->login_s), at));
    else if (is_online && now_s - MAX(b->last_read_s, b->login_s) < QUIET_S)
        (void)fputs("It is on its way.", f);
    else if (b->read_bytes == 0)
        (void)fputs(
            "It never read from its disk: the loader was stopped, or its firmware cannot boot from a network disk.", f);
    else if (b->read_bytes < LOADER_BYTES)
        (void)fputs("Then it read nothing more: the image has no boot code for this PC's firmware (BIOS or UEFI?); see "
                    "'diskgate image check'.",
                    f);
    else
        (void)fputs(
            "Then it read nothing more and wrote nothing: the system was loaded and found no disk. Its network driver "
            "is "
            "missing in the image or does not start at boot, or its iSCSI initiator does not read the boot table "
            "(iBFT).",
            f);
}

static void tell_boot(FILE *f, struct catalog *c, const struct client_row *client, const struct boot_row *b,
                      bool is_online)
{
    char at[32];
    int64_t now_s = (int64_t)time(NULL);
    if (*b->refused) {
        (void)fprintf(f, "%s asked for its boot script at %s, from %s, and was refused: ", client->name,
                      when(b->script_s, at), b->address);
        for (const char *p = b->refused; *p; p++)
            (void)fputc(*p == '\n' ? ' ' : *p, f);
        return;
    }
    (void)fprintf(f, "%s got its boot script at %s, for image %s version %u. ", client->name, when(b->script_s, at),
                  b->image, b->version);
    if (b->login_s == 0 && !is_online)
        tell_no_login(f, c, client, b, now_s);
    else if (b->login_s == 0)
        (void)fprintf(f, "It is logged in at this moment.");
    else
        tell_login(f, b, now_s, is_online);
}

int boot_why(const char *root, struct catalog *c, const char *name, char **ret, struct err *err)
{
    _cleanup_free_ struct boot_row *rows = NULL;
    _cleanup_json_ json_t *sessions = NULL;
    struct client_row client;
    char *text = NULL;
    size_t n = 0, len = 0;
    int r = client_get(c, name, &client, err);
    if (r == 0)
        explicit_bzero(client.chap_password, sizeof(client.chap_password));
    r = r ? r : boot_list(c, client.name, 1, &rows, &n, err);
    if (r < 0)
        return r;
    (void)service_sessions(root, c, client.name, &sessions, NULL); /* without an answer it is not online */
    bool is_online = json_array_size(sessions) > 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot tell");
    if (n > 0) {
        tell_boot(f, c, &client, &rows[0], is_online);
    } else if (is_online) {
        (void)fprintf(f, "%s is logged in and never asked for a boot script: its initiator was set up by hand.",
                      client.name);
    } else {
        (void)fprintf(f, "%s (%s) never asked for its boot script. ", client.name, client.mac);
        tell_dhcp(f, root, c, &client);
        tell_settings(f, c);
    }
    bool is_bad = ferror(f);
    if (fclose(f) == EOF || is_bad) {
        free(text);
        return err_sys(err, -ENOMEM, "cannot tell");
    }
    *ret = text;
    return 0;
}
