/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar on stderr for work that takes long: share done, rate and time left.
 *
 *   progress_init(p, "copying", is_quiet)
 *   progress_to_fd(p, cmd's --progress)    only for verbs that have it: lines "done total" instead of the bar
 *   progress_update(p, done, total)        as often as you like; draws at most five times a second
 *   progress_finish(p)                     the bar goes away
 *
 * Silent when stderr is no terminal, and in the first second: short work shows nothing.
 *
 * Threads: one at a time per struct progress.
 */
#ifndef DISKGATE_CLI_PROGRESS_H
#define DISKGATE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

struct progress {
    const char *label; /* borrowed */
    bool is_shown, is_drawn;
    int fd; /* for lines "done total", 0 = none */
    int64_t start_ms, last_ms;
};

void progress_init(struct progress *p, const char *label, bool is_quiet);
/* Write lines "done total" (bytes) to the open descriptor number @text; NULL is allowed and changes nothing. -EINVAL with a sentence. */
int progress_to_fd(struct progress *p, const char *text, struct err *err);
/* The option of a verb that has long work. */
#define PROGRESS_OPTION                                                                                                \
    {                                                                                                                  \
        "progress", 0, "FD", "write lines 'done total' in bytes to this descriptor instead of a bar"                   \
    }
void progress_update(struct progress *p, uint64_t done, uint64_t total);
void progress_finish(struct progress *p);

/* Shape of image_full_hash()'s callback; @arg is a struct progress. Always 0. */
int progress_callback(void *arg, uint64_t done, uint64_t total);

#endif
