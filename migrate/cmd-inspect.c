/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `diskgate migrate inspect FILE`: what is in a foreign file, before anything is imported: tables, columns, counts, sample values, doubts.
 *
 * Rows are read to their end, because only then all doubts are known. What the file says goes to the terminal escaped (text_shown()); in JSON
 * it is as it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/util.h"
#include "migrate/cmd.h"
#include "migrate/normalise.h"
#include "migrate/source.h"
#include "migrate/text.h"

#define SAMPLES     3
#define SAMPLE_MAX  200 /* bytes that are kept of one */
#define SHOWN_BYTES 48

/* --- which reader? -------------------------------------------------------------------------------------------------- */

static bool is_access(const char *path)
{
    static const char magic[] = "\0\1\0\0Standard ";
    char head[sizeof(magic) - 1];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd >= 0 && pread_full(fd, head, sizeof(head), 0) == 0 && memcmp(head, magic, sizeof(head)) == 0;
}

static bool ends(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && strcasecmp(path + n - m, ending) == 0;
}

/* What is unknown goes to the reader of Access files, whose refusal says what the file is. */
static enum source_kind guess_kind(const char *path)
{
    if (is_access(path))
        return SOURCE_ACCESS;
    if (ends(path, ".ini"))
        return SOURCE_INI;
    if (ends(path, ".leases") || ends(path, ".lease"))
        return SOURCE_LEASES;
    return ends(path, ".csv") || ends(path, ".tsv") || ends(path, ".txt") ? SOURCE_CSV : SOURCE_ACCESS;
}

static int pick_kind(const struct cmd *cmd, const char *path, enum source_kind *ret, struct err *err)
{
    static const char *const names[] = {"ccboot", "csv", "leases", "ini"}; /* as the verbs */
    const char *word = cmd_option(cmd, "as");
    *ret = guess_kind(path);
    for (size_t i = 0; word && i < ARRAY_SIZE(names); i++)
        if (strcmp(word, names[i]) == 0) {
            *ret = (enum source_kind)i;
            return 0;
        }
    return word ? err_set(err, VERB_USAGE, "'%s' is none of ccboot, csv, leases, ini", text_quote(word)) : 0;
}

/* --- one table ------------------------------------------------------------------------------------------------------ */

struct column_look {
    uint64_t values, bad;
    size_t samples;
    char sample[SAMPLES][SAMPLE_MAX];
};

struct table_look {
    const struct source_table *table;
    struct column_look columns[SOURCE_COLUMNS_MAX];
};

static void take_sample(struct column_look *l, const struct cell *c)
{
    char buf[64], text[SAMPLE_MAX];
    size_t len;
    if (l->samples == SAMPLES)
        return;
    const char *p = cell_text(c, buf, &len);
    (void)text_copy(p, len, text, sizeof(text)); /* a sample may be cut */
    for (size_t i = 0; i < l->samples; i++)
        if (strcmp(l->sample[i], text) == 0)
            return;
    memcpy(l->sample[l->samples++], text, sizeof(text));
}

static int take_row(void *arg, uint64_t number, const struct cell *cells)
{
    struct table_look *t = arg;
    for (size_t i = 0; i < t->table->column_count; i++) {
        struct column_look *l = &t->columns[i];
        l->bad += cells[i].kind == CELL_BAD;
        if (cells[i].kind == CELL_NONE || cells[i].kind == CELL_BAD)
            continue;
        l->values++;
        take_sample(l, &cells[i]);
    }
    return 0;
}

/* A row of the printed table; samples as they are for JSON, escaped and in one text for people. */
static json_t *column_row(const struct source_column *c, const struct column_look *l)
{
    json_t *samples = json_array(), *shown = json_array();
    char text[4 * SHOWN_BYTES];
    for (size_t i = 0; i < l->samples; i++) {
        json_array_append_new(samples, out_string(l->sample[i]));
        json_array_append_new(shown, out_string(text_shown(l->sample[i], text, SHOWN_BYTES)));
    }
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:o, s:o}", "name", out_string(c->name), "name_shown",
                     text_shown(c->name, text, sizeof(text)), "type", c->type, "values", (json_int_t)l->values,
                     "damaged_values", (json_int_t)l->bad, "samples", samples, "samples_shown", shown);
}

static const struct column column_columns[] = {
    {"name", NULL, COL_TEXT},
    {"name_shown", "COLUMN", COL_SHOWN},
    {"type", "TYPE", COL_TEXT},
    {"values", "VALUES", COL_NUMBER},
    {"damaged_values", NULL, COL_NUMBER},
    {"samples", NULL, COL_JSON},
    {"samples_shown", "FOR EXAMPLE", COL_SHOWN},
    {NULL, NULL, COL_TEXT},
};

/* JSON wants the tables in one array, each with its columns. */
static void add_to_json(json_t *tables, const struct source_table *t, int64_t rows, const char *error, json_t *columns)
{
    json_t *plain = json_array(), *row;
    size_t i;
    json_array_foreach(columns, i, row)
    {
        json_object_del(row, "name_shown");
        json_object_del(row, "samples_shown");
        json_array_append(plain, row);
    }
    json_array_append_new(tables,
                          json_pack("{s:o, s:o, s:o, s:b, s:o, s:o, s:o}", "name", out_string(t->name), "rows",
                                    rows < 0 ? json_null() : json_integer(rows), "stored_rows",
                                    t->stored_rows < 0 ? json_null() : json_integer(t->stored_rows), "is_linked",
                                    t->is_linked, "linked_to", t->is_linked ? out_string(t->linked_to) : json_null(),
                                    "error", error ? out_string(error) : json_null(), "columns", plain));
}

