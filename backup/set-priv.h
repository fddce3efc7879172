/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files set*.c share.
 *
 * Threads: see set.h.
 */
#ifndef DISKGATE_BACKUP_SET_PRIV_H
#define DISKGATE_BACKUP_SET_PRIV_H

#include "backup/set.h"
#include "backup/sums.h"

#define SET_TEXT_MAX    (16ULL << 20) /* of set.txt */
#define SET_STREAMS_MAX 32768U

/* set.txt, both ways. *ret_buf to be free()d. */
int set_text_encode(const struct set_info *s, const char *repo_id, char **ret_buf, size_t *ret_len);
/* -EBADMSG, -EOPNOTSUPP with a sentence. @ret is to be finished in any case. */
int set_text_decode(const char *text, size_t len, const char *what, const char *repo_id, struct set_info *ret,
                    struct err *err);

/* "2026-11-22T130000Z-9a3e" and nothing else. */
bool set_id_ok(const char *id);
/* A fresh id for that time. -EIO. */
int set_id_new(int64_t time_s, char *ret);

/* The folder of a set, open. @where: "sets" or another folder. A negative errno with a sentence. */
int set_open_folder(struct repo *r, const char *where, const char *id, struct err *err);
/* SHA256SUMS of an open set. */
int set_read_sums(int dirfd, const char *what, struct sums *ret, struct err *err);
/* set.txt of an open set, checked against its SHA256SUMS. */
int set_load(struct repo *r, int dirfd, const char *what, struct set_info *ret, struct err *err);
/* All sets in @where (a folder below the top), by number. */
int set_list_in(struct repo *r, const char *where, struct set_info **ret, size_t *ret_n, struct err *err);
/* A stream's manifest in @where, checked to be that stream of this repository. */
int set_manifest_open_in(struct repo *r, const char *where, const char *set_id, const struct stream_id *id,
                         struct manifest_reader **ret, struct err *err);
/* Check every file of an open set against SHA256SUMS, and that each stream's manifest is among them. */
int set_check_folder(struct repo *r, int dirfd, const char *what, struct err *err);

#endif
