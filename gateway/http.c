/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only file that knows libmicrohttpd; see http.h.
 *
 *   network thread   headers complete -> checked -> connection suspended, request queued
 *   worker           takes the oldest, handles it, resumes the connection
 *   network thread   sends the answer, closes
 *
 * (1) There is one request a connection, so the queue is as short as the list of connections.
 * (2) A connection is resumed exactly once after it was suspended: by the worker, or by http_stop().
 * (3) Each connection is closed after its answer: an idle one would take the place of a PC.
 * (4) A connection has HTTP_REQUEST_S to send its request and as long again to take its answer (http-age.c), whatever it sends meanwhile:
 *     who feeds it a byte every few seconds keeps no place. While the request is in work it has no limit: a PC that waits sends nothing.
 */
#include "gateway/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util.h"
#include "gateway/http-age.h"

#define MEMORY_BYTES 8192 /* of one connection: its headers */

struct request {
    struct request *next;
    struct MHD_Connection *connection;
    char path[HTTP_PATH_MAX + 1];
    char address[46];
    struct http_answer answer; /* body NULL: not yet */
};

struct http {
    struct http_options o;
    struct MHD_Daemon *daemon;
    struct http_age *age;
    pthread_t worker;
    pthread_mutex_t mutex; /* protects what follows */
    pthread_cond_t asked;
    struct request *first, **last;
    bool must_stop;
};

union address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* --- answers ----------------------------------------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *c, struct http_answer *a)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(a->body), a->body, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(a->body);
        return MHD_NO;
    }
    a->body = NULL;
    /* Without memory for a header the answer goes without it. */
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result ret = MHD_queue_response(c, a->status, r);
    MHD_destroy_response(r);
    return ret;
}

static enum MHD_Result refuse(const struct http *h, struct MHD_Connection *c, const char *path, unsigned status,
                              const char *sentence)
{
    struct http_answer a = {.status = status};
    h->o.refuse(h->o.arg, path, sentence, &a);
    return a.body ? send_answer(c, &a) : MHD_NO;
}

/* --- the worker -------------------------------------------------------------------------------------------------- */

static struct request *take(struct http *h)
{
    (void)pthread_mutex_lock(&h->mutex);
    while (!h->first && !h->must_stop)
        (void)pthread_cond_wait(&h->asked, &h->mutex);
    struct request *r = h->must_stop ? NULL : h->first;
    if (r) {
        h->first = r->next;
        if (!h->first)
            h->last = &h->first;
    }
    (void)pthread_mutex_unlock(&h->mutex);
    return r;
}

static void *work(void *arg)
{
    struct http *h = arg;
    for (struct request *r; (r = take(h));) {
        r->answer.status = MHD_HTTP_OK;
        h->o.handle(h->o.arg, r->path, r->address, &r->answer);
        if (!r->answer.body) /* no memory: an empty answer */
            r->answer = (struct http_answer){MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", strdup("")};
        MHD_resume_connection(r->connection);
    }
    return NULL;
}

/* --- the network ------------------------------------------------------------------------------------------------- */

static void address_text(struct MHD_Connection *c, char *ret, socklen_t max)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const union address *a = i ? (const union address *)i->client_addr : NULL;
    ret[0] = 0;
    if (a && a->sa.sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &a->v4.sin_addr, ret, max); /* fits */
    else if (a && a->sa.sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &a->v6.sin6_addr, ret, max); /* fits */
}

static bool has_body(struct MHD_Connection *c)
{
    const char *len = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) ||
           (len && strcmp(len, "0") != 0);
}

/* Give the connection another @limit_ms; 0 = as long as it takes. */
static void limit_age(struct http *h, struct MHD_Connection *c, int limit_ms)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    http_age_set(h->age, i ? i->socket_context : NULL, limit_ms);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what)
{
    struct http *h = arg;
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        *context = i ? http_age_add(h->age, i->connect_fd, HTTP_REQUEST_S * 1000) : NULL;
    else
        http_age_remove(h->age, *context); /* the library closes the socket after this */
}

static enum MHD_Result enqueue(struct http *h, struct MHD_Connection *c, const char *path, void **state)
{
    struct request *r = calloc(1, sizeof(*r));
    if (!r)
        return MHD_NO;
    r->connection = c;
    (void)snprintf(r->path, sizeof(r->path), "%s", path); /* was measured */
    address_text(c, r->address, sizeof(r->address));
    *state = r;
    (void)pthread_mutex_lock(&h->mutex);
    bool is_late = h->must_stop;
    if (!is_late) {
        limit_age(h, c, 0);
        MHD_suspend_connection(c);
        *h->last = r;
        h->last = &r->next;
        (void)pthread_cond_signal(&h->asked);
    }
    (void)pthread_mutex_unlock(&h->mutex);
    return is_late ? MHD_NO : MHD_YES;
}

