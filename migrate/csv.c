/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CSV as a source: one table, "clients", of text columns.
 *
 * Separator, character set and whether there is a row of names are found out from the first SAMPLE records; the administrator can say the first two.
 *   separator: of tab ; , | and blank the one that cuts most records into the same number of fields, more than one; before all others one that lays
 *              MACs bare, and then it may be any other sign
 *   names:     the first record holds no MAC, address or path, and the others do where it has words
 *
 * Rows with fewer or more fields than there are columns are said; more that are not empty are a doubt, because a separator inside of a value would
 * shift what follows. A line that begins with # and has one field is a remark of the file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"
#include "migrate/csv-parse.h"
#include "migrate/hints.h"
#include "migrate/normalise.h"
#include "migrate/source.h"
#include "migrate/text.h"

#define SAMPLE 200

struct csv {
    struct text_file *file;
    struct csv_parser parser;
    unsigned skip; /* records before the first row */
    char separator;
};

struct ragged {
    uint64_t few, first_few, many, first_many, zeros, first_zero, remarks;
};

/* --- separator ------------------------------------------------------------------------------------------------------- */

static const char candidates[] = "\t;,| ~^!$%&*+/=@:_\\'`\x1f\x1e"; /* not . and -, which are in MACs and addresses */
#define USUAL 5 /* of them; the others only where they lay MACs bare */

struct shape {
    size_t fields; /* the most frequent number */
    double share;  /* of the records that have it */
    double macs;   /* share of the records that have a field with a MAC, and others */
};

static bool has_mac(const struct csv_parser *p)
{
    char mac[MAC_LEN + 1];
    size_t n = MIN(p->field_count, (size_t)CSV_FIELDS_MAX); /* of more only the number is known */
    for (size_t i = 0; i < n && n > 1; i++)
        if (mac_from_text(csv_field(p, i), p->fields[i].len, mac) < MAC_EMPTY)
            return true;
    return false;
}

static int measure(struct csv *c, char separator, struct shape *ret, struct err *err)
{
    unsigned counts[CSV_FIELDS_MAX + 1] = {0}, records = 0, macs = 0;
    int r;
    c->parser.separator = separator;
    r = csv_restart(&c->parser, err);
    while (r == 0 && records < SAMPLE && (r = csv_next(&c->parser, err)) > 0) {
        r = 0;
        if (c->parser.field_count == 1 && *csv_field(&c->parser, 0) == '#')
            continue;
        counts[MIN(c->parser.field_count, (size_t)CSV_FIELDS_MAX)]++;
        records++;
        macs += has_mac(&c->parser);
    }
    *ret = (struct shape){.macs = records ? (double)macs / records : 0};
    for (size_t i = 1; i <= CSV_FIELDS_MAX; i++)
        if (counts[i] > 0 && (double)counts[i] / records > ret->share)
            *ret = (struct shape){i, (double)counts[i] / records, ret->macs};
    return r;
}

static int find_separator(struct csv *c, struct err *err)
{
    double best = 0;
    char found = ',';
    for (const char *p = candidates; *p; p++) {
        struct shape s;
        struct err ignored;
        int r = measure(c, *p, &s, &ignored); /* what is damaged for the wrong separator does not count */
        if (r < 0 && r != -EBADMSG)
            return err_set(err, r, "%s", ignored.msg);
        bool has_macs = s.macs >= 0.3; /* as a table needs them to be looked at */
        double score = s.fields > 1 ? s.share + (s.fields > 2 ? 0.05 : 0) + has_macs : 0;
        bool may_be = p - candidates < USUAL ? *p != ' ' || s.share > 0.95 : has_macs && s.share > 0.9;
        if (r == 0 && score > best + 0.001 && may_be) {
            best = score;
            found = *p;
        }
    }
    c->separator = found;
    return 0;
}

/* "sep=;" in the first line, as Excel writes it. */
static int read_sep_line(struct csv *c, struct err *err)
{
    c->parser.separator = '\x01';
    int r = csv_restart(&c->parser, err);
    r = r < 0 ? r : csv_next(&c->parser, err);
    if (r > 0 && strncmp(csv_field(&c->parser, 0), "sep=", 4) == 0 && c->parser.fields[0].len == 5) {
        c->separator = csv_field(&c->parser, 0)[4];
        c->skip = 1;
    }
    return r == -EBADMSG ? 0 : MIN(r, 0);
}

/* --- names of columns ------------------------------------------------------------------------------------------------ */

static bool is_typed(const char *p, size_t len)
{
    char buf[46];
    return mac_from_text(p, len, buf) < MAC_EMPTY || ip_from_text(p, len, buf) ||
           (path_looks_so(p, len) && path_ending(p, len) > 0);
}

static bool is_hint(const char *name)
{
    static const enum hint hints[] = {HINT_MAC, HINT_NAME, HINT_IP, HINT_IMAGE, HINT_COMMENT, HINT_GROUP};
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        if (hint_of(hints[i], name) >= 0.15)
            return true;
    return false;
}

