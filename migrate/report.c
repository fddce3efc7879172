/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of an import as JSON; see report.h. The page for people is report-text.c.
 *
 *   {"import": {...}, "counts": {...}, "mapping": {...}, "rejected_tables": [...], "notes": [...], "images": [...], "gone": [...],
 *    "site": {...}, "without_a_place": [...], "rows": [...]}
 */
#include "migrate/report.h"

#include <errno.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"
#include "migrate/text.h"

int report_begin(struct report *r, const struct plan *p, struct err *err)
{
    uint64_t sum = 0;
    r->plan = p;
    int e = import_counts(p->import, r->counts, &r->rows, err);
    for (int i = 0; i < IMPORT_FATES; i++)
        sum += r->counts[i];
    if (e == 0 && (sum != r->rows || r->counts[IMPORT_OPEN] != 0 || r->rows != p->rows))
        return err_set(err, -EIO,
                       "the import lost count of its rows (%llu read, %llu staged, %llu decided): this is a bug, and "
                       "nothing was changed",
                       (unsigned long long)p->rows, (unsigned long long)r->rows,
                       (unsigned long long)(sum - r->counts[IMPORT_OPEN]));
    return e < 0 ? e : import_gone_list(p->import, &r->gone, &r->n_gone, err);
}

void report_end(struct report *r)
{
    free(r->gone);
    r->gone = NULL;
    r->n_gone = 0;
}

/* --- parts -------------------------------------------------------------------------------------------------------- */

static json_t *counts_json(const struct report *r)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "rows", json_integer((json_int_t)r->rows)); /* without memory all of it fails later */
    for (int i = IMPORT_NEW; i < IMPORT_FATES; i++)
        (void)json_object_set_new(o, import_fate_name((enum import_fate)i), json_integer((json_int_t)r->counts[i]));
    (void)json_object_set_new(o, "gone", json_integer((json_int_t)r->n_gone));
    (void)json_object_set_new(o, "without_an_image", json_integer((json_int_t)r->plan->unlinked));
    return o;
}

static json_t *head_json(const struct report *r)
{
    const struct source_info *i = source_info(r->plan->source);
    return json_pack("{s:o, s:s, s:o, s:s, s:I, s:s, s:s, s:s, s:b, s:b, s:b}", "id",
                     r->is_dry_run ? json_null() : json_integer((json_int_t)r->run_id), "origin", r->origin, "file",
                     out_string(r->file), "sha256", i->sha256, "file_bytes", (json_int_t)i->file_bytes, "format",
                     i->format, "charset", i->charset, "reader", i->library, "has_password", i->has_password,
                     "was_encoded", i->was_encoded, "is_dry_run", r->is_dry_run);
}

static json_t *images_json(const struct report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->plan->images.n; i++)
        (void)json_array_append_new(list, site_image_json(r->plan->images.list[i])); /* NULL is noticed by the count */
    return list;
}

static json_t *gone_json(const struct report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_gone; i++) {
        const struct import_gone *g = &r->gone[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:b}", "mac", g->mac, "client", g->name,
                                                    "renamed_to", *g->new_name ? json_string(g->new_name) : json_null(),
                                                    "lost_its_address", g->loses_ip));
    }
    return list;
}

static json_t *notes_json(const struct report *r)
{
    size_t n = 0;
    const struct source_note *notes = source_notes(r->plan->source, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(
            list, json_pack("{s:o, s:b}", "text", out_string(notes[i].text), "is_doubt", notes[i].is_doubt));
    return list;
}

static json_t *site_json(const struct report *r)
{
    const struct site_record *s = &r->plan->site;
    json_t *rest = *s->rest ? json_loads(s->rest, 0, NULL) : NULL;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O?}", "netmask", out_string(s->netmask), "gateway",
                     out_string(s->gateway), "dns", out_string(s->dns), "domain", out_string(s->domain), "range_first",
                     out_string(s->range_first), "range_last", out_string(s->range_last), "rest",
                     rest ? rest : json_object(), "settings", r->settings);
}

static json_t *keys_json(json_t *object)
{
    json_t *list = json_array(), *value;
    const char *key;
    json_object_foreach(object, key, value)(void) json_array_append_new(list, json_string(key));
    return list;
}

/* A text of JSON that another part made. */
static json_t *parsed(char *text)
{
    json_t *o = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    free(text);
    return o ? o : json_null();
}

