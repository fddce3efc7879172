/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of attached views and bases, and its rounds; see attach.h. */
#include "fusefs/attach-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/direct.h"
#include "core/keptmark.h"
#include "core/log.h"
#include "core/rampool.h"
#include "core/util.h"
#include "fusefs/boards.h"
#include "fusefs/direct.h"
#include "fusefs/hold.h"
#include "fusefs/opener.h"
#include "fusefs/preload.h"
#include "fusefs/tape.h"

struct attach *attach_create(const struct attach_options *o)
{
    struct attach *a = calloc(1, sizeof(*a));
    if (a)
        a->o = *o;
    return a;
}

/* --- versions ---------------------------------------------------------------------------------------------------- */

struct version *attach_version(const struct attach *a, int64_t id)
{
    for (struct version *v = a->versions; v; v = v->next)
        if (v->row.id == id)
            return v;
    return NULL;
}

static void version_close(struct version *v)
{
    if (v->view)
        view_revoke(v->view);
    view_unref(v->view);
    base_unref(v->base);
    v->view = NULL;
    v->base = NULL;
}

static int open_base(const struct attach *a, const struct version_row *row, struct base **ret, struct err *err)
{
    struct image_info info;
    int r = opener_open_version(a->o.opener, row->id, &info, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = r;
    if (info.size_bytes != row->size_bytes)
        return err_set(err, -ESTALE, "image '%s' version %u has %llu bytes, but %llu were recorded", row->image,
                       row->number, (unsigned long long)info.size_bytes, (unsigned long long)row->size_bytes);
    *ret = base_open(fd, &info, row);
    if (!*ret)
        return err_sys(err, -ENOMEM, "cannot open image '%s'", row->image);
    (void)take_fd(&fd);
    return 0;
}

static void version_open(const struct attach *a, struct version *v)
{
    int r = open_base(a, &v->row, &v->base, &v->err);
    if (r == 0) {
        v->view = view_of_version(v->base);
        if (!v->view)
            r = err_sys(&v->err, -ENOMEM, "cannot open image '%s'", v->row.image);
    }
    if (r < 0) {
        version_close(v);
        log_error("%s", v->err.msg);
    }
}

/* What is no longer what was recorded goes by our hands, where errors are told. */
static void allow_direct(const struct attach *a, const struct version *v, bool is_allowed)
{
    for (const struct slot *s = a->slots; s; s = s->next)
        if (s->view && s->view->boards && s->view->base == v->base) {
            if (is_allowed)
                boards_allow(s->view->boards, DIRECT_ON);
            else
                boards_forbid(s->view->boards, DIRECT_ON);
        }
}

/* A file that changes under running clients cannot be mended here, but nobody else gets to see it. */
static void version_watch(const struct attach *a, struct version *v)
{
    bool has_changed = v->base && base_has_changed(v->base);
    if (has_changed && !v->has_changed) {
        (void)err_set(
            &v->err, -ESTALE,
            "the file '%s' of image '%s' version %u was changed while it is in use; put the original back, or see "
            "'diskgate image check %s'",
            v->row.path, v->row.image, v->row.number, v->row.image);
        log_error("%s", v->err.msg);
    }
    if (has_changed != v->has_changed)
        allow_direct(a, v, !has_changed);
    v->has_changed = has_changed;
}

static bool same_record(const struct version_row *a, const struct version_row *b)
{
    return strcmp(a->path, b->path) == 0 && strcmp(a->identity, b->identity) == 0 && strcmp(a->image, b->image) == 0 &&
           a->mtime_ns == b->mtime_ns && a->file_bytes == b->file_bytes;
}

static bool is_used(const struct attach *a, const struct version *v)
{
    for (const struct slot *s = a->slots; s; s = s->next)
        if (s->view && s->view->base == v->base)
            return true;
    return false;
}

/* A recorded change (repair, check, rename) of a version: opened again when no client uses it, its row renewed otherwise. */
static void version_renew(struct attach *a, struct version *v, const struct version_row *row)
{
    bool is_same = same_record(&v->row, row);
    v->row = *row;
    if (is_same || !v->base)
        return;
    if (v->has_changed && is_used(a, v))
        return;
    version_close(v);
    v->has_changed = false;
}

static bool is_current(const struct snapshot *s, const struct version_row *row)
{
    for (size_t i = 0; i < s->image_count; i++)
        if (s->images[i].id == row->image_id)
            return s->images[i].current_id == row->id;
    return false;
}

static int sync_versions(struct attach *a, const struct snapshot *s)
{
    for (struct version *v = a->versions; v; v = v->next)
        v->is_wanted = false;
    for (size_t i = 0; i < s->version_count; i++) {
        struct version *v = attach_version(a, s->versions[i].id);
        if (!v) {
            v = calloc(1, sizeof(*v));
            if (!v)
                return -ENOMEM;
            v->row = s->versions[i];
            v->next = a->versions;
            a->versions = v;
        } else {
            version_renew(a, v, &s->versions[i]);
        }
        v->is_wanted = true;
        v->is_current = is_current(s, &v->row);
        if (!v->base)
            version_open(a, v);
        version_watch(a, v);
    }
    for (struct version **p = &a->versions; *p;) {
        struct version *v = *p;
        if (v->is_wanted) {
            p = &v->next;
            continue;
        }
        *p = v->next;
        version_close(v);
        free(v);
    }
    return 0;
}

/* --- client views ------------------------------------------------------------------------------------------------ */

static struct slot *slot_of(const struct attach *a, const char *overlay_id)
{
    for (struct slot *s = a->slots; s; s = s->next)
        if (strcmp(s->row.overlay_id, overlay_id) == 0)
            return s;
    return NULL;
}

struct view *attach_view(const struct attach *a, const char *overlay_id)
{
    const struct slot *s = slot_of(a, overlay_id);
    return s && s->view && s->view->overlay && !s->view->is_read_only ? s->view : NULL;
}

static void gather(const struct attach *a, const struct slot *s, bool is_end)
{
    if (!a->o.preload || !s->view || !s->view->tape)
        return;
    if (tape_is_on(s->view->tape))
        boards_gather(s->view->boards);
    preload_learn(a->o.preload, s->view->base, tape_take(s->view->tape, is_end));
    boards_refresh(s->view->boards);
}

void attach_gather(struct attach *a)
{
    for (const struct slot *s = a->slots; s; s = s->next)
        gather(a, s, false);
}

void attach_note_boot(struct attach *a, const char *name)
{
    for (const struct slot *s = a->slots; s; s = s->next)
        if (s->view && s->view->tape && strcmp(s->row.client, name) == 0) {
            gather(a, s, true);
            tape_start(s->view->tape);
            boards_refresh(s->view->boards);
        }
}

static void slot_drop(const struct attach *a, struct slot *s)
{
    if (s->view)
        direct_forget(a->o.direct, s->view);
    gather(a, s, true);
    if (s->view)
        view_revoke(s->view);
    view_unref(s->view);
    free(s);
}

/* New names, a new mode. */
static void slot_renew(const struct attach *a, struct slot *s, const struct view_row *row)
{
    bool was_kept = s->row.mode != OVERLAY_VOLATILE, is_kept = row->mode != OVERLAY_VOLATILE;
    s->row = *row;
    if (!s->view)
        return;
    tree_set_row(a->o.tree, s->view, row);
    struct err err;
    if (was_kept != is_kept && s->view->overlay && overlay_set_kept(s->view->overlay, is_kept, &err) < 0)
        log_error("client '%s' slot %u: %s", row->client, row->slot, err.msg);
}

/* End what the catalog no longer has, note what is new. */
static int sync_slots(struct attach *a, const struct snapshot *s)
{
    for (struct slot *p = a->slots; p; p = p->next)
        p->is_wanted = false;
    for (size_t i = 0; i < s->view_count; i++) {
        struct slot *p = slot_of(a, s->views[i].overlay_id);
        if (!p) {
            p = calloc(1, sizeof(*p));
            if (!p)
                return -ENOMEM;
            p->row = s->views[i];
            p->next = a->slots;
            a->slots = p;
        } else {
            slot_renew(a, p, &s->views[i]);
        }
        p->is_wanted = true;
    }
    for (struct slot **p = &a->slots; *p;) {
        struct slot *old = *p;
        if (old->is_wanted) {
            p = &old->next;
            continue;
        }
        *p = old->next;
        log_info("client '%s' slot %u: overlay %s ended", old->row.client, old->row.slot, old->row.overlay_id);
        slot_drop(a, old);
    }
    return 0;
}

/* --- garbage ----------------------------------------------------------------------------------------------------- */

/* Its folder is gone, and its files with it. */
static int forget_mark(const struct attach *a, const struct garbage_row *g)
{
    unsigned char id[16];
    if (a->o.kept_fd >= 0 && uuid_decode(g->overlay_id, id) == 0)
        (void)kept_mark_clear(a->o.kept_fd, id); /* what stays is in nobody's way */
    return 0;
}

static int delete_overlay(const struct attach *a, const struct garbage_row *g, struct err *err)
{
    _cleanup_close_ int dir_fd =
        openat(a->o.overlays_fd, g->overlay_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir_fd < 0) {
        int r = -errno;
        overlay_disown(a->o.live_fd, g->overlay_id); /* as overlay_delete() does: a store may have its files open */
        return r == -ENOENT ? forget_mark(a, g) : err_sys(err, r, "cannot open 'overlays/%s'", g->overlay_dir);
    }
    struct overlay_place place = {.dir_fd = dir_fd, .live_fd = a->o.live_fd, .slot = g->slot};
    attach_use_memory(a, &place, 0);
    attach_use_marks(a, &place);
    return overlay_delete(&place, g->overlay_id, err);
}

/* How many overlays were deleted. */
static size_t sync_garbage(const struct attach *a, const struct snapshot *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->garbage_count; i++) {
        const struct garbage_row *g = &s->garbage[i];
        struct err err;
        if (slot_of(a, g->overlay_id)) /* it became garbage after we read the views: next time */
            continue;
        int r = delete_overlay(a, g, &err);
        if (r == 0)
            r = opener_garbage_done(a->o.opener, g, &err);
        if (r < 0)
            log_warn("dropped overlay %s: %s, retrying later", g->overlay_id, err.msg);
        else
            (void)unlinkat(a->o.overlays_fd, g->overlay_dir, AT_REMOVEDIR); /* if it is empty now */
        n += r >= 0;
    }
    return n;
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

int attach_put_names(const struct attach *a)
{
    int r = 0;
    tree_begin(a->o.tree);
    for (const struct version *v = a->versions; v && r == 0; v = v->next)
        if (v->view)
            r = tree_put_version(a->o.tree, v->view, v->is_current);
    for (const struct slot *s = a->slots; s && r == 0; s = s->next) {
        r = tree_put_client_dir(a->o.tree, s->row.client);
        if (r == 0 && s->view)
            r = tree_put_client(a->o.tree, s->view);
    }
    if (r == 0)
        tree_end(a->o.tree, a->o.forget_name, a->o.arg);
    return r;
}

static uint64_t cache_bytes(const struct snapshot *s, int64_t image_id)
{
    for (size_t i = 0; i < s->image_count; i++)
        if (s->images[i].id == image_id)
            return s->images[i].ram_cache_bytes;
    return 0;
}

/* Budget and quotas, before anything is opened. */
static int sync_memory(const struct attach *a, const struct snapshot *s)
{
    if (!a->o.ram)
        return 0;
    ram_pool_set_limits(a->o.ram, s->ram_write_bytes, s->ram_client_write_bytes);
    for (size_t i = 0; i < s->view_count; i++) {
        int r = ram_pool_set_quota(a->o.ram, s->views[i].client_id, s->views[i].ram_write_bytes);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What of which version is to be in memory. */
static void sync_preload(const struct attach *a, const struct snapshot *s)
{
    size_t n = 0;
    for (const struct version *v = a->versions; v; v = v->next)
        n += v->base != NULL;
    _cleanup_free_ struct preload_want *wants = calloc(n + 1, sizeof(*wants));
    n = 0;
    for (const struct version *v = a->versions; v && wants; v = v->next)
        if (v->base && (v->is_current || is_used(a, v)))
            wants[n++] = (struct preload_want){.base = v->base, .limit_bytes = cache_bytes(s, v->row.image_id)};
    if (wants)
        preload_sync(a->o.preload, s->ram_read_bytes, wants, n);
}

int attach_sync(struct attach *a, struct err *err)
{
    _cleanup_(snapshot_finish) struct snapshot s = {0};
    int r = opener_snapshot(a->o.opener, &s, err);
    if (r < 0)
        return r;
    if (a->o.hold)
        hold_set_limit(a->o.hold, (unsigned)MIN(s.full_wait_s, 86400U));
    r = sync_memory(a, &s);
    if (r == 0)
        r = sync_slots(a, &s);
    if (r == 0)
        r = sync_versions(a, &s);
    size_t dropped = r == 0 && !a->o.is_read_only ? sync_garbage(a, &s) : 0;
    if (r == 0)
        r = attach_open_slots(a, dropped > 0);
    if (r == 0)
        r = attach_put_names(a);
    if (r == 0 && a->o.preload)
        sync_preload(a, &s);
    return r < 0 ? err_sys(err, r, "cannot follow the catalog") : 0;
}

void attach_destroy(struct attach *a)
{
    if (!a)
        return;
    while (a->slots) {
        struct slot *s = a->slots;
        a->slots = s->next;
        if (s->view)
            direct_forget(a->o.direct, s->view);
        gather(a, s, true);
        if (s->view)
            view_end(s->view);
        view_unref(s->view);
        free(s);
    }
    while (a->versions) {
        struct version *v = a->versions;
        a->versions = v->next;
        version_close(v);
        free(v);
    }
    free(a);
}