struct first_row {
    size_t fields, typed, words, hints; /* of the first row */
    bool typed_below;                   /* a column of it is typed in most other rows */
};

static void look_at_first(const struct csv_parser *p, struct first_row *f)
{
    f->fields = MIN(p->field_count, (size_t)SOURCE_COLUMNS_MAX);
    for (size_t i = 0; i < f->fields; i++) {
        const char *text = csv_field(p, i);
        size_t len = p->fields[i].len;
        f->typed += is_typed(text, len);
        f->words += len > 0 && strspn(text, "0123456789.,- ") != len;
        f->hints += len > 0 && len < 100 && is_hint(text);
    }
}

static int look_below(struct csv *c, struct first_row *f, struct err *err)
{
    unsigned typed[SOURCE_COLUMNS_MAX] = {0}, rows = 0;
    int r = 0;
    while (rows < SAMPLE && (r = csv_next(&c->parser, err)) > 0) {
        for (size_t i = 0; i < MIN(c->parser.field_count, f->fields); i++)
            typed[i] += is_typed(csv_field(&c->parser, i), c->parser.fields[i].len);
        rows++;
    }
    for (size_t i = 0; i < f->fields; i++)
        f->typed_below |= typed[i] * 2 > rows;
    return MIN(r, 0);
}

static bool is_header(const struct first_row *f)
{
    return f->typed == 0 && f->words > 0 && (f->typed_below || f->hints > 0 || f->words == f->fields);
}

static bool is_remark(const struct csv_parser *p)
{
    return p->field_count == 1 && *csv_field(p, 0) == '#';
}

/* To the first record behind what is skipped. 1, 0 at the end. */
static int to_first(struct csv *c, struct err *err)
{
    int r = csv_restart(&c->parser, err);
    for (unsigned records = 0; r >= 0 && records <= c->skip; records += !is_remark(&c->parser)) {
        r = csv_next(&c->parser, err);
        if (r <= 0)
            return r;
    }
    return r < 0 ? r : 1;
}

static void name_column(struct source_table *t, size_t i, const char *name)
{
    const char *p = name;
    size_t len = name ? text_trim(&p, strlen(name)) : 0;
    char own[SOURCE_NAME_MAX + 1];
    if (len == 0)
        (void)snprintf(own, sizeof(own), "column %zu", i + 1);
    else
        (void)text_copy(p, len, own, sizeof(own) - 16);
    char *to = ((struct source_column *)t->columns)[i].name;
    (void)snprintf(to, SOURCE_NAME_MAX + 1, "%s", own);
    for (unsigned n = 2, k = 0; k < i && n < 1000; k++)
        if (strcmp(t->columns[k].name, to) == 0) {
            (void)snprintf(to, SOURCE_NAME_MAX + 1, "%.*s (%u)", SOURCE_NAME_MAX - 12, own, n++);
            k = (unsigned)-1;
        }
    strcpy(((struct source_column *)t->columns)[i].type, "text");
}

/* The most frequent number of fields: the first record may be a title. */
static int make_table(struct source *s, struct csv *c, struct err *err)
{
    struct shape shape;
    struct first_row f = {0};
    int r = measure(c, c->separator, &shape, err);
    if (r == 0)
        r = to_first(c, err);
    if (r == 0)
        return err_set(err, -EBADMSG, "'%s' holds no rows", text_quote(s->path));
    if (r < 0)
        return r;
    size_t columns = MAX(shape.fields, c->parser.field_count);
    if (columns > SOURCE_COLUMNS_MAX)
        return err_set(err, -EBADMSG, "'%s' has more than %d columns; is the separator '%c'? It can be given",
                       text_quote(s->path), SOURCE_COLUMNS_MAX, c->separator);
    struct source_table *t = source_add_table(s, "clients", columns);
    if (!t)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    look_at_first(&c->parser, &f);
    _cleanup_free_ char *names = malloc(c->parser.len + 1); /* look_below() overwrites the record */
    if (!names)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    memcpy(names, c->parser.text, c->parser.len);
    size_t begins[SOURCE_COLUMNS_MAX];
    for (size_t i = 0; i < f.fields; i++)
        begins[i] = c->parser.fields[i].begin;
    r = look_below(c, &f, err);
    if (r < 0)
        return r;
    bool has_names = is_header(&f);
    for (size_t i = 0; i < columns; i++)
        name_column(t, i, has_names && i < f.fields ? names + begins[i] : NULL);
    c->skip += has_names;
    if (!has_names)
        source_note(s, false, "the first line was taken for a row, because it does not look like names of columns");
    return 0;
}

/* --- the reader ------------------------------------------------------------------------------------------------------ */

static void csv_close(struct source *s)
{
    struct csv *c = s->priv;
    if (!c)
        return;
    csv_parser_finish(&c->parser);
    text_file_close(c->file);
    free(c);
    s->priv = NULL;
}

