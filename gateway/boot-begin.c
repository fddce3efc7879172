/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new boot of a client: steps (1) to (3) of boot-event.c. */
#include "gateway/boot-event.h"

#include <errno.h>
#include <string.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/fsproc.h"
#include "gateway/service.h"
#include "gateway/site.h"
#include "gateway/tgt-want.h"

#define CLOSED_RETRY_S 10
#define STATUS_MS      10000

/* Is there nothing of the client's in the view, and is it over the version that it asks for? */
static bool is_fresh(const struct view_row *v, const json_t *status)
{
    const json_t *row = want_find_view(status, v->overlay_id);
    return v->version == v->current && json_is_true(json_object_get(row, "untouched"));
}

/* Exchange what is volatile and was changed of the disks that the client gets now; *done counts what was written, in one transaction. */
static int renew(struct event *e, int *done)
{
    _cleanup_free_ struct view_row *views = NULL;
    _cleanup_json_ json_t *status = NULL;
    _cleanup_(site_finish) struct site site = {.run_fd = -1};
    size_t n = 0;
    int r = view_list(e->c, e->client.name, &views, &n, &e->why);
    if (r < 0 || e->client.mode != OVERLAY_VOLATILE)
        return r;
    if (site_open(&site, e->root, false, NULL) == 0)
        (void)fsproc_call(&site, "status", STATUS_MS, &status, NULL); /* without an answer all are exchanged */
    for (size_t i = 0; i < n && r == 0; i++) {
        bool is_chosen = views[i].slot == e->slot || !slot_is_boot(views[i].slot);
        if (!is_chosen || is_fresh(&views[i], status))
            continue;
        r = (*done)++ > 0 ? 0 : catalog_begin(e->c, &e->why);
        r = r ? r : overlay_renew(e->c, e->client.name, (int)views[i].slot, &e->why);
    }
    return r;
}

static int move_boot_slot(struct event *e, int *done)
{
    if (e->client.boot_slot == e->slot)
        return 0;
    int r = (*done)++ > 0 ? 0 : catalog_begin(e->c, &e->why);
    return r ? r : client_set_boot_slot(e->c, e->client.name, e->slot, &e->why);
}

static int begin_boot(struct event *e)
{
    int done = 0, r = renew(e, &done);
    r = r ? r : move_boot_slot(e, &done);
    if (done == 0)
        return r;
    if (r < 0)
        catalog_rollback(e->c);
    else
        r = catalog_commit(e->c, &e->why);
    e->is_renewed = r == 0;
    return r;
}

/* With auth.rotate, a password that no boot before knew. It leaves no audit row: whoever can send a request makes it happen. */
static int rotate_secret(struct event *e)
{
    char rotate[SETTING_LEN + 1], chap[SETTING_LEN + 1];
    int r = setting_get(e->c, "auth.rotate", rotate, &e->why);
    r = r ? r : setting_get(e->c, "auth.chap", chap, &e->why);
    if (r < 0 || strcmp(rotate, "on") != 0 || strcmp(chap, "on") != 0)
        return r;
    r = catalog_begin(e->c, &e->why);
    r = r ? r : client_renew_secret(e->c, &e->client, &e->why);
    if (r < 0)
        catalog_rollback(e->c);
    else
        r = catalog_commit(e->c, &e->why);
    e->has_new_secret = r == 0;
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
        if (!client || strcmp(client, e->client.name) != 0 ||
            json_integer_value(json_object_get(row, "lun")) != BOOT_LUN)
            continue;
        *ret = row;
        bool is_chosen = json_integer_value(json_object_get(row, "slot")) == e->slot;
        return is_chosen ? 0 : event_refuse_session(e, ""); /* of a session that has just begun */
    }
    return REFUSE(e, CLOSED_RETRY_S, "%s has no disk to boot from. On the server, run\ndiskgate client link %s IMAGE",
                  e->client.name, e->client.name);
}

static bool is_open(const json_t *row)
{
    return strcmp(json_text(row, "state"), "open") == 0;
}

/* Open, and in the way that the setting gateway.direct asks for: now nobody is logged in, so it can be changed. */
static bool is_right(const json_t *row)
{
    return is_open(row) && !json_object_get(row, "next_store");
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

int event_prepare(struct event *e, json_t **list, const json_t **ret)
{
    int r = begin_boot(e);
    r = r ? r : rotate_secret(e);
    r = r ? r : find_target(e, list, ret);
    if (r < 0 || (!e->is_renewed && !e->has_new_secret && is_right(*ret)))
        return r;
    r = follow(e);
    r = r ? r : find_target(e, list, ret);
    if (r < 0 || is_open(*ret))
        return r;
    const char *why = json_text(*ret, "problem");
    return REFUSE(e, CLOSED_RETRY_S, "the disk of %s cannot be served: %s.\nOn the server, see diskgate status",
                  e->client.name, *why ? why : "nothing runs on the server, diskgate up starts it");
}
