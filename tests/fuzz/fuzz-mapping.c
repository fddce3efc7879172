/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of mapping files: one that is accepted is saved and loaded again as the same, and gives as many records as there are rows (none where
 * it has settings of the site only); all else gets a sentence. The source is two small tables with names that need quotes.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "migrate/mapping.h"
#include "migrate/record.h"
#include "tests/unit/fake-source.h"

static const char *const client_rows[][FAKE_COLUMNS] = {{"1", "001b21aabb01", "P1", "1", "D:\\a.img;D:\\b.img", "1"},
                                                        {"2", "001b21aabb02", "P2", "9", "x", "0"},
                                                        {"3", "", NULL, NULL, "..\\y", NULL}};
static const char *const image_rows[][FAKE_COLUMNS] = {{"1", "Win 10", "D:\\a.img", "1"}, {"2", "Win 11", "", "2"}};
static const struct fake_table tables[] = {
    {"C", {"a:int", "b:text", "c d:text", "e.f:int", "g:text", "h:bool", NULL}, client_rows, 3, NULL},
    {"I \"x", {"a:int", "n:text", "p:text", "o:int", NULL}, image_rows, 2, NULL}};

static int count(void *arg, const struct record *r)
{
    ++*(uint64_t *)arg;
    return 0;
}

static void save(const struct mapping *m, char **ret, size_t *ret_len)
{
    FILE *f = open_memstream(ret, ret_len);
    must(f && mapping_save(m, f) == 0 && fclose(f) == 0);
}

/* Texts of @first and @again, and they are the same. */
static void check_same(const struct mapping *first, const struct mapping *again)
{
    _cleanup_free_ char *a = NULL, *b = NULL;
    size_t na, nb;
    save(first, &a, &na);
    save(again, &b, &nb);
    must(na == nb && memcmp(a, b, na) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char folder[PATH_MAX];
    static int dirfd = -1;
    char path[PATH_MAX + 8];
    struct err err = {""};
    uint64_t n = 0, rows = 0;
    _cleanup_(source_closep) struct source *s = fake_source(tables, 2);
    _cleanup_(mapping_destroyp) struct mapping *m = NULL, *again = NULL;
    _cleanup_free_ char *text = NULL;
    size_t text_len;
    if (dirfd < 0)
        dirfd = new_folder(folder);
    (void)snprintf(path, sizeof(path), "%s/mapping", folder);
    put_file(dirfd, "mapping", data, len);
    int r = mapping_load(path, s, &m, &err);
    must(r == 0 || *err.msg);
    if (r < 0)
        return 0;
    int read = records_read(s, m, count, &n, &rows, &err);
    uint64_t want = mapping_has_table(m) ? 3 : 0;
    must(read == 0 ? n == want && rows == want : *err.msg != 0);
    save(m, &text, &text_len);
    put_file(dirfd, "mapping", text, text_len);
    must(mapping_load(path, s, &again, &err) == 0);
    check_same(m, again);
    return 0;
}
