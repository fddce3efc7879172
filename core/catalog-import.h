/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog's part of an import: rows of a foreign source wait beside the catalog, are compared with it, and become clients.
 *
 *   source rows -> stage (temporary tables) -> plan: one fate a row -> apply -> one run, which can be undone
 *
 * Order of calls, all on one catalog that was opened for writing:
 *   import_open(c, origin) -> im
 *     import_row_add(im, row) ..., import_stage_end(im, duplicates)                              no lock is held meanwhile
 *   import_begin(im)
 *     import_source_register(im, ...), image_add(c, ...), import_source_link(im, ...)            image paths of the source
 *     import_plan_begin(im)            names and addresses that are taken; clients that are gone from the source
 *     import_told_begin(im)            from here on another thread may tell the rows
 *     import_each(im, IMPORT_OPEN)  -> import_known(), import_row_plan()                         the caller compares
 *     import_names(im)                 names and addresses are given, in the order of the rows
 *     import_told_end(im)
 *     import_apply(im, run)            everything that the plan says
 *     import_run_end(im, run, ...)     the one audit row
 *   catalog_commit(c), or catalog_rollback(c): then the stage is as it was before import_begin()
 *   import_close(im)                   before catalog_close()
 *
 * (1) Every staged row has exactly one fate in the end.
 * (2) For each client of an import two states are kept: what the source said, and what was stored here. So the next import can tell what
 *     changed there from what changed here (handbook: three-way comparison). They are kept for each origin ("ccboot", "csv", ...).
 * (3) A run that is undone leaves every client, link and image as it was before, or nothing changes and the obstacles are named.
 * (4) Rows wait in temporary files (spool.h, and tables of SQLite for what has to be found), so memory does not grow with their number.
 *
 * Threads: one at a time per catalog, but for import_each_told() with is_behind.
 */
#ifndef DISKGATE_CORE_CATALOG_IMPORT_H
#define DISKGATE_CORE_CATALOG_IMPORT_H

#include <jansson.h>

#include "core/catalog.h"

/* What an import knows of a client, all as text in one spelling. */
enum import_field {
    IMPORT_NAME,
    IMPORT_IP,
    IMPORT_NETMASK,
    IMPORT_GATEWAY,
    IMPORT_DNS,
    IMPORT_GROUP,
    IMPORT_COMMENT,
    IMPORT_DISABLED, /* "1" or empty */
    IMPORT_LINKS,    /* "0:12,1:7": slot:image id, by slot; "0:12@3" where it is pinned */
    IMPORT_IMAGES,   /* paths of the source, "b3,d5": b = boots, d = data, id of import_source_register() */
    IMPORT_FIELDS
};
#define IMPORT_FIELD_LEN 319

struct import_values {
    char f[IMPORT_FIELDS][IMPORT_FIELD_LEN + 1];
};

const char *import_field_name(enum import_field f); /* "name", "ip", ... as the report calls it */
void import_values_clear(struct import_values *v);
void import_values_copy(struct import_values *to, const struct import_values *from);
/* True if all fields are the same. */
bool import_values_equal(const struct import_values *a, const struct import_values *b);

enum import_fate {
    IMPORT_OPEN, /* not decided yet */
    IMPORT_NEW,
    IMPORT_CHANGED,
    IMPORT_UNCHANGED,
    IMPORT_KEPT, /* the source says something else, and what was edited here stays */
    IMPORT_CONFLICT,
    IMPORT_SKIPPED,
    IMPORT_FATES
};
const char *import_fate_name(enum import_fate f); /* "imported", "changed", "unchanged", "kept-local", ... */

struct import_row {
    uint64_t row; /* of the source, from 0 */
    char source_id[64];
    char mac[MAC_LEN + 1];            /* empty where there is none: then fate is set */
    char raw_mac[256], raw_name[256]; /* as the source writes them, cut */
    struct import_values src;         /* what the source says; IMPORT_LINKS is empty */
    const char *rest, *doubt;         /* for the report, borrowed */
    enum import_fate fate;
    char reason[512];
    /* Of a planned row: */
    const char *detail; /* JSON array of {"field","old","new"} and {"field","here","source"} */
    int64_t client_id;  /* 0 = not there yet */
    struct import_values want;
    struct import_values
        given; /* what the next import compares the client with: want, but for what was edited here. Not of import_each() */
};

/* What the catalog holds for a MAC. */
struct import_known {
    int64_t client_id; /* 0 = no such client */
    struct import_values now;
    enum overlay_mode mode;
    bool is_tracked; /* this origin imported it before */
    bool is_gone;    /* and it was missing in the import before this one */
    int64_t tracked_id;
    bool has_other_mac; /* that client is still here and got another MAC */
    struct import_values src, given;
};

struct import;

int import_open(struct catalog *c, const char *origin, struct import **ret, struct err *err);
void import_close(struct import *im); /* NULL is allowed */
static inline void import_closep(struct import **im)
{
    import_close(*im);
}

/* --- stage -------------------------------------------------------------------------------------------------------- */

enum import_duplicates { IMPORT_DUP_CONFLICT, IMPORT_DUP_FIRST, IMPORT_DUP_LAST };

int import_row_add(struct import *im, const struct import_row *row, struct err *err);
/* Find rows with the same MAC or the same name. Rows that say the same twice are one: the later ones are skipped. */
int import_stage_end(struct import *im, enum import_duplicates policy, struct err *err);

/* catalog_begin(), or catalog_begin_bulk() where most of the catalog is going to be new. @is_final: the transaction is meant to be committed. */
int import_begin(struct import *im, bool is_final, struct err *err);

