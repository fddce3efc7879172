/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work on numbered pieces by several threads at once, each with a reader's worker and room for a chunk.
 *
 * Pieces are begun in order and end in any. The first failure ends all; pieces that were begun are finished. The caller's thread only waits and shows
 * progress, five times a second.
 *
 * Threads: as said.
 */
#ifndef DISKGATE_BACKUP_RESTORE_CREW_H
#define DISKGATE_BACKUP_RESTORE_CREW_H

#include <signal.h>

#include "backup/restore-reader.h"

/* What a long work is told, and whom it tells. */
struct work {
    unsigned threads;                  /* 0 = as many as there are processors, at most 8 */
    const volatile sig_atomic_t *stop; /* not 0: end with -EINTR; may be NULL */
    void (*progress)(void *arg, const char *what, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
    void (*warn)(void *arg, const char *sentence); /* one thread at a time; may be NULL */
    void *arg;
};

struct crew_job {
    const struct work *work;
    struct reader *reader;
    uint64_t n; /* pieces */
    /* Any thread. 0; 1: enough, no further pieces are begun; a negative errno with a sentence. */
    int (*step)(void *arg, struct reader_worker *w, void *buf, uint64_t i, struct err *err);
    void *arg;
    const char *what; /* for the progress: "restoring" */
    const _Atomic uint64_t *done_bytes;
    uint64_t total_bytes;
};

unsigned work_threads(const struct work *w);
void work_warn(const struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int crew_run(const struct crew_job *job, struct err *err);

#endif
