/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verify: is what was backed up still there, and still what it was?
 *
 *   quick          all files of each set by SHA256SUMS, all manifests, that every chunk they name is in a pack, heads, tables and lengths of packs
 *   data           and every chunk of the packs is read, decoded, its XXH3-128 and SHA-256 compared; packs that were verified longest ago first
 *   image          and every disk of one set is put together, its tree of SHA-256 and its XXH3-128 compared
 *   restore-test   and its file systems are checked (verify-test.h)
 *
 * A time or a share may be given for `data`: at least one pack is read, and only whole ones. When a pack was read is noted in
 * marks.txt, so the next run goes on with the others. The report says what was read and what was not.
 *
 * A bad chunk is noted in bad.txt (badlist.h) and its bytes are copied to quarantine/; the next backup that has it stores it again, and older sets are whole
 * again by its name. Nothing is ever deleted. A repository that cannot be written to is verified all the same, and nothing is noted.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_BACKUP_VERIFY_H
#define DISKGATE_BACKUP_VERIFY_H

#include <jansson.h>

#include "backup/marks.h"
#include "backup/restore-crew.h"

struct verify_params {
    const char *repo;
    const char *set;      /* NULL = all; for image and restore-test then the newest that can be used */
    const char *key_file; /* whose signature the sets must have; may be NULL */
    enum verify_level level;
    int64_t max_time_s; /* 0 = none */
    unsigned percent;   /* of the bytes of packs; 0 = all */
    int wait_ms;
};

struct verify_report {
    uint64_t sets, sets_damaged;
    uint64_t manifest_chunks;        /* lines of manifests that name a chunk */
    uint64_t packs, packs_read;      /* in question; read completely */
    uint64_t pack_bytes, read_bytes; /* of those packs; of chunks that were read from them */
    uint64_t chunks_read, chunks_bad, chunks_missing, chunks_healed; /* healed: bad here, and whole in a later pack */
    uint64_t disks, disk_bytes;                                      /* image: put together */
    int64_t oldest_s; /* when the pack was read that was read longest ago; 0 = never */
    bool is_noted;
    json_t *problems; /* sentences */
    json_t *affected; /* {"set", "stream", "chunks"} */
    json_t *tests;    /* of restore-test: {"stream", "part", "file_system", "result", "detail"} */
};

/* 0: verified, damage is in the report. A negative errno with a sentence: it could not be. verify_report_finish() in any case. */
int verify_run(const struct work *work, const struct verify_params *p, struct verify_report *ret, struct err *err);
void verify_report_finish(struct verify_report *r);
/* True if anything is not as it must be. */
bool verify_found_damage(const struct verify_report *r);

#endif
