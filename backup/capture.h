/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capture: one stream into the set that is being made.
 *
 * For each chunk, the first that fits:
 *   a hole of the file, a block run that was zeroed        nothing is stored, nothing read
 *   never written by the client                            "inherit", not read
 *   unchanged by the change map since the parent set       the parent's chunk, not read
 *   else                                                   read, and put into the store, which compares SHA-256
 *
 * The parent is the newest set that has the stream. A version whose file has the parent's identity is taken over as a whole.
 *
 * The change map is a hint. After CAPTURE_MAP_MAX sets made by it, everything is read again, and what it should have known is said.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_BACKUP_CAPTURE_H
#define DISKGATE_BACKUP_CAPTURE_H

#include <signal.h>

#include "backup/pipe.h"
#include "backup/set.h"
#include "backup/source.h"

#define CAPTURE_MAP_MAX 20U

struct capture_counts {
    uint64_t read_bytes;                                        /* from files */
    uint64_t zero, known, mapped, inherited, fresh, collisions; /* chunks; mapped: known without reading */
    uint64_t reused;                                            /* streams */
    uint64_t mismatches;                                        /* chunks that the change map had missed */
    uint64_t mended;                                            /* chunks that were damaged in the repository */
};

/* What the streams of a run share. All borrowed. */
struct capture {
    struct repo *repo;
    struct store *store;
    struct set_writer *set;
    struct pipe *pipe;
    bool is_full, is_paranoid;
    const volatile sig_atomic_t *stop; /* not 0: end with -EINTR */
    struct capture_counts counts;
    void (*progress)(void *arg, uint64_t bytes); /* so many more are done */
    void (*warn)(void *arg, const char *sentence);
    void *arg;
};

/* 0; -ESTALE: the file changed while it was read, the freeze is void; -EREMOTEIO: the file cannot be read; errors of the repository; with a sentence. After a failure nothing of the stream is in the
 * set, and it may be begun again. */
int capture_version(struct capture *c, const struct version_file *v, struct err *err);
int capture_overlay(struct capture *c, const struct still *still, const struct still_overlay *o,
                    const struct version_file *below, struct err *err);
/* @len bytes as the stream "catalog". */
int capture_catalog(struct capture *c, const void *buf, size_t len, struct err *err);

#endif
