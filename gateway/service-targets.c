/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which targets there are, and who is logged in. */
#include "gateway/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"
#include "gateway/service-snapshot.h"

static size_t disk_count(const struct tgt_target *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_luns; i++)
        n += t->luns[i].lun > 0;
    return n;
}

/* NULL where there is no boot disk. */
static const char *boot_store(const struct tgt_target *t)
{
    const struct tgt_lun *l = tgt_find_lun(t, BOOT_LUN);
    return l ? l->bstype : NULL;
}

int service_sessions(const char *root, struct catalog *c, const char *client, json_t **ret, struct err *err)
{
    _cleanup_(service_snapshot_finish) struct service_snapshot n = {0};
    _cleanup_json_ json_t *list = json_array();
    int r = service_snapshot_take(&n, root, c, err);
    if (r < 0)
        return r;
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        for (size_t i = 0; i < n.states[k].n_targets; i++) {
            const struct tgt_target *t = &n.states[k].targets[i];
            const char *name = "";
            for (size_t m = 0; m < n.want.n_clients; m++)
                if (n.want.clients[m].id == t->tid && strcmp(n.want.clients[m].iqn, t->name) == 0)
                    name = n.want.clients[m].name;
            if (client && strcasecmp(client, name) != 0)
                continue;
            for (size_t m = 0; m < t->n_sessions; m++)
                (void)json_array_append_new(
                    list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:s*}", "client", name, "target_iqn", t->name,
                                    "initiator", t->sessions[m].initiator, "address", t->sessions[m].address,
                                    "lun_count", (json_int_t)disk_count(t), "store", boot_store(t)));
        }
    }
    *ret = take_ptr(list);
    return *ret ? 0 : err_sys(err, -ENOMEM, "cannot list the sessions");
}

static json_t *session_list(const struct tgt_target *t)
{
    json_t *list = json_array();
    for (size_t i = 0; t && i < t->n_sessions; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s}", "initiator", t->sessions[i].initiator, "address",
                                              t->sessions[i].address)); /* a list too short is all that can happen */
    return list;
}

/* Who answers reads of the disk, and who will after the client's next boot if that is somebody else. */
static void add_store(json_t *row, const struct service_snapshot *n, const struct tgt_target *t, unsigned shard,
                      unsigned lun)
{
    const struct tgt_lun *l = t ? tgt_find_lun(t, lun) : NULL;
    const char *wanted = want_store(&n->site, n->has_direct[shard]);
    (void)json_object_set_new(row, "store", l ? json_string(l->bstype) : json_null()); /* without memory: missing */
    if (l && strcmp(l->bstype, wanted) != 0)
        (void)json_object_set_new(row, "next_store", json_string(wanted)); /* likewise */
}

static json_t *target_row(const struct service_snapshot *n, const struct want_entry *e, const struct view_row *v,
                          bool with_secrets)
{
    unsigned k = e->shard;
    const struct tgt_target *t = service_find_target(n, e, &k);
    char portal[80], why[1024];
    site_portal(&n->site, k, portal);
    service_lun_problem(n, e, v, t, why, sizeof(why));
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:I, s:s, s:o}", "client", v->client, "iqn",
                  e->client->iqn, "initiator", e->initiator, "portal", portal, "lun",
                  (json_int_t)want_lun(e->client, v->slot), "slot", (json_int_t)v->slot, "image", v->image, "version",
                  (json_int_t)v->version, "mode", overlay_mode_name(v->mode), "shard", (json_int_t)k, "state",
                  !n->is_up ? "down"
                  : *why    ? "closed"
                            : "open",
                  "sessions", session_list(t));
    add_store(row, n, t, k, want_lun(e->client, v->slot));
    if (row && *why)
        (void)json_object_set_new(row, "problem", json_string(why));
    if (row && with_secrets && n->site.has_chap) {
        (void)json_object_set_new(row, "chap_user", json_string(e->client->chap_user));
        (void)json_object_set_new(row, "chap_password", json_string(e->client->chap_password));
    }
    return row;
}

int service_targets(const char *root, struct catalog *c, bool with_secrets, json_t **ret, struct err *err)
{
    _cleanup_(service_snapshot_finish) struct service_snapshot n = {0};
    _cleanup_json_ json_t *list = json_array();
    int r = service_snapshot_take(&n, root, c, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n.want.n_views && list; i++) {
        const struct want_entry *e = want_find(&n.want, n.want.views[i].client_id);
        if (e && want_lun(e->client, n.want.views[i].slot) > 0 &&
            json_array_append_new(list, target_row(&n, e, &n.want.views[i], with_secrets)) < 0)
            return err_sys(err, -ENOMEM, "cannot list the targets");
    }
    *ret = json_pack("{s:O}", "targets", list);
    return *ret ? 0 : err_sys(err, -ENOMEM, "cannot list the targets");
}
