/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mapping_detect(): every table is looked at, the one that looks most like a list of clients is taken, if it is clearly before all others.
 *
 *   score = 0.6 x MACs + 0.2 image + 0.1 name + 0.1 IP addresses + at most 0.2 names - penalties         (docs/importing.md)
 *   taken: score >= 0.6 and 0.15 before the next one
 *
 * Large tables are looked at in a sample of their rows (profile.h). That is enough where the answer is clear; where it is not, or where it would
 * hang on a few values, they are looked at once more and more closely, and all is decided anew.
 *
 * A table without rows has no content; one is taken by its names alone when no table with rows would do and it is the only such.
 * Not looked at: linked tables, and tables that Access itself makes (~..., MSys..., USys...).
 */
#include "migrate/mapping-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/text.h"

#define SCORE_MIN  0.6
#define SCORE_LEAD 0.15
#define FEW_VALUES 20           /* of a sample: nothing is decided by them */
#define KEPT_BYTES (256u << 20) /* of sets of values; beyond, tables without MACs are only counted */

struct candidate {
    struct mapping *m;
    bool is_open;
};

struct search {
    struct detect d;
    struct candidate *list; /* those with MACs, best first */
    size_t count;
    struct mapping *result;
    size_t kept_bytes;
    bool is_unsure; /* see struct detect */
};

/* All that was concluded; what was read of the tables stays. */
static void forget_conclusions(struct search *s)
{
    free(s->d.images);
    s->d.images = NULL;
    s->d.image_count = 0;
    for (size_t i = 0; i < s->count; i++)
        mapping_destroy(s->list[i].m);
    free(s->list);
    s->list = NULL;
    s->count = 0;
    mapping_destroy(s->result);
    s->result = NULL;
    s->is_unsure = false;
}

static void finish(struct search *s)
{
    forget_conclusions(s);
    for (size_t i = 0; s->d.profiles && i < s->d.source->table_count; i++)
        profile_destroy(s->d.profiles[i]);
    free(s->d.profiles);
}

/* --- looking ---------------------------------------------------------------------------------------------------------- */

static const char *why_not(const struct source_table *t)
{
    if (t->is_linked)
        return "its rows lie in another file";
    if (*t->name == '~' || strncasecmp(t->name, "MSys", 4) == 0 || strncasecmp(t->name, "USys", 4) == 0)
        return "it is a temporary or system table of Access";
    return NULL;
}

static bool has_macs(const struct profile *p)
{
    for (size_t i = 0; i < p->table->column_count; i++)
        if (p->columns[i].macs > 0 && profile_share(&p->columns[i], p->columns[i].macs) >= 0.3)
            return true;
    return false;
}

static void keep_or_forget(struct search *s, struct profile *p)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->table->column_count; i++)
        bytes += (p->columns[i].values.size + p->columns[i].mac_values.size) * sizeof(struct value_count);
    if (s->kept_bytes + bytes > KEPT_BYTES && !has_macs(p))
        profile_forget_values(p);
    else
        s->kept_bytes += bytes;
}

/* The profile of one table, unless it is there and good enough. */
static int look_at_table(struct search *s, size_t i, bool is_close, struct err *err)
{
    struct profile **p = &s->d.profiles[i];
    if (*p && !(is_close && (*p)->is_sample))
        return 0;
    profile_destroy(*p);
    *p = NULL;
    int r = profile_make(s->d.source, i, is_close, p, err);
    if (r == 0)
        keep_or_forget(s, *p);
    return r;
}

static int look_at_tables(struct search *s, bool is_close, struct err *err)
{
    struct source *src = s->d.source;
    for (size_t i = 0; i < src->table_count; i++) {
        const struct source_table *t = source_table(src, i);
        const char *why = why_not(t);
        if (why) {
            char shown[200];
            mapping_reject(s->result, (int)i, 0, "%s%s%s", why, t->is_linked ? ": " : "",
                           t->is_linked ? text_shown(t->linked_to, shown, sizeof(shown)) : "");
            continue;
        }
        int r = look_at_table(s, i, is_close, err);
        if (r < 0)
            return r;
    }
    return detect_image_tables(&s->d) < 0 ? err_set(err, -ENOMEM, "there is not enough memory to look at the tables")
                                          : 0;
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->m->score > y->m->score ? -1 : x->m->score < y->m->score ? 1 : x->m->table - y->m->table;
}

