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
    uint32_t hash; /* of base */
};

/* A text in front of a number, and its place in the table: or one that is empty, or the first one that could be its. */
struct stem {
    const char *text;
    struct suffix *place;
    uint32_t hash;
    bool is_there;
};

static struct stem find_stem(const struct import *im, const char *text)
{
    uint32_t hash = (uint32_t)import_key_hash(text, IMPORT_KINDS);
    for (uint32_t i = 0; i < SUFFIXES_TRIED; i++) {
        struct suffix *s = &im->suffixes[(hash + i) % SUFFIXES];
        if (!*s->base)
            return (struct stem){text, s, hash, false};
        if (s->hash == hash && strcasecmp(s->base, text) == 0)
            return (struct stem){text, s, hash, true};
    }
    return (struct stem){text, &im->suffixes[hash % SUFFIXES], hash, false};
}

int import_suffix_forget(struct import *im, struct err *err)
{
    free(im->suffixes);
    im->are_suffixes_kept = false;
    im->suffixes = calloc(SUFFIXES, sizeof(*im->suffixes));
    return im->suffixes ? db_exec(im->c, "DELETE FROM import_suffix", err) : err_sys(err, -ENOMEM, "cannot give names");
}

static int next_number(struct import *im, const struct stem *stem, unsigned first, unsigned *ret, struct err *err)
{
    int64_t next = first;
    int r = 0;
    if (stem->is_there)
        next = stem->place->next;
    else if (im->are_suffixes_kept)
        r = import_number_kept(im, "SELECT next FROM import_suffix WHERE base = ?", ARGS(T(stem->text)), &next, err);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret = next > first ? (unsigned)next : first;
    return 0;
}

static int number_used(struct import *im, const struct stem *stem, unsigned n, struct err *err)
{
    struct suffix *s = stem->place;
    int r = 0;
    if (stem->is_there) {
        s->next = n + 1;
        return 0;
    }
    if (*s->base) {
        im->are_suffixes_kept = true;
        r = import_run_kept(im, "INSERT OR REPLACE INTO import_suffix (base, next) VALUES (?, ?)",
                            ARGS(T(s->base), N(s->next)), err);
    }
    (void)import_number_text(stem->text, "", 0, 1, s->base, sizeof(s->base));
    s->hash = stem->hash;
    s->next = n + 1;
    return r;
}

int import_suffix(struct import *im, const char *base, unsigned first, unsigned *ret, struct err *err)
{
    struct stem stem = find_stem(im, base);
    return next_number(im, &stem, first, ret, err);
}

