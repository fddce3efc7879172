/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of one row: from a path, from several paths in one text, or through other tables.
 *
 * The first image of a client is its boot image, whatever it is called: the source says so by its place. Of further ones those are data disks whose
 * file, folder or label is called so (games, data); the others are more boot images, for a menu.
 */
#include "migrate/record-priv.h"

#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/normalise.h"
#include "migrate/text.h"

/* File name without ending, or the folder it lies in, is called data or games. */
static bool is_data_path(const char *path)
{
    char part[256];
    const char *end = path + strlen(path);
    for (int i = 0; i < 2 && end > path; i++) {
        const char *begin = end;
        while (begin > path && begin[-1] != '/')
            begin--;
        size_t n = MIN((size_t)(end - begin), sizeof(part) - 1);
        memcpy(part, begin, n);
        part[n] = 0;
        char *dot = i == 0 ? strrchr(part, '.') : NULL;
        if (dot)
            *dot = 0;
        if (hint_of(HINT_DATA, part) > 0)
            return true;
        end = begin > path ? begin - 1 : path;
    }
    return false;
}

static void take_label(const struct record_reading *r, struct record_image *i, const char *label)
{
    char key[RECORD_RAW_MAX + 1];
    const struct lookup_row *row = NULL;
    i->label[0] = 0;
    if (!*label && r->names && *i->path && lookup_path_key(i->path, strlen(i->path), key, sizeof(key)))
        row = lookup_find(r->names, key);
    if (row)
        label = row->value;
    if (*label && !name_from_raw(label, i->label))
        i->label[0] = 0;
}

/* The text in its one spelling and the label, from the last time if they were the same. */
static void take_path(struct record_reading *r, struct record_image *i, const char *text, size_t len, const char *label)
{
    struct record_seen *seen = &r->seen[text_hash(text, len) % RECORD_SEEN_MAX];
    if (len > 0 && seen->len == len && seen->label == label && memcmp(seen->text, text, len) == 0) {
        i->kind = seen->kind;
        strcpy(i->path, seen->path);
        strcpy(i->label, seen->name);
        return;
    }
    i->kind = path_from_text(text, len, i->path);
    take_label(r, i, label);
    if (len >= sizeof(seen->text) || strlen(i->path) >= sizeof(seen->path))
        return;
    *seen = (struct record_seen){.label = label, .len = len, .kind = i->kind};
    memcpy(seen->text, text, len);
    strcpy(seen->path, i->path);
    strcpy(seen->name, i->label);
}

static void add(struct record_reading *r, enum role role, const char *text, size_t len, const char *label, bool is_list)
{
    struct record *rec = &r->record;
    if (rec->image_count == RECORD_IMAGES_MAX) {
        if (!strstr(rec->doubt, "images are taken"))
            record_doubt(r, "Only its first %d images are taken.", RECORD_IMAGES_MAX);
        return;
    }
    struct record_image *i = &rec->images[rec->image_count];
    (void)text_copy(text, len, i->raw, sizeof(i->raw));
    i->is_dangling = false;
    take_path(r, i, text, len, label);
    bool is_further = is_list && rec->image_count > 0;
    i->is_data =
        role == ROLE_DATA || (is_further && (is_data_path(i->path) || (*label && hint_of(HINT_DATA, label) > 0)));
    i->order = (int)rec->image_count++;
}

static bool has_slash(const char *p, size_t len)
{
    return memchr(p, '\\', len) || memchr(p, '/', len);
}

/* All parts between the separators are paths, or all are plain names. */
static bool may_split(const char *p, size_t len, char separator)
{
    unsigned paths = 0, names = 0;
    while (true) {
        const char *at = memchr(p, separator, len);
        size_t n = at ? (size_t)(at - p) : len;
        const char *part = p;
        size_t part_len = text_trim(&part, n);
        if (part_len > 0) {
            bool is_path = has_slash(part, part_len);
            paths += is_path && path_looks_so(part, part_len);
            names += !is_path;
            if (is_path && !path_looks_so(part, part_len))
                return false;
        }
        if (!at)
            return paths + names > 1 && (paths == 0 || names == 0);
        p += n + 1;
        len -= n + 1;
    }
}

