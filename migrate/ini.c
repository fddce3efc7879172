/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INI files (CCBoot.ini) as a source.
 *
 *   table "settings"   section, name, value     every key
 *   table "sections"   section, and a column for each key that occurs    one row for each section
 *
 * The keys of CCBoot.ini are not documented: the first table is what site_record_read() looks into; the second one makes a list of clients out of a file with
 * a section for each. A section with the same name twice is two rows. Comments are lines that begin with ; or #.
 *
 * Where sections are clients (a key holds their MACs, or they are called by them) the others are in the first table only: what a server's section calls
 * "BootFile" is no client's name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/ini-text.h"
#include "migrate/normalise.h"
#include "migrate/source.h"
#include "migrate/text-file.h"
#include "migrate/text.h"

#define FILE_MAX    (16u << 20)
#define ENTRIES_MAX 100000

struct entry {
    const char *section, *key, *value; /* in text */
    unsigned row;                      /* number of the section */
};

struct ini {
    char *text;
    struct entry *list;
    size_t n, size;
    unsigned sections;
    uint64_t without_value;
    const char *keys[SOURCE_COLUMNS_MAX - 1];
    size_t key_count;
    bool has_more_keys;
    bool *is_client; /* of a section's number; NULL: no section is one, and all are rows */
};

static void ini_close(struct source *s)
{
    struct ini *f = s->priv;
    if (!f)
        return;
    free(f->text);
    free(f->list);
    free(f->is_client);
    free(f);
    s->priv = NULL;
}

/* Number of the key, or key_count. As it stands first, which is quick and nearly always enough. */
static size_t find_key(const struct ini *f, const char *key)
{
    size_t i = 0;
    while (i < f->key_count && strcmp(f->keys[i], key) != 0)
        i++;
    if (i < f->key_count)
        return i;
    for (i = 0; i < f->key_count && !text_same(f->keys[i], key);)
        i++;
    return i;
}

static void note_key(struct ini *f, const char *key)
{
    if (find_key(f, key) < f->key_count)
        return;
    if (f->key_count < ARRAY_SIZE(f->keys))
        f->keys[f->key_count++] = key;
    else
        f->has_more_keys = true;
}

static int take_line(void *arg, const struct ini_line *l)
{
    struct ini *f = arg;
    if (!l->key) {
        f->sections++;
        return 0;
    }
    if (!l->value) {
        f->without_value++;
        return 0;
    }
    if (f->n == ENTRIES_MAX)
        return -EFBIG;
    if (f->n == f->size) {
        size_t size = f->size ? f->size * 2 : 256;
        struct entry *more = reallocarray(f->list, size, sizeof(*more));
        if (!more)
            return -ENOMEM;
        f->list = more;
        f->size = size;
    }
    f->list[f->n++] = (struct entry){l->section, l->key, l->value, f->sections};
    return 0;
}

/* --- which sections are clients -------------------------------------------------------------------------------------- */

static bool is_mac(const char *text)
{
    char mac[MAC_LEN + 1];
    return mac_from_text(text, strlen(text), mac) < MAC_EMPTY;
}

/* Keys that hold MACs; those that are called so before all others (a server's "GatewayMAC"). */
struct mac_keys {
    const char *names[16];
    size_t n;
    bool are_named;
};

static bool has_key(const struct mac_keys *k, const char *key)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->names[i], key) == 0 || text_same(k->names[i], key))
            return true;
    return false;
}

static void find_mac_keys(const struct ini *f, struct mac_keys *k)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct entry *e = &f->list[i];
        if (!is_mac(e->value) || has_key(k, e->key))
            continue;
        bool is_named = hint_of(HINT_MAC, e->key) > 0;
        if (is_named && !k->are_named)
            k->n = 0;
        k->are_named |= is_named;
        if (is_named == k->are_named && k->n < ARRAY_SIZE(k->names))
            k->names[k->n++] = e->key;
    }
}

static int find_clients(struct ini *f, struct err *err)
{
    struct mac_keys keys = {.n = 0};
    bool has_any = false;
    find_mac_keys(f, &keys);
    f->is_client = calloc((size_t)f->sections + 1, sizeof(*f->is_client));
    if (!f->is_client)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    for (size_t i = 0; i < f->n; i++) {
        const struct entry *e = &f->list[i];
        bool is_one = (keys.n > 0 && has_key(&keys, e->key)) || is_mac(e->section);
        f->is_client[e->row] |= is_one;
        has_any |= is_one;
    }
    if (!has_any) {
        free(f->is_client);
        f->is_client = NULL;
    }
    for (size_t i = 0; i < f->n && !f->has_more_keys; i++)
        if ((!has_any || f->is_client[f->list[i].row]) && *f->list[i].key && strlen(f->list[i].key) <= SOURCE_NAME_MAX)
            note_key(f, f->list[i].key);
    return 0;
}

