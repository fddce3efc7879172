/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From rows of the catalog to targets.
 *
 * tid = client id, LUN = slot + 1, but LUN 1 = the client's boot slot and no other boot slot; file = by-id/OVERLAY.img in the mount: the same path is the same disk, a reset or another image is
 * another path. Clients are spread by id modulo shards. A disk's serial number tells root, client and slot, so it stays when the
 * client is renamed or gets another image, and no two gateways give the same.
 *
 * (1) A disabled client has no LUN, and a target without a LUN is no target.
 * (2) While a session has LUN 1, that is the boot slot, whatever the catalog says: another disk never takes its place under a running system.
 * (3) A boot slot that is not linked any more is no LUN, and no other disk takes its place before the client's next boot.
 */
#include "gateway/tgt-want.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/report.h"

#define VIEWS_BY_ID "views_by_id" /* {overlay id: view}, beside diskgate-fs's own "views" */

void want_finish(struct want *w)
{
    if (w->clients)
        explicit_bzero(w->clients, w->n_clients * sizeof(*w->clients)); /* secrets */
    free(w->clients);
    free(w->views);
    free(w->entries);
    *w = (struct want){0};
}

void want_path(const char *id, char *ret)
{
    (void)snprintf(ret, 64, "mnt/by-id/%s.img", id); /* fits */
}

static const char *acl_of(const struct site *s, const struct want_entry *e)
{
    switch (s->acl) {
    case ACL_NAME:
        return e->initiator;
    case ACL_ADDRESS:
        return e->client->ip;
    case ACL_OFF:
        break;
    }
    return "ALL";
}

static void init_entry(const struct site *s, struct client_row *client, struct want_entry *e)
{
    *e = (struct want_entry){.client = client, .shard = (unsigned)((uint64_t)client->id % s->shards)};
    (void)snprintf(e->initiator, sizeof(e->initiator), "%s:initiator", client->iqn); /* fits */
    e->target.tid = client->id;
    e->target.iqn = client->iqn;
    e->target.user = s->has_chap ? client->chap_user : NULL;
    e->target.password = s->has_chap ? client->chap_password : NULL;
}

unsigned want_lun(const struct client_row *client, uint32_t slot)
{
    if (slot == client->boot_slot)
        return BOOT_LUN;
    return slot_is_boot(slot) ? 0 : slot + 1;
}

static void add_luns(const struct site *s, const struct want *w, struct want_entry *e)
{
    struct want_target *t = &e->target;
    t->n_luns = 0;
    for (size_t i = 0; i < w->n_views && !e->client->is_disabled && t->n_luns < ARRAY_SIZE(t->luns); i++) {
        const struct view_row *v = &w->views[i];
        unsigned lun = v->client_id == t->tid ? want_lun(e->client, v->slot) : 0;
        if (lun == 0)
            continue;
        struct want_lun *l = &t->luns[t->n_luns++];
        *l = (struct want_lun){.lun = lun};
        want_path(v->overlay_id, l->path);
        (void)snprintf(l->sn, sizeof(l->sn), "%s-%lld-%u", s->tag, (long long)v->client_id,
                       v->slot); /* 8 + 19 + 2 and two '-' */
    }
}

static bool has_view(const struct want *w, int64_t client_id)
{
    for (size_t i = 0; i < w->n_views; i++)
        if (w->views[i].client_id == client_id)
            return true;
    return false;
}

int want_read(const struct site *s, struct catalog *c, struct want *ret, struct err *err)
{
    struct want w = {0};
    int r = client_list(c, &w.clients, &w.n_clients, err);
    r = r < 0 ? r : view_list(c, NULL, &w.views, &w.n_views, err);
    if (r >= 0) {
        w.entries = calloc(w.n_clients + 1, sizeof(*w.entries));
        r = w.entries ? 0 : err_sys(err, -ENOMEM, "cannot read the catalog");
    }
    for (size_t i = 0; i < w.n_clients && r >= 0; i++) {
        struct want_entry *e = &w.entries[w.n];
        init_entry(s, &w.clients[i], e);
        add_luns(s, &w, e);
        e->target.acl = acl_of(s, e); /* may point into the entry, which stays where it is */
        w.n += has_view(&w, e->target.tid);
    }
    if (r < 0) {
        want_finish(&w);
        return r;
    }
    *ret = w;
    return 0;
}

bool want_keep_session(const struct site *s, struct want *w, const struct tgt_target *t)
{
    struct want_entry *e = t->n_sessions > 0 ? want_find(w, t->tid) : NULL;
    const struct tgt_lun *have = e && strcmp(t->name, e->target.iqn) == 0 ? tgt_find_lun(t, BOOT_LUN) : NULL;
    for (size_t i = 0; have && i < w->n_views; i++) {
        const struct view_row *v = &w->views[i];
        char path[64];
        want_path(v->overlay_id, path);
        if (v->client_id != t->tid || !slot_is_boot(v->slot) || v->slot == e->client->boot_slot ||
            strcmp(path, have->path) != 0)
            continue;
        e->client->boot_slot = v->slot;
        add_luns(s, w, e);
        return true;
    }
    return false;
}

