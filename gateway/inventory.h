/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command line knows about images and clients beyond their rows in the catalog: files, overlays, sessions.
 *
 * Everything here only looks. Lists are jansson arrays of rows for output.h.
 *
 * Threads: one at a time per catalog.
 */
#ifndef DISKGATE_GATEWAY_INVENTORY_H
#define DISKGATE_GATEWAY_INVENTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/catalog.h"

/* Overlays of @client (NULL: of all): rows {"client","slot","image","version","current_version","mode","overlay_id","size_bytes",
 * "overlay_bytes","state","problem"}. What diskgate-fs says counts where it runs; else what the files hold. */
int overlay_rows(const char *root, struct catalog *c, const char *client, json_t **ret, struct err *err);

/* Bytes of kept overlays in @slot (< 0: all slots) of @client that a removal would destroy. */
int kept_bytes(const char *root, struct catalog *c, const char *client, int slot, uint64_t *ret, struct err *err);

/* -EBUSY with a sentence when @client is logged in now; @deed is what is refused, "resetting it". */
int refuse_if_online(const char *root, struct catalog *c, const char *client, const char *deed, struct err *err);

/* -EBUSY with a sentence when the client of @view is logged in now and runs from its image, which is to be changed; there is no --force for it. */
int refuse_if_it_runs(const char *root, struct catalog *c, const struct view_row *view, struct err *err);

/* Links of @client (NULL: of all): rows {"client","slot","lun"(null: none),"menu"("default", "choice", "hidden" where the client has a boot menu),"image","pinned_version","current_version","overlay_version","mode",
 * "shown"}; "shown" is short text: "win10@3 (pinned)", "win10@2, stays on v1". */
int link_rows(struct catalog *c, const char *client, json_t **ret, struct err *err);

/* The rows of @rows whose @key is the text @value: a new array. */
json_t *rows_where(json_t *rows, const char *key, const char *value);

/* What diskgate-fs tells of the versions that it has open (core/ctl.h); empty when it does not run. */
json_t *fs_images(const char *root);

#endif
