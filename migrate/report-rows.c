/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rows of an import's report as JSON; see report.h.
 *
 *   {"row":1,"result":"imported","mac":"...","source_mac":"...","source_name":"...","source_id":"...","reason":null,
 *    "values":{...},"images":[...],"fields":[...],"doubt":null,"rest":{...}}
 *
 * Where a second thread writes them the plan is being made meanwhile, so nothing is used here but what does not change then: the import's own
 * files and the list of images. Only rows of clients that were here before have fields, and those are not told by a second thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/ctl.h"
#include "core/util.h"
#include "migrate/json-stream.h"
#include "migrate/report.h"
#include "migrate/text.h"

/* --- images ------------------------------------------------------------------------------------------------------- */

/* What each row says of an image, made once. */
struct told_image {
    int64_t source_id;
    char *path; /* {"source_path":"...", */
    char *name; /* ,"image":"..."} */
    size_t path_len, name_len;
};

struct told_images {
    struct told_image *list;   /* as the plan has them */
    struct told_image **by_id; /* sorted by source_id */
    size_t n;
};

static void finish_images(struct told_images *t)
{
    for (size_t i = 0; t->list && i < t->n; i++) {
        free(t->list[i].path);
        free(t->list[i].name);
    }
    free(t->list);
    free(t->by_id);
}

static int compare_ids(const void *a, const void *b)
{
    const struct told_image *x = *(struct told_image *const *)a, *y = *(struct told_image *const *)b;
    return x->source_id != y->source_id ? (x->source_id < y->source_id ? -1 : 1) : (x < y ? -1 : x > y);
}

/* "before", @text as JSON (null where it is empty), "after". */
static int make_text(const char *before, const char *text, const char *after, char **ret, size_t *ret_len)
{
    _cleanup_json_ json_t *o = *text ? out_string(text) : json_null();
    _cleanup_free_ char *json = o ? json_dumps(o, JSON_ENCODE_ANY) : NULL;
    int n = json ? asprintf(ret, "%s%s%s", before, json, after) : -1;
    if (n < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    *ret_len = (size_t)n;
    return 0;
}

static int begin_images(struct told_images *t, const struct site_images *s)
{
    *t = (struct told_images){
        .list = calloc(s->n + 1, sizeof(*t->list)), .by_id = calloc(s->n + 1, sizeof(struct told_image *)), .n = s->n};
    if (!t->list || !t->by_id)
        return -ENOMEM;
    for (size_t i = 0; i < s->n; i++) {
        struct told_image *told = &t->list[i];
        told->source_id = s->list[i]->source_id;
        int r = make_text("{\"source_path\":", s->list[i]->raw, ",\"is_data\":", &told->path, &told->path_len);
        if (r == 0)
            r = make_text(",\"image\":", s->list[i]->name, "}", &told->name, &told->name_len);
        if (r < 0)
            return r;
        t->by_id[i] = told;
    }
    qsort(t->by_id, t->n, sizeof(struct told_image *), compare_ids);
    return 0;
}

static const struct told_image *find_image(const struct told_images *t, int64_t id)
{
    size_t first = 0, end = t->n;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (t->by_id[middle]->source_id < id)
            first = middle + 1;
        else
            end = middle;
    }
    return first < t->n && t->by_id[first]->source_id == id ? t->by_id[first] : NULL;
}

/* --- members ------------------------------------------------------------------------------------------------------ */

struct row_writer {
    struct json_stream out;
    const struct plan *plan;
    struct told_images images;
    struct {
        char text[32]; /* ,"netmask": */
        size_t len;
    } keys[IMPORT_FIELDS];
    bool is_first;
};

static void put_or_null(struct json_stream *s, const char *text)
{
    if (*text)
        json_put_text(s, text, strlen(text));
    else
        JSON_PUT(s, "null");
}

static void put_values(struct row_writer *w, const struct import_told *row)
{
    const struct import_text *v = row->values;
    JSON_PUT(&w->out, ",\"values\":{\"name\":");
    json_put_text(&w->out, v[IMPORT_NAME].text, v[IMPORT_NAME].len);
    for (int i = IMPORT_IP; i < IMPORT_LINKS; i++)
        if (v[i].len > 0) {
            json_put(&w->out, w->keys[i].text, w->keys[i].len);
            json_put_text(&w->out, v[i].text, v[i].len);
        }
    JSON_PUT(&w->out, "}");
}

