/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What runs, which targets there are, who is logged in. Nothing is changed or started here, and no lock is taken: an answer may
 * show a moment in the middle of an `up`.
 *
 * Everything is asked once into a snapshot: diskgate-fs's status, and the targets of each tgtd that answers.
 */
#include "gateway/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/ctl.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/backup-report.h"
#include "gateway/daemon.h"
#include "gateway/dnsmasq.h"
#include "gateway/fsproc.h"
#include "gateway/net-report.h"
#include "gateway/service-memory.h"
#include "gateway/service-parts.h"
#include "gateway/shard.h"
#include "gateway/site.h"
#include "gateway/tgt-show.h"
#include "gateway/tgt-sync.h"
#include "gateway/tgt-want.h"
#include "gateway/tgtadm.h"
#include "gateway/version-file.h"

#define ANSWER_MS    3000
#define DNSMASQ_DOWN "dnsmasq does not run; start it with 'diskgate up'"

struct snapshot {
    struct site site;
    bool is_up; /* anything runs */
    int fs_pid; /* 0 = does not run */
    int fs_error;
    struct err fs_problem; /* if fs_error */
    json_t *fs;            /* its status; NULL when it does not answer */
    pid_t pids[SHARDS_MAX];
    int shard_errors[SHARDS_MAX];
    struct err *shard_problems; /* SHARDS_MAX entries */
    struct tgt_state states[SHARDS_MAX];
    int daemon_pid, daemon_error;
    struct err daemon_problem; /* if daemon_error */
    pid_t dnsmasq_pid;
    bool is_dnsmasq_wanted;
    struct want want; /* before any view was taken out */
};

static void snapshot_finish(struct snapshot *n)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        tgt_state_finish(&n->states[k]);
    json_decref(n->fs);
    free(n->shard_problems);
    want_finish(&n->want);
    site_finish(&n->site);
}

static void look_at_fs(struct snapshot *n)
{
    n->fs_error = fsproc_check(&n->site, ANSWER_MS, &n->fs_problem);
    if (fsproc_runs(&n->site, &n->fs_pid) && n->fs_error == 0)
        n->fs_error = fsproc_call(&n->site, "status", ANSWER_MS, &n->fs, &n->fs_problem);
}

static void look_at_shards(struct snapshot *n)
{
    (void)shard_find(&n->site, n->pids);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        struct tgtadm a = {n->site.run_fd, k};
        if (!n->pids[k] && k >= n->site.shards)
            continue;
        if (!n->pids[k])
            n->shard_errors[k] =
                err_set(&n->shard_problems[k], -ENOENT, "tgtd shard %u does not run; start it with 'diskgate up'", k);
        else
            n->shard_errors[k] = shard_check(&n->site, k, n->pids[k], ANSWER_MS, &n->shard_problems[k]);
        if (n->shard_errors[k] == 0)
            n->shard_errors[k] = tgtadm_show(&a, &n->states[k], &n->shard_problems[k]);
    }
}

static void keep_sessions(struct snapshot *n)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        for (size_t i = 0; i < n->states[k].n_targets; i++)
            (void)want_keep_session(&n->site, &n->want, &n->states[k].targets[i]);
}

static int snapshot_take(struct snapshot *n, const char *root, struct catalog *c, struct err *err)
{
    n->site.run_fd = -1;
    n->shard_problems = calloc(SHARDS_MAX, sizeof(*n->shard_problems));
    if (!n->shard_problems)
        return err_sys(err, -ENOMEM, "cannot look at what runs");
    int r = site_open(&n->site, root, false, err);
    if (r < 0 && r != -ENOENT)
        return r;
    r = site_read(&n->site, c, err);
    r = r ? r : want_read(&n->site, c, &n->want, err);
    if (r < 0)
        return r;
    n->is_up = service_is_up(root);
    if (n->is_up) {
        look_at_fs(n);
        look_at_shards(n);
        keep_sessions(n);
        n->dnsmasq_pid = dnsmasq_find(&n->site);
        n->daemon_error = daemon_check(&n->site, c, ANSWER_MS, &n->daemon_problem);
        (void)daemon_runs(&n->site, &n->daemon_pid);
    }
    n->is_dnsmasq_wanted = dnsmasq_is_wanted(c);
    return 0;
}

/* The target of client @e and the shard that has it; NULL when none has. One with a session comes first. */
static const struct tgt_target *find_target(const struct snapshot *n, const struct want_entry *e, unsigned *ret_shard)
{
    const struct tgt_target *found = NULL;
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        const struct tgt_target *t = tgt_find(&n->states[k], e->target.tid);
        if (!t || strcmp(t->name, e->target.iqn) != 0 || (found && t->n_sessions == 0))
            continue;
        found = t;
        *ret_shard = k;
    }
    return found;
}

