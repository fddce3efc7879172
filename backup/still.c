/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freezing through the control socket, or a look at files that nobody serves; see still.h. */
#include "backup/still.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/base.h"
#include "core/catalog.h"
#include "core/ctl.h"
#include "core/keptmark.h"
#include "core/recover.h"
#include "core/root.h"
#include "core/util.h"

#define FREEZE_MS (10 * 60 * 1000) /* a worker that syncs hundreds of maps on a slow disk */
#define ASK_MS    30000
#define START_MS  15000 /* diskgate-fs holds its lock, and does not answer yet */
#define PAUSE_MS  200

static const char gone[] = "the disks that were frozen for this backup are not kept frozen any more";

/* --- folders ----------------------------------------------------------------------------------------------------- */

static int open_folder(const char *root, const char *name, bool make, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, name, path, err);
    if (r == 0 && make && (r = make_dirs(path, 0755)) < 0)
        return err_sys(err, r, "cannot make '%s'", path);
    return r < 0 ? r : root_open_dir(root, name, err);
}

static int open_folders(struct still *s, struct err *err)
{
    int r = s->overlays_fd = open_folder(s->root, "overlays", false, err);
    if (r >= 0)
        r = s->frozen_fd = open_folder(s->root, "run/frozen", true, err);
    if (r >= 0)
        r = s->live_fd = open_folder(s->root, "run/live", true, err);
    if (r >= 0 && uuid_new(s->id) < 0)
        r = err_sys(err, -errno, "cannot make an id");
    if (r >= 0)
        r = s->holder_fd = frozen_hold(s->frozen_fd, s->id, err);
    return MIN(r, 0);
}

static struct map_stamp stamp_of(const struct still_overlay *o)
{
    struct map_stamp stamp = {.size_bytes = o->row->size_bytes};
    (void)uuid_decode(o->row->overlay_id, stamp.overlay_id); /* the catalog makes them */
    (void)snprintf(stamp.base_identity, sizeof(stamp.base_identity), "%s", o->version->identity);
    return stamp;
}

static int open_overlay_dir(const struct still *s, struct still_overlay *o, struct err *err)
{
    o->dir_fd = openat(s->overlays_fd, o->row->overlay_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (o->dir_fd < 0)
        return errno == ENOENT
                   ? -ENOENT
                   : err_sys(err, -errno, "cannot open the overlay folder 'overlays/%s'", o->row->overlay_dir);
    return 0;
}

/* --- served ------------------------------------------------------------------------------------------------------ */

static int ask(const struct still *s, json_t *req, int timeout_ms, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *own = req;
    if (!own)
        return err_sys(err, -ENOMEM, "cannot ask diskgate-fs");
    return ctl_call(s->root, "fs.sock", own, timeout_ms, ret, err);
}

static const json_t *find(json_t *list, const char *overlay_id)
{
    size_t i;
    json_t *j;
    json_array_foreach(list, i, j)
    {
        const char *id = json_string_value(json_object_get(j, "overlay_id"));
        if (id && strcmp(id, overlay_id) == 0)
            return j;
    }
    return NULL;
}

/* Overlays that diskgate-fs could not attach are left out, with its reason. */
static json_t *attached_ids(struct still *s, json_t *status)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < s->n; i++) {
        struct still_overlay *o = &s->overlays[i];
        const json_t *view = find(json_object_get(status, "views"), o->row->overlay_id);
        const char *state = json_string_value(json_object_get(view, "state"));
        const char *error = json_string_value(json_object_get(view, "error"));
        if (state && strcmp(state, "ready") == 0)
            (void)json_array_append_new(ids, json_string(o->row->overlay_id)); /* missing without memory: said below */
        else
            (void)err_set(&o->why, -ESTALE, "%s",
                          error ? error : "diskgate-fs does not serve it yet; see 'diskgate status'");
    }
    return ids;
}

