/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the bytes are is looked up in the live map, then they are read with RWF_NOWAIT, and then it is asked whether that was right: see
 * core/direct.h. What the board said before saves work, no more. */
#include "fusefs/tgt/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/blk.h"
#include "core/clock.h"
#include "core/direct.h"
#include "core/livemap.h"
#include "core/names.h"
#include "core/util.h"
#include "fusefs/tgt/ask.h"
#include "fusefs/tgt/guard.h"

/* An answer is waited for so long; and after one that did not come, none is for some seconds: many LUNs are opened at once, and each would wait. */
#define ASK_MS     200
#define SILENCE_MS 5000

#define PIECES_MAX 16

struct source {
    int fd;
    bool is_blocking; /* its file system knows no RWF_NOWAIT */
};

struct reader {
    int sock;
    enum {
        WAITING, /* for the answer */
        READY,
        OFF, /* something was wrong with it */
    } state;
    bool is_alone; /* diskgate-fs is dead */
    unsigned char id[16];
    struct livemap *map;
    struct direct_board *board;
    struct source base, data;
    uint32_t generation;
    uint64_t size, base_bytes;
    uint64_t head, reads, read_bytes; /* what the board says; ours to write, so not read from there */
};

static int64_t silence_until_ms;

/* --- opening ----------------------------------------------------------------------------------------------------- */

static int id_of(const char *socket, const char *path, unsigned char ret[16])
{
    static const char folder[] = "mnt/by-id/", suffix[] = ".img";
    const char *slash = strrchr(socket, '/');
    size_t dir = slash ? (size_t)(slash - socket) + 1 : 0;
    char id[UUID_LEN + 1] = "";
    if (strncmp(path, socket, dir) != 0 || strncmp(path + dir, folder, strlen(folder)) != 0)
        return -ENOENT;
    const char *name = path + dir + strlen(folder);
    if (strlen(name) != UUID_LEN + strlen(suffix) || strcmp(name + UUID_LEN, suffix) != 0)
        return -ENOENT;
    memcpy(id, name, UUID_LEN);
    return uuid_decode(id, ret) < 0 ? -ENOENT : 0;
}

