/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: who gets which name and address; see catalog-import.h.
 *
 *   name or address    is given to
 *   free               who asks first, in the order of the rows
 *   strong             nobody else: its client is here and stays as it is
 *   weak               who asks: its client is gone from the source and was not edited here
 *
 * Clients that get another name have given their old one back before the first new one is given, so two may exchange theirs.
 *
 * The last number given behind a name is kept in memory, in a table of a fixed size; what has no place there goes to import_suffix. A number
 * that is forgotten costs time only: whether a name is free says import_name.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define NAMES_MAX      10000000
#define SUFFIXES       16384 /* a power of two; together little more than 1 MiB */
#define SUFFIXES_TRIED 8

/* --- numbers behind names ----------------------------------------------------------------------------------------- */

struct suffix {
    char base[NAME_LEN + 16];
    unsigned next;
};

static size_t suffix_hash(const char *base)
{
    uint32_t h = 2166136261u; /* FNV-1a, without regard to case */
    for (; *base; base++)
        h = (h ^ ((unsigned char)*base | 0x20)) * 16777619u;
    return h ^ h >> 15;
}

/* The place of @base, or one that is empty, or the first one that could be its. */
static struct suffix *suffix_place(struct import *im, const char *base)
{
    size_t at = suffix_hash(base);
    for (size_t i = 0; i < SUFFIXES_TRIED; i++) {
        struct suffix *s = &im->suffixes[(at + i) % SUFFIXES];
        if (!*s->base || strcasecmp(s->base, base) == 0)
            return s;
    }
    return &im->suffixes[at % SUFFIXES];
}

int import_suffix_forget(struct import *im, struct err *err)
{
    free(im->suffixes);
    im->are_suffixes_kept = false;
    im->suffixes = calloc(SUFFIXES, sizeof(*im->suffixes));
    return im->suffixes ? db_exec(im->c, "DELETE FROM import_suffix", err) : err_sys(err, -ENOMEM, "cannot give names");
}

/* True only if @base is taken, by one who keeps it. */
static bool has_suffix(struct import *im, const char *base)
{
    return strcasecmp(suffix_place(im, base)->base, base) == 0;
}

int import_suffix(struct import *im, const char *base, unsigned first, unsigned *ret, struct err *err)
{
    const struct suffix *s = suffix_place(im, base);
    int64_t next = first;
    int r = 0;
    if (strcasecmp(s->base, base) == 0)
        next = s->next;
    else if (im->are_suffixes_kept)
        r = import_number_kept(im, "SELECT next FROM import_suffix WHERE base = ?", ARGS(T(base)), &next, err);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret = next > first ? (unsigned)next : first;
    return 0;
}

int import_suffix_used(struct import *im, const char *base, unsigned n, struct err *err)
{
    struct suffix *s = suffix_place(im, base);
    int r = 0;
    if (*s->base && strcasecmp(s->base, base) != 0) {
        im->are_suffixes_kept = true;
        r = import_run_kept(im, "INSERT OR REPLACE INTO import_suffix (base, next) VALUES (?, ?)",
                            ARGS(T(s->base), N(s->next)), err);
    }
    (void)snprintf(s->base, sizeof(s->base), "%s", base);
    s->next = n + 1;
    return r;
}

/* --- names and addresses ------------------------------------------------------------------------------------------ */

struct holder {
    int64_t client_id;
    bool is_weak;
};

static void fill_holder(sqlite3_stmt *st, void *row)
{
    struct holder *h = row;
    h->client_id = sqlite3_column_int64(st, 0);
    h->is_weak = sqlite3_column_int(st, 1) != 0;
}

static int find_name(struct import *im, const char *name, struct holder *ret, struct err *err)
{
    return import_one_kept(im, "SELECT client_id, is_weak FROM import_name WHERE name = ?", ARGS(T(name)), fill_holder,
                           ret, err);
}

int import_take_if_free(struct import *im, const char *sql, const char *value, int64_t owner, struct err *err)
{
    int r = import_run_kept(im, sql, ARGS(T(value), N(owner)), err);
    return r < 0 ? r : sqlite3_changes(im->c->db) > 0;
}

static const char take_name[] =
    "INSERT INTO import_name (name, client_id, is_weak) VALUES (?, ?, 0) ON CONFLICT DO NOTHING";
static const char take_ip[] = "INSERT INTO import_ip (ip, client_id, is_weak) VALUES (?, ?, 0) ON CONFLICT DO NOTHING";

/* "@base@tail", or that with a number, whichever is nobody's: it is @owner's now. */
static int give_free_name(struct import *im, const char *base, const char *tail, unsigned first, int64_t owner,
                          char *ret, struct err *err)
{
    char stem[NAME_LEN + 16], end[32];
    unsigned n;
    (void)snprintf(stem, sizeof(stem), "%s%s", base, tail);
    int r = import_suffix(im, stem, first, &n, err);
    for (; r == 0 && n < NAMES_MAX; n++) {
        (void)snprintf(end, sizeof(end), n == 1 ? "%s" : "%s-%u", tail, n);
        (void)snprintf(ret, NAME_LEN + 1, "%.*s%s", (int)(NAME_LEN - strlen(end)), base, end);
        r = import_take_if_free(im, take_name, ret, owner, err);
        if (r > 0)
            return import_suffix_used(im, stem, n, err);
    }
    return r < 0 ? r : err_set(err, -EEXIST, "every name that begins with '%s' is taken", base);
}

