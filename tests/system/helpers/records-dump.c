/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the mapping makes of a foreign file, as lines of JSON: {"detect"}, {"record"}..., {"end"}, {"site"}, {"note"}...
 *
 *   records-dump access|csv|leases|ini FILE [MAPPING]
 *
 * With MAPPING "-" the found mapping is written to stdout and nothing else.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/mapping.h"
#include "migrate/record.h"
#include "migrate/source.h"

static void print(json_t *o)
{
    if (!o || json_dumpf(o, stdout, JSON_COMPACT) < 0)
        abort();
    (void)putchar('\n');
    json_decref(o);
}

static json_t *images(const struct record *r)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < r->image_count; i++) {
        const struct record_image *m = &r->images[i];
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:b}", "raw", m->raw, "path", m->path,
                                                    "label", m->label, "kind", (int)m->kind, "is_data", m->is_data));
    }
    return list;
}

static int print_record(void *arg, const struct record *r)
{
    json_t *rest = json_loads(r->rest, JSON_REJECT_DUPLICATES, NULL);
    print(json_pack("{s:I, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:s}", "record",
                    (json_int_t)r->row, "id", r->source_id, "raw_mac", r->raw_mac, "mac", r->mac, "mac_status",
                    (int)r->mac_status, "raw_name", r->raw_name, "name", r->name, "ip", r->ip, "netmask", r->netmask,
                    "group", r->group, "comment", r->comment, "is_disabled", r->is_disabled, "images", images(r),
                    "rest", rest, "doubt", r->doubt));
    return 0;
}

static int run(struct source *s, const char *mapping)
{
    struct err err = {""};
    uint64_t rows = 0;
    struct site_record site;
    _cleanup_(mapping_destroyp) struct mapping *m = NULL;
    bool is_asked = mapping && strcmp(mapping, "-") != 0;
    int r = is_asked ? mapping_load(mapping, s, &m, &err) : mapping_detect(s, &m, &err);
    if (mapping && !is_asked)
        return m ? mapping_save(m, stdout) : r;
    print(json_pack("{s:i, s:s}", "detect", -r, "message", err.msg));
    if (r == 0) {
        r = records_read(s, m, print_record, NULL, &rows, &err);
        print(json_pack("{s:i, s:I, s:s}", "end", -r, "rows", (json_int_t)rows, "message", err.msg));
    }
    if (m && site_record_read(s, m, &site, &err) == 0)
        print(json_pack("{s:{s:s, s:s, s:s}}", "site", "netmask", site.netmask, "gateway", site.gateway, "dns",
                        site.dns));
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"access", "csv", "leases", "ini"};
    _cleanup_(source_closep) struct source *s = NULL;
    struct err err = {""};
    unsigned kind = 0;
    while (argc >= 3 && kind < ARRAY_SIZE(kinds) && strcmp(argv[1], kinds[kind]) != 0)
        kind++;
    if (argc < 3 || kind == ARRAY_SIZE(kinds))
        return 2;
    int r = source_open((enum source_kind)kind, argv[2], NULL, &s, &err);
    if (r < 0) {
        print(json_pack("{s:i, s:s}", "open", -r, "message", err.msg));
        return 0;
    }
    return run(s, argc > 3 ? argv[3] : NULL) < 0;
}
