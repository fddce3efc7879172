/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the jailed reader of Access files does with one file: tell its tables, or rows of one of them, as frames.
 *
 *   MDB_JOB_TABLES   DATABASE, TABLE..., END
 *   MDB_JOB_ROWS     DATABASE, TABLE, ROW..., END
 *   MDB_JOB_SAMPLE   DATABASE, TABLE, ROW..., END: some of its rows, from all over the table; nothing is said of what cannot be read
 *
 * Between them NOTEs; FAILED instead of END when it cannot go on.
 *
 * Threads: one at a time in a process, for libmdb's sake.
 */
#ifndef DISKGATE_MIGRATE_MDB_READER_H
#define DISKGATE_MIGRATE_MDB_READER_H

#include <stdint.h>

#include "core/err.h"
#include "migrate/frame.h"

enum mdb_job_kind { MDB_JOB_TABLES, MDB_JOB_ROWS, MDB_JOB_SAMPLE };

struct mdb_job {
    enum mdb_job_kind kind;
    uint32_t table;      /* id from its FRAME_TABLE, for rows */
    uint32_t rows;       /* of a sample, at most */
    const char *name;    /* of the table, for notes */
    const char *charset; /* for text of Jet 3; NULL = as the file says */
    /* Called when the file is open and nothing of it was parsed but its header; may be NULL. 0 or a negative errno. */
    int (*ready)(void *arg);
    void *ready_arg;
};

/* Takes @fd. 0 when all frames were sent, also when the last one is FAILED; a negative errno when they could not be sent. */
int mdb_reader_run(int fd, const struct mdb_job *job, frame_sink *sink, void *arg);

#endif
