/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images that a source speaks of: each path once, which file it is here, and what becomes of it.
 *
 *   paths of the records -> intern -> resolve -> KNOWN    an image of the catalog already
 *                                                ADD      a file that becomes an image
 *                                                MISSING  no file was found: clients stay unlinked, with a proposal
 *                                                REFUSED  there is a file, and it cannot be served: why, and the way out
 *                                                REMOVED  an earlier import made it an image, and it was removed here since
 *
 * Order of calls:
 *   images_intern()                    once for each path of each record
 *   images_resolve()                   looks for files; asks `diskgate image add --file-only -n` what they are
 *   images_make()                      copies and conversions, before the transaction (staging.h)
 *   images_store()                     inside the transaction: image rows and what the next import needs
 *
 * Two spellings of one path (case, slashes) are one image. Never more than IMAGES_MAX: a site has some dozens.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_MIGRATE_IMAGES_H
#define DISKGATE_MIGRATE_IMAGES_H

#include <jansson.h>

#include "core/catalog-import.h"
#include "migrate/paths.h"
#include "migrate/record.h"

struct staging;
struct progress;

#define IMAGES_MAX    5000
#define CHAIN_MAX     32
#define PROPOSALS_MAX 20

enum site_outcome { SITE_OPEN, SITE_KNOWN, SITE_ADD, SITE_MISSING, SITE_REFUSED, SITE_REMOVED };
const char *site_outcome_name(enum site_outcome o);

struct site_image {
    char key[RECORD_RAW_MAX + 1], raw[RECORD_RAW_MAX + 1], path[RECORD_RAW_MAX + 1];
    char label[NAME_LEN + 1];
    enum path_kind kind;
    uint64_t boots, datas;       /* rows that use it so */
    uint64_t size_min, size_max; /* bytes that the source says it has; 0 = it does not say */
    char size_said[64];          /* as it says it, with the column's name */
    size_t same_name;            /* files of this name, of which it was chosen by its size; 0 = it was not */
    enum site_outcome outcome;
    char file[PATH_MAX]; /* here; empty = none */
    char name[NAME_LEN + 1];
    char note[640];     /* a sentence */
    char how[80];       /* "adopted where it lies", "converted into the root" */
    json_t *parents;    /* files of a chain of differencing disks, from the nearest to the base */
    json_t *candidates; /* files of that name that were found, where none was taken */
    bool needs_file;    /* the root gets a file of its own */
    bool is_mapped;     /* a rule fitted, and nothing was there */
    bool is_data;
    bool has_no_room;        /* note says what is missing where; nothing is imported then */
    bool is_dangling;        /* raw is an id that no image of the source has */
    struct site_image *same; /* another path that led to the same file first; borrowed */
    const char *rival; /* another path of the source with this file name, in another folder; borrowed, NULL = none */
    struct version_row version;
    int64_t source_id, image_id;
};

struct site_images {
    struct site_image **list;
    size_t n;
    uint32_t *slots; /* hash table: number + 1 of the image */
    size_t slot_count;
    uint32_t last[64]; /* by hash of a path: number + 1 of the image that had it */
};

struct image_search {
    const char *root;
    struct path_rules rules;
    const char *const *dirs; /* --search, ended by NULL */
    const char *beside;      /* folder of the source's file, for proposals */
    bool with_differences;   /* take a base although numbered differences lie beside it */
    bool is_quiet;
    struct progress *progress; /* of all files that are made, in bytes of their disks; NULL = nobody looks */
};

void images_finish(struct site_images *s);
/* The number of the image in s->list; -E2BIG with a sentence. */
int images_intern(struct site_images *s, const struct record_image *image, struct err *err);

int images_resolve(struct site_images *s, struct catalog *c, const struct image_search *how, struct err *err);
/* Make the files that SITE_ADD needs; what was made is noted in the staging file first. */
int images_make(struct site_images *s, const struct image_search *how, struct staging *st, struct err *err);
/* Rows of images and of their paths. In a dry run files that are not made yet are taken as they will be. */
int images_store(struct site_images *s, struct import *im, struct catalog *c, struct err *err);

/* One row of the report. */
json_t *site_image_json(const struct site_image *i);

#endif
