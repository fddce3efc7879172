/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads in `status`. */
#include "gateway/service-direct.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/direct.h"

static size_t direct_disks(const struct tgt_state *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_targets; i++)
        for (size_t k = 0; k < s->targets[i].n_luns; k++)
            n += strcmp(s->targets[i].luns[k].bstype, DIRECT_STORE) == 0;
    return n;
}

/* Of a shard that answers and lacks the store. @cannot: why none that is started now could have it, "" if it could. */
static void say_why(const struct service_snapshot *n, unsigned k, const char *cannot, char *ret, size_t max)
{
    if (*cannot)
        (void)snprintf(ret, max, "%s", cannot);
    else if (!direct_was_given(n->pids[k]))
        (void)snprintf(
            ret, max,
            "it was started without; as soon as no client is logged in to it 'diskgate target sync' starts it "
            "anew, 'diskgate down' and 'diskgate up' do it now");
    else
        (void)snprintf(ret, max, "it did not take the library; '%s/run/tgt%u.log' may say why", n->site.root, k);
}

static void report_shard(const struct service_snapshot *n, unsigned k, const char *cannot, json_t *notices,
                         json_t *shards)
{
    char why[PATH_MAX + 256] = "", what[64];
    if (n->site.wants_direct && !n->has_direct[k])
        say_why(n, k, cannot, why, sizeof(why));
    json_t *row = json_pack("{s:i, s:b, s:I}", "shard", (int)k, "is_on", n->site.wants_direct && n->has_direct[k],
                            "disks", (json_int_t)direct_disks(&n->states[k]));
    if (row && *why)
        (void)json_object_set_new(row, "why", json_string(why)); /* without memory: missing, as below */
    (void)json_array_append_new(shards, row);
    (void)snprintf(what, sizeof(what), "direct reads of tgtd %u", k); /* fits */
    if (*why && !*cannot)
        (void)json_array_append_new(notices, json_pack("{s:s, s:s}", "what", what, "notice", why));
}

/* What keeps all of them from it is said once. */
static void notice_cannot(const char *cannot, json_t *notices)
{
    char text[PATH_MAX + 256];
    (void)snprintf(text, sizeof(text), "none, all reads go through diskgate-fs, which is slower and no less right: %s",
                   cannot); /* fits */
    (void)json_array_append_new(notices, json_pack("{s:s, s:s}", "what", "direct reads", "notice", text));
}

/* LUNs that diskgate-fs has answered, and that can read by themselves. */
static json_int_t served_disks(const json_t *fs)
{
    const json_t *views = json_object_get(fs, "views"), *view;
    json_int_t n = 0;
    size_t i;
    json_array_foreach(views, i, view) n += json_integer_value(json_object_get(view, "direct_luns"));
    return n;
}

void direct_report(const struct service_snapshot *n, json_t *notices, json_t *into)
{
    char library[PATH_MAX];
    struct err cannot = {0};
    json_t *shards = json_array();
    bool is_missing = false;
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        is_missing = is_missing || (n->pids[k] && n->shard_errors[k] == 0 && !n->has_direct[k]);
    if (n->site.wants_direct && is_missing && direct_library(library, &cannot) < 0)
        notice_cannot(cannot.msg, notices);
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        if (n->pids[k] && n->shard_errors[k] == 0)
            report_shard(n, k, cannot.msg, notices, shards);
    json_t *direct = json_pack("{s:b, s:o}", "is_wanted", n->site.wants_direct, "shards", shards);
    if (direct && n->fs)
        (void)json_object_set_new(direct, "served_disks", json_integer(served_disks(n->fs)));
    (void)json_object_set_new(into, "direct", direct);
}

/* "30 disks"; "28 of 30 disks, ..." where diskgate-fs knows of fewer than tgtd has: what it refused is read as if there were no direct reads. */
static void say_disks(const json_t *direct, json_int_t disks, char *ret, size_t max)
{
    const json_t *known = json_object_get(direct, "served_disks");
    json_int_t served = known ? json_integer_value(known) : disks;
    if (served < disks)
        (void)snprintf(ret, max, "%lld of %lld disks, for the others run/tgt*.log say why not", (long long)served,
                       (long long)disks); /* fits */
    else
        (void)snprintf(ret, max, "%lld disk%s", (long long)disks, disks == 1 ? "" : "s"); /* fits */
}

void direct_line(const json_t *figures, void (*print)(void *arg, const char *line), void *arg)
{
    json_t *direct = json_object_get(figures, "direct"), *shards = json_object_get(direct, "shards"), *row;
    size_t i, on = 0, all = json_array_size(shards);
    json_int_t disks = 0;
    char line[192], what[128];
    json_array_foreach(shards, i, row)
    {
        on += json_is_true(json_object_get(row, "is_on"));
        disks += json_integer_value(json_object_get(row, "disks"));
    }
    if (!direct)
        return;
    say_disks(direct, disks, what, sizeof(what));
    if (!json_is_true(json_object_get(direct, "is_wanted")))
        (void)snprintf(line, sizeof(line), "Direct reads: off by gateway.direct%s",
                       disks ? "; clients that are logged in keep them until their next boot" : "");
    else if (on == all)
        (void)snprintf(line, sizeof(line), "Direct reads: on for %s", what);
    else
        (void)snprintf(line, sizeof(line), "Direct reads: on for %zu of %zu tgtd and %s", on, all, what);
    print(arg, line);
}
