/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a tgtd.
 *
 *   start   port free? -> tgtd -f in ROOT/run with TGT_IPC_SOCKET=tgt -> pid file -> it answers "show system"
 *   stop    targets closed in their order -> "delete system" -> SIGKILL -> sockets and pid file removed
 *
 * The socket's name is relative, because a UNIX socket's path is at most 108 bytes and a root's may be longer. Each buffer of a
 * command up to 32 MiB is taken from the heap instead of mmap() (MALLOC_...): two system calls and 32 page faults less for each.
 * With gateway.direct it gets the library for direct reads, too (direct.h).
 */
#include "gateway/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/clock.h"
#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/portal.h"
#include "gateway/proc.h"
#include "gateway/spawn.h"
#include "gateway/tgt-exec.h"
#include "gateway/tgt-program.h"
#include "gateway/tgtadm.h"
#include "gateway/units.h"

#define START_MS     15000
#define END_MS       5000
#define CLOSE_MS     10000 /* for all targets of a shard that is to be stopped */
#define NAME_MAX_LEN 32

static const char *const tgtd_env[] = {
    TGT_SOCKET_ENV,
    "MALLOC_MMAP_THRESHOLD_=33554432",
    "MALLOC_TRIM_THRESHOLD_=134217728",
    "MALLOC_TOP_PAD_=16777216",
};

struct find {
    const struct site *site;
    pid_t *pids;
    size_t n;
};

/* The number behind "-C" in a command line of tgtd, or -1. */
static long control_port(pid_t pid)
{
    char args[4096];
    size_t len = proc_args(pid, args, sizeof(args));
    const char *arg;
    for (size_t i = 1; (arg = proc_arg(args, len, i)); i++) {
        const char *value = strcmp(arg, "-C") == 0 ? proc_arg(args, len, i + 1) : NULL;
        if (value)
            return strtol(value, NULL, 10);
    }
    return -1;
}

static bool note_shard(pid_t pid, void *arg)
{
    struct find *f = arg;
    if (!proc_works_in(pid, f->site->run_fd))
        return false;
    long port = control_port(pid);
    if (port < 1 || port > SHARDS_MAX || f->pids[port - 1])
        return false;
    f->pids[port - 1] = pid;
    f->n++;
    return false;
}

size_t shard_find(const struct site *s, pid_t ret[SHARDS_MAX])
{
    struct find f = {s, ret, 0};
    memset(ret, 0, SHARDS_MAX * sizeof(*ret));
    (void)proc_find("tgtd", note_shard, &f); /* goes through all of them */
    return f.n;
}

/* "tgtK.SUFFIX" */
static const char *file_name(char buf[NAME_MAX_LEN], unsigned k, const char *suffix)
{
    (void)snprintf(buf, NAME_MAX_LEN, "tgt%u.%s", k, suffix); /* fits */
    return buf;
}

static void remove_files(const struct site *s, unsigned k)
{
    char name[NAME_MAX_LEN];
    /* Absent ones are as good. */
    (void)snprintf(name, sizeof(name), "tgt.%u", k + 1);
    (void)unlinkat(s->run_fd, name, 0);
    (void)snprintf(name, sizeof(name), "tgt.%u.lock", k + 1);
    (void)unlinkat(s->run_fd, name, 0);
    (void)unlinkat(s->run_fd, file_name(name, k, "pid"), 0);
}

static int write_pid(const struct site *s, unsigned k, pid_t pid, struct err *err)
{
    char name[NAME_MAX_LEN], text[16], path[64];
    int len = snprintf(text, sizeof(text), "%d\n", (int)pid);
    int r = file_replace(s->run_fd, file_name(name, k, "pid"), text, (size_t)len, 0644);
    if (r < 0)
        return err_sys(err, r, "cannot write '%s/run/%s'", s->root, name);
    /* Killing it for want of memory would stop the whole room. Not allowed in a container: then it is as any other. */
    (void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)write_full(fd, "-900", 4); /* see above */
    return 0;
}

