/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables and columns as words of a mapping file.
 *
 *   BootImage                      a column of the client table; bare where it has letters, digits, _ and - only
 *   "Boot Image"                   anything else in quotes, with \" \\ \n \t \xNN inside
 *   M1,M2,M3,M4,M5,M6              six columns of one MAC
 *   DiskID -> tblDisk.DiskID : DiskFile label DiskName
 *   No -> StationImages.StationNo, ImageID -> Images.ID : ImagePath label ImageName order BootOrder
 *
 * A name is looked for as it stands first, then without regard to case and width. It only ever selects a number.
 */
#include "migrate/mapping-names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/text.h"

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static bool is_bare_char(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_';
}

/* Letters of other scripts stay bare when nothing in them could mislead who reads the file. */
static bool is_bare(const char *name)
{
    char shown[1200];
    if (!*name || strcmp(name, "label") == 0 || strcmp(name, "order") == 0)
        return false;
    for (const char *p = name; *p; p++)
        if (!is_bare_char(*p) && (unsigned char)*p < 0x80)
            return false;
    const char *q = name;
    return strcmp(text_shown(name, shown, sizeof(shown)), name) == 0 && text_trim(&q, strlen(name)) == strlen(name) &&
           !strstr(name, "\xc2\xa0") && !strstr(name, "\xe3\x80\x80");
}

void name_text(const char *name, char *ret, size_t size)
{
    size_t n = 0;
    if (is_bare(name)) {
        text_format(ret, size, "%s", name);
        return;
    }
    ret[n++] = '"';
    for (const char *p = name; *p && n + 6 < size; p++) {
        unsigned char ch = (unsigned char)*p;
        if (ch == '"' || ch == '\\')
            n += (size_t)snprintf(ret + n, 3, "\\%c", ch);
        else if (ch < ' ' || ch == 0x7f || (ch >= 0x80 && !is_bare(name) && strchr("\xc2\xe2\xef\xf3", ch)))
            n += (size_t)snprintf(ret + n, 5, "\\x%02x", ch); /* may lead in a direction mark or a control character */
        else if (ch >= 0x80 && ch < 0xc0 && n >= 4 && ret[n - 4] == '\\' && ret[n - 3] == 'x')
            n += (size_t)snprintf(ret + n, 5, "\\x%02x", ch); /* the rest of such a character */
        else
            ret[n++] = (char)ch;
    }
    strcpy(ret + n, "\"");
}

static size_t add(char *ret, size_t size, size_t n, const char *before, const char *name)
{
    char text[1100];
    if (name)
        name_text(name, text, sizeof(text));
    text_format(ret + n, size - n, "%s%s", before, name ? text : "");
    return n + strlen(ret + n);
}

