/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What became of a client's last boot, in words.
 *
 *   seen last                          likely cause
 *   no script request                  DHCP: boot-why-dhcp.c; also when that came after the boot that is told of
 *   refused                            the sentence that the PC shows
 *   menu                               it waits for somebody to choose, or it was switched off there
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
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/boot-why.h"
#include "gateway/service.h"

#define LOADER_BYTES (512 * KiB)
#define SYSTEM_BYTES (48 * MiB)
#define QUIET_S      60
#define PATIENCE_S   30
#define LATER_S      5 /* what comes so soon behind a boot belongs to it: its system asks for an address, too */

const char *why_when(int64_t unix_s, char buf[32])
{
    time_text(buf, 24, unix_s);
    buf[10] = ' ';
    strcpy(buf + 19, " UTC");
    return buf;
}

/* --- before the script ------------------------------------------------------------------------------------------- */

static void tell_settings(FILE *f, struct catalog *c)
{
    char value[SETTING_LEN + 1];
    _cleanup_free_ struct pending_row *rows = NULL;
    size_t n = 0;
    if (setting_get(c, "boot.http", value, NULL) == 0 && strcmp(value, "off") == 0)
        (void)fputs(" boot.http is off: nobody gets a script.", f);
    if (setting_get(c, "gateway.address", value, NULL) == 0 && strncmp(value, "127.", 4) == 0)
        (void)fprintf(f, " gateway.address is %s: no PC can reach this server.", value);
    bool is_asked = setting_get(c, "clients.unknown", value, NULL) == 0 && strcmp(value, "reject") != 0;
    if (is_asked && pending_list(c, &rows, &n, NULL) == 0 && n > 0)
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
    else if (is_running(b) && b->end_s)
        (void)fprintf(f, "It ran until %s.", why_when(b->end_s, at));
    else if (is_running(b)) /* the end is noted when it has lasted a while */
        (void)fputs("It ran, and is not logged in now.", f);
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
                      why_when(b->script_s, at), b->address);
        for (const char *p = b->refused; *p; p++)
            (void)fputc(*p == '\n' ? ' ' : *p, f);
        return;
    }
    if (!*b->image) {
        (void)fprintf(f, "%s got its boot menu at %s, from %s, and no choice has come back yet.", client->name,
                      why_when(b->script_s, at), b->address);
        return;
    }
    (void)fprintf(f, "%s got its boot script at %s, for image %s version %u. ", client->name, why_when(b->script_s, at),
                  b->image, b->version);
    if (b->login_s == 0 && !is_online)
        tell_no_login(f, c, client, b, now_s);
    else if (b->login_s == 0)
        (void)fprintf(f, "It is logged in at this moment.");
    else
        tell_login(f, b, now_s, is_online);
}

/* When the boot was last heard of. */
static int64_t last_life_s(const struct boot_row *b)
{
    return MAX(MAX(b->script_s, b->login_s), MAX(b->last_read_s, b->end_s));
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
    if (client.is_disabled)
        (void)fprintf(f, "%s is disabled: its PC is refused until 'diskgate client set %s --disabled off'. ",
                      client.name, client.name);
    if (n > 0) {
        tell_boot(f, c, &client, &rows[0], is_online);
        if (!is_online)
            why_dhcp(f, root, c, &client, last_life_s(&rows[0]) + LATER_S);
    } else if (is_online) {
        (void)fprintf(f, "%s is logged in and never asked for a boot script: its initiator was set up by hand.",
                      client.name);
    } else {
        (void)fprintf(f, "%s (%s) never asked for its boot script. ", client.name, client.mac);
        why_dhcp(f, root, c, &client, 0);
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
