/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The half of diskgate-fs that serves the clients: unprivileged, reachable through the mount and the control socket only.
 *
 * Threads: a process of its own.
 */
#ifndef DISKGATE_FUSEFS_WORKER_H
#define DISKGATE_FUSEFS_WORKER_H

#include "fusefs/options.h"
#include "fusefs/session.h"

struct worker_files {
    int opener;       /* socket to the privileged half */
    int overlays_fd;  /* ROOT/overlays */
    int live_fd;      /* ROOT/run/live, -1 in a read-only mount */
    int frozen_fd;    /* ROOT/run/frozen, likewise */
    int kept_fd;      /* ROOT/kept, likewise */
    int bootsets_fd;  /* ROOT/bootsets, -1 in a read-only mount */
    int ram_fd;       /* ROOT/run/ram, -1 = there is no RAM write cache */
    int run_fd;       /* ROOT/run, likewise */
    int journal_fd;   /* ROOT/journal, likewise */
    char root_tag[9]; /* of the catalog */
    int ready_fd;     /* gets one byte 0 when the mount serves, or a sentence */
};

struct worker;

/* What needs root: the mount and the control socket. With a sentence. */
int worker_prepare(const struct options *o, const struct worker_files *files, struct worker **ret, struct err *err);

/* Give up all privileges, serve until SIGTERM. Returns the exit status of the process. */
int worker_run(struct worker *w);

#endif
