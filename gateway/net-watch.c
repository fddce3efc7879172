/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two sources, one table.
 *
 *   log     new lines of run/dnsmasq.log (log-follow.c) go through dhcp-log.c, with the time at which they were seen
 *   probe   every boot.dhcp_probe_s: DISCOVER, again after AGAIN_MS, offers until LISTEN_MS (dhcp-probe.c); not with boot.dhcp off
 *
 * (1) Nothing here waits: a turn sends, or takes what has come.
 * (2) A server counts as there until two looks in a row have not heard it: packets are lost.
 * What is known goes with this process; the log's last part is read again at its start.
 */
#include "gateway/net-watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/ctl.h"
#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/boot-net.h"
#include "gateway/boot-render.h"
#include "gateway/dhcp-log.h"
#include "gateway/dhcp-probe.h"
#include "gateway/log-follow.h"
#include "gateway/proc.h"

#define SERVERS_MAX 8
#define AGAIN_MS    2000
#define LISTEN_MS   4000 /* some servers ask the network for a second whether an address is free */
#define WARN_AGAIN  600  /* seconds between two warnings of the same kind */
#define BEFORE_S    1

struct server {
    struct dhcp_offer offer;
    int64_t seen_s;
};

struct net_watch {
    int run_fd;
    struct ctl_server *ctl;

    struct log_follow *follow;
    int64_t warned_s;

    struct dhcp_probe *probe;
    int64_t begin_ms, end_ms; /* of the last look; end 0: there was none */
    bool was_repeated, must_warn;
    int failure; /* of the last look, and its sentence: it holds until one works */
    struct err why;
    int interval_s;

    pthread_mutex_t mutex; /* protects what follows */
    struct dhcp_log *log;
    struct server servers[SERVERS_MAX];
    size_t n_servers;
    bool is_probed;
};

/* --- the log ----------------------------------------------------------------------------------------------------- */

/* Source: proc(5), /proc/net/arp. */
static bool mac_of_address(const char *address, char *ret_mac)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/net/arp", "re");
    char line[256], ip[64], mac[64];
    unsigned flags;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%63s %*s 0x%x %63s", ip, &flags, mac) == 3 && (flags & 2) && strcmp(ip, address) == 0)
            return mac_parse(mac, ret_mac, NULL) == 0;
    return false;
}

static void take_line(void *arg, const char *line, bool is_old)
{
    struct net_watch *w = arg;
    (void)pthread_mutex_lock(&w->mutex);
    dhcp_log_line(w->log, line, is_old ? BEFORE_S : (int64_t)time(NULL), is_old ? NULL : mac_of_address);
    (void)pthread_mutex_unlock(&w->mutex);
}

static void follow_log(struct net_watch *w)
{
    int64_t now_s = (int64_t)time(NULL);
    char mac[MAC_LEN + 1] = "";
    log_follow_turn(w->follow);
    (void)pthread_mutex_lock(&w->mutex);
    if (w->log->full_s >= now_s)
        strcpy(mac, w->log->full_mac);
    (void)pthread_mutex_unlock(&w->mutex);
    if (!*mac || now_s - w->warned_s < WARN_AGAIN)
        return;
    w->warned_s = now_s;
    log_warn("dnsmasq has no address for %s; 'diskgate status' says why", mac);
}

/* --- other servers ----------------------------------------------------------------------------------------------- */

static bool is_own_address(const char *address)
{
    struct ifaddrs *list = NULL;
    char text[INET_ADDRSTRLEN];
    bool is_found = false;
    if (getifaddrs(&list) < 0)
        return false;
    for (const struct ifaddrs *i = list; i && !is_found; i = i->ifa_next) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)i->ifa_addr;
        is_found = a && a->sin_family == AF_INET && inet_ntop(AF_INET, &a->sin_addr, text, sizeof(text)) &&
                   strcmp(text, address) == 0;
    }
    freeifaddrs(list);
    return is_found;
}

