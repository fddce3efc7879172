/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot event: a PC asks for its script.
 *
 *   MAC unknown    by clients.unknown: refused; or noted and told to wait; or added as a client, then as below (boot-who.c)
 *   disabled       refused
 *   live session   a PC that was reset does not know its old connection: that one ends (session-probe.c). Else wait and ask again:
 *                  another PC runs under its name, or the system has not ended yet
 *   a menu is due  several boot disks and none chosen (boot-choice.c): the menu, and nothing changes
 *   else           a new boot: (1) changed volatile overlays of the chosen disk and of the data disks are exchanged, kept ones stay;
 *                              the chosen disk becomes LUN 1
 *                              (2) the targets follow   (3) is its target open?   (4) the boot is noted   (5) the script
 *                              (1) to (3) are in boot-begin.c
 *
 * (1) A volatile overlay is exchanged when anything was ever written to it or when the link asks for another version now. So a request
 *     that is repeated before the login changes nothing, makes no work and leaves no second row.
 *     With auth.rotate it does make a new secret: the last script that was sent is the one that counts.
 * (2) Whatever goes wrong is one sentence on the PC's screen, and the PC asks again.
 * (3) LUN 1 becomes another disk only here, where no session was seen; one that came in between keeps its disk (tgt-want.c), and the PC waits.
 */
#include "gateway/boot-event.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/json.h"
#include "core/util.h"
#include "gateway/fsproc.h"
#include "gateway/proc.h"
#include "gateway/service.h"
#include "gateway/session-probe.h"
#include "gateway/site.h"

#define BAD_RETRY_S      30
#define SESSION_RETRY_S  3
#define PROBE_MS         400  /* for the answer of a PC in the same network */
#define NOTICE_MS        1000 /* until tgtd has dropped a session whose connection is gone */
#define ADDRESS_LEN      63
#define CHOICE_RETRY_S   5
#define DISABLED_RETRY_S 30
#define SAME_BOOT_S      600 /* a request without a login so long after the first belongs to the same boot */

static void event_finish(struct event *e)
{
    catalog_close(e->c);
    explicit_bzero(&e->client, sizeof(e->client));
}

/* --- may it boot ------------------------------------------------------------------------------------------------- */

static int refuse_disabled(struct event *e)
{
    return REFUSE(
        e, DISABLED_RETRY_S,
        "%s is switched off for booting.\nOn the server, diskgate client set %s --disabled off lets it boot again",
        e->client.name, e->client.name);
}

/* The client's sessions: their count, and the address of the first. */
static int count_sessions(struct event *e, char address[ADDRESS_LEN + 1])
{
    _cleanup_json_ json_t *sessions = NULL;
    int r = service_sessions(e->root, e->c, e->client.name, &sessions, &e->why);
    const json_t *first = json_array_get(sessions, 0);
    (void)snprintf(address, ADDRESS_LEN + 1, "%s", json_text(first, "address")); /* a cut one fits nobody */
    return r < 0 ? r : (int)json_array_size(sessions);
}

/* A session from where the request came may be what is left of the PC before it was reset: its TCP knows (session-probe.c). */
static int end_dead_session(struct event *e, char address[ADDRESS_LEN + 1])
{
    _cleanup_(site_finish) struct site site = {.run_fd = -1};
    if (site_open(&site, e->root, false, NULL) < 0 || !session_probe(&site, address, PROBE_MS))
        return 1;
    int64_t end_ms = clock_ms() + NOTICE_MS;
    int n = 1;
    while (n > 0 && clock_ms() < end_ms) {
        proc_sleep_ms(20);
        n = count_sessions(e, address);
    }
    return n;
}

int event_refuse_session(struct event *e, const char *address)
{
    return REFUSE(e, SESSION_RETRY_S,
                  "the disk of %s is still in use by the PC at %s.\nIf that is this PC before its restart, wait: the "
                  "server notices within half a minute.\nIf not, two PCs have the MAC %s.",
                  e->client.name, *address ? address : "an unknown address", e->mac);
}

static int check_sessions(struct event *e)
{
    char address[ADDRESS_LEN + 1];
    int n = count_sessions(e, address);
    if (n > 0 && strcmp(address, e->address) == 0)
        n = end_dead_session(e, address);
    return n <= 0 ? n : event_refuse_session(e, address);
}

/* --- the row ----------------------------------------------------------------------------------------------------- */

/* The client's newest row if this request is a repetition of what it tells. */
static bool is_same_boot(struct event *e, const struct boot_row *now, struct boot_row *ret)
{
    _cleanup_free_ struct boot_row *rows = NULL;
    size_t n = 0;
    bool is_new = e->is_renewed && !*now->refused;
    if (is_new || boot_list(e->c, e->client.name, 1, &rows, &n, NULL) < 0 || n == 0)
        return false;
    *ret = rows[0];
    return ret->login_s == 0 && ret->end_s == 0 && now->script_s - ret->script_s < SAME_BOOT_S &&
           ret->version == now->version && strcmp(ret->image, now->image) == 0 && strcmp(ret->mac, now->mac) == 0 &&
           strcmp(ret->refused, now->refused) == 0;
}

