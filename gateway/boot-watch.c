/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Phases of boots, from what can be seen from outside: sessions of the targets and counters of the views.
 *
 *   script   boot-event.c         login        the first session of the client's target
 *   read     bytes are read       end          no session for GONE_S, or another boot, or no login for NO_LOGIN_S
 *
 * Only boots that have not ended are looked at, and without one nothing is asked at all. A phase is stored at once, bytes every STORE_S: each
 * store is a sync of the catalog. What is lost with this process are the bytes of a few seconds.
 *
 * Counters of a view begin anew with diskgate-fs; a volatile overlay begins at its boot, so all that was read from it belongs to the boot.
 */
#include "gateway/boot.h"

#include <string.h>
#include <time.h>

#include "core/json.h"
#include "core/util.h"
#include "gateway/fsproc.h"
#include "gateway/service.h"
#include "gateway/shard.h"
#include "gateway/site.h"
#include "gateway/tgt-show.h"
#include "gateway/tgt-want.h"
#include "gateway/tgtadm.h"

#define GONE_S      60 /* from the loader's session to the system's */
#define NO_LOGIN_S  900
#define STORE_S     10
#define QUIET_AFTER 300 /* a boot that is older is looked at every QUIET_S only */
#define QUIET_S     10
#define ANSWER_MS   3000
#define TGTD_MS     2000 /* all of them together */

struct seen {
    int64_t boot_id;
    uint64_t read_bytes, written_bytes; /* counters at the last look */
    int64_t session_s;                  /* when there last was a session */
    int64_t stored_s;
    bool is_kept; /* in this look */
};

struct boot_watch {
    char root[PATH_MAX];
    struct seen *seen;
    size_t n;
    int64_t next_s; /* before that there is nothing to look at */
};

struct look {
    int64_t now_s;
    struct site site;
    json_t *fs;
    struct tgt_state states[SHARDS_MAX];
    struct client_row *clients;
    size_t n_clients;
    bool is_blind; /* a tgtd did not answer: nobody is taken for gone */
};

static void look_finish(struct look *l)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        tgt_state_finish(&l->states[k]);
    if (l->clients)
        explicit_bzero(l->clients, l->n_clients * sizeof(*l->clients)); /* secrets */
    free(l->clients);
    json_decref(l->fs);
    site_finish(&l->site);
}

struct boot_watch *boot_watch_create(const char *root)
{
    struct boot_watch *w = calloc(1, sizeof(*w));
    if (w)
        (void)snprintf(w->root, sizeof(w->root), "%s", root); /* fits */
    return w;
}

void boot_watch_destroy(struct boot_watch *w)
{
    if (w)
        free(w->seen);
    free(w);
}

/* --- what is there ----------------------------------------------------------------------------------------------- */

static int look_around(struct look *l, const char *root, struct catalog *c, struct err *err)
{
    pid_t pids[SHARDS_MAX];
    int codes[SHARDS_MAX] = {0};
    struct err errs[SHARDS_MAX];
    l->now_s = (int64_t)time(NULL);
    l->site.run_fd = -1;
    int r = site_open(&l->site, root, false, err);
    r = r ? r : site_read(&l->site, c, err);
    r = r ? r : client_list(c, &l->clients, &l->n_clients, err);
    if (r < 0)
        return r;
    if (fsproc_call(&l->site, "status", ANSWER_MS, &l->fs, NULL) < 0)
        l->fs = NULL; /* it is being restarted: bytes are counted the next time */
    (void)shard_find(&l->site, pids);
    shard_check_all(&l->site, pids, TGTD_MS, codes, errs);
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        struct tgtadm a = {.dirfd = l->site.run_fd, .shard = k, .timeout_ms = TGTD_MS};
        if (pids[k] && (codes[k] < 0 || tgtadm_show(&a, &l->states[k], NULL) < 0))
            l->is_blind = true;
        l->is_blind = l->is_blind || (!pids[k] && k < l->site.shards);
    }
    return 0;
}

static const struct tgt_session *session_of(const struct look *l, int64_t client_id)
{
    for (unsigned k = 0; k < SHARDS_MAX; k++) {
        const struct tgt_target *t = tgt_find(&l->states[k], client_id);
        if (t && t->n_sessions > 0)
            return &t->sessions[0];
    }
    return NULL;
}

static const struct client_row *client_of(const struct look *l, int64_t id)
{
    for (size_t i = 0; i < l->n_clients; i++)
        if (l->clients[i].id == id)
            return &l->clients[i];
    return NULL;
}

/* Sum of a counter over the views that are LUNs of the client: those that it did not choose still have the counts of other boots. */
static uint64_t count_of(const struct look *l, const struct client_row *client, const char *key)
{
    uint64_t sum = 0;
    const json_t *views = json_object_get(l->fs, "views");
    for (size_t i = 0; i < json_array_size(views); i++) {
        const json_t *v = json_array_get(views, i);
        const char *name = json_string_value(json_object_get(v, "client"));
        uint32_t slot = (uint32_t)json_integer_value(json_object_get(v, "slot"));
        if (name && strcmp(name, client->name) == 0 && want_lun(client, slot) > 0)
            sum += (uint64_t)json_integer_value(json_object_get(v, key));
    }
    return sum;
}

/* --- one boot ---------------------------------------------------------------------------------------------------- */

static struct seen *seen_of(struct boot_watch *w, int64_t boot_id)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].boot_id == boot_id)
            return &w->seen[i];
    return NULL;
}

