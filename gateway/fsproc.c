/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of diskgate-fs.
 *
 *   lock    socket    mount        state
 *   free    -         none         not running: start
 *   free    -         any          died: take the mount away, start
 *   held    answers   answers      runs
 *   held    answers   none, dead   somebody unmounted it: end it, start
 *   held    silent    none, dead   broken: end it, start
 *   held    silent    silent       hangs: said in a sentence; only fsproc_stop() ends it by force
 *
 * It is two processes, a privileged and an unprivileged one. Both are found in /proc by their command line, which has ROOT and the mount side by side.
 */
#include "gateway/fsproc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "core/clock.h"
#include "core/ctl.h"
#include "core/direct.h"
#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/mount.h"
#include "gateway/proc.h"
#include "gateway/report.h"
#include "gateway/spawn.h"
#include "gateway/units.h"

#define PROGRAM   "diskgate-fs"
#define START_MS  120000 /* it looks at every image and opens every overlay */
#define ANSWER_MS 10000
#define END_MS    60000 /* kept overlays are flushed, what volatile ones have in memory is written to disk */
#define KILL_MS   5000

static bool is_ours(pid_t pid, void *arg)
{
    const struct site *s = arg;
    char args[2 * PATH_MAX + 256];
    size_t len = proc_args(pid, args, sizeof(args));
    const char *a, *b;
    for (size_t i = 1; (a = proc_arg(args, len, i)) && (b = proc_arg(args, len, i + 1)); i++)
        if (strcmp(a, s->root) == 0 && strcmp(b, s->mount) == 0)
            return true;
    return false;
}

bool fsproc_runs(const struct site *s, int *ret_pid)
{
    *ret_pid = 0;
    if (s->run_fd < 0 || !root_locked(s->root, "fs.lock", ret_pid))
        return false;
    /* The one that took the lock may have gone to the background since. */
    if (*ret_pid == 0 || !proc_is(*ret_pid, PROGRAM))
        *ret_pid = proc_find(PROGRAM, is_ours, (void *)(uintptr_t)s);
    return true;
}

int fsproc_call(const struct site *s, const char *cmd, int timeout_ms, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *req = json_pack("{s:s}", "cmd", cmd);
    if (!req)
        return err_sys(err, -ENOMEM, "cannot ask diskgate-fs");
    return ctl_call(s->root, "fs.sock", req, timeout_ms, ret, err);
}

/* The pid that it tells itself. */
static int ping(const struct site *s, int timeout_ms, int *ret_pid, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = fsproc_call(s, "ping", timeout_ms, &answer, err);
    if (r < 0)
        return r;
    *ret_pid = (int)json_integer_value(json_object_get(answer, "pid"));
    return *ret_pid > 0 ? 0 : err_set(err, -EPROTO, "diskgate-fs does not tell its pid");
}

int fsproc_check(const struct site *s, int timeout_ms, struct err *err)
{
    int pid, named;
    if (!fsproc_runs(s, &pid))
        return err_set(err, -ENOENT, "diskgate-fs does not run; start it with 'diskgate up'");
    struct err silent, dead;
    int m = mount_probe(s->mount, NULL, 0, timeout_ms, NULL, &dead);
    if (m == -ENOENT || m == -ENOTCONN)
        return err_set(err, -ENOTCONN, "%s", dead.msg);
    if (m < 0)
        return err_set(err, -ETIMEDOUT, "diskgate-fs (pid %d) hangs: %s; 'diskgate down' ends it by force", pid,
                       dead.msg);
    int r = ping(s, timeout_ms, &named, &silent);
    if (r < 0)
        return err_set(err, -ETIMEDOUT, "diskgate-fs (pid %d) serves its mount but does not answer: %s", pid,
                       silent.msg);
    return 0;
}

static void find_program(char ret[PATH_MAX])
{
    static const char *const beside[] = {"../fusefs/" PROGRAM, PROGRAM, NULL}; /* in a build tree, and installed */
    spawn_find("DISKGATE_FS", beside, PROGRAM, ret);
}

/* Mount options. There is no way to write a comma within one: such a root goes without a log file. The user that is the default anyway
 * is left out, so that diskgate-fs may take another where there is none of that name. */
static void mount_options(const struct site *s, bool may_log, char *ret, size_t max)
{
    const char *user = strcmp(s->fs_user, "diskgate") == 0 ? "" : s->fs_user;
    bool has_log = may_log && !strchr(s->root, ',');
    (void)snprintf(ret, max, "rw%s%s%s%s%s", *user ? ",user=" : "", user, has_log ? ",log=" : "",
                   has_log ? s->root : "", has_log ? "/run/fs.log" : ""); /* fits */
}

static int start(const struct site *s, struct err *err)
{
    char program[PATH_MAX], options[PATH_MAX + SETTING_LEN + 64];
    find_program(program);
    mount_options(s, true, options, sizeof(options));
    const char *const argv[] = {program, s->root, s->mount, "-o", options, NULL};
    _cleanup_(spawn_output_finish) struct spawn_output o = {0};
    int r = spawn_run(&(struct spawn){argv, NULL, s->run_fd}, START_MS, &o, err);
    if (r < 0)
        return err_prefix(err, r, "cannot start diskgate-fs");
    if (o.status != 0) {
        const char *text =
            strncmp(o.error, PROGRAM ": ", strlen(PROGRAM) + 2) == 0 ? o.error + strlen(PROGRAM) + 2 : o.error;
        return err_set(err, -ECHILD, "diskgate-fs does not start: %s",
                       *text ? text : "it gave no reason; see run/fs.log");
    }
    return fsproc_check(s, ANSWER_MS, err);
}