/* New ones are told; a flood of invented ones fills the table and no more. */
static void note_offer(struct net_watch *w, const struct dhcp_offer *o, int64_t now_s)
{
    size_t i = 0, n = w->n_servers; /* only this thread changes them */
    while (i < n && strcmp(w->servers[i].offer.server, o->server) != 0)
        i++;
    if (i == SERVERS_MAX)
        return;
    (void)pthread_mutex_lock(&w->mutex);
    w->servers[i] = (struct server){*o, now_s};
    w->n_servers = MAX(n, i + 1);
    (void)pthread_mutex_unlock(&w->mutex);
    if (i < n)
        return;
    if (w->must_warn)
        log_warn("another DHCP server, %s (%s), answers PCs: it offers the address %s and the boot file '%s'",
                 o->server, o->hardware, *o->address ? o->address : "(none)", o->boot_file);
    else
        log_info("DHCP server %s (%s) answers PCs", o->server, o->hardware);
}

static void forget_silent(struct net_watch *w, int64_t now_s)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->n_servers; i++) {
        if (now_s - w->servers[i].seen_s <= 2 * (int64_t)w->interval_s + LISTEN_MS / 1000)
            w->servers[n++] = w->servers[i];
        else
            log_info("DHCP server %s does not answer any more", w->servers[i].offer.server);
    }
    w->n_servers = n;
    w->is_probed = true;
    (void)pthread_mutex_unlock(&w->mutex);
}

static void end_probe(struct net_watch *w)
{
    dhcp_probe_close(w->probe);
    w->probe = NULL;
    w->end_ms = clock_ms();
}

/* 0 when a look has begun, or is not wanted. */
static int begin_probe(struct net_watch *w, struct catalog *c, struct err *err)
{
    struct boot_net n;
    int r = boot_net_read(&n, c, err);
    r = r ? r : boot_net_find(&n, err);
    r = r ? r : dhcp_probe_open(n.interface, &w->probe, err);
    r = r ? r : dhcp_probe_send(w->probe, err);
    w->must_warn = n.mode == DHCP_FULL;
    w->begin_ms = clock_ms();
    w->was_repeated = false;
    if (r < 0)
        end_probe(w);
    return r;
}

static int listen_probe(struct net_watch *w, struct err *err)
{
    struct dhcp_offer o;
    int64_t age_ms = clock_ms() - w->begin_ms, now_s = (int64_t)time(NULL);
    int r = 0, left = 64; /* more than that in a second is a flood */
    while (left-- > 0 && (r = dhcp_probe_receive(w->probe, &o)) > 0)
        if (!is_own_address(o.server))
            note_offer(w, &o, now_s);
    if (age_ms >= LISTEN_MS)
        forget_silent(w, now_s);
    if (r < 0)
        (void)err_sys(err, r, "cannot look for other DHCP servers");
    if (r >= 0 && age_ms >= AGAIN_MS && !w->was_repeated) {
        w->was_repeated = true;
        r = dhcp_probe_send(w->probe, err);
    }
    if (r < 0 || age_ms >= LISTEN_MS)
        end_probe(w);
    return MIN(r, 0);
}

static void forget_servers(struct net_watch *w)
{
    (void)pthread_mutex_lock(&w->mutex);
    w->n_servers = 0;
    w->is_probed = false;
    w->failure = 0;
    (void)pthread_mutex_unlock(&w->mutex);
    w->end_ms = 0;
}

/* One step of a look, or the wait for the next one. */
static int look_for_servers(struct net_watch *w, struct catalog *c, struct err *err)
{
    char mode[SETTING_LEN + 1];
    uint64_t interval_s = 0;
    if (w->probe)
        return listen_probe(w, err);
    int r = setting_get(c, "boot.dhcp", mode, err);
    r = r ? r : setting_get_u64(c, "boot.dhcp_probe_s", &interval_s, err);
    w->interval_s = (int)interval_s;
    if (r == 0 && (interval_s == 0 || strcmp(mode, "off") == 0))
        forget_servers(w);
    else if (r == 0 && (w->end_ms == 0 || clock_ms() >= w->end_ms + (int64_t)interval_s * 1000))
        r = begin_probe(w, c, err);
    else if (r == 0 && w->failure < 0)
        r = err_set(err, w->failure, "%s", w->why.msg);
    return r;
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

static json_t *server_json(const struct server *s)
{
    const struct dhcp_offer *o = &s->offer;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "server", o->server, "hardware", o->hardware, "address",
                     o->address, "router", o->router, "next_server", o->next_server, "boot_file", o->boot_file,
                     "seen_s", (json_int_t)s->seen_s);
}