json_t *report_summary(const struct report *r)
{
    json_t *images = json_object();
    for (size_t i = 0; i < r->plan->images.n; i++) {
        const char *key = site_outcome_name(r->plan->images.list[i]->outcome);
        json_int_t n = json_integer_value(json_object_get(images, key));
        (void)json_object_set_new(images, key, json_integer(n + 1)); /* without memory a count is missing */
    }
    json_t *o = counts_json(r);
    (void)json_object_set_new(o, "file", out_string(r->file));
    (void)json_object_set_new(o, "origin", json_string(r->origin));
    (void)json_object_set_new(o, "images", images);
    if (r->settings && json_object_size(r->settings))
        (void)json_object_set(o, "settings", r->settings);
    return o;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static void put_text(FILE *f, const char *text)
{
    putc_unlocked('"', f);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        size_t plain = 0;
        while (p[plain] >= 0x20 && p[plain] != '"' && p[plain] != '\\' && p[plain] != 0x7f)
            plain++;
        if (plain > 0) {
            (void)fwrite_unlocked(p, 1, plain, f); /* a failure stays in the stream, here and below */
            p += plain - 1;
        } else if (*p == '"' || *p == '\\') {
            putc_unlocked('\\', f);
            putc_unlocked(*p, f);
        } else if (*p < 0x20 || *p == 0x7f) {
            (void)fprintf(f, "\\u%04x", *p);
        }
    }
    putc_unlocked('"', f);
}

static void put_member(FILE *f, const char *key, const char *text)
{
    putc_unlocked(',', f);
    putc_unlocked('"', f);
    (void)fputs_unlocked(key, f);
    putc_unlocked('"', f);
    putc_unlocked(':', f);
    if (*text)
        put_text(f, text);
    else
        (void)fputs_unlocked("null", f);
}

struct row_writer {
    FILE *f;
    const struct report *r;
    bool is_first;
};

static void put_values(FILE *f, const struct import_values *v)
{
    (void)fputs(",\"values\":{\"name\":", f);
    put_text(f, v->f[IMPORT_NAME]);
    for (int i = IMPORT_IP; i < IMPORT_LINKS; i++)
        if (*v->f[i])
            put_member(f, import_field_name((enum import_field)i), v->f[i]);
    putc_unlocked('}', f);
}

/* "b3,d5" of a staged row that was not decided holds numbers of the list, of a decided one ids of paths. */
static const struct site_image *image_of(const struct report *r, const struct import_row *row, int64_t n)
{
    const struct site_images *s = &r->plan->images;
    bool is_decided = row->fate < IMPORT_CONFLICT || *row->want.f[IMPORT_NAME];
    if (!is_decided)
        return (uint64_t)n < s->n ? s->list[n] : NULL;
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i]->source_id == n)
            return s->list[i];
    return NULL;
}

static void put_images(FILE *f, const struct report *r, const struct import_row *row)
{
    const char *at = row->src.f[IMPORT_IMAGES], *comma = "";
    if (!*at)
        return;
    (void)fputs(",\"images\":[", f);
    while (*at) {
        char kind = *at, *end;
        const struct site_image *i = image_of(r, row, strtoll(at + 1, &end, 10));
        at = end + (*end == ',');
        if (!i)
            continue;
        (void)fputs_unlocked(comma, f);
        (void)fputs_unlocked("{\"source_path\":", f);
        put_text(f, i->raw);
        (void)fputs_unlocked(kind == 'd' ? ",\"is_data\":true" : ",\"is_data\":false", f);
        put_member(f, "image", i->name);
        putc_unlocked('}', f);
        comma = ",";
    }
    putc_unlocked(']', f);
}

/* "0:12,1:7@3" -> {"0": "win11", "1": "games@3"}, as the log of changes has it. */
static json_t *links_json(struct catalog *c, const char *list)
{
    json_t *o = json_object();
    char name[NAME_LEN + 1], slot[16], text[NAME_LEN + 32];
    for (const char *at = list; *at; at += *at == ',') {
        char *end;
        (void)snprintf(slot, sizeof(slot), "%lu", strtoul(at, &end, 10));
        int64_t id = *end == ':' ? strtoll(end + 1, &end, 10) : 0;
        unsigned long pinned = *end == '@' ? strtoul(end + 1, &end, 10) : 0;
        if (import_image_name(c, id, name, sizeof(name), NULL) < 0 || !*name)
            strcpy(name, "(removed)");
        (void)snprintf(text, sizeof(text), pinned ? "%s@%lu" : "%s", name, pinned);
        (void)json_object_set_new(o, slot, json_string(text)); /* without memory a slot is missing */
        at = end + strcspn(end, ",");
    }
    return o;
}

