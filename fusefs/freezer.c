/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of freezes and the thread that looks after them; see freezer.h. */
#include "fusefs/freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "core/cow.h"
#include "core/freeze.h"
#include "core/log.h"
#include "core/lock.h"
#include "core/util.h"

#define LOOK_S 1

/* One overlay of a group. */
struct member {
    struct view *view; /* a reference */
    struct freeze *freeze;
    struct range gate;
    bool is_frozen;
    char epoch_id[UUID_LEN + 1];
    uint32_t epoch;
};

/* One freeze. */
struct group {
    struct group *next;
    struct freeze_set set;
    int holder_fd;
    struct timespec start;
    struct member *members;
    size_t count;
    bool was_said; /* that it is broken */
};

struct freezer {
    int dir_fd;
    struct lock lock; /* protects all below */
    struct group *groups;
    bool is_stopping, is_running;
    pthread_cond_t stop; /* or a first group */
    pthread_t thread;
};

/* --- end of a freeze --------------------------------------------------------------------------------------------- */

static uint64_t side_bytes(const struct group *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < g->count; i++)
        sum += g->members[i].freeze ? freeze_side_bytes(g->members[i].freeze) : 0;
    return sum;
}

/* The name of the holder goes first: nobody reads what is taken apart. */
static void group_thaw(struct group *g)
{
    freeze_break(&g->set, -ECANCELED);
    for (size_t i = 0; i < g->count; i++) {
        struct member *m = &g->members[i];
        if (m->is_frozen)
            cow_thaw(overlay_blk(m->view->overlay), m->freeze);
        freeze_destroy(m->freeze);
        view_unref(m->view);
    }
    g->count = 0;
}

static void group_end(struct group *g)
{
    group_thaw(g);
    closep(&g->holder_fd);
    free(g->members);
    free(g);
}

static struct group **find_locked(struct freezer *f, const char *id)
{
    struct group **p = &f->groups;
    while (*p && strcmp((*p)->set.id, id) != 0)
        p = &(*p)->next;
    return p;
}

/* --- begin of a freeze ------------------------------------------------------------------------------------------- */

/* The lock of the holder tells that it lives. Returns an fd to ask again with. */
static int open_holder(const struct freezer *f, const char *id, struct err *err)
{
    char name[FREEZE_NAME_LEN + 1];
    freeze_holder_name(id, name);
    _cleanup_close_ int fd = openat(f->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open 'run/frozen/%s'", name);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return err_set(err, -EBUSY, "nobody holds 'run/frozen/%s'", name);
    return take_fd(&fd);
}

static int make_files(struct group *g, struct view **views, size_t n, struct err *err)
{
    g->members = calloc(MAX(n, 1U), sizeof(*g->members));
    if (!g->members)
        return err_sys(err, -ENOMEM, "cannot freeze");
    for (size_t i = 0; i < n; i++) {
        const struct overlay *o = views[i]->overlay;
        struct member *m = &g->members[g->count++];
        m->view = view_ref(views[i]);
        int r = o ? freeze_create(&g->set, overlay_map(o), overlay_data_fd(o), &m->freeze, err)
                  : err_set(err, -ENOENT, "the client has no overlay");
        if (r < 0)
            return err_prefix(err, r, "client '%s' slot %u", views[i]->row.client, views[i]->row.slot);
    }
    return 0;
}

/* The instant: nobody writes into any of the overlays while all their gates are closed. Nothing in here does I/O. */
static void freeze_all(struct group *g)
{
    for (size_t i = 0; i < g->count; i++)
        cow_gate_close(overlay_blk(g->members[i].view->overlay), &g->members[i].gate);
    for (size_t i = 0; i < g->count; i++) {
        struct member *m = &g->members[i];
        cow_freeze(overlay_blk(m->view->overlay), m->freeze);
        m->is_frozen = true;
        overlay_end_epoch(m->view->overlay, m->epoch_id, &m->epoch);
    }
    for (size_t i = 0; i < g->count; i++)
        cow_gate_open(overlay_blk(g->members[i].view->overlay), &g->members[i].gate);
}

static int complete(struct group *g, struct err *err)
{
    for (size_t i = 0; i < g->count; i++) {
        int r = freeze_complete(g->members[i].freeze);
        if (r < 0)
            return err_sys(err, r, "cannot freeze client '%s' slot %u", g->members[i].view->row.client,
                           g->members[i].view->row.slot);
    }
    return 0;
}

static json_t *answer(const struct group *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->count; i++) {
        const struct member *m = &g->members[i];
        (void)json_array_append_new(list, json_pack("{ss ss sI}", "overlay_id", m->view->row.overlay_id, "epoch_id",
                                                    m->epoch_id, "epoch", (json_int_t)m->epoch)); /* as below */
    }
    return json_pack("{so}", "overlays", list); /* NULL without memory: the caller says so */
}

static int begin(struct freezer *f, struct group *g, const char *id, struct view **views, size_t n, struct err *err)
{
    g->set.dir_fd = f->dir_fd;
    (void)snprintf(g->set.id, sizeof(g->set.id), "%s", id); /* checked by the caller */
    clock_gettime(CLOCK_MONOTONIC, &g->start);
    int r = g->holder_fd = open_holder(f, id, err);
    if (r >= 0)
        r = make_files(g, views, n, err);
    if (r < 0)
        return r;
    freeze_all(g);
    return complete(g, err);
}