void item_text(const struct mapping *m, const struct item *i, char *ret, size_t size)
{
    size_t n = 0;
    int last = m->table, first = -1;
    ret[0] = 0;
    for (unsigned k = 0; k < i->column_count; k++)
        n = add(ret, size, n, k ? "," : "", column_at(m->source, m->table, i->columns[k])->name);
    for (unsigned k = 0; k < i->hop_count; k++) {
        if (k > 0)
            n = add(ret, size, n, ", ", column_at(m->source, last, i->hops[k - 1].next)->name);
        last = i->hops[k].table;
        first = first < 0 ? last : first;
        n = add(ret, size, n, " -> ", source_table(m->source, (size_t)last)->name);
        n = add(ret, size, n, ".", column_at(m->source, last, i->hops[k].key)->name);
    }
    if (i->hop_count > 0 && i->value >= 0)
        n = add(ret, size, n, " : ", column_at(m->source, last, i->value)->name);
    if (i->hop_count > 0 && i->label >= 0)
        n = add(ret, size, n, " label ", column_at(m->source, last, i->label)->name);
    if (i->hop_count > 0 && i->order >= 0)
        (void)add(ret, size, n, " order ", column_at(m->source, first, i->order)->name);
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static int find(const char *name, size_t count, const char *(*name_at)(const void *, size_t), const void *in)
{
    int found = -1;
    for (size_t i = 0; i < count; i++)
        if (strcmp(name_at(in, i), name) == 0)
            return (int)i;
    for (size_t i = 0; i < count; i++) {
        if (!text_same(name_at(in, i), name))
            continue;
        if (found >= 0)
            return -2; /* two that differ in case only: write it as it stands */
        found = (int)i;
    }
    return found;
}

static const char *table_name_at(const void *in, size_t i)
{
    return ((const struct source *)in)->tables[i].name;
}

static const char *column_name_at(const void *in, size_t i)
{
    return ((const struct source_table *)in)->columns[i].name;
}

static void list_names(size_t count, const char *(*name_at)(const void *, size_t), const void *in, char *ret,
                       size_t size)
{
    ret[0] = 0;
    for (size_t i = 0; i < count; i++) {
        char text[300], shown[300];
        size_t n = strlen(ret);
        name_text(name_at(in, i), text, sizeof(text));
        text_format(ret + n, size - n, "%s%s", i ? ", " : "", text_shown(text, shown, sizeof(shown)));
    }
}

int names_table(const struct source *s, const char *name, struct err *err)
{
    char list[600];
    int i = find(name, s->table_count, table_name_at, s);
    if (i >= 0)
        return i;
    list_names(s->table_count, table_name_at, s, list, sizeof(list));
    return err_set(err, -EINVAL,
                   i == -2 ? "there are two tables '%s' that differ in case; there are: %s"
                           : "there is no table '%s'; there are: %s",
                   text_quote(name), list);
}

int names_column(const struct source *s, int table, const char *name, struct err *err)
{
    char list[600], shown[160];
    const struct source_table *t = source_table(s, (size_t)table);
    int i = find(name, t->column_count, column_name_at, t);
    if (i >= 0)
        return i;
    list_names(t->column_count, column_name_at, t, list, sizeof(list));
    return err_set(err, -EINVAL,
                   i == -2 ? "table '%s' has two columns '%s' that differ in case; it has: %s"
                           : "table '%s' has no column '%s'; it has: %s",
                   text_shown(t->name, shown, sizeof(shown)), text_quote(name), list);
}

static void skip_blanks(const char **p)
{
    *p += strspn(*p, " \t");
}

bool names_punct(const char **p, const char *what)
{
    skip_blanks(p);
    if (strncmp(*p, what, strlen(what)) != 0)
        return false;
    *p += strlen(what);
    return true;
}

bool names_keyword(const char **p, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(p);
    if (strncmp(*p, word, n) != 0 || ((*p)[n] != ' ' && (*p)[n] != '\t'))
        return false;
    *p += n;
    return true;
}

static int hex(char ch)
{
    const char *at = ch ? strchr("0123456789abcdef", ch | 0x20) : NULL;
    return at ? (int)(at - "0123456789abcdef") : -1;
}

/* One character of a quoted name at *p. */
static bool quoted_char(const char **p, char *ret)
{
    if (**p != '\\') {
        *ret = *(*p)++;
        return true;
    }
    char ch = (*p)[1];
    *p += 2;
    if (ch == 'x') {
        int high = hex((*p)[0]), low = high < 0 ? -1 : hex((*p)[1]);
        if (low < 0 || (high == 0 && low == 0))
            return false;
        *ret = (char)(high << 4 | low);
        *p += 2;
        return true;
    }
    *ret = ch == 'n' ? '\n' : ch == 't' ? '\t' : ch;
    return ch == 'n' || ch == 't' || ch == '"' || ch == '\\';
}

int names_word(const char **p, char *ret, struct err *err)
{
    size_t n = 0;
    skip_blanks(p);
    if (**p != '"') {
        while (**p && !strchr(" \t.,:;\"", **p) && strncmp(*p, "->", 2) != 0 && n < SOURCE_NAME_MAX)
            ret[n++] = *(*p)++;
        ret[n] = 0;
        return n > 0 ? 0 : err_set(err, -EINVAL, "a name is missing before '%s'", text_quote(*p));
    }
    for ((*p)++; **p && **p != '"' && n < SOURCE_NAME_MAX; n++)
        if (!quoted_char(p, &ret[n]))
            return err_set(err, -EINVAL, "behind '\\' stands none of \" \\ n t xNN");
    ret[n] = 0;
    if (**p != '"')
        return err_set(err, -EINVAL, "a name in quotes does not end, or is longer than %d bytes", SOURCE_NAME_MAX);
    (*p)++;
    return 0;
}

/* TABLE.COLUMN */
int names_place(const struct source *s, const char **p, int *ret_table, int *ret_column, struct err *err)
{
    char name[SOURCE_NAME_MAX + 1];
    int r = names_word(p, name, err);
    if (r < 0)
        return r;
    int table = names_table(s, name, err);
    if (table < 0)
        return table;
    if (!names_punct(p, "."))
        return err_set(err, -EINVAL, "behind table '%s' stands no '.' and column", text_quote(name));
    r = names_word(p, name, err);
    if (r < 0)
        return r;
    int column = names_column(s, table, name, err);
    if (column < 0)
        return column;
    *ret_table = table;
    *ret_column = column;
    return 0;
}

int names_own_column(const struct source *s, int table, const char **p, int *ret, struct err *err)
{
    char name[SOURCE_NAME_MAX + 1];
    int r = names_word(p, name, err);
    if (r < 0)
        return r;
    r = names_column(s, table, name, err);
    if (r < 0)
        return r;
    *ret = r;
    return 0;
}

/* What stands behind "->": the look-ups, the value, and label and order where they are. */
static int parse_link(const struct source *s, const char **p, struct item *i, struct err *err)
{
    for (;;) {
        struct hop *h = &i->hops[i->hop_count++];
        int r = names_place(s, p, &h->table, &h->key, err);
        if (r < 0)
            return r;
        if (i->hop_count == 2 || !names_punct(p, ","))
            break;
        r = names_own_column(s, h->table, p, &h->next, err);
        if (r < 0)
            return r;
        if (!names_punct(p, "->"))
            return err_set(err, -EINVAL, "'->' and the second table are missing");
    }
    int last = i->hops[i->hop_count - 1].table;
    if (!names_punct(p, ":"))
        return err_set(err, -EINVAL, "':' and the column with the value are missing");
    int r = names_own_column(s, last, p, &i->value, err);
    if (r == 0 && names_keyword(p, "label"))
        r = names_own_column(s, last, p, &i->label, err);
    if (r == 0 && names_keyword(p, "order"))
        r = names_own_column(s, i->hops[0].table, p, &i->order, err);
    return r;
}

static int parse_columns(const struct source *s, int table, const char **p, struct item *i, struct err *err)
{
    i->column_count = 0;
    do {
        if (i->column_count == MAC_COLUMNS)
            return err_set(err, -EINVAL, "there are more than %d columns", MAC_COLUMNS);
        int r = names_own_column(s, table, p, &i->columns[i->column_count], err);
        if (r < 0)
            return r;
        i->column_count++;
    } while (names_punct(p, ","));
    return 0;
}

int names_item(const struct mapping *m, enum role role, const char *text, struct item *ret, struct err *err)
{
    struct item i = {.role = role, .column_count = 1, .value = -1, .label = -1, .order = -1};
    const struct source_table *t = source_table(m->source, (size_t)m->table);
    i.hops[0] = i.hops[1] = (struct hop){-1, -1, -1};
    int whole = find(text, t->column_count, column_name_at, t);
    if (whole >= 0) { /* a name with blanks or dots, without quotes */
        i.columns[0] = whole;
        *ret = i;
        return 0;
    }
    const char *p = text;
    int r = parse_columns(m->source, m->table, &p, &i, err);
    if (r == 0 && i.column_count == 1 && names_punct(&p, "->"))
        r = parse_link(m->source, &p, &i, err);
    skip_blanks(&p);
    if (r == 0 && *p)
        r = err_set(err, -EINVAL, "'%s' is not understood", text_quote(p));
    if (r == 0)
        *ret = i;
    return r;
}
