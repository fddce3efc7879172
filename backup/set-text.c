/* SPDX-License-Identifier: GPL-2.0-or-later */
/* set.txt and the names of sets.
 *
 *   diskgate-set 1
 *   repo 2f1c...
 *   set 2026-11-22T130000Z-9a3e
 *   number 17
 *   time 1795352400
 *   version 0.1.0
 *   host gate1                        these three where they are known
 *   root /var/lib/diskgate
 *   comment before the exam
 *   stream base win11 1 107374182400
 *   stream layer win11 2 107374182400 win11 1       size, then the backing stream
 *   stream catalog catalog 0 4096
 *   end 11 c0ff...
 */
#include "backup/set-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "backup/text.h"
#include "config.h"
#include "core/util.h"

/* --- ids ----------------------------------------------------------------------------------------------------------- */

bool set_id_ok(const char *id)
{
    static const char form[] = "0000-00-00T000000Z-xxxx";
    if (strlen(id) != SET_ID_LEN)
        return false;
    for (size_t i = 0; i < SET_ID_LEN; i++) {
        bool is_digit = id[i] >= '0' && id[i] <= '9';
        bool ok = form[i] == '0'   ? is_digit
                  : form[i] == 'x' ? is_digit || (id[i] >= 'a' && id[i] <= 'f')
                                   : id[i] == form[i];
        if (!ok)
            return false;
    }
    return true;
}

int set_id_new(int64_t time_s, char *ret)
{
    unsigned char random[2];
    struct tm tm;
    time_t t = (time_t)time_s;
    if (getrandom(random, sizeof(random), 0) != sizeof(random) || !gmtime_r(&t, &tm))
        return -EIO;
    char text[64];
    if (strftime(text, sizeof(text), "%Y-%m-%dT%H%M%SZ", &tm) != SET_ID_LEN - 5)
        return -EIO; /* a year of five digits */
    (void)snprintf(ret, SET_ID_LEN + 1, "%.18s-%02x%02x", text, random[0], random[1]);
    return 0;
}

/* --- text ---------------------------------------------------------------------------------------------------------- */

static const char *name_in(const struct stream_id *id)
{
    return id->kind == STREAM_CATALOG ? "catalog" : id->name;
}

static void print_stream(FILE *f, const struct set_stream *s)
{
    (void)fprintf(f, "stream %s %s %" PRIu32 " %" PRIu64, stream_kind_name(s->id.kind), name_in(&s->id), s->id.number,
                  s->size_bytes); /* memory only, as below */
    if (s->has_backing)
        (void)fprintf(f, " %s %" PRIu32, s->backing.name, s->backing.number);
    (void)fputc('\n', f);
}

static void print_text(FILE *f, const char *key, const char *text)
{
    if (*text)
        (void)fprintf(f, "%s %s\n", key, text); /* memory only */
}

int set_text_encode(const struct set_info *s, const char *repo_id, char **ret_buf, size_t *ret_len)
{
    struct text_out o;
    int r = text_out_init(&o);
    if (r < 0)
        return r;
    (void)fprintf(o.f, "diskgate-set 1\nrepo %s\nset %s\nnumber %" PRIu64 "\ntime %" PRId64 "\nversion %s\n", repo_id,
                  s->id, s->number, s->time_s, DISKGATE_VERSION); /* memory only */
    print_text(o.f, "host", s->host);
    print_text(o.f, "root", s->root);
    print_text(o.f, "comment", s->comment);
    for (size_t i = 0; i < s->n_streams; i++)
        print_stream(o.f, &s->streams[i]);
    r = text_seal(&o);
    if (r < 0) {
        text_out_finish(&o);
        return r;
    }
    (void)fclose(o.f); /* memory only */
    *ret_buf = o.buf;
    *ret_len = o.len;
    return 0;
}

static bool take_stream_id(struct field *line, struct stream_id *ret)
{
    struct field f;
    uint64_t n;
    if (!field_take(line, &f) || !field_text(f, ret->name, sizeof(ret->name)) ||
        name_check(ret->name, "name", NULL) < 0 || !field_take(line, &f) || !field_number(f, UINT32_MAX, &n))
        return false;
    ret->number = (uint32_t)n;
    return true;
}

