/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A look at the files of one overlay, without changing any: map file, live map, data file, journal.
 *
 * Each file is looked at by itself, so damage of one does not hide the others. Works while diskgate-fs serves: the map file is read
 * before the live map, which then knows all that the map file does.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_GATEWAY_OVERLAY_LOOK_H
#define DISKGATE_GATEWAY_OVERLAY_LOOK_H

#include "core/catalog.h"
#include "core/journal.h"
#include "core/livemap.h"
#include "core/mapfile.h"

/* Runs of one commit of the journal. */
struct look_commit {
    uint64_t number;
    struct map_run *runs;
    size_t n;
};

/* 0, or a negative errno with its sentence; -ENOENT: there is no such file. */
struct look_code {
    int code;
    struct err err;
};

struct overlay_look {
    struct map_stamp stamp; /* what the catalog asks for */
    char dir[OVERLAY_DIR_LEN + 16], map_name[16], data_name[16], live_name[UUID_LEN + 8];
    struct look_code map_file, live_map, data_file, journal;
    struct mapfile_info info;    /* of the map file, where code is 0 */
    struct livemap *map, *live;  /* NULL where the code is not 0 */
    bool is_served, is_used;     /* diskgate-fs runs; the data file says that it was changed */
    bool is_marked;              /* it has had files (core/keptmark.h) */
    uint64_t data_bytes;         /* that the data file occupies */
    struct journal_found found;  /* in all of the journal */
    struct look_commit *commits; /* of this overlay */
    size_t count;
};

/* 0, or a negative errno with a sentence when nothing can be said at all. */
int overlay_look(const char *root, struct catalog *c, const struct view_row *view, struct overlay_look *ret,
                 struct err *err);
void overlay_look_finish(struct overlay_look *l);

#endif
