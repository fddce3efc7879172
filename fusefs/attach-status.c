/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the control socket tells of views and images; the keys are in core/ctl.h.
 *
 * A key that is missing for lack of memory is missing; nothing else can fail here.
 */
#include "fusefs/attach-priv.h"

#include "core/util.h"
#include "fusefs/boards.h"
#include "fusefs/preload.h"

#include <string.h>
#include <time.h>

#define ALARM_S 600 /* how long a failed request is worth an alarm */

/* NULL where all is well. */
static json_t *alarm_text(const struct view *v)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    unsigned held = atomic_load(&v->held);
    int64_t last = atomic_load(&v->error_s);
    if (held > 0)
        return json_sprintf(
            "the disk that overlays/%s lies on is full: %u request%s of the client wait%s; make room there, and "
            "they go on by themselves",
            v->row.overlay_dir, held, held == 1 ? "" : "s", held == 1 ? "s" : "");
    int lost = v->overlay ? overlay_loss(v->overlay) : 0;
    if (lost < 0)
        return json_sprintf(
            "a write to the data in overlays/%s was lost (%s): %s; mend the disk, then put the overlay back "
            "from a backup, or drop it with 'diskgate client reset'",
            v->row.overlay_dir, strerror(-lost),
            v->row.mode == OVERLAY_VOLATILE ? "it cannot become kept"
                                            : "its flushes fail from now on, also after a restart");
    if (last == 0 || now.tv_sec - last > ALARM_S)
        return NULL;
    return json_sprintf(
        "%llu requests of the client failed, the last one %lld seconds ago; run/fs.log names the file and the block",
        (unsigned long long)atomic_load(&v->errors), (long long)(now.tv_sec - last));
}

static void add_direct(json_t *into, const struct board_counts *c)
{
    json_t *j = json_pack("{sI sI sI}", "direct_luns", (json_int_t)c->boards, "direct_reads", (json_int_t)c->reads,
                          "direct_read_bytes", (json_int_t)c->read_bytes);
    (void)json_object_update(into, j); /* fails for lack of memory only: then the keys are missing */
    json_decref(j);
}

static json_t *slot_status(const struct slot *s)
{
    const struct view_row *row = &s->row;
    char path[UUID_LEN + 16];
    (void)snprintf(path, sizeof(path), "by-id/%s.img", row->overlay_id);
    json_t *j = json_pack("{ss sI ss sI ss ss ss sI}", "client", row->client, "slot", (json_int_t)row->slot, "image",
                          row->image, "version", (json_int_t)row->version, "mode", overlay_mode_name(row->mode),
                          "overlay_id", row->overlay_id, "path", path, "size_bytes", (json_int_t)row->size_bytes);
    json_t *more = NULL;
    if (s->view) {
        struct view_counters *c = &s->view->count;
        struct board_counts direct = boards_count(s->view->boards);
        more = json_pack("{ss sI sI sI sI sI sI sI}", "state", "ready", "overlay_bytes",
                         (json_int_t)(s->view->overlay ? overlay_bytes(s->view->overlay) : 0), "read_bytes",
                         (json_int_t)(atomic_load(&c->read_bytes) + direct.read_bytes), "written_bytes",
                         (json_int_t)atomic_load(&c->written_bytes), "reads",
                         (json_int_t)(atomic_load(&c->reads) + direct.reads), "writes",
                         (json_int_t)atomic_load(&c->writes), "flushes", (json_int_t)atomic_load(&c->flushes), "opens",
                         (json_int_t)atomic_load(&c->opens));
        (void)json_object_set_new(
            more, "untouched",
            json_boolean(!s->view->overlay || overlay_is_untouched(s->view->overlay))); /* as below */
        (void)json_object_set_new(
            more, "ram_bytes",
            json_integer((json_int_t)(s->view->overlay ? overlay_ram_bytes(s->view->overlay) : 0))); /* likewise */
        add_direct(more, &direct);
        (void)json_object_set_new(more, "errors",
                                  json_integer((json_int_t)atomic_load(&s->view->errors))); /* likewise */
    } else {
        more = json_pack("{ss ss}", "state", s->is_lost ? "lost" : "failed", "error", s->err.msg);
    }
    json_t *alarm = s->view ? alarm_text(s->view) : NULL;
    if (more && alarm)
        (void)json_object_set_new(more, "alarm", alarm); /* fails for lack of memory only: then it is missing */
    if (j && more)
        (void)json_object_update(j, more); /* fails for lack of memory only: then the fields are missing */
    json_decref(more);
    return j;
}