/* SIGKILL for each process of it. False when one does not die. */
static bool kill_all(const struct site *s)
{
    for (int i = 0; i < 8; i++) {
        pid_t pid = proc_find(PROGRAM, is_ours, (void *)(uintptr_t)s);
        if (pid == 0)
            return true;
        _cleanup_close_ int pidfd = proc_open(pid);
        if (pidfd >= 0 && is_ours(pid, (void *)(uintptr_t)s) && !proc_end(pidfd, SIGKILL, KILL_MS))
            return false;
    }
    return false;
}

void fsproc_note_boot(const struct site *s, const char *name)
{
    _cleanup_json_ json_t *req = json_pack("{s:s, s:s}", "cmd", "boot", "client", name);
    _cleanup_json_ json_t *answer = NULL;
    struct err err;
    if (req && ctl_call(s->root, "fs.sock", req, 3000, &answer, &err) < 0)
        log_warn("boot of client '%s' is not recorded: %s, ignoring", name, err.msg);
}

/* Ask it to end, and wait for its lock. */
static bool end_cleanly(const struct site *s)
{
    int pid, unused;
    if (ping(s, 3000, &pid, NULL) < 0)
        return false;
    if (!proc_is(pid, PROGRAM)) /* its other half will do */
        pid = proc_find(PROGRAM, is_ours, (void *)(uintptr_t)s);
    _cleanup_close_ int pidfd = proc_open(pid);
    if (pidfd < 0 || !proc_is(pid, PROGRAM) || !proc_end(pidfd, SIGTERM, END_MS))
        return false;
    for (int i = 0; i < KILL_MS / 20 && fsproc_runs(s, &unused); i++)
        proc_sleep_ms(20);
    return !fsproc_runs(s, &unused);
}

int fsproc_stop(const struct site *s, json_t *report, struct err *err)
{
    int pid, r;
    bool was_running = fsproc_runs(s, &pid);
    bool is_clean = was_running && end_cleanly(s);
    /* A request that hangs in the mount keeps its process alive until the connection is aborted, so kill on both sides of it. */
    bool is_dead = kill_all(s);
    r = mount_remove(s->mount, true, err);
    if (r < 0)
        return r;
    if (!is_dead && !kill_all(s))
        return err_set(err, -EBUSY, "diskgate-fs (pid %d) does not end even by SIGKILL: its disk may hang", pid);
    if (fsproc_runs(s, &pid))
        return err_set(err, -EBUSY, "'%s/run/fs.lock' is held by process %d, which is no diskgate-fs of this mount",
                       s->root, pid);
    /* Absent ones are as good. */
    (void)unlinkat(s->run_fd, "fs.sock", 0);
    (void)unlinkat(s->run_fd, DIRECT_SOCKET, 0);
    (void)unlinkat(s->run_fd, "fs.lock", 0);
    if (was_running)
        report_change(report, is_clean ? "diskgate-fs stopped" : "diskgate-fs stopped by force");
    else if (r > 0)
        report_change(report, "mount of a diskgate-fs that had died removed");
    return 0;
}

int fsproc_release_memory(const struct site *s, json_t *report, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(s->root, "run/ram", path, err);
    if (r == 0)
        r = mount_remove(path, false, err);
    if (r < 0)
        return r;
    if (r > 0)
        report_change(report,
                      "memory of a diskgate-fs that had died given up: volatile clients that had written into it need "
                      "a new boot");
    (void)unlinkat(s->run_fd, "ram", AT_REMOVEDIR); /* there may be none */
    return 0;
}

/* One that is just starting elsewhere holds the lock before it answers, and may answer a moment before it is mounted. */
static int check_patiently(const struct site *s, struct err *err)
{
    int64_t begin = clock_ms();
    int unused;
    for (;;) {
        int r = fsproc_check(s, ANSWER_MS, err);
        int64_t patience_ms = r == -ENOTCONN && ping(s, ANSWER_MS, &unused, NULL) == 0 ? 1000 : ANSWER_MS;
        if (r != -ENOTCONN || clock_ms() - begin >= patience_ms)
            return r;
        proc_sleep_ms(100);
    }
}

/* Its messages go to the journal. */
int fsproc_exec(const struct site *s, struct err *err)
{
    char program[PATH_MAX], options[PATH_MAX + SETTING_LEN + 64];
    int pid;
    if (fsproc_runs(s, &pid))
        return err_set(err, -EBUSY, "a diskgate-fs (pid %d) serves '%s' already", pid, s->root);
    int r = mount_remove(s->mount, true, err); /* of one that died */
    if (r < 0)
        return r;
    find_program(program);
    mount_options(s, false, options, sizeof(options));
    const char *const argv[] = {program, "-f", s->root, s->mount, "-o", options, NULL};
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvp(program, (char *const *)(uintptr_t)argv);
    return err_sys(err, -errno, "cannot start '%s'", program);
}

int fsproc_replace(const struct site *s, json_t *report, struct err *err)
{
    bool is_unit = units_manage(s);
    int r = is_unit ? units_restart(s, "-fs", err) : fsproc_stop(s, report, err);
    r = r ? r : is_unit ? fsproc_check(s, ANSWER_MS, err) : start(s, err);
    if (r == 0)
        report_change(report, "diskgate-fs started");
    return r;
}

int fsproc_ensure(const struct site *s, bool *ret_started, json_t *report, struct err *err)
{
    int pid;
    *ret_started = false;
    bool was_running = fsproc_runs(s, &pid);
    int r = was_running ? check_patiently(s, err) : -ENOENT;
    if (r == 0 || r == -ETIMEDOUT)
        return r;
    r = fsproc_replace(s, report, err);
    if (r < 0)
        return r;
    *ret_started = !was_running;
    return 0;
}
