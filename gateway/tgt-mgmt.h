/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The language of tgtd's control socket.
 *
 * Order of calls for one request:
 *   tgt_mgmt_send()      connects and sends; tgtd need not be awake for that
 *   tgt_mgmt_receive()   waits for the answer
 * A tgtd whose version is not known is greeted first (tgt_mgmt_hello, tgt_mgmt_knows()): one whose requests have another form must never get one
 * of ours that changes something.
 *
 * Results: 0 or a file descriptor; -ENOTCONN nobody listens; -ETIMEDOUT; -EPROTO an answer that is none; -EFBIG an answer longer than
 * TGT_MGMT_TEXT_MAX; -E2BIG parameters longer than tgtd takes; another negative errno of a socket. That tgtd refuses is no error here.
 *
 * Threads: any number at once; tgtd answers one after the other.
 */
#ifndef DISKGATE_GATEWAY_TGT_MGMT_H
#define DISKGATE_GATEWAY_TGT_MGMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

#define TGT_MGMT_TEXT_MAX ((size_t)64 << 20) /* bytes of an answer's text */
#define TGT_MGMT_PARAMS   2

/* The numbers are tgtd's. */
enum tgt_mode {
    TGT_MODE_SYSTEM = 0,
    TGT_MODE_TARGET = 1,
    TGT_MODE_LUN = 2,
    TGT_MODE_PORTAL = 3,
    TGT_MODE_CONNECTION = 6,
    TGT_MODE_ACCOUNT = 7,
};

enum tgt_verb {
    TGT_VERB_NEW = 0,
    TGT_VERB_DELETE = 1,
    TGT_VERB_SHOW = 2,
    TGT_VERB_BIND = 3,
    TGT_VERB_UNBIND = 4,
    TGT_VERB_UPDATE = 5,
};

struct tgt_param {
    const char *key, *value; /* borrowed; without '=', ',' and line breaks but in the value of a LUN's update */
};

struct tgt_request {
    enum tgt_mode mode;
    enum tgt_verb verb;
    int64_t tid; /* 0: of no target, or of all */
    uint64_t lun, sid, cid;
    bool is_forced;
    struct tgt_param params[TGT_MGMT_PARAMS]; /* in this order; those without a key are left out */
};

struct tgt_answer {
    unsigned refusal; /* 0: done */
    char *text;       /* zero-terminated; malloc()ed, not NULL after success */
};

void tgt_answer_finish(struct tgt_answer *a);

/* Send @q to the tgtd with control port @port whose sockets are in folder @dirfd. A socket to be received from and closed. */
int tgt_mgmt_send(int dirfd, unsigned port, const struct tgt_request *q, int64_t deadline_ms, struct err *err);
int tgt_mgmt_receive(int fd, int64_t deadline_ms, struct tgt_answer *ret, struct err *err);

/* A request that changes nothing, and whether @a is what a tgtd answers to it that takes requests of our form and no other. */
extern const struct tgt_request tgt_mgmt_hello;
bool tgt_mgmt_knows(const struct tgt_answer *a);

/* A refusal as a negative errno (see tgtadm.h) and in words. */
int tgt_refusal_code(unsigned refusal);
const char *tgt_refusal_words(unsigned refusal);

#endif
