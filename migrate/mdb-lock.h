/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The last locks of the reader's process, behind those of core/jail.h: taken by itself.
 *
 *   mdb_lock_early()   first of all: no core dump, no tracing, fewer descriptors, no processes
 *     (the file is opened, iconv loads its tables)
 *   mdb_lock_late()    from here on only system calls of a short list; any other kills the process
 *
 * Threads: one.
 */
#ifndef DISKGATE_MIGRATE_MDB_LOCK_H
#define DISKGATE_MIGRATE_MDB_LOCK_H

/* 0 or a negative errno. */
int mdb_lock_early(void);
int mdb_lock_late(void);

#endif
