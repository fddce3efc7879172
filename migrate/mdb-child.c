/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A helper program in a jail; see mdb-child.h. */
#include "migrate/mdb-child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/jail.h"
#include "core/util.h"

#define STDERR_MAX   65536
#define PIPE_BYTES   (1 << 20)
#define HIGH_FD      16
#define PROGRAM_FD   3
#define EXIT_NO_JAIL 125
#define EXIT_NO_RUN  127

struct mdb_child {
    pid_t pid; /* 0 = reaped */
    int out, errs;
    uint64_t bytes_left;
    int64_t time_left_ms;
    int status; /* once reaped */
    size_t errs_len;
    char errs_text[STDERR_MAX + 1];
};

/* --- start -------------------------------------------------------------------------------------------------------- */

struct birth {
    int program, file, out, errs;
    char *const *argv;
    struct jail jail;
    pid_t parent;
};

/* Descriptors 0 to 3 and no others. */
static bool arrange_descriptors(const struct birth *b)
{
    int program = fcntl(b->program, F_DUPFD_CLOEXEC, HIGH_FD), file = fcntl(b->file, F_DUPFD_CLOEXEC, HIGH_FD);
    int out = fcntl(b->out, F_DUPFD_CLOEXEC, HIGH_FD), errs = fcntl(b->errs, F_DUPFD_CLOEXEC, HIGH_FD);
    if (program < 0 || file < 0 || out < 0 || errs < 0)
        return false;
    if (dup2(file, 0) < 0 || dup2(out, 1) < 0 || dup2(errs, 2) < 0 || dup3(program, PROGRAM_FD, O_CLOEXEC) < 0)
        return false;
    return syscall(SYS_close_range, PROGRAM_FD + 1, ~0U, 0) == 0;
}

/* In the child, between fork() and exec(): only system calls. */
static void run_child(struct birth *b)
{
    static char *const environment[] = {(char *)"LC_ALL=C.UTF-8", NULL};
    sigset_t none;
    if (!arrange_descriptors(b) || chdir("/") < 0)
        _exit(EXIT_NO_JAIL);
    (void)sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL); /* SIGKILL and SIGSTOP refuse */
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    b->jail.program_fd = PROGRAM_FD;
    if (jail_enter(&b->jail) < 0 || getppid() != b->parent)
        _exit(EXIT_NO_JAIL);
    (void)syscall(SYS_execveat, PROGRAM_FD, "", b->argv, environment, AT_EMPTY_PATH); /* returns only on failure */
    _exit(EXIT_NO_RUN);
}

static int spawn(struct mdb_child *c, struct birth *b, const struct mdb_child_limits *l)
{
    b->parent = getpid();
    b->jail.read_fd = b->jail.write_fd = -1;
    b->jail.cpu_s_max = l->time_s;
    /* the address space of a sanitized program has no useful limit */
    b->jail.memory_bytes_max = IS_SANITIZED ? UINT64_MAX : (uint64_t)l->memory_mb * MiB;
    jail_pick_nobody(&b->jail);
    c->pid = fork();
    if (c->pid < 0) {
        c->pid = 0;
        return -errno;
    }
    if (c->pid == 0)
        run_child(b);
    return 0;
}

