/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets: one backup each. A folder sets/ID/ that comes into being by one rename and never changes afterwards.
 *
 *   sets/2026-11-22T130000Z-9a3e/
 *       set.txt                        what is in it, when, from where
 *       image-win11-1.manifest.zst     one for each stream
 *       settings.json ...              small files, as they are
 *       SHA256SUMS                     of all of these, for sha256sum -c
 *       SHA256SUMS.sig                 optional: ed25519 over SHA256SUMS
 *
 * Order of calls of a writer (a repository that is open for writing, one set at a time):
 *   set_begin(repo, now)
 *     set_manifest_begin / set_manifest_end      for each new stream; backing streams may come in any order
 *     set_reuse()                                a stream that did not change
 *     set_file()                                 small files
 *   store_flush()                                done by set_commit() itself
 *   set_commit()                                 the rename. Before it nothing of the set exists; after 0 it is durable
 *   set_abort()                                  instead, or after a failure
 * What was changed elsewhere because of the backup (epochs) is cleared after set_commit() returned 0, never before.
 *
 * Time: sets are numbered; the number, not the clock, is the order. @now becomes the set's time. A clock that is behind the newest set, or
 * before this program was written, is no reason not to make a backup: set_begin() says so in *ret_warning. Prune refuses to work
 * then (prune.h).
 *
 * Set ids come from people too: set_find() takes an id, a unique beginning of one, or "latest".
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_SET_H
#define DISKGATE_BACKUP_SET_H

#include <jansson.h>

#include "backup/manifest.h"
#include "backup/store.h"

#define SET_TEXT_LEN 255

struct set_stream {
    struct stream_id id;
    struct stream_id backing; /* has_backing */
    bool has_backing;
    uint64_t size_bytes;
};

struct set_info {
    char id[SET_ID_LEN + 1];
    uint64_t number; /* rising, in the order in which sets were made */
    int64_t time_s;
    char host[SET_TEXT_LEN + 1], root[SET_TEXT_LEN + 1], version[32], comment[SET_TEXT_LEN + 1];
    struct set_stream *streams;
    size_t n_streams;
    bool is_signed;
    int problem; /* 0, or why this set cannot be used (-EBADMSG, -EOPNOTSUPP): then only id and what follows are filled */
    struct err reason;
};

void set_info_finish(struct set_info *s);
void set_list_free(struct set_info *list, size_t n);

/* --- reading ------------------------------------------------------------------------------------------------------------ */

/* All sets, oldest first; *ret for set_list_free(). Sets that cannot be read are in the list, with `problem`. An unreadable folder is an
 * error, never an empty list. */
int set_list(struct repo *r, struct set_info **ret, size_t *ret_n, struct err *err);
/* One set: @text is its id, a unique beginning of it, or "latest" (the newest one that can be used). -ENOENT with a sentence. */
int set_find(struct repo *r, const char *text, struct set_info *ret, struct err *err);
/* The stream of @s that a person calls @text: "win11@2", "win11" (its greatest version), "pc01:1", "pc01" (slot 0), "catalog". An image
 * comes before a client of the same name. -ENOENT with a sentence. */
int set_find_stream(const struct set_info *s, const char *text, const struct set_stream **ret, struct err *err);
/* The newest usable set that has the stream @id. 0 and *ret; -ENOENT. */
int set_newest_with(struct repo *r, const struct stream_id *id, struct set_info *ret, struct err *err);

/* Open a stream's manifest. Checks that it belongs to this repository and is that stream. */
int set_manifest_open(struct repo *r, const struct set_info *s, const struct stream_id *id,
                      struct manifest_reader **ret, struct err *err);
int set_manifest_fd(struct repo *r, const struct set_info *s, const struct stream_id *id, struct err *err); /* an fd */
/* A small file as it was put in: at most @max bytes, checked against SHA256SUMS. */
int set_file_read(struct repo *r, const struct set_info *s, const char *name, size_t max, char **ret, size_t *ret_len,
                  struct err *err);
/* All files of the set are there and are what SHA256SUMS says. -EBADMSG with the first that is not. */
int set_check_sums(struct repo *r, const char *set_id, struct err *err);
/* Only what the stream @id needs: its manifest and those that it lies on. What else the set has may be damaged. */
int set_check_stream(struct repo *r, const struct set_info *s, const struct stream_id *id, struct err *err);
/* The signature, by the public key in @key_file (PEM). -EKEYREJECTED: none, or not by this key. */
int set_check_signature(struct repo *r, const char *set_id, const char *key_file, struct err *err);

/* --- writing ------------------------------------------------------------------------------------------------------------ */

struct set_writer;

struct set_params {
    int64_t now_s;
    const char *host, *root, *comment; /* may be NULL */
    const char *sign_key; /* PEM file of an ed25519 private key; NULL = no signature. Read by set_begin() */
};

/* *ret_warning (may be NULL): a sentence about the clock, or "". */
int set_begin(struct store *s, const struct set_params *params, struct set_writer **ret, struct err *ret_warning,
              struct err *err);
const char *set_writer_id(const struct set_writer *w);

/* repo, set, chunk_bytes of @head are filled in here. Several may be open at once. *ret is for manifest_add() and is ended by set_manifest_end(),
 * on which the writer is gone in any case. */
int set_manifest_begin(struct set_writer *w, struct manifest_head *head, struct manifest_writer **ret, struct err *err);
int set_manifest_end(struct set_writer *w, struct manifest_writer *m, const char *image_xxh128,
                     struct manifest_tail *ret_tail, struct err *err);
/* Instead of set_manifest_end(): the stream is not in the set, and may be begun anew. Its writer is gone. */
void set_manifest_drop(struct set_writer *w, struct manifest_writer *m);
/* Take a stream out again that was ended or taken over; it may be begun anew. One that is not there: nothing. */
void set_drop(struct set_writer *w, const struct stream_id *id);
/* Take stream @id over from @from as it is. Every chunk that it names is asked for in the index first: -ENOENT with a sentence when one is
 * missing: then the stream has to be read again. */
int set_reuse(struct set_writer *w, const struct set_info *from, const struct stream_id *id, struct err *err);
/* @name: [A-Za-z0-9._-], none of the names above. */
int set_file(struct set_writer *w, const char *name, const void *buf, size_t len, struct err *err);

/* store_flush(); each backing stream is in the set; set.txt, SHA256SUMS, signature; all synced, read back and checked; the repository is still
 * there; then the rename and the fsync of sets/. After a failure nothing of the set is there; call set_abort(). One exception, which the
 * sentence names: the last fsync failed, and the set may be gone after a power cut. */
int set_commit(struct set_writer *w, struct err *err);
/* Frees the writer, after a commit as well; an uncommitted set is deleted. NULL is allowed. */
void set_abort(struct set_writer *w);
static inline void set_abortp(struct set_writer **w)
{
    set_abort(*w);
}

#endif
