/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restrictions for a child that reads files of strangers, taken on between fork() and exec().
 *
 * Order of calls:
 *   parent:  jail_pick_user(j, fd)     whom the child runs as: it must be able to read the file @fd
 *            jail_pick_nobody(j)       instead, for a child that opens no file
 *            fork()
 *   child:   jail_enter(j)             then exec()
 *
 * What the child has afterwards: the ids of @j and no capabilities; limits of memory, CPU time, file size and descriptors; no network;
 * by Landlock, where the kernel has it, no file but programs, libraries and @allowed. It is killed when its parent dies.
 *
 * Threads: the child has one.
 */
#ifndef DISKGATE_CORE_JAIL_H
#define DISKGATE_CORE_JAIL_H

#include <stdint.h>
#include <sys/types.h>

#include "core/err.h"

struct jail {
    uid_t uid;
    gid_t gid;
    uint64_t file_bytes_max; /* of a file that it writes */
    uint64_t cpu_s_max;
    uint64_t memory_bytes_max; /* of address space; 0 = 4 GiB, UINT64_MAX = no limit */
    int read_fd, write_fd;     /* the files that it may open again as /proc/self/fd/N; -1 = none */
    int program_fd; /* the program that it will become, where that lies in none of the system's folders; 0 = none */
};

/* Sets uid and gid: user @name, else "nobody", else the owner of the file, whichever can read @fd first. A caller that is not root
 * stays what it is. -EACCES with a sentence about @path. */
int jail_pick_user(struct jail *j, const char *name, int fd, const char *path, struct err *err);

/* Sets uid and gid to those of the user "nobody", or to 65534 where there is none. A caller that is not root stays what it is. */
void jail_pick_nobody(struct jail *j);

/* 0, or a negative errno: then the child must not go on. */
int jail_enter(const struct jail *j);

#endif
