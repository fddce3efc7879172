/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: what the next import needs of new clients, many of them in one row; see catalog-import-priv.h.
 *
 *   import adds clients -> import_pack (a row for each 64 KiB)
 *   the next import of that origin, or the undo of the run -> import_client (a row for each client), and the packs are gone
 *
 * A table with a row and two index entries for each client took an eighth of an import, and most imports are the only one of their origin.
 *
 *   data     records one behind the other
 *   record   id of the client (8 bytes, little-endian) | MAC | id in the source | src | given, each a text with a zero byte behind it
 *   given    as src, but a field that is the same as there may be the one character 0x1e
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/catalog-import-priv.h"
#include "core/spool-merge.h"
#include "core/util.h"

#define PACK_BYTES   (64u << 10)
#define RECORD_BYTES (2 * IMPORT_PACKED_LEN + 256) /* at most */
#define TEXTS        4
#define SEPARATOR    '\x1f'

/* --- values ------------------------------------------------------------------------------------------------------ */

static size_t field_len(const char *p)
{
    return (size_t)(strchrnul(p, SEPARATOR) - p);
}

char *import_pack_as(const struct import_values *v, const struct import_values *as, char *to)
{
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        if (i > 0)
            *to++ = SEPARATOR;
        if (*v->f[i] && strcmp(v->f[i], as->f[i]) == 0)
            *to++ = IMPORT_SAME;
        else
            to = stpcpy(to, v->f[i]);
    }
    *to = 0;
    return to + 1;
}

static bool is_same(const char *field, size_t len)
{
    return len == 1 && *field == IMPORT_SAME;
}

void import_unpack_as(const char *text, const struct import_values *as, struct import_values *ret)
{
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        size_t n = field_len(text), take = MIN(n, (size_t)IMPORT_FIELD_LEN);
        if (is_same(text, n)) {
            strcpy(ret->f[i], as->f[i]);
        } else {
            memcpy(ret->f[i], text, take);
            ret->f[i][take] = 0;
        }
        text += n + (text[n] != 0);
    }
}

void import_split(const char *packed, struct import_text ret[static IMPORT_FIELDS])
{
    for (int i = 0; i < IMPORT_FIELDS; i++) {
        size_t n = 1;
        if (*packed != IMPORT_SAME || (packed[1] && packed[1] != SEPARATOR)) {
            n = field_len(packed);
            ret[i] = (struct import_text){packed, n};
        }
        packed += n + (packed[n] != 0);
    }
}

void import_unpack_given(const struct import_planned *row, const struct import_values *src,
                         const struct import_values *want, struct import_values *ret)
{
    if (*row->given)
        import_unpack_as(row->given, src, ret);
    else
        import_values_copy(ret, want);
}

/* The texts of the record at *@p, which ends before @end; *@p is behind it then. */
static bool take_texts(const char **p, const char *end, const char **texts, int n)
{
    for (int i = 0; i < n; i++) {
        const char *zero = memchr(*p, 0, (size_t)(end - *p));
        if (!zero)
            return false;
        texts[i] = *p;
        *p = zero + 1;
    }
    return true;
}

/* What import_pack_as() made of it, as import_pack() would have, into @ret of IMPORT_PACKED_LEN bytes. */
static bool take_given(const char *packed, const char *src, char *ret)
{
    char *to = ret, *end = ret + IMPORT_PACKED_LEN;
    for (;;) {
        size_t n = field_len(packed), n_src = field_len(src);
        bool is_src = is_same(packed, n);
        size_t len = is_src ? n_src : n;
        if (len + 1 > (size_t)(end - to))
            return false;
        to = mempcpy(to, is_src ? src : packed, len);
        packed += n;
        src += n_src + (src[n_src] != 0);
        if (!*packed)
            break;
        packed++;
        *to++ = SEPARATOR;
    }
    *to = 0;
    return true;
}

/* --- new clients while they are sorted ---------------------------------------------------------------------------- */

int import_new_put(const struct import_planned *row, char *buf, size_t *ret_len, struct err *err)
{
    const char *given = *row->given ? row->given : row->want;
    size_t fixed = 8 + strlen(row->mac) + strlen(row->source_id) + TEXTS + 1;
    if (fixed + strlen(row->src) + strlen(given) + strlen(row->want) > IMPORT_NEW_BYTES)
        return err_set(err, -EINVAL, "what the import says of MAC %s is too long", row->mac);
    char *to = buf + 8;
    memset(buf, 0, 8);
    to = stpcpy(to, row->mac) + 1;
    to = stpcpy(to, row->source_id) + 1;
    to = stpcpy(to, row->src) + 1;
    to = stpcpy(to, given) + 1;
    to = stpcpy(to, *row->given ? row->want : "") + 1;
    *ret_len = (size_t)(to - buf);
    return 0;
}

int import_new_take(const char *record, size_t len, struct import_new *ret, struct err *err)
{
    const char *texts[TEXTS + 1], *p = record + 8, *end = record + len;
    if (len < 8 || len > IMPORT_NEW_BYTES || !take_texts(&p, end, texts, TEXTS + 1) || p != end)
        return err_set(err, -EIO, "a temporary file of the import does not hold what was written to it");
    import_split(texts[2], ret->want);
    import_split(*texts[TEXTS] ? texts[TEXTS] : texts[3], ret->want);
    ret->mac = texts[0];
    ret->pack_len = (size_t)(texts[TEXTS] - record);
    return 0;
}

void import_pack_record(int64_t client_id, const char *record, const struct import_new *row, char *to)
{
    put_u64((unsigned char *)to, (uint64_t)client_id);
    memcpy(to + 8, record + 8, row->pack_len - 8);
}