static bool take_kind(struct field *line, enum stream_kind *ret)
{
    struct field f;
    if (!field_take(line, &f))
        return false;
    for (int k = 0; stream_kind_name((enum stream_kind)k); k++)
        if (field_is(f, stream_kind_name((enum stream_kind)k))) {
            *ret = (enum stream_kind)k;
            return true;
        }
    return false;
}

static int take_stream(struct set_info *s, struct field line)
{
    struct set_stream st = {0};
    struct field f;
    if (s->n_streams == SET_STREAMS_MAX || !take_kind(&line, &st.id.kind) || !take_stream_id(&line, &st.id) ||
        !field_take(&line, &f) || !field_number(f, MANIFEST_SIZE_MAX, &st.size_bytes))
        return -EBADMSG;
    if (st.id.kind == STREAM_CATALOG)
        st.id.name[0] = 0;
    st.has_backing = line.len > 0;
    if (st.has_backing != (st.id.kind == STREAM_LAYER || st.id.kind == STREAM_OVERLAY) ||
        (st.has_backing && (!take_stream_id(&line, &st.backing) || line.len > 0)))
        return -EBADMSG;
    struct set_stream *more = reallocarray(s->streams, s->n_streams + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->streams = more;
    s->streams[s->n_streams++] = st;
    return 0;
}

enum { HAS_REPO = 1, HAS_SET = 2, HAS_NUMBER = 4, HAS_TIME = 8, HAS_VERSION = 16, HAS_NEEDED = 15 };

static bool take_number(struct field f, uint64_t max, unsigned bit, uint64_t *ret, unsigned *have)
{
    bool ok = !(*have & bit) && field_number(f, max, ret);
    *have |= bit;
    return ok;
}

/* 0; -EBADMSG; -EOPNOTSUPP for a key that we do not know. */
static int take_line(struct set_info *s, struct field line, const char *repo_id, unsigned *have)
{
    struct field key;
    uint64_t n = 0;
    bool ok;
    if (!field_take(&line, &key))
        return -EBADMSG;
    if (field_is(key, "stream"))
        return take_stream(s, line);
    if (field_is(key, "repo")) {
        ok = field_is(line, repo_id);
        *have |= HAS_REPO;
    } else if (field_is(key, "set")) {
        ok = field_text(line, s->id, sizeof(s->id)) && set_id_ok(s->id);
        *have |= HAS_SET;
    } else if (field_is(key, "number")) {
        ok = take_number(line, UINT64_MAX - 1, HAS_NUMBER, &s->number, have);
    } else if (field_is(key, "time")) {
        ok = take_number(line, INT64_MAX, HAS_TIME, &n, have);
        s->time_s = (int64_t)n;
    } else if (field_is(key, "version")) {
        ok = field_text(line, s->version, sizeof(s->version));
    } else if (field_is(key, "host")) {
        ok = field_text(line, s->host, sizeof(s->host));
    } else if (field_is(key, "root")) {
        ok = field_text(line, s->root, sizeof(s->root));
    } else if (field_is(key, "comment")) {
        ok = field_text(line, s->comment, sizeof(s->comment));
    } else {
        return -EOPNOTSUPP;
    }
    return ok ? 0 : -EBADMSG;
}

int set_text_decode(const char *text, size_t len, const char *what, const char *repo_id, struct set_info *ret,
                    struct err *err)
{
    unsigned have = 0;
    struct field line;
    struct text t;
    int r = text_open(text, len, "diskgate-set", what, &t, err);
    while (r == 0 && text_next(&t, &line)) {
        r = take_line(ret, line, repo_id, &have);
        if (r == -EOPNOTSUPP)
            err_set(err, r, "%s has a line '%.*s', which this diskgate-backup does not know", what,
                    (int)MIN(line.len, (size_t)60), line.p);
        else if (r == -ENOMEM)
            err_set(err, r, "memory is out");
        else if (r < 0)
            text_bad(&t, what, "not what it should be", err);
    }
    if (r == 0 && (have & HAS_NEEDED) != HAS_NEEDED)
        r = err_set(err, -EBADMSG, "%s is damaged: lines are missing", what);
    return r;
}
