/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files verify*.c share.
 *
 * Threads: one, but where something else is said.
 */
#ifndef DISKGATE_BACKUP_VERIFY_PRIV_H
#define DISKGATE_BACKUP_VERIFY_PRIV_H

#include "backup/badlist.h"
#include "backup/verify.h"
#include "core/util.h"

struct verify_set {
    struct set_info *info;
    bool is_damaged;
    unsigned char *packs; /* packs[i] != 0: pack number i of verify.packs holds chunks of it */
};

struct verify_pack {
    struct pack_id id;
    uint64_t bytes;     /* of the file */
    int64_t verified_s; /* from the marks, then of this run */
    bool is_bad, is_read;
    size_t place; /* in the index's list, for verify_set.packs */
};

struct bad_copy {
    struct chunk_name name;
    struct pack_id pack;
    uint64_t off;
    uint32_t clen;
};

struct verify {
    const struct verify_params *p;
    const struct work *work;
    struct verify_report *report;
    struct reader *reader;
    struct set_info *infos;
    size_t n_infos;
    struct verify_set *sets;
    size_t n_sets;
    struct verify_pack *packs; /* in the order in which they are read */
    size_t n_packs;
    struct bad_copy *bad;
    size_t n_bad;
};

/* A problem for the report; damage that is found is never a failure of the verify. */
void verify_problem(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Step quick, of all sets. */
int verify_sets(struct verify *v, struct err *err);
/* Again, after chunks were found bad: which sets and disks need them. */
int verify_affected(struct verify *v, struct err *err);
/* The list of packs, with heads and lengths checked. */
int verify_list_packs(struct verify *v, struct err *err);
/* Step data. */
int verify_packs(struct verify *v, struct err *err);
/* Step image, of the set @s. */
int verify_images(struct verify *v, const struct verify_set *s, struct err *err);
/* marks.txt, bad.txt, quarantine/. */
void verify_note(struct verify *v);

#endif
