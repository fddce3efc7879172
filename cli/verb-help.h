/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inner interface between the parser of the command line and its help. Users of verbs include verb.h only.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_CLI_VERB_HELP_H
#define DISKGATE_CLI_VERB_HELP_H

#include <stddef.h>

#include "cli/verb.h"

extern const struct option_def verb_common_options[]; /* ended by a NULL name; without help = hidden */

/* What the person may have meant with @word at the place where @cmd stands (noun, verb), NULL where nothing is near. */
const char *verb_guess(const struct cmd *cmd, const char *word);
const char *verb_guess_option(const struct cmd *cmd, const char *name, size_t len);

#endif