void want_index_views(json_t *status)
{
    _cleanup_json_ json_t *index = json_object();
    const json_t *views = json_object_get(status, "views");
    for (size_t i = 0; i < json_array_size(views) && index; i++) {
        json_t *v = json_array_get(views, i);
        const char *id = json_string_value(json_object_get(v, "overlay_id"));
        if (id && json_object_set(index, id, v) < 0)
            return;
    }
    (void)json_object_set(status, VIEWS_BY_ID, index); /* an index too few is slow and no more */
}

const json_t *want_find_view(const json_t *status, const char *id)
{
    const json_t *index = json_object_get(status, VIEWS_BY_ID);
    if (index)
        return json_object_get(index, id);
    const json_t *views = json_object_get(status, "views");
    for (size_t i = 0; i < json_array_size(views); i++) {
        const json_t *v = json_array_get(views, i);
        const char *text = json_string_value(json_object_get(v, "overlay_id"));
        if (text && strcmp(text, id) == 0)
            return v;
    }
    return NULL;
}

bool want_is_lost(const json_t *status, const char *id)
{
    const char *state = json_string_value(json_object_get(want_find_view(status, id), "state"));
    return state && strcmp(state, "lost") == 0;
}

bool want_knows_all(const struct want *w, const json_t *status)
{
    for (size_t i = 0; i < w->n_views; i++)
        if (!want_find_view(status, w->views[i].overlay_id))
            return false;
    return true;
}

void want_view_problem(const struct view_row *v, const json_t *status, char *ret, size_t max)
{
    const json_t *view = want_find_view(status, v->overlay_id);
    const char *state = json_string_value(json_object_get(view, "state"));
    const char *why = json_string_value(json_object_get(view, "error"));
    if (state && strcmp(state, "ready") == 0)
        ret[0] = 0;
    else
        (void)snprintf(ret, max, "%s",
                       why && *why ? why : "diskgate-fs does not serve its disk yet; run 'diskgate target sync'");
}

void want_acl_problem(const struct site *s, const struct client_row *client, char *ret, size_t max)
{
    ret[0] = 0;
    if (s->acl == ACL_ADDRESS && !client->ip[0])
        (void)snprintf(ret, max,
                       "auth.acl is 'address' but client %s has none; give it one with 'diskgate client set %s --ip "
                       "ADDRESS'",
                       client->name, client->name);
}

static const struct view_row *view_of(const struct want *w, const struct client_row *client, uint64_t lun)
{
    for (size_t i = 0; i < w->n_views; i++)
        if (w->views[i].client_id == client->id && want_lun(client, w->views[i].slot) == lun)
            return &w->views[i];
    return NULL;
}

static void check_luns(const struct want *w, struct want_entry *e, const json_t *status, json_t *report)
{
    struct want_target *t = &e->target;
    size_t n = 0;
    bool is_lost = false;
    for (size_t i = 0; i < t->n_luns; i++) {
        char why[1024], what[NAME_LEN + 32];
        const struct view_row *v = view_of(w, e->client, t->luns[i].lun);
        want_view_problem(v, status, why, sizeof(why));
        (void)snprintf(what, sizeof(what), "client %s slot %u", e->client->name, v->slot); /* fits */
        if (want_is_lost(status, v->overlay_id)) {
            report_change(report,
                          "client %s waits for its next boot: what it had written in slot %u was lost with the "
                          "server's power",
                          e->client->name, v->slot);
            is_lost = true;
        } else if (*why)
            report_problem(report, what, "%s", why);
        else
            t->luns[n++] = t->luns[i];
    }
    t->n_luns = is_lost ? 0 : n; /* none of its disks is given to a client that may run on */
}

void want_check_views(const struct site *s, struct want *w, const json_t *status, json_t *report)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct want_entry *e = &w->entries[i];
        char why[1024], what[NAME_LEN + 16];
        if (e->target.n_luns == 0)
            continue;
        check_luns(w, e, status, report);
        want_acl_problem(s, e->client, why, sizeof(why));
        (void)snprintf(what, sizeof(what), "client %s", e->client->name); /* fits */
        if (*why)
            report_problem(report, what, "%s", why);
        if (*why || e->target.n_luns == 0)
            continue;
        if (i != n) {
            w->entries[n] = *e;
            w->entries[n].target.acl = acl_of(s, &w->entries[n]);
        }
        n++;
    }
    w->n = n;
}

const char *want_store(const struct site *s, bool has_direct)
{
    return s->wants_direct && has_direct ? DIRECT_STORE : PLAIN_STORE;
}

struct want_target *want_of_shard(const struct want *w, unsigned k, const char *store, size_t *ret_n)
{
    struct want_target *ret = calloc(w->n + 1, sizeof(*ret));
    size_t n = 0;
    for (size_t i = 0; i < w->n && ret; i++)
        if (w->entries[i].shard == k && w->entries[i].target.n_luns > 0)
            ret[n++] = w->entries[i].target;
    for (size_t i = 0; i < n; i++)
        ret[i].store = store;
    *ret_n = n;
    return ret;
}

struct want_entry *want_find(const struct want *w, int64_t tid)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->entries[i].target.tid == tid)
            return &w->entries[i];
    return NULL;
}
