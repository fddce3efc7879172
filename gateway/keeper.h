/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What diskgated does by itself: it keeps the boot service where the settings say, watches boots, and repairs what died.
 *
 * Order of calls: keeper_open, keeper_turn and keeper_wait by turns, keeper_close.
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_KEEPER_H
#define DISKGATE_GATEWAY_KEEPER_H

#include "core/err.h"

struct keeper;

/* The boot service listens afterwards, if the settings ask for it. A sentence where it cannot. */
int keeper_open(const char *root, struct keeper **ret, struct err *err);

/* One round. What fails is logged once and tried again. */
void keeper_turn(struct keeper *k);

/* Until the next round, about a second (@ms); shorter when a part of the root has just died. */
void keeper_wait(struct keeper *k, int ms);

void keeper_close(struct keeper *k); /* NULL is allowed */

#endif