/* A row that cannot be written is no reason not to boot. @target may be NULL. */
static int note_boot(struct event *e, const json_t *target, struct err *err)
{
    struct boot_row row = {.client_id = e->client.id, .script_s = (int64_t)time(NULL)}, old;
    (void)snprintf(row.client, sizeof(row.client), "%s", e->client.name);
    (void)snprintf(row.mac, sizeof(row.mac), "%s", e->mac);
    (void)snprintf(row.address, sizeof(row.address), "%s", e->address);
    (void)snprintf(row.image, sizeof(row.image), "%s", json_text(target, "image"));
    (void)snprintf(row.refused, sizeof(row.refused), "%.255s", e->why.msg); /* a cut sentence is still a sentence */
    row.version = (uint32_t)json_integer_value(json_object_get(target, "version"));
    if (is_same_boot(e, &row, &old))
        return 0;
    int r = catalog_begin(e->c, err);
    r = r ? r : boot_add(e->c, &row, err);
    r = r ? r : catalog_commit(e->c, err);
    if (r < 0)
        catalog_rollback(e->c);
    return r;
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

static int give_disk(const struct event *e, const json_t *row, char **ret)
{
    char address[80];
    (void)snprintf(address, sizeof(address), "%s", json_text(row, "portal"));
    char *colon = strrchr(address, ':');
    const char *chap = json_string_value(json_object_get(row, "chap_user"));
    struct boot_target t = {.client = e->client.name,
                            .mac = e->mac,
                            .portal_address = address,
                            .iqn = json_text(row, "iqn"),
                            .initiator = json_text(row, "initiator"),
                            .chap_user = chap,
                            .chap_password = json_text(row, "chap_password"),
                            .portal_port = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0,
                            .lun = (unsigned)json_integer_value(json_object_get(row, "lun"))};
    if (colon)
        *colon = 0;
    size_t len = strlen(address);
    if (address[0] == '[' && address[len - 1] == ']') {
        address[len - 1] = 0;
        t.portal_address = address + 1;
    }
    return boot_script_disk(&t, ret);
}

/* What the client reads from here on is its boot. */
static void tell_data_plane(const struct event *e)
{
    _cleanup_(site_finish) struct site site = {.run_fd = -1};
    if (site_open(&site, e->root, false, NULL) == 0)
        fsproc_note_boot(&site, e->client.name);
}

static int boot_disk(struct event *e, char **ret_script, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    const json_t *target = NULL;
    int r = event_prepare(e, &list, &target);
    bool is_waiting = r < 0 && e->retry_s == SESSION_RETRY_S; /* its boot has a row already */
    if (!is_waiting && note_boot(e, r < 0 ? NULL : target, err) == 0)
        err->msg[0] = 0;
    if (r == 0)
        tell_data_plane(e);
    return r < 0 ? r : give_disk(e, target, ret_script);
}

static int give_menu(struct event *e, const struct boot_choices *ch, char **ret_script, struct err *err)
{
    if (note_boot(e, NULL, err) == 0)
        err->msg[0] = 0;
    return boot_script_menu(e->client.name, e->mac, ch, ret_script);
}

/* A refusal that is worth a row: nobody else's boot is going on. */
static int refuse_noted(struct event *e, int r, struct err *err)
{
    if (note_boot(e, NULL, err) == 0)
        err->msg[0] = 0;
    return r;
}

static int boot_client(struct event *e, char **ret_script, struct err *err)
{
    struct boot_choices ch = {0};
    if (e->client.is_disabled)
        return refuse_noted(e, refuse_disabled(e), err);
    int r = check_sessions(e);
    r = r ? r : boot_choices_read(e->c, &e->client, &ch, &e->why);
    if (r < 0)
        return r;
    if (e->choice < 0 && ch.n > 1)
        return give_menu(e, &ch, ret_script, err);
    if (e->choice >= 0 && !boot_choices_have(&ch, (uint32_t)e->choice))
        return refuse_noted(
            e,
            REFUSE(e, CHOICE_RETRY_S,
                   "slot %d is none of the disks that %s can start from; it may choose again in a moment", e->choice,
                   e->client.name),
            err);
    e->slot = e->choice < 0 ? ch.standard : (uint32_t)e->choice;
    return boot_disk(e, ret_script, err);
}

/* "MAC" or "MAC/SLOT" */
static int parse_request(struct event *e, const char *what)
{
    char mac[64];
    size_t len = strcspn(what, "/");
    const char *slot = what[len] ? what + len + 1 : NULL;
    if (len >= sizeof(mac) || (slot && (strspn(slot, "0123456789") != strlen(slot) || !*slot || strlen(slot) > 2)))
        return err_set(&e->why, -EINVAL, "'%.80s' is no MAC address, and no MAC address and a slot", what);
    (void)snprintf(mac, sizeof(mac), "%.*s", (int)len, what);
    e->choice = slot ? (int)strtoul(slot, NULL, 10) : -1;
    return mac_parse(mac, e->mac, &e->why);
}

static int run_event(struct event *e, const char *what, char **ret_script, struct err *err)
{
    int r = parse_request(e, what);
    if (r < 0)
        return r;
    r = catalog_open(e->root, CATALOG_WRITE, &e->c, &e->why);
    if (r == 0)
        r = event_identify(e);
    return r < 0 ? r : boot_client(e, ret_script, err);
}

int boot_event(const char *root, const char *what, const char *address, char **ret_script, struct err *err)
{
    _cleanup_(event_finish) struct event e = {.root = root, .address = address, .retry_s = BAD_RETRY_S};
    struct err ignored;
    if (!err)
        err = &ignored;
    err->msg[0] = 0;
    int r = run_event(&e, what, ret_script, err);
    if (r == 0)
        return 0;
    *err = e.why;
    return boot_script_refuse(*e.why.msg ? e.why.msg : strerror(-r), *e.mac ? e.mac : NULL, e.retry_s, ret_script);
}
