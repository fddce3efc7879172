/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The question to diskgate-fs: what lies behind an overlay? See core/direct.h.
 *
 * Order of calls: ask_send, ask_receive until it is not -ETIMEDOUT.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_FUSEFS_TGT_ASK_H
#define DISKGATE_FUSEFS_TGT_ASK_H

#include <stdint.h>

#include "core/direct.h"
#include "core/err.h"

struct ask_reply {
    int fds[DIRECT_FDS];
    uint32_t generation;
    uint64_t size_bytes, base_bytes;
};

/* Close what is open in @r, and forget it. Begins as ASK_REPLY_NONE. */
void ask_reply_finish(struct ask_reply *r);
#define ASK_REPLY_NONE                                                                                                 \
    {                                                                                                                  \
        .fds = { -1, -1, -1, -1 }                                                                                      \
    }

/* Ask the process behind the socket @path for overlay @id; waits for nothing. *ret_sock is the caller's, open as long as the LUN is.
 * -ETIMEDOUT: too many ask; else a negative errno of the system. With a sentence. */
int ask_send(const char *path, const unsigned char id[16], int *ret_sock, struct err *err);

/* Take the answer, and wait for it @timeout_ms at most. The descriptors are of the kinds that they should be: regular files, read-only but for the
 * board, which cannot shrink and is large enough.
 * -ETIMEDOUT: not yet; -EMFILE: half of the files that this process may open are open; -EBADMSG: an answer that is none; what the answer says; a negative errno of the system. With a sentence. */
int ask_receive(int sock, int timeout_ms, struct ask_reply *ret, struct err *err);

#endif