struct reads {
    uint64_t count, bytes, waited, waited_us;
};

/* Of all clients of a version, those whose views are gone included. */
static struct reads reads_of(const struct attach *a, const struct version *v)
{
    struct reads r = {0};
    if (!v->base)
        return r;
    r = (struct reads){atomic_load(&v->base->past_reads), atomic_load(&v->base->past_read_bytes),
                       atomic_load(&v->base->past_waited_reads), atomic_load(&v->base->past_waited_us)};
    for (const struct slot *s = a->slots; s; s = s->next) {
        if (!s->view || s->view->base != v->base)
            continue;
        const struct view_counters *c = &s->view->count;
        struct board_counts direct = boards_count(s->view->boards);
        r.count += atomic_load(&c->reads) + direct.reads;
        r.bytes += atomic_load(&c->read_bytes) + direct.read_bytes;
        r.waited += atomic_load(&c->waited_reads);
        r.waited_us += atomic_load(&c->waited_us);
    }
    return r;
}

#define RATE_MS 3000

/* Bytes a second since the last look that is long enough ago. */
static uint64_t rate_of(struct version *v, uint64_t bytes)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
    int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000, gone = now - v->seen_ms;
    if (gone >= RATE_MS) {
        v->rate = v->seen_ms ? (bytes - MIN(v->seen_bytes, bytes)) * 1000 / (uint64_t)gone : 0;
        v->seen_bytes = bytes;
        v->seen_ms = now;
    }
    return v->rate;
}

/* Hits are reads that did not wait for a disk. What they saved is told as if each had waited as long as those that did. */
static void add_reads(const struct attach *a, struct version *v, json_t *into)
{
    struct reads r = reads_of(a, v);
    uint64_t hits = r.count - MIN(r.waited, r.count);
    double saved_s = r.waited ? (double)hits * (double)r.waited_us / (double)r.waited / 1e6 : 0;
    json_t *j = json_pack("{sI sI sI sI sf}", "read_bytes", (json_int_t)r.bytes, "read_bytes_per_s",
                          (json_int_t)rate_of(v, r.bytes), "hits", (json_int_t)hits, "misses", (json_int_t)r.waited,
                          "saved_s", saved_s);
    (void)json_object_update(into, j); /* fails for lack of memory only: then the keys are missing */
    json_decref(j);
}

static json_t *version_status(const struct attach *a, struct version *v)
{
    bool is_good = v->base && !v->has_changed;
    json_t *j = json_pack("{ss sI ss}", "image", v->row.image, "version", (json_int_t)v->row.number, "state",
                          is_good ? "ready" : "failed");
    if (j && !is_good)
        (void)json_object_set_new(j, "error", json_string(v->err.msg)); /* likewise */
    if (j && v->base && a->o.preload) {
        add_reads(a, v, j);
        preload_status(a->o.preload, v->base, j);
    }
    return j;
}

json_t *attach_status(struct attach *a)
{
    json_t *views = json_array(), *images = json_array();
    for (const struct slot *s = a->slots; s; s = s->next)
        (void)json_array_append_new(views, slot_status(s)); /* likewise */
    for (struct version *v = a->versions; v; v = v->next)
        (void)json_array_append_new(images, version_status(a, v)); /* likewise */
    return json_pack("{so so}", "views", views, "images", images);
}
