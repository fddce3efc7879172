/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests: which chunks make a stream. A stream is one disk (a version of an image, a client's overlay) or the catalog.
 *
 *   diskgate-manifest 1
 *   repo 2f1c...                     one "key value" a line; keys as in struct manifest_head, those without a value are left out
 *   set 2026-11-22T130000Z-9a3e      the set that it was made for; a later set may hold the same file
 *   kind layer
 *   name win11
 *   number 2
 *   size 107374182400
 *   chunk 262144
 *   backing win11 1                  of the same set
 *   --
 *   0 6e23d5c1db7f0ce27aaf20144358cecc       chunk number, name; numbers that are missing are zeros
 *   17-40 inherit                            as in the backing stream
 *   41 6e23d5c1db7f0ce27aaf20144358cecc.1
 *   --
 *   image-xxh128 5e0c...             of the whole disk, backing included; where it was computed
 *   tree-sha256 77aa...              see below
 *   end 48 c0ff...                   lines above, XXH3-128 of all bytes above
 *
 * in one zstd frame, `kind-name-number.manifest.zst`. tree-sha256 is the SHA-256 of the lines between the two "--" with each chunk's name
 * replaced by its SHA-256 in hex: so it binds content, position and order, and awk and sha256sum can compute it.
 *
 * Writer: manifest_create, manifest_add/inherit in rising order, manifest_finish. Reader: manifest_open, manifest_next until 0.
 * A reader that got to the end without an error has read what the writer wrote; before the end nothing is certain.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_MANIFEST_H
#define DISKGATE_BACKUP_MANIFEST_H

#include "backup/chunk.h"
#include "core/hash.h"
#include "core/names.h"

#define SET_ID_LEN        23 /* "2026-11-22T130000Z-9a3e" */
#define MANIFEST_NAME_LEN (NAME_LEN + 40)
#define MANIFEST_TEXT_LEN 255
#define MANIFEST_SIZE_MAX (1ULL << 50) /* of a disk */

enum stream_kind { STREAM_BASE, STREAM_LAYER, STREAM_OVERLAY, STREAM_CATALOG };

/* "base", ...; NULL for what is no kind. */
const char *stream_kind_name(enum stream_kind k);

/* Which stream of a set. base, layer: image and version. overlay: client and slot. catalog: "catalog", 0. */
struct stream_id {
    enum stream_kind kind;
    char name[NAME_LEN + 1];
    uint32_t number;
};

/* base and layer are the same thing here: both are versions of an image. */
bool stream_id_equal(const struct stream_id *a, const struct stream_id *b);
/* As a person writes it: "win11@2", "pc01:0", "catalog". @ret: NAME_LEN + 16 bytes. */
void stream_id_text(const struct stream_id *id, char *ret);
/* "image-win11-2.manifest.zst", "client-pc01-0.manifest.zst", "catalog.manifest.zst". @ret: MANIFEST_NAME_LEN + 1 bytes. */
void stream_file_name(const struct stream_id *id, char *ret);

struct manifest_head {
    char repo[UUID_LEN + 1];
    char set[SET_ID_LEN + 1];
    struct stream_id id;
    uint64_t size_bytes;
    uint32_t chunk_bytes;
    bool has_backing; /* layer, overlay; a line "inherit" needs it */
    struct stream_id backing;
    /* What the next backup compares, to know an unchanged stream without reading it. "" and 0 = not recorded. */
    char identity[MANIFEST_TEXT_LEN + 1]; /* content identity of the version */
    char overlay_id[UUID_LEN + 1];
    char epoch_id[UUID_LEN + 1]; /* of the epoch map, and up to where it was read */
    uint64_t epoch;
    char source[MANIFEST_TEXT_LEN + 1]; /* how it was made: "scan", "map", "reused" */
    char label[MANIFEST_TEXT_LEN + 1];  /* the version's message; one line */
};

struct manifest_tail {
    char image_xxh128[HASH_HEX_LEN + 1]; /* "" = not computed */
    unsigned char tree_sha256[32];
    uint64_t chunks;  /* lines with a chunk */
    uint64_t inherit; /* chunks that the backing stream has */
};

/* --- writer ---------------------------------------------------------------------------------------------------------- */

struct manifest_writer;
/* Write to the open, empty file @fd (borrowed; the caller syncs it). @what names the file in sentences. -EINVAL when @head cannot be. */
int manifest_create(int fd, const char *what, const struct manifest_head *head, struct manifest_writer **ret,
                    struct err *err);
void manifest_destroy(struct manifest_writer *w);
static inline void manifest_destroyp(struct manifest_writer **w)
{
    manifest_destroy(*w);
}
/* Chunk number @n is @ref. Rising @n within the disk; ref->len is what the disk has there. A number that is left out is zeros. */
int manifest_add(struct manifest_writer *w, uint64_t n, const struct chunk_ref *ref, struct err *err);
/* Chunks [@n, @n + @count) are those of the backing stream. Runs that touch become one line. */
int manifest_inherit(struct manifest_writer *w, uint64_t n, uint64_t count, struct err *err);
/* @image_xxh128 may be NULL. *ret_tail may be NULL. */
int manifest_finish(struct manifest_writer *w, const char *image_xxh128, struct manifest_tail *ret_tail,
                    struct err *err);

/* --- reader ---------------------------------------------------------------------------------------------------------- */

enum { MANIFEST_END, MANIFEST_CHUNK, MANIFEST_INHERIT };

struct manifest_line {
    uint64_t n, count; /* chunks [n, n + count); count is 1 for MANIFEST_CHUNK */
    struct chunk_name name;
};

struct manifest_reader;
/* From @fd (taken in any case), from its beginning. -EBADMSG, -EOPNOTSUPP with a sentence. */
int manifest_open(int fd, const char *what, struct manifest_reader **ret, struct err *err);
void manifest_close(struct manifest_reader *m);
static inline void manifest_closep(struct manifest_reader **m)
{
    manifest_close(*m);
}
const struct manifest_head *manifest_head(const struct manifest_reader *m);
/* The next line: MANIFEST_CHUNK, MANIFEST_INHERIT, or MANIFEST_END when all is read and the check sum holds. Or a negative errno. */
int manifest_next(struct manifest_reader *m, struct manifest_line *ret, struct err *err);
/* After MANIFEST_END. */
const struct manifest_tail *manifest_tail(const struct manifest_reader *m);

/* --- the tree --------------------------------------------------------------------------------------------------------- */

/* Computes tree-sha256 beside a restore or a verify: feed it each line with the SHA-256 of what was really read. */
struct manifest_tree;
struct manifest_tree *manifest_tree_create(void); /* NULL without memory */
void manifest_tree_destroy(struct manifest_tree *t);
static inline void manifest_tree_destroyp(struct manifest_tree **t)
{
    manifest_tree_destroy(*t);
}
int manifest_tree_chunk(struct manifest_tree *t, uint64_t n, const unsigned char sha256[32]);
int manifest_tree_inherit(struct manifest_tree *t, uint64_t n, uint64_t count);
int manifest_tree_finish(struct manifest_tree *t, unsigned char ret[32]);

/* --- a whole manifest in memory ---------------------------------------------------------------------------------------- */

/* For random access (mount): 28 bytes a chunk that is not zero. */
struct manifest_map;
int manifest_map_load(int fd, const char *what, struct manifest_map **ret, struct err *err); /* takes @fd in any case */
void manifest_map_destroy(struct manifest_map *m);
static inline void manifest_map_destroyp(struct manifest_map **m)
{
    manifest_map_destroy(*m);
}
const struct manifest_head *manifest_map_head(const struct manifest_map *m);
const struct manifest_tail *manifest_map_tail(const struct manifest_map *m);
/* What is chunk @n? MANIFEST_CHUNK and *ret_name, MANIFEST_INHERIT, or MANIFEST_END for zeros. *ret_count: for how many chunks from @n on
 * that holds (1 for a chunk). */
int manifest_map_find(const struct manifest_map *m, uint64_t n, struct chunk_name *ret_name, uint64_t *ret_count);

#endif
