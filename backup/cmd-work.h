/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the verbs with long work share: signals, the bar, warnings, numbers.
 *
 *   cmd_work_begin(&w, cmd)        signals are caught, options --threads and --progress are understood
 *     ... &w.work ...
 *   cmd_work_end(&w)
 *
 * Threads: the main thread.
 */
#ifndef DISKGATE_BACKUP_CMD_WORK_H
#define DISKGATE_BACKUP_CMD_WORK_H

#include <signal.h>

#include "backup/cmd.h"
#include "backup/restore-crew.h"
#include "cli/progress.h"

struct cmd_work {
    struct work work;
    struct progress bar;
    const char *label; /* of the bar that is shown */
    const char *fd;    /* --progress */
    bool is_quiet;
    json_t *warnings;
    int64_t start_ms;
};

/* 0; VERB_USAGE or -EINVAL with a sentence. cmd_work_end() in any case. */
int cmd_work_begin(struct cmd_work *w, const struct cmd *cmd, struct err *err);
void cmd_work_end(struct cmd_work *w);
double cmd_work_seconds(const struct cmd_work *w);
/* From now on a signal sets the flag that is returned, so that the work ends in order; a second one ends the program at once. */
const volatile sig_atomic_t *cmd_catch_signals(void);
/* The option @name of @cmd as a number; *ret stays as it is when it was not given. */
int cmd_number(const struct cmd *cmd, const char *name, long min, long max, long *ret, struct err *err);

#define THREADS_OPTION                                                                                                 \
    {                                                                                                                  \
        "threads", 0, "N", "threads that read and decode (one for each processor, at most 8)"                          \
    }
#define WAIT_OPTION                                                                                                    \
    {                                                                                                                  \
        "wait", 0, "SECONDS", "how long to wait for a backup or prune of the repository (5)"                           \
    }
#define WAIT_DEFAULT_S 5

#endif
