/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mapping as a text file that people edit (INI, UTF-8; docs/importing.md has an example).
 *
 * Whatever mapping_save() writes, mapping_load() reads back as the same mapping; but an open question is saved as "?", with the proposal as a
 * comment above, and must be answered: a file that is given back as it was would be a guess. A key that is not known, a name that the source does not
 * have, or a role given twice is an error with the line's number: a mistyped line that is passed over would be a guess.
 */
#include "migrate/mapping-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistr.h>

#include "core/util.h"
#include "migrate/ini-text.h"
#include "migrate/mapping-names.h"
#include "migrate/text.h"

#define FILE_MAX        (1u << 20)
#define CHARSET_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+/()" /* of iconv's names */

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static const char *const duplicate_words[] = {[DUPLICATE_SKIP_ALL] = "skip-all",
                                              [DUPLICATE_STOP] = "stop",
                                              [DUPLICATE_FIRST] = "first",
                                              [DUPLICATE_LAST] = "last"};
static const char *const missing_words[] = {[MISSING_IMPORT_UNLINKED] = "import-unlinked", [MISSING_SKIP] = "skip"};
static const char *const disabled_words[] = {[DISABLED_IMPORT] = "import-disabled", [DISABLED_SKIP] = "skip"};
static const char *const site_words[] = {
    [SITE_OPTIONS] = "options", [SITE_SETTINGS] = "settings", [SITE_COLUMNS] = "columns"};

void mapping_place_text(const struct mapping *m, int table, int a, int b, char *ret, size_t size)
{
    char t[1100], x[1100], y[1100];
    name_text(source_table(m->source, (size_t)table)->name, t, sizeof(t));
    if (a < 0) {
        (void)snprintf(ret, size, "%s", t);
        return;
    }
    name_text(column_at(m->source, table, a)->name, x, sizeof(x));
    name_text(column_at(m->source, table, b)->name, y, sizeof(y));
    (void)snprintf(ret, size, "%s.%s : %s", t, x, y);
}

static void save_place(const struct mapping *m, const char *key, int table, int a, int b, FILE *to)
{
    char text[3400];
    mapping_place_text(m, table, a, b, text, sizeof(text));
    (void)fprintf(to, "%s = %s\n", key, text);
}

/* Tables and columns that the file could name, with samples, for whoever writes a mapping by hand. */
static void save_overview(const struct mapping *m, FILE *to)
{
    (void)fprintf(to, "; The tables of the file and their columns:\n");
    for (size_t i = 0; i < m->source->table_count; i++) {
        const struct source_table *t = source_table(m->source, i);
        char text[1100];
        name_text(t->name, text, sizeof(text));
        (void)fprintf(to, ";   %s:", text);
        for (size_t k = 0; k < t->column_count; k++) {
            name_text(t->columns[k].name, text, sizeof(text));
            (void)fprintf(to, "%s %s", k ? "," : "", text);
        }
        (void)fprintf(to, "%s\n", t->is_linked ? " (linked: rows lie in another file)" : "");
    }
}

static void save_clients(const struct mapping *m, FILE *to)
{
    char text[8192], shown[sizeof(((struct mapping *)0)->evidence)];
    (void)fprintf(to, "\n[clients]\n");
    if (m->questions)
        (void)fprintf(to, "%s", m->questions);
    if (m->table < 0) {
        (void)fprintf(to, "; table = ?\n; mac   = ?\n; name  = ?\n; ip    = ?\n; image = ?\n");
        return;
    }
    name_text(source_table(m->source, (size_t)m->table)->name, text, sizeof(text));
    (void)fprintf(to, "%s%s%s%stable = %s\n", *m->evidence ? "; " : "", text_shown(m->evidence, shown, sizeof(shown)),
                  *m->evidence ? "\n" : "", m->is_table_open ? "; " : "", text);
    if (m->is_table_open)
        (void)fprintf(to, "table = ?\n");
    for (unsigned i = 0; i < m->item_count; i++) {
        const struct item *item = &m->items[i];
        item_text(m, item, text, sizeof(text));
        if (*item->evidence)
            (void)fprintf(to, "; %s\n", text_shown(item->evidence, shown, sizeof(shown)));
        bool is_open = m->open_roles >> item->role & 1;
        (void)fprintf(to, "%s%s = %s\n", is_open ? "; " : "", role_name(item->role), text);
        if (is_open && mapping_item(m, item->role) == item)
            (void)fprintf(to, "%s = ?\n", role_name(item->role));
    }
    if (m->separator)
        (void)fprintf(to, "image_separator = %c\n", m->separator);
    if (m->names_table >= 0)
        save_place(m, "image_names", m->names_table, m->names_path, m->names_label, to);
    if (m->sizes_table >= 0)
        save_place(m, "image_sizes", m->sizes_table, m->sizes_path, m->sizes_value, to);
}

