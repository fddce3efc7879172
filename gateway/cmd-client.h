/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients as they are shown, for the verbs that list or change them.
 *
 * Threads: one at a time per struct cmd.
 */
#ifndef DISKGATE_GATEWAY_CMD_CLIENT_H
#define DISKGATE_GATEWAY_CMD_CLIENT_H

#include "cli/verb.h"
#include "core/catalog.h"

verb_fn client_run_list, client_run_show;

/* All about one client, as text or into the JSON. */
int client_print(struct cmd *cmd, struct catalog *c, const char *name, struct err *err);

#endif
