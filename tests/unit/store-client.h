/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A store as core/direct.h has it, for tests of the other side: it asks, and reads by itself what it may.
 *
 * Threads: one at a time per store.
 */
#ifndef DISKGATE_TESTS_STORE_CLIENT_H
#define DISKGATE_TESTS_STORE_CLIENT_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/blk.h"
#include "core/ctl-line.h"
#include "core/direct.h"
#include "core/livemap.h"
#include "core/util.h"

struct store {
    int conn;
    int fds[DIRECT_FDS]; /* the map's belongs to `map` */
    struct direct_answer answer;
    struct direct_board *board;
    struct livemap *map;
};

/* Connected to the socket in folder @run_fd, nothing asked yet; or a negative errno. */
static inline int store_connect(int run_fd)
{
    struct sockaddr_un address;
    int r = ctl_address(run_fd, DIRECT_SOCKET, &address);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (r < 0 || fd < 0)
        return r < 0 ? r : -errno;
    return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : take_fd(&fd);
}

/* Bytes received, or a negative errno. Descriptors that did not come are -1. */
static inline ssize_t store_receive(int conn, struct direct_answer *ret, int fds[DIRECT_FDS])
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * DIRECT_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    for (int i = 0; i < DIRECT_FDS; i++)
        fds[i] = -1;
    ssize_t n = recvmsg(conn, &m, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int) * DIRECT_FDS))
        memcpy(fds, CMSG_DATA(head), sizeof(int) * DIRECT_FDS);
    return n < 0 ? -errno : n;
}

static inline void store_close(struct store *s)
{
    closep(&s->conn);
    for (int i = 0; i < DIRECT_FDS; i++)
        if (i != DIRECT_FD_MAP || !s->map)
            closep(&s->fds[i]);
    if (s->board)
        (void)munmap(s->board, DIRECT_BOARD_BYTES);
    livemap_close(s->map);
}

/* 0, or what the answer said, or -EPROTO. */
static inline int store_open(int run_fd, const unsigned char id[16], struct store *s)
{
    struct direct_ask ask = {.magic = DIRECT_MAGIC, .version = DIRECT_VERSION};
    struct err err;
    *s = (struct store){.fds = {-1, -1, -1, -1}};
    memcpy(ask.overlay_id, id, sizeof(ask.overlay_id));
    s->conn = store_connect(run_fd);
    if (s->conn < 0)
        return s->conn;
    int r = -EPROTO;
    if (send(s->conn, &ask, sizeof(ask), MSG_NOSIGNAL) == sizeof(ask) &&
        store_receive(s->conn, &s->answer, s->fds) == sizeof(s->answer))
        r = s->answer.error;
    if (r == 0 && s->fds[DIRECT_FD_BOARD] >= 0) {
        void *p = mmap(NULL, DIRECT_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->fds[DIRECT_FD_BOARD], 0);
        s->board = p == MAP_FAILED ? NULL : p;
        r = s->board ? livemap_open(s->fds[DIRECT_FD_MAP], true, &s->map, &err) : -ENOMEM;
    }
    if (r < 0)
        store_close(s);
    return r;
}

static inline int store_piece(const struct store *s, enum block_state state, char *buf, size_t len, uint64_t off)
{
    size_t data = state == BLOCK_ZERO ? 0 : len;
    if (state == BLOCK_ABSENT)
        data = (size_t)(off < s->answer.base_bytes ? MIN(len, s->answer.base_bytes - off) : 0);
    struct iovec v = {.iov_base = buf, .iov_len = data};
    int fd = s->fds[state == BLOCK_PRESENT ? DIRECT_FD_DATA : DIRECT_FD_BASE];
    if (data > 0 && preadv2(fd, &v, 1, (off_t)off, RWF_NOWAIT) != (ssize_t)data)
        return -EAGAIN;
    memset(buf + data, 0, len - data);
    return 0;
}

static inline bool store_counts(const struct store *s, bool has_data)
{
    uint32_t want = DIRECT_ON | (has_data ? DIRECT_DATA : 0);
    atomic_thread_fence(memory_order_seq_cst);
    return (atomic_load(&s->board->flags) & want) == want && livemap_generation(s->map) == s->answer.generation;
}

/* False: the ring is full. */
static inline bool store_note(struct direct_board *b, uint64_t off, size_t len)
{
    uint64_t head = atomic_load(&b->head);
    if (!(atomic_load(&b->flags) & DIRECT_RECORD))
        return true;
    if (head - atomic_load_explicit(&b->tail, memory_order_acquire) >= DIRECT_RING)
        return false;
    atomic_store(&b->ring[head % DIRECT_RING].off, off);
    atomic_store(&b->ring[head % DIRECT_RING].len, len);
    atomic_store_explicit(&b->head, head + 1, memory_order_release);
    return true;
}

/* 0: it was answered. -EAGAIN: it has to go the long way. @ret_data: a block was taken from the data file. */
static inline int store_read(struct store *s, void *buf, size_t len, uint64_t off, bool *ret_data)
{
    char *p = buf;
    *ret_data = false;
    for (uint64_t at = off, end = off + len; at < end;) {
        enum block_state state;
        uint64_t blk = at >> BLOCK_SHIFT, last = (end - 1) >> BLOCK_SHIFT;
        uint64_t run = livemap_run(s->map, blk, last - blk + 1, &state);
        size_t n = (size_t)(MIN(end, (blk + run) << BLOCK_SHIFT) - at);
        if (store_piece(s, state, p, n, at) < 0)
            return -EAGAIN;
        *ret_data |= state == BLOCK_PRESENT;
        p += n;
        at += n;
    }
    if (!store_counts(s, *ret_data) || !store_note(s->board, off, len))
        return -EAGAIN;
    atomic_fetch_add(&s->board->reads, 1);
    atomic_fetch_add(&s->board->read_bytes, len);
    return 0;
}

#endif
