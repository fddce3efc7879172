/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A root with an open catalog in a folder of its own, for the tests of the catalog.
 *
 * A failed step of the preparation fails the test with the sentence of the catalog.
 */
#ifndef DISKGATE_TESTS_CATALOG_FIXTURE_H
#define DISKGATE_TESTS_CATALOG_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/catalog.h"
#include "core/util.h"

struct fixture {
    char dir[96]; /* the root */
    struct catalog *c;
    struct err err;
};

/* Expect 0; else fail with the sentence in f->err. */
#define OK(f, call)                                                                                                    \
    do {                                                                                                               \
        (f)->err.msg[0] = 0;                                                                                           \
        int ok_ret = (call);                                                                                           \
        if (ok_ret != 0)                                                                                               \
            fail_msg("%s: %d: %s", #call, ok_ret, (f)->err.msg);                                                       \
    } while (0)

/* Expect @code and a sentence that holds @words. */
#define FAILS(f, call, code, words)                                                                                    \
    do {                                                                                                               \
        (f)->err.msg[0] = 0;                                                                                           \
        assert_int_equal(call, code);                                                                                  \
        if (!strstr((f)->err.msg, words))                                                                              \
            fail_msg("'%s' does not say '%s'", (f)->err.msg, words);                                                   \
    } while (0)

static inline int setup_folder(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    strcpy(f->dir, "/tmp/diskgate-test-XXXXXX"); /* much shorter than its place, so that tests may append */
    *state = f;
    return mkdtemp(f->dir) ? 0 : -1;
}

static inline int setup_root(void **state)
{
    if (setup_folder(state) < 0)
        return -1;
    struct fixture *f = *state;
    OK(f, catalog_create(f->dir, &f->err));
    OK(f, catalog_open(f->dir, CATALOG_WRITE, &f->c, &f->err));
    return 0;
}

/* Also begins a transaction. */
static inline int setup_writer(void **state)
{
    if (setup_root(state) < 0)
        return -1;
    struct fixture *f = *state;
    OK(f, catalog_begin(f->c, &f->err));
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    catalog_close(f->c);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    free(f);
    return system(command);
}

static inline int add_client(struct catalog *c, const char *name, const char *mac, struct err *err)
{
    struct client_row row = {0};
    assert_in_range(strlen(name), 0, NAME_LEN);
    assert_in_range(strlen(mac), 0, MAC_LEN);
    strcpy(row.name, name);
    strcpy(row.mac, mac);
    return client_add(c, &row, err);
}

static inline int add_image(struct catalog *c, const char *name, bool is_data, struct err *err)
{
    struct image_row i = {.is_data = is_data};
    struct version_row v = {.format = "raw",
                            .path = "/srv/base.raw",
                            .is_adopted = true,
                            .size_bytes = GiB,
                            .file_bytes = GiB - 3,
                            .mtime_ns = 1700000000123456789,
                            .identity = "xxh3s1:1073741821:00112233445566778899aabbccddeeff"};
    (void)snprintf(i.name, sizeof(i.name), "%s", name);
    return image_add(c, &i, &v, err);
}

/* Also three images and a client with two of them. */
static inline int setup_linked(void **state)
{
    if (setup_writer(state) < 0)
        return -1;
    struct fixture *f = *state;
    OK(f, add_image(f->c, "win11", false, &f->err));
    OK(f, add_image(f->c, "linux", false, &f->err));
    OK(f, add_image(f->c, "games", true, &f->err));
    OK(f, add_client(f->c, "pc1", "525400000001", &f->err));
    OK(f, link_set(f->c, "pc1", 0, "win11", 0, &f->err));
    OK(f, link_set(f->c, "pc1", 3, "games", 1, &f->err));
    return 0;
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup_folder, teardown)
#define WITH_ROOT(test)   cmocka_unit_test_setup_teardown(test, setup_root, teardown)
#define WITH_WRITER(test) cmocka_unit_test_setup_teardown(test, setup_writer, teardown)
#define WITH_LINKS(test)  cmocka_unit_test_setup_teardown(test, setup_linked, teardown)

#endif
