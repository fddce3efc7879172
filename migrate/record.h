/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a source says, in our words: one record a client row, whatever tables and columns it came from.
 *
 *   source tables -- mapping --> records (and global settings) -- plan --> catalog
 *
 * Order of calls: records_read(source, mapping, each, arg) streams them; site_record_read() gives what holds for the whole site.
 *
 * (1) A value is normalised or it is not there: what cannot be read keeps its raw text, and a doubt says why. Nothing is repaired.
 * (2) Raw texts are valid UTF-8 and may hold any character: escape them before they go to a terminal.
 * (3) Every row of the client table ends in exactly one record, also one without a MAC.
 */
#ifndef DISKGATE_MIGRATE_RECORD_H
#define DISKGATE_MIGRATE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"
#include "core/names.h"
#include "migrate/source.h"

struct mapping;
struct source;

#define RECORD_IMAGES_MAX 16
#define RECORD_RAW_MAX    1023         /* bytes; a longer text is cut and marked by "..." */
#define RECORD_REST_MAX   (896u << 10) /* bytes of a row that the report keeps */

enum mac_status {
    MAC_GOOD,
    MAC_LOCAL, /* locally administered: taken, with a note */
    MAC_EMPTY,
    MAC_BAD_FORM,
    MAC_ZERO,
    MAC_BROADCAST,
    MAC_MULTICAST,
};

/* How a path of the old server is written. */
enum path_kind {
    PATH_ABSOLUTE,       /* D:\Images\x.vhd */
    PATH_UNC,            /* \\NAS\images\x.vhd */
    PATH_ROOTED,         /* \Images\x.vhd */
    PATH_DRIVE_RELATIVE, /* D:x.vhd */
    PATH_RELATIVE,       /* x.vhd */
    PATH_DOTS,           /* has a ".." in it: never mapped */
    PATH_POSIX,          /* /srv/images/x.img */
    PATH_BROKEN,         /* control characters, no name, not a path */
};

struct record_image {
    char raw[RECORD_RAW_MAX + 1];
    char path[RECORD_RAW_MAX +
              1]; /* one spelling: forward slashes, drive letter upper case, no quotes or "\\?\"; empty when broken */
    char label[NAME_LEN + 1]; /* the name that the source gives the image, else empty */
    enum path_kind kind;
    bool is_data;     /* a data or game disk, not a boot image */
    bool is_dangling; /* raw is an id that no image has */
    int order;        /* 0.. as the source orders a client's images */
};

struct record {
    uint64_t row; /* of the client table, from 0 */
    char source_id[64];
    char raw_mac[RECORD_RAW_MAX + 1], mac[MAC_LEN + 1]; /* mac is empty unless MAC_GOOD or MAC_LOCAL */
    enum mac_status mac_status;
    char raw_name[RECORD_RAW_MAX + 1],
        name[NAME_LEN +
             1]; /* name: as Diskgate accepts it, else empty; made from raw_name by the rule of name_from_raw() */
    char ip[46], netmask[46], gateway[46],
        dns[96]; /* normalised, empty when there is none; dns: one or two, comma between them */
    char group[NAME_LEN + 1], raw_group[RECORD_RAW_MAX + 1];
    char comment[256];
    bool is_disabled;
    struct record_image images[RECORD_IMAGES_MAX];
    unsigned image_count;
    const char *
        rest; /* JSON object, for the report: every other column that is not empty, and what of the fields above is not whole; borrowed */
    const struct source_table *table;
    bool is_rest[SOURCE_COLUMNS_MAX]; /* columns of it that went into rest in this row or one before */
    unsigned rest_count;              /* number of them */
    char doubt[512];                  /* what could not be read, as sentences; empty when all could */
};

/* A name that name_check() accepts, made from @raw: transliteration is not tried; other characters become "-". False when nothing
 * usable is left (for example a Chinese name): the caller then uses the name "pc-" and the last six digits of the MAC. */
bool name_from_raw(const char *raw, char *ret);
/* Likewise of a group, and never empty for a @raw that is not: where letters were lost, six hex digits of what it is called stand behind the rest, so that
 * two groups do not become one. */
void group_from_raw(const char *raw, char *ret);

/* No record at all when the mapping has settings of the site and no table of clients. @each: as source_each. Errors as source_rows(), and -EINVAL when the mapping names what the source does not have. */
typedef int record_each(void *arg, const struct record *r);
int records_read(struct source *s, const struct mapping *m, record_each *each, void *arg, uint64_t *ret_rows,
                 struct err *err);

/* Global settings that the source has (DHCP options of the site), each empty when it has none. */
struct site_record {
    char netmask[46], gateway[46], dns[96], domain[128], range_first[46], range_last[46];
    char rest[65536]; /* JSON object of what else it has */
};
int site_record_read(struct source *s, const struct mapping *m, struct site_record *ret, struct err *err);

#endif
