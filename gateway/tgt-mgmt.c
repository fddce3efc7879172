/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests and answers of tgtd's control socket, a stream socket in the file system (tgt 1.0.85; Source: what its tgtadm sends and prints, and the
 * headers of tgt). One connection carries one request and one answer. Numbers are of the machine's own byte order:
 *
 *   request   0   4  mode                      answer   0  4  0, or the number of a refusal
 *             4   4  verb                               4  4  length of all, these 8 bytes included
 *             8  64  driver, "iscsi"                    8     text
 *            72   4  length of all
 *            76   4  target, -1 = none         parameters are text, "KEY=VALUE,KEY=VALUE"; those of a LUN that is changed are
 *            80   8  session                   "targetOps KEY=VALUE,KEY=VALUE,". A zero ends them, since tgtd takes them for
 *            88   8  LUN, all bits = none      a string.
 *            96   4  connection
 *           100  16  host, type of device, direction of an account, packing: all 0
 *           116   4  1 = by force
 *           120      parameters
 *
 * The greeting unbinds an account that nobody has from a target that nobody has. tgtd looks for "user=" in the parameters before it looks for the
 * target: only if mode, verb, driver and length are where it expects them and its parameters begin where ours do does it say that there is
 * no such target. If its requests were longer, it would have cut off the "user="; if they were shorter, it would see the zero of the field before
 * first, and an empty string. The value is so long that a tgtd with longer requests answers, too, instead of waiting for the rest.
 *
 * A request is always sent as a whole before anything is waited for: tgtd may spin for ever on a connection that ends in the middle of one.
 */
#include "gateway/tgt-mgmt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/ctl-line.h"
#include "core/util.h"

#define DRIVER      "iscsi"
#define HEAD_BYTES  120
#define TEXT_MAX    2048 /* tgtd takes 8 KiB */
#define REPLY_BYTES 8
#define PIECE_BYTES ((size_t)64 << 10)
#define RETRY_MS    5
#define NO_TARGET   4

const struct tgt_request tgt_mgmt_hello = {
    .mode = TGT_MODE_ACCOUNT,
    .verb = TGT_VERB_UNBIND,
    .tid = INT32_MAX,
    .params = {{"user",
                "nobody-has-this-name: diskgate asks only whether tgtd takes requests of the form that it knows"}},
};

bool tgt_mgmt_knows(const struct tgt_answer *a)
{
    return a->refusal == NO_TARGET && *a->text == 0;
}

/* --- refusals ---------------------------------------------------------------------------------------------------- */

static const struct {
    int code;
    const char *words;
} refusals[] = {
    [1] = {-EREMOTEIO, "it failed, and tgtd does not say why; its log may"},
    [2] = {-EREMOTEIO, "tgtd has no memory left"},
    [3] = {-EREMOTEIO, "its iSCSI driver does not work"},
    [NO_TARGET] = {-ENOENT, "there is no such target"},
    [5] = {-ENOENT, "there is no such LUN"},
    [6] = {-ENOENT, "there is no such session"},
    [7] = {-ENOENT, "there is no such connection"},
    [8] = {-ENOENT, "there is no such binding"},
    [9] = {-EEXIST, "there is such a target already"},
    [10] = {-EEXIST, "there is such a binding already"},
    [11] = {-EEXIST, "there is a LUN of this number already"},
    [12] = {-EEXIST, "this initiator is admitted already"},
    [13] = {-ENOENT, "this initiator is not admitted"},
    [14] = {-EEXIST, "there is such an account already"},
    [15] = {-ENOENT, "there is no such account"},
    [16] = {-EREMOTEIO, "it has too many accounts"},
    [17] = {-EREMOTEIO, "the request is not valid; tgtd's log may say why"},
    [18] = {-EREMOTEIO, "the target has an outgoing account already"},
    [19] = {-EBUSY, "the target is in use"},
    [20] = {-EBUSY, "the LUN is in use: a command is in work"},
    [21] = {-EBUSY, "the driver is in use"},
    [22] = {-EREMOTEIO, "this tgtd cannot do that"},
    [23] = {-EREMOTEIO, "this tgtd does not know the parameter"},
    [24] = {-EBUSY, "the client has locked the medium"},
};

int tgt_refusal_code(unsigned refusal)
{
    return refusal < ARRAY_SIZE(refusals) ? refusals[refusal].code : -EREMOTEIO;
}

const char *tgt_refusal_words(unsigned refusal)
{
    return refusal < ARRAY_SIZE(refusals) && refusals[refusal].words ? refusals[refusal].words
                                                                     : "for a reason that is not known here";
}

/* --- request ----------------------------------------------------------------------------------------------------- */

struct message {
    size_t len;
    uint8_t bytes[HEAD_BYTES + TEXT_MAX];
};

static void message_wipe(struct message *m)
{
    explicit_bzero(m, sizeof(*m)); /* secrets */
}

static void put32(struct message *m, size_t at, uint32_t value)
{
    memcpy(m->bytes + at, &value, sizeof(value));
}

static void put64(struct message *m, size_t at, uint64_t value)
{
    memcpy(m->bytes + at, &value, sizeof(value));
}

