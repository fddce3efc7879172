/* SPDX-License-Identifier: GPL-2.0-or-later */
/* marks.txt; see marks.h. */
#include "backup/marks.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "backup/set-priv.h"
#include "backup/text.h"
#include "core/util.h"

#define MARKS_TEXT_MAX (256ULL << 20)

static const char *const level_names[] = {"never", "quick", "data", "image", "restore"};

const char *verify_level_name(enum verify_level l)
{
    return level_names[l];
}

void marks_finish(struct marks *m)
{
    free(m->sets);
    free(m->packs);
    *m = (struct marks){0};
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

struct set_mark *marks_set(const struct marks *m, const char *id)
{
    for (size_t i = 0; i < m->n_sets; i++)
        if (strcmp(m->sets[i].id, id) == 0)
            return &m->sets[i];
    return NULL;
}

struct set_mark *marks_set_need(struct marks *m, const char *id)
{
    struct set_mark *s = marks_set(m, id), *more;
    if (s || !(more = reallocarray(m->sets, m->n_sets + 1, sizeof(*more))))
        return s;
    m->sets = more;
    s = &m->sets[m->n_sets++];
    *s = (struct set_mark){0};
    (void)snprintf(s->id, sizeof(s->id), "%s", id);
    return s;
}

void marks_set_drop(struct marks *m, const char *id)
{
    struct set_mark *s = marks_set(m, id);
    if (s)
        *s = m->sets[--m->n_sets];
}

struct pack_mark *marks_pack(const struct marks *m, const char *stem)
{
    for (size_t i = 0; i < m->n_packs; i++)
        if (strcmp(m->packs[i].id.stem, stem) == 0)
            return &m->packs[i];
    return NULL;
}

struct pack_mark *marks_pack_need(struct marks *m, const struct pack_id *id)
{
    struct pack_mark *p = marks_pack(m, id->stem), *more;
    if (p || !(more = reallocarray(m->packs, m->n_packs + 1, sizeof(*more))))
        return p;
    m->packs = more;
    p = &m->packs[m->n_packs++];
    *p = (struct pack_mark){.id = *id};
    return p;
}

int marks_learn(struct marks *m, const struct set_info *sets, size_t n, char *ret_lost)
{
    ret_lost[0] = 0;
    for (size_t i = 0; i < m->n_sets; i++) {
        bool found = false;
        for (size_t k = 0; k < n && !found; k++)
            found = strcmp(sets[k].id, m->sets[i].id) == 0;
        if (!found)
            (void)snprintf(ret_lost, SET_ID_LEN + 1, "%s", m->sets[i].id);
    }
    for (size_t i = 0; i < n; i++)
        if (!marks_set_need(m, sets[i].id))
            return -ENOMEM;
    return 0;
}

/* --- text ---------------------------------------------------------------------------------------------------------- */

static bool take_level(struct field f, enum verify_level *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
        if (field_is(f, level_names[i])) {
            *ret = (enum verify_level)i;
            return true;
        }
    return false;
}

static bool take_time(struct field *line, int64_t *ret)
{
    struct field f;
    uint64_t n;
    if (!field_take(line, &f) || !field_number(f, INT64_MAX, &n))
        return false;
    *ret = (int64_t)n;
    return true;
}

static int take_set(struct marks *m, struct field line)
{
    char id[SET_ID_LEN + 1];
    struct field f;
    if (!field_take(&line, &f) || !field_text(f, id, sizeof(id)) || !set_id_ok(id) || marks_set(m, id))
        return -EBADMSG;
    struct set_mark *s = marks_set_need(m, id);
    if (!s)
        return -ENOMEM;
    if (!take_time(&line, &s->verified_s) || !field_take(&line, &f) || !take_level(f, &s->level))
        return -EBADMSG;
    while (field_take(&line, &f)) {
        if (field_is(f, "pinned"))
            s->is_pinned = true;
        else if (field_is(f, "bad"))
            s->is_bad = true;
        else
            return -EBADMSG;
    }
    return line.len ? -EBADMSG : 0;
}

static int take_pack(struct marks *m, struct field line)
{
    char stem[PACK_STEM_LEN + 1];
    struct pack_id id;
    struct field f;
    if (!field_take(&line, &f) || !field_text(f, stem, sizeof(stem)) || pack_id_parse(stem, "", &id) < 0 ||
        marks_pack(m, stem))
        return -EBADMSG;
    struct pack_mark *p = marks_pack_need(m, &id);
    if (!p)
        return -ENOMEM;
    if (!take_time(&line, &p->verified_s) || (!field_is(line, "good") && !field_is(line, "bad")))
        return -EBADMSG;
    p->is_bad = field_is(line, "bad");
    return 0;
}

static int take_line(struct marks *m, struct field line, const char *repo_id)
{
    struct field key;
    if (!field_take(&line, &key))
        return -EBADMSG;
    if (field_is(key, "repo"))
        return field_is(line, repo_id) ? 0 : -EBADMSG;
    if (field_is(key, "gc"))
        return field_number(line, UINT64_MAX - 1, &m->gc) ? 0 : -EBADMSG;
    if (field_is(key, "set"))
        return take_set(m, line);
    return field_is(key, "pack") ? take_pack(m, line) : -EOPNOTSUPP;
}

int marks_decode(const char *buf, size_t len, const char *repo_id, struct marks *ret, struct err *err)
{
    const char *what = "marks.txt";
    struct field line;
    struct text t;
    int r = text_open(buf, len, "diskgate-marks", what, &t, err);
    while (r == 0 && text_next(&t, &line)) {
        r = take_line(ret, line, repo_id);
        if (r == -ENOMEM)
            err_set(err, r, "memory is out");
        else if (r == -EOPNOTSUPP)
            err_set(err, r, "%s has a line '%.*s', which this diskgate-backup does not know", what,
                    (int)MIN(line.len, (size_t)60), line.p);
        else if (r < 0)
            text_bad(&t, what, "not what it should be", err);
    }
    return r;
}

int marks_load(struct repo *r, struct marks *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct marks m = {0};
    size_t len;
    int e = file_read(repo_dirfd(r), "marks.txt", MARKS_TEXT_MAX, &text, &len);
    if (e == -ENOENT) {
        *ret = (struct marks){.was_missing = true};
        return 0;
    }
    e = e < 0 ? err_sys(err, e, "cannot read '%s/marks.txt'", repo_path(r))
              : marks_decode(text, len, repo_format(r)->id, &m, err);
    if (e == -EBADMSG)
        err_prefix(err, e, "the file '%s/marks.txt' can be deleted, only pins and the times of verify are lost then",
                   repo_path(r));
    if (e < 0)
        marks_finish(&m);
    else
        *ret = m;
    return e;
}

int marks_store(struct repo *r, const struct marks *m, struct err *err)
{
    struct text_out o;
    int e = text_out_init(&o);
    if (e < 0)
        return err_set(err, e, "memory is out");
    (void)fprintf(o.f, "diskgate-marks 1\nrepo %s\ngc %" PRIu64 "\n", repo_format(r)->id,
                  m->gc); /* memory only, as below */
    for (size_t i = 0; i < m->n_sets; i++) {
        const struct set_mark *s = &m->sets[i];
        (void)fprintf(o.f, "set %s %" PRId64 " %s%s%s\n", s->id, s->verified_s, level_names[s->level],
                      s->is_pinned ? " pinned" : "", s->is_bad ? " bad" : "");
    }
    for (size_t i = 0; i < m->n_packs; i++)
        (void)fprintf(o.f, "pack %s %" PRId64 " %s\n", m->packs[i].id.stem, m->packs[i].verified_s,
                      m->packs[i].is_bad ? "bad" : "good");
    e = text_seal(&o);
    e = e < 0 ? err_set(err, e, "memory is out") : repo_file_put(r, "marks.txt", o.buf, o.len, err);
    text_out_finish(&o);
    return e;
}