static int start(struct mdb_child *c, const char *program, char *const *argv, int fd, const struct mdb_child_limits *l)
{
    int o[2], e[2];
    _cleanup_close_ int program_fd = open(program, O_PATH | O_CLOEXEC);
    if (program_fd < 0 || pipe2(o, O_CLOEXEC) < 0)
        return -errno;
    c->out = o[0];
    _cleanup_close_ int out_w = o[1];
    if (pipe2(e, O_CLOEXEC) < 0 || fcntl(e[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    c->errs = e[0];
    _cleanup_close_ int errs_w = e[1];
    (void)fcntl(c->out, F_SETPIPE_SZ, PIPE_BYTES); /* a smaller one is only slower */
    struct birth b = {.program = program_fd, .file = fd, .out = out_w, .errs = errs_w, .argv = argv};
    return spawn(c, &b, l);
}

int mdb_child_start(const char *program, const char *const *args, int fd, const struct mdb_child_limits *l,
                    struct mdb_child **ret, struct err *err)
{
    char *argv[16] = {(char *)program};
    _cleanup_(mdb_child_destroyp) struct mdb_child *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, -ENOMEM, "memory is out");
    c->out = c->errs = -1;
    c->bytes_left = l->bytes;
    c->time_left_ms = (int64_t)l->time_s * 1000;
    for (size_t i = 0; args[i] && i + 2 < ARRAY_SIZE(argv); i++)
        argv[i + 1] = (char *)args[i];
    int r = start(c, program, argv, fd, l);
    if (r < 0)
        return err_sys(err, r, "cannot run '%s'", program);
    *ret = take_ptr(c);
    return 0;
}

/* --- its output --------------------------------------------------------------------------------------------------- */

/* Take what is there; closed at the end. What does not fit is dropped. */
static void drain_errs(struct mdb_child *c)
{
    char piece[4096];
    while (c->errs >= 0) {
        ssize_t n = read(c->errs, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            (void)close(c->errs); /* read only */
            c->errs = -1;
            return;
        }
        size_t keep = MIN((size_t)n, STDERR_MAX - c->errs_len);
        memcpy(c->errs_text + c->errs_len, piece, keep);
        c->errs_len += keep;
    }
}

/* One wait for either pipe, on the child's time. 0 or -ETIMEDOUT; *ret_out says whether there is something in the first. */
static int wait_once(struct mdb_child *c, bool *ret_out)
{
    int64_t begun = clock_ms();
    struct pollfd p[2] = {{*ret_out ? c->out : -1, POLLIN, 0}, {c->errs, POLLIN, 0}};
    *ret_out = false;
    if (c->time_left_ms <= 0)
        return -ETIMEDOUT;
    int n = poll(p, 2, (int)MIN(c->time_left_ms, (int64_t)60000));
    c->time_left_ms -= clock_ms() - begun;
    if (n < 0 && errno != EINTR)
        return -errno;
    if (n > 0 && p[1].revents)
        drain_errs(c);
    *ret_out = n > 0 && p[0].revents;
    return 0;
}

ssize_t mdb_child_read(void *arg, void *buf, size_t max)
{
    struct mdb_child *c = arg;
    for (;;) {
        bool is_there = true;
        int r = wait_once(c, &is_there);
        if (r < 0)
            return r;
        ssize_t n = is_there ? read(c->out, buf, max) : -EINTR;
        if (!is_there || (n < 0 && errno == EINTR))
            continue;
        if (n < 0)
            return -errno;
        if ((uint64_t)n > c->bytes_left)
            return -EFBIG;
        c->bytes_left -= (uint64_t)n;
        return n;
    }
}

const char *mdb_child_stderr(const struct mdb_child *c)
{
    return c->errs_text;
}

/* --- end ---------------------------------------------------------------------------------------------------------- */

static void reap(struct mdb_child *c)
{
    while (c->pid > 0 && waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
}

/* Give it what is left of its time to end by itself: its pipes close when it does. */
static bool wait_for_end(struct mdb_child *c)
{
    char piece[4096];
    ssize_t n;
    bool none = false;
    while ((n = mdb_child_read(c, piece, sizeof(piece))) > 0)
        ;
    while (n == 0 && c->errs >= 0 && wait_once(c, &none) == 0)
        none = false;
    return n == 0 && c->errs < 0;
}

int mdb_child_end(struct mdb_child *c, struct err *err)
{
    bool has_ended = wait_for_end(c);
    if (!has_ended && c->pid > 0)
        (void)kill(c->pid, SIGKILL); /* our child, not yet reaped */
    reap(c);
    drain_errs(c);
    if (!has_ended)
        return err_set(err, -EBADMSG, "did not end and was killed");
    if (WIFSIGNALED(c->status))
        return err_set(err, -EBADMSG, "was killed by signal %d (%s)", WTERMSIG(c->status),
                       strsignal(WTERMSIG(c->status)));
    switch (WEXITSTATUS(c->status)) {
    case 0:
        return 0;
    case EXIT_NO_JAIL:
        return err_set(err, -EBADMSG, "could not be locked in");
    case EXIT_NO_RUN:
        return err_set(err, -EBADMSG, "could not be run");
    default:
        return err_set(err, -EBADMSG, "ended with status %d", WEXITSTATUS(c->status));
    }
}

void mdb_child_destroy(struct mdb_child *c)
{
    if (!c)
        return;
    if (c->pid > 0)
        (void)kill(c->pid, SIGKILL); /* our child, not yet reaped */
    reap(c);
    closep(&c->out);
    closep(&c->errs);
    free(c);
}
