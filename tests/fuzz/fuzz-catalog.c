/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of catalogs: a damaged database is refused with a sentence, or every reader and a writer end with an answer or a sentence.
 *
 * The input changes a good catalog with two images and three clients, by patches: place (3 bytes, in the file), length (1 byte), bytes.
 * A place behind the end cuts the file there. If the first byte is 255, the rest is the whole file.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/catalog.h"

static char root[PATH_MAX];
static int root_fd = -1;
static unsigned char *good;
static size_t good_len;

static void add_image(struct catalog *c, const char *name, bool is_data)
{
    struct image_row i = {.is_data = is_data};
    struct version_row v = {
        .format = "raw", .is_adopted = true, .size_bytes = MiB, .file_bytes = MiB, .identity = "identity"};
    struct err err;
    strcpy(i.name, name);
    (void)snprintf(v.path, sizeof(v.path), "/srv/%s.raw", name);
    must(image_add(c, &i, &v, &err) == 0);
}

static void add_client(struct catalog *c, unsigned n)
{
    struct client_row row = {.mode = n % 2 ? OVERLAY_KEPT : OVERLAY_VOLATILE};
    struct err err;
    (void)snprintf(row.name, sizeof(row.name), "pc%u", n);
    (void)snprintf(row.mac, sizeof(row.mac), "52:54:00:00:00:%02x", n);
    must(client_add(c, &row, &err) == 0);
    must(link_set(c, row.name, 0, "win", 0, &err) == 0);
    must(link_set(c, row.name, 1, "games", 1, &err) == 0);
}

static void make_good(void)
{
    struct catalog *c = NULL;
    struct err err;
    char *text = NULL;
    root_fd = new_folder(root);
    must(catalog_create(root, &err) == 0 && catalog_open(root, CATALOG_WRITE, &c, &err) == 0);
    must(catalog_begin(c, &err) == 0);
    add_image(c, "win", false);
    add_image(c, "games", true);
    for (unsigned n = 1; n < 4; n++)
        add_client(c, n);
    must(overlay_reset(c, "pc1", -1, &err) == 0 && setting_set(c, "gateway.shards", "2", &err) == 0);
    must(catalog_commit(c, &err) == 0);
    catalog_close(c);
    must(file_read(root_fd, "catalog.db", 16 * MiB, &text, &good_len) == 0);
    good = (unsigned char *)text;
}

static void put_catalog(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    (void)unlinkat(root_fd, "catalog.db-wal", 0); /* of the run before */
    (void)unlinkat(root_fd, "catalog.db-shm", 0);
    if (len > 0 && data[0] == 255)
        return put_file(root_fd, "catalog.db", data + 1, len - 1);
    _cleanup_free_ unsigned char *p = malloc(good_len);
    size_t n = good_len;
    must(p);
    memcpy(p, good, good_len);
    while (in.left > 4) {
        size_t at = input_word(&in);
        at |= (size_t)input_byte(&in) << 16;
        size_t bytes = input_byte(&in);
        bytes = MIN(bytes, in.left);
        if (at >= good_len)
            n = MIN(n, at - good_len);
        else
            input_take(&in, p + at, MIN(bytes, good_len - at));
    }
    put_file(root_fd, "catalog.db", p, n);
}

#define READ(list, type, ...)                                                                                          \
    do {                                                                                                               \
        _cleanup_free_ type *rows = NULL;                                                                              \
        size_t count = 0;                                                                                              \
        struct err why = {""};                                                                                         \
        int code = list(c, __VA_ARGS__ __VA_OPT__(, ) & rows, &count, &why);                                           \
        must(code == 0 || why.msg[0]);                                                                                 \
    } while (0)

static void read_all(struct catalog *c)
{
    char value[SETTING_LEN + 1], tag[9];
    struct err err = {""};
    READ(image_list, struct image_row);
    READ(version_list, struct version_row, NULL);
    READ(client_list, struct client_row);
    READ(link_list, struct link_row, NULL);
    READ(view_list, struct view_row, NULL);
    READ(garbage_list, struct garbage_row);
    READ(audit_list, struct audit_row, 0);
    must(setting_get(c, "gateway.shards", value, &err) == 0 || err.msg[0]);
    must(catalog_root_tag(c, tag, &err) == 0 || err.msg[0]);
}

static void write_some(struct catalog *c)
{
    struct client_row row = {.name = "pc9", .mac = "525400000099"};
    struct err err = {""};
    if (catalog_begin(c, &err) < 0) {
        must(err.msg[0]);
        return;
    }
    int r = client_add(c, &row, &err);
    must(r == 0 || err.msg[0]);
    err.msg[0] = 0;
    r = r < 0 ? r : link_set(c, "pc9", 0, "win", 0, &err);
    must(r == 0 || err.msg[0]);
    r = catalog_commit(c, &err);
    must(r == 0 || err.msg[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (root_fd < 0)
        make_good();
    put_catalog(data, len);
    struct catalog *c = NULL;
    struct err err = {""};
    if (catalog_open(root, CATALOG_WRITE, &c, &err) < 0) {
        must(err.msg[0]);
        return 0;
    }
    read_all(c);
    write_some(c);
    catalog_close(c);
    return 0;
}
