/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file beside a version's manifest; see file-shape.h. */
#include "backup/file-shape.h"

#include <errno.h>
#include <string.h>

#include "backup/set-priv.h"
#include "backup/text.h"
#include "core/util.h"

#define SHAPE_MAX 4096U

static void name_of(const struct stream_id *id, char *ret)
{
    stream_file_name(id, ret);
    char *end = strstr(ret, ".manifest.zst");
    for (char *next = end;
         (next = next ? strstr(next + 1, ".manifest.zst") : NULL);) /* the last: names may have dots */
        end = next;
    if (end)
        (void)snprintf(end, sizeof(".file"), ".file"); /* shorter */
}

int file_shape_put(struct set_writer *w, const struct stream_id *id, const struct file_shape *s, struct err *err)
{
    char name[MANIFEST_NAME_LEN + 1], hex[2 * FILE_TAIL_MAX + 1];
    struct text_out o;
    int r = text_out_init(&o);
    name_of(id, name);
    if (r == 0) {
        (void)fprintf(o.f, "diskgate-file 1\ndata %llu\n",
                      (unsigned long long)s->data_bytes); /* memory only, as below */
        hex_text(s->tail, s->tail_len, hex);
        if (s->tail_len > 0)
            (void)fprintf(o.f, "tail %s\n", hex);
        r = text_seal(&o);
    }
    r = r < 0 ? err_set(err, r, "memory is out") : set_file(w, name, o.buf, o.len, err);
    text_out_finish(&o);
    return r;
}

static bool take_line(struct field line, struct file_shape *ret)
{
    struct field key;
    if (!field_take(&line, &key))
        return false;
    if (field_is(key, "data"))
        return field_number(line, MANIFEST_SIZE_MAX, &ret->data_bytes);
    ret->tail_len = line.len / 2;
    return field_is(key, "tail") && line.len % 2 == 0 && ret->tail_len <= FILE_TAIL_MAX &&
           hex_parse(line.p, line.len, ret->tail, ret->tail_len) == 0;
}

static int decode(const char *buf, size_t len, const char *what, struct file_shape *ret, struct err *err)
{
    struct text t;
    struct field line;
    int r = text_open(buf, len, "diskgate-file", what, &t, err);
    while (r == 0 && text_next(&t, &line))
        if (!take_line(line, ret))
            r = text_bad(&t, what, "it is none of 'data' and 'tail'", err);
    if (r == 0 && ret->data_bytes == 0)
        r = err_set(err, -EBADMSG, "%s does not say how long the file is", what);
    return r;
}

/* Does the set know of such a file? */
static int is_listed(struct repo *r, const struct set_info *s, const char *name, struct err *err)
{
    struct sums sums = {0};
    char what[64];
    (void)snprintf(what, sizeof(what), "the set %s", s->id);
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", s->id, err);
    int e = dirfd < 0 ? dirfd : set_read_sums(dirfd, what, &sums, err);
    if (e == 0 && !sums_find(&sums, name))
        e = -ENOENT;
    sums_finish(&sums);
    return e;
}

int file_shape_read(struct repo *r, const struct set_info *s, const struct stream_id *id, struct file_shape *ret,
                    struct err *err)
{
    _cleanup_free_ char *text = NULL;
    char name[MANIFEST_NAME_LEN + 1], what[MANIFEST_NAME_LEN + 64];
    size_t len = 0;
    *ret = (struct file_shape){0};
    name_of(id, name);
    (void)snprintf(what, sizeof(what), "%s of the set %s", name, s->id);
    int e = id->kind == STREAM_OVERLAY || id->kind == STREAM_CATALOG ? -ENOENT : is_listed(r, s, name, err);
    if (e == 0)
        e = set_file_read(r, s, name, SHAPE_MAX, &text, &len, err);
    return e < 0 ? e : decode(text, len, what, ret, err);
}