static int wait_ready(const struct site *s, unsigned k, int pidfd, size_t log_from, struct err *err)
{
    struct tgtadm a = {s->run_fd, k};
    int64_t end = clock_ms() + START_MS;
    char name[NAME_MAX_LEN], tail[400];
    while (proc_is_alive(pidfd)) {
        if (tgtadm_ping(&a, 2000, NULL) == 0)
            return 0;
        if (clock_ms() >= end)
            return err_set(err, -ETIMEDOUT,
                           "tgtd shard %u does not answer within %d s after its start; see '%s/run/tgt%u.log'", k,
                           START_MS / 1000, s->root, k);
        proc_sleep_ms(20);
    }
    spawn_log_tail(s->run_fd, file_name(name, k, "log"), log_from, tail, sizeof(tail));
    return err_set(err, -ECHILD, "tgtd shard %u ended as soon as it was started: %s", k,
                   *tail ? tail : "it said nothing");
}

static size_t log_size(const struct site *s, const char *name)
{
    struct stat st;
    return fstatat(s->run_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (size_t)st.st_size : 0;
}

struct command {
    char iscsi[160], port[16], threads[16];
    struct direct_env direct;
    const char *argv[9];
    const char *env[ARRAY_SIZE(tgtd_env) + ARRAY_SIZE(((struct direct_env *)0)->entries)];
};

static void make_command(const struct site *s, unsigned k, struct command *c)
{
    char portal[80];
    site_portal(s, k, portal);
    (void)snprintf(c->iscsi, sizeof(c->iscsi), "portal=%s,nop_interval=5,nop_count=3", portal); /* these fit */
    (void)snprintf(c->port, sizeof(c->port), "%u", k + 1);
    (void)snprintf(c->threads, sizeof(c->threads), "%u", s->threads);
    const char *const argv[] = {"tgtd", "-f", "-C", c->port, "-t", c->threads, "--iscsi", c->iscsi, NULL};
    memcpy(c->argv, argv, sizeof(argv));
    direct_env(&c->direct, s->wants_direct);
    memcpy(c->env, tgtd_env, sizeof(tgtd_env));
    memcpy(&c->env[ARRAY_SIZE(tgtd_env)], c->direct.entries, sizeof(c->direct.entries)); /* ends with NULL */
}

int shard_exec(const struct site *s, unsigned k, struct err *err)
{
    struct command c;
    int r = portal_check_free(s, k, err);
    if (r < 0)
        return r;
    remove_files(s, k);
    r = write_pid(s, k, getpid(), err);
    make_command(s, k, &c);
    for (size_t i = 0; r == 0 && c.env[i]; i++)
        if (putenv((char *)(uintptr_t)c.env[i]) != 0) /* it is not written to */
            r = err_sys(err, -ENOMEM, "cannot start tgtd");
    if (r == 0 && fchdir(s->run_fd) < 0)
        r = err_sys(err, -errno, "cannot work in '%s/run'", s->root);
    if (r < 0)
        return r;
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execvp("tgtd", (char *const *)(uintptr_t)c.argv);
    return err_sys(err, -errno, "cannot start tgtd; is the package tgt installed?");
}

static int start_unit(const struct site *s, unsigned k, struct err *err)
{
    char suffix[NAME_MAX_LEN];
    (void)snprintf(suffix, sizeof(suffix), "-tgtd@%u", k); /* fits */
    return units_start(s, suffix, err);
}

int shard_start(const struct site *s, unsigned k, struct err *err)
{
    struct command c;
    char log[NAME_MAX_LEN];
    if (units_manage(s))
        return start_unit(s, k, err);
    int r = portal_check_free(s, k, err);
    if (r < 0)
        return r;
    remove_files(s, k);
    make_command(s, k, &c);
    size_t log_from = log_size(s, file_name(log, k, "log"));
    pid_t pid;
    r = spawn_daemon(&(struct spawn){c.argv, c.env, s->run_fd}, log, &pid, err);
    if (r < 0)
        return r == -ENOENT ? err_set(err, r, "tgtd is not installed; install it with 'apt-get install tgt'") : r;
    _cleanup_close_ int pidfd = proc_open(pid);
    r = write_pid(s, k, pid, err);
    r = r ? r : wait_ready(s, k, pidfd, log_from, err);
    if (r < 0) {
        (void)proc_end(pidfd, SIGKILL, END_MS); /* the failure that is reported came before */
        remove_files(s, k);
    }
    return r;
}

/* The result @r of a ping, for who looks whether it works. @err has the ping's sentence. */
static int judge(unsigned k, pid_t pid, int r, int timeout_ms, struct err *err)
{
    if (r == 0 || r == -ENOENT) /* without tgtadm, where that is needed, nobody can tell */
        return r;
    if (r != -ETIMEDOUT)
        return err_set(err, -ETIMEDOUT,
                       "tgtd shard %u (pid %d) has lost its control socket; 'diskgate up' starts it anew", k, (int)pid);
    return err_set(err, r, "tgtd shard %u (pid %d) does not answer within %d s; 'diskgate up' starts it anew", k,
                   (int)pid, timeout_ms / 1000);
}

int shard_check(const struct site *s, unsigned k, pid_t pid, int timeout_ms, struct err *err)
{
    struct tgtadm a = {s->run_fd, k};
    int r = tgtadm_ping(&a, timeout_ms, err);
    return judge(k, pid, r, timeout_ms, err);
}

void shard_check_all(const struct site *s, const pid_t pids[SHARDS_MAX], int timeout_ms, int ret_codes[SHARDS_MAX],
                     struct err *ret_errs)
{
    struct tgtadm list[SHARDS_MAX];
    struct err errs[SHARDS_MAX];
    int codes[SHARDS_MAX];
    size_t n = 0;
    for (unsigned k = 0; k < SHARDS_MAX; k++)
        if (pids[k])
            list[n++] = (struct tgtadm){s->run_fd, k};
    tgtadm_ping_all(list, n, timeout_ms, codes, errs);
    for (size_t i = 0; i < n; i++) {
        unsigned k = list[i].shard;
        ret_codes[k] = judge(k, pids[k], codes[i], timeout_ms, &errs[i]);
        ret_errs[k] = errs[i];
    }
}

/* Best effort: what does not go within the time ends with the process. */
static void close_targets(const struct site *s, unsigned k, size_t *ret_sessions)
{
    struct tgtadm a = {s->run_fd, k};
    _cleanup_(tgt_state_finish) struct tgt_state state = {0};
    int64_t end = clock_ms() + CLOSE_MS;
    if (tgtadm_show(&a, &state, NULL) < 0)
        return;
    for (size_t i = 0; i < state.n_targets; i++) {
        int left = (int)(end - clock_ms());
        if (ret_sessions)
            *ret_sessions += state.targets[i].n_sessions;
        if (left > 0)
            (void)tgt_exec_close(&a, &state.targets[i], MIN(left, 2000), NULL);
    }
}

int shard_stop(const struct site *s, unsigned k, pid_t pid, bool is_hung, size_t *ret_sessions, struct err *err)
{
    struct tgtadm a = {s->run_fd, k};
    _cleanup_close_ int pidfd = proc_open(pid);
    pid_t pids[SHARDS_MAX];
    if (pidfd >= 0 && shard_find(s, pids) > 0 && pids[k] == pid) {
        if (!is_hung) {
            close_targets(s, k, ret_sessions);
            if (tgtadm_stop(&a, NULL) == 0)
                (void)proc_end(pidfd, 0, END_MS); /* SIGKILL follows */
        }
        if (!proc_end(pidfd, SIGKILL, END_MS))
            return err_set(
                err, -EBUSY,
                "tgtd shard %u (pid %d) does not end even by SIGKILL: a request of it hangs in a file system", k,
                (int)pid);
    }
    remove_files(s, k);
    return 0;
}

/* The fd's file without asking its file system: attributes that the kernel has in memory will do. */
static bool identify(int dirfd, const char *fd_name, struct shard_file *ret)
{
    struct statx st;
    if (statx(dirfd, fd_name, AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
        return false;
    ret->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
    ret->ino = st.stx_ino;
    return true;
}

ssize_t shard_files(pid_t pid, struct shard_file **ret)
{
    char path[64], link[PATH_MAX];
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid); /* fits */
    _cleanup_closedir_ DIR *d = opendir(path);
    _cleanup_free_ struct shard_file *list = NULL;
    size_t n = 0, room = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
        link[MAX(len, 0)] = 0;
        const char *base = strrchr(link, '/');
        if (len <= 0 || !strstr(link, "/by-id/") || strlen(base + 1) >= sizeof(list->name))
            continue;
        if (n == room) {
            room = room ? room * 2 : 64;
            struct shard_file *more = reallocarray(list, room, sizeof(*list));
            if (!more)
                return -ENOMEM;
            list = more;
        }
        strcpy(list[n].name, base + 1);
        n += identify(dirfd(d), e->d_name, &list[n]) ? 1 : 0;
    }
    *ret = take_ptr(list);
    return d ? (ssize_t)n : -ESRCH;
}