static int put_params(struct message *m, const struct tgt_request *q)
{
    char *text = (char *)m->bytes + HEAD_BYTES;
    size_t at = 0;
    for (size_t i = 0; i < TGT_MGMT_PARAMS; i++) {
        const struct tgt_param *p = &q->params[i];
        if (!p->key)
            continue;
        int n = q->mode == TGT_MODE_LUN && q->verb == TGT_VERB_UPDATE
                    ? snprintf(text + at, TEXT_MAX - at, "targetOps %s,", p->value)
                    : snprintf(text + at, TEXT_MAX - at, "%s%s=%s", at ? "," : "", p->key, p->value);
        if (n < 0 || (size_t)n >= TEXT_MAX - at)
            return -E2BIG;
        at += (size_t)n;
    }
    m->len = HEAD_BYTES + at + (at > 0);
    return 0;
}

static int encode(struct message *m, const struct tgt_request *q)
{
    *m = (struct message){0};
    if (q->tid < 0 || q->tid > INT32_MAX || q->cid > UINT32_MAX || put_params(m, q) < 0)
        return -E2BIG;
    put32(m, 0, q->mode);
    put32(m, 4, q->verb);
    memcpy(m->bytes + 8, DRIVER, strlen(DRIVER));
    put32(m, 72, (uint32_t)m->len);
    put32(m, 76, q->tid ? (uint32_t)q->tid : UINT32_MAX);
    put64(m, 80, q->sid);
    put64(m, 88, q->mode == TGT_MODE_LUN ? q->lun : UINT64_MAX);
    put32(m, 96, (uint32_t)q->cid);
    put32(m, 116, q->is_forced);
    return 0;
}

/* -EAGAIN of connect: tgtd has not taken those that came before. */
static int connect_until(int fd, int dirfd, unsigned port, int64_t deadline_ms)
{
    struct sockaddr_un address;
    char name[32];
    (void)snprintf(name, sizeof(name), "tgt.%u", port); /* fits */
    int r = ctl_address(dirfd, name, &address);
    while (r == 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return -ENOTCONN;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (clock_ms() >= deadline_ms)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, RETRY_MS); /* only a pause */
    }
    return r;
}

static int send_all(int fd, const struct message *m, int64_t deadline_ms)
{
    for (size_t at = 0; at < m->len;) {
        ssize_t n = send(fd, m->bytes + at, m->len - at, MSG_NOSIGNAL);
        int r = n < 0 && errno == EAGAIN  ? ctl_wait(fd, POLLOUT, -1, deadline_ms)
                : n < 0 && errno != EINTR ? -errno
                                          : 0;
        if (r == -EPIPE || r == -ECONNRESET)
            return -EPROTO;
        if (r < 0)
            return r;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int tgt_mgmt_send(int dirfd, unsigned port, const struct tgt_request *q, int64_t deadline_ms, struct err *err)
{
    _cleanup_(message_wipe) struct message m;
    int r = encode(&m, q);
    if (r < 0)
        return err_set(err, r, "a name or number is longer than tgtd takes");
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make a socket");
    r = connect_until(fd, dirfd, port, deadline_ms);
    r = r ? r : send_all(fd, &m, deadline_ms);
    return r < 0 ? err_sys(err, r, "cannot send it a request") : take_fd(&fd);
}

/* --- answer ------------------------------------------------------------------------------------------------------ */

void tgt_answer_finish(struct tgt_answer *a)
{
    free(a->text);
    *a = (struct tgt_answer){0};
}

/* Exactly @len bytes. @all is the length of what they belong to, for the sentence. */
static int receive(int fd, void *buf, size_t len, int64_t deadline_ms, size_t all, struct err *err)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(fd, (char *)buf + at, len - at, 0);
        int r = n < 0 && errno == EAGAIN                   ? ctl_wait(fd, POLLIN, -1, deadline_ms)
                : n == 0 || (n < 0 && errno == ECONNRESET) ? -EPROTO
                : n < 0 && errno != EINTR                  ? -errno
                                                           : 0;
        if (r == -EPROTO)
            return err_set(err, r, "its answer of %zu bytes ends early", all);
        if (r < 0)
            return err_sys(err, r, "cannot read its answer");
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Memory grows with what has come, not with what was announced. */
static int receive_text(int fd, size_t len, int64_t deadline_ms, char **ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t room = 0;
    for (size_t at = 0; at < len || !text;) {
        room = MIN(MAX(2 * room, PIECE_BYTES), len);
        char *more = realloc(text, room + 1);
        if (!more)
            return err_sys(err, -ENOMEM, "cannot read its answer");
        text = more;
        int r = receive(fd, text + at, room - at, deadline_ms, REPLY_BYTES + len, err);
        if (r < 0)
            return r;
        at = room;
    }
    text[len] = 0;
    if (memchr(text, 0, len + 1) < (void *)(text + len - (len > 0)))
        return err_set(err, -EPROTO, "its answer is no text");
    *ret = take_ptr(text);
    return 0;
}

int tgt_mgmt_receive(int fd, int64_t deadline_ms, struct tgt_answer *ret, struct err *err)
{
    uint32_t head[2];
    int r = receive(fd, head, sizeof(head), deadline_ms, sizeof(head), err);
    if (r < 0)
        return r;
    if (head[1] < REPLY_BYTES)
        return err_set(err, -EPROTO, "its answer says that it is %u bytes long", head[1]);
    size_t len = head[1] - REPLY_BYTES;
    if (len > TGT_MGMT_TEXT_MAX)
        return err_set(err, -EFBIG, "its answer says that it is %u bytes long, which is too much", head[1]);
    char *text = NULL;
    r = receive_text(fd, len, deadline_ms, &text, err);
    if (r == 0)
        *ret = (struct tgt_answer){head[0], text};
    return r;
}