static int open_served(const struct still *s, struct still_overlay *o, json_t *answer, struct err *err)
{
    const json_t *j = find(answer, o->row->overlay_id);
    const char *epoch_id = json_string_value(json_object_get(j, "epoch_id"));
    if (!j || !epoch_id || strlen(epoch_id) > UUID_LEN)
        return err_set(err, -EPROTO, "diskgate-fs did not freeze the disk");
    memcpy(o->epoch_id, epoch_id, strlen(epoch_id) + 1);
    o->epoch = (uint32_t)json_integer_value(json_object_get(j, "epoch"));
    struct map_stamp stamp = stamp_of(o);
    int r = open_overlay_dir(s, o, err);
    if (r == -ENOENT)
        return err_set(err, -ESTALE, "%s", gone);
    if (r == 0)
        r = frozen_open(s->frozen_fd, s->id, s->holder_fd, o->dir_fd, o->row->slot, &stamp, &o->frozen, err);
    struct changes_place place = {.live_fd = s->live_fd, .dir_fd = o->dir_fd, .slot = o->row->slot, .stamp = &stamp};
    if (r == 0 && *o->epoch_id && changes_look_live(&place, &o->changes) == 0 &&
        strcmp(changes_look_id(o->changes), o->epoch_id) != 0) {
        changes_look_close(o->changes); /* it was made anew just now */
        o->changes = NULL;
    }
    return r;
}

static int take_served(struct still *s, struct err *err)
{
    _cleanup_json_ json_t *status = NULL, *answer = NULL;
    int r = ask(s, json_pack("{ss}", "cmd", "status"), ASK_MS, &status, err);
    if (r < 0)
        return r;
    s->is_served = true;
    r = ask(s, json_pack("{ss ss so}", "cmd", "freeze", "id", s->id, "overlays", attached_ids(s, status)), FREEZE_MS,
            &answer, err);
    for (size_t i = 0; i < s->n && r == 0; i++)
        if (!s->overlays[i].why.msg[0])
            r = open_served(s, &s->overlays[i], json_object_get(answer, "overlays"), err);
    return r;
}

/* --- not served -------------------------------------------------------------------------------------------------- */

