/* SPDX-License-Identifier: GPL-2.0-or-later */
/* diskgate-mdb-reader: reads one Access file in a jail and writes frames. For diskgate-migrate only (child.h, mdb-source.c).
 *
 *   diskgate-mdb-reader tables CHARSET        CHARSET: of Access 97 text, "-" = as the file says
 *   diskgate-mdb-reader rows CHARSET ID NAME
 *   diskgate-mdb-reader sample CHARSET ID NAME ROWS
 *
 * Descriptor 0 is the file, 1 the pipe for frames, 2 takes the warnings of libmdb. Exit status 0 when the frames were sent, also when they
 * say that the file is damaged.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/util.h"
#include "migrate/mdb-lock.h"
#include "migrate/mdb-reader.h"

static int to_pipe(void *arg, const void *buf, size_t len)
{
    return write_full(STDOUT_FILENO, buf, len);
}

static int lock(void *arg)
{
    return mdb_lock_late();
}

static int take_args(int argc, char **argv, struct mdb_job *ret)
{
    *ret = (struct mdb_job){.ready = lock};
    bool is_rows = argc == 5 && strcmp(argv[1], "rows") == 0, is_sample = argc == 6 && strcmp(argv[1], "sample") == 0;
    if (!is_rows && !is_sample && !(argc == 3 && strcmp(argv[1], "tables") == 0))
        return -EINVAL;
    ret->kind = is_rows ? MDB_JOB_ROWS : is_sample ? MDB_JOB_SAMPLE : MDB_JOB_TABLES;
    ret->charset = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    ret->table = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    ret->name = argc > 4 ? argv[4] : "";
    ret->rows = is_sample ? (uint32_t)strtoul(argv[5], NULL, 10) : 0;
    return 0;
}

int main(int argc, char **argv)
{
    struct mdb_job job;
    if (take_args(argc, argv, &job) < 0) {
        (void)fputs("diskgate-mdb-reader: this program is run by diskgate-migrate\n", stderr);
        return 2;
    }
    if (mdb_lock_early() < 0) {
        (void)fputs("the reader cannot be locked in\n", stderr);
        return 3;
    }
    (void)setlocale(LC_ALL, "C.UTF-8"); /* only libmdb's messages depend on it */
    tzset();
    int r = mdb_reader_run(STDIN_FILENO, &job, to_pipe, NULL);
    (void)fflush(stderr); /* who would be told? */
    _exit(r < 0 ? 4 : 0); /* nothing of libmdb runs on the way out */
}
