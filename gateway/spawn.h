/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running other programs: to their end with a time limit, or as daemons.
 *
 * No shell is involved. A child has no open files but stdin (/dev/null), stdout and stderr, and the folder @dirfd as its
 * working folder.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_SPAWN_H
#define DISKGATE_GATEWAY_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/err.h"

#define SPAWN_OUTPUT_MAX ((size_t)64 << 20) /* of stdout; what comes behind is an error */

struct spawn {
    const char *const *argv; /* ends with NULL; argv[0] is looked up in PATH unless it has a '/' */
    const char *const
        *env;  /* "NAME=VALUE" entries that are added to our own environment, ends with NULL; may be NULL */
    int dirfd; /* working folder */
};

struct spawn_output {
    int status;      /* exit status, or 128 + the signal that ended it */
    char *out;       /* stdout, zero-terminated; malloc()ed */
    char error[512]; /* the last line of stderr that is not empty, without its newline; control characters become '?' */
};

void spawn_output_finish(struct spawn_output *o);

/* Run to the end. 0 and @ret whatever the exit status is; -ENOENT when there is no such program; -ETIMEDOUT when it did not end
 * in time (it was killed; one that cannot die is left to init); -EFBIG too much output. A sentence for each. */
int spawn_run(const struct spawn *s, int timeout_ms, struct spawn_output *ret, struct err *err);

/* Start in a session of its own, stdout and stderr appended to @log in the working folder (made with mode 0640). */
int spawn_daemon(const struct spawn *s, const char *log, pid_t *ret_pid, struct err *err);

/* A program of ours into @ret (PATH_MAX bytes): what the variable @env names; else the first of @beside (ends with NULL), relative to the folder
 * of the program that runs, that can be run; else @name as installed, or as PATH finds it. */
void spawn_find(const char *env, const char *const *beside, const char *name, char *ret);

/* The last @max bytes at most of @log in folder @dirfd as one line, lines joined by " | "; "" when there is none. */
void spawn_log_tail(int dirfd, const char *log, size_t from, char *ret, size_t max);

#endif
