/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of CSV, leases and INI files up to client records: what cannot be read has a sentence, rows are records, two passes say the same.
 *
 * Input: byte 0 modulo 3 = kind, byte 1 = character set (0 = find out), byte 2 = separator or dialect, the rest is the file.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "migrate/mapping.h"
#include "migrate/record.h"
#include "migrate/source.h"
#include "migrate/text-file.h"

static int count_cells(void *arg, uint64_t number, const struct cell *cells)
{
    uint64_t *sum = arg;
    for (size_t i = 0; cells[i].kind != CELL_NONE && i < 1; i++) {
        must(cells[i].text && cells[i].text[cells[i].len] == 0);
        *sum = *sum * 31 + cells[i].len + number;
    }
    return 0;
}

static int check_record(void *arg, const struct record *r)
{
    uint64_t *n = arg;
    must(r->row == (*n)++);
    must((*r->mac != 0) == (r->mac_status == MAC_GOOD || r->mac_status == MAC_LOCAL));
    must(!*r->name || name_check(r->name, "name", NULL) == 0);
    must(!*r->group || name_check(r->group, "group", NULL) == 0);
    must(r->image_count <= RECORD_IMAGES_MAX && r->rest[0] == '{');
    for (unsigned i = 0; i < r->image_count; i++)
        must((r->images[i].kind == PATH_BROKEN) == !*r->images[i].path);
    return 0;
}

static void read_twice(struct source *s)
{
    for (size_t t = 0; t < source_table_count(s); t++) {
        uint64_t a = 0, b = 0, rows_a = 0, rows_b = 0;
        struct err err = {""};
        int r = source_rows(s, t, count_cells, &a, &rows_a, &err);
        must(r == 0 || *err.msg);
        must(source_rows(s, t, count_cells, &b, &rows_b, &err) == r && a == b && rows_a == rows_b);
    }
}

static void import(struct source *s)
{
    struct err err = {""};
    struct site_record site;
    _cleanup_(mapping_destroyp) struct mapping *m = NULL;
    int r = mapping_detect(s, &m, &err);
    must(r == 0 || *err.msg);
    if (m)
        (void)site_record_read(s, m, &site, &err);
    uint64_t n = 0, rows = 0;
    if (r == 0 && records_read(s, m, check_record, &n, &rows, &err) == 0)
        must(n == rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const charsets[] = {NULL, "GBK", "UTF-16LE", "CP1251", "UTF-8", "ISO-2022-JP", "UTF-7", "BIG5"};
    static const char *const dialects[] = {NULL, "dnsmasq", "isc", "kea", "netsh"};
    static char folder[PATH_MAX];
    static int dirfd = -1;
    struct input in = {data, len};
    unsigned kind = input_byte(&in) % 3, charset = input_byte(&in), how = input_byte(&in);
    struct source_options o = {.charset = charsets[charset % ARRAY_SIZE(charsets)],
                               .separator = (char)("\0;,|\t "[how % 6])};
    struct source *s = NULL;
    struct err err = {""};
    char path[PATH_MAX + 8];
    o.dialect = dialects[how % ARRAY_SIZE(dialects)];
    if (dirfd < 0)
        dirfd = new_folder(folder);
    put_file(dirfd, "file", in.p, in.left);
    (void)snprintf(path, sizeof(path), "%s/file", folder);
    int r = source_open(kind == 0 ? SOURCE_CSV : kind == 1 ? SOURCE_LEASES : SOURCE_INI, path, &o, &s, &err);
    must(r == 0 || *err.msg);
    if (r == 0) {
        read_twice(s);
        import(s);
    }
    source_close(s);
    return 0;
}
