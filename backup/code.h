/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What went wrong with a repository, as a negative errno, and the exit status that a monitor sees.
 *
 * The numbers of core/err.h, and in this folder:
 *
 *   -ENOMEDIUM    there is no repository: the folder is absent, empty, somebody else's, or went away while we worked   exit 10
 *   -EBUSY        another backup, prune or repair has the repository                                                  exit 11
 *   -EKEYREJECTED a signature that does not hold, or the wrong key                                                    exit 12
 *   -EBADMSG      damage: a pack, chunk, manifest, set or the format file is missing or not what it was               exit 13
 *   -ENOSPC       the repository's or the target's file system is full (-EDQUOT: the quota, -EFBIG: the file's limit)  exit 14
 *   -EINTR        a signal asked us to stop                                                                           exit 130
 *   anything else                                                                                                     exit 1
 *
 * Exit 0: done. 2: wrong use. 3: done, with warnings that the output names. Whoever does not know a status takes it for a failure.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_BACKUP_CODE_H
#define DISKGATE_BACKUP_CODE_H

enum {
    BACKUP_EXIT_WARNINGS = 3,
    BACKUP_EXIT_NO_REPOSITORY = 10,
    BACKUP_EXIT_LOCKED = 11,
    BACKUP_EXIT_SIGNATURE = 12,
    BACKUP_EXIT_DAMAGE = 13,
    BACKUP_EXIT_NO_SPACE = 14,
    BACKUP_EXIT_INTERRUPTED = 130,
};

/* The exit status for @code, a negative errno. */
int backup_exit_status(int code);

#endif
