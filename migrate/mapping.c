/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A mapping as a thing: made, filled, shown, destroyed. How it is found: mapping-detect.c; how it is written: mapping-file.c. */
#include "migrate/mapping-priv.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/text.h"

static const char *const role_names[ROLE_COUNT] = {
    [ROLE_KEY] = "key",         [ROLE_MAC] = "mac",         [ROLE_NAME] = "name",         [ROLE_IP] = "ip",
    [ROLE_NETMASK] = "netmask", [ROLE_GATEWAY] = "gateway", [ROLE_DNS] = "dns",           [ROLE_GROUP] = "group",
    [ROLE_COMMENT] = "comment", [ROLE_ENABLED] = "enabled", [ROLE_DISABLED] = "disabled", [ROLE_IMAGE] = "image",
    [ROLE_DATA] = "data",
};

const char *role_name(enum role r)
{
    return role_names[r];
}

int role_from_name(const char *name)
{
    for (int i = 0; i < ROLE_COUNT; i++)
        if (strcasecmp(name, role_names[i]) == 0)
            return i;
    return -1;
}

struct mapping *mapping_new(struct source *s)
{
    struct mapping *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->source = s;
    m->table = m->names_table = m->names_path = m->names_label = -1;
    m->sizes_table = m->sizes_path = m->sizes_value = -1;
    return m;
}

void mapping_destroy(struct mapping *m)
{
    if (!m)
        return;
    free(m->paths);
    free(m->rejected);
    free(m->questions);
    free(m);
}

struct item *mapping_add_item(struct mapping *m, enum role role, int column)
{
    if (m->item_count == MAPPING_ITEMS_MAX)
        return NULL;
    struct item *i = &m->items[m->item_count++];
    *i = (struct item){.role = role, .columns = {column}, .column_count = 1, .value = -1, .label = -1, .order = -1};
    i->hops[0] = i->hops[1] = (struct hop){-1, -1, -1};
    return i;
}

const struct item *mapping_item(const struct mapping *m, enum role role)
{
    for (unsigned i = 0; i < m->item_count; i++)
        if (m->items[i].role == role)
            return &m->items[i];
    return NULL;
}

bool mapping_uses_column(const struct mapping *m, int column)
{
    for (unsigned i = 0; i < m->item_count; i++)
        for (unsigned k = 0; k < m->items[i].column_count; k++)
            if (m->items[i].columns[k] == column)
                return true;
    return false;
}

void mapping_reject(struct mapping *m, int table, double score, const char *fmt, ...)
{
    struct rejected *more = reallocarray(m->rejected, m->rejected_count + 1, sizeof(*more));
    if (!more)
        return; /* the report says one thing less */
    m->rejected = more;
    struct rejected *r = &more[m->rejected_count++];
    *r = (struct rejected){.table = table, .score = score};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->why, sizeof(r->why), fmt, ap);
    va_end(ap);
    text_mend(r->why);
}

void mapping_ask(struct mapping *m, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    text_mend(line);
    char *all = NULL;
    if (asprintf(&all, "%s%s\n", m->questions ? m->questions : "", line) < 0)
        return; /* the sentence of the error still says that there is a question */
    free(m->questions);
    m->questions = all;
}

bool mapping_has_table(const struct mapping *m)
{
    return m && m->table >= 0;
}

bool mapping_is_site_only(const struct mapping *m)
{
    return m && m->table < 0 && m->site_count > 0;
}

void mapping_set_charset(struct mapping *m, const char *name)
{
    (void)snprintf(m->charset, sizeof(m->charset), "%s", name); /* the source was opened with it, so it is no longer */
}

const struct path_rule *mapping_paths(const struct mapping *m, size_t *ret_n)
{
    *ret_n = m->path_count;
    return m->paths;
}

const struct mapping_policy *mapping_policy(const struct mapping *m)
{
    return &m->policy;
}

#define WHERE_COLUMNS 32

/* --- for people ------------------------------------------------------------------------------------------------------- */

