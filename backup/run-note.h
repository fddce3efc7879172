/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ROOT/backup-runs/VERB-HASH.json: how the last `create`, `prune` and `verify` of a repository went, for `schedule list`. HASH is of the
 * repository's path.
 *
 *   {"verb": "create", "repository": "/mnt/usb/backup", "pid": 812, "started_s": 1790000000, "ended_s": 1790000300,
 *    "status": 14, "sentence": "cannot write to ..."}
 *
 * Written when a run begins, without the last three, and again when it is over: so one that was killed, or whose machine lost its power, is known by
 * what its note lacks. Replaced as a whole; nothing is lost with it but the look back. Only what a schedule runs is noted: no dry runs, no backups
 * of single images. On a machine without that root nothing is.
 *
 * Threads: any number at once, but for one object.
 */
#ifndef DISKGATE_BACKUP_RUN_NOTE_H
#define DISKGATE_BACKUP_RUN_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

#define RUN_WORDS_LEN 255

struct run_note {
    int64_t pid, started_s, ended_s;
    int status; /* exit status of the program */
    bool is_over;
    char sentence[RUN_WORDS_LEN + 1]; /* of a failure */
};

/* A run begins. What cannot be written is not: the run is what counts. */
void run_note_begin(const char *root, const char *repo, const char *verb);
/* It is over: @code is what the verb returned, a status or a negative errno with the sentence @err. */
void run_note_end(const char *root, const char *repo, const char *verb, int code, const struct err *err);
/* 0; -ENOENT: there was none, or the note cannot be read. */
int run_note_read(const char *root, const char *repo, const char *verb, struct run_note *ret);
/* "done", "failed: no space", "running", "was cut off"; @ret: RUN_WORDS_LEN + 1 bytes. */
void run_note_words(const struct run_note *n, char *ret);

#endif
