/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot event: a PC asks for its script.
 *
 *   MAC unknown    by clients.unknown: refused; or noted and told to wait; or added as a client, then as below
 *   live session   a PC that was reset does not know its old connection: that one ends (session-probe.c). Else wait and ask again:
 *                  another PC runs under its name, or the system has not ended yet
 *   else           a new boot: (1) changed volatile overlays are exchanged, kept ones stay
 *                              (2) the targets follow   (3) is its target open?   (4) the boot is noted   (5) the script
 *
 * (1) A volatile overlay is exchanged when anything was ever written to it or when the link asks for another version now. So a request
 *     that is repeated before the login changes nothing, makes no work and leaves no second row.
 * (2) Whatever goes wrong is one sentence on the PC's screen, and the PC asks again.
 * (3) A name is chosen and given in one transaction: PCs that ask at the same moment get different ones.
 */
#include "gateway/boot.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/ctl.h"
#include "core/util.h"
#include "gateway/fsproc.h"
#include "gateway/proc.h"
#include "gateway/service.h"
#include "gateway/session-probe.h"
#include "gateway/site.h"
#include "gateway/tgt-want.h"

#define BAD_RETRY_S     30
#define REJECT_RETRY_S  15
#define ASK_RETRY_S     5
#define SESSION_RETRY_S 3
#define PROBE_MS        400  /* for the answer of a PC in the same network */
#define NOTICE_MS       1000 /* until tgtd has dropped a session whose connection is gone */
#define ADDRESS_LEN     63
#define CLOSED_RETRY_S  10
#define SAME_BOOT_S     600 /* a request without a login so long after the first belongs to the same boot */
#define STATUS_MS       10000

struct event {
    const char *root;
    const char *address;
    struct catalog *c;
    char mac[MAC_LEN + 1];
    struct client_row client;
    bool
        is_renewed; /* an overlay was exchanged: another boot than the one before, whether that was seen to log in or not */
    unsigned retry_s; /* after a refusal */
    struct err why;   /* the refusal, "" = none */
};

static void event_finish(struct event *e)
{
    catalog_close(e->c);
    explicit_bzero(&e->client, sizeof(e->client));
}

/* A refusal that is no error of ours. Returns a negative errno, so that the steps end. */
#define REFUSE(e, retry, ...) ((e)->retry_s = (retry), err_set(&(e)->why, -EACCES, __VA_ARGS__))

/* --- who is it --------------------------------------------------------------------------------------------------- */

/* 0 and e->client; -ENOENT without a sentence. */
static int find_client(struct event *e)
{
    _cleanup_free_ struct client_row *rows = NULL;
    size_t n = 0;
    int r = client_list(e->c, &rows, &n, &e->why);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].mac, e->mac) == 0) {
            e->client = rows[i];
            r = 0;
        }
    explicit_bzero(rows, n * sizeof(*rows)); /* secrets */
    return r;
}

static int reject(struct event *e)
{
    return REFUSE(e, REJECT_RETRY_S,
                  "this PC, MAC %s, is not known here.\nAdd it on the server with\ndiskgate client add NAME --mac %s "
                  "--image IMAGE",
                  e->mac, e->mac);
}

static int ask(struct event *e)
{
    struct pending_row row = {0};
    int r = catalog_begin(e->c, &e->why);
    if (r == 0)
        r = pending_note(e->c, e->mac, e->address, &row, &e->why);
    if (r == 0)
        r = catalog_commit(e->c, &e->why);
    if (r < 0)
        return r;
    return REFUSE(
        e, ASK_RETRY_S,
        "this PC waits for approval. Its number is\n%u\nMAC %s. On the server, run\ndiskgate client approve %s "
        "NAME --image IMAGE",
        row.number, e->mac, e->mac);
}

static int copy_links(struct event *e, const char *from, const char *to)
{
    _cleanup_free_ struct link_row *links = NULL;
    size_t n = 0;
    int r = link_list(e->c, from, &links, &n, &e->why);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = link_set(e->c, to, links[i].slot, links[i].image, links[i].pinned, &e->why);
    return r;
}

/* What clients get that are added by themselves. */
struct template
{
    char rule[SETTING_LEN + 1], client[SETTING_LEN + 1], image[SETTING_LEN + 1], mode[SETTING_LEN + 1];
};

static int read_template(struct event *e, struct template *ret)
{
    int r = setting_get(e->c, "clients.template", ret->rule, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_client", ret->client, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_image", ret->image, &e->why);
    r = r ? r : setting_get(e->c, "clients.template_mode", ret->mode, &e->why);
    if (r == 0 && !*ret->client && !*ret->image)
        return REFUSE(e, REJECT_RETRY_S,
                      "this PC, MAC %s, is new, and nothing says what it is to get. On the server, run\ndiskgate set "
                      "clients.template_image IMAGE",
                      e->mac);
    return r;
}