static int store_name(struct import *im, const char *name, int64_t owner, struct err *err)
{
    return import_run_kept(im, "INSERT OR REPLACE INTO import_name (name, client_id, is_weak) VALUES (?, ?, 0)",
                           ARGS(T(name), N(owner)), err);
}

/* The client that is gone makes way for its successor. */
static int push_aside(struct import *im, int64_t gone_id, const char *name, struct err *err)
{
    char other[NAME_LEN + 1];
    int r = give_free_name(im, name, "-gone", 1, gone_id, other, err);
    return r < 0 ? r
                 : import_run_kept(im, "UPDATE import_gone SET new_name = ? WHERE client_id = ?",
                                   ARGS(T(other), N(gone_id)), err);
}

static void add_reason(struct import_row *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_reason(struct import_row *row, const char *fmt, ...)
{
    size_t n = strlen(row->reason);
    if (n > 0 && n + 2 < sizeof(row->reason)) {
        memcpy(row->reason + n, "; ", 3);
        n += 2;
    }
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(row->reason + n, sizeof(row->reason) - n, fmt, ap); /* names and addresses are short */
    va_end(ap);
}

/* Another has @name, which becomes the one that is given instead. */
static int give_other_name(struct import *im, struct import_row *row, char *name, int64_t owner, struct err *err)
{
    char taken[NAME_LEN + 1];
    strcpy(taken, name);
    int r = give_free_name(im, taken, "", 2, owner, name, err);
    if (r == 0)
        add_reason(row, "called '%s' here, for '%s' is taken", name, taken);
    return r;
}

static int give_taken_name(struct import *im, struct import_row *row, char *name, int64_t owner, struct err *err)
{
    struct holder h;
    int r = find_name(im, name, &h, err);
    if (r < 0 || (!h.is_weak && h.client_id == owner))
        return r;
    if (!h.is_weak)
        return give_other_name(im, row, name, owner, err);
    r = push_aside(im, h.client_id, name, err);
    return r < 0 ? r : store_name(im, name, owner, err);
}

static int give_name(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    char name[NAME_LEN + 1];
    (void)snprintf(name, sizeof(name), "%.*s", NAME_LEN, row->want.f[IMPORT_NAME]);
    int r = has_suffix(im, name) ? 0 : import_take_if_free(im, take_name, name, owner, err);
    if (r == 0)
        r = has_suffix(im, name) ? give_other_name(im, row, name, owner, err)
                                 : give_taken_name(im, row, name, owner, err);
    strcpy(row->want.f[IMPORT_NAME], name);
    strcpy(row->given.f[IMPORT_NAME], name);
    return MIN(r, 0);
}

static int give_ip(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    struct holder h;
    char *ip = row->want.f[IMPORT_IP];
    if (!*ip)
        return 0;
    int r = import_take_if_free(im, take_ip, ip, owner, err);
    if (r != 0)
        return MIN(r, 0);
    r = import_one_kept(im, "SELECT client_id, is_weak FROM import_ip WHERE ip = ?", ARGS(T(ip)), fill_holder, &h, err);
    if (r == 0 && h.is_weak) {
        r = import_run_kept(im, "UPDATE import_gone SET loses_ip = 1 WHERE client_id = ?", ARGS(N(h.client_id)), err);
    } else if (r == 0 && h.client_id != owner) {
        add_reason(row, "without a fixed address: another client has %s", ip);
        ip[0] = row->given.f[IMPORT_IP][0] = 0;
        return 0;
    }
    if (r < 0)
        return r;
    return import_run_kept(im, "INSERT OR REPLACE INTO import_ip (ip, client_id, is_weak) VALUES (?, ?, 0)",
                           ARGS(T(ip), N(owner)), err);
}

int import_name_row(struct import *im, struct import_row *row, unsigned needs, uint64_t place, struct err *err)
{
    int64_t owner = row->client_id ? row->client_id : -(int64_t)place - 1;
    int r = needs & IMPORT_NEEDS_NAME ? give_name(im, row, owner, err) : 0;
    return r == 0 && (needs & IMPORT_NEEDS_IP) ? give_ip(im, row, owner, err) : r;
}

/* @planned with the name and the address that it gets, into the other spool. */
static int name_row(void *arg, const struct import_planned *planned, struct err *err)
{
    struct import *im = arg;
    if (!(planned->needs & (IMPORT_NEEDS_NAME | IMPORT_NEEDS_IP)))
        return import_planned_put(im->other_plan, planned, err);
    struct import_row row = {.row = planned->row, .client_id = planned->client_id};
    (void)snprintf(row.reason, sizeof(row.reason), "%s", planned->reason);
    import_unpack(planned->want, &row.want);
    import_unpack_given(planned->given, &row.want, &row.given);
    int r = import_name_row(im, &row, planned->needs, spool_end(im->other_plan), err);
    if (r < 0)
        return r;
    struct import_packed want = import_pack(&row.want), given = import_pack(&row.given);
    struct import_planned named = *planned;
    named.reason = row.reason;
    named.want = want.text;
    named.given = given.text;
    return import_planned_put(im->other_plan, &named, err);
}

int import_names(struct import *im, struct err *err)
{
    if (im->is_all_new) /* they were given when the rows were planned */
        return 0;
    int r = im->other_plan ? spool_clear(im->other_plan, err) : spool_create(&im->other_plan, err);
    if (r == 0)
        r = import_each_planned(im, name_row, im, err);
    if (r < 0)
        return r;
    struct spool *named = im->other_plan;
    im->other_plan = im->plan;
    im->plan = named;
    return spool_clear(im->other_plan, err);
}