static json_t *trace_json(const struct dhcp_trace *t)
{
    if (!t)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "address", t->address, "asked_s", (json_int_t)t->asked_s,
                     "given_s", (json_int_t)t->given_s, "file_s", (json_int_t)t->file_s, "full_s",
                     (json_int_t)t->full_s, "rival_s", (json_int_t)t->rival_s);
}

static json_t *answer_locked(struct net_watch *w, const char *mac)
{
    const struct dhcp_log *l = w->log;
    json_t *servers = json_array();
    for (size_t i = 0; i < w->n_servers; i++)
        (void)json_array_append_new(servers, server_json(&w->servers[i])); /* a list too short is all that can happen */
    json_t *full = *l->full_mac ? json_pack("{s:s, s:I, s:I}", "mac", l->full_mac, "at_s", (json_int_t)l->full_s,
                                            "count", (json_int_t)l->full_count)
                                : json_null();
    json_t *j = json_pack("{s:o, s:b, s:o}", "servers", servers, "is_probed", w->is_probed, "full", full);
    if (j && mac)
        (void)json_object_set_new(j, "trace", trace_json(dhcp_log_find(l, mac))); /* missing without memory */
    return j;
}

static int answer(void *arg, const char *cmd, json_t *req, json_t **ret, struct err *err)
{
    struct net_watch *w = arg;
    if (strcmp(cmd, "net") != 0)
        return err_set(err, -EINVAL, "diskgated does not know the command '%s'", cmd);
    (void)pthread_mutex_lock(&w->mutex);
    *ret = answer_locked(w, json_string_value(json_object_get(req, "mac")));
    (void)pthread_mutex_unlock(&w->mutex);
    return *ret ? 0 : err_sys(err, -ENOMEM, "cannot tell about the network");
}

/* --- life -------------------------------------------------------------------------------------------------------- */

int net_watch_open(const char *root, struct net_watch **ret, struct err *err)
{
    struct net_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return err_sys(err, -ENOMEM, "cannot start");
    (void)pthread_mutex_init(&w->mutex, NULL);
    w->log = calloc(1, sizeof(*w->log));
    w->run_fd = root_open_dir(root, "run", err);
    w->follow = log_follow_create(w->run_fd, DNSMASQ_LOG, take_line, w);
    int r = w->run_fd < 0 ? w->run_fd : w->log && w->follow ? 0 : err_sys(err, -ENOMEM, "cannot start");
    if (r == 0)
        follow_log(w);
    r = r ? r : ctl_server_open(w->run_fd, NET_SOCKET, answer, w, &w->ctl, err);
    if (r == 0 && (r = ctl_server_start(w->ctl)) < 0)
        (void)err_sys(err, r, "cannot start the control socket");
    if (r < 0) {
        net_watch_close(w);
        return r;
    }
    *ret = w;
    return 0;
}

int net_watch_turn(struct net_watch *w, struct catalog *c, struct err *err)
{
    follow_log(w);
    int r = look_for_servers(w, c, err);
    if (r < 0)
        w->why = *err;
    if (r < 0 || w->is_probed)
        w->failure = r;
    return r;
}

void net_watch_close(struct net_watch *w)
{
    if (!w)
        return;
    ctl_server_stop(w->ctl);
    ctl_server_close(w->ctl);
    dhcp_probe_close(w->probe);
    log_follow_destroy(w->follow);
    closep(&w->run_fd);
    (void)pthread_mutex_destroy(&w->mutex);
    free(w->log);
    free(w);
}