/* In a transaction. */
static int add_client(struct event *e, const struct template *t)
{
    struct client_row row = {.mode = OVERLAY_VOLATILE}, model = {0};
    char image[NAME_LEN + 1];
    uint32_t version = 0;
    int r = client_name_next(e->c, t->rule, row.name, &e->why);
    if (r == 0 && *t->client)
        r = client_get(e->c, t->client, &model, &e->why);
    if (r == 0 && !*t->client)
        r = overlay_mode_parse(t->mode, &model.mode, &e->why);
    if (r < 0)
        return r;
    strcpy(row.mac, e->mac);
    strcpy(row.group, model.group);
    row.mode = model.mode == OVERLAY_SUPER ? OVERLAY_KEPT : model.mode; /* only by a command for one client */
    explicit_bzero(&model, sizeof(model));
    r = client_add(e->c, &row, &e->why);
    if (r == 0 && *t->client)
        r = copy_links(e, t->client, row.name);
    if (r == 0 && !*t->client)
        r = image_ref_parse(t->image, image, &version, &e->why);
    if (r == 0 && !*t->client)
        r = link_set(e->c, row.name, 0, image, version, &e->why);
    if (r == 0)
        r = pending_remove(e->c, e->mac, &e->why);
    if (r == 0)
        e->client = row;
    explicit_bzero(&row, sizeof(row));
    return r;
}

static int add_by_itself(struct event *e)
{
    struct template t;
    int r = read_template(e, &t);
    if (r == 0)
        r = catalog_begin(e->c, &e->why);
    if (r < 0)
        return r;
    catalog_set_actor(e->c, "boot");
    r = find_client(e); /* the administrator may have been faster */
    if (r == -ENOENT)
        r = add_client(e, &t);
    if (r == 0)
        return catalog_commit(e->c, &e->why);
    catalog_rollback(e->c);
    return err_prefix(&e->why, r, "this PC, MAC %s, is new and cannot be added", e->mac);
}

/* 0 and e->client when the PC may boot. */
static int identify(struct event *e)
{
    char what[SETTING_LEN + 1];
    int r = find_client(e);
    if (r != -ENOENT)
        return r;
    r = setting_get(e->c, "clients.unknown", what, &e->why);
    if (r < 0)
        return r;
    if (strcmp(what, "auto") == 0)
        return add_by_itself(e);
    return strcmp(what, "ask") == 0 ? ask(e) : reject(e);
}

/* --- a new boot -------------------------------------------------------------------------------------------------- */

/* The client's sessions: their count, and the address of the first. */
static int count_sessions(struct event *e, char address[ADDRESS_LEN + 1])
{
    _cleanup_json_ json_t *sessions = NULL;
    int r = service_sessions(e->root, e->c, e->client.name, &sessions, &e->why);
    const char *text = json_string_value(json_object_get(json_array_get(sessions, 0), "address"));
    (void)snprintf(address, ADDRESS_LEN + 1, "%s", text ? text : ""); /* a cut one fits nobody */
    return r < 0 ? r : (int)json_array_size(sessions);
}

/* A session from where the request came may be what is left of the PC before it was reset: its TCP knows (session-probe.c). */
static int end_dead_session(struct event *e, char address[ADDRESS_LEN + 1])
{
    _cleanup_(site_finish) struct site site = {.run_fd = -1};
    if (site_open(&site, e->root, false, NULL) < 0 || !session_probe(&site, address, PROBE_MS))
        return 1;
    int64_t end_ms = proc_now_ms() + NOTICE_MS;
    int n = 1;
    while (n > 0 && proc_now_ms() < end_ms) {
        proc_sleep_ms(20);
        n = count_sessions(e, address);
    }
    return n;
}

static int check_sessions(struct event *e)
{
    char address[ADDRESS_LEN + 1];
    int n = count_sessions(e, address);
    if (n > 0 && strcmp(address, e->address) == 0)
        n = end_dead_session(e, address);
    if (n <= 0)
        return n;
    return REFUSE(e, SESSION_RETRY_S,
                  "the disk of %s is still in use by the PC at %s.\nIf that is this PC before its restart, wait: the "
                  "server notices within half a minute.\nIf not, two PCs have the MAC %s.",
                  e->client.name, *address ? address : "an unknown address", e->mac);
}

/* Is there nothing of the client's in the view, and is it over the version that it asks for? */
static bool is_fresh(const struct view_row *v, const json_t *status)
{
    const json_t *row = want_find_view(status, v->overlay_id);
    return v->version == v->current && json_is_true(json_object_get(row, "untouched"));
}

