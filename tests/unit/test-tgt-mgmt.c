/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Talking with tgtd: against a tgtd that reads requests of any form and answers whatever a test wants; and, where it is installed, against
 * tgtadm, which has to send and understand the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/ctl-line.h"
#include "core/util.h"
#include "gateway/tgt-exec.h"
#include "gateway/tgt-mgmt.h"
#include "gateway/tgtadm.h"

#define PLENTY_MS 20000
#define MODE_AT   0
#define VERB_AT   4
#define LEN_AT    72
#define HEAD      120
#define TID_AT    76
#define LOG_MAX   1024

/* --- a tgtd ------------------------------------------------------------------------------------------------------ */

struct fake {
    int listener;
    pthread_t thread;
    pthread_mutex_t working; /* held while a connection is served */
    size_t head;             /* bytes of its requests before the parameters */
    const void *reply;
    size_t reply_len, piece; /* sent in pieces of this length */
    bool is_silent;          /* it takes connections, and no more */
    int kept[64];
    size_t n_kept;
    uint8_t last[4096]; /* the last request that was no greeting */
    size_t last_len;
    struct {
        uint32_t mode, verb, tid;
    } log[LOG_MAX]; /* all of them */
    size_t n_log;
    uint32_t refused_tid; /* it makes no LUN for this one */
};

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static bool read_all(int fd, void *buf, size_t len)
{
    return len == 0 || recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* As tgtd does; a request that it takes for longer than its head is never answered. */
static void serve(struct fake *f, int fd)
{
    uint8_t q[4096] = {0};
    uint32_t answer[2] = {4, 8};
    if (!read_all(fd, q, f->head))
        return;
    size_t len = get32(q + LEN_AT);
    if (len < f->head || len > sizeof(q) - 1 || !read_all(fd, q + f->head, len - f->head))
        return;
    if (get32(q + MODE_AT) == TGT_MODE_ACCOUNT && get32(q + VERB_AT) == TGT_VERB_UNBIND) {
        if (!strstr((char *)q + f->head, "user="))
            answer[0] = 17;
        (void)send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
        return;
    }
    memcpy(f->last, q, sizeof(q));
    f->last_len = len;
    assert(f->n_log < LOG_MAX);
    f->log[f->n_log].mode = get32(q + MODE_AT);
    f->log[f->n_log].verb = get32(q + VERB_AT);
    f->log[f->n_log++].tid = get32(q + TID_AT);
    if (f->refused_tid && get32(q + TID_AT) == f->refused_tid && get32(q + MODE_AT) == TGT_MODE_LUN) {
        answer[0] = 17;
        (void)send(fd, answer, sizeof(answer), MSG_NOSIGNAL);
        return;
    }
    for (size_t at = 0; at < f->reply_len; at += f->piece)
        (void)send(fd, (const char *)f->reply + at, MIN(f->piece, f->reply_len - at), MSG_NOSIGNAL);
}

static void *run(void *arg)
{
    struct fake *f = arg;
    int fd;
    while ((fd = accept(f->listener, NULL, NULL)) >= 0) {
        if (f->is_silent) {
            assert(f->n_kept < ARRAY_SIZE(f->kept));
            f->kept[f->n_kept++] = fd;
            continue;
        }
        pthread_mutex_lock(&f->working);
        serve(f, fd);
        (void)close(fd);
        pthread_mutex_unlock(&f->working);
    }
    return NULL;
}

static const uint32_t done[2] = {0, 8};

static int listen_at(int dirfd, unsigned port, int backlog)
{
    struct sockaddr_un address;
    char name[16];
    (void)snprintf(name, sizeof(name), "tgt.%u", port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(ctl_address(dirfd, name, &address), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void fake_start(struct fake *f, int dirfd, unsigned port)
{
    f->listener = listen_at(dirfd, port, 16);
    pthread_mutex_init(&f->working, NULL);
    f->head = HEAD;
    f->reply = done;
    f->reply_len = f->piece = sizeof(done);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void fake_stop(struct fake *f)
{
    (void)shutdown(f->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    closep(&f->listener);
    pthread_mutex_destroy(&f->working);
    while (f->n_kept > 0)
        closep(&f->kept[--f->n_kept]);
}

struct place {
    char dir[64];
    int dirfd;
    struct fake one, two;
    struct tgtadm a;
    struct err err;
};

/* The first one, when it has done what it was asked for. */
static struct fake *still(struct place *p)
{
    pthread_mutex_lock(&p->one.working);
    pthread_mutex_unlock(&p->one.working);
    return &p->one;
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    strcpy(p->dir, "/tmp/dg-test-tgt.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->dirfd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(p->dirfd >= 0);
    fake_start(&p->one, p->dirfd, 1);
    fake_start(&p->two, p->dirfd, 2);
    p->a = (struct tgtadm){p->dirfd, 0};
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    fake_stop(&p->one);
    fake_stop(&p->two);
    for (unsigned k = 1; k <= 3; k++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "tgt.%u", k);
        (void)unlinkat(p->dirfd, name, 0);
    }
    closep(&p->dirfd);
    int r = rmdir(p->dir);
    free(p);
    return r;
}

/* --- greeting ---------------------------------------------------------------------------------------------------- */

static bool is_known(struct place *p, size_t head)
{
    _cleanup_(tgt_answer_finish) struct tgt_answer answer = {0};
    still(p)->head = head;
    _cleanup_close_ int fd = tgt_mgmt_send(p->dirfd, 1, &tgt_mgmt_hello, clock_ms() + PLENTY_MS, &p->err);
    assert_true(fd >= 0);
    assert_int_equal(tgt_mgmt_receive(fd, clock_ms() + PLENTY_MS, &answer, &p->err), 0);
    return tgt_mgmt_knows(&answer);
}

static void test_greeting_knows_one_length_of_requests_and_no_other(void **state)
{
    struct place *p = *state;
    assert_true(is_known(p, HEAD));
    for (size_t head = HEAD - 24; head <= HEAD + 64; head += 4)
        assert_true(is_known(p, head) == (head == HEAD));
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

/* One call against an answer of @len bytes that says that it is @says bytes long. */
static int answer_of(struct place *p, uint32_t refusal, uint32_t says, const char *text, size_t len, char **ret)
{
    _cleanup_(tgt_answer_finish) struct tgt_answer answer = {0};
    _cleanup_free_ char *reply = malloc(8 + len);
    static const struct tgt_request q = {TGT_MODE_TARGET, TGT_VERB_SHOW};
    assert_non_null(reply);
    memcpy(reply, &refusal, 4);
    memcpy(reply + 4, &says, 4);
    memcpy(reply + 8, text, len);
    still(p)->reply = reply;
    still(p)->reply_len = 8 + len;
    still(p)->piece = MAX(still(p)->piece, 1U);
    _cleanup_close_ int fd = tgt_mgmt_send(p->dirfd, 1, &q, clock_ms() + PLENTY_MS, &p->err);
    assert_true(fd >= 0);
    int r = tgt_mgmt_receive(fd, clock_ms() + PLENTY_MS, &answer, &p->err);
    closep(&fd); /* it may have more to send */
    fd = -1;
    (void)still(p);
    if (ret)
        *ret = take_ptr(answer.text);
    return r;
}

static void test_long_text_comes_whole_in_whatever_pieces(void **state)
{
    struct place *p = *state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 300001};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_free_ char *text = malloc(sizes[i] + 1), *got = NULL;
        assert_non_null(text);
        memset(text, 'x', sizes[i]);
        text[sizes[i]] = 0;
        still(p)->piece = 999;
        assert_int_equal(answer_of(p, 0, (uint32_t)(8 + sizes[i]), text, sizes[i], &got), 0);
        assert_string_equal(got, text);
    }
}

static void test_answer_with_a_wrong_length_is_refused(void **state)
{
    struct place *p = *state;
    assert_int_equal(answer_of(p, 0, 7, "", 0, NULL), -EPROTO);
    assert_int_equal(answer_of(p, 0, 0, "", 0, NULL), -EPROTO);
    assert_int_equal(answer_of(p, 0, UINT32_MAX, "text", 4, NULL), -EFBIG);
    assert_int_equal(answer_of(p, 0, 8 + (64U << 20), "text", 4, NULL), -EPROTO); /* ends early */
    assert_int_equal(answer_of(p, 0, 8 + 5, "text", 4, NULL), -EPROTO);
    assert_non_null(strstr(p->err.msg, "ends early"));
}

static void test_text_with_a_zero_in_it_is_refused(void **state)
{
    struct place *p = *state;
    _cleanup_free_ char *got = NULL;
    assert_int_equal(answer_of(p, 0, 8 + 5, "te\0xt", 5, NULL), -EPROTO);
    assert_int_equal(answer_of(p, 0, 8 + 5, "text", 5, &got), 0); /* one at its end is none in it */
    assert_string_equal(got, "text");
}

static void test_hangup_before_the_answer_is_told(void **state)
{
    struct place *p = *state;
    static const struct tgt_request q = {TGT_MODE_TARGET, TGT_VERB_SHOW};
    for (size_t len = 0; len < 8; len += 3) {
        _cleanup_(tgt_answer_finish) struct tgt_answer answer = {0};
        still(p)->reply = "\0\0\0\0\0\0\0";
        still(p)->reply_len = len;
        _cleanup_close_ int fd = tgt_mgmt_send(p->dirfd, 1, &q, clock_ms() + PLENTY_MS, &p->err);
        assert_true(fd >= 0);
        assert_int_equal(tgt_mgmt_receive(fd, clock_ms() + PLENTY_MS, &answer, &p->err), -EPROTO);
    }
}

static void test_silence_ends_with_the_deadline_and_a_sentence(void **state)
{
    struct place *p = *state;
    still(p)->is_silent = true;
    p->a.timeout_ms = 1000;
    assert_int_equal(tgtadm_target_new(&p->a, 5, "iqn.x:y", &p->err), -ETIMEDOUT);
    assert_string_equal(p->err.msg, "tgtd shard 0 does not answer within 1 s (make a target)");
    assert_int_equal(p->a.way, TGT_WAY_UNKNOWN);
}

static void test_nobody_there_is_told(void **state)
{
    struct place *p = *state;
    struct tgtadm a = {p->dirfd, 6};
    assert_int_equal(tgtadm_target_new(&a, 5, "iqn.x:y", &p->err), -ENOTCONN);
    assert_string_equal(p->err.msg, "tgtd shard 6 does not run");
}

static void test_refusal_is_a_sentence(void **state)
{
    struct place *p = *state;
    static const uint32_t busy[2] = {20, 8}, unheard[2] = {12345, 8};
    still(p)->reply = busy;
    assert_int_equal(tgtadm_lun_delete(&p->a, 5, 1, &p->err), -EBUSY);
    assert_string_equal(p->err.msg, "tgtd shard 0 refuses to close a LUN: the LUN is in use: a command is in work");
    still(p)->reply = unheard;
    assert_int_equal(tgtadm_lun_delete(&p->a, 5, 1, &p->err), -EREMOTEIO);
}

static void test_names_and_numbers_that_tgtd_cannot_take_are_not_sent(void **state)
{
    struct place *p = *state;
    char name[3000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    assert_int_equal(tgtadm_target_new(&p->a, 5, name, &p->err), -E2BIG);
    assert_int_equal(tgtadm_target_new(&p->a, (int64_t)INT32_MAX + 1, "iqn.x:y", &p->err), -E2BIG);
    assert_int_equal(tgtadm_target_new(&p->a, -5, "iqn.x:y", &p->err), -E2BIG);
    assert_int_equal(still(p)->last_len, 0);
}

/* --- several at once --------------------------------------------------------------------------------------------- */

static void test_one_that_is_silent_does_not_keep_the_others_from_answering(void **state)
{
    struct place *p = *state;
    struct tgtadm list[3] = {{p->dirfd, 0}, {p->dirfd, 1}, {p->dirfd, 4}};
    struct err errs[3];
    int codes[3];
    still(p)->is_silent = true;
    tgtadm_ping_all(list, 3, 1000, codes, errs);
    assert_int_equal(codes[0], -ETIMEDOUT);
    assert_non_null(strstr(errs[0].msg, "shard 0 does not answer within 1 s"));
    assert_int_equal(codes[1], 0);
    assert_int_equal(codes[2], -ENOTCONN);
}

static void test_one_whose_queue_is_full_does_not_keep_the_others_from_answering(void **state)
{
    struct place *p = *state;
    _cleanup_close_ int listener = listen_at(p->dirfd, 3, 0);
    struct tgtadm list[2] = {{p->dirfd, 2}, {p->dirfd, 1}};
    struct err errs[2];
    int codes[2], fds[8];
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = tgt_mgmt_send(p->dirfd, 3, &tgt_mgmt_hello, 0, &p->err);
    assert_true(listener >= 0);
    assert_int_equal(fds[ARRAY_SIZE(fds) - 1], -ETIMEDOUT);
    tgtadm_ping_all(list, 2, 300, codes, errs);
    assert_int_equal(codes[0], -ETIMEDOUT);
    assert_int_equal(codes[1], 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        closep(&fds[i]);
}

/* --- a plan ------------------------------------------------------------------------------------------------------ */

#define TARGETS 40

static void make_plan(struct tgt_plan *p, struct tgt_op *ops)
{
    static const enum tgt_op_kind kinds[] = {TGT_NEW_TARGET, TGT_NEW_LUN, TGT_SET_LUN, TGT_BIND_ACL};
    *p = (struct tgt_plan){.ops = ops};
    for (size_t t = 1; t <= TARGETS; t++)
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            ops[p->n++] =
                (struct tgt_op){.kind = kinds[i], .tid = (int64_t)t, .lun = 1, .store = "rdwr", .text = "text"};
    ops[p->n++] = (struct tgt_op){.kind = TGT_DELETE_ACCOUNT, .text = "one"};
    ops[p->n++] = (struct tgt_op){.kind = TGT_DELETE_ACCOUNT, .text = "two"};
}

struct failures {
    size_t n;
    int64_t tid;
    char sentence[256];
};

static void note_failure(void *arg, int64_t tid, const char *sentence)
{
    struct failures *f = arg;
    f->n++;
    f->tid = tid;
    (void)snprintf(f->sentence, sizeof(f->sentence), "%s", sentence);
}

/* Which requests of target @tid came, as one letter each, in order. */
static const char *requests_of(const struct fake *f, uint32_t tid, char ret[16])
{
    static const char letters[][8] = {
        [TGT_MODE_TARGET] = "n..b..", [TGT_MODE_LUN] = "N....U", [TGT_MODE_ACCOUNT] = ".d...."};
    size_t n = 0;
    for (size_t i = 0; i < f->n_log && n < 15; i++)
        if (f->log[i].tid == tid)
            ret[n++] = letters[f->log[i].mode][f->log[i].verb];
    ret[n] = 0;
    return ret;
}

static void test_plan_is_carried_out_in_order_for_each_target(void **state)
{
    struct place *p = *state;
    struct tgt_op ops[TARGETS * 4 + 2];
    struct tgt_plan plan;
    struct failures failures = {0};
    char did[16];
    make_plan(&plan, ops);
    assert_int_equal(tgt_exec(&p->a, &plan, note_failure, &failures, &p->err), 0);
    assert_int_equal(failures.n, 0);
    assert_int_equal(still(p)->n_log, plan.n);
    for (uint32_t t = 1; t <= TARGETS; t++)
        assert_string_equal(requests_of(still(p), t, did), "nNUb");
    assert_string_equal(requests_of(still(p), UINT32_MAX, did), "dd");
}

static void test_target_that_fails_is_left_and_the_others_are_done(void **state)
{
    struct place *p = *state;
    struct tgt_op ops[TARGETS * 4 + 2];
    struct tgt_plan plan;
    struct failures failures = {0};
    char did[16];
    make_plan(&plan, ops);
    still(p)->refused_tid = 7;
    assert_int_equal(tgt_exec(&p->a, &plan, note_failure, &failures, &p->err), 0);
    assert_int_equal(failures.n, 1);
    assert_int_equal(failures.tid, 7);
    assert_non_null(strstr(failures.sentence, "tgtd shard 0 refuses to open a LUN"));
    for (uint32_t t = 1; t <= TARGETS; t++)
        assert_string_equal(requests_of(still(p), t, did), t == 7 ? "nN" : "nNUb");
}

/* Exchange the store of one LUN; what was asked for. */
static const struct fake *swap(struct place *p)
{
    struct tgt_op op = {.kind = TGT_SWAP_LUN, .tid = 7, .lun = 1, .store = "diskgate", .text = "path"};
    struct tgt_plan plan = {&op, 1};
    struct failures failures = {0};
    assert_int_equal(tgt_exec(&p->a, &plan, note_failure, &failures, &p->err), 0);
    assert_int_equal(failures.n, 0);
    assert_int_equal(still(p)->log[0].mode, TGT_MODE_CONNECTION);
    assert_int_equal(still(p)->log[0].verb, TGT_VERB_SHOW);
    return still(p);
}

static void test_store_is_exchanged_when_nobody_is_logged_in(void **state)
{
    const struct fake *f = swap(*state);
    assert_int_equal(f->n_log, 3);
    assert_true(f->log[1].mode == TGT_MODE_LUN && f->log[1].verb == TGT_VERB_DELETE && f->log[1].tid == 7);
    assert_true(f->log[2].mode == TGT_MODE_LUN && f->log[2].verb == TGT_VERB_NEW && f->log[2].tid == 7);
    assert_non_null(strstr((const char *)f->last + HEAD, "path=path,bstype=diskgate"));
}

static void test_store_is_not_exchanged_under_who_logged_in_since(void **state)
{
    static char answer[64] = "\0\0\0\0\0\0\0\0Session: 1\n    Connection: 0\n";
    struct place *p = *state;
    uint32_t len = (uint32_t)(8 + strlen(answer + 8));
    memcpy(answer + 4, &len, sizeof(len));
    still(p)->reply = answer;
    still(p)->reply_len = still(p)->piece = len;
    assert_int_equal(swap(p)->n_log, 1);
}

static void test_plan_ends_when_tgtd_does_not_answer(void **state)
{
    struct place *p = *state;
    struct tgt_op ops[TARGETS * 4 + 2];
    struct tgt_plan plan;
    struct failures failures = {0};
    make_plan(&plan, ops);
    still(p)->is_silent = true;
    p->a.timeout_ms = 1000;
    assert_int_equal(tgt_exec(&p->a, &plan, note_failure, &failures, &p->err), -ETIMEDOUT);
    assert_non_null(strstr(p->err.msg, "does not answer within 1 s"));
    assert_int_equal(failures.n, 0);
}

/* --- beside tgtadm ----------------------------------------------------------------------------------------------- */

static int deed(struct tgtadm *a, unsigned n, struct err *err)
{
    switch (n) {
    case 0:
        return tgtadm_target_new(a, 70000, "iqn.2024-01.org.example:pc1", err);
    case 1:
        return tgtadm_target_set(a, 7, "MaxBurstLength", "1048576", err);
    case 2:
        return tgtadm_target_delete(a, 7, err);
    case 3:
        return tgtadm_lun_new(a, 7, 31, "mnt/by-id/0123.img", "rdwr", err);
    case 4:
        return tgtadm_lun_set(a, 7, 1, "thin_provisioning=1,scsi_sn=abc-1-0", err);
    case 5:
        return tgtadm_lun_delete(a, 7, 1, err);
    case 6:
        return tgtadm_account_new(a, "user", "a secret", err);
    case 7:
        return tgtadm_account_delete(a, "user", err);
    case 8:
        return tgtadm_account_bind(a, 7, "user", err);
    case 9:
        return tgtadm_acl_bind(a, 7, "iqn.2024-01.org.example:pc1:initiator", err);
    case 10:
        return tgtadm_acl_bind(a, 7, "192.0.2.7", err);
    case 11:
        return tgtadm_acl_unbind(a, 7, "ALL", err);
    case 12:
        return tgtadm_acl_unbind(a, 7, "iqn.2024-01.org.example:pc1:initiator", err);
    case 13:
        return tgtadm_drop_connections(a, 7, false, err);
    default:
        return 1;
    }
}

static bool has_tgtadm(void)
{
    return access("/usr/sbin/tgtadm", X_OK) == 0 || access("/usr/bin/tgtadm", X_OK) == 0;
}

static void test_tgtadm_sends_the_same_requests(void **state)
{
    struct place *p = *state;
    if (!has_tgtadm())
        skip();
    struct tgtadm by_socket = {p->dirfd, 0, TGT_WAY_SOCKET}, by_program = {p->dirfd, 0, TGT_WAY_PROGRAM};
    for (unsigned n = 0; n <= 13; n++) {
        uint8_t ours[sizeof(p->one.last)];
        assert_int_equal(deed(&by_socket, n, &p->err), 0);
        memcpy(ours, still(p)->last, sizeof(ours));
        memset(still(p)->last, 0xff, sizeof(p->one.last));
        assert_int_equal(deed(&by_program, n, &p->err), 0);
        memset(ours + LEN_AT, 0, 4); /* it leaves the closing zero to luck */
        memset(still(p)->last + LEN_AT, 0, 4);
        assert_memory_equal(ours, still(p)->last, HEAD);
        assert_string_equal((char *)ours + HEAD, (char *)still(p)->last + HEAD);
    }
}

/* A session and a connection with numbers of several bytes, in the request that ends it. */
static void test_tgtadm_ends_the_same_connection(void **state)
{
    struct place *p = *state;
    static const char shown[] = "\0\0\0\0\x2f\0\0\0Session: 4294967299\n    Connection: 65535\n";
    if (!has_tgtadm())
        skip();
    struct tgtadm by_socket = {p->dirfd, 0, TGT_WAY_SOCKET}, by_program = {p->dirfd, 0, TGT_WAY_PROGRAM};
    uint8_t ours[sizeof(p->one.last)];
    uint32_t len = sizeof(shown) - 1;
    char reply[sizeof(shown)];
    memcpy(reply, shown, sizeof(shown));
    memcpy(reply + 4, &len, sizeof(len));
    still(p)->reply = reply;
    still(p)->reply_len = still(p)->piece = len;
    assert_int_equal(tgtadm_drop_connections(&by_socket, 7, false, &p->err), 0);
    memcpy(ours, still(p)->last, sizeof(ours));
    assert_int_equal(get32(ours + VERB_AT), TGT_VERB_DELETE);
    memset(still(p)->last, 0xff, sizeof(p->one.last));
    assert_int_equal(tgtadm_drop_connections(&by_program, 7, false, &p->err), 0);
    assert_memory_equal(ours, still(p)->last, HEAD);
}

static void test_tgtadm_means_the_same_by_a_refusal(void **state)
{
    struct place *p = *state;
    if (!has_tgtadm())
        skip();
    uint32_t reply[2] = {0, 8};
    for (uint32_t refusal = 1; refusal <= 26; refusal++) {
        struct tgtadm by_socket = {p->dirfd, 0, TGT_WAY_SOCKET}, by_program = {p->dirfd, 0, TGT_WAY_PROGRAM};
        struct err ours, its;
        still(p)->reply = reply;
        reply[0] = refusal;
        int r = tgtadm_lun_delete(&by_socket, 7, 1, &ours);
        int code = tgtadm_lun_delete(&by_program, 7, 1, &its);
        if (r != code)
            print_message("%u: %s (%d), %s (%d)\n", refusal, ours.msg, r, its.msg, code);
        assert_int_equal(r, code);
    }
}

static void test_tgtd_of_another_form_is_asked_by_tgtadm(void **state)
{
    struct place *p = *state;
    if (!has_tgtadm())
        skip();
    still(p)->head = HEAD - 4; /* it reads what tgtadm sends, too, but does not understand the greeting */
    assert_int_equal(tgtadm_target_new(&p->a, 5, "iqn.x:y", &p->err), 0);
    assert_int_equal(p->a.way, TGT_WAY_PROGRAM);
    assert_non_null(strstr((char *)still(p)->last + HEAD, "targetname=iqn.x:y"));
    assert_int_equal(tgtadm_ping(&p->a, PLENTY_MS, &p->err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_greeting_knows_one_length_of_requests_and_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_text_comes_whole_in_whatever_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_with_a_wrong_length_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_with_a_zero_in_it_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hangup_before_the_answer_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence_ends_with_the_deadline_and_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_is_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_and_numbers_that_tgtd_cannot_take_are_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_is_silent_does_not_keep_the_others_from_answering, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_one_whose_queue_is_full_does_not_keep_the_others_from_answering, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_plan_is_carried_out_in_order_for_each_target, setup, teardown),
        cmocka_unit_test_setup_teardown(test_target_that_fails_is_left_and_the_others_are_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_exchanged_when_nobody_is_logged_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_is_not_exchanged_under_who_logged_in_since, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plan_ends_when_tgtd_does_not_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tgtadm_sends_the_same_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tgtadm_ends_the_same_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tgtadm_means_the_same_by_a_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tgtd_of_another_form_is_asked_by_tgtadm, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