static void print_role(const char *role, const char *text, const char *evidence, FILE *to)
{
    char where[1200], shown[1400];
    (void)snprintf(where, sizeof(where), "%.*s", (int)sizeof(where) - 1, text);
    (void)text_shown(where, shown, sizeof(shown));
    size_t columns = text_columns(shown);
    if (!*evidence) {
        (void)fprintf(to, "  %-15s = %s\n", role, shown);
        return;
    }
    (void)fprintf(to, "  %-15s = %s%*s %s\n", role, shown, columns < WHERE_COLUMNS ? (int)(WHERE_COLUMNS - columns) : 0,
                  "", evidence);
}

static void print_pair(const struct mapping *m, const char *key, int table, int a, int b, const char *evidence,
                       FILE *to)
{
    char text[3400];
    mapping_place_text(m, table, a, b, text, sizeof(text));
    print_role(key, text, evidence, to);
}

static void print_more(const struct mapping *m, FILE *to)
{
    static const char *const kinds[] = {
        [SITE_OPTIONS] = "options", [SITE_SETTINGS] = "settings", [SITE_COLUMNS] = "columns"};
    const char separator[2] = {m->separator, 0};
    if (m->separator)
        print_role("image_separator", separator, "between several paths in one text", to);
    if (m->names_table >= 0)
        print_pair(m, "image_names", m->names_table, m->names_path, m->names_label, "what an image is called", to);
    if (m->sizes_table >= 0)
        print_pair(m, "image_sizes", m->sizes_table, m->sizes_path, m->sizes_value, "tells files of one name apart",
                   to);
    for (unsigned i = 0; i < m->site_count; i++)
        print_pair(m, kinds[m->sites[i].kind], m->sites[i].table, m->sites[i].key, m->sites[i].value,
                   "settings of the whole site", to);
}

void mapping_print(const struct mapping *m, FILE *to)
{
    char text[1200];
    if (m->table < 0) {
        (void)fprintf(to, "No table of clients was chosen.\n");
    } else {
        name_text(source_table(m->source, (size_t)m->table)->name, text, sizeof(text));
        print_role("table", text, m->evidence, to);
        for (unsigned i = 0; i < m->item_count; i++) {
            item_text(m, &m->items[i], text, sizeof(text));
            print_role(role_name(m->items[i].role), text, m->items[i].evidence, to);
        }
    }
    print_more(m, to);
    if (m->questions)
        (void)fprintf(to, "%s", m->questions);
}

static const char *table_name(const struct mapping *m, int table)
{
    return source_table(m->source, (size_t)table)->name;
}

char *mapping_rejected_json(const struct mapping *m)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < m->rejected_count; i++) {
        const struct rejected *r = &m->rejected[i];
        json_t *o = json_pack("{s:s, s:f, s:s}", "table", table_name(m, r->table), "score", r->score, "reason", r->why);
        if (o)
            (void)json_array_append_new(list, o); /* out of memory: one entry less */
    }
    char *text = list ? json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(3)) : NULL;
    json_decref(list);
    return text;
}

static json_t *items_json(const struct mapping *m)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < m->item_count; i++) {
        char text[1200];
        item_text(m, &m->items[i], text, sizeof(text));
        json_t *o = json_pack("{s:s, s:s, s:s}", "role", role_name(m->items[i].role), "from", text, "evidence",
                              m->items[i].evidence);
        if (o)
            (void)json_array_append_new(list, o); /* as above */
    }
    return list;
}

char *mapping_json(const struct mapping *m)
{
    char separator[2] = {m->separator, 0};
    json_t *o = json_pack("{s:s?, s:f, s:s, s:s, s:o?, s:s?}", "table", m->table < 0 ? NULL : table_name(m, m->table),
                          "score", m->score, "evidence", m->evidence, "image_separator", separator, "roles",
                          items_json(m), "questions", m->questions);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(3)) : NULL;
    json_decref(o);
    return text;
}
