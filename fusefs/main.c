/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-fs: the data plane. Two processes from one program:
 *
 *   main ── fork ── opener (root): catalog, image files, the mount's end
 *                      └─ fork ── worker (user diskgate): everything else
 *
 * The opener lives as long as the worker and cleans up after it: the mount, the control socket. SIGTERM to either ends both.
 * Without -f the first process returns when the mount serves, with status 0, or says why not.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/catalog.h"
#include "core/direct.h"
#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "fusefs/memory.h"
#include "fusefs/opener.h"
#include "fusefs/own.h"
#include "fusefs/worker.h"

/* --- before the fork --------------------------------------------------------------------------------------------- */

static int make_folder(const char *root, const char *name, unsigned mode, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(root, name, path, err);
    if (r == 0 && mkdir(path, mode) < 0 && errno != EEXIST)
        r = err_sys(err, -errno, "cannot make '%s'", path);
    return r;
}

/* ROOT/journal, made if needed; the worker owns what is in it. */
static int open_journal(const struct options *o, struct err *err)
{
    char path[PATH_MAX];
    int r = root_path(o->root, "journal", path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchown(fd, o->uid, o->gid) < 0)
        return err_sys(err, -errno, "cannot open '%s'", path);
    _cleanup_close_ int dir = root_open_dir(o->root, ".", err);
    if (dir < 0)
        return dir;
    if (fsync(dir) < 0)
        return err_sys(err, -errno, "cannot make '%s' durable", path);
    return take_fd(&fd);
}

/* Before a root's first `up` its overlays belong to root: the user that serves could not even see that there are none. What
 * has been given to a user is never taken from it by a read-only mount. */
static int own_new_overlays(int fd, const struct options *o, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the overlays' folder");
    return st.st_uid == 0 ? own_folder(fd, o, 1, err) : 0;
}

/* Folders of the root, opened before the privileges go: no path is walked afterwards. */
static int open_folders(const struct options *o, struct worker_files *f, struct err *err)
{
    f->run_fd = f->live_fd = f->frozen_fd = f->journal_fd = f->ram_fd = f->bootsets_fd = f->kept_fd = -1;
    if (!o->is_read_only) {
        int r = make_folder(o->root, "run", 0755, err);
        if (r == 0)
            r = make_folder(o->root, "run/live", 0700, err);
        if (r == 0)
            r = make_folder(o->root, "run/frozen", 0700, err);
        if (r == 0)
            r = make_folder(o->root, "overlays", 0700, err);
        if (r == 0)
            r = make_folder(o->root, "bootsets", 0700, err);
        if (r == 0)
            r = make_folder(o->root, "kept", 0700, err);
        if (r < 0)
            return r;
    }
    f->overlays_fd = root_open_dir(o->root, "overlays", err);
    if (f->overlays_fd < 0)
        return f->overlays_fd;
    f->live_fd = root_open_dir(o->root, "run/live", err);
    if (f->live_fd < 0 && !o->is_read_only)
        return f->live_fd;
    if (o->is_read_only)
        return own_new_overlays(f->overlays_fd, o, err);
    f->bootsets_fd = root_open_dir(o->root, "bootsets", err);
    if (f->bootsets_fd < 0)
        return f->bootsets_fd;
    f->kept_fd = root_open_dir(o->root, "kept", err);
    if (f->kept_fd < 0)
        return f->kept_fd;
    f->frozen_fd = root_open_dir(o->root, "run/frozen", err);
    if (f->frozen_fd < 0)
        return f->frozen_fd;
    f->run_fd = root_open_dir(o->root, "run", err);
    if (f->run_fd < 0)
        return f->run_fd;
    f->journal_fd = open_journal(o, err);
    if (f->journal_fd < 0)
        return f->journal_fd;
    int r = own_folder(f->overlays_fd, o, 1, err);
    if (r == 0)
        r = own_folder(f->live_fd, o, 0, err);
    if (r == 0)
        r = own_folder(f->bootsets_fd, o, 0, err);
    if (r == 0)
        r = own_folder(f->kept_fd, o, 0, err);
    return r < 0 ? r : own_folder(f->frozen_fd, o, 0, err);
}

static int check_catalog(const char *root, char *ret_tag, struct err *err)
{
    struct catalog *c = NULL;
    int r = catalog_open(root, CATALOG_READ, &c, err);
    if (r == 0)
        r = catalog_root_tag(c, ret_tag, err);
    catalog_close(c);
    return r;
}

static int open_log(const char *path, struct err *err)
{
    if (!*path)
        return 0;
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open log file '%s'", path);
    return dup2(fd, STDERR_FILENO) < 0 ? err_sys(err, -errno, "cannot write to log file '%s'", path) : 0;
}

/* Each view takes four descriptors, and each LUN that reads by itself one more. */
static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_max = MAX(files.rlim_max, (rlim_t)1 << 19);
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            log_debug("main", "cannot raise the limit of open files: %s", strerror(errno));
    }
    const struct rlimit locked = {RLIM_INFINITY, RLIM_INFINITY}; /* boot sets, within ram.read_bytes */
    if (setrlimit(RLIMIT_MEMLOCK, &locked) < 0)
        log_debug("main", "cannot raise the limit of locked memory: %s", strerror(errno));
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "-900", 4) < 0)
        log_debug("main", "cannot lower the OOM score: %s", strerror(errno));
}