static int renew(struct event *e)
{
    _cleanup_free_ struct view_row *views = NULL;
    _cleanup_json_ json_t *status = NULL;
    _cleanup_(site_finish) struct site site = {.run_fd = -1};
    size_t n = 0;
    int done = 0, r = view_list(e->c, e->client.name, &views, &n, &e->why);
    if (r < 0 || e->client.mode != OVERLAY_VOLATILE)
        return r;
    if (site_open(&site, e->root, false, NULL) == 0)
        (void)fsproc_call(&site, "status", STATUS_MS, &status, NULL); /* without an answer all are exchanged */
    for (size_t i = 0; i < n && r == 0; i++) {
        if (is_fresh(&views[i], status))
            continue;
        r = done++ > 0 ? 0 : catalog_begin(e->c, &e->why);
        r = r ? r : overlay_renew(e->c, e->client.name, (int)views[i].slot, &e->why);
    }
    if (done == 0)
        return r;
    if (r < 0)
        catalog_rollback(e->c);
    else
        r = catalog_commit(e->c, &e->why);
    e->is_renewed = r == 0;
    return r;
}

/* The row of the client's boot disk in service_targets(), borrowed from *@ret_list. */
static int find_target(struct event *e, json_t **ret_list, const json_t **ret)
{
    json_decref(*ret_list);
    *ret_list = NULL;
    int r = service_targets(e->root, e->c, true, ret_list, &e->why);
    if (r < 0)
        return r;
    const json_t *rows = json_object_get(*ret_list, "targets");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *client = json_string_value(json_object_get(row, "client"));
        if (client && strcmp(client, e->client.name) == 0 && json_integer_value(json_object_get(row, "slot")) == 0) {
            *ret = row;
            return 0;
        }
    }
    return REFUSE(e, CLOSED_RETRY_S, "%s has no disk to boot from. On the server, run\ndiskgate client link %s IMAGE",
                  e->client.name, e->client.name);
}

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key)) ?: "";
}

static bool is_open(const json_t *row)
{
    return strcmp(text_of(row, "state"), "open") == 0;
}

static int follow(struct event *e)
{
    _cleanup_json_ json_t *report = NULL;
    int r = service_sync(e->root, e->c, &report, &e->why);
    if (r == -EREMOTEIO) { /* what is wrong with this client shows in its target */
        e->why.msg[0] = 0;
        return 0;
    }
    return r;
}

/* Steps (1) to (3). *ret is the open target. */
static int prepare(struct event *e, json_t **list, const json_t **ret)
{
    int r = check_sessions(e);
    r = r ? r : renew(e);
    r = r ? r : find_target(e, list, ret);
    if (r < 0 || (!e->is_renewed && is_open(*ret)))
        return r;
    r = follow(e);
    r = r ? r : find_target(e, list, ret);
    if (r < 0 || is_open(*ret))
        return r;
    const char *why = text_of(*ret, "problem");
    return REFUSE(e, CLOSED_RETRY_S, "the disk of %s cannot be served: %s.\nOn the server, see diskgate status",
                  e->client.name, *why ? why : "nothing runs on the server, diskgate up starts it");
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
    (void)snprintf(row.image, sizeof(row.image), "%s", text_of(target, "image"));
    (void)snprintf(row.refused, sizeof(row.refused), "%s", e->why.msg); /* a cut sentence is still a sentence */
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
    (void)snprintf(address, sizeof(address), "%s", text_of(row, "portal"));
    char *colon = strrchr(address, ':');
    const char *chap = json_string_value(json_object_get(row, "chap_user"));
    struct boot_target t = {.client = e->client.name,
                            .mac = e->mac,
                            .portal_address = address,
                            .iqn = text_of(row, "iqn"),
                            .initiator = text_of(row, "initiator"),
                            .chap_user = chap,
                            .chap_password = text_of(row, "chap_password"),
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

static int boot_client(struct event *e, char **ret_script, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    const json_t *target = NULL;
    int r = prepare(e, &list, &target);
    bool is_waiting = r < 0 && e->retry_s == SESSION_RETRY_S; /* its boot has a row already */
    if (!is_waiting && note_boot(e, r < 0 ? NULL : target, err) == 0)
        err->msg[0] = 0;
    return r < 0 ? r : give_disk(e, target, ret_script);
}

static int run_event(struct event *e, const char *mac_text, char **ret_script, struct err *err)
{
    int r = mac_parse(mac_text, e->mac, &e->why);
    if (r < 0)
        return r;
    r = catalog_open(e->root, CATALOG_WRITE, &e->c, &e->why);
    if (r == 0)
        r = identify(e);
    return r < 0 ? r : boot_client(e, ret_script, err);
}

int boot_event(const char *root, const char *mac_text, const char *address, char **ret_script, struct err *err)
{
    _cleanup_(event_finish) struct event e = {.root = root, .address = address, .retry_s = BAD_RETRY_S};
    struct err ignored;
    if (!err)
        err = &ignored;
    err->msg[0] = 0;
    int r = run_event(&e, mac_text, ret_script, err);
    if (r == 0)
        return 0;
    *err = e.why;
    return boot_script_refuse(*e.why.msg ? e.why.msg : strerror(-r), *e.mac ? e.mac : NULL, e.retry_s, ret_script);
}