static void add_parts(struct record_reading *r, enum role role, const char *p, size_t len, char separator)
{
    while (true) {
        const char *at = memchr(p, separator, len);
        size_t n = at ? (size_t)(at - p) : len;
        const char *part = p;
        size_t part_len = text_trim(&part, n);
        if (part_len > 0)
            add(r, role, part, part_len, "", true);
        if (!at)
            return;
        p += n + 1;
        len -= n + 1;
    }
}

/* A drive letter behind ; or |: rather two paths, but nobody said that this column holds several. */
static bool looks_like_two(const char *p, size_t len)
{
    for (size_t i = 0; i + 3 < len; i++)
        if (p[i + 2] == ':' && (p[i] == ';' || p[i] == '|') && (p[i + 3] == '\\' || p[i + 3] == '/'))
            return true;
    return false;
}

static void add_direct(struct record_reading *r, enum role role, const struct cell *c)
{
    char buf[64];
    size_t len;
    const char *text = cell_text(c, buf, &len);
    len = text_trim(&text, len);
    if (r->m->separator && may_split(text, len, r->m->separator)) {
        add_parts(r, role, text, len, r->m->separator);
        return;
    }
    add(r, role, text, len, "", false);
    if (!r->m->separator && looks_like_two(text, len))
        record_doubt(r, "Its image text may be two paths; if it is, set image_separator in the mapping.");
}

/* What the source points at and is not there keeps its raw key, so that the report can say it. */
static void add_dangling(struct record_reading *r, const struct item *item, const char *key)
{
    char shown[160], table[160];
    add(r, item->role, "", 0, "", false);
    struct record_image *i = &r->record.images[MIN(r->record.image_count, (unsigned)RECORD_IMAGES_MAX) - 1];
    (void)text_copy(key, strlen(key), i->raw, sizeof(i->raw));
    i->is_dangling = true;
    record_doubt(r, "Image '%s' is not in table '%s'.", text_shown(key, shown, sizeof(shown)),
                 text_shown(r->source->tables[item->hops[item->hop_count - 1].table].name, table, sizeof(table)));
}

static void add_found(struct record_reading *r, unsigned n, const struct lookup_row *row, bool is_list)
{
    const struct item *item = &r->m->items[n];
    if (item->hop_count == 2) {
        const struct lookup_row *second = *row->value ? lookup_find(r->lookups[n][1], row->value) : NULL;
        if (!second) {
            add_dangling(r, item, row->value);
            return;
        }
        row = second;
    }
    if (*row->value)
        add(r, item->role, row->value, strlen(row->value), row->label, is_list);
    else
        record_doubt(r, "Its image '%s' has no file in the table of images.", text_quote(row->key));
}

static void add_linked(struct record_reading *r, unsigned n, const struct cell *c)
{
    const struct item *item = &r->m->items[n];
    char key[512];
    if (!cell_key(c, key, sizeof(key)))
        return;
    const struct lookup_row *row = lookup_find(r->lookups[n][0], key);
    if (!row && item->hop_count == 1 && item->order < 0 && item->hops[0].key != item->value)
        add_dangling(r, item, key);
    bool is_list = row && row->next;
    for (; row; row = row->next)
        add_found(r, n, row, is_list);
}

void record_add_images(struct record_reading *r, unsigned n, const struct cell *cells)
{
    const struct item *item = &r->m->items[n];
    const struct cell *c = &cells[item->columns[0]];
    if (cell_is_empty(c))
        return;
    if (c->kind == CELL_BAD)
        record_doubt(r, "Its image cannot be read: the value is %s.", text_quote(c->text));
    else if (item->hop_count == 0)
        add_direct(r, item->role, c);
    else
        add_linked(r, n, c);
}
