/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A raw copy, and qemu-img over it; see export.h.
 *
 * qemu-img gets both files as open descriptors and runs as nobody: the disk's content was written by a client.
 */
#include "backup/export.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/jail.h"
#include "core/util.h"

#define SOURCE_FD 10
#define TARGET_FD 11
#define CPU_S_MAX (24ULL * 3600)
#define TEXT_MAX  512

static int find_program(const char **ret, struct err *err)
{
    static const char *const places[] = {"/usr/bin/qemu-img", "/usr/local/bin/qemu-img", "/bin/qemu-img"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], X_OK) == 0) {
            *ret = places[i];
            return 0;
        }
    return err_set(err, -ENOENT,
                   "this needs the program qemu-img, which is not installed: run 'apt install qemu-utils'");
}

/* In the child: only system calls. */
static void run_child(const char *program, const struct jail *jail, int in, int out, int text)
{
    char *const argv[] = {(char *)"qemu-img",   (char *)"convert",    (char *)"-f", (char *)"raw",
                          (char *)"-O",         (char *)"qcow2",      (char *)"-S", (char *)"65536",
                          (char *)"/dev/fd/10", (char *)"/dev/fd/11", NULL};
    sigset_t none;
    int null = open("/dev/null", O_RDWR);
    int source = fcntl(in, F_DUPFD, 16), target = fcntl(out, F_DUPFD, 16), said = fcntl(text, F_DUPFD, 16);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(said, 2) < 0 || dup2(source, SOURCE_FD) < 0 ||
        dup2(target, TARGET_FD) < 0 || chdir("/") < 0)
        _exit(126);
    (void)syscall(SYS_close_range, 3, SOURCE_FD - 1, 0); /* they end with us, as the next */
    (void)syscall(SYS_close_range, TARGET_FD + 1, ~0U, 0);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL); /* cannot fail */
    if (jail_enter(jail) < 0)
        _exit(125);
    (void)execv(program, argv); /* returns only on failure */
    _exit(127);
}

static int judge(int status, const char *said, const char *path, struct err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (strstr(said, "No space left"))
        return err_set(err, -ENOSPC, "cannot export to '%s': the disk is full", path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
        return err_set(err, -EPERM, "cannot export to '%s': qemu-img cannot be run without privileges here", path);
    return err_set(err, -EIO, "cannot export to '%s': %s", path, *said ? said : "qemu-img failed and does not say why");
}

/* What it says, until it ends; a signal to us ends it. */
static int follow(const struct work *work, pid_t pid, int text, int *ret_status, char *ret_said)
{
    size_t len = 0;
    for (ssize_t n = 1; n != 0;) {
        n = read(text, ret_said + len, TEXT_MAX - len);
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
        if (len == TEXT_MAX)
            len = 0; /* the last words count */
        if (work->stop && *work->stop)
            (void)kill(pid, SIGKILL); /* it is ours and not waited for yet */
    }
    ret_said[len] = 0;
    ret_said[strcspn(ret_said, "\n")] = 0;
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return work->stop && *work->stop ? -EINTR : 0;
}

static int run(const struct work *work, const struct jail *jail, int in, int out, const char *path, struct err *err)
{
    const char *program = NULL;
    char said[TEXT_MAX + 1] = "";
    int text[2], status = 0, r = find_program(&program, err);
    if (r < 0)
        return r;
    if (pipe2(text, O_CLOEXEC) < 0)
        return err_sys(err, -errno, "cannot run qemu-img");
    pid_t pid = fork();
    if (pid == 0)
        run_child(program, jail, in, out, text[1]);
    int code = errno;
    (void)close(text[1]); /* the child's */
    r = pid < 0 ? -code : follow(work, pid, text[0], &status, said);
    (void)close(text[0]); /* read only */
    if (r < 0)
        return r == -EINTR ? err_set(err, r, "stopped by a signal") : err_sys(err, r, "cannot run qemu-img");
    return judge(status, said, path, err);
}

/* Both files for qemu-img's user while it runs. */
static int give(const struct jail *jail, int in, int out, struct err *err)
{
    if (jail->uid == geteuid())
        return 0;
    return fchown(in, jail->uid, jail->gid) < 0 || fchown(out, jail->uid, jail->gid) < 0
               ? err_sys(err, -errno, "cannot give the files to the user that converts")
               : 0;
}

static int convert(const struct work *work, const char *raw, const char *partial, uint64_t size_bytes, struct err *err)
{
    struct jail jail = {.file_bytes_max = size_bytes + size_bytes / 64 + 64 * MiB, /* and its tables */
                        .cpu_s_max = CPU_S_MAX,
                        .read_fd = SOURCE_FD,
                        .write_fd = TARGET_FD};
    _cleanup_close_ int in = open(raw, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0)
        return err_sys(err, -errno, "cannot open '%s'", raw);
    if (unlink(partial) < 0 && errno != ENOENT) /* of an interrupted run */
        return err_sys(err, -errno, "cannot replace '%s'", partial);
    _cleanup_close_ int out = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return err_sys(err, -errno, "cannot make '%s'", partial);
    jail_pick_nobody(&jail);
    int r = give(&jail, in, out, err);
    if (r == 0)
        r = run(work, &jail, in, out, partial, err);
    if (r == 0 && (fchown(out, geteuid(), getegid()) < 0 || fsync(out) < 0))
        r = err_sys(err, -errno, "cannot write to '%s'", partial);
    return r;
}

static int publish(const char *partial, const char *path, struct err *err)
{
    char copy[PATH_MAX];
    (void)snprintf(copy, sizeof(copy), "%s", path); /* of one size */
    _cleanup_close_ int dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) < 0 || fsync(dir) < 0)
        return err_sys(err, -errno, "cannot give '%s' its name", path);
    return 0;
}

static int export_qcow2(const struct work *work, const struct restore_params *p, struct restore_report *ret,
                        struct err *err)
{
    char raw[PATH_MAX], partial[PATH_MAX];
    const char *program = NULL;
    int n = snprintf(raw, sizeof(raw), "%s.partial.raw", p->dest);
    (void)snprintf(partial, sizeof(partial), "%s.partial", p->dest); /* shorter */
    if (n < 0 || n >= (int)sizeof(raw))
        return err_set(err, -ENAMETOOLONG, "the path '%.200s...' is too long", p->dest);
    int r = find_program(&program, err);
    if (r < 0)
        return r;
    struct restore_params to_raw = *p;
    to_raw.dest = raw;
    to_raw.is_forced = true; /* a copy of an interrupted run */
    r = restore_disk(work, &to_raw, ret, err);
    if (r == 0)
        r = convert(work, raw, partial, ret->size_bytes, err);
    (void)unlink(raw); /* missing after a failure */
    if (r == 0)
        r = publish(partial, p->dest, err);
    if (r < 0)
        (void)unlink(partial);                                   /* likewise */
    (void)snprintf(ret->path, sizeof(ret->path), "%s", p->dest); /* shorter, as seen above */
    return r;
}

int export_disk(const struct work *work, const struct restore_params *p, enum export_format format,
                struct restore_report *ret, struct err *err)
{
    struct stat st;
    *ret = (struct restore_report){0};
    if (lstat(p->dest, &st) == 0)
        return err_set(err, -EEXIST, "'%s' is there already; name a new file", p->dest);
    return format == EXPORT_RAW ? restore_disk(work, p, ret, err) : export_qcow2(work, p, ret, err);
}
