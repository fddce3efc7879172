/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A helper program in a jail that reads one open file and answers through a pipe.
 *
 * Order of calls:
 *   mdb_child_start(program, args, fd, limits, &c)
 *     mdb_child_read(c, ...)       until 0, an error, or until the caller has had enough
 *   mdb_child_end(c, &err)         was it a good end? Kills it where it still runs
 *   mdb_child_stderr(c)            what it printed
 *   mdb_child_destroy(c)
 *
 * The child has descriptor 0 = the file, 1 = the pipe, 2 = another pipe, which is drained meanwhile, and nothing else. It runs in the jail of
 * core/jail.h as the user "nobody" and locks itself further (mdb-lock.h).
 *
 * (1) Time counts only while we wait for the child, so a slow reader of rows is not the child's fault.
 * (2) Whatever happens, after mdb_child_destroy() the child is dead and reaped.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_MIGRATE_MDB_CHILD_H
#define DISKGATE_MIGRATE_MDB_CHILD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

struct mdb_child_limits {
    unsigned time_s;    /* of waiting for it */
    unsigned memory_mb; /* of address space */
    uint64_t bytes;     /* that it may answer */
};

struct mdb_child;

/* @program: path of an executable. @args: argv behind argv[0], ended by NULL. @fd is borrowed, for the call only. */
int mdb_child_start(const char *program, const char *const *args, int fd, const struct mdb_child_limits *l,
                    struct mdb_child **ret, struct err *err);

/* Up to @max bytes; 0 at the end; -ETIMEDOUT, -EFBIG (it answers more than it may), -EIO. @arg is the struct mdb_child: a frame_fill. */
ssize_t mdb_child_read(void *arg, void *buf, size_t max);

/* 0 when it has ended by itself with status 0. -EBADMSG: a signal, another status, or it had to be killed; @err says how, to complete "the
 * reader ...". */
int mdb_child_end(struct mdb_child *c, struct err *err);

/* What it printed to stderr, at most 64 KiB, ended by zero; borrowed until mdb_child_destroy(). May hold anything. */
const char *mdb_child_stderr(const struct mdb_child *c);

void mdb_child_destroy(struct mdb_child *c); /* NULL is allowed */
static inline void mdb_child_destroyp(struct mdb_child **c)
{
    mdb_child_destroy(*c);
}

#endif
