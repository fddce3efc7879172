/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The format file: what kind of repository this is. A few lines of text that a person can write again; the head of every pack
 * says the same.
 *
 *   diskgate 1
 *   id=5b0c...
 *   chunk=262144
 *   pack=268435456
 *   hash=xxh3-128
 *   created=2026-11-22T13:00:00Z
 */
#include "backup/repo-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backup/chunk.h"
#include "backup/text.h"
#include "core/util.h"

void repo_format_encode(const struct repo_format *f, char *ret)
{
    char created[32];
    time_text(created, sizeof(created), f->created_s);
    (void)snprintf(ret, REPO_FORMAT_LEN,
                   "diskgate 1\nid=%s\nchunk=%" PRIu32 "\npack=%" PRIu64 "\nhash=%s\ncreated=%s\n", f->id,
                   f->chunk_bytes, f->pack_bytes, chunk_hash_name, created); /* about 150 bytes */
}

/* "KEY=VALUE": true and the value when the line has this key. */
static bool value_of(struct field line, const char *key, struct field *ret)
{
    size_t n = strlen(key);
    if (line.len <= n || memcmp(line.p, key, n) != 0 || line.p[n] != '=')
        return false;
    *ret = (struct field){line.p + n + 1, line.len - n - 1};
    return true;
}

static bool take_time(struct field v, int64_t *ret)
{
    char text[32];
    struct tm tm = {0};
    if (!field_text(v, text, sizeof(text)))
        return false;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *ret = (int64_t)timegm(&tm);
    return end && !*end && *ret >= 0;
}

static bool take_id(struct field v, char ret[UUID_LEN + 1])
{
    unsigned char id[16];
    return v.len == UUID_LEN && field_text(v, ret, UUID_LEN + 1) && uuid_decode(ret, id) == 0;
}

enum { HAS_ID = 1, HAS_CHUNK = 2, HAS_PACK = 4, HAS_HASH = 8, HAS_CREATED = 16, HAS_ALL = 31 };

/* 0; -EBADMSG for a line that cannot be; -EOPNOTSUPP for one of another version or build. */
static int take_line(struct field line, struct repo_format *f, unsigned *have)
{
    struct field v;
    uint64_t n;
    unsigned bit = 0;
    if (value_of(line, "id", &v)) {
        bit = take_id(v, f->id) ? HAS_ID : 0;
    } else if (value_of(line, "chunk", &v)) {
        bit = field_number(v, CHUNK_BYTES_MAX, &n) && chunk_bytes_ok(n) ? HAS_CHUNK : 0;
        f->chunk_bytes = (uint32_t)n;
    } else if (value_of(line, "pack", &v)) {
        bit = field_number(v, REPO_PACK_BYTES_MAX, &n) && n >= REPO_PACK_BYTES_MIN ? HAS_PACK : 0;
        f->pack_bytes = n;
    } else if (value_of(line, "hash", &v)) {
        if (!field_is(v, chunk_hash_name))
            return -EOPNOTSUPP;
        bit = HAS_HASH;
    } else if (value_of(line, "created", &v)) {
        bit = take_time(v, &f->created_s) ? HAS_CREATED : 0;
    } else {
        return -EOPNOTSUPP; /* a feature that we would have to know */
    }
    if (!bit || (*have & bit))
        return -EBADMSG;
    *have |= bit;
    return 0;
}

int repo_format_decode(const char *text, size_t len, const char *what, struct repo_format *ret, struct err *err)
{
    struct text t = {text, text + len, 0};
    struct repo_format f = {0};
    struct field line;
    unsigned have = 0;
    if (!text_next(&t, &line))
        return err_set(err, -EBADMSG, "%s is empty", what);
    int r = text_check_first(line, "diskgate", what, err);
    while (r == 0 && text_next(&t, &line)) {
        r = take_line(line, &f, &have);
        if (r == -EOPNOTSUPP)
            err_set(err, r,
                    "%s has the line '%.*s', which this diskgate-backup does not know: it is of another version", what,
                    (int)MIN(line.len, (size_t)80), line.p);
        else if (r < 0)
            text_bad(&t, what, "not what it should be", err);
    }
    if (r == 0 && have != HAS_ALL)
        r = err_set(err, -EBADMSG, "%s is damaged: lines are missing", what);
    if (r == 0)
        *ret = f;
    return r;
}