/* One more candidate: table @table as a mapping of its own. */
static int weigh_table(struct search *s, int table)
{
    struct mapping *m = mapping_new(s->d.source);
    bool is_open = false;
    if (!m)
        return -ENOMEM;
    if (detect_roles(&s->d, table, m, &is_open) <= 0 && !mapping_item(m, ROLE_MAC)) {
        mapping_destroy(m);
        if (s->d.profiles[table]->rows > 0)
            mapping_reject(s->result, table, 0, "no column holds mostly different MAC addresses");
        else
            mapping_reject(s->result, table, 0, "it has no rows");
        return 0;
    }
    struct candidate *more = reallocarray(s->list, s->count + 1, sizeof(*more));
    if (!more) {
        mapping_destroy(m);
        return -ENOMEM;
    }
    s->list = more;
    s->list[s->count++] = (struct candidate){m, is_open};
    return 0;
}

/* --- by names alone --------------------------------------------------------------------------------------------------- */

/* The column that a hint fits best, and only by a whole word. */
static void take_by_name(struct mapping *m, enum role role, enum hint h)
{
    const struct source_table *t = source_table(m->source, (size_t)m->table);
    int best = -1;
    double best_hint = 0.1;
    for (size_t i = 0; i < t->column_count; i++) {
        double hint = mapping_uses_column(m, (int)i) ? 0 : hint_of(h, t->columns[i].name);
        bool is_text = strcasecmp(t->columns[i].type, "text") == 0 || strcasecmp(t->columns[i].type, "memo") == 0;
        if (is_text && hint > best_hint) {
            best = (int)i;
            best_hint = hint;
        }
    }
    struct item *i = best >= 0 ? mapping_add_item(m, role, best) : NULL;
    if (i)
        text_format(i->evidence, sizeof(i->evidence), "the name says so; there are no rows");
}

static const struct {
    enum role role;
    enum hint hint;
} by_name[] = {
    {ROLE_MAC, HINT_MAC},     {ROLE_IP, HINT_IP},     {ROLE_NETMASK, HINT_NETMASK}, {ROLE_GATEWAY, HINT_GATEWAY},
    {ROLE_IMAGE, HINT_IMAGE}, {ROLE_NAME, HINT_NAME}, {ROLE_COMMENT, HINT_COMMENT}, {ROLE_DNS, HINT_DNS},
};

static bool weigh_empty(struct mapping *m)
{
    for (size_t i = 0; i < ARRAY_SIZE(by_name); i++)
        take_by_name(m, by_name[i].role, by_name[i].hint);
    bool is_enough = mapping_item(m, ROLE_MAC) && (mapping_item(m, ROLE_IMAGE) || mapping_item(m, ROLE_NAME)) &&
                     hint_of(HINT_OLD, source_table(m->source, (size_t)m->table)->name) == 0;
    m->score = is_enough ? SCORE_MIN : 0;
    return is_enough;
}

/* The only table without rows that is called and built like one of clients; NULL when there is none or several. */
static struct mapping *find_empty(struct search *s)
{
    struct mapping *found = NULL;
    for (size_t i = 0; i < s->d.source->table_count; i++) {
        if (!s->d.profiles[i] || s->d.profiles[i]->rows > 0)
            continue;
        struct mapping *m = mapping_new(s->d.source);
        if (!m)
            break;
        m->table = (int)i;
        if (!weigh_empty(m)) {
            mapping_destroy(m);
            continue;
        }
        if (found) {
            mapping_destroy(m);
            mapping_destroy(found);
            return NULL;
        }
        text_format(m->evidence, sizeof(m->evidence), "It has no rows: it was found by names alone.");
        found = m;
    }
    return found;
}

/* --- choosing --------------------------------------------------------------------------------------------------------- */

static const char *name_of(const struct mapping *m)
{
    return source_table(m->source, (size_t)m->table)->name;
}

