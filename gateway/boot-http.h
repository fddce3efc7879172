/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot service: paths of boot.h on the HTTP server of http.h.
 *
 * Threads: start and stop from one thread.
 */
#ifndef DISKGATE_GATEWAY_BOOT_HTTP_H
#define DISKGATE_GATEWAY_BOOT_HTTP_H

#include "core/err.h"

struct boot_http;

/* @tag tells this root from others at the same address. */
int boot_http_start(const char *root, const char *tag, const char *address, unsigned port, struct boot_http **ret,
                    struct err *err);
void boot_http_stop(struct boot_http *b); /* NULL is allowed */

#endif
