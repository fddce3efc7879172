/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both counts are the catalog's own, so neither a restart nor another diskgated gives a flood a new allowance. The clients that there are count, not
 * the ones that were ever added: removing invented ones makes room again.
 */
#include "gateway/auto-limit.h"

#include <string.h>
#include <time.h>

#include "core/catalog-boot.h"
#include "core/util.h"

#define MINUTE_S 60
#define TURNED_S 600 /* a PC that waits asks every few seconds; one that has not asked for so long went away */

int auto_limit_read(struct catalog *c, struct auto_limit *ret, struct err *err)
{
    struct auto_limit l = {0};
    int r = setting_get_u64(c, "clients.auto_max", &l.max, err);
    r = r ? r : setting_get_u64(c, "clients.auto_per_minute", &l.per_minute, err);
    r = r ? r : client_count(c, &l.clients, err);
    r = r ? r : client_count_added(c, AUTO_ACTOR, (int64_t)time(NULL) - MINUTE_S, &l.lately, err);
    if (r < 0)
        return r;
    l.is_full = l.clients >= l.max;
    l.is_fast = l.lately >= l.per_minute;
    *ret = l;
    return 0;
}

/* PCs that were told to wait and still ask. */
static size_t count_waiting(struct catalog *c)
{
    _cleanup_free_ struct pending_row *rows = NULL;
    size_t n = 0, count = 0;
    char since[TIME_LEN + 1];
    time_text(since, sizeof(since), (int64_t)time(NULL) - TURNED_S);
    if (pending_list(c, &rows, &n, NULL) < 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        count += strcmp(rows[i].last_at, since) >= 0;
    return count;
}

void auto_limit_report(struct catalog *c, json_t *problems, json_t *notices)
{
    char what[SETTING_LEN + 1] = "", text[640];
    struct auto_limit l;
    if (setting_get(c, "clients.unknown", what, NULL) < 0 || strcmp(what, "auto") != 0)
        return;
    if (auto_limit_read(c, &l, NULL) < 0 || !l.is_full)
        return;
    size_t n = count_waiting(c);
    int len = n == 0 ? 0
                     : snprintf(text, sizeof(text), "%zu unknown PC%s %s now and %s not added: ", n, n == 1 ? "" : "s",
                                n == 1 ? "asks" : "ask", n == 1 ? "is" : "are");
    (void)snprintf(text + len, sizeof(text) - (size_t)len,
                   "clients.unknown auto adds nobody any more, for there are %llu clients and clients.auto_max is "
                   "%llu; if they are PCs, 'diskgate set clients.auto_max N' allows more; if somebody invents them, "
                   "'diskgate client list --unused' shows those that never logged in, 'diskgate client remove' makes "
                   "room, and 'diskgate set clients.unknown ask' ends it",
                   (unsigned long long)l.clients, (unsigned long long)l.max); /* fits */
    /* Without memory a line is missing. */
    if (n > 0)
        (void)json_array_append_new(problems, json_pack("{s:s, s:s}", "what", "clients", "problem", text));
    else
        (void)json_array_append_new(notices, json_pack("{s:s, s:s}", "what", "clients", "notice", text));
}
