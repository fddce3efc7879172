/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files pack*.c share: the coder's frames, and the bytes that zstd's frames begin with.
 *
 * Threads: see pack.h.
 */
#ifndef DISKGATE_BACKUP_PACK_PRIV_H
#define DISKGATE_BACKUP_PACK_PRIV_H

#include <archive.h>
#include <zstd.h>

#include "backup/pack.h"
#include "backup/text.h"

#define TAR_BLOCK 512U

/* Frames that zstd's decoder skips: magic 0x184D2A50..5F, length, bytes. Ours at the head, and zstd's seek table, which is the last. */
#define SKIPPABLE_HEAD_MAGIC 0x184D2A50U
#define SEEK_TABLE_MAGIC     0x184D2A5EU
#define SEEKABLE_MAGIC       0x8F92EAB1U
#define ZSTD_FRAME_MAGIC     0xFD2FB528U
#define PACK_HEAD_BYTES      512U /* the whole first frame */
#define SEEK_FOOTER_BYTES    9U

enum { FRAME_HEADER, FRAME_CHUNK, FRAME_PADDING, FRAMES };

struct pack_coder {
    uint32_t chunk_bytes;
    int level;
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
    struct archive *tar;
    unsigned char *frames;  /* those of one chunk, one behind the other */
    unsigned char *decoded; /* for the comparison */
    size_t room;
    struct chunk_ref ref;
    size_t len[FRAMES], raw[FRAMES];     /* of each frame; 0 = there is none */
    unsigned char header[2 * TAR_BLOCK]; /* what the tar writer gave for the entry, without the data */
    size_t header_len, padding;
    const void *data; /* the entry's data, which is not copied */
};

/* Frames of a tar entry @name with @len bytes of @data, into the coder. @tail: zeros behind the padding. */
int coder_entry(struct pack_coder *c, const char *name, const void *data, size_t len, size_t tail, struct err *err);
size_t coder_bytes(const struct pack_coder *c);

/* The head frame of a pack, PACK_HEAD_BYTES. */
void pack_head_encode(const struct repo_format *f, const struct pack_id *id, unsigned char *ret);

/* The text of a .toc from its entries. */
struct toc_out {
    struct text_out text;
};
int toc_begin(struct toc_out *t, const char *repo_id, const struct pack_id *id);
void toc_line(struct toc_out *t, const struct pack_entry *e);

/* The name of chunk @ref's tar entry, out of a tar header. 0; -EBADMSG. */
int tar_header_decode(const unsigned char *header, size_t len, char *ret_name, size_t room, uint64_t *ret_size);

#define TOC_TEXT_MAX (PACK_CHUNKS_MAX * 160ULL + 4096)

#endif