/* "b3,d5" -> the paths as the source writes them. */
static json_t *paths_json(struct catalog *c, const char *list)
{
    json_t *a = json_array();
    char raw[RECORD_RAW_MAX + 1];
    for (const char *at = list; *at; at += *at == ',') {
        char *end;
        if (import_source_raw(c, strtoll(at + 1, &end, 10), raw, sizeof(raw), NULL) == 0 && *raw)
            (void)json_array_append_new(a, out_string(raw)); /* without memory a path is missing */
        at = end + strcspn(end, ",");
    }
    return a;
}

/* What differs, with names where the plan has numbers of the catalog. */
static void put_fields(FILE *f, struct catalog *c, const char *detail)
{
    static const char *const sides[] = {"old", "new", "here", "source"};
    _cleanup_json_ json_t *list =
        strstr(detail, "\"links\"") || strstr(detail, "\"images\"") ? json_loads(detail, 0, NULL) : NULL;
    json_t *o;
    size_t i;
    json_array_foreach(list, i, o)
    {
        const char *field = json_string_value(json_object_get(o, "field"));
        bool is_links = field && strcmp(field, "links") == 0;
        for (size_t k = 0; k < ARRAY_SIZE(sides) && (is_links || (field && strcmp(field, "images") == 0)); k++) {
            const char *text = json_string_value(json_object_get(o, sides[k]));
            if (text)
                (void)json_object_set_new(o, sides[k], is_links ? links_json(c, text) : paths_json(c, text));
        }
    }
    _cleanup_free_ char *text = list ? json_dumps(list, JSON_COMPACT) : NULL;
    (void)fprintf(f, ",\"fields\":%s", text ? text : detail);
}

static int write_row(void *arg, struct import_row *row, struct err *err)
{
    struct row_writer *w = arg;
    FILE *f = w->f;
    char number[21];
    (void)text_number((int64_t)row->row + 1, number);
    (void)fputs_unlocked(w->is_first ? "\n{\"row\":" : ",\n{\"row\":", f);
    (void)fputs_unlocked(number, f);
    (void)fputs_unlocked(",\"result\":\"", f);
    (void)fputs_unlocked(import_fate_name(row->fate), f);
    putc_unlocked('"', f);
    w->is_first = false;
    put_member(f, "mac", row->mac);
    put_member(f, "source_mac", row->raw_mac);
    put_member(f, "source_name", row->raw_name);
    put_member(f, "source_id", row->source_id);
    put_member(f, "reason", row->reason);
    put_values(f, *row->want.f[IMPORT_NAME] ? &row->want : &row->src);
    put_images(f, w->r, row);
    if (row->detail && *row->detail)
        put_fields(f, w->r->plan->catalog, row->detail);
    put_member(f, "doubt", row->doubt ? row->doubt : "");
    if (row->rest && *row->rest == '{' && row->rest[1] != '}') {
        (void)fputs_unlocked(",\"rest\":", f);
        (void)fputs_unlocked(row->rest, f);
    }
    putc_unlocked('}', f);
    return ferror(f) ? err_set(err, -EIO, "cannot write the report") : 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static json_t *head(const struct report *r)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "import", head_json(r), "counts", counts_json(r),
                     "mapping", parsed(mapping_json(r->plan->mapping)), "rejected_tables",
                     parsed(mapping_rejected_json(r->plan->mapping)), "notes", notes_json(r), "images", images_json(r),
                     "gone", gone_json(r), "site", site_json(r), "without_a_place", keys_json(r->plan->rest));
}

int report_write(const struct report *r, FILE *to, struct err *err)
{
    struct row_writer w = {to, r, true};
    _cleanup_json_ json_t *o = head(r);
    _cleanup_free_ char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    if (!text)
        return err_set(err, -ENOMEM, "memory is out");
    text[strlen(text) - 2] = 0; /* "\n}": the rows follow */
    if (fprintf(to, "%s,\n \"rows\": [", text) < 0)
        return err_sys(err, -errno, "cannot write the report");
    int e = import_each(r->plan->import, IMPORT_FATES, write_row, &w, err);
    if (e == 0 && (fputs("\n ]\n}\n", to) < 0 || fflush(to) < 0))
        e = err_sys(err, -errno, "cannot write the report");
    return e;
}
