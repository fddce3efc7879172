/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate backup mount: a look at a backup without restoring it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "backup/cmd-work.h"
#include "backup/code.h"
#include "backup/mount-fuse.h"
#include "core/log.h"
#include "core/util.h"

#define FUSE_MAGIC  0x65735546 /* FUSE_SUPER_MAGIC of linux/magic.h */
#define LOG_DEFAULT "/var/log/diskgate-backup.log"

struct mounting {
    struct reader *reader;
    struct mount *mount;
    struct mount_session *session;
    char key[PATH_MAX]; /* "" = none */
};

static void finish(struct mounting *m)
{
    mount_session_close(m->session);
    mount_destroy(m->mount);
    reader_close(m->reader);
}

static bool is_inside(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 && (path[len] == 0 || path[len] == '/');
}

static int cannot_mount(const char *dir, struct err *err)
{
    if (errno != ENOTCONN)
        return err_sys(err, -errno, "cannot mount at '%s'", dir);
    return err_set(err, -ENOTCONN, "cannot mount at '%s': the server of an earlier mount has died; 'umount %s' first",
                   dir, dir);
}

/* A second mount over the first would hide it, and 'umount' would take away the wrong one. */
static int find_point(const char *dir, char *ret, struct err *err)
{
    struct stat at, above;
    struct statfs fs;
    char parent[PATH_MAX + 8];
    if (!realpath(dir, ret) || statfs(ret, &fs) < 0 || stat(ret, &at) < 0)
        return cannot_mount(dir, err);
    if (!S_ISDIR(at.st_mode))
        return err_set(err, -ENOTDIR, "cannot mount at '%s': it is no folder", dir);
    (void)snprintf(parent, sizeof(parent), "%s/..", ret); /* fits */
    if (stat(parent, &above) < 0)
        return cannot_mount(dir, err);
    if (fs.f_type != FUSE_MAGIC || at.st_dev == above.st_dev)
        return 0;
    return err_set(err, -EEXIST, "something is mounted at '%s' already; 'umount %s' first, or choose another folder",
                   dir, dir);
}

static int begin(struct mounting *m, const struct cmd *cmd, const char *set, const char *dir, int wait_ms,
                 struct err *err)
{
    char real[PATH_MAX];
    const char *key = cmd_option(cmd, "key");
    int r = find_point(dir, real, err);
    if (r == 0 && key && !realpath(key, m->key)) /* the server works in another folder */
        r = err_sys(err, -errno, "cannot read the key '%s'", key);
    if (r == 0)
        r = reader_open(cmd_arg(cmd, 0), "mount", wait_ms, &m->reader, err);
    if (r == 0 && is_inside(real, repo_path(reader_repo(m->reader))))
        r = err_set(err, -EINVAL, "'%s' lies inside of the repository; choose another place", dir);
    if (r == 0)
        r = mount_create(m->reader, set, m->key[0] ? m->key : NULL, &m->mount, err);
    if (r < 0)
        return r;
    reader_unlock(m->reader);
    return mount_session_open(m->mount, repo_path(reader_repo(m->reader)), real, &m->session, err);
}

/* Where the daemon's messages go; -EACCES and others with a sentence. */
static int open_log(const struct cmd *cmd, struct err *err)
{
    const char *file = cmd_option(cmd, "log");
    int fd = open(file ? file : LOG_DEFAULT, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0 && !file)
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC); /* nobody asked for it */
    return fd < 0 ? err_sys(err, -errno, "cannot open the log '%s'", file ? file : "/dev/null") : fd;
}

/* The child: serves, and ends with the mount. */
static void serve_and_exit(struct mounting *m, int log_fd)
{
    (void)setsid(); /* a child of ours leads no group */
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(log_fd, 2) < 0 || chdir("/") < 0)
        _exit(EXIT_FAILED);
    log_init("diskgate-backup", LOG_LEVEL_INFO, LOG_STAMP);
    int r = mount_session_run(m->session);
    finish(m);
    _exit(r < 0 ? EXIT_FAILED : EXIT_DONE);
}

static int run_foreground(struct mounting *m, struct err *err)
{
    log_init("diskgate-backup", LOG_LEVEL_INFO, 0);
    int r = mount_session_run(m->session);
    finish(m);
    return r < 0 ? err_sys(err, r, "the mount ended") : EXIT_DONE;
}

static int run_background(struct cmd *cmd, struct mounting *m, const char *dir, struct err *err)
{
    _cleanup_close_ int log_fd = open_log(cmd, err);
    pid_t pid = log_fd < 0 ? -1 : fork();
    if (pid == 0)
        serve_and_exit(m, log_fd);
    if (pid < 0) {
        int r = log_fd < 0 ? log_fd : err_sys(err, -errno, "cannot start the server of the mount");
        finish(m);
        return r;
    }
    mount_session_leave(m->session); /* the mount is the child's now */
    m->session = NULL;
    finish(m);
    out_set(&cmd->out, "mount", out_string(dir));
    out_set(&cmd->out, "pid", json_integer(pid));
    out_line(&cmd->out, "mounted at %s; 'umount %s' ends it", dir, dir);
    return EXIT_DONE;
}

static int run_mount(struct cmd *cmd, struct err *err)
{
    struct mounting m = {0};
    long wait_s = WAIT_DEFAULT_S;
    bool has_set = cmd->n_args == 3;
    const char *dir = cmd_arg(cmd, has_set ? 2 : 1);
    int r = cmd_number(cmd, "wait", 0, 7 * 24 * 3600 / 4, &wait_s, err);
    if (r == 0)
        r = begin(&m, cmd, has_set ? cmd_arg(cmd, 1) : NULL, dir, (int)wait_s * 1000, err);
    if (r < 0) {
        finish(&m);
        return r;
    }
    return cmd_has(cmd, "foreground") ? run_foreground(&m, err) : run_background(cmd, &m, dir, err);
}

static const struct option_def mount_options[] = {
    {"foreground", 'f', NULL, "do not return before it is unmounted; messages go to the terminal"},
    {"key", 0, "FILE", "the sets must be signed by the owner of this public key (PEM)"},
    {"log", 0, "FILE", "messages of the server, damaged chunks above all (" LOG_DEFAULT ")"},
    WAIT_OPTION,
    {0},
};

const struct verb cmd_mount_verbs[] = {
    {"", "mount", "REPO [SET] DIR", "Show what is in a backup as files, read-only",
     "DIR/IMAGE/vN/disk.img and p1.img, ... are versions and their partitions, DIR/clients/NAME/disk0.img are clients' "
     "disks as their\n"
     "PCs see them. Without SET each set has a folder, and 'latest' leads to the newest. Every chunk is checked when "
     "it is "
     "read;\n"
     "a damaged one is an I/O error. 'umount DIR' ends it.",
     mount_options, run_mount, 0},
    {0},
};