static size_t disk_count(const struct tgt_target *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_luns; i++)
        n += t->luns[i].lun > 0;
    return n;
}

int service_sessions(const char *root, struct catalog *c, const char *client, json_t **ret, struct err *err)
{
    _cleanup_(snapshot_finish) struct snapshot n = {0};
    _cleanup_json_ json_t *list = json_array();
    int r = snapshot_take(&n, root, c, err);
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
                (void)json_array_append_new(list,
                                            json_pack("{s:s, s:s, s:s, s:s, s:I}", "client", name, "target_iqn",
                                                      t->name, "initiator", t->sessions[m].initiator, "address",
                                                      t->sessions[m].address, "lun_count", (json_int_t)disk_count(t)));
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

/* Why the disk of view @v is not open, "" if it is. One that is no LUN must only be there. */
static void lun_problem(const struct snapshot *n, const struct want_entry *e, const struct view_row *v,
                        const struct tgt_target *t, char *ret, size_t max)
{
    char path[64];
    want_path(v->overlay_id, path);
    unsigned lun = want_lun(e->client, v->slot);
    const struct tgt_lun *l = t ? tgt_find_lun(t, lun) : NULL;
    ret[0] = 0;
    if (!n->is_up)
        return;
    if (e->client->is_disabled && lun > 0)
        (void)snprintf(ret, max, "the client is disabled; 'diskgate client set %s --disabled off' lets it boot again",
                       e->client->name);
    else if (n->fs_error)
        (void)snprintf(ret, max, "%s", n->fs_problem.msg);
    else
        want_view_problem(v, n->fs, ret, max);
    if (lun == 0) {
        if (want_is_lost(n->fs, v->overlay_id)) /* nobody runs from it, and it is exchanged when it is chosen */
            ret[0] = 0;
        return;
    }
    if (!*ret)
        want_acl_problem(&n->site, e->client, ret, max);
    if (!*ret && !t && n->shard_errors[e->shard])
        (void)snprintf(ret, max, "%s", n->shard_problems[e->shard].msg);
    if (!*ret && (!l || strcmp(l->path, path) != 0 || !l->is_online || t->n_acls == 0))
        (void)snprintf(ret, max, "its target is not as the catalog says; run 'diskgate target sync'");
}

static json_t *target_row(const struct snapshot *n, const struct want_entry *e, const struct view_row *v,
                          bool with_secrets)
{
    unsigned k = e->shard;
    const struct tgt_target *t = find_target(n, e, &k);
    char portal[80], why[1024];
    site_portal(&n->site, k, portal);
    lun_problem(n, e, v, t, why, sizeof(why));
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:I, s:s, s:o}", "client", v->client, "iqn",
                  e->client->iqn, "initiator", e->initiator, "portal", portal, "lun",
                  (json_int_t)want_lun(e->client, v->slot), "slot", (json_int_t)v->slot, "image", v->image, "version",
                  (json_int_t)v->version, "mode", overlay_mode_name(v->mode), "shard", (json_int_t)k, "state",
                  !n->is_up ? "down"
                  : *why    ? "closed"
                            : "open",
                  "sessions", session_list(t));
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
    _cleanup_(snapshot_finish) struct snapshot n = {0};
    _cleanup_json_ json_t *list = json_array();
    int r = snapshot_take(&n, root, c, err);
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

static void add_part(json_t *parts, const char *name, int error, int pid, const char *detail, bool is_up)
{
    const char *state = error == 0 ? "up" : pid > 0 ? "failed" : "down";
    json_t *row = json_pack("{s:s, s:s, s:o, s:s}", "part", name, "state", is_up ? state : "down", "pid",
                            pid > 0 ? json_integer(pid) : json_null(), "detail", is_up && error ? detail : "");
    (void)json_array_append_new(parts, row); /* a list too short is all that can happen */
}

static json_t *part_list(const struct snapshot *n)
{
    json_t *parts = json_array();
    add_part(parts, "diskgate-fs", n->fs_error, n->fs_pid, n->fs_problem.msg, n->is_up);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "tgtd %u", k); /* fits */
        if (k < n->site.shards || n->pids[k])
            add_part(parts, name, n->shard_errors[k], n->pids[k], n->shard_problems[k].msg, n->is_up);
    }
    add_part(parts, "diskgated", n->daemon_error, n->daemon_pid, n->daemon_problem.msg, n->is_up);
    if (n->is_dnsmasq_wanted || n->dnsmasq_pid)
        add_part(parts, "dnsmasq", n->dnsmasq_pid ? 0 : -ENOENT, n->dnsmasq_pid, DNSMASQ_DOWN, n->is_up);
    return parts;
}

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
static void image_problems(json_t *list, const struct snapshot *n, struct catalog *c)
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
static void space_problem(json_t *list, const struct snapshot *n)
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
static bool is_lost(const struct snapshot *n, const struct view_row *v)
{
    const struct want_entry *e = want_find(&n->want, v->client_id);
    bool is_lun = e && !e->client->is_disabled && want_lun(e->client, v->slot) > 0;
    return is_lun && want_is_lost(n->fs, v->overlay_id);
}

