/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New lines of a log file that another program writes, and an end to its growth.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_LOG_FOLLOW_H
#define DISKGATE_GATEWAY_LOG_FOLLOW_H

#include <stdbool.h>

struct log_follow;

/* @name in folder @dirfd (borrowed), which need not be there yet. @take gets each line without its newline; @is_old: it was there before the
 * first turn. NULL without memory. */
struct log_follow *log_follow_create(int dirfd, const char *name,
                                     void (*take)(void *arg, const char *line, bool is_old), void *arg);
void log_follow_destroy(struct log_follow *f); /* NULL is allowed */

/* Take what is new. The first turn begins at most START_BYTES before the end. */
void log_follow_turn(struct log_follow *f);

#endif