int import_suffix_used(struct import *im, const char *base, unsigned n, struct err *err)
{
    struct stem stem = find_stem(im, base);
    return number_used(im, &stem, n, err);
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

/* Who has @text; -ENOENT without a sentence when nobody has. */
static int find_holder(struct import *im, enum import_kind kind, const char *text, struct holder *ret, struct err *err)
{
    if (import_is_given(im, kind, text)) {
        *ret = (struct holder){0, false}; /* some new client */
        return 0;
    }
    return import_one_kept(im,
                           kind == IMPORT_KIND_NAME ? "SELECT client_id, is_weak FROM import_name WHERE name = ?"
                                                    : "SELECT client_id, is_weak FROM import_ip WHERE ip = ?",
                           ARGS(T(text)), fill_holder, ret, err);
}

size_t import_number_text(const char *base, const char *tail, char sep, unsigned n, char *ret, size_t size)
{
    char end[48], digits[12];
    size_t len = strnlen(tail, 32), k = sizeof(digits);
    memcpy(end, tail, len);
    if (n > 1) {
        end[len++] = sep;
        for (; n; n /= 10)
            digits[--k] = (char)('0' + n % 10);
        memcpy(end + len, digits + k, sizeof(digits) - k);
        len += sizeof(digits) - k;
    }
    size_t keep = strnlen(base, size - 1 - len);
    memcpy(ret, base, keep);
    memcpy(ret + keep, end, len);
    ret[keep + len] = 0;
    return keep + len;
}

/* "@base@tail", or that with a number, whichever is nobody's: it is @owner's now. @stem is that of both together. */
static int give_free_name(struct import *im, const struct stem *stem, const char *base, const char *tail,
                          unsigned first, int64_t owner, char *ret, struct err *err)
{
    unsigned n;
    int r = next_number(im, stem, first, &n, err);
    for (; r == 0 && n < NAMES_MAX; n++) {
        (void)import_number_text(base, tail, '-', n, ret, NAME_LEN + 1);
        r = import_take(im, IMPORT_KIND_NAME, ret, owner, err);
        if (r > 0)
            return number_used(im, stem, n, err);
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
    char other[NAME_LEN + 1], text[NAME_LEN + 16];
    (void)import_number_text(name, "-gone", 0, 1, text, sizeof(text));
    struct stem stem = find_stem(im, text);
    int r = give_free_name(im, &stem, name, "-gone", 1, gone_id, other, err);
    return r < 0 ? r
                 : import_run_kept(im, "UPDATE import_gone SET new_name = ? WHERE client_id = ?",
                                   ARGS(T(other), N(gone_id)), err);
}

/* The texts of @parts one behind the other. */
static void add_reason(struct import_row *row, const char *const *parts, size_t n)
{
    char *to = row->reason + strlen(row->reason), *end = row->reason + sizeof(row->reason) - 1;
    if (to > row->reason && end - to > 2)
        to = stpcpy(to, "; ");
    for (size_t i = 0; i < n; i++) {
        size_t len = strnlen(parts[i], (size_t)(end - to)); /* names and addresses are short: nothing is cut */
        memcpy(to, parts[i], len);
        to += len;
    }
    *to = 0;
}
#define ADD_REASON(row, ...)                                                                                           \
    add_reason(row, (const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

/* Another has the name that is @stem: what is given instead into @ret. */
static int give_other_name(struct import *im, struct import_row *row, const struct stem *stem, int64_t owner, char *ret,
                           struct err *err)
{
    int r = give_free_name(im, stem, stem->text, "", 2, owner, ret, err);
    if (r == 0)
        ADD_REASON(row, "called '", ret, "' here, for '", stem->text, "' is taken");
    return r;
}

static int give_taken_name(struct import *im, struct import_row *row, const struct stem *stem, int64_t owner, char *ret,
                           struct err *err)
{
    struct holder h;
    int r = find_holder(im, IMPORT_KIND_NAME, stem->text, &h, err);
    if (r < 0 || (!h.is_weak && h.client_id == owner))
        return r;
    if (!h.is_weak)
        return give_other_name(im, row, stem, owner, ret, err);
    r = push_aside(im, h.client_id, stem->text, err);
    return r < 0 ? r : store_name(im, stem->text, owner, err);
}

static int give_name(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    char name[NAME_LEN + 1];
    char *given = row->want.f[IMPORT_NAME];
    given[strnlen(given, NAME_LEN)] = 0;
    strcpy(name, given);
    struct stem stem = find_stem(im, name); /* it has one only if it is taken, by one who keeps it */
    int r = stem.is_there ? 0 : import_take(im, IMPORT_KIND_NAME, name, owner, err);
    if (r == 0)
        r = stem.is_there ? give_other_name(im, row, &stem, owner, given, err)
                          : give_taken_name(im, row, &stem, owner, given, err);
    strcpy(row->given.f[IMPORT_NAME], given);
    return MIN(r, 0);
}

static int give_ip(struct import *im, struct import_row *row, int64_t owner, struct err *err)
{
    struct holder h;
    char *ip = row->want.f[IMPORT_IP];
    if (!*ip)
        return 0;
    int r = import_take(im, IMPORT_KIND_IP, ip, owner, err);
    if (r != 0)
        return MIN(r, 0);
    r = find_holder(im, IMPORT_KIND_IP, ip, &h, err);
    if (r == 0 && h.is_weak) {
        r = import_run_kept(im, "UPDATE import_gone SET loses_ip = 1 WHERE client_id = ?", ARGS(N(h.client_id)), err);
    } else if (r == 0 && h.client_id != owner) {
        ADD_REASON(row, "without a fixed address: another client has ", ip);
        ip[0] = row->given.f[IMPORT_IP][0] = 0;
        return 0;
    }
    if (r < 0)
        return r;
    return import_run_kept(im, "INSERT OR REPLACE INTO import_ip (ip, client_id, is_weak) VALUES (?, ?, 0)",
                           ARGS(T(ip), N(owner)), err);
}

void import_name_soon(const struct import *im, const struct import_row *row)
{
    const char *name = row->want.f[IMPORT_NAME];
    __builtin_prefetch(&im->suffixes[(uint32_t)import_key_hash(name, IMPORT_KINDS) % SUFFIXES]);
    import_take_soon(im, IMPORT_KIND_NAME, name);
    import_take_soon(im, IMPORT_KIND_IP, row->want.f[IMPORT_IP]);
}

int import_name_row(struct import *im, struct import_row *row, unsigned needs, struct err *err)
{
    int64_t owner = row->client_id ? row->client_id : -(int64_t)row->row - 1;
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
    import_unpack(planned->src, &row.src);
    import_unpack_as(planned->want, &row.src, &row.want);
    import_unpack_given(planned, &row.src, &row.want, &row.given);
    int r = import_name_row(im, &row, planned->needs, err);
    if (r < 0)
        return r;
    struct import_packed want, given;
    (void)import_pack_as(&row.want, &row.src, want.text);
    (void)import_pack_as(&row.given, &row.src, given.text);
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