/* Is a disk of the client lost, and so all of them closed until its next boot? */
static bool client_waits(const struct snapshot *n, int64_t client_id)
{
    for (size_t i = 0; i < n->want.n_views; i++)
        if (n->want.views[i].client_id == client_id && is_lost(n, &n->want.views[i]))
            return true;
    return false;
}

/* The disk that the client started from was taken out of its boot menu: LUN 1 stays closed until its next boot. */
static void notice_gone(json_t *list, const struct snapshot *n, const struct client_row *client)
{
    char what[NAME_LEN + 32];
    for (size_t i = 0; i < n->want.n_views; i++)
        if (n->want.views[i].client_id == client->id && n->want.views[i].slot == client->boot_slot)
            return;
    (void)snprintf(what, sizeof(what), "client %s slot %u", client->name, client->boot_slot); /* fits */
    (void)json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "notice",
                                                "waits for its next boot: the disk that it started from was unlinked"));
}

/* What is as it must be, and worth knowing. */
static json_t *notice_list(const struct snapshot *n)
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

/* Sentences about parts that do not work, disks that are not open, and images that are in danger. */
static json_t *problem_list(const struct snapshot *n, struct catalog *c)
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
        const struct tgt_target *t = e ? find_target(n, e, &k) : NULL;
        (void)snprintf(what, sizeof(what), "client %s slot %u", v->client, v->slot); /* fits */
        if (client_waits(n, v->client_id) || (e && e->client->is_disabled))
            continue;
        if (e && !(n->shard_errors[k] && !t))
            lun_problem(n, e, v, t, why, sizeof(why));
        const char *alarm = json_string_value(json_object_get(want_find_view(n->fs, v->overlay_id), "alarm"));
        if (*why || alarm)
            add_problem(list, what, *why ? why : alarm);
    }
    if (!n->fs_error)
        image_problems(list, n, c);
    space_problem(list, n);
    return list;
}

static size_t online_count(const struct snapshot *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->want.n; i++) {
        unsigned k = 0;
        const struct tgt_target *t = find_target(n, &n->want.entries[i], &k);
        count += t && t->n_sessions > 0;
    }
    return count;
}

static size_t disabled_count(const struct snapshot *n)
{
    size_t count = 0;
    for (size_t i = 0; i < n->want.n_clients; i++)
        count += n->want.clients[i].is_disabled;
    return count;
}

static json_int_t overlay_bytes(const json_t *fs)
{
    json_int_t sum = 0;
    const json_t *views = json_object_get(fs, "views");
    for (size_t i = 0; i < json_array_size(views); i++)
        sum += json_integer_value(json_object_get(json_array_get(views, i), "overlay_bytes"));
    return sum;
}

int service_status(const char *root, struct catalog *c, json_t **ret, struct err *err)
{
    _cleanup_(snapshot_finish) struct snapshot n = {0};
    int r = snapshot_take(&n, root, c, err);
    if (r < 0)
        return r;
    char folder[PATH_MAX];
    struct statvfs fs;
    bool has_space = root_path(root, "overlays", folder, NULL) == 0 && statvfs(folder, &fs) == 0;
    json_t *problems = problem_list(&n, c), *notices = notice_list(&n);
    _cleanup_json_ json_t *net = json_object();
    if (n.is_up)
        net_report(root, c, problems, notices, net);
    backup_report(root, c, problems, net);
    if (n.is_up && !n.fs_error)
        memory_report(n.fs, problems, notices, net);
    const char *state = !n.is_up ? "down" : json_array_size(problems) ? "degraded" : "up";
    json_t *status = json_pack("{s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:I}", "root", root, "state", state, "parts",
                               part_list(&n), "clients", (json_int_t)n.want.n_clients, "clients_online",
                               (json_int_t)online_count(&n), "problems", problems, "overlay_free_bytes",
                               has_space ? json_integer((json_int_t)(fs.f_bavail * fs.f_frsize)) : json_null(),
                               "overlay_bytes", overlay_bytes(n.fs));
    if (status) { /* without memory they are missing */
        (void)json_object_set(status, "notices", notices);
        (void)json_object_update(status, net);
        (void)json_object_set_new(status, "clients_disabled", json_integer((json_int_t)disabled_count(&n)));
    }
    json_decref(notices);
    *ret = status;
    return status ? 0 : err_sys(err, -ENOMEM, "cannot tell the state");
}
