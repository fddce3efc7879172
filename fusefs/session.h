/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The FUSE session: the one place that knows how requests come from the kernel.
 *
 * Order: session_open() as root, in the process that keeps the mount; session_run() in the worker; session_close() last.
 * The file descriptor of /dev/fuse is what a mount lives on: whoever inherits it may serve it (session_fd()).
 *
 * Threads: session_run() makes its own; session_exit() and session_forget_name() may be called from any.
 */
#ifndef DISKGATE_FUSEFS_SESSION_H
#define DISKGATE_FUSEFS_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "fusefs/ops.h"

struct session;

struct session_options {
    const char *root, *mountpoint; /* borrowed until session_open() returns */
    bool is_read_only, allow_other;
    unsigned threads; /* most threads that serve requests */
};

/* Mount. @fs is handed to the operations. -EBUSY and others with a sentence. */
int session_open(const struct session_options *o, struct fs *fs, struct session **ret, struct err *err);

int session_fd(const struct session *s);

/* Serve until the mount ends or session_exit(). SIGTERM, SIGINT and SIGHUP end it. 0 or a negative errno. */
int session_run(struct session *s);
void session_exit(struct session *s);

/* Tell the kernel that @name in folder @parent is no more. */
void session_forget_name(struct session *s, uint64_t parent, const char *name);

/* The mount stays if another process has /dev/fuse open; the caller unmounts. NULL is allowed. */
void session_close(struct session *s);

#endif
