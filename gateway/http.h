/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small HTTP server for answers that take a while: one thread talks to the network, one works through what was asked.
 *
 * GET and HEAD only, no bodies, a path of at most HTTP_PATH_MAX bytes; at most HTTP_CONNECTIONS connections and HTTP_PER_ADDRESS from one
 * address, each ended after HTTP_IDLE_S without a byte, or when its whole request has not come within HTTP_REQUEST_S. What breaks these
 * rules is answered by @refuse or by the end of the connection and reaches no handler.
 *
 * Order of calls: http_start, http_stop.
 * Threads: start and stop from one thread; see the handlers.
 */
#ifndef DISKGATE_GATEWAY_HTTP_H
#define DISKGATE_GATEWAY_HTTP_H

#include <stdbool.h>

#include "core/err.h"

#define HTTP_PATH_MAX    128
#define HTTP_CONNECTIONS 512 /* a room of PCs that are switched on at once, each waits in one */
#define HTTP_PER_ADDRESS 8
#define HTTP_IDLE_S      10
#define HTTP_REQUEST_S   10

struct http_answer {
    unsigned status;
    const char *type; /* a constant */
    char *body;       /* malloc()ed */
};

struct http_options {
    const char *address; /* IPv4 or IPv6 */
    unsigned port;
    /* Fill @ret; one at a time, in the order of the requests. @path was decoded and may hold any byte but zero. */
    void (*handle)(void *arg, const char *path, const char *address, struct http_answer *ret);
    /* True and @ret filled for what can be answered at once, in the thread of the network. */
    bool (*quick)(void *arg, const char *path, struct http_answer *ret);
    /* Fill in type and body for @ret->status, a refusal with @sentence. In the thread of the network. */
    void (*refuse)(void *arg, const char *path, const char *sentence, struct http_answer *ret);
    void *arg;
};

struct http;

/* -EADDRINUSE, -EADDRNOTAVAIL, ... with a sentence that says the way out. */
int http_start(const struct http_options *o, struct http **ret, struct err *err);
/* Waits for the request that is being handled; NULL is allowed. */
void http_stop(struct http *h);

#endif
