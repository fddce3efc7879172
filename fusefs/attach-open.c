/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening the views of clients. Making an overlay waits for the disk several times, and what is synced at the same moment is synced together: so
 * several threads open what a round has to open. Each has slots of its own, and the lists stay as they are meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/log.h"
#include "core/util.h"
#include "fusefs/attach-priv.h"
#include "fusefs/direct.h"

#define PAUSE_MS    100
#define PATIENCE_MS 3000
#define THREADS     8 /* besides the one that asks */
#define EACH        4 /* slots that are worth a thread */

/* --- one --------------------------------------------------------------------------------------------------------- */

/* The overlay's folder, made if needed. */
static int open_overlay_dir(const struct attach *a, const char *dir, struct err *err)
{
    if (!a->o.is_read_only && mkdirat(a->o.overlays_fd, dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, -errno, "cannot make the overlay folder 'overlays/%s'", dir);
    if (!a->o.is_read_only && fsync(a->o.overlays_fd) < 0) /* what is flushed in it must not go with its name */
        return err_sys(err, -errno, "cannot make the overlay folder 'overlays/%s' durable", dir);
    int fd = openat(a->o.overlays_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_sys(err, -errno, "cannot open the overlay folder 'overlays/%s'", dir) : fd;
}

void attach_use_memory(const struct attach *a, struct overlay_place *place, int64_t client_id)
{
    place->has_ram = a->o.ram_fd >= 0;
    place->ram_fd = a->o.ram_fd;
    place->ram_pool = a->o.ram;
    place->client_id = client_id;
}

void attach_use_marks(const struct attach *a, struct overlay_place *place)
{
    place->has_marks = a->o.kept_fd >= 0;
    place->kept_fd = a->o.kept_fd;
}

static int open_overlay(const struct attach *a, const struct view_row *row, struct base *base, int dir_fd,
                        struct overlay **ret, struct err *err)
{
    struct overlay_place place = {
        .dir_fd = dir_fd, .live_fd = a->o.live_fd, .slot = row->slot, .journal = a->o.journal};
    attach_use_memory(a, &place, row->client_id);
    attach_use_marks(a, &place);
    struct map_stamp stamp = {.size_bytes = base->blk->size};
    char found[UUID_LEN + 1];
    if (uuid_decode(row->overlay_id, stamp.overlay_id) < 0)
        return err_set(err, -EINVAL, "the catalog has a bad overlay id '%s'", row->overlay_id);
    (void)snprintf(stamp.base_identity, sizeof(stamp.base_identity), "%s",
                   base->row.identity); /* as long as the column */
    int r = overlay_open(&place, &stamp, row->mode != OVERLAY_VOLATILE, a->o.is_read_only, base->blk, ret, found, err);
    if (r == -EEXIST) {
        struct err what = *err;
        return err_set(err, -ESTALE,
                       "overlays/%s/%u: %.400s; put the right files back, or move them away and drop the "
                       "overlay with 'diskgate client reset'",
                       row->overlay_dir, row->slot, what.msg);
    }
    return r == -EBADMSG || r == -EOPNOTSUPP ? err_prefix(err, r, "overlays/%s/%u", row->overlay_dir, row->slot) : r;
}

static int open_view(const struct attach *a, const struct view_row *row, struct view **ret, struct err *err)
{
    const struct version *v = attach_version(a, row->version_id);
    if (!v || !v->base || v->has_changed) {
        *err = v ? v->err : (struct err){"its version is not in the catalog"};
        return -ESTALE;
    }
    _cleanup_close_ int dir_fd = -1;
    struct overlay *overlay = NULL;
    int r = dir_fd = open_overlay_dir(a, row->overlay_dir, err);
    if (r >= 0)
        r = open_overlay(a, row, v->base, dir_fd, &overlay, err);
    if (r < 0 && !(r == -ENOENT && a->o.is_read_only))
        return r;
    *ret = view_of_client(v->base, overlay, dir_fd, row);
    if (!*ret) {
        (void)overlay_close(overlay, NULL); /* nothing was written through it */
        return err_sys(err, -ENOMEM, "cannot attach the view");
    }
    (void)take_fd(&dir_fd);
    return 0;
}

/* --- many -------------------------------------------------------------------------------------------------------- */

struct openings {
    const struct attach *a;
    struct opening {
        struct slot *slot;
        int r; /* what came of it */
    } * list;
    size_t count;
    _Atomic size_t next;
};

static void *open_some(void *arg)
{
    struct openings *q = arg;
    size_t i;
    while ((i = atomic_fetch_add(&q->next, 1)) < q->count) {
        struct slot *s = q->list[i].slot;
        q->list[i].r = open_view(q->a, &s->row, &s->view, &s->err);
    }
    return NULL;
}

/* Without threads this one does it all. */
static void open_all(struct openings *q)
{
    pthread_t threads[THREADS];
    size_t n = 0, wanted = MIN((size_t)THREADS, q->count / EACH);
    sigset_t all, old;
    (void)sigfillset(&all); /* signals are for the main thread */
    bool is_masked = wanted > 0 && pthread_sigmask(SIG_SETMASK, &all, &old) == 0;
    while (is_masked && n < wanted && pthread_create(&threads[n], NULL, open_some, q) == 0)
        n++;
    if (is_masked)
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail where the first one did not */
    (void)open_some(q);
    while (n > 0)
        (void)pthread_join(threads[--n], NULL); /* cannot fail for a thread of ours */
}

/* The room of an overlay that was just dropped comes back a moment after its name is gone, when the kernel lets go of its file: a reset on
 * a full disk waits for it, up to @patience_ms in all. */
static int open_again(const struct attach *a, struct slot *s, int *patience_ms)
{
    int r = -ENOSPC;
    if (*patience_ms > 0)
        (void)attach_put_names(a); /* again, and checked, at the end of the round */
    for (; r == -ENOSPC && *patience_ms > 0; *patience_ms -= PAUSE_MS) {
        const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL); /* a signal makes the pause shorter, no more */
        r = open_view(a, &s->row, &s->view, &s->err);
    }
    return r;
}

static void settle(const struct attach *a, struct slot *s, int r)
{
    s->is_lost = r == -EOWNERDEAD;
    if (r < 0) {
        if (!a->o.is_read_only)
            overlay_disown(a->o.live_fd, s->row.overlay_id); /* who cannot have it from us reads it no more */
        log_error("client '%s' slot %u: %s", s->row.client, s->row.slot, s->err.msg);
        return;
    }
    direct_add(a->o.direct, s->view);
    log_info("client '%s' slot %u: image '%s' version %u, %s", s->row.client, s->row.slot, s->row.image, s->row.version,
             overlay_mode_name(s->row.mode));
}

static bool is_to_be_opened(const struct slot *s)
{
    return !s->view && !s->is_lost;
}

int attach_open_slots(struct attach *a, bool has_dropped)
{
    size_t count = 0;
    for (const struct slot *s = a->slots; s; s = s->next)
        count += is_to_be_opened(s);
    _cleanup_free_ struct opening *list = calloc(count + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    struct openings q = {.a = a, .list = list};
    for (struct slot *s = a->slots; s; s = s->next)
        if (is_to_be_opened(s))
            list[q.count++].slot = s;
    open_all(&q);
    int patience_ms = has_dropped ? PATIENCE_MS : 0;
    for (size_t i = 0; i < q.count; i++) {
        struct opening *o = &list[i];
        if (o->r == -ENOSPC)
            o->r = open_again(a, o->slot, &patience_ms);
        settle(a, o->slot, o->r);
    }
    return 0;
}