/* The candidates in words for a sentence and as comments for the file. */
static void list_candidates(const struct search *s, struct mapping *result, char *ret, size_t size)
{
    ret[0] = 0;
    for (size_t i = 0; i < s->count && i < 8; i++) {
        const struct mapping *m = s->list[i].m;
        char shown[160];
        size_t len = strlen(ret);
        text_shown(name_of(m), shown, sizeof(shown));
        text_format(ret + len, size - len, "%s'%s' (%.2f)", len ? ", " : "", shown, m->score);
        mapping_ask(result, "; candidate: table = %s   score %.2f. %s", shown, m->score, m->evidence);
    }
}

static void explain_winner(const struct search *s, struct mapping *m)
{
    char old[sizeof(m->evidence)];
    strcpy(old, m->evidence);
    text_format(m->evidence, sizeof(m->evidence), "score %.2f of at least %.1f%s%s", m->score, SCORE_MIN,
                *old ? ". " : "", old);
    for (size_t i = 1; i < s->count; i++)
        mapping_reject(s->result, s->list[i].m->table, s->list[i].m->score,
                       "it looks less like the list of clients. %s", s->list[i].m->evidence);
}

/* The result takes what it has collected about other tables over into @m, which becomes the result. */
static void take_over(struct search *s, struct mapping *m)
{
    struct mapping *old = s->result;
    m->rejected = old->rejected;
    m->rejected_count = old->rejected_count;
    old->rejected = NULL;
    old->rejected_count = 0;
    if (old->questions)
        mapping_ask(m, "%.*s", (int)strlen(old->questions) - 1, old->questions);
    mapping_destroy(old);
    s->result = m;
}

static const char *linked_table(const struct source *s, char *ret, size_t size)
{
    ret[0] = 0;
    for (size_t i = 0; i < s->table_count && !*ret; i++)
        if (s->tables[i].is_linked) {
            char name[160], file[300];
            text_format(ret, size, " Its table '%s' is linked: the rows lie in '%s'; import that file instead.",
                        text_shown(s->tables[i].name, name, sizeof(name)),
                        text_shown(s->tables[i].linked_to, file, sizeof(file)));
        }
    return ret;
}

static int refuse(struct search *s, struct err *err)
{
    char list[600], linked[500], path[300];
    list_candidates(s, s->result, list, sizeof(list));
    text_shown(s->d.source->path, path, sizeof(path));
    linked_table(s->d.source, linked, sizeof(linked));
    for (size_t i = 0; i < s->count; i++)
        mapping_reject(s->result, s->list[i].m->table, s->list[i].m->score,
                       "it does not look enough like a list of clients. %s", s->list[i].m->evidence);
    if (s->count == 0)
        return err_set(err, -ENODATA,
                       "'%s' has no table with a column of MAC addresses, so no clients were found in it.%s", path,
                       linked);
    int r = err_set(err, -ENODATA, "no table of '%s' looks enough like a list of clients: %s.%s", path, list, linked);
    struct candidate best = s->list[0]; /* a start for whoever edits the file */
    s->list[0].m = NULL;
    take_over(s, best.m);
    return r;
}

/* The lines "; question: ..." as sentences. */
static void list_questions(const struct mapping *m, char *ret, size_t size)
{
    static const char mark[] = "; question: ";
    ret[0] = 0;
    for (const char *p = m->questions; p && (p = strstr(p, mark)); p++) {
        char line[400], shown[400];
        const char *text = p + strlen(mark);
        (void)text_copy(text, strcspn(text, "\n"), line, sizeof(line));
        text_add_sentence(ret, size, "%s", text_shown(line, shown, sizeof(shown)));
    }
}

/* Several tables, or a column of the best one, are a question. The best one is saved with the question above it. */
static int ask(struct search *s, bool is_table, struct err *err)
{
    char list[600], path[300];
    struct mapping *best = s->list[0].m;
    text_shown(s->d.source->path, path, sizeof(path));
    if (is_table)
        list_candidates(s, s->result, list, sizeof(list));
    else
        list_questions(best, list, sizeof(list));
    s->list[0].m = NULL;
    take_over(s, best);
    best->is_table_open = is_table;
    if (is_table)
        return err_set(err, -EAMBIG, "several tables of '%s' look like the list of clients: %s", path, list);
    return err_set(err, -EAMBIG, "it is not clear what the columns of table '%s' mean: %s", text_quote(name_of(best)),
                   list);
}