/* --- image paths of the source ------------------------------------------------------------------------------------ */

struct import_source {
    int64_t id;
    int64_t image_id; /* image that it became, 0 = none yet; the image may be gone from the catalog again */
    bool is_image_here;
};

/* -ENOENT without a sentence when no import has seen @key. */
int import_source_get(struct catalog *c, const char *key, struct import_source *ret, struct err *err);
int import_source_register(struct import *im, const char *key, const char *raw, struct import_source *ret,
                           struct err *err);
/* The path that import_source_register() got for @id, or the name of image @id, into @ret; empty when it is not here any more. */
int import_source_raw(struct catalog *c, int64_t id, char *ret, size_t size, struct err *err);
int import_image_name(struct catalog *c, int64_t id, char *ret, size_t size, struct err *err);
/* @is_added: the image was made by this import, and an undo takes it away again. */
int import_source_link(struct import *im, int64_t source_id, int64_t image_id, bool is_added, struct err *err);

/* --- plan --------------------------------------------------------------------------------------------------------- */

int import_run_begin(struct import *im, const char *source, const char *sha256, int64_t *ret_id, struct err *err);
int import_plan_begin(struct import *im, struct err *err);

typedef int import_each_fn(void *arg, struct import_row *row, struct err *err);
/* Rows of one fate, in order. IMPORT_OPEN: those that the stage left open, planned or not. The row is @each's until it returns: a copy of what
 * is stored. */
int import_each(struct import *im, enum import_fate fate, import_each_fn *each, void *arg, struct err *err);
/* Planned rows of @fate that have a reason which does not begin with @but. Only what is planned is told: no doubt, nothing as the source writes it. */
int import_each_remark(struct import *im, enum import_fate fate, const char *but, import_each_fn *each, void *arg,
                       struct err *err);

/* A row as a report tells it. Texts are there until the callback returns. */
struct import_text {
    const char *text; /* no zero byte behind it */
    size_t len;
};
struct import_told {
    uint64_t row;
    enum import_fate fate;
    bool is_planned;
    const char *mac, *raw_mac, *raw_name, *source_id, *reason, *detail, *doubt, *rest;
    const char *images;                       /* src.f[IMPORT_IMAGES] */
    struct import_text values[IMPORT_FIELDS]; /* what is wanted; what the source says where nothing is */
};
typedef int import_told_fn(void *arg, const struct import_told *row, struct err *err);
/* All rows in order. */
int import_each_told(struct import *im, bool is_behind, import_told_fn *each, void *arg, struct err *err);

/* Between these two calls the plan is made. *@ret: true if import_each_told() needs nothing but the import's own files. Then one other thread may
 * call it with @is_behind, at any time up to import_plan_begin() of another plan or import_close(): it goes along with the plan and returns when that
 * is whole, or with -ECANCELED. import_told_end() must come in any case, with false where there will be no plan. */
int import_told_begin(struct import *im, bool *ret, struct err *err);
int import_told_end(struct import *im, bool is_whole, struct err *err);

int import_known(struct import *im, const char *mac, struct import_known *ret, struct err *err);
/* Store fate, reason, detail, client_id, src, want and given, once for each open row and in their order; @known is what import_known() said.
 * @row may get another name or address here. */
int import_row_plan(struct import *im, struct import_row *row, const struct import_known *known, struct err *err);

/* True if no row of the source has a MAC that is known here: all that is planned becomes new clients. */
bool import_knows_none(const struct import *im);
/* Then, instead of import_known() and import_row_plan(): the client is as src says, but for the name in want, and what @row gets instead. */
int import_row_plan_new(struct import *im, struct import_row *row, struct err *err);

/* Give names and addresses to new clients and those that get another one. A name that is taken gets "-2", "-3", ...; an address that is taken
 * is left out. A client that is gone from the source and was not edited here makes way: its name gets "-gone". */
int import_names(struct import *im, struct err *err);

int import_counts(struct import *im, uint64_t counts[static IMPORT_FATES], uint64_t *ret_rows, struct err *err);

struct import_gone {
    int64_t client_id;
    char mac[MAC_LEN + 1], name[NAME_LEN + 1], new_name[NAME_LEN + 1]; /* new_name: empty = it keeps its name */
    bool loses_ip;
};
/* Clients that this origin once had and the source does not have any more, those that are new in this state and those that make way. */
int import_gone_list(struct import *im, struct import_gone **ret, size_t *ret_n, struct err *err);

/* --- apply -------------------------------------------------------------------------------------------------------- */

/* Make clients, links and what the next import needs. No audit rows. */
int import_apply(struct import *im, struct err *err);
/* While off, the catalog's writers leave no audit rows: the import leaves one in the end. */
void import_audit_off(struct catalog *c, bool is_off);
/* Take @summary into the run and write its audit row. */
int import_run_end(struct import *im, json_t *summary, struct err *err);

/* --- runs --------------------------------------------------------------------------------------------------------- */

struct import_run_row {
    int64_t id;
    char at[TIME_LEN + 1], origin[16], source[512];
    bool is_undone;
};
int import_run_list(struct catalog *c, struct import_run_row **ret, size_t *ret_n, struct err *err);

/* Take run @id back inside a transaction. 0; -ENOENT; -EBUSY when something depends on it: *ret_obstacles is then an array of sentences.
 * *ret_files: paths below the root that no row refers to any more, to be deleted after the commit. */
int import_undo(struct catalog *c, int64_t id, json_t **ret_obstacles, json_t **ret_files, struct err *err);

#endif
