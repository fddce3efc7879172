/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of diskgate-fs, as a program and as mount(8)'s helper.
 *
 *   diskgate-fs [-f] [-o OPTIONS] ROOT MOUNTPOINT
 *   mount.fuse.diskgate ROOT MOUNTPOINT [-sfnv] [-N NS] [-o OPTIONS] [-t TYPE]     called by mount -t fuse.diskgate
 *
 * Threads: before start.
 */
#ifndef DISKGATE_FUSEFS_OPTIONS_H
#define DISKGATE_FUSEFS_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "config.h"
#include "core/err.h"

struct options {
    char root[PATH_MAX], mountpoint[PATH_MAX]; /* absolute */
    char log_path[PATH_MAX];                   /* empty = stderr */
    char user[64];                             /* that serves; uid and gid are its own, or ours when we are not root */
    uid_t uid;
    gid_t gid;
    bool is_read_only, allow_other, is_foreground, is_fake;
    unsigned threads;
};

/* 0; 1 when help or version was printed and the program ends; -EINVAL with a sentence. */
int options_parse(int argc, char **argv, struct options *ret, struct err *err);

#endif