/* --- packing ------------------------------------------------------------------------------------------------------ */

int import_packer_begin(struct import_packer *p, struct import *im, struct err *err)
{
    *p = (struct import_packer){.im = im, .buf = malloc(PACK_BYTES + IMPORT_BATCH_BYTES + IMPORT_NEW_BYTES)};
    return p->buf ? 0 : err_sys(err, -ENOMEM, "cannot store the clients of the import");
}

void import_packer_finish(struct import_packer *p)
{
    free(p->buf);
    p->buf = NULL;
}

int import_packer_flush(struct import_packer *p, struct err *err)
{
    struct catalog *c = p->im->c;
    sqlite3_stmt *st = NULL;
    if (p->len == 0)
        return 0;
    int r = db_prepare(c, "INSERT INTO import_pack (run_id, data) VALUES (?, ?)", &st, err);
    if (r < 0)
        return r;
    int code = sqlite3_bind_int64(st, 1, p->im->run_id);
    if (code == SQLITE_OK)
        code = sqlite3_bind_blob(st, 2, p->buf, (int)p->len, SQLITE_STATIC);
    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    if (code != SQLITE_DONE)
        r = db_error(c, code, err);
    (void)sqlite3_finalize(st); /* repeats the error of step */
    p->len = 0;
    return r;
}

int import_packer_put(struct import_packer *p, const char *bytes, size_t len, struct err *err)
{
    memcpy(p->buf + p->len, bytes, len);
    p->len += len;
    return p->len >= PACK_BYTES ? import_packer_flush(p, err) : 0;
}

/* --- unpacking ---------------------------------------------------------------------------------------------------- */

static int damaged(const struct catalog *c, struct err *err)
{
    return err_set(err, -EBADMSG, "catalog '%.500s' is damaged (import_pack); put a good copy of it back", c->path);
}

struct unpacking {
    struct catalog *c;
    const char *origin;
    struct spool_merge *by_mac; /* run, then a record as in a pack */
    sqlite3_stmt *insert;
    struct err *err;
};

static int sort_record(struct unpacking *u, int64_t run, const char *record, size_t len, const char *mac)
{
    char key[SPOOL_KEY_BYTES] = "", buf[sizeof(run) + RECORD_BYTES];
    if (len > RECORD_BYTES)
        return damaged(u->c, u->err);
    memcpy(key, mac, strnlen(mac, MAC_LEN));
    memcpy(buf, &run, sizeof(run));
    memcpy(buf + sizeof(run), record, len);
    return spool_merge_put(u->by_mac, key, buf, sizeof(run) + len, u->err);
}

static int sort_pack(void *arg, sqlite3_stmt *st)
{
    struct unpacking *u = arg;
    const char *texts[TEXTS], *p = sqlite3_column_blob(st, 1);
    const char *end = p ? p + sqlite3_column_bytes(st, 1) : p;
    int r = 0;
    while (r == 0 && p < end) {
        const char *record = p;
        p += 8;
        if (end - record < 8 || !take_texts(&p, end, texts, TEXTS))
            return damaged(u->c, u->err);
        r = sort_record(u, sqlite3_column_int64(st, 0), record, (size_t)(p - record), texts[0]);
    }
    return r;
}

static int insert_record(struct unpacking *u, const char *record, size_t len)
{
    const char *texts[TEXTS], *p = record + 16;
    char given[IMPORT_PACKED_LEN];
    int64_t run;
    if (len < 16 || !take_texts(&p, record + len, texts, TEXTS) || !take_given(texts[3], texts[2], given))
        return damaged(u->c, u->err);
    memcpy(&run, record, sizeof(run));
    int64_t client = (int64_t)get_u64((const unsigned char *)record + 8);
    return db_kept_one(u->c, u->insert,
                       ARGS(T(texts[0]), T(u->origin), N(client), N(run), T(texts[1]), T(texts[2]), T(given)), NULL,
                       NULL, u->err);
}

/* Packs that @select gives become rows, in the order of their key. */
static int unpack(struct unpacking *u, const char *select, const struct arg *args)
{
    const char *record;
    size_t len;
    int r = spool_merge_create(&u->by_mac, u->err);
    if (r == 0)
        r = db_each(u->c, select, args, sort_pack, u, u->err);
    if (r == 0)
        r = spool_merge_begin(u->by_mac, u->err);
    if (r == 0)
        r = db_prepare(u->c,
                       "INSERT INTO import_client (mac, origin, client_id, run_id, is_created, is_gone, source_id, src,"
                       " given) VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?)",
                       &u->insert, u->err);
    while (r == 0 && (r = spool_merge_next(u->by_mac, &record, &len, u->err)) > 0)
        r = insert_record(u, record, len);
    (void)sqlite3_finalize(u->insert); /* NULL is allowed; repeats what step said */
    spool_merge_destroy(u->by_mac);
    return r;
}

int import_unpack_origin(struct catalog *c, const char *origin, struct err *err)
{
    struct unpacking u = {.c = c, .origin = origin, .err = err};
    int64_t any;
#define OF_ORIGIN "run_id IN (SELECT id FROM import_run WHERE origin = ?)"
    int r = db_number(c, "SELECT EXISTS (SELECT 1 FROM import_pack WHERE " OF_ORIGIN ")", ARGS(T(origin)), &any, err);
    if (r < 0 || !any)
        return r;
    r = unpack(&u, "SELECT run_id, data FROM import_pack WHERE " OF_ORIGIN, ARGS(T(origin)));
    return r < 0 ? r : db_run(c, "DELETE FROM import_pack WHERE " OF_ORIGIN, ARGS(T(origin)), err);
#undef OF_ORIGIN
}