static void print_table(struct cmd *cmd, const struct source_table *t, uint64_t rows, const char *error,
                        json_t *columns)
{
    out_line(&cmd->out, "%s", "");
    if (t->is_linked) {
        out_line(&cmd->out, "%s: only a link to %s: import that file", text_quote(t->name),
                 t->linked_to[0] ? text_quote(t->linked_to) : "another file");
        return;
    }
    out_line(&cmd->out, "%s: %" PRIu64 " row%s", text_quote(t->name), rows, rows == 1 ? "" : "s");
    if (error)
        out_line(&cmd->out, "  %s", error);
    out_table(&cmd->out, "columns", column_columns, columns, "no columns");
}

static int look_at_table(struct cmd *cmd, struct source *s, size_t i, json_t *tables, bool *ret_damaged,
                         struct err *err)
{
    const struct source_table *t = source_table(s, i);
    _cleanup_free_ struct table_look *look = calloc(1, sizeof(*look));
    struct err why = {""};
    uint64_t rows = 0;
    if (!look)
        return err_set(err, -ENOMEM, "memory is out");
    look->table = t;
    int r = t->is_linked ? 0 : source_rows(s, i, take_row, look, &rows, &why);
    json_t *columns = json_array();
    for (size_t k = 0; k < t->column_count; k++)
        json_array_append_new(columns, column_row(&t->columns[k], &look->columns[k]));
    *ret_damaged |= r < 0;
    if (cmd->is_json)
        add_to_json(tables, t, t->is_linked ? -1 : (int64_t)rows, r < 0 ? why.msg : NULL, columns);
    else
        print_table(cmd, t, rows, r < 0 ? why.msg : NULL, columns);
    json_decref(columns);
    return 0;
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

static const struct column file_columns[] = {
    {"file", "File", COL_TEXT},       {"format", "Format", COL_TEXT},  {"character_set", "Character set", COL_TEXT},
    {"size_bytes", "Size", COL_SIZE}, {"sha256", "SHA-256", COL_TEXT}, {"read_by", "Read by", COL_TEXT},
    {"has_password", NULL, COL_YES},  {"was_encoded", NULL, COL_YES},  {NULL, NULL, COL_TEXT},
};

static void print_file(struct cmd *cmd, const struct source *s)
{
    const struct source_info *i = source_info(s);
    json_t *row =
        json_pack("{s:o, s:s, s:s, s:I, s:s, s:s, s:b, s:b}", "file", out_string(s->path), "format", i->format,
                  "character_set", i->charset, "size_bytes", (json_int_t)i->file_bytes, "sha256", i->sha256, "read_by",
                  i->library, "has_password", i->has_password, "was_encoded", i->was_encoded);
    out_fields(&cmd->out, file_columns, row);
    json_decref(row);
}

/* True if one of them is a doubt. */
static bool print_notes(struct cmd *cmd, const struct source *s)
{
    size_t n;
    const struct source_note *notes = source_notes(s, &n);
    json_t *list = json_array();
    bool is_doubtful = false;
    if (n > 0)
        out_line(&cmd->out, "%s", "");
    for (size_t i = 0; i < n; i++) {
        char shown[sizeof(notes[i].text) + 8];
        is_doubtful |= notes[i].is_doubt;
        out_line(&cmd->out, "%s: %s", notes[i].is_doubt ? "doubt" : "note",
                 text_shown(notes[i].text, shown, sizeof(shown)));
        json_array_append_new(
            list, json_pack("{s:o, s:b}", "text", out_string(notes[i].text), "is_doubt", notes[i].is_doubt));
    }
    out_set(&cmd->out, "notes", list);
    return is_doubtful;
}

static int run_inspect(struct cmd *cmd, struct err *err)
{
    const char *path = cmd_arg(cmd, 0);
    struct source_options o = {.charset = cmd_option(cmd, "charset")};
    enum source_kind kind;
    _cleanup_(source_closep) struct source *s = NULL;
    bool is_damaged = false;
    int r = pick_kind(cmd, path, &kind, err);
    if (r == 0)
        r = source_open(kind, path, &o, &s, err);
    if (r == 0)
        r = source_verify(s, err); /* its hash is shown first */
    if (r < 0)
        return r;
    json_t *tables = json_array();
    print_file(cmd, s);
    for (size_t i = 0; i < source_table_count(s) && r == 0; i++)
        r = look_at_table(cmd, s, i, tables, &is_damaged, err);
    out_set(&cmd->out, "tables", tables);
    is_damaged |= print_notes(cmd, s);
    return r < 0 ? r : is_damaged ? EXIT_DIFFERS : EXIT_DONE;
}

static const struct option_def inspect_options[] = {
    {"charset", 0, "NAME", "encoding of the text, as in GBK or windows-1251, instead of finding it out"},
    {"as", 0, "KIND", "ccboot, csv, leases or ini, instead of finding it out"},
    {0},
};

const struct verb cmd_inspect_verbs[] = {
    {"", "inspect", "FILE", "Show tables, columns and some values of a file, and import nothing",
     "Exit status 3 when the file could not be read without doubt.", inspect_options, run_inspect, 0},
    {0},
};