int mapping_save(const struct mapping *m, FILE *to)
{
    char path[4096];
    (void)fprintf(to, "; Mapping for %s\n; Edit it and give it back with --mapping. Form: docs/importing.md\n",
                  text_shown(m->source->path, path, sizeof(path)));
    save_overview(m, to);
    (void)fprintf(to, "\n[source]\n; text was read as %s; only if it looks wrong:\n%scharset = %s\n",
                  *m->source->info.charset ? m->source->info.charset : "Unicode", *m->charset ? "" : "; ",
                  *m->charset ? m->charset : "GBK");
    save_clients(m, to);
    if (m->site_count > 0)
        (void)fprintf(to, "\n[site]\n");
    for (unsigned i = 0; i < m->site_count; i++)
        save_place(m, site_words[m->sites[i].kind], m->sites[i].table, m->sites[i].key, m->sites[i].value, to);
    (void)fprintf(to, "\n[paths]\n; D:\\Images\\ = /srv/images/\n");
    for (size_t i = 0; i < m->path_count; i++)
        (void)fprintf(to, "%s = %s\n", m->paths[i].from, m->paths[i].to);
    (void)fprintf(to,
                  "\n[policy]\n; skip-all, stop, first or last\nduplicate_mac = %s\n; import-unlinked or "
                  "skip\nmissing_image = %s\n",
                  duplicate_words[m->policy.duplicate_mac], missing_words[m->policy.missing_image]);
    (void)fprintf(to, "; import-disabled or skip\ndisabled = %s\n", disabled_words[m->policy.disabled]);
    return ferror(to) ? -EIO : 0;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

struct loading {
    struct mapping *m;
    struct err *err;
};

static int word_of(const char *const *words, size_t count, const char *value, struct err *err)
{
    char list[200] = "";
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list);
        if (strcasecmp(words[i], value) == 0)
            return (int)i;
        (void)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", words[i]);
    }
    return err_set(err, -EINVAL, "'%s' is none of: %s", text_quote(value), list);
}

static int load_policy(struct loading *l, const struct ini_line *line)
{
    struct mapping_policy *p = &l->m->policy;
    int r;
    if (strcasecmp(line->key, "duplicate_mac") == 0) {
        r = word_of(duplicate_words, ARRAY_SIZE(duplicate_words), line->value, l->err);
        p->duplicate_mac = r < 0 ? p->duplicate_mac : (unsigned)r;
    } else if (strcasecmp(line->key, "missing_image") == 0) {
        r = word_of(missing_words, ARRAY_SIZE(missing_words), line->value, l->err);
        p->missing_image = r < 0 ? p->missing_image : (unsigned)r;
    } else if (strcasecmp(line->key, "disabled") == 0) {
        r = word_of(disabled_words, ARRAY_SIZE(disabled_words), line->value, l->err);
        p->disabled = r < 0 ? p->disabled : (unsigned)r;
    } else {
        return err_set(l->err, -EINVAL, "there is no policy '%s'; there are: duplicate_mac, missing_image, disabled",
                       text_quote(line->key));
    }
    return MIN(r, 0);
}

static int load_path(struct loading *l, const struct ini_line *line)
{
    struct mapping *m = l->m;
    bool is_section = *line->key == '['; /* it could be taken for one when it is saved without its remark */
    if (!*line->key || is_section || !*line->value || strlen(line->key) >= sizeof(m->paths->from) ||
        strlen(line->value) >= sizeof(m->paths->to))
        return err_set(l->err, -EINVAL, "a rule is written OLD = NEW, as in D:\\Images\\ = /srv/images/");
    if (m->path_count == MAPPING_PATHS_MAX)
        return err_set(l->err, -EINVAL, "there are more than %d rules", MAPPING_PATHS_MAX);
    struct path_rule *more = reallocarray(m->paths, m->path_count + 1, sizeof(*more));
    if (!more)
        return err_set(l->err, -ENOMEM, "there is not enough memory for the mapping");
    m->paths = more;
    strcpy(more[m->path_count].from, line->key);
    strcpy(more[m->path_count++].to, line->value);
    return 0;
}

/* TABLE.COLUMN : COLUMN, nothing behind it. */
static int load_pair(struct loading *l, const char *text, int *ret_table, int *ret_a, int *ret_b)
{
    const char *p = text;
    int r = names_place(l->m->source, &p, ret_table, ret_a, l->err);
    if (r == 0 && !names_punct(&p, ":"))
        r = err_set(l->err, -EINVAL, "write it as TABLE.COLUMN : COLUMN");
    if (r == 0)
        r = names_own_column(l->m->source, *ret_table, &p, ret_b, l->err);
    p += strspn(p, " \t");
    if (r == 0 && *p)
        r = err_set(l->err, -EINVAL, "'%s' is not understood", text_quote(p));
    return r;
}