/* --- tables ---------------------------------------------------------------------------------------------------------- */

static void set_column(struct source_table *t, size_t i, const char *name)
{
    struct source_column *c = &((struct source_column *)t->columns)[i];
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    strcpy(c->type, "text");
}

static int add_tables(struct source *s, const struct ini *f, struct err *err)
{
    struct source_table *t = source_add_table(s, "settings", 3);
    if (!t)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    set_column(t, 0, "section");
    set_column(t, 1, "name");
    set_column(t, 2, "value");
    if (f->has_more_keys)
        return 0; /* too many different keys for sections to be rows of one table */
    t = source_add_table(s, "sections", f->key_count + 1);
    if (!t)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    set_column(t, 0, INI_SECTION_COLUMN);
    for (size_t i = 0; i < f->key_count; i++)
        set_column(t, i + 1, f->keys[i]);
    return 0;
}

static int read_all(struct source *s, struct ini *f, const struct source_options *o, struct err *err)
{
    _cleanup_(text_file_closep) struct text_file *file = NULL;
    int r = text_file_open(s->path, o->charset, &file, err);
    if (r == 0)
        r = text_file_load(file, s->path, FILE_MAX, &f->text, err);
    if (r < 0)
        return r;
    (void)snprintf(s->info.charset, sizeof(s->info.charset), "%s", text_file_charset(file));
    strcpy(s->info.format, "INI");
    text_file_say_guess(file, s);
    if (text_file_damaged(file))
        source_note(s, true, "%llu characters are not %s; give the right character set with --charset",
                    (unsigned long long)text_file_damaged(file), text_file_charset(file));
    return 0;
}

static int ini_open(struct source *s, const char *path, const struct source_options *o, struct err *err)
{
    struct ini *f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    s->priv = f;
    int r = read_all(s, f, o, err);
    if (r < 0)
        return r;
    r = ini_lines(f->text, false, take_line, f);
    if (r < 0)
        return r == -EFBIG ? err_set(err, r, "'%s' has more than %d lines", text_quote(path), ENTRIES_MAX)
                           : err_set(err, r, "there is not enough memory to read the file");
    if (f->n == 0)
        return err_set(err, -EBADMSG, "'%s' is no INI file: it has no line of the form KEY = VALUE", text_quote(path));
    if (f->without_value)
        source_note(s, false, "%llu line%s no '=' and %s left out", (unsigned long long)f->without_value,
                    f->without_value == 1 ? " has" : "s have", f->without_value == 1 ? "is" : "are");
    r = find_clients(f, err);
    return r < 0 ? r : add_tables(s, f, err);
}

static struct cell text_cell(const char *text)
{
    size_t len = strlen(text);
    return (struct cell){.kind = len ? CELL_TEXT : CELL_NONE, .text = text, .len = len};
}

static int settings_rows(const struct ini *f, source_each *each, void *arg, uint64_t *ret_rows)
{
    int r = 0;
    for (size_t i = 0; i < f->n && r == 0; i++) {
        struct cell cells[3] = {text_cell(f->list[i].section), text_cell(f->list[i].key), text_cell(f->list[i].value)};
        r = each(arg, (*ret_rows)++, cells);
    }
    return r;
}

static int sections_rows(const struct ini *f, source_each *each, void *arg, uint64_t *ret_rows)
{
    struct cell cells[SOURCE_COLUMNS_MAX];
    int r = 0;
    for (size_t i = 0; i < f->n && r == 0;) {
        size_t first = i;
        for (size_t k = 0; k <= f->key_count; k++)
            cells[k] = text_cell("");
        for (; i < f->n && f->list[i].row == f->list[first].row; i++) {
            size_t k = find_key(f, f->list[i].key);
            if (k < f->key_count) /* an unnamed key is in the other table only */
                cells[k + 1] = text_cell(f->list[i].value);
        }
        cells[0] = text_cell(f->list[first].section);
        if (!f->is_client || f->is_client[f->list[first].row])
            r = each(arg, (*ret_rows)++, cells);
    }
    return r;
}

static int ini_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    const struct ini *f = s->priv;
    *ret_rows = 0;
    int r = i == 0 ? settings_rows(f, each, arg, ret_rows) : sections_rows(f, each, arg, ret_rows);
    return MIN(r, 0);
}

const struct source_reader ini_reader = {.open = ini_open, .rows = ini_rows, .close = ini_close};
