/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes whose end is to be known at once, by their pidfds.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_DEATHS_H
#define DISKGATE_GATEWAY_DEATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define DEATHS_MAX 128U

/* Empty after = {0}. */
struct deaths {
    size_t n;
    int fds[DEATHS_MAX];
};

/* From now on these @count processes, those that live; entries of 0 and those beyond DEATHS_MAX are left out. */
void deaths_watch(struct deaths *d, const pid_t *pids, size_t count);

/* Wait at most @ms; true as soon as one has ended, which is watched no more. Without any: waits @ms. */
bool deaths_wait(struct deaths *d, int ms);

void deaths_finish(struct deaths *d);

#endif