static int load_site(struct loading *l, const struct ini_line *line)
{
    struct mapping *m = l->m;
    struct site_item item = {0, -1, -1, -1};
    int kind = word_of(site_words, ARRAY_SIZE(site_words), line->key, l->err), r;
    if (kind < 0)
        return kind;
    item.kind = (enum site_kind)kind;
    if (item.kind == SITE_COLUMNS) {
        char name[SOURCE_NAME_MAX + 1];
        const char *p = line->value;
        r = names_word(&p, name, l->err);
        item.table = r < 0 ? r : names_table(m->source, name, l->err);
        r = MIN(item.table, 0);
    } else {
        r = load_pair(l, line->value, &item.table, &item.key, &item.value);
    }
    if (r == 0 && m->site_count == MAPPING_SITES_MAX)
        r = err_set(l->err, -EINVAL, "there are more than %d lines", MAPPING_SITES_MAX);
    if (r == 0)
        m->sites[m->site_count++] = item;
    return r;
}

static int load_separator(struct loading *l, const char *value)
{
    if (strlen(value) != 1 || !strchr(";|,", *value))
        return err_set(l->err, -EINVAL, "image_separator is one of ; | ,");
    l->m->separator = *value;
    return 0;
}

static int load_table(struct loading *l, const char *value)
{
    char name[SOURCE_NAME_MAX + 1];
    const char *p = value;
    if (l->m->table >= 0)
        return err_set(l->err, -EINVAL, "table is given twice");
    int r = names_table(l->m->source, value, NULL); /* also one with blanks and dots in it, without quotes */
    if (r < 0) {
        r = names_word(&p, name, l->err);
        if (r == 0 && *(p += strspn(p, " \t")))
            r = err_set(l->err, -EINVAL, "'%s' is not understood; write a name with blanks or marks in quotes",
                        text_quote(p));
        r = r < 0 ? r : names_table(l->m->source, name, l->err);
    }
    if (r >= 0 && source_table(l->m->source, (size_t)r)->is_linked)
        return err_set(l->err, -EINVAL, "table '%s' is linked: its rows lie in another file; import that file",
                       text_quote(source_table(l->m->source, (size_t)r)->name));
    l->m->table = r;
    return MIN(r, 0);
}

/* "A, B" of a role that may have several columns is one item for each. */
static int add_items(struct loading *l, const struct item *item)
{
    bool is_list = item->role == ROLE_DNS || item->role == ROLE_IMAGE || item->role == ROLE_DATA;
    unsigned n = is_list ? item->column_count : 1;
    if (item->column_count > 1 && item->role != ROLE_MAC && !is_list)
        return err_set(l->err, -EINVAL, "%s has one column", role_name(item->role));
    if (item->role == ROLE_MAC && item->column_count != 1 && item->column_count != MAC_COLUMNS)
        return err_set(l->err, -EINVAL, "mac has one column, or six with a byte each");
    for (unsigned i = 0; i < n; i++) {
        struct item *to = mapping_add_item(l->m, item->role, -1);
        if (!to)
            return err_set(l->err, -EINVAL, "there are more than %d lines", MAPPING_ITEMS_MAX);
        *to = *item;
        if (is_list) {
            to->columns[0] = item->columns[i];
            to->column_count = 1;
        }
    }
    return 0;
}

static int load_role(struct loading *l, const struct ini_line *line, enum role role)
{
    struct item item;
    bool may_repeat = role == ROLE_DNS || role == ROLE_IMAGE || role == ROLE_DATA;
    if (!*line->value)
        return 0; /* "image =": there is none */
    if (l->m->table < 0)
        return err_set(l->err, -EINVAL, "write table = ... above %s", line->key);
    if (!may_repeat && mapping_item(l->m, role))
        return err_set(l->err, -EINVAL, "%s is given twice", role_name(role));
    int r = names_item(l->m, role, line->value, &item, l->err);
    if (r == 0 && item.hop_count > 0 && role != ROLE_IMAGE && role != ROLE_DATA && role != ROLE_GROUP)
        r = err_set(l->err, -EINVAL, "'->' is for image, data and group");
    return r < 0 ? r : add_items(l, &item);
}

