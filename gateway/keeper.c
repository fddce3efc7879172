/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rounds of diskgated.
 *
 *   settings   boot.http, boot.port, gateway.address: the boot service follows within a second
 *   watch      boot-watch.c
 *   network    net-watch.c
 *   repair     every gateway.watch_s: a part that has died while others run is what service_sync() is for; one that somebody has started
 *              anew in between, too. The end of a process that ran at the last look is known at once, and then there is a look every
 *              EAGER_MS for a while: its other half may not be through with dying
 *
 * The catalog stays open from round to round: opening it checks all of it. It is opened anew after an error and when its file was exchanged.
 * A failure is logged when it begins and when it has ended, not in every round.
 */
#include "gateway/keeper.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/catalog.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/boot-http.h"
#include "gateway/boot.h"
#include "gateway/daemon.h"
#include "gateway/deaths.h"
#include "gateway/fsproc.h"
#include "gateway/net-watch.h"
#include "gateway/proc.h"
#include "gateway/service.h"
#include "gateway/shard.h"
#include "gateway/site.h"

#define ANSWER_MS    5000
#define EAGER_MS     100
#define EAGER_FOR_MS 2000

/* One kind of failure. */
struct trouble {
    char msg[sizeof(((struct err *)0)->msg)]; /* "" = all is well */
};

struct keeper {
    char root[PATH_MAX], db[PATH_MAX];
    struct catalog *c;
    struct stat db_stat;
    struct boot_watch *watch;
    struct net_watch *net;
    struct boot_http *http;
    char address[SETTING_LEN + 1]; /* where http listens */
    unsigned port;
    int64_t next_repair_ms, eager_until_ms;
    bool has_looked; /* what ran at the last look: */
    int fs_pid;
    pid_t shard_pids[SHARDS_MAX];
    struct deaths parts; /* of the same processes */
    struct trouble with_catalog, with_http, with_watch, with_net, with_repair;
};

static void note(struct trouble *t, const char *what, int r, const struct err *err)
{
    if (r < 0 && strcmp(t->msg, err->msg) != 0)
        log_error("%s: %s, retrying", what, err->msg);
    if (r >= 0 && *t->msg)
        log_info("%s works again", what);
    (void)snprintf(t->msg, sizeof(t->msg), "%s", r < 0 ? err->msg : "");
}

/* --- catalog ----------------------------------------------------------------------------------------------------- */

static bool is_exchanged(const struct keeper *k)
{
    struct stat st;
    return stat(k->db, &st) < 0 || st.st_ino != k->db_stat.st_ino || st.st_dev != k->db_stat.st_dev;
}

static void close_catalog(struct keeper *k)
{
    catalog_close(k->c);
    k->c = NULL;
}

static int need_catalog(struct keeper *k, struct err *err)
{
    if (k->c && is_exchanged(k))
        close_catalog(k);
    if (k->c)
        return 0;
    if (stat(k->db, &k->db_stat) < 0)
        return err_sys(err, -errno, "cannot open '%s'", k->db);
    return catalog_open(k->root, CATALOG_WRITE, &k->c, err);
}

/* --- boot service ------------------------------------------------------------------------------------------------ */

struct wish {
    bool is_on;
    char address[SETTING_LEN + 1], tag[9];
    unsigned port;
};

static int read_wish(struct keeper *k, struct wish *ret, struct err *err)
{
    char on[SETTING_LEN + 1];
    uint64_t port = 0;
    int r = setting_get(k->c, "boot.http", on, err);
    r = r ? r : setting_get(k->c, "gateway.address", ret->address, err);
    r = r ? r : setting_get_u64(k->c, "boot.port", &port, err);
    r = r ? r : catalog_root_tag(k->c, ret->tag, err);
    if (r < 0)
        return r;
    ret->is_on = strcmp(on, "off") != 0;
    ret->port = (unsigned)port;
    return 0;
}

static int follow_settings(struct keeper *k, struct err *err)
{
    struct wish w = {0};
    int r = read_wish(k, &w, err);
    if (r < 0)
        return r;
    if (k->http && (!w.is_on || w.port != k->port || strcmp(w.address, k->address) != 0)) {
        boot_http_stop(take_ptr(k->http));
        log_info("no boot scripts on %s port %u any more", k->address, k->port);
    }
    if (k->http || !w.is_on)
        return 0;
    r = boot_http_start(k->root, w.tag, w.address, w.port, &k->http, err);
    if (r == -EADDRINUSE && daemon_port_is_spare(w.address, w.port))
        return 0;
    if (r < 0)
        return r;
    strcpy(k->address, w.address);
    k->port = w.port;
    log_info("boot scripts on %s port %u", k->address, k->port);
    return 0;
}

