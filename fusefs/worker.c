/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker's life: mount and control socket as root, then its own user, then requests; see worker.h. */
#include "fusefs/worker.h"

#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "core/ctl.h"
#include "core/journal.h"
#include "core/log.h"
#include "core/notify.h"
#include "core/rampool.h"
#include "core/recover.h"
#include "core/util.h"
#include "fusefs/attach.h"
#include "fusefs/direct.h"
#include "fusefs/freezer.h"
#include "fusefs/hold.h"
#include "fusefs/preload.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

struct worker {
    const struct options *o;
    struct worker_files files;
    struct fs fs;
    struct session *session;
    struct journal *journal;
    struct attach *attach;
    struct freezer *freezer; /* NULL in a read-only mount */
    struct preload *preload; /* RAM read cache, NULL in a read-only mount */
    struct ram_pool *ram;    /* RAM write cache, NULL = there is none */
    struct ctl_server *ctl;
    struct direct *direct; /* NULL: tgtd reads through the mount alone */
    pid_t opener_pid;
    struct timespec start;
};

/* --- control socket ---------------------------------------------------------------------------------------------- */

/* "error" is missing where all is well. */
static json_t *ram_status(const struct worker *w)
{
    struct ram_stats s;
    ram_pool_stats(w->ram, &s);
    json_t *j =
        json_pack("{sI sI sI sI}", "limit_bytes", (json_int_t)s.limit_bytes, "used_bytes", (json_int_t)s.used_bytes,
                  "spilled_bytes", (json_int_t)s.spilled_bytes, "refused_bytes", (json_int_t)s.refused_bytes);
    if (j && s.error)
        (void)json_object_set_new(j, "error", json_string(strerror(s.error))); /* likewise */
    return j;
}

static json_t *status(struct worker *w)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    json_t *j = attach_status(w->attach);
    if (!j)
        return NULL;
    (void)json_object_set_new(j, "pid",
                              json_integer(w->opener_pid)); /* fails for lack of memory only: the key is missing then */
    (void)json_object_set_new(j, "worker_pid", json_integer(getpid()));
    (void)json_object_set_new(j, "uptime_s", json_integer(now.tv_sec - w->start.tv_sec));
    if (w->preload)
        (void)json_object_set_new(j, "ram_read", preload_total(w->preload)); /* likewise */
    if (w->ram)
        (void)json_object_set_new(j, "ram_write", ram_status(w)); /* likewise */
    if (w->freezer)
        (void)json_object_set_new(j, "frozen", freezer_status(w->freezer)); /* likewise */
    return j;
}

static int freeze(struct worker *w, json_t *req, json_t **ret, struct err *err)
{
    json_t *ids = json_object_get(req, "overlays");
    size_t n = json_array_size(ids);
    _cleanup_free_ struct view **views = calloc(MAX(n, 1U), sizeof(*views));
    if (!views)
        return err_sys(err, -ENOMEM, "cannot freeze");
    for (size_t i = 0; i < n; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        views[i] = id ? attach_view(w->attach, id) : NULL;
        if (!views[i])
            return err_set(err, -ENOENT, "overlay '%.64s' is not attached", id ? id : "");
    }
    return freezer_freeze(w->freezer, json_text(req, "id"), views, n, ret, err);
}

static int handle(void *arg, const char *cmd, json_t *req, json_t **ret, struct err *err)
{
    struct worker *w = arg;
    attach_gather(w->attach);
    if (strcmp(cmd, "ping") == 0) {
        *ret = json_pack("{sI sI ss ss}", "pid", (json_int_t)w->opener_pid, "worker_pid", (json_int_t)getpid(),
                         "version", DISKGATE_VERSION, "mount", w->o->mountpoint);
    } else if (strcmp(cmd, "sync") == 0) {
        int r = attach_sync(w->attach, err);
        if (r < 0)
            return r;
        *ret = status(w);
    } else if (strcmp(cmd, "status") == 0) {
        *ret = status(w);
    } else if (strcmp(cmd, "boot") == 0) {
        attach_note_boot(w->attach, json_text(req, "client"));
        *ret = json_object();
    } else if (strcmp(cmd, "settle") == 0) {
        if (w->preload)
            preload_settle(w->preload);
        *ret = status(w);
    } else if (strcmp(cmd, "freeze") == 0) {
        return freeze(w, req, ret, err);
    } else if (strcmp(cmd, "thaw") == 0) {
        return freezer_thaw(w->freezer, json_text(req, "id"), ret, err);
    } else {
        return err_set(err, -EINVAL, "diskgate-fs does not know the command '%s'", cmd);
    }
    return *ret ? 0 : err_sys(err, -ENOMEM, "cannot answer '%s'", cmd);
}