static int load_client(struct loading *l, const struct ini_line *line)
{
    struct mapping *m = l->m;
    int role = role_from_name(line->key);
    if (strcmp(line->value, "?") == 0)
        return err_set(
            l->err, -EINVAL,
            "%s is still a question: write the right one instead of '?'; the comments above have the choices",
            text_quote(line->key));
    if (strcasecmp(line->key, "table") == 0)
        return load_table(l, line->value);
    if (strcasecmp(line->key, "image_separator") == 0)
        return load_separator(l, line->value);
    if (strcasecmp(line->key, "image_names") == 0)
        return load_pair(l, line->value, &m->names_table, &m->names_path, &m->names_label);
    if (strcasecmp(line->key, "image_sizes") == 0)
        return load_pair(l, line->value, &m->sizes_table, &m->sizes_path, &m->sizes_value);
    if (role < 0)
        return err_set(l->err, -EINVAL,
                       "there is no '%s' here; there are: table, key, mac, name, ip, netmask, gateway, dns, group, "
                       "comment, enabled, "
                       "disabled, image, data, image_separator, image_names, image_sizes",
                       text_quote(line->key));
    return load_role(l, line, (enum role)role);
}

static int load_source(struct loading *l, const struct ini_line *line)
{
    if (strcasecmp(line->key, "charset") != 0)
        return err_set(l->err, -EINVAL, "there is no '%s' here; there is: charset", text_quote(line->key));
    if (strlen(line->value) >= sizeof(l->m->charset) || line->value[strspn(line->value, CHARSET_LETTERS)])
        return err_set(l->err, -EINVAL,
                       "there is no character set '%s': GBK, BIG5, CP932, CP1251, CP1252 and so on are, see 'iconv -l'",
                       text_quote(line->value));
    strcpy(l->m->charset, line->value);
    return 0;
}

static int load_line(void *arg, const struct ini_line *line)
{
    static const struct {
        const char *section;
        int (*load)(struct loading *l, const struct ini_line *line);
    } sections[] = {{"source", load_source},
                    {"clients", load_client},
                    {"site", load_site},
                    {"paths", load_path},
                    {"policy", load_policy}};
    struct loading *l = arg;
    int r = -EINVAL;
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        if (strcasecmp(line->section, sections[i].section) != 0)
            continue;
        if (!line->key)
            return 0;
        r = line->value ? sections[i].load(l, line)
                        : err_set(l->err, -EINVAL, "'%s' has no '='", text_quote(line->key));
        return r < 0 ? err_prefix(l->err, r, "line %u", line->number) : 0;
    }
    return err_set(l->err, r,
                   "line %u: there is no section [%s]; there are: [source], [clients], [site], [paths], [policy]",
                   line->number, text_quote(line->section));
}

static int read_text(const char *path, char **ret, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    int r = file_read(AT_FDCWD, path, FILE_MAX, &text, &len);
    if (r < 0)
        return err_sys(err, r, "cannot read the mapping");
    if (strlen(text) != len || u8_check((const uint8_t *)text, len)) {
        free(text);
        return err_set(err, -EINVAL, "it is no UTF-8 text; save it as UTF-8");
    }
    *ret = text;
    return 0;
}

static int load(const char *path, struct mapping *m, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct loading l = {m, err};
    int r = read_text(path, &text, err);
    if (r == 0)
        r = ini_lines(text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0), true, load_line, &l);
    if (r == 0 && m->table < 0 && m->site_count == 0)
        r = err_set(err, -EINVAL, "it names no table; write table = ... and mac = ... below [clients]");
    if (r == 0 && m->table >= 0 && !mapping_item(m, ROLE_MAC))
        r = err_set(err, -EINVAL, "it does not say which column is the MAC; write mac = ... below [clients]");
    return r;
}

int mapping_load(const char *path, struct source *s, struct mapping **ret, struct err *err)
{
    char shown[400];
    _cleanup_(mapping_destroyp) struct mapping *m = mapping_new(s);
    if (!m)
        return err_set(err, -ENOMEM, "there is not enough memory for the mapping");
    int r = load(path, m, err);
    if (r < 0)
        return err_prefix(err, r, "mapping file '%s'", text_shown(path, shown, sizeof(shown)));
    *ret = take_ptr(m);
    return 0;
}

static int take_charset(void *arg, const struct ini_line *line)
{
    char *ret = arg;
    if (line->key && line->value && strcasecmp(line->section, "source") == 0 && strcasecmp(line->key, "charset") == 0 &&
        strlen(line->value) < 32)
        strcpy(ret, line->value);
    return 0;
}

int mapping_charset(const char *path, char ret[32], struct err *err)
{
    _cleanup_free_ char *text = NULL;
    char shown[400];
    ret[0] = 0;
    int r = read_text(path, &text, err);
    if (r < 0)
        return err_prefix(err, r, "mapping file '%s'", text_shown(path, shown, sizeof(shown)));
    return ini_lines(text + (strncmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0), true, take_charset, ret);
}
