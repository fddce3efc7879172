/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Links and what their loss would destroy: shared by the verbs of clients and overlays.
 *
 * Threads: one at a time per catalog; inside of a transaction.
 */
#ifndef DISKGATE_GATEWAY_LINK_H
#define DISKGATE_GATEWAY_LINK_H

#include "core/catalog.h"
#include "cli/verb.h"

/* Link @slot to @ref (IMG or IMG@V). A slot that holds another image is checked by refuse_loss() first; one that asks for just this
 * already is left alone. */
int link_slot(struct cmd *cmd, struct catalog *c, const char *client, uint32_t slot, const char *ref, struct err *err);

/* -EBUSY with a sentence when @client is running (from @slot, where that is for its boot menu), or when @slot (< 0: any slot) holds kept changes, unless the verb got --force.
 * @deed says what would do it: "removing it". */
int refuse_loss(struct cmd *cmd, struct catalog *c, const char *client, int slot, const char *deed, struct err *err);

/* The boot slot of @client that @text names: a slot's number, or the image (IMG or IMG@V) that is linked there. */
int boot_slot_parse(struct catalog *c, const char *client, const char *text, uint32_t *ret, struct err *err);

/* `client reset` and `overlay reset` are the same verb. */
verb_fn link_run_reset;
extern const struct option_def link_reset_options[];

#endif
