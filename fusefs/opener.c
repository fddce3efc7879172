/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests and answers between the two halves; see opener.h.
 *
 * Request: struct request. Answer: struct answer, with an fd attached where one was asked for, then `bytes` bytes of rows.
 */
#include "fusefs/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/root.h"
#include "core/util.h"
#include "fusefs/own.h"

enum op { OP_SNAPSHOT, OP_OPEN_VERSION, OP_GARBAGE_DONE };

struct request {
    enum op op;
    int64_t version_id;
    struct garbage_row garbage;
};

struct answer {
    int result;
    struct err err;
    struct image_info info;
    uint64_t full_wait_s, ram_read_bytes, ram_write_bytes, ram_client_write_bytes;
    size_t view_count, version_count, image_count, garbage_count;
};

#define ROWS_BYTES_MAX (1ULL << 31)

void snapshot_finish(struct snapshot *s)
{
    free(s->views);
    free(s->versions);
    free(s->images);
    free(s->garbage);
    *s = (struct snapshot){0};
}

/* --- bytes and descriptors --------------------------------------------------------------------------------------- */

static int send_all(int sock, const void *buf, size_t len)
{
    const char *p = buf;
    while (len > 0) {
        ssize_t n = send(sock, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* 0, -ECONNRESET when the other side ended. */
static int receive_all(int sock, void *buf, size_t len)
{
    char *p = buf;
    while (len > 0) {
        ssize_t n = recv(sock, p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

union fd_control {
    char buf[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static int send_answer(int sock, const struct answer *a, int fd)
{
    union fd_control control = {0};
    char marker = fd >= 0;
    struct iovec iov = {.iov_base = &marker, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.buf;
        msg.msg_controllen = sizeof(control.buf);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) != 1)
        return -errno;
    return send_all(sock, a, sizeof(*a));
}

static int receive_answer(int sock, struct answer *a, int *ret_fd)
{
    union fd_control control;
    char marker;
    struct iovec iov = {.iov_base = &marker, .iov_len = 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    *ret_fd = -1;
    ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n < 0 ? -errno : -ECONNRESET;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    int r = receive_all(sock, a, sizeof(*a));
    if (r < 0)
        closep(ret_fd);
    return r;
}

/* --- the privileged side ----------------------------------------------------------------------------------------- */

#define RAM_READ_SHARE  4
#define RAM_WRITE_SHARE 8

/* A size, or for "auto" the machine's memory divided by @share. */
static int get_share(struct catalog *c, const char *key, uint64_t share, uint64_t *ret, struct err *err)
{
    char text[SETTING_LEN + 1];
    int r = setting_get(c, key, text, err);
    if (r < 0 || strcmp(text, "auto") != 0)
        return r < 0 ? r : setting_get_u64(c, key, ret, err);
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    *ret = pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes / share : 0;
    return 0;
}

static int take_snapshot(const char *root, struct snapshot *s, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = catalog_open(root, CATALOG_READ, &c, err);
    if (r == 0)
        r = view_list(c, NULL, &s->views, &s->view_count, err);
    if (r == 0)
        r = version_list(c, NULL, &s->versions, &s->version_count, err);
    if (r == 0)
        r = image_list(c, &s->images, &s->image_count, err);
    if (r == 0)
        r = garbage_list(c, &s->garbage, &s->garbage_count, err);
    if (r == 0)
        r = setting_get_u64(c, "fs.full_wait_s", &s->full_wait_s, err);
    if (r == 0)
        r = get_share(c, "ram.read_bytes", RAM_READ_SHARE, &s->ram_read_bytes, err);
    if (r == 0)
        r = get_share(c, "ram.write_bytes", RAM_WRITE_SHARE, &s->ram_write_bytes, err);
    if (r == 0)
        r = setting_get_u64(c, "ram.client_write_bytes", &s->ram_client_write_bytes, err);
    return r;
}

static int answer_snapshot(int sock, const char *root)
{
    _cleanup_(snapshot_finish) struct snapshot s = {0};
    struct answer a = {0};
    a.result = take_snapshot(root, &s, &a.err);
    if (a.result == 0) {
        a.full_wait_s = s.full_wait_s;
        a.ram_read_bytes = s.ram_read_bytes;
        a.ram_write_bytes = s.ram_write_bytes;
        a.ram_client_write_bytes = s.ram_client_write_bytes;
        a.view_count = s.view_count;
        a.version_count = s.version_count;
        a.image_count = s.image_count;
        a.garbage_count = s.garbage_count;
    }
    int r = send_answer(sock, &a, -1);
    if (r == 0)
        r = send_all(sock, s.views, a.view_count * sizeof(*s.views));
    if (r == 0)
        r = send_all(sock, s.versions, a.version_count * sizeof(*s.versions));
    if (r == 0)
        r = send_all(sock, s.images, a.image_count * sizeof(*s.images));
    if (r == 0)
        r = send_all(sock, s.garbage, a.garbage_count * sizeof(*s.garbage));
    return r;
}

/* Open without waiting for a FIFO's writer; the probe refuses what is no file. */
static int open_checked(const char *root, const struct version_row *v, struct image_info *ret, struct err *err)
{
    char path[PATH_MAX];
    if (v->path[0] == '/')
        memcpy(path, v->path, sizeof(path));
    else if (root_path(root, v->path, path, err) < 0)
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return err_set(
            err, -ENOENT,
            "the file '%s' of image '%s' version %u is missing; put it back, or find it with 'diskgate image "
            "repair --search DIR'",
            path, v->image, v->number);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s' of image '%s' version %u", path, v->image, v->number);
    struct image_record rec = {.path = path,
                               .format = v->format,
                               .identity = v->identity,
                               .full_hash = v->full_hash,
                               .file_bytes = v->file_bytes,
                               .mtime_ns = v->mtime_ns};
    int r = image_verify(fd, &rec, ret, err);
    return r < 0 ? err_prefix(err, r, "image '%s' version %u", v->image, v->number) : take_fd(&fd);
}

static int answer_open_version(int sock, const char *root, int64_t id)
{
    _cleanup_free_ struct version_row *v = calloc(1, sizeof(*v));
    _cleanup_close_ int fd = -1;
    struct answer a = {0};
    {
        _cleanup_(catalog_closep) struct catalog *c = NULL;
        a.result = v ? catalog_open(root, CATALOG_READ, &c, &a.err) : -ENOMEM;
        if (a.result == 0)
            a.result = version_get(c, id, v, &a.err);
    }
    if (a.result == 0)
        a.result = fd = open_checked(root, v, &a.info, &a.err);
    return send_answer(sock, &a, fd);
}

static int forget_garbage(const char *root, const struct garbage_row *row, struct err *err)
{
    _cleanup_(catalog_closep) struct catalog *c = NULL;
    int r = catalog_open(root, CATALOG_WRITE, &c, err);
    if (r == 0)
        r = catalog_begin(c, err);
    if (r == 0)
        r = garbage_done(c, row, err);
    return r == 0 ? catalog_commit(c, err) : r;
}

static int answer_garbage_done(int sock, const char *root, struct garbage_row *row)
{
    struct answer a = {0};
    row->overlay_dir[sizeof(row->overlay_dir) - 1] = 0; /* it comes from the worker */
    row->overlay_id[sizeof(row->overlay_id) - 1] = 0;
    a.result = forget_garbage(root, row, &a.err);
    return send_answer(sock, &a, -1);
}

/* What a look at the catalog will open must belong to who opens it. */
static void own_folders(const struct options *o, int overlays_fd, int live_fd)
{
    struct err err;
    if (!o->is_read_only && (own_folder(overlays_fd, o, 1, &err) < 0 || own_folder(live_fd, o, 0, &err) < 0))
        log_warn("%s, ignoring", err.msg);
}

/* One connection stays open: what SQLite keeps beside the catalog exists then, so that it can be read on a full disk. */
int opener_serve(int sock, const struct options *o, int overlays_fd, int live_fd)
{
    const char *root = o->root;
    _cleanup_(catalog_closep) struct catalog *idle = NULL;
    if (catalog_open(root, CATALOG_READ, &idle, NULL) < 0)
        idle = NULL; /* each request opens it again and says what is wrong */
    for (;;) {
        struct request q;
        int r = receive_all(sock, &q, sizeof(q));
        if (r < 0)
            return r == -ECONNRESET ? 0 : r;
        switch (q.op) {
        case OP_SNAPSHOT:
            own_folders(o, overlays_fd, live_fd);
            r = answer_snapshot(sock, root);
            break;
        case OP_OPEN_VERSION:
            r = answer_open_version(sock, root, q.version_id);
            break;
        case OP_GARBAGE_DONE:
            r = answer_garbage_done(sock, root, &q.garbage);
            break;
        default:
            return -EPROTO;
        }
        if (r < 0)
            return r == -EPIPE || r == -ECONNRESET ? 0 : r;
    }
}

/* --- the worker's side ------------------------------------------------------------------------------------------- */

static int ask(int sock, const struct request *q, struct answer *a, int *ret_fd, struct err *err)
{
    *ret_fd = -1;
    int r = send_all(sock, q, sizeof(*q));
    if (r == 0)
        r = receive_answer(sock, a, ret_fd);
    if (r < 0)
        return err_set(
            err, -EPIPE,
            "the privileged half of diskgate-fs is gone, so nothing can be attached or changed; running clients go on; "
            "'diskgate up' mends it");
    if (a->result < 0 && err)
        *err = a->err;
    return a->result < 0 ? a->result : 0;
}

static int receive_rows(int sock, void **ret, size_t count, size_t row_bytes)
{
    uint64_t bytes;
    if (!mul_ok(count, row_bytes, &bytes) || bytes > ROWS_BYTES_MAX)
        return -EPROTO;
    void *rows = malloc(bytes ? (size_t)bytes : 1);
    if (!rows)
        return -ENOMEM;
    int r = receive_all(sock, rows, (size_t)bytes);
    if (r < 0)
        free(rows);
    else
        *ret = rows;
    return r;
}

int opener_snapshot(int sock, struct snapshot *ret, struct err *err)
{
    struct answer a;
    _cleanup_close_ int no_fd = -1;
    struct snapshot s = {0};
    int r = ask(sock, &(struct request){.op = OP_SNAPSHOT}, &a, &no_fd, err);
    if (r < 0)
        return r;
    s.full_wait_s = a.full_wait_s;
    s.ram_read_bytes = a.ram_read_bytes;
    s.ram_write_bytes = a.ram_write_bytes;
    s.ram_client_write_bytes = a.ram_client_write_bytes;
    s.view_count = a.view_count;
    s.version_count = a.version_count;
    s.image_count = a.image_count;
    s.garbage_count = a.garbage_count;
    r = receive_rows(sock, (void **)&s.views, s.view_count, sizeof(*s.views));
    if (r == 0)
        r = receive_rows(sock, (void **)&s.versions, s.version_count, sizeof(*s.versions));
    if (r == 0)
        r = receive_rows(sock, (void **)&s.images, s.image_count, sizeof(*s.images));
    if (r == 0)
        r = receive_rows(sock, (void **)&s.garbage, s.garbage_count, sizeof(*s.garbage));
    if (r < 0) {
        snapshot_finish(&s);
        return err_sys(err, r, "cannot read the catalog");
    }
    *ret = s;
    return 0;
}

int opener_open_version(int sock, int64_t version_id, struct image_info *ret, struct err *err)
{
    struct answer a;
    int fd;
    int r = ask(sock, &(struct request){.op = OP_OPEN_VERSION, .version_id = version_id}, &a, &fd, err);
    if (r < 0) {
        closep(&fd);
        return r;
    }
    *ret = a.info;
    return fd >= 0 ? fd : err_set(err, -EPROTO, "the privileged half of diskgate-fs sent no file");
}

int opener_garbage_done(int sock, const struct garbage_row *row, struct err *err)
{
    struct answer a;
    _cleanup_close_ int no_fd = -1;
    return ask(sock, &(struct request){.op = OP_GARBAGE_DONE, .garbage = *row}, &a, &no_fd, err);
}
