/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All that the reader of Access files says, as lines of JSON:
 *
 *   mdb-dump [--charset C] [--time S] [--memory MB] [--count] [--sample ROWS] [--table NAME] FILE
 *
 *   {"info": ...}, for each table {"table": ..., "columns": ...}, {"row": [...]}..., {"end": rows, "error": 0, "message": ""}
 *   {"note": ..., "is_doubt": ...}..., {"rss_kib": of this program, "reader_rss_kib": of the jailed reader}
 *   or {"error": errno, "message": ...}
 *
 * Bytes are "x:" and hex, over 64 of them "sha256:HEX:LENGTH", as in the fixtures' truth. --count prints no rows.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/sha256.h"
#include "core/util.h"
#include "migrate/source.h"

struct dump {
    const struct source_table *table;
    bool is_count;
    uint32_t sample; /* rows from anywhere, 0 = all */
};

static void print(json_t *o)
{
    if (!o || json_dumpf(o, stdout, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
        abort();
    (void)putchar('\n');
    json_decref(o);
}

static json_t *bytes(const struct cell *c)
{
    char text[256];
    if (c->len > 64) {
        unsigned char sha256[32];
        char hex[SHA256_HEX_LEN + 1];
        if (sha256_buf(c->text, c->len, sha256) < 0)
            abort();
        hex_text(sha256, sizeof(sha256), hex);
        (void)snprintf(text, sizeof(text), "sha256:%s:%zu", hex, c->len);
    } else {
        (void)snprintf(text, sizeof(text), "x:");
        for (size_t i = 0; i < c->len; i++)
            (void)snprintf(text + 2 + 2 * i, 3, "%02x", (unsigned char)c->text[i]);
    }
    return json_string(text);
}

static json_t *value(const struct cell *c)
{
    switch (c->kind) {
    case CELL_BOOL:
        return json_boolean(c->integer);
    case CELL_INT:
        return json_integer(c->integer);
    case CELL_REAL:
        return json_real(c->real);
    case CELL_TEXT:
    case CELL_DATE:
        return json_stringn(c->text, c->len);
    case CELL_BYTES:
        return bytes(c);
    case CELL_BAD:
        return json_pack("{s:s}", "bad", c->text);
    case CELL_NONE:
        break;
    }
    return json_null();
}

static int each_row(void *arg, uint64_t number, const struct cell *cells)
{
    const struct dump *d = arg;
    if (d->is_count)
        return 0;
    json_t *row = json_array();
    for (size_t i = 0; i < d->table->column_count; i++)
        if (json_array_append_new(row, value(&cells[i])) < 0)
            abort();
    print(json_pack("{s:o}", "row", row));
    return 0;
}

static void dump_table(struct source *s, size_t i, struct dump *d)
{
    const struct source_table *t = d->table = source_table(s, i);
    struct err err = {""};
    uint64_t rows = 0;
    json_t *columns = json_array();
    for (size_t k = 0; k < t->column_count; k++)
        (void)json_array_append_new(columns, json_pack("[ss]", t->columns[k].name, t->columns[k].type));
    print(json_pack("{s:s, s:I, s:b, s:s, s:o}", "table", t->name, "stored", (json_int_t)t->stored_rows, "is_linked",
                    t->is_linked, "linked_to", t->linked_to, "columns", columns));
    int r = d->sample ? source_sample(s, i, d->sample, each_row, d, &rows, &err)
                      : source_rows(s, i, each_row, d, &rows, &err);
    print(json_pack("{s:I, s:i, s:s}", "end", (json_int_t)rows, "error", -r, "message", err.msg));
}

/* Highest resident size of this program; getrusage() counts what our parent had before the exec, too. */
static json_int_t own_rss_kib(void)
{
    _cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long kib = 0;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    return kib;
}

static void dump_notes(const struct source *s)
{
    struct rusage readers;
    size_t n;
    const struct source_note *notes = source_notes(s, &n);
    for (size_t i = 0; i < n; i++)
        print(json_pack("{s:s, s:b}", "note", notes[i].text, "is_doubt", notes[i].is_doubt));
    (void)getrusage(RUSAGE_CHILDREN, &readers);
    print(json_pack("{s:I, s:I}", "rss_kib", own_rss_kib(), "reader_rss_kib", (json_int_t)readers.ru_maxrss));
}

int main(int argc, char **argv)
{
    struct source_options o = {0};
    struct dump d = {0};
    struct err err = {""};
    const char *table = NULL;
    int i = 1;
    for (; i < argc - 1; i++) {
        if (strcmp(argv[i], "--count") == 0)
            d.is_count = true;
        else if (strcmp(argv[i], "--sample") == 0)
            d.sample = (uint32_t)atoi(argv[++i]);
        else if (strcmp(argv[i], "--charset") == 0)
            o.charset = argv[++i];
        else if (strcmp(argv[i], "--table") == 0)
            table = argv[++i];
        else if (strcmp(argv[i], "--time") == 0)
            o.time_limit_s = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--memory") == 0)
            o.memory_limit_mb = (unsigned)atoi(argv[++i]);
    }
    if (i != argc - 1)
        return 2;
    _cleanup_(source_closep) struct source *s = NULL;
    int r = source_open(SOURCE_ACCESS, argv[i], &o, &s, &err);
    if (r == 0)
        r = source_verify(s, &err);
    if (r < 0) {
        print(json_pack("{s:i, s:s}", "error", -r, "message", err.msg));
        return 1;
    }
    const struct source_info *in = source_info(s);
    print(json_pack("{s:{s:s, s:s, s:s, s:s, s:b, s:b}}", "info", "format", in->format, "charset", in->charset,
                    "sha256", in->sha256, "library", in->library, "has_password", in->has_password, "was_encoded",
                    in->was_encoded));
    for (size_t k = 0; k < source_table_count(s); k++)
        if (!table || strcmp(source_table(s, k)->name, table) == 0)
            dump_table(s, k, &d);
    dump_notes(s);
    return 0;
}
