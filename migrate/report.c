/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The head of an import's report as JSON; see report.h. The rows are report-rows.c, the page for people is report-text.c.
 *
 *   {"import": {...}, "counts": {...}, "mapping": {...}, "rejected_tables": [...], "notes": [...], "images": [...], "gone": [...],
 *    "site": {...}, "without_a_place": [...], "rows": [...]}
 */
#include "migrate/report.h"

#include <errno.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"

int report_count(struct report *r, struct err *err)
{
    const struct plan *p = r->plan;
    uint64_t sum = 0;
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

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static json_t *head(const struct report *r)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "import", head_json(r), "counts", counts_json(r),
                     "mapping", parsed(mapping_json(r->plan->mapping)), "rejected_tables",
                     parsed(mapping_rejected_json(r->plan->mapping)), "notes", notes_json(r), "images", images_json(r),
                     "gone", gone_json(r), "site", site_json(r), "without_a_place", keys_json(r->plan->rest));
}

char *report_head(const struct report *r)
{
    static const char rows[] = ",\n \"rows\": [";
    _cleanup_json_ json_t *o = head(r);
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
    size_t len = text ? strlen(text) - 2 : 0; /* "\n}": the rows follow */
    char *more = text ? realloc(text, len + sizeof(rows)) : NULL;
    if (!more)
        free(text);
    else
        memcpy(more + len, rows, sizeof(rows));
    return more;
}

int report_write(const struct report *r, int fd, struct err *err)
{
    _cleanup_free_ char *text = report_head(r);
    if (!text)
        return err_set(err, -ENOMEM, "memory is out");
    int e = pwrite_full(fd, text, strlen(text), 0);
    return e < 0 ? err_sys(err, e, "cannot write the report") : report_rows(r->plan, fd, strlen(text), false, err);
}
