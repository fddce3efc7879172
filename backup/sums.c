/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Check sums of a set's files; see sums.h. */
#include "backup/sums.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "backup/text.h"
#include "core/util.h"

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const struct sum *)a)->name, ((const struct sum *)b)->name);
}

const struct sum *sums_find(const struct sums *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->rows[i].name, name) == 0)
            return &s->rows[i];
    return NULL;
}

int sums_add(struct sums *s, const char *name, const unsigned char sha256[32])
{
    if (strlen(name) > SUMS_NAME_LEN || s->n == SUMS_FILES_MAX || sums_find(s, name))
        return -EEXIST;
    struct sum *more = reallocarray(s->rows, s->n + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    s->rows = more;
    strcpy(more[s->n].name, name);
    memcpy(more[s->n].sha256, sha256, 32);
    s->n++;
    return 0;
}

void sums_drop(struct sums *s, const char *name)
{
    const struct sum *row = sums_find(s, name);
    if (row)
        s->rows[row - s->rows] = s->rows[--s->n];
}

void sums_finish(struct sums *s)
{
    free(s->rows);
    *s = (struct sums){0};
}

int sums_encode(const struct sums *s, char **ret, size_t *ret_len)
{
    char hex[SHA256_HEX_LEN + 1];
    struct text_out o;
    int r = text_out_init(&o);
    if (r < 0)
        return r;
    if (s->n)
        qsort(s->rows, s->n, sizeof(*s->rows), compare_rows);
    for (size_t i = 0; i < s->n; i++) {
        hex_text(s->rows[i].sha256, 32, hex);
        (void)fprintf(o.f, "%s  %s\n", hex, s->rows[i].name); /* memory only */
    }
    r = text_out_flush(&o);
    if (r == 0) {
        (void)fclose(o.f); /* likewise */
        *ret = o.buf;
        *ret_len = o.len;
        return 0;
    }
    text_out_finish(&o);
    return r;
}

static bool take_row(struct field line, struct sum *ret)
{
    if (line.len < SHA256_HEX_LEN + 3 || hex_parse(line.p, SHA256_HEX_LEN, ret->sha256, 32) < 0 ||
        memcmp(line.p + SHA256_HEX_LEN, "  ", 2) != 0)
        return false;
    struct field name = {line.p + SHA256_HEX_LEN + 2, line.len - SHA256_HEX_LEN - 2};
    return field_text(name, ret->name, sizeof(ret->name)) && name.p[0] != '.' && !memchr(name.p, '/', name.len);
}

int sums_decode(const char *text, size_t len, const char *what, struct sums *ret, struct err *err)
{
    struct text t = {text, text + len, 0};
    struct sums s = {0};
    struct field line;
    struct sum row;
    int r = len > 0 && text[len - 1] == '\n' ? 0 : err_set(err, -EBADMSG, "%s is damaged: it was cut off", what);
    while (r == 0 && text_next(&t, &line)) {
        r = take_row(line, &row) ? sums_add(&s, row.name, row.sha256) : -EBADMSG;
        if (r == -ENOMEM)
            err_set(err, r, "memory is out");
        else if (r < 0)
            r = text_bad(&t, what, "no check sum of a file", err);
    }
    if (r < 0)
        sums_finish(&s);
    else
        *ret = s;
    return r;
}

int sums_of_file(int dirfd, const char *name, unsigned char ret[32], uint64_t *ret_bytes)
{
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : sha256_file(fd, ret, ret_bytes);
}