/* Called when the headers are complete, and again after the connection was resumed. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_len, void **state)
{
    struct http *h = arg;
    struct request *r = *state;
    struct http_answer quick = {.status = MHD_HTTP_OK};
    limit_age(h, c, HTTP_REQUEST_S * 1000);
    if (r)
        return r->answer.body ? send_answer(c, &r->answer) : MHD_NO;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse(h, c, path, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are answered here");
    if (has_body(c))
        return refuse(h, c, path, MHD_HTTP_BAD_REQUEST, "a request with a body is not answered here");
    if (strlen(path) > HTTP_PATH_MAX)
        return refuse(h, c, path, MHD_HTTP_URI_TOO_LONG, "the path is too long");
    if (h->o.quick(h->o.arg, path, &quick))
        return quick.body ? send_answer(c, &quick) : MHD_NO;
    return enqueue(h, c, path, state);
}

static void on_end(void *arg, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
    struct request *r = *state;
    if (r)
        free(r->answer.body);
    free(r);
    *state = NULL;
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static int listen_fail(const struct http_options *o, int code, struct err *err)
{
    if (code == -EADDRINUSE)
        return err_set(err, code,
                       "port %u on %s, for the boot scripts, is taken by another program; choose another one with "
                       "'diskgate set boot.port N', or do without: 'diskgate set boot.http off'",
                       o->port, o->address);
    if (code == -EADDRNOTAVAIL)
        return err_set(err, code,
                       "%s is no address of this machine; choose one that 'ip addr' shows with 'diskgate set "
                       "gateway.address ADDRESS'",
                       o->address);
    return err_sys(err, code, "cannot listen on port %u of %s for the boot scripts", o->port, o->address);
}

static int open_socket(const struct http_options *o, struct err *err)
{
    union address a = {0};
    socklen_t len = sizeof(a.v4);
    int on = 1;
    if (inet_pton(AF_INET, o->address, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons((uint16_t)o->port);
    } else if (inet_pton(AF_INET6, o->address, &a.v6.sin6_addr) == 1) {
        len = sizeof(a.v6);
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons((uint16_t)o->port);
    } else {
        return err_set(err, -EINVAL, "setting gateway.address is '%s', which is no IP address", o->address);
    }
    _cleanup_close_ int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return listen_fail(o, -errno, err);
    /* Connections of a former life in TIME_WAIT do not count. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a.sa.sa_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &a.sa, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return listen_fail(o, -errno, err);
    return take_fd(&fd);
}

static void destroy(struct http *h)
{
    http_age_stop(h->age);
    (void)pthread_cond_destroy(&h->asked);
    (void)pthread_mutex_destroy(&h->mutex);
    free(h);
}

static int start_threads(struct http *h, int fd, struct err *err)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    int r = http_age_start(&h->age, err);
    if (r < 0)
        return r;
    r = pthread_create(&h->worker, NULL, work, h);
    if (r)
        return err_sys(err, -r, "cannot start a thread for the boot scripts");
    h->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HTTP_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)HTTP_PER_ADDRESS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    return h->daemon ? 0 : err_set(err, -EIO, "libmicrohttpd does not start on port %u", h->o.port);
}

static void stop_worker(struct http *h)
{
    (void)pthread_mutex_lock(&h->mutex);
    h->must_stop = true;
    (void)pthread_cond_broadcast(&h->asked);
    (void)pthread_mutex_unlock(&h->mutex);
    (void)pthread_join(h->worker, NULL);
}

int http_start(const struct http_options *o, struct http **ret, struct err *err)
{
    _cleanup_close_ int fd = open_socket(o, err);
    if (fd < 0)
        return fd;
    struct http *h = calloc(1, sizeof(*h));
    if (!h)
        return err_sys(err, -ENOMEM, "cannot serve the boot scripts");
    h->o = *o;
    h->o.address = NULL; /* not needed any more */
    h->last = &h->first;
    (void)pthread_mutex_init(&h->mutex, NULL);
    (void)pthread_cond_init(&h->asked, NULL);
    int r = start_threads(h, fd, err);
    if (r < 0) {
        if (h->worker)
            stop_worker(h);
        destroy(h);
        return r;
    }
    (void)take_fd(&fd); /* the daemon closes it */
    *ret = h;
    return 0;
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    MHD_socket fd = MHD_quiesce_daemon(h->daemon); /* no new connections */
    stop_worker(h);
    for (struct request *r = h->first, *next; r; r = next) { /* nobody will handle these: closed without an answer */
        next = r->next;
        MHD_resume_connection(r->connection);
    }
    MHD_stop_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET)
        (void)close(fd); /* a listening socket holds no data */
    destroy(h);
}