/* --- privileges -------------------------------------------------------------------------------------------------- */

static int drop_privileges(const struct options *o, struct err *err)
{
    (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* a hint for memory pressure; older kernels do not know it */
    if (geteuid() == 0 && o->uid != 0) {
        if (setgroups(0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 || setresuid(o->uid, o->uid, o->uid) < 0)
            return err_sys(err, -errno, "cannot become user '%s'", o->user);
        if (setresuid(0, 0, 0) == 0)
            return err_set(err, -EPERM, "the privileges of root were not given up");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, -errno, "cannot give up gaining privileges");
    return 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void forget_name(void *arg, uint64_t parent, const char *name)
{
    struct worker *w = arg;
    session_forget_name(w->session, parent, name);
}

static int make_attach(struct worker *w)
{
    struct attach_options o = {.tree = w->fs.tree,
                               .opener = w->files.opener,
                               .overlays_fd = w->files.overlays_fd,
                               .live_fd = w->files.live_fd,
                               .kept_fd = w->files.kept_fd,
                               .journal = w->journal,
                               .preload = w->preload,
                               .ram_fd = w->files.ram_fd,
                               .ram = w->ram,
                               .direct = w->direct,
                               .hold = w->fs.hold,
                               .is_read_only = w->o->is_read_only,
                               .forget_name = forget_name,
                               .arg = w};
    w->attach = attach_create(&o);
    return w->attach ? 0 : -ENOMEM;
}

/* Clients can do without. */
static void open_direct(struct worker *w)
{
    struct err err;
    if (direct_open(w->files.run_fd, &w->direct, &err) < 0)
        log_warn("%s; tgtd reads through the mount alone, ignoring", err.msg);
}

int worker_prepare(const struct options *o, const struct worker_files *files, struct worker **ret, struct err *err)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return err_sys(err, -ENOMEM, "cannot start");
    w->o = o;
    w->files = *files;
    w->opener_pid = getppid();
    clock_gettime(CLOCK_MONOTONIC, &w->start);
    w->fs = (struct fs){.tree = tree_create(), .start_s = time(NULL), .statfs_fd = files->overlays_fd};
    w->fs.hold = o->is_read_only ? NULL : hold_create();
    if (!w->fs.tree || (!w->fs.hold && !o->is_read_only))
        return err_sys(err, -ENOMEM, "cannot start");
    int r = 0;
    if (!o->is_read_only)
        r = ctl_server_open(files->run_fd, "fs.sock", handle, w, &w->ctl, err);
    if (r == 0 && !o->is_read_only)
        open_direct(w);
    struct session_options so = {.root = o->root,
                                 .mountpoint = o->mountpoint,
                                 .is_read_only = o->is_read_only,
                                 .allow_other = o->allow_other,
                                 .threads = o->threads};
    if (r == 0)
        r = session_open(&so, &w->fs, &w->session, err);
    if (r == 0)
        *ret = w; /* what a failure leaves goes with the process */
    return r;
}

static void say_ready(const struct worker *w, const char *sentence)
{
    (void)write_full(w->files.ready_fd, sentence, strlen(sentence) + 1); /* nobody may be waiting */
    (void)close(w->files.ready_fd);
}

/* What kept overlays flushed before the last end is in their map files when this returns. */
static int start_journal(struct worker *w, struct err *err)
{
    struct recovery found;
    if (w->o->is_read_only)
        return 0;
    int r = recover(w->files.overlays_fd, w->files.journal_fd, w->files.root_tag, &found, err);
    if (r < 0)
        return r;
    if (found.overlays > 0)
        log_info("%llu kept overlays brought up to date from %llu commits of the journal",
                 (unsigned long long)found.overlays, (unsigned long long)found.commits);
    return journal_start(w->files.journal_fd, w->files.root_tag, found.next_number, JOURNAL_AREA_BYTES, &w->journal,
                         err);
}

/* Before any overlay is opened: what a backup took for frozen in an earlier process, or while there was none, is so no more. */
static int start_freezer(struct worker *w, struct err *err)
{
    if (w->o->is_read_only)
        return 0;
    w->freezer = freezer_create(w->files.frozen_fd, err);
    if (!w->freezer)
        return -EIO;
    int r = freezer_start(w->freezer);
    return r < 0 ? err_sys(err, r, "cannot start") : 0;
}

static int start_memory(struct worker *w, struct err *err)
{
    if (w->o->is_read_only)
        return 0;
    w->preload = preload_create(w->files.bootsets_fd);
    if (!w->preload || preload_start(w->preload) < 0)
        return err_sys(err, -ENOMEM, "cannot start the RAM read cache");
    if (w->files.ram_fd < 0)
        return 0;
    w->ram = ram_pool_create();
    int r = w->ram ? ram_pool_start(w->ram) : -ENOMEM;
    return r < 0 ? err_sys(err, r, "cannot start the RAM write cache") : 0;
}

/* Before the first round: who asks too early is answered, too. */
static void start_direct(const struct worker *w)
{
    int r = w->direct ? direct_start(w->direct) : 0;
    if (r < 0)
        log_warn("cannot start direct reads: %s; tgtd reads through the mount alone, ignoring", strerror(-r));
}

static int start(struct worker *w, struct err *err)
{
    /* Memory of a few hundred KiB is used again and again: keep it from going back to the kernel each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 128 << 20);
    int r = drop_privileges(w->o, err);
    if (r == 0 && w->fs.hold) {
        r = hold_start(w->fs.hold);
        if (r < 0)
            (void)err_sys(err, r, "cannot start");
    }
    if (r == 0)
        r = start_freezer(w, err);
    if (r == 0)
        r = start_journal(w, err);
    if (r == 0)
        r = start_memory(w, err);
    if (r == 0 && make_attach(w) < 0)
        r = err_sys(err, -ENOMEM, "cannot start");
    if (r == 0)
        start_direct(w);
    if (r == 0)
        r = attach_sync(w->attach, err);
    if (r == 0 && w->ctl) {
        r = ctl_server_start(w->ctl);
        if (r < 0)
            (void)err_sys(err, r, "cannot start the control socket");
    }
    return r;
}

static void tell_systemd(const char *state)
{
    int r = notify_systemd(state);
    if (r < 0)
        log_warn("cannot tell systemd: %s, ignoring", strerror(-r));
}

int worker_run(struct worker *w)
{
    struct err err = {""};
    tell_systemd("STATUS=attaching images and overlays");
    int r = start(w, &err);
    say_ready(w, r < 0 ? err.msg : "");
    if (r < 0) {
        log_error("%s", err.msg);
    } else {
        log_info("serving '%s' at '%s'", w->o->root, w->o->mountpoint);
        tell_systemd(
            "READY=1\nSTATUS=serving"); /* mounted, views attached; what is asked now waits for the threads below */
        r = session_run(w->session);
        if (r < 0)
            log_error("the FUSE session ended: %s", strerror(-r));
    }
    tell_systemd("STOPPING=1\nSTATUS=stopping");
    ctl_server_stop(w->ctl);
    direct_stop(w->direct);
    if (w->fs.hold)
        hold_stop(w->fs.hold);
    freezer_stop(w->freezer);
    if (w->preload)
        preload_stop(w->preload);
    attach_destroy(w->attach);
    direct_close(w->direct);
    preload_destroy(w->preload);
    if (w->ram)
        ram_pool_stop(
            w->ram); /* a view that was dropped and is open still may have an account in it: it goes with the process */
    freezer_destroy(w->freezer);
    tree_destroy(w->fs.tree);
    journal_stop(w->journal);
    hold_destroy(w->fs.hold);
    session_close(w->session);
    return r < 0 ? 1 : 0;
}