int freezer_freeze(struct freezer *f, const char *id, struct view **views, size_t n, json_t **ret, struct err *err)
{
    unsigned char bytes[16];
    if (strlen(id) != UUID_LEN || uuid_decode(id, bytes) < 0)
        return err_set(err, -EINVAL, "'%.64s' is no id of a freeze", id);
    LOCK_SCOPE(&f->lock);
    if (*find_locked(f, id))
        return err_set(err, -EBUSY, "there is a freeze with this id already");
    struct group *g = calloc(1, sizeof(*g));
    if (!g)
        return err_sys(err, -ENOMEM, "cannot freeze");
    g->holder_fd = -1;
    int r = begin(f, g, id, views, n, err);
    *ret = r == 0 ? answer(g) : NULL;
    if (r == 0 && !*ret)
        r = err_sys(err, -ENOMEM, "cannot freeze");
    if (r < 0) {
        group_end(g);
        return r;
    }
    g->next = f->groups;
    f->groups = g;
    pthread_cond_broadcast(&f->stop); /* the thread looks more often now */
    log_info("%zu disks are frozen for a backup (%s)", n, id);
    return 0;
}

static void add_broken(json_t *j, const struct group *g)
{
    int why = atomic_load(&g->set.broken);
    if (why < 0)
        (void)json_object_set_new(j, "broken", json_string(strerror(-why))); /* missing without memory */
}

int freezer_thaw(struct freezer *f, const char *id, json_t **ret, struct err *err)
{
    LOCK_SCOPE(&f->lock);
    struct group **p = find_locked(f, id), *g = *p;
    if (!g)
        return err_set(err, -ENOENT, "there is no freeze '%.64s'", id);
    *ret = json_pack("{sI}", "side_bytes", (json_int_t)side_bytes(g));
    if (!*ret)
        return err_sys(err, -ENOMEM, "cannot answer");
    add_broken(*ret, g);
    *p = g->next;
    group_end(g);
    return 0;
}

json_t *freezer_status(struct freezer *f)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    json_t *list = json_array();
    LOCK_SCOPE(&f->lock);
    for (const struct group *g = f->groups; g; g = g->next) {
        json_t *j = json_pack("{ss sI sI sI}", "id", g->set.id, "overlays", (json_int_t)g->count, "side_bytes",
                              (json_int_t)side_bytes(g), "age_s", (json_int_t)(now.tv_sec - g->start.tv_sec));
        if (j)
            add_broken(j, g);
        (void)json_array_append_new(list, j); /* missing without memory */
    }
    return list;
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

static void say_broken(struct group *g)
{
    int why = atomic_load(&g->set.broken), stuck = atomic_load(&g->set.stuck);
    if (why == 0 || g->was_said)
        return;
    g->was_said = true;
    log_warn(
        "the disks that a backup had frozen (%s) could not be kept as they were: %s; clients go on, the backup has "
        "to freeze them again",
        g->set.id, strerror(-why));
    if (stuck < 0)
        log_error("cannot delete 'run/frozen/%s.holder': %s; do not trust the backup that runs now", g->set.id,
                  strerror(-stuck));
}

/* A broken freeze saves nothing any more, but its files take room; what is left of it tells the backup why. */
static void look_locked(struct freezer *f)
{
    for (struct group **p = &f->groups; *p;) {
        struct group *g = *p;
        say_broken(g);
        if (atomic_load(&g->set.broken) < 0)
            group_thaw(g);
        if (flock(g->holder_fd, LOCK_SH | LOCK_NB) < 0) {
            p = &g->next;
            continue;
        }
        log_warn("the backup that had frozen disks (%s) is gone; they are thawed", g->set.id);
        *p = g->next;
        group_end(g);
    }
}

static void *run(void *arg)
{
    struct freezer *f = arg;
    LOCK_SCOPE(&f->lock);
    while (!f->is_stopping) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += f->groups ? LOOK_S : 3600;
        (void)pthread_cond_timedwait(&f->stop, &f->lock.mutex, &until); /* early is no harm */
        if (!f->is_stopping)
            look_locked(f);
    }
    return NULL;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

struct freezer *freezer_create(int dir_fd, struct err *err)
{
    int r = freeze_sweep(dir_fd);
    struct freezer *f = r == 0 ? calloc(1, sizeof(*f)) : NULL;
    if (!f) {
        (void)err_sys(err, r < 0 ? r : -ENOMEM, "cannot clear 'run/frozen'");
        return NULL;
    }
    f->dir_fd = dir_fd;
    lock_init(&f->lock, LOCK_FREEZER);
    pthread_cond_init(&f->stop, NULL);
    return f;
}

int freezer_start(struct freezer *f)
{
    sigset_t all, old;
    (void)sigfillset(&all); /* signals are for the main thread */
    int r = pthread_sigmask(SIG_SETMASK, &all, &old);
    if (r != 0)
        return -r;
    r = pthread_create(&f->thread, NULL, run, f);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* cannot fail where the first one did not */
    f->is_running = r == 0;
    return -r;
}

void freezer_stop(struct freezer *f)
{
    if (!f)
        return;
    {
        LOCK_SCOPE(&f->lock);
        f->is_stopping = true;
        pthread_cond_broadcast(&f->stop);
    }
    if (f->is_running)
        (void)pthread_join(f->thread, NULL); /* cannot fail for a thread of ours */
    f->is_running = false;
    while (f->groups) {
        struct group *g = f->groups;
        f->groups = g->next;
        group_end(g);
    }
}

void freezer_destroy(struct freezer *f)
{
    if (!f)
        return;
    pthread_cond_destroy(&f->stop);
    lock_finish(&f->lock);
    free(f);
}
