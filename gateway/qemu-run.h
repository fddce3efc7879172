/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of qemu-img, watched: descriptors, output, progress, interrupts and its end.
 *
 *   stdin /dev/null    3 = the source    4 = the target
 *   stdout             -> kept, or with progress read as "    (12.34/100%)\r"
 *   stderr             -> its last line becomes part of the sentence
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_QEMU_RUN_H
#define DISKGATE_GATEWAY_QEMU_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/jail.h"
#include "cli/progress.h"

#define QEMU_SOURCE_FD  3
#define QEMU_TARGET_FD  4
#define QEMU_OUTPUT_MAX ((size_t)1 << 20) /* what comes behind is left out */

struct qemu_job {
    char *const *argv;
    int in, out; /* become 3 and 4; -1 = none */
    int dirfd;   /* working folder; -1 = "/" */
    const struct jail *jail;
    int64_t timeout_ms; /* 0 = none */
    struct progress *progress;
    uint64_t total; /* bytes that 100 % are */
};

struct qemu_result {
    char *out; /* of stdout, zero-terminated, QEMU_OUTPUT_MAX at most; with progress what is left of it */
    char error[512];
    int status; /* as waitpid() tells it */
};

/* Run it to its end. 0 whatever that end is; -ENOENT when qemu-img is not installed; -EINTR, -ETIMEDOUT: it was killed. The caller
 * frees @ret->out. */
int qemu_run(const struct qemu_job *j, struct qemu_result *ret, struct err *err);

/* What its end means for @path: 0, or "cannot @deed '@path': ...". */
int qemu_judge(const struct qemu_result *res, const char *deed, const char *path, struct err *err);

#endif
