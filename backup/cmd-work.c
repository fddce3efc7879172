/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals, bar and warnings of long work; see cmd-work.h. */
#include "backup/cmd-work.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/util.h"

/* For the signal handler. */
static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
    stop = sig;
}

const volatile sig_atomic_t *cmd_catch_signals(void)
{
    const struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGTERM, &sa, NULL); /* these cannot fail for these signals */
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGHUP, &sa, NULL);
    return &stop;
}

/* Each step of the work has a bar of its own. */
static void show_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct cmd_work *w = arg;
    if (w->label != what) {
        struct err ignored;
        progress_finish(&w->bar);
        progress_init(&w->bar, what, w->is_quiet);
        (void)progress_to_fd(&w->bar, w->fd, &ignored); /* it was understood before */
        w->label = what;
    }
    progress_update(&w->bar, done, total);
}

static void show_warning(void *arg, const char *sentence)
{
    struct cmd_work *w = arg;
    progress_finish(&w->bar);
    warn_line("warning: %s", sentence);
    (void)json_array_append_new(w->warnings, out_string(sentence)); /* missing without memory; it was said */
}

int cmd_number(const struct cmd *cmd, const char *name, long min, long max, long *ret, struct err *err)
{
    const char *text = cmd_option(cmd, name);
    char *end;
    if (!text)
        return 0;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        return err_set(err, VERB_USAGE, "--%s '%s' is no number from %ld to %ld", name, text, min, max);
    *ret = n;
    return 0;
}

int cmd_work_begin(struct cmd_work *w, const struct cmd *cmd, struct err *err)
{
    long threads = 0;
    *w = (struct cmd_work){.fd = cmd_option(cmd, "progress"), .is_quiet = cmd->is_quiet, .warnings = json_array()};
    w->work = (struct work){.stop = &stop, .progress = show_progress, .warn = show_warning, .arg = w};
    w->start_ms = clock_ms();
    progress_init(&w->bar, "", true);
    int r = cmd_number(cmd, "threads", 1, 64, &threads, err);
    if (r == 0)
        r = progress_to_fd(&w->bar, w->fd, err);
    w->work.threads = (unsigned)threads;
    if (r == 0)
        (void)cmd_catch_signals(); /* the flag is in the work already */
    return r;
}

void cmd_work_end(struct cmd_work *w)
{
    progress_finish(&w->bar);
    json_decref(w->warnings);
}

double cmd_work_seconds(const struct cmd_work *w)
{
    return (double)(clock_ms() - w->start_ms) / 1000;
}