/* --- the opener -------------------------------------------------------------------------------------------------- */

static pid_t worker_pid; /* for the signal handler only */

static void pass_on(int sig)
{
    if (worker_pid > 0)
        (void)kill(worker_pid, sig); /* it may have ended just now */
}

static int opener_run(const struct options *o, const struct worker_files *f, int sock, pid_t worker)
{
    worker_pid = worker;
    struct sigaction sa = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTERM, &sa, NULL); /* these cannot fail for these signals */
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGHUP, &sa, NULL);
    (void)prctl(PR_SET_NAME, "diskgate-fs-op", 0, 0, 0); /* cosmetic */
    int r = opener_serve(sock, o, f->overlays_fd, f->live_fd);
    if (r < 0)
        log_error("the socket to the worker failed: %s", strerror(-r));
    int status = 0;
    while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        log_error("the worker died of signal %d (%s); 'diskgate up' starts it again", WTERMSIG(status),
                  strsignal(WTERMSIG(status)));
    if (umount2(o->mountpoint, MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
        log_error("cannot unmount '%s': %s", o->mountpoint, strerror(errno));
    memory_end(o, f->ram_fd);
    if (f->run_fd >= 0) {
        (void)unlinkat(f->run_fd, "fs.sock", 0); /* they may be gone */
        (void)unlinkat(f->run_fd, DIRECT_SOCKET, 0);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Split into the two halves; returns the exit status in either. */
static int serve(const struct options *o, struct worker_files *f, struct err *err)
{
    int pair[2];
    f->ram_fd = memory_open(o);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, -errno, "cannot make a socket pair");
    pid_t pid = fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot start the worker");
    if (pid > 0) {
        (void)close(pair[1]);
        (void)close(f->ready_fd); /* the worker says it */
        return opener_run(o, f, pair[0], pid);
    }
    (void)close(pair[0]);
    f->opener = pair[1];
    struct worker *w;
    int r = worker_prepare(o, f, &w, err);
    if (r == 0)
        exit(worker_run(w));
    log_error("%s", err->msg);
    (void)write_full(f->ready_fd, err->msg, strlen(err->msg) + 1); /* nobody may be waiting */
    exit(1);
}

/* --- start ------------------------------------------------------------------------------------------------------- */

/* Wait for the worker's word: 0, or its sentence in @err. */
static int await_ready(int fd, struct err *err)
{
    size_t n = 0;
    while (n < sizeof(err->msg)) {
        ssize_t got = read(fd, err->msg + n, sizeof(err->msg) - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
        if (err->msg[n - 1] == 0)
            return n == 1 ? 0 : -EIO;
    }
    return err_set(err, -EIO, "the worker ended before it could serve");
}

/* A daemon keeps nobody's terminal, and without a log file it says nothing. */
static void go_background(const struct options *o, int other_end)
{
    (void)close(other_end);
    (void)setsid(); /* cannot fail in a fresh child */
    if (chdir("/") < 0)
        log_warn("cannot change to '/': %s, ignoring", strerror(errno));
    _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    (void)dup2(null, STDIN_FILENO); /* both are open: cannot fail */
    (void)dup2(null, STDOUT_FILENO);
    if (!*o->log_path)
        (void)dup2(null, STDERR_FILENO);
}

static int run(const struct options *o, struct err *err)
{
    struct worker_files f = {.ready_fd = -1};
    int ready[2];
    int r = root_check_trusted(o->root, err);
    if (r == 0)
        r = check_catalog(o->root, f.root_tag, err);
    if (r == 0)
        r = open_folders(o, &f, err);
    if (r < 0)
        return r;
    if (!o->is_read_only) {
        r = root_lock(o->root, "fs.lock", 0, err); /* held until both halves are gone */
        if (r == -EBUSY)
            return err_set(err, r,
                           "another diskgate-fs serves '%s' already; end it with 'diskgate down', or look at the disks "
                           "with -o ro",
                           o->root);
        if (r < 0)
            return r;
    }
    if (pipe2(ready, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot make a pipe");
    f.ready_fd = ready[1];
    raise_limits();
    pid_t pid = o->is_foreground ? 0 : fork();
    if (pid < 0)
        return err_sys(err, -errno, "cannot go to the background");
    if (pid > 0) {
        (void)close(ready[1]);
        return await_ready(ready[0], err);
    }
    if (!o->is_foreground)
        go_background(o, ready[0]);
    r = open_log(o->log_path, err);
    if (r >= 0)
        r = serve(o, &f, err);
    if (r < 0 && !o->is_foreground) {
        (void)write_full(f.ready_fd, err->msg, strlen(err->msg) + 1);
        exit(1);
    }
    if (r >= 0)
        exit(r);
    return r;
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err = {""};
    log_init("diskgate-fs", LOG_LEVEL_INFO, LOG_STAMP);
    (void)signal(SIGPIPE, SIG_IGN);
    int r = options_parse(argc, argv, &o, &err);
    if (r == 1 || (r == 0 && o.is_fake))
        return 0;
    if (r < 0) {
        fprintf(stderr, "diskgate-fs: %s\n", err.msg);
        return 2;
    }
    r = run(&o, &err);
    if (r < 0)
        fprintf(stderr, "diskgate-fs: %s\n", err.msg);
    return r < 0 ? 1 : 0;
}