static int decide(struct search *s, struct err *err)
{
    if (s->count > 1)
        qsort(s->list, s->count, sizeof(*s->list), compare);
    if (s->count == 0 || s->list[0].m->score < SCORE_MIN) {
        struct mapping *empty = find_empty(s);
        if (!empty)
            return refuse(s, err);
        take_over(s, empty);
        return 0;
    }
    if (s->count > 1 && s->list[0].m->score - s->list[1].m->score < SCORE_LEAD)
        return ask(s, true, err);
    if (s->list[0].is_open)
        return ask(s, false, err);
    explain_winner(s, s->list[0].m);
    struct mapping *best = s->list[0].m;
    s->list[0].m = NULL;
    take_over(s, best);
    return 0;
}

/* --- leases ----------------------------------------------------------------------------------------------------------- */

/* The columns of leases.c are known: nothing to guess. */
static struct mapping *leases_mapping(struct source *src)
{
    static const struct {
        enum role role;
        int column;
    } items[] = {{ROLE_MAC, 0}, {ROLE_IP, 1}, {ROLE_NAME, 2}, {ROLE_COMMENT, 5}};
    struct mapping *m = mapping_new(src);
    if (!m)
        return NULL;
    m->table = 0;
    m->score = 1;
    strcpy(m->evidence, "the format says what is what");
    for (size_t i = 0; i < ARRAY_SIZE(items); i++)
        (void)mapping_add_item(m, items[i].role, items[i].column); /* there is room for a few */
    m->sites[m->site_count++] = (struct site_item){SITE_SETTINGS, 1, 0, 1};
    m->sites[m->site_count++] = (struct site_item){SITE_OPTIONS, 2, 0, 1};
    return m;
}

/* --- the whole -------------------------------------------------------------------------------------------------------- */

static int conclude(struct search *s, bool is_close, struct err *err)
{
    s->result = mapping_new(s->d.source);
    if (!s->result)
        return err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
    int r = look_at_tables(s, is_close, err);
    for (size_t i = 0; r == 0 && i < s->d.source->table_count; i++)
        if (s->d.profiles[i] && weigh_table(s, (int)i) < 0)
            r = err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
    if (r < 0)
        return r;
    r = decide(s, err);
    detect_site(&s->d, s->result);
    return r;
}

static bool has_sample(const struct search *s)
{
    for (size_t i = 0; i < s->d.source->table_count; i++)
        if (s->d.profiles[i] && s->d.profiles[i]->is_sample)
            return true;
    return false;
}

/* Some columns have values in so few rows that the sample says nothing of them. */
static bool has_rare_values(const struct profile *p)
{
    for (size_t i = 0; i < p->table->column_count; i++)
        if (p->columns[i].filled < FEW_VALUES)
            return true;
    return false;
}

/* Is what conclude() said (@r) sure enough, or is it worth a closer look? */
static bool is_settled(const struct search *s, int r)
{
    if (!has_sample(s))
        return true;
    if (r < 0)
        return r != -EAMBIG && r != -ENODATA;
    const struct profile *p = s->d.profiles[s->result->table];
    return !s->is_unsure && !s->result->questions && !(p->is_sample && has_rare_values(p));
}

int mapping_detect(struct source *src, struct mapping **ret, struct err *err)
{
    _cleanup_(finish) struct search s = {.d = {.source = src, .is_unsure = &s.is_unsure}};
    if (src->reader == &leases_reader) {
        *ret = leases_mapping(src);
        return *ret ? 0 : err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
    }
    s.d.profiles = calloc(src->table_count ? src->table_count : 1, sizeof(*s.d.profiles));
    if (!s.d.profiles)
        return err_set(err, -ENOMEM, "there is not enough memory to look at the tables");
    struct err why = {""};
    int r = conclude(&s, false, &why);
    if (!is_settled(&s, r)) {
        forget_conclusions(&s);
        why = (struct err){""};
        r = conclude(&s, true, &why);
    }
    if (r < 0 && err)
        *err = why;
    if (r == 0 || r == -EAMBIG || r == -ENODATA)
        *ret = take_ptr(s.result);
    return r;
}