/* What the last diskgate-fs left in the journal; as its next start would do it. */
static int bring_up_to_date(const struct still *s, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    char path[PATH_MAX], tag[9];
    struct recovery found;
    int r = root_path(s->root, "journal", path, err);
    if (r == 0)
        r = catalog_open(s->root, CATALOG_READ, &c, err);
    if (r == 0)
        r = catalog_root_tag(c, tag, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(err, -errno, "cannot open '%s'", path);
    return recover(s->overlays_fd, fd, tag, &found, err);
}

/* The epoch map of a clean end, or of a diskgate-fs that died. */
static void find_changes(const struct still *s, struct still_overlay *o, const struct map_stamp *stamp)
{
    struct changes_place place = {.live_fd = s->live_fd, .dir_fd = o->dir_fd, .slot = o->row->slot, .stamp = stamp};
    char live[UUID_LEN + 8];
    (void)snprintf(live, sizeof(live), "%s.live", o->row->overlay_id); /* fits */
    bool has_live = faccessat(s->live_fd, live, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if ((has_live ? changes_look_live(&place, &o->changes) : changes_look_saved(&place, &o->changes)) < 0)
        return;
    memcpy(o->epoch_id, changes_look_id(o->changes), sizeof(o->epoch_id));
    o->epoch = changes_look_epoch(o->changes);
}

static int open_unserved(const struct still *s, struct still_overlay *o, struct err *err)
{
    int r = open_overlay_dir(s, o, err);
    if (r < 0)
        return r;
    struct map_stamp stamp = stamp_of(o);
    struct overlay_place place = {.dir_fd = o->dir_fd, .live_fd = s->live_fd, .slot = o->row->slot};
    struct overlay *overlay = NULL;
    char found[UUID_LEN + 1];
    o->lower = base_create(-1, 0, o->row->size_bytes);
    if (!o->lower)
        return err_sys(err, -ENOMEM, "cannot open the overlay");
    r = overlay_open(&place, &stamp, true, true, o->lower, &overlay, found, err);
    if (r < 0)
        return r;
    int lost = overlay_loss(overlay);
    if (lost < 0) {
        (void)overlay_close(overlay, NULL); /* read-only */
        return err_set(err, lost, "a write to its data was lost (%s); see 'diskgate overlay check'", strerror(-lost));
    }
    o->frozen = frozen_of(overlay, s->holder_fd);
    if (!o->frozen) {
        (void)overlay_close(overlay, NULL); /* read-only */
        return err_sys(err, -ENOMEM, "cannot open the overlay");
    }
    find_changes(s, o, &stamp);
    return 0;
}

/* It has none, so either nobody ever used it, or they are gone. */
static bool had_files(const struct still *s, const struct still_overlay *o)
{
    struct map_stamp stamp = stamp_of(o);
    _cleanup_close_ int fd = open_folder(s->root, "kept", false, NULL); /* a root of an earlier version has none */
    return fd >= 0 && kept_mark_is_set(fd, stamp.overlay_id) > 0;
}

/* The caller holds fs.lock. */
static int take_unserved(struct still *s, struct err *err)
{
    int r = bring_up_to_date(s, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s->n; i++) {
        struct still_overlay *o = &s->overlays[i];
        r = open_unserved(s, o, &o->why);
        if (r == -ENOENT && had_files(s, o))
            (void)err_set(&o->why, -EBADMSG, "its files in 'overlays/%s' are gone; is their disk mounted?",
                          o->row->overlay_dir);
        else if (r == -ENOENT)
            o->why.msg[0] = 0; /* the client was never there: nothing is written */
    }
    return 0;
}

/* --- either ------------------------------------------------------------------------------------------------------ */

/* Nobody answers. 1: somebody is there all the same. */
static int take_locked(struct still *s, struct err *err)
{
    struct err why;
    _cleanup_close_ int lock = root_lock(s->root, "fs.lock", 0, &why);
    if (lock >= 0)
        return take_unserved(s, err);
    if (lock == -EBUSY)
        return 1;
    *err = why;
    return lock;
}

/* Who serves is asked first: for a lock that is held one waits. Somebody who holds fs.lock and does not answer starts, or ends. */
static int take(struct still *s, struct err *err)
{
    int r = -EBUSY;
    for (int waited = 0; waited < START_MS; waited += PAUSE_MS) {
        r = take_served(s, err);
        if (s->is_served && r == -ENOENT) /* an overlay went away since the catalog was read */
            return err_set(err, -ESTALE, "%s", gone);
        if (s->is_served || (r != -ENOENT && r != -ECONNREFUSED))
            return r;
        int taken = take_locked(s, err);
        if (taken <= 0)
            return taken;
        const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL); /* a signal makes the pause shorter, no more */
    }
    return r;
}

int still_take(const char *root, const struct scope *scope, struct still *ret, struct err *err)
{
    *ret = (struct still){.root = root, .frozen_fd = -1, .holder_fd = -1, .overlays_fd = -1, .live_fd = -1};
    struct still *s = ret;
    s->overlays = calloc(scope->n_views + 1, sizeof(*s->overlays));
    if (!s->overlays)
        return err_sys(err, -ENOMEM, "cannot freeze the disks");
    s->n = scope->n_views;
    for (size_t i = 0; i < s->n; i++)
        s->overlays[i] = (struct still_overlay){
            .row = &scope->views[i], .version = scope_version(scope, scope->views[i].version_id), .dir_fd = -1};
    if (s->n == 0)
        return 0;
    int r = open_folders(s, err);
    if (r == 0)
        r = take(s, err);
    if (r < 0)
        still_end(s, NULL);
    return r;
}

int still_check(const struct still *s, struct err *err)
{
    int r = s->n > 0 ? frozen_check(s->holder_fd) : 0;
    return r < 0 ? err_set(err, r, "%s", gone) : 0;
}

static void thaw(const struct still *s, struct err *ret_why)
{
    struct err ignored;
    _cleanup_json_ json_t *answer = NULL;
    int r = ask(s, json_pack("{ss ss}", "cmd", "thaw", "id", s->id), ASK_MS, &answer, &ignored);
    const char *why = r == 0 ? json_string_value(json_object_get(answer, "broken")) : NULL;
    if (ret_why && why)
        (void)err_set(ret_why, -ESTALE, "%s", why);
}

void still_end(struct still *s, struct err *ret_why)
{
    if (ret_why)
        ret_why->msg[0] = 0;
    if (s->is_served)
        thaw(s, ret_why);
    for (size_t i = 0; i < s->n; i++) {
        struct still_overlay *o = &s->overlays[i];
        frozen_close(o->frozen);
        changes_look_close(o->changes);
        blk_destroy(o->lower);
        closep(&o->dir_fd);
    }
    if (s->overlays && s->holder_fd > 0) {
        char name[FREEZE_NAME_LEN + 1];
        freeze_holder_name(s->id, name);
        (void)unlinkat(s->frozen_fd, name, 0); /* diskgate-fs may have done it */
    }
    if (s->overlays) {
        closep(&s->holder_fd);
        closep(&s->frozen_fd);
        closep(&s->overlays_fd);
        closep(&s->live_fd);
    }
    free(s->overlays);
    *s = (struct still){.frozen_fd = -1, .holder_fd = -1, .overlays_fd = -1, .live_fd = -1};
}
