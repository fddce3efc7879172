/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The nouns of the command line: each file cmd-NOUN.c gives its rows, ended by a row without a name. main.c joins them.
 *
 * Threads: constant tables.
 */
#ifndef DISKGATE_GATEWAY_CMD_H
#define DISKGATE_GATEWAY_CMD_H

#include "cli/verb.h"

extern const struct verb cmd_root_verbs[], cmd_log_verbs[], cmd_image_add_verbs[], cmd_image_verbs[],
    cmd_image_check_verbs[], cmd_image_repair_verbs[], cmd_client_verbs[], cmd_client_boot_verbs[], cmd_link_verbs[],
    cmd_overlay_verbs[], cmd_target_verbs[], cmd_config_verbs[], cmd_boot_verbs[], cmd_part_verbs[],
    cmd_image_export_verbs[], cmd_image_set_verbs[], cmd_overlay_check_verbs[], cmd_overlay_map_verbs[];

#endif
