/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame of every verb: open the catalog, change it in one transaction, let the running half follow, report.
 *
 * Order of calls, readers:   read_open(cmd, &c)
 *                 writers:   change_open(cmd, &c)
 *                              image_add(), client_set(), ...     any number
 *                            return change_done(cmd, c, "client pc1", "client pc1 was added")
 *
 * (1) A dry run rolls back at the end, so it has met every check that the real run would meet.
 * (2) What was committed stays, also when the running half cannot follow: then the sentence says so, and the exit status is 1 if
 *     the thing that was changed is not served because of it.
 *
 * Threads: one at a time per struct cmd.
 */
#ifndef DISKGATE_GATEWAY_CHANGE_H
#define DISKGATE_GATEWAY_CHANGE_H

#include "core/catalog.h"
#include "cli/verb.h"

int read_open(struct cmd *cmd, struct catalog **ret, struct err *err);

/* The transaction has begun. A caller without permission gets a sentence that says so. */
int change_open(struct cmd *cmd, struct catalog **ret, struct err *err);

/* Commit (or roll back in a dry run), follow, and report. @thing is "client NAME" or "image NAME" as reports of service.h name it.
 * Returns an exit status or a negative errno. */
int change_done(struct cmd *cmd, struct catalog *c, const char *thing, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Report of service.h: problems to stderr, changes to the text when the caller wants them (-v). Puts both into the JSON. */
void report_print(struct cmd *cmd, json_t *report, bool with_changes);

/* -EINVAL when @text is longer than the catalog keeps or no UTF-8; NULL is allowed and stores "". @ret holds COMMENT_LEN + 1 bytes. */
int comment_parse(const char *text, char *ret, struct err *err);

/* "on" or "off" of the option @name. */
int on_off_parse(const char *text, const char *name, bool *ret, struct err *err);

/* A slot as a decimal number 0..BOOT_SLOT_LAST; NULL gives 0. */
int slot_parse(const char *text, uint32_t *ret, struct err *err);

#endif
