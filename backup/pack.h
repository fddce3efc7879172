/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packs: immutable files of many chunks, ordinary `.tar.zst` files that tar, bsdtar and zstd read.
 *
 *   packs/00/000017-1f0c9a3be2d44c01.tar.zst      folder = number / 256
 *   packs/00/000017-1f0c9a3be2d44c01.toc          the same table of contents as in the pack, beside it
 *
 *   [skippable frame: what this is]
 *   [frame: tar header of chunk 0][frame: chunk 0]([frame: padding, where the chunk is no multiple of 512])
 *   [frame: tar header of chunk 1][frame: chunk 1] ...
 *   [frame: tar header of TOC][frame: TOC text, padding, 1024 zeros]
 *   [skippable frame: zstd seek table of all frames]
 *
 * A chunk's own frame is exactly the chunk: pread(off, clen), decompress, done. docs/backup-format.md has the rest.
 *
 * (1) A pack is complete when it has its name in packs/: until then it lies in tmp/ and nothing refers to it.
 * (2) Its .toc comes after it. A pack without .toc is read by the TOC in it, one without a TOC by a scan of its frames.
 *
 * Order of calls of a writer: pack_create, (pack_reserve, pack_write)..., pack_finish; pack_destroy.
 *
 * Threads: pack_reserve() one at a time, pack_write() any number at once; the others one, with no write under way. Readers: any number.
 */
#ifndef DISKGATE_BACKUP_PACK_H
#define DISKGATE_BACKUP_PACK_H

#include "backup/chunk.h"
#include "backup/repo.h"

#define PACK_NUMBER_MAX 999999U
#define PACK_CHUNKS_MAX 65536U /* in one pack */
#define PACK_STEM_LEN   23     /* "000017-1f0c9a3be2d44c01" */

/* One line of a table of contents. */
struct pack_entry {
    struct chunk_ref ref;
    uint64_t off;  /* of the chunk's frame */
    uint32_t clen; /* of that frame */
};

struct pack_id {
    uint32_t number;
    char stem[PACK_STEM_LEN + 1];
};

/* "packs/00/STEM" with @ending (".tar.zst", ".toc") into @ret (64 bytes). */
void pack_path(const struct pack_id *id, const char *ending, char *ret);
/* "000017-1f0c9a3be2d44c01" + @ending and nothing else. 0 or -EINVAL. */
int pack_id_parse(const char *name, const char *ending, struct pack_id *ret);

/* --- one chunk, ready to be appended -------------------------------------------------------------------------------- */

/* Compresses chunks for packs: zstd contexts, a tar writer and buffers of one thread. */
struct pack_coder;
/* @level: zstd's, 1..19. NULL without memory. */
struct pack_coder *pack_coder_create(uint32_t chunk_bytes, int level);
void pack_coder_destroy(struct pack_coder *c);
/* Make the frames of @buf under the name in @ref; then decode them and compare with @buf. On success they lie in the coder until
 * the next call. 0; -EIO with a sentence when what was compressed does not decompress to the same bytes (broken memory). */
int pack_encode(struct pack_coder *c, const struct chunk_ref *ref, const void *buf, struct err *err);
/* Take frames as they lie in another pack: those of a chunk with @ref in @clen bytes. They are decoded and checked as well. */
int pack_encode_frame(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen,
                      struct err *err);
/* Decode one chunk's frame and check its length. 0; -EBADMSG. @buf holds ref->len bytes. */
int pack_inflate(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen, void *buf);
/* And its XXH3-128. */
int pack_decode(struct pack_coder *c, const struct chunk_ref *ref, const void *frame, uint32_t clen, void *buf);

/* --- writer --------------------------------------------------------------------------------------------------------- */

struct pack_writer;
int pack_create(struct repo *r, uint32_t number, struct pack_writer **ret, struct err *err);
void pack_destroy(struct pack_writer *w); /* an unfinished pack is deleted */
const struct pack_id *pack_writer_id(const struct pack_writer *w);
/* Give what @c holds its place in the pack, without any I/O. *ret: where. */
int pack_reserve(struct pack_writer *w, const struct pack_coder *c, struct pack_entry *ret);
/* Write it there. After a failure the pack is lost: pack_finish() fails, too. */
int pack_write(struct pack_writer *w, const struct pack_coder *c, const struct pack_entry *e, struct err *err);
/* Longest frame of a chunk in any repository. */
size_t pack_frame_max(void);

uint64_t pack_writer_bytes(const struct pack_writer *w); /* so far */
int pack_writer_fd(const struct pack_writer *w);         /* for reading back what was appended; borrowed */
size_t pack_writer_count(const struct pack_writer *w);
/* TOC, trailer, fdatasync, rename into packs/, fsync of the folder; then the .toc in the same way. */
int pack_finish(struct pack_writer *w, struct err *err);

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* What is called for each line of a table of contents. 0 or a negative errno, which ends it. */
typedef int pack_entry_fn(void *arg, const struct pack_entry *e);

/* A .toc text in memory: strict, every number checked against @pack_bytes, the length of the pack. *ret_id: whose it is.
 * -EBADMSG, -EOPNOTSUPP with a sentence. */
int toc_decode(const char *text, size_t len, uint64_t pack_bytes, const char *repo_id, struct pack_id *ret_id,
               pack_entry_fn *fn, void *arg, struct err *err);
/* The entries of pack @id: from the .toc; where that is missing or damaged, from the pack's own TOC; else by a scan of all frames (then each
 * chunk is decoded and hashed). *ret_how: PACK_FROM_*. */
enum { PACK_FROM_TOC_FILE, PACK_FROM_PACK, PACK_FROM_SCAN };
int pack_entries(struct repo *r, const struct pack_id *id, pack_entry_fn *fn, void *arg, int *ret_how, struct err *err);
/* Only the scan: what is really there, chunk by chunk. Frames that cannot be decoded are counted in *ret_bad and skipped. */
int pack_scan(int fd, const char *name, const struct repo_format *format, pack_entry_fn *fn, void *arg,
              uint64_t *ret_bad, struct err *err);
/* What the skippable frame at the head of a pack says: the repository's and the pack's names. */
int pack_head_decode(const unsigned char *bytes, size_t len, struct repo_format *ret_format, struct pack_id *ret_id,
                     struct err *err);
/* The head of the pack in packs/ with this name, which it must have itself. 0 or a negative errno. */
int pack_head_read(struct repo *r, const struct pack_id *id, struct repo_format *ret);
/* Write the .toc of a pack anew from its entries. */
int pack_toc_restore(struct repo *r, const struct pack_id *id, struct err *err);

/* All packs in packs/, by rising number; *ret to be free()d. What is no pack is left alone. An unreadable folder is an error, never an empty
 * list. */
int pack_list(struct repo *r, struct pack_id **ret, size_t *ret_n, struct err *err);
/* Likewise of the files with another ending (".toc"). */
int pack_list_files(struct repo *r, const char *ending, struct pack_id **ret, size_t *ret_n, struct err *err);

#endif
