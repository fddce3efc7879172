/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control sockets: how a program asks a running daemon of the same root.
 *
 * A UNIX stream socket in ROOT/run. The caller sends one JSON object in one line, the daemon answers with one JSON object in one
 * line, and the connection ends. A request has "cmd"; an answer has either what the command promises or "error", a
 * sentence, with "errno", the positive number. A line is at most CTL_LINE_MAX bytes. Only root and the daemon's own user are served
 * (SO_PEERCRED).
 *
 * diskgate-fs (fs.sock):
 *   {"cmd":"ping"}     -> {"pid":N,"version":"...","mount":DIR}
 *   {"cmd":"sync"}     -> make the views follow the catalog, then as "status"
 *   {"cmd":"status"}   -> {"views":[{"client","slot","image","version","mode","overlay_id","path"(by-id/..., relative to the mount),
 *                          "state":"ready"|"failed"|"lost"(with the machine's power),"error"(sentence, where not ready),"untouched"(nothing was ever written),"alarm"(sentence, while requests wait),"errors","size_bytes","overlay_bytes"(with "ram_bytes"),
 *                          "read_bytes","written_bytes","reads","writes","flushes","opens",
 *                          "direct_luns"(whose store reads by itself, core/direct.h),"direct_reads","direct_read_bytes"(counted in reads, too)}],
 *                         "images":[{"image","version","state","error","read_bytes","read_bytes_per_s","hits","misses"(waited for a disk),"saved_s",
 *                          "boots","boot_extents","boot_bytes","ram_bytes"(locked),"load_ms"}],
 *                         "ram_read":{"limit_bytes","used_bytes","error"},"pid":N,"uptime_s":N,
 *                         "ram_write":{"limit_bytes","used_bytes","spilled_bytes","refused_bytes","error"}, where there is a RAM write cache,
 *                         "frozen":[{"id","overlays":N,"side_bytes","age_s","broken"(sentence, where it is void)}]}
 *   {"cmd":"boot","client":NAME} -> {}: the client boots now, its boot set is recorded
 *   {"cmd":"settle"}   -> as "status", once what is to be in memory is there
 *   {"cmd":"freeze","id":UUID,"overlays":[OVERLAY_ID]} -> all of them frozen at one instant, as core/freeze.h says; the caller holds
 *                          ROOT/run/frozen/UUID.holder. {"overlays":[{"overlay_id","epoch_id","epoch"}]}; -ENOENT: one is not attached
 *   {"cmd":"thaw","id":UUID} -> {"side_bytes":N,"broken"}
 *
 * Threads: ctl_call() any number at once; a server object belongs to one thread.
 */
#ifndef DISKGATE_CORE_CTL_H
#define DISKGATE_CORE_CTL_H

#include <jansson.h>

#include "core/err.h"
#include "core/json.h"

#define CTL_LINE_MAX (64U << 20)

/* Send @req (borrowed) to ROOT/run/@sock and wait up to @timeout_ms for the answer. 0 and *ret (to be json_decref()ed);
 * -ENOENT or -ECONNREFUSED when nobody listens; -ETIMEDOUT; -EPROTO for a malformed answer; the daemon's own error with its sentence. */
int ctl_call(const char *root, const char *sock, json_t *req, int timeout_ms, json_t **ret, struct err *err);

/* Answer of a command: a new object in *ret, or a negative errno with a sentence. @req is borrowed. */
typedef int ctl_handler(void *arg, const char *cmd, json_t *req, json_t **ret, struct err *err);

struct ctl_server;

/* Listen on @name in folder @dirfd (mode 0600; a socket file left by a dead process is replaced). The thread that answers begins in
 * ctl_server_start() and handles one connection at a time; a silent peer is dropped after 10 s. */
int ctl_server_open(int dirfd, const char *name, ctl_handler *handler, void *arg, struct ctl_server **ret,
                    struct err *err);
int ctl_server_start(struct ctl_server *s);
void ctl_server_stop(struct ctl_server *s);  /* joins the thread; NULL is allowed */
void ctl_server_close(struct ctl_server *s); /* removes the socket file; NULL is allowed */

#endif