/* --- repair ------------------------------------------------------------------------------------------------------ */

static void note_parts(struct keeper *k, const struct site *s)
{
    pid_t pids[SHARDS_MAX + 1];
    (void)shard_find(s, k->shard_pids);
    (void)fsproc_runs(s, &k->fs_pid);
    memcpy(pids, k->shard_pids, sizeof(k->shard_pids));
    pids[SHARDS_MAX] = k->fs_pid;
    deaths_watch(&k->parts, pids, ARRAY_SIZE(pids));
    k->has_looked = true;
}

/* Has a part died while another one runs, or was it exchanged since the last look (by systemd, say), so that it does not know its targets?
 * A root that is down is left alone. */
static bool is_broken(struct keeper *k, const struct site *s)
{
    pid_t pids[SHARDS_MAX];
    struct err ignored;
    size_t n = shard_find(s, pids), want = 0;
    int pid = 0, fs = fsproc_check(s, ANSWER_MS, &ignored);
    bool is_running = fsproc_runs(s, &pid);
    for (unsigned i = 0; i < s->shards; i++)
        want += pids[i] > 0;
    bool is_other = k->has_looked && (pid != k->fs_pid || memcmp(pids, k->shard_pids, sizeof(pids)) != 0);
    note_parts(k, s);
    if (fs == -ENOENT && n == 0 && !is_running)
        return false;
    bool is_dead = fs == -ENOENT || fs == -ENOTCONN || want < s->shards;
    if (is_dead)
        log_warn("a part of the root has died; repairing");
    else if (is_other)
        log_info("a part of the root was started anew; looking after its targets");
    return is_dead || is_other;
}

static void log_report(json_t *report)
{
    json_t *row;
    size_t i;
    json_array_foreach(json_object_get(report, "changes"), i, row) log_info("%s", json_string_value(row) ?: "?");
}

static int repair(struct keeper *k, struct err *err)
{
    uint64_t watch_s = 0;
    int r = setting_get_u64(k->c, "gateway.watch_s", &watch_s, err);
    if (r < 0 || watch_s == 0 || clock_ms() < k->next_repair_ms)
        return r;
    k->next_repair_ms = clock_ms() + (int64_t)watch_s * 1000;
    _cleanup_(site_finish) struct site s = {.run_fd = -1};
    _cleanup_json_ json_t *report = NULL;
    r = site_open(&s, k->root, false, err);
    r = r ? r : site_read(&s, k->c, err);
    if (r < 0 || !is_broken(k, &s))
        return r;
    r = service_sync(k->root, k->c, &report, err);
    note_parts(k, &s); /* what that has started is known */
    log_report(report);
    return r;
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

int keeper_open(const char *root, struct keeper **ret, struct err *err)
{
    struct keeper *k = calloc(1, sizeof(*k));
    if (!k || !(k->watch = boot_watch_create(root))) {
        free(k);
        return err_sys(err, -ENOMEM, "cannot start");
    }
    (void)snprintf(k->root, sizeof(k->root), "%s", root); /* fits */
    int r = root_path(root, "catalog.db", k->db, err);
    r = r ? r : need_catalog(k, err);
    r = r ? r : follow_settings(k, err);
    r = r ? r : net_watch_open(root, &k->net, err);
    if (r < 0) {
        keeper_close(k);
        return r;
    }
    *ret = k;
    return 0;
}

void keeper_turn(struct keeper *k)
{
    struct err err = {0};
    int r = need_catalog(k, &err);
    note(&k->with_catalog, "the catalog", r, &err);
    if (r < 0)
        return;
    int http = follow_settings(k, &err);
    note(&k->with_http, "the boot service", http, &err);
    int watch = boot_watch_look(k->watch, k->c, &err);
    note(&k->with_watch, "watching boots", watch, &err);
    int net = net_watch_turn(k->net, k->c, &err);
    note(&k->with_net, "watching the network", net, &err);
    r = repair(k, &err);
    note(&k->with_repair, "repairing", r, &err);
    if (watch == -EBADMSG || watch == -EIO)
        close_catalog(k);
}

void keeper_wait(struct keeper *k, int ms)
{
    bool is_eager = clock_ms() < k->eager_until_ms;
    if (deaths_wait(&k->parts, is_eager ? MIN(ms, EAGER_MS) : ms))
        k->eager_until_ms = clock_ms() + EAGER_FOR_MS;
    if (clock_ms() < k->eager_until_ms)
        k->next_repair_ms = 0;
}

void keeper_close(struct keeper *k)
{
    if (!k)
        return;
    deaths_finish(&k->parts);
    boot_http_stop(k->http);
    boot_watch_destroy(k->watch);
    net_watch_close(k->net);
    catalog_close(k->c);
    free(k);
}
