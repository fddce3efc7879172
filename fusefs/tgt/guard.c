/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A jump out of the signal handler. SA_NODEFER: the signal is not blocked while its handler runs, so leaving it by a jump leaves the mask alone. */
#include "fusefs/tgt/guard.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/util.h"

static const int signals[] = {SIGBUS, SIGSEGV};
static struct sigaction previous[ARRAY_SIZE(signals)];
static volatile sig_atomic_t is_installed;

/* Where this thread goes on. In the storage every thread has from its start: nothing is allocated in a signal handler. */
static _Thread_local sigjmp_buf *volatile way_out __attribute__((tls_model("initial-exec")));

static void on_fault(int sig, siginfo_t *info, void *context)
{
    if (way_out && info->si_code > 0) /* else somebody sent it */
        siglongjmp(*way_out, 1);
    is_installed = false;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &previous[i], NULL); /* what was accepted once */
    if (info->si_code <= 0)
        (void)raise(sig); /* else the instruction is run again, and does it */
}

static bool install(void)
{
    struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    (void)sigemptyset(&a.sa_mask); /* cannot fail */
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (sigaction(signals[i], &a, &previous[i]) < 0)
            return false;
    is_installed = true;
    return true;
}

int guard_call(int (*f)(void *arg), void *arg)
{
    if (!is_installed && !install())
        return -EFAULT;
    sigjmp_buf here;
    if (sigsetjmp(here, 0) != 0) {
        way_out = NULL;
        return -EFAULT;
    }
    way_out = &here;
    atomic_signal_fence(memory_order_seq_cst);
    int r = f(arg);
    atomic_signal_fence(memory_order_seq_cst);
    way_out = NULL;
    return r;
}
