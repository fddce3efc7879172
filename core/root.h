/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root: one folder that holds everything of one installation.
 *
 *   ROOT/catalog.db          the catalog
 *   ROOT/images/NAME/        copies made by `image add --copy`; adopted files stay where they lie
 *   ROOT/imports/            reports of imports, ID.json; pending: files of an import that runs
 *   ROOT/overlays/DIR/       one folder a client: SLOT.data, SLOT.map (DIR is kept in the catalog)
 *   ROOT/kept/               marks of kept overlays that have had files (core/keptmark.h)
 *   ROOT/run/                all that may be lost with the machine's next boot:
 *       mnt/                 the FUSE mount
 *       fs.sock fs.lock      control socket and claim of diskgate-fs; fs.log its messages
 *       tgt.N tgt.N.lock     control socket of tgtd shard N-1, made by tgtd; tgtN.pid, tgtN.log
 *       live/                live maps of the overlays
 *       frozen/              overlays as they were when a backup began (core/freeze.h)
 *       up.lock              held while `up`, `down` or a reconciliation runs
 *       init.lock            held while the catalog is made
 *
 * Paths are built here and nowhere else. A socket's path may be longer than sockaddr_un allows, so programs reach it
 * relative to a folder fd (see ctl.h) or with ROOT/run as the working folder (tgtd).
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CORE_ROOT_H
#define DISKGATE_CORE_ROOT_H

#include <limits.h>
#include <stdbool.h>

#include "core/err.h"

#define ROOT_DEFAULT "/var/lib/diskgate"

/* The root that a program works on: @option (may be NULL), else DISKGATE_ROOT, else ROOT_DEFAULT, made absolute and free of
 * links into @ret (PATH_MAX bytes). The folder need not exist. 0; -EINVAL, -ENAMETOOLONG with a sentence. */
int root_resolve(const char *option, char *ret, struct err *err);

/* "ROOT/name" into @ret (PATH_MAX bytes). -ENAMETOOLONG with a sentence. */
int root_path(const char *root, const char *name, char *ret, struct err *err);

/* "ROOT/catalog.db" into @ret (PATH_MAX bytes). -ENOENT with the way out where there is none; 0 also where that cannot be told. */
int root_find_catalog(const char *root, char *ret, struct err *err);

/* Before anything of @root is run as root: -EPERM with a sentence when other users could change what is in it, and so make root
 * open or replace files of theirs. A caller that is not root harms nobody but itself: 0. */
int root_check_trusted(const char *root, struct err *err);

/* Open "ROOT/name" as a folder. Returns the fd, or a negative errno with a sentence. */
int root_open_dir(const char *root, const char *name, struct err *err);

/* Take the lock file "ROOT/run/NAME" (flock, exclusive). Waits up to @timeout_ms, 0 = try once, -1 = for ever.
 * Returns the fd that holds it (close to release; dies with the process); -EBUSY with a sentence when another holds it. */
int root_lock(const char *root, const char *name, int timeout_ms, struct err *err);

/* True if some process holds the lock file "ROOT/run/NAME"; *ret_pid is its pid, or 0 where it cannot be told. */
bool root_locked(const char *root, const char *name, int *ret_pid);

#endif