static void describe(struct source *s, const struct csv *c)
{
    const char *name = c->separator == '\t' ? "tab" : c->separator == ' ' ? "blank" : NULL;
    if (name)
        (void)snprintf(s->info.format, sizeof(s->info.format), "CSV, separator %s", name);
    else if ((unsigned char)c->separator < ' ')
        (void)snprintf(s->info.format, sizeof(s->info.format), "CSV, separator 0x%02x", (unsigned)c->separator);
    else
        (void)snprintf(s->info.format, sizeof(s->info.format), "CSV, separator '%c'", c->separator);
    (void)snprintf(s->info.charset, sizeof(s->info.charset), "%s", text_file_charset(c->file));
    text_file_say_guess(c->file, s);
}

static int csv_open(struct source *s, const char *path, const struct source_options *o, struct err *err)
{
    struct csv *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    s->priv = c;
    c->separator = o->separator;
    int r = text_file_open(path, o->charset, &c->file, err);
    if (r < 0)
        return r;
    csv_parser_init(&c->parser, c->file, ',');
    if (!c->separator)
        r = read_sep_line(c, err);
    if (r == 0 && !c->separator)
        r = find_separator(c, err);
    c->parser.separator = c->separator;
    if (r == 0)
        r = make_table(s, c, err);
    if (r < 0)
        return strstr(err->msg, s->path) ? r : err_prefix(err, r, "'%s'", text_quote(s->path));
    describe(s, c);
    return 0;
}

static void say_ragged(struct source *s, const struct csv *c, const struct ragged *g)
{
    if (g->few)
        source_note(s, false,
                    "rows with fewer values than there are columns: %llu, the first in line %llu; what is missing "
                    "counts as empty",
                    (unsigned long long)g->few, (unsigned long long)g->first_few);
    if (g->many)
        source_note(
            s, true,
            "rows with more values than there are columns: %llu, the first in line %llu; perhaps a value with a "
            "separator in it lacks quotes",
            (unsigned long long)g->many, (unsigned long long)g->first_many);
    if (g->zeros)
        source_note(s, true, "values with zero bytes, which are not used: %llu, the first in line %llu",
                    (unsigned long long)g->zeros, (unsigned long long)g->first_zero);
    if (g->remarks)
        source_note(s, false, "lines that begin with # and were taken for remarks: %llu",
                    (unsigned long long)g->remarks);
    if (text_file_damaged(c->file))
        source_note(s, true, "%llu characters are not %s; give the right character set with --charset",
                    (unsigned long long)text_file_damaged(c->file), text_file_charset(c->file));
}

static void fill_cells(const struct csv *c, const struct source_table *t, struct cell *cells, struct ragged *g)
{
    const struct csv_parser *p = &c->parser;
    bool has_more = false;
    for (size_t i = 0; i < t->column_count; i++) {
        cells[i] = (struct cell){.kind = CELL_NONE, .text = ""};
        if (i >= p->field_count)
            continue;
        const struct csv_field *f = &p->fields[i];
        if (f->has_zero) {
            cells[i] = (struct cell){.kind = CELL_BAD, .text = "damaged", .len = 7};
            g->first_zero = g->zeros++ ? g->first_zero : p->line;
        } else if (f->len > 0) {
            cells[i] = (struct cell){.kind = CELL_TEXT, .text = csv_field(p, i), .len = f->len};
        }
    }
    for (size_t i = t->column_count; i < MIN(p->field_count, (size_t)CSV_FIELDS_MAX); i++)
        has_more |= p->fields[i].len > 0;
    if (has_more)
        g->first_many = g->many++ ? g->first_many : p->line;
    if (p->field_count < t->column_count)
        g->first_few = g->few++ ? g->first_few : p->line;
}

static int csv_rows(struct source *s, size_t i, source_each *each, void *arg, uint64_t *ret_rows, struct err *err)
{
    struct csv *c = s->priv;
    const struct source_table *t = &s->tables[i];
    struct cell cells[SOURCE_COLUMNS_MAX];
    struct ragged g = {0};
    uint64_t records = 0;
    int r = csv_restart(&c->parser, err);
    *ret_rows = 0;
    while (r >= 0 && (r = csv_next(&c->parser, err)) > 0) {
        bool is_none = t->column_count > 1 && is_remark(&c->parser);
        g.remarks += is_none;
        if (is_none || records++ < c->skip)
            continue;
        if (*ret_rows == SOURCE_ROWS_MAX)
            return err_set(err, -EFBIG, "'%s' has more than %d rows", text_quote(s->path), SOURCE_ROWS_MAX);
        fill_cells(c, t, cells, &g);
        r = each(arg, *ret_rows, cells);
        *ret_rows += 1;
        if (r != 0)
            return MIN(r, 0);
    }
    if (r < 0)
        return err_prefix(err, r, "'%s'", text_quote(s->path));
    if (text_file_has_changed(c->file))
        return err_set(err, -EBADMSG, "'%s' was changed while it was read; import a copy of it", text_quote(s->path));
    say_ragged(s, c, &g);
    return 0;
}

const struct source_reader csv_reader = {.open = csv_open, .rows = csv_rows, .close = csv_close};
