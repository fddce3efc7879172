/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One JSON object in one line over a stream socket, with a deadline: what both ends of a control socket share.
 *
 * Threads: any number at once, on different sockets.
 */
#ifndef DISKGATE_CORE_CTL_LINE_H
#define DISKGATE_CORE_CTL_LINE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

/* Address of @name in folder @dirfd, which must stay open while it is used: "/proc/self/fd/N/NAME" fits where the folder's own path
 * may not. -ENAMETOOLONG. */
int ctl_address(int dirfd, const char *name, struct sockaddr_un *ret);

/* Wait until @fd is ready for @events. @stop_fd >= 0: give up with -ECANCELED as soon as it is readable. @deadline_ms < 0: for ever.
 * 0; -ETIMEDOUT; -ECANCELED; a negative errno of poll. */
int ctl_wait(int fd, short events, int stop_fd, int64_t deadline_ms);

/* Send @msg and a line break. @fd is non-blocking. As ctl_wait(); -EPIPE, -ECONNRESET; -EMSGSIZE when it is longer than CTL_LINE_MAX. */
int ctl_send(int fd, json_t *msg, int stop_fd, int64_t deadline_ms);

/* Receive one line (or what came before the end of the stream) as a JSON object into *ret. @why gets jansson's reason.
 * As ctl_wait(); -EPROTO when it is no JSON object; -EMSGSIZE when it is longer than CTL_LINE_MAX; -ENODATA when nothing came;
 * -ECONNRESET. */
int ctl_recv(int fd, int stop_fd, int64_t deadline_ms, json_t **ret, char why[JSON_ERROR_TEXT_LENGTH]);

#endif
