/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes of a root, found by what they are: a pid file alone is never believed, since numbers are used again.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_PROC_H
#define DISKGATE_GATEWAY_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A handle of process @pid (a pidfd), or -1 when it is gone. */
int proc_open(pid_t pid);
bool proc_is_alive(int pidfd);

/* Ask the process to end by @sig and wait for it; true when it is gone. Reaps it when it is our child. */
bool proc_end(int pidfd, int sig, int timeout_ms);

/* True if the program of @pid is named @name. False for a zombie. */
bool proc_is(pid_t pid, const char *name);

/* Arguments of @pid, zero-terminated each, into @ret; count of bytes, 0 when they cannot be read. */
size_t proc_args(pid_t pid, char *ret, size_t max);
/* Argument number @n of such a list; NULL when there are fewer. */
const char *proc_arg(const char *args, size_t len, size_t n);

/* True if the working folder of @pid is the folder @dirfd. */
bool proc_works_in(pid_t pid, int dirfd);

/* Call @f for each process named @name until it returns true; the pid of that one, or 0. */
pid_t proc_find(const char *name, bool (*f)(pid_t pid, void *arg), void *arg);

/* Pid in the file @name of folder @dirfd, 0 where there is none. */
pid_t proc_pid_file(int dirfd, const char *name);

void proc_sleep_ms(int ms);

#endif