/* The first look of this process at a boot. NULL without memory. */
static struct seen *begin(struct boot_watch *w, const struct look *l, const struct boot_row *row,
                          const struct client_row *client)
{
    struct seen *more = reallocarray(w->seen, w->n + 1, sizeof(*more));
    if (!more)
        return NULL;
    w->seen = more;
    struct seen *s = &w->seen[w->n++];
    *s = (struct seen){.boot_id = row->id,
                       .read_bytes = count_of(l, client, "read_bytes"),
                       .written_bytes = count_of(l, client, "written_bytes"),
                       .session_s = l->now_s};
    if (client->mode == OVERLAY_VOLATILE) {
        s->read_bytes = MIN(s->read_bytes, row->read_bytes);
        s->written_bytes = MIN(s->written_bytes, row->written_bytes);
    }
    return s;
}

static uint64_t since(uint64_t now, uint64_t *last)
{
    uint64_t more = now >= *last ? now - *last : now; /* it began anew */
    *last = now;
    return more;
}

/* Bytes since the last look. True if the client has begun to read. */
static bool count_bytes(const struct look *l, const struct client_row *client, struct boot_row *row, struct seen *s)
{
    if (!l->fs)
        return false;
    uint64_t more = since(count_of(l, client, "read_bytes"), &s->read_bytes);
    row->written_bytes += since(count_of(l, client, "written_bytes"), &s->written_bytes);
    row->read_bytes += more;
    if (more == 0)
        return false;
    bool is_first = row->first_read_s == 0;
    row->last_read_s = l->now_s;
    if (is_first)
        row->first_read_s = l->now_s;
    return is_first;
}

/* True if a phase was reached, which is to be stored at once. */
static bool look_at_boot(const struct look *l, const struct client_row *client, struct boot_row *row, struct seen *s)
{
    const struct tgt_session *session = session_of(l, row->client_id);
    bool is_new = false;
    if (session || l->is_blind)
        s->session_s = l->now_s;
    if (session && row->login_s == 0) {
        row->login_s = l->now_s;
        if (*session->address)
            (void)snprintf(row->address, sizeof(row->address), "%s", session->address);
        is_new = true;
    }
    is_new = count_bytes(l, client, row, s) || is_new;
    int64_t quiet_s = l->now_s - s->session_s;
    if (row->login_s > 0 ? quiet_s >= GONE_S : l->now_s - row->script_s >= NO_LOGIN_S) {
        row->end_s = row->login_s > 0 ? s->session_s : row->script_s;
        is_new = true;
    }
    return is_new;
}

/* --- all boots --------------------------------------------------------------------------------------------------- */

static void forget_ended(struct boot_watch *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i].is_kept)
            w->seen[n++] = w->seen[i];
    w->n = n;
}

/* Bring the rows up to date; those that are to be stored come first afterwards, *ret_n of them. */
static void look_at_all(struct boot_watch *w, const struct look *l, struct boot_row *rows, size_t n, size_t *ret_n)
{
    size_t to_store = 0;
    for (size_t i = 0; i < w->n; i++)
        w->seen[i].is_kept = false;
    for (size_t i = 0; i < n; i++) {
        struct boot_row row = rows[i];
        const struct client_row *client = client_of(l, row.client_id);
        struct seen *s = client ? seen_of(w, row.id) : NULL;
        s = s || !client ? s : begin(w, l, &row, client);
        if (!s)
            continue;
        s->is_kept = true;
        bool is_new = look_at_boot(l, client, &row, s);
        bool is_due = l->now_s - s->stored_s >= STORE_S && memcmp(&row, &rows[i], sizeof(row)) != 0;
        if (is_new || is_due) {
            s->stored_s = l->now_s;
            rows[to_store++] = row;
        } else { /* what is not stored is counted again */
            s->read_bytes -= MIN(s->read_bytes, row.read_bytes - rows[i].read_bytes);
            s->written_bytes -= MIN(s->written_bytes, row.written_bytes - rows[i].written_bytes);
        }
    }
    forget_ended(w);
    *ret_n = to_store;
}

static int store(struct catalog *c, const struct boot_row *rows, size_t n, struct err *err)
{
    int r = n > 0 ? catalog_begin(c, err) : 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = boot_update(c, &rows[i], err);
    if (n == 0)
        return r;
    if (r == 0)
        return catalog_commit(c, err);
    catalog_rollback(c);
    return r;
}

/* Open boots to the front; *ret_young: one of them is still on its way. */
static size_t keep_open(struct boot_row *rows, size_t n, int64_t now_s, bool *ret_young)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].end_s != 0)
            continue;
        *ret_young = *ret_young || now_s - rows[i].script_s < QUIET_AFTER;
        rows[open++] = rows[i];
    }
    return open;
}

int boot_watch_look(struct boot_watch *w, struct catalog *c, struct err *err)
{
    _cleanup_free_ struct boot_row *rows = NULL;
    _cleanup_(look_finish) struct look l = {0};
    size_t n = 0, to_store = 0;
    bool is_young = false;
    int64_t now_s = (int64_t)time(NULL);
    l.site.run_fd = -1;
    int r = boot_last(c, &rows, &n, err);
    if (r < 0)
        return r;
    n = keep_open(rows, n, now_s, &is_young);
    if (n == 0 || (!is_young && now_s < w->next_s))
        return 0;
    w->next_s = now_s + QUIET_S;
    r = look_around(&l, w->root, c, err);
    if (r < 0)
        return r;
    look_at_all(w, &l, rows, n, &to_store);
    return store(c, rows, to_store, err);
}
