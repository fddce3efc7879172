/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct reads: which tgtd gets the library with the store "diskgate" (fusefs/tgt/) when it is started, and which of those that run got it.
 *
 * A tgtd whose version is not known gets no library, since the library speaks to tgtd's own structs. Whether a tgtd that runs has taken it is what
 * tgtd says itself: tgtadm_has_store().
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_GATEWAY_DIRECT_H
#define DISKGATE_GATEWAY_DIRECT_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/err.h"

#define DIRECT_STORE "diskgate" /* as tgt calls it */
#define PLAIN_STORE  "rdwr"

/* The library's path into @ret (PATH_MAX bytes), if a tgtd that is started now may have it. -ENOENT: there is none; -EOPNOTSUPP: the tgtd that is
 * installed is of another version; -EINVAL: a path that cannot be named to the loader. A sentence for each. Runs "tgtd -V". */
int direct_library(char *ret, struct err *err);

/* The entries of its environment that a tgtd which works in ROOT/run gets, none (a list that is only NULL) where it gets no library. */
struct direct_env {
    char preload[2 * PATH_MAX];
    const char *entries[3];
};
void direct_env(struct direct_env *ret, bool is_wanted);

/* True if process @pid was started with them. */
bool direct_was_given(pid_t pid);

/* Is a tgtd that calls itself @text one of those that the library was made for? */
bool direct_knows_version(const char *text);

#endif
