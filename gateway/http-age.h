/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An end for connections that take too long: each has a moment at which it is shut down, whatever it sends until then.
 *
 * Order of calls: http_age_start, then per connection add, set (any number of times), remove; http_age_stop when none is left to add.
 * Threads: any number at once. An entry is removed before its socket is closed, so that no other file that got the number is hit.
 */
#ifndef DISKGATE_GATEWAY_HTTP_AGE_H
#define DISKGATE_GATEWAY_HTTP_AGE_H

#include "core/err.h"

struct http_age;
struct http_age_entry;

int http_age_start(struct http_age **ret, struct err *err);
/* Forgets all entries; NULL is allowed. */
void http_age_stop(struct http_age *a);

/* Shut @fd down @limit_ms from now. NULL without memory: then the connection has no limit of this kind. */
struct http_age_entry *http_age_add(struct http_age *a, int fd, int limit_ms);
/* A new moment; 0 = no limit for now. @e may be NULL. */
void http_age_set(struct http_age *a, struct http_age_entry *e, int limit_ms);
/* Forgets @e; NULL is allowed. */
void http_age_remove(struct http_age *a, struct http_age_entry *e);

#endif
