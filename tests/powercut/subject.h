/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a power cut is tried on: a workload, what is known of it at each point of its log, and what must hold after a cut there.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_TESTS_SUBJECT_H
#define DISKGATE_TESTS_SUBJECT_H

#include "tests/powercut/record.h"
#include "tests/unit/stack-check.h"

struct subject {
    const char *name;
    const char *const *dirs; /* "." and those below, ended by NULL */
    const char *no_garbage;  /* see disk.h */
    bool makes_dirs;         /* the workload makes folders: they go after each state */

    /* Make the empty folders in @root, and those that are not looked at. */
    void (*prepare)(const char *root);
    /* Run in @root with @log switched on, in processes of its own. */
    void (*work)(const char *root, struct rec_log *log, unsigned ops, uint64_t seed);

    /* What is known: at the beginning, after one more record. */
    void *(*expect)(void);
    void (*step)(void *expected, const struct rec *r);
    void (*forget)(void *expected);

    /* Open what a cut left and compare. False with a sentence in @why. */
    bool (*check)(const void *expected, const char *root, struct rng *rng, char *why, size_t len);
    /* Open and close it, for a log of that: another cut in the middle. NULL = is not tried. */
    void (*open_once)(const void *expected, const char *root);
};

extern const struct subject overlays_subject, catalog_subject, backup_subject;

#endif
