/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgated: the daemon of a root. Serves boot scripts, watches boots, repairs what died.
 *
 *   diskgated [--root DIR]      in the foreground, messages to stderr; `diskgate up` and systemd start it
 *
 *   main      waits for a signal
 *   keeper    one round a second (keeper.c)
 *   http      two threads (http.c)
 *
 * (1) One runs in a root: ROOT/run/diskgated.lock.
 * (2) Nothing that a client needs while it runs lies here, so this process may end at any time, in the middle of anything. SIGTERM closes
 *     what closes within END_MS and leaves the rest to the kernel: a round that waits for `down` must not keep `down` waiting.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "core/log.h"
#include "core/names.h"
#include "core/notify.h"
#include "core/root.h"
#include "core/util.h"
#include "gateway/image-sweep.h"
#include "gateway/keeper.h"

#define LOCK_NAME "diskgated.lock"
#define END_MS    2000
#define ROUND_MS  1000

static void notify(const char *state)
{
    int r = notify_systemd(state);
    if (r < 0)
        log_warn("cannot tell systemd '%s': %s, ignoring", state, strerror(-r));
}

struct rounds {
    struct keeper *keeper;
    _Atomic bool must_stop;
};

static void *run_rounds(void *arg)
{
    struct rounds *r = arg;
    while (!atomic_load(&r->must_stop)) {
        keeper_turn(r->keeper);
        keeper_wait(r->keeper, ROUND_MS); /* signals go to main */
    }
    return NULL;
}

static void usage(FILE *f)
{
    (void)fputs("usage: diskgated [--root DIR]\n"
                "  --root DIR     the root; without it DISKGATE_ROOT, else " ROOT_DEFAULT "\n"
                "  -h, --help     this text\n"
                "  -V, --version  the version\n",
                f); /* nobody to tell */
}

/* The root option into *ret; an exit status when there is nothing more to do, else -1. */
static int parse_args(int argc, char **argv, const char **ret)
{
    static const struct option options[] = {{"root", required_argument, NULL, 'r'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {0}};
    for (int o; (o = getopt_long(argc, argv, "hV", options, NULL)) != -1;) {
        if (o == 'r') {
            *ret = optarg;
        } else if (o == 'V') {
            (void)printf("diskgated %s\n", DISKGATE_VERSION); /* nobody to tell */
            return 0;
        } else {
            usage(o == 'h' ? stdout : stderr);
            return o == 'h' ? 0 : 2;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return 2;
    }
    return -1;
}

static void block_signals(sigset_t *set)
{
    (void)sigemptyset(set); /* none of these can fail with valid arguments */
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
}

/* Wait for the end of the rounds; false when it takes too long. */
static bool join(pthread_t thread)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_REALTIME, &end); /* cannot fail */
    end.tv_sec += END_MS / 1000;
    return pthread_timedjoin_np(thread, NULL, &end) == 0;
}

static void tell_swept(void *arg, const char *path, uint64_t bytes)
{
    char size[32];
    size_text(bytes, size);
    log_info("deleted '%s' (%s): what was left of an image that was being made when its 'image add' was killed", path,
             size);
}

static int serve(const char *root, const sigset_t *signals, struct err *err)
{
    struct rounds rounds = {0};
    pthread_t thread;
    int sig = 0;
    _cleanup_close_ int lock = root_lock(root, LOCK_NAME, 0, err);
    if (lock < 0)
        return lock == -EBUSY ? err_set(err, lock, "a diskgated runs already for '%.500s'", root) : lock;
    int r = keeper_open(root, &rounds.keeper, err);
    if (r < 0)
        return r;
    r = pthread_create(&thread, NULL, run_rounds, &rounds);
    if (r)
        return err_sys(err, -r, "cannot start a thread");
    notify("READY=1\nSTATUS=serving boot scripts and watching");
    log_info("serving '%s'", root);
    image_sweep(root, tell_swept, NULL);
    while (sigwait(signals, &sig) != 0)
        continue;
    notify("STOPPING=1\nSTATUS=stopping");
    log_info("ended by signal %d", sig);
    atomic_store(&rounds.must_stop, true);
    if (!join(thread))
        _exit(0);         /* (2) */
    alarm(END_MS / 1000); /* the same for a request that is being handled */
    keeper_close(rounds.keeper);
    return 0;
}

int main(int argc, char **argv)
{
    const char *option = NULL;
    char root[PATH_MAX];
    struct err err = {0};
    sigset_t signals;
    int status = parse_args(argc, argv, &option);
    if (status >= 0)
        return status;
    log_init("diskgated", LOG_LEVEL_INFO, LOG_STAMP);
    block_signals(&signals);
    int r = root_resolve(option, root, &err);
    if (r == 0)
        r = serve(root, &signals, &err);
    if (r < 0)
        log_error("%s", err.msg);
    return r < 0 ? 1 : 0;
}
