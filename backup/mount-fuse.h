/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mounted repository as a FUSE file system, read-only. With fusefs/ the second home of <fuse*.h>: programs of two folders do not share files,
 * and what a backup shows is known here.
 *
 * Files belong to root and only root opens them; anybody else may read from a descriptor that he was given (allow_other), as diskgate-fs's worker
 * does. The kernel keeps what was read: nothing in it ever changes.
 *
 * Threads: one.
 */
#ifndef DISKGATE_BACKUP_MOUNT_FUSE_H
#define DISKGATE_BACKUP_MOUNT_FUSE_H

#include "backup/mount.h"

struct mount_session;

/* Mount @m (borrowed) at @dir. */
int mount_session_open(struct mount *m, const char *repo, const char *dir, struct mount_session **ret, struct err *err);
/* Serve until it is unmounted or a signal comes. */
int mount_session_run(struct mount_session *s);
void mount_session_close(struct mount_session *s); /* unmounts */
/* Instead, in a process whose child serves it. */
void mount_session_leave(struct mount_session *s);

#endif
