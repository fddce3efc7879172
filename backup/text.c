/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines and fields; see text.h. */
#include "backup/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/util.h"

/* --- fields ------------------------------------------------------------------------------------------------------ */

bool field_take(struct field *line, struct field *ret)
{
    if (line->len == 0 || line->p[0] == ' ')
        return false;
    const char *blank = memchr(line->p, ' ', line->len);
    ret->p = line->p;
    ret->len = blank ? (size_t)(blank - line->p) : line->len;
    size_t used = ret->len + (blank != NULL);
    if (blank && used == line->len)
        return false;
    line->p += used;
    line->len -= used;
    return true;
}

bool field_is(struct field f, const char *word)
{
    return strlen(word) == f.len && memcmp(f.p, word, f.len) == 0;
}

bool field_number(struct field f, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;
    if (f.len == 0 || f.len > 20 || (f.len > 1 && f.p[0] == '0'))
        return false;
    for (size_t i = 0; i < f.len; i++) {
        if (f.p[i] < '0' || f.p[i] > '9' || !mul_ok(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(f.p[i] - '0'), &n))
            return false;
    }
    *ret = n;
    return n <= max;
}

bool field_text(struct field f, char *ret, size_t room)
{
    if (f.len >= room)
        return false;
    for (size_t i = 0; i < f.len; i++)
        if ((unsigned char)f.p[i] < ' ' || f.p[i] == 0x7f)
            return false;
    memcpy(ret, f.p, f.len);
    ret[f.len] = 0;
    return true;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

bool text_next(struct text *t, struct field *ret)
{
    if (t->p == t->end)
        return false;
    const char *lf = memchr(t->p, '\n', (size_t)(t->end - t->p));
    ret->p = t->p;
    ret->len = (size_t)((lf ? lf : t->end) - t->p);
    t->p = lf ? lf + 1 : t->end;
    t->line++;
    return true;
}

int text_bad(const struct text *t, const char *what, const char *problem, struct err *err)
{
    return err_set(err, -EBADMSG, "%s is damaged: line %zu: %s", what, t->line, problem);
}

int text_check_first(struct field line, const char *kind, const char *what, struct err *err)
{
    struct field name;
    uint64_t version;
    if (!field_take(&line, &name) || !field_is(name, kind) || !field_number(line, UINT32_MAX, &version))
        return err_set(err, -EBADMSG, "%s is damaged or something else: it does not begin with '%s 1'", what, kind);
    if (version != 1)
        return err_set(err, -EOPNOTSUPP, "%s has version %llu of its format; this diskgate-backup knows version 1",
                       what, (unsigned long long)version);
    return 0;
}

/* The last line of [@buf, @buf + @len), which ends with LF: where it begins. */
static size_t last_line(const char *buf, size_t len)
{
    const char *lf = len > 1 ? memrchr(buf, '\n', len - 1) : NULL;
    return lf ? (size_t)(lf + 1 - buf) : 0;
}

static size_t count_lines(const char *buf, size_t len)
{
    size_t n = 0;
    for (const char *p = buf; (p = memchr(p, '\n', len - (size_t)(p - buf))); p++)
        n++;
    return n;
}

static bool end_holds(const char *buf, size_t len, size_t at)
{
    struct field line = {buf + at, len - at - 1}, word;
    char hash[HASH_HEX_LEN + 1];
    uint64_t lines;
    hash_buf(buf, at, hash);
    return field_take(&line, &word) && field_is(word, "end") && field_take(&line, &word) &&
           field_number(word, SIZE_MAX, &lines) && lines == count_lines(buf, at) && field_is(line, hash);
}

int text_open(const char *buf, size_t len, const char *kind, const char *what, struct text *ret, struct err *err)
{
    struct text t = {buf, buf + len, 0};
    struct field first;
    if (!text_next(&t, &first))
        return err_set(err, -EBADMSG, "%s is empty", what);
    int r = text_check_first(first, kind, what, err);
    if (r < 0)
        return r;
    if (buf[len - 1] != '\n' || !end_holds(buf, len, last_line(buf, len)))
        return err_set(err, -EBADMSG, "%s is damaged: the check sum in its last line does not hold", what);
    t.end = buf + last_line(buf, len);
    *ret = t;
    return 0;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

int text_out_init(struct text_out *o)
{
    *o = (struct text_out){0};
    o->f = open_memstream(&o->buf, &o->len);
    return o->f ? 0 : -ENOMEM;
}

void text_out_finish(struct text_out *o)
{
    if (o->f)
        (void)fclose(o->f); /* memory only */
    free(o->buf);
    *o = (struct text_out){0};
}

int text_out_flush(struct text_out *o)
{
    return fflush(o->f) == EOF || ferror(o->f) ? -ENOMEM : 0;
}

int text_seal(struct text_out *o)
{
    char hash[HASH_HEX_LEN + 1];
    int r = text_out_flush(o);
    if (r < 0)
        return r;
    hash_buf(o->buf, o->len, hash);
    (void)fprintf(o->f, "end %zu %s\n", count_lines(o->buf, o->len), hash); /* found by the flush */
    return text_out_flush(o);
}
