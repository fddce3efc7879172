/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a difference of configurations would destroy or take away from a running client.
 *
 * Threads: one at a time per catalog; inside of a transaction.
 */
#ifndef DISKGATE_GATEWAY_CONFIG_LOSS_H
#define DISKGATE_GATEWAY_CONFIG_LOSS_H

#include "gateway/configuration.h"

/* A new array of sentences, empty when nothing is lost: "client pc1 slot 0: 1.5 MiB of kept changes are lost". */
int config_losses(const char *root, struct catalog *c, const struct config_diff *d, json_t **ret, struct err *err);

#endif