static int map_board(struct reader *d, int fd, struct err *err)
{
    void *p = mmap(NULL, DIRECT_BOARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_sys(err, -errno, "cannot map the board");
    d->board = p;
    if (d->board->magic != DIRECT_MAGIC || d->board->version != DIRECT_VERSION)
        return err_set(err, -EBADMSG, "the board is of another version");
    return 0;
}

struct opening {
    struct reader *d;
    struct ask_reply *reply;
    struct err *err;
};

/* Called in a guard: what it maps may be cut at any time. */
static int open_in_guard(void *arg)
{
    struct opening *o = arg;
    struct reader *d = o->d;
    if (o->reply->size_bytes != d->size || o->reply->base_bytes > d->size)
        return err_set(o->err, -EBADMSG, "diskgate-fs tells of a disk of another size");
    int r = map_board(d, o->reply->fds[DIRECT_FD_BOARD], o->err);
    if (r < 0)
        return r;
    r = livemap_open(o->reply->fds[DIRECT_FD_MAP], true, &d->map, o->err);
    if (r < 0)
        return r;
    (void)take_fd(&o->reply->fds[DIRECT_FD_MAP]); /* the map's now */
    const struct map_stamp *s = livemap_stamp(d->map);
    if (memcmp(s->overlay_id, d->id, sizeof(s->overlay_id)) != 0 || s->size_bytes != d->size)
        return err_set(o->err, -EBADMSG, "diskgate-fs sent the live map of another overlay");
    return 0;
}

static void take_reply(struct reader *d, struct ask_reply *reply)
{
    d->base.fd = take_fd(&reply->fds[DIRECT_FD_BASE]);
    d->data.fd = take_fd(&reply->fds[DIRECT_FD_DATA]);
    d->generation = reply->generation;
    d->base_bytes = reply->base_bytes;
    d->state = READY;
}

static void end(struct reader *d)
{
    livemap_close(take_ptr(d->map));
    if (d->board)
        (void)munmap(d->board, DIRECT_BOARD_BYTES); /* it is ours */
    d->board = NULL;
    closep(&d->base.fd);
    closep(&d->data.fd);
    closep(&d->sock);
    d->base.fd = d->data.fd = d->sock = -1;
    d->state = OFF;
}

/* Take the answer. -ETIMEDOUT: not yet; 0: ready; any other error: off. */
static int finish_opening(struct reader *d, int timeout_ms, struct err *err)
{
    _cleanup_(ask_reply_finish) struct ask_reply reply = ASK_REPLY_NONE;
    int r = ask_receive(d->sock, timeout_ms, &reply, err);
    if (r == -ETIMEDOUT)
        return r;
    if (r == 0)
        r = guard_call(open_in_guard, &(struct opening){d, &reply, err});
    if (r == 0)
        take_reply(d, &reply);
    else
        end(d);
    return r == -EFAULT ? err_set(err, r, "what diskgate-fs sent was cut short") : r;
}

static int ask_and_wait(struct reader *d, const char *socket, struct err *err)
{
    bool is_silent = clock_ms() < silence_until_ms;
    int r = ask_send(socket, d->id, &d->sock, err);
    if (r < 0)
        return r;
    r = finish_opening(d, is_silent ? 0 : ASK_MS, err);
    if (r != -ETIMEDOUT)
        return r;
    if (!is_silent)
        silence_until_ms = clock_ms() + SILENCE_MS;
    return 0; /* it may come yet */
}

int reader_open(const char *socket, const char *path, uint64_t size, struct reader **ret, struct err *err)
{
    struct reader *d = calloc(1, sizeof(*d));
    if (!d)
        return err_sys(err, -ENOMEM, "cannot remember what diskgate-fs sends");
    d->sock = d->base.fd = d->data.fd = -1;
    d->size = size;
    int r = id_of(socket, path, d->id);
    if (r < 0)
        (void)err_set(err, r, "it is no disk of the diskgate-fs at '%s'", socket);
    else
        r = ask_and_wait(d, socket, err);
    if (r < 0)
        reader_close(d);
    else
        *ret = d;
    return r;
}

void reader_close(struct reader *d)
{
    if (!d)
        return;
    end(d);
    free(d);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

struct request {
    struct reader *d;
    unsigned char *buf;
    size_t len;
    uint64_t off;
};

struct piece {
    struct source *from; /* NULL: zeros */
    size_t len;
};

/* What the first of [at, end), all in @state, are read from. @ret->len = 0: they cannot be. */
static void first_piece(struct reader *d, uint32_t flags, enum block_state state, uint64_t at, uint64_t end,
                        struct piece *ret)
{
    struct source *from = state == BLOCK_PRESENT ? &d->data : &d->base;
    if (state == BLOCK_ZERO || (state == BLOCK_ABSENT && at >= d->base_bytes)) {
        *ret = (struct piece){NULL, end - at};
        return;
    }
    if (state == BLOCK_ABSENT)
        end = MIN(end, d->base_bytes);
    bool is_there = !from->is_blocking && (state == BLOCK_ABSENT || (flags & DIRECT_DATA));
    *ret = (struct piece){from, is_there ? end - at : 0};
}

/* Count of pieces; 0 when not all can be read. */
static size_t look_up(const struct request *q, uint32_t flags, struct piece *ret)
{
    uint64_t at = q->off, end = q->off + q->len;
    size_t count = 0;
    while (at < end && count < PIECES_MAX) {
        uint64_t blk = at / BLOCK_BYTES, blks = (end - 1) / BLOCK_BYTES - blk + 1;
        enum block_state state;
        uint64_t same = livemap_run(q->d->map, blk, blks, &state);
        first_piece(q->d, flags, state, at, MIN(end, (blk + same) * BLOCK_BYTES), &ret[count]);
        if (ret[count].len == 0)
            return 0;
        at += ret[count++].len;
    }
    return at < end ? 0 : count;
}

static bool read_piece(const struct piece *p, void *buf, uint64_t off)
{
    if (!p->from) {
        memset(buf, 0, p->len);
        return true;
    }
    struct iovec v = {buf, p->len};
    ssize_t n = preadv2(p->from->fd, &v, 1, (off_t)off, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == EINVAL))
        p->from->is_blocking = true;
    return n == (ssize_t)p->len;
}

static bool has_room(const struct reader *d)
{
    return d->head - atomic_load(&d->board->tail) < DIRECT_RING; /* a tail beyond the head: a great number */
}

/* May a read be answered that is to be noted? Nobody empties the ring of one who is dead, and nobody wants to know. */
static bool may_answer(struct reader *d)
{
    char byte;
    if (has_room(d))
        return true;
    if (!d->is_alone)
        d->is_alone = recv(d->sock, &byte, sizeof(byte), MSG_DONTWAIT | MSG_PEEK) == 0;
    return d->is_alone;
}

static void note(struct reader *d, const struct request *q)
{
    if (!has_room(d))
        return;
    struct direct_note *n = &d->board->ring[d->head % DIRECT_RING];
    atomic_store(&n->off, q->off);
    atomic_store(&n->len, q->len);
    atomic_store(&d->board->head, ++d->head);
}

static void count(struct reader *d, const struct request *q)
{
    atomic_store_explicit(&d->board->reads, ++d->reads, memory_order_relaxed);
    atomic_store_explicit(&d->board->read_bytes, d->read_bytes += q->len, memory_order_relaxed);
}

/* Was it right to read so? To be asked afterwards. */
static bool is_valid(const struct reader *d, const struct piece *pieces, size_t n, uint32_t *ret_flags)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t flags = atomic_load(&d->board->flags), needed = DIRECT_ON;
    for (size_t i = 0; i < n; i++)
        if (pieces[i].from == &d->data)
            needed |= DIRECT_DATA;
    *ret_flags = flags;
    return (flags & needed) == needed && livemap_generation(d->map) == d->generation;
}

/* 0, or -EAGAIN: not answered. */
static int read_in_guard(void *arg)
{
    const struct request *q = arg;
    struct reader *d = q->d;
    struct piece pieces[PIECES_MAX];
    uint32_t flags = atomic_load(&d->board->flags);
    if (!(flags & DIRECT_ON) || ((flags & DIRECT_RECORD) && !may_answer(d)))
        return -EAGAIN;
    size_t n = look_up(q, flags, pieces), done = 0;
    for (size_t i = 0; i < n; i++) {
        if (!read_piece(&pieces[i], q->buf + done, q->off + done))
            return -EAGAIN;
        done += pieces[i].len;
    }
    if (n == 0 || !is_valid(d, pieces, n, &flags) || ((flags & DIRECT_RECORD) && !may_answer(d)))
        return -EAGAIN;
    if (flags & DIRECT_RECORD)
        note(d, q);
    count(d, q);
    return 0;
}

bool reader_read(struct reader *d, void *buf, size_t len, uint64_t off)
{
    if (d->state == WAITING)
        (void)finish_opening(d, 0, NULL); /* what came of it is in the state */
    if (d->state != READY || len == 0 || len > READER_MAX_BYTES || !range_ok(off, len, d->size))
        return false;
    struct request q = {d, buf, len, off};
    int r = guard_call(read_in_guard, &q);
    if (r == -EFAULT)
        end(d); /* for good: the map is not what it was */
    return r == 0;
}
