/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is wrong with what runs, and what is worth knowing, as sentences. */
#include "gateway/service-snapshot.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/service-parts.h"
#include "gateway/version-file.h"

static void add_problem(json_t *list, const char *what, const char *why)
{
    (void)json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "problem", why));
}

static void image_problem(json_t *list, const char *root, const struct version_row *v)
{
    const char *state = version_state(root, v);
    char path[PATH_MAX], what[NAME_LEN + 32], why[PATH_MAX + 400];
    if (strcmp(state, "ok") == 0 || version_path(root, v, path, NULL) < 0)
        return;
    (void)snprintf(what, sizeof(what), "image %s", v->image); /* fits, as do the sentences */
    if (strcmp(state, "missing") == 0)
        (void)snprintf(why, sizeof(why),
                       "its file '%s' is gone: it is still served from the open file, but not after the next 'diskgate "
                       "down'; put it back, or find it with 'diskgate image repair --search DIR'",
                       path);
    else if (strcmp(state, "changed") == 0)
        (void)snprintf(why, sizeof(why),
                       "its file '%s' was changed while it is in use, so its clients may read damaged data; put the "
                       "original back, or see 'diskgate image check %s'",
                       path, v->image);
    else
        (void)snprintf(why, sizeof(why), "its file '%s' cannot be looked at; see to it that root may read it", path);
    add_problem(list, what, why);
}

/* Images that are served and whose file is not as it was recorded. A disk that is not served tells its own reason. */
static void image_problems(json_t *list, const struct service_snapshot *n, struct catalog *c)
{
    _cleanup_free_ struct version_row *rows = NULL;
    size_t count = 0;
    if (version_list(c, NULL, &rows, &count, NULL) < 0)
        return; /* the rest of the status is worth more than this */
    for (size_t i = 0; i < count; i++) {
        char why[8] = "?";
        for (size_t k = 0; k < n->want.n_views && *why; k++)
            if (n->want.views[k].version_id == rows[i].id)
                want_view_problem(&n->want.views[k], n->fs, why, sizeof(why));
        if (!*why)
            image_problem(list, n->site.root, &rows[i]);
    }
}

#define SPACE_LOW_BYTES (2 * GiB)
#define SPACE_LOW_PART  20 /* and less than this part of the disk */

/* Said before it is too late: volatile and kept overlays grow on this disk. */
static void space_problem(json_t *list, const struct service_snapshot *n)
{
    struct statvfs st;
    char folder[PATH_MAX], why[PATH_MAX + 256], left[32];
    if (root_path(n->site.root, "overlays", folder, NULL) < 0 || statvfs(folder, &st) < 0)
        return; /* other problems tell why */
    if (st.f_flag & ST_RDONLY) {
        (void)snprintf(
            why, sizeof(why),
            "the disk of '%s' is read-only now (the kernel does that after an error of the disk), so no client can "
            "write; see 'dmesg', mend it and mount it again",
            folder); /* fits */
        add_problem(list, "overlays", why);
        return;
    }
    uint64_t free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    if (free_bytes >= SPACE_LOW_BYTES || st.f_bavail >= st.f_blocks / SPACE_LOW_PART)
        return;
    size_text(free_bytes, left);
    (void)snprintf(why, sizeof(why),
                   "only %s are left on the disk of '%s'; make room before clients have to wait for it", left,
                   folder); /* fits */
    add_problem(list, "overlays", why);
}

/* Went what the client wrote with the server's power, and is it a disk that it may be running from? */
static bool is_lost(const struct service_snapshot *n, const struct view_row *v)
{
    const struct want_entry *e = want_find(&n->want, v->client_id);
    bool is_lun = e && !e->client->is_disabled && want_lun(e->client, v->slot) > 0;
    return is_lun && want_is_lost(n->fs, v->overlay_id);
}

/* Is a disk of the client lost, and so all of them closed until its next boot? */
static bool client_waits(const struct service_snapshot *n, int64_t client_id)
{
    for (size_t i = 0; i < n->want.n_views; i++)
        if (n->want.views[i].client_id == client_id && is_lost(n, &n->want.views[i]))
            return true;
    return false;
}

/* The disk that the client started from was taken out of its boot menu: LUN 1 stays closed until its next boot. */
static void notice_gone(json_t *list, const struct service_snapshot *n, const struct client_row *client)
{
    char what[NAME_LEN + 32];
    for (size_t i = 0; i < n->want.n_views; i++)
        if (n->want.views[i].client_id == client->id && n->want.views[i].slot == client->boot_slot)
            return;
    (void)snprintf(what, sizeof(what), "client %s slot %u", client->name, client->boot_slot); /* fits */
    (void)json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "notice",
                                                "waits for its next boot: the disk that it started from was unlinked"));
}

json_t *service_notices(const struct service_snapshot *n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n->want.n_clients && n->is_up; i++)
        if (n->want.clients[i].boot_slot != 0)
            notice_gone(list, n, &n->want.clients[i]);
    for (size_t i = 0; i < n->want.n_views && n->is_up; i++) {
        const struct view_row *v = &n->want.views[i];
        char what[NAME_LEN + 32];
        (void)snprintf(what, sizeof(what), "client %s slot %u", v->client, v->slot); /* fits */
        if (is_lost(n, v))
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:s}", "what", what, "notice",
                                                  "waits for its next boot: what it had written was lost with the "
                                                  "server's power ('diskgate client reset' opens it at once)"));
    }
    return list;
}

json_t *service_problems(const struct service_snapshot *n, struct catalog *c)
{
    json_t *list = json_array();
    if (!n->is_up)
        return list;
    if (n->fs_error)
        add_problem(list, "diskgate-fs", n->fs_problem.msg);
    if (n->daemon_error)
        add_problem(list, "diskgated", n->daemon_problem.msg);
    if (n->is_dnsmasq_wanted && !n->dnsmasq_pid)
        add_problem(list, "dnsmasq", DNSMASQ_DOWN);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "tgtd %u", k);
        if (n->shard_errors[k])
            add_problem(list, name, n->shard_problems[k].msg);
        else if (n->pids[k] && !parts_listens_right(&n->site, k))
            add_problem(list, name,
                        "it listens on its former address or port; 'diskgate target sync' moves it when no client is "
                        "logged in, 'diskgate down' and 'diskgate up' move it now");
    }
    for (size_t i = 0; i < n->want.n_views && !n->fs_error; i++) {
        const struct view_row *v = &n->want.views[i];
        const struct want_entry *e = want_find(&n->want, v->client_id);
        char why[1024] = "", what[NAME_LEN + 32];
        unsigned k = e ? e->shard : 0;
        const struct tgt_target *t = e ? service_find_target(n, e, &k) : NULL;
        (void)snprintf(what, sizeof(what), "client %s slot %u", v->client, v->slot); /* fits */
        if (client_waits(n, v->client_id) || (e && e->client->is_disabled))
            continue;
        if (e && !(n->shard_errors[k] && !t))
            service_lun_problem(n, e, v, t, why, sizeof(why));
        const char *alarm = json_string_value(json_object_get(want_find_view(n->fs, v->overlay_id), "alarm"));
        if (*why || alarm)
            add_problem(list, what, *why ? why : alarm);
    }
    if (!n->fs_error)
        image_problems(list, n, c);
    space_problem(list, n);
    return list;
}
