/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole run of a program with verbs: understand the words, find the root, run one verb, print once.
 *
 * Threads: the main thread, once.
 */
#ifndef DISKGATE_CLI_PROGRAM_H
#define DISKGATE_CLI_PROGRAM_H

#include "cli/verb.h"

/* Runs the external word that @cmd names; returns only when it cannot, a negative errno with a sentence. cmd->root is filled where
 * --root was given. */
typedef int program_external(const struct cmd *cmd, int argc, char **argv, struct err *err);

/* Exit status of the program. @external may be NULL where @table has no externals. */
int program_run(const struct verb_table *table, int argc, char **argv, program_external *external);

/* Append the rows of @verbs (ended by a row without name) to @ret, which holds @max pointers and is ended by NULL. Rows beyond are an
 * assertion failure. */
void program_add_rows(const struct verb **ret, size_t max, const struct verb *verbs);

#endif