/* "b3,d5" of a row that is planned holds ids of paths, of another one numbers of the list. */
static void put_images(struct row_writer *w, const struct import_told *row)
{
    const char *at = row->images;
    bool is_first = true;
    if (!*at)
        return;
    JSON_PUT(&w->out, ",\"images\":[");
    while (*at) {
        char kind = *at, *end;
        int64_t n = strtoll(at + 1, &end, 10);
        bool is_number = !row->is_planned && n >= 0 && (uint64_t)n < w->images.n;
        const struct told_image *i = row->is_planned ? find_image(&w->images, n)
                                     : is_number     ? &w->images.list[n]
                                                     : NULL;
        at = end + (*end == ',');
        if (!i)
            continue;
        if (!is_first)
            JSON_PUT(&w->out, ",");
        is_first = false;
        json_put(&w->out, i->path, i->path_len);
        if (kind == 'd')
            JSON_PUT(&w->out, "true");
        else
            JSON_PUT(&w->out, "false");
        json_put(&w->out, i->name, i->name_len);
    }
    JSON_PUT(&w->out, "]");
}

/* --- what differs ------------------------------------------------------------------------------------------------- */

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
static void put_fields(struct json_stream *s, struct catalog *c, const char *detail)
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
    JSON_PUT(s, ",\"fields\":");
    json_put(s, text ? text : detail, strlen(text ? text : detail));
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static int put_row(void *arg, const struct import_told *row, struct err *err)
{
    struct row_writer *w = arg;
    struct json_stream *s = &w->out;
    char number[21];
    const char *fate = import_fate_name(row->fate);
    if (!w->is_first)
        JSON_PUT(s, ",");
    w->is_first = false;
    JSON_PUT(s, "\n{\"row\":");
    json_put(s, number, text_number((int64_t)row->row + 1, number));
    JSON_PUT(s, ",\"result\":\"");
    json_put(s, fate, strlen(fate));
    JSON_PUT(s, "\",\"mac\":");
    put_or_null(s, row->mac);
    JSON_PUT(s, ",\"source_mac\":");
    put_or_null(s, row->raw_mac);
    JSON_PUT(s, ",\"source_name\":");
    put_or_null(s, row->raw_name);
    JSON_PUT(s, ",\"source_id\":");
    put_or_null(s, row->source_id);
    JSON_PUT(s, ",\"reason\":");
    put_or_null(s, row->reason);
    put_values(w, row);
    put_images(w, row);
    if (*row->detail)
        put_fields(s, w->plan->catalog, row->detail);
    JSON_PUT(s, ",\"doubt\":");
    put_or_null(s, row->doubt);
    if (*row->rest == '{' && row->rest[1] != '}') {
        JSON_PUT(s, ",\"rest\":");
        json_put(s, row->rest, strlen(row->rest));
    }
    JSON_PUT(s, "}");
    return s->result < 0 ? err_sys(err, s->result, "cannot write the report") : 0;
}

static int put_all(struct row_writer *w, bool is_behind, struct err *err)
{
    w->is_first = true;
    for (int i = 0; i < IMPORT_FIELDS; i++)
        w->keys[i].len = (size_t)snprintf(w->keys[i].text, sizeof(w->keys[i].text),
                                          ",\"%s\":", import_field_name((enum import_field)i));
    if (begin_images(&w->images, &w->plan->images) < 0)
        return err_set(err, -ENOMEM, "memory is out");
    int e = import_each_told(w->plan->import, is_behind, put_row, w, err);
    JSON_PUT(&w->out, "\n ]\n}\n");
    return e;
}

int report_rows(const struct plan *p, int fd, uint64_t at, bool is_behind, struct err *err)
{
    struct row_writer w = {.plan = p};
    if (json_stream_begin(&w.out, fd, at) < 0)
        return err_set(err, -ENOMEM, "memory is out");
    int e = put_all(&w, is_behind, err), end = json_stream_end(&w.out);
    finish_images(&w.images);
    return e == 0 && end < 0 ? err_sys(err, end, "cannot write the report") : e;
}
