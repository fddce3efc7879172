/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration as a value: dump, read, difference and apply agree with each other on random sites, and the reader survives
 * damaged text. The seed is printed when a test fails; DISKGATE_SEED sets it. */
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "core/ctl.h"
#include "gateway/configuration.h"
#include "tests/unit/catalog-fixture.h"

#define FILES   8
#define CLIENTS 12
#define ROUNDS  40

struct random {
    uint64_t seed, state;
};

static struct random random_new(void)
{
    const char *text = getenv("DISKGATE_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
    print_message("DISKGATE_SEED=%" PRIu64 "\n", seed);
    return (struct random){seed, seed * 2 + 1};
}

static uint32_t below(struct random *r, uint32_t n)
{
    r->state = r->state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(r->state >> 33) % n;
}

/* --- sites ------------------------------------------------------------------------------------------------------- */

static void make_files(struct fixture *f)
{
    for (unsigned i = 0; i < FILES; i++) {
        char path[256], data[512];
        (void)snprintf(path, sizeof(path), "%s/f%u.raw", f->dir, i);
        memset(data, (int)('a' + i), sizeof(data));
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(pwrite_full(fd, data, sizeof(data), (uint64_t)i * 512), 0);
    }
}

static const char *pick(struct random *r, const char *const *from, size_t n)
{
    return from[below(r, (uint32_t)n)];
}

static const char *const comments[] = {"", "", "plain", "b\xc3\xbcro", "\"quoted\" \\ and, more"};
static const char *const groups[] = {"", "room1", "room-2"};

static const char *const masks[] = {"", "255.255.255.0", "255.255.254.0"};
static const char *const routers[] = {"", "10.0.0.1", "10.0.0.254"};
static const char *const servers[] = {"", "10.0.0.1", "10.0.0.1,8.8.8.8"};

static void random_images(struct fixture *f, struct random *r, struct config *c)
{
    c->images = calloc(FILES, sizeof(*c->images));
    for (unsigned i = 0; i < FILES; i++) {
        struct config_image *im = &c->images[c->n_images];
        if (below(r, 3) == 0)
            continue;
        (void)snprintf(im->name, sizeof(im->name), below(r, 4) ? "image%u" : "other%u", i);
        im->is_data = below(r, 2);
        im->is_hidden = below(r, 2);
        im->ram_cache_bytes = below(r, 2) * GiB;
        im->current = 1;
        strcpy(im->comment, pick(r, comments, ARRAY_SIZE(comments)));
        im->versions = calloc(1, sizeof(*im->versions));
        im->n_versions = 1;
        im->versions[0].number = 1;
        (void)snprintf(im->versions[0].path, sizeof(im->versions[0].path), "%s/f%u.raw", f->dir, i);
        strcpy(im->versions[0].comment, pick(r, comments, ARRAY_SIZE(comments)));
        c->n_images++;
    }
}

static void random_links(struct random *r, const struct config *c, struct config_client *cl)
{
    for (uint32_t slot = 0; slot < SLOTS && c->n_images; slot++) {
        const struct config_image *im = &c->images[below(r, (uint32_t)c->n_images)];
        if (below(r, 4) || (slot_is_boot(slot) && im->is_data))
            continue;
        if (slot_is_boot(slot) && below(r, 3) == 0)
            cl->boot_default = slot;
        struct config_link *l = &cl->links[cl->n_links++];
        *l = (struct config_link){.slot = slot, .pinned = below(r, 2)};
        strcpy(l->image, im->name);
    }
}

static void random_clients(struct random *r, struct config *c)
{
    unsigned macs[CLIENTS], turn = below(r, CLIENTS);
    bool has_secrets = below(r, 2); /* of all clients: one that is not told keeps a user that another may want */
    c->clients = calloc(CLIENTS, sizeof(*c->clients));
    for (unsigned i = 0; i < CLIENTS; i++)
        macs[i] = below(r, 4) ? i : (i + turn) % CLIENTS; /* may be there twice: then the client is left out */
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct config_client *cl = &c->clients[c->n_clients];
        bool is_taken = below(r, 4) == 0;
        for (unsigned k = 0; k < i; k++)
            is_taken = is_taken || macs[k] == macs[i];
        if (is_taken)
            continue;
        (void)snprintf(cl->name, sizeof(cl->name), below(r, 5) ? "pc%u" : "PC%u", i);
        (void)snprintf(cl->mac, sizeof(cl->mac), "52:54:00:00:00:%02x", macs[i]);
        if (below(r, 2))
            (void)snprintf(cl->ip, sizeof(cl->ip), "10.0.0.%u", macs[i] + 1);
        strcpy(cl->group, pick(r, groups, ARRAY_SIZE(groups)));
        strcpy(cl->comment, pick(r, comments, ARRAY_SIZE(comments)));
        cl->mode = (enum overlay_mode)below(r, 3);
        cl->is_disabled = below(r, 2);
        cl->menu_timeout_s = below(r, 3) * 15;
        cl->ram_write_bytes = below(r, 3) * MiB;
        strcpy(cl->netmask, pick(r, masks, ARRAY_SIZE(masks)));
        strcpy(cl->gateway, pick(r, routers, ARRAY_SIZE(routers)));
        strcpy(cl->dns, pick(r, servers, ARRAY_SIZE(servers)));
        if (has_secrets) {
            (void)snprintf(cl->chap_user, sizeof(cl->chap_user), "user-%u", macs[i]);
            (void)snprintf(cl->chap_password, sizeof(cl->chap_password), "secretsecret%u", below(r, 90) + 10);
        }
        random_links(r, c, cl);
        c->n_clients++;
    }
}

static void random_settings(struct random *r, struct config *c)
{
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    c->settings = calloc(n, sizeof(*c->settings));
    unsigned shards = below(r, 63) + 2, port = below(r, 2) ? 65536 - shards : 1024;
    for (size_t i = 0; i < n; i++) {
        struct config_setting *s = &c->settings[c->n_settings];
        bool is_port = strcmp(defs[i].key, "gateway.port") == 0, is_shards = strcmp(defs[i].key, "gateway.shards") == 0;
        if ((!is_port && !is_shards) || below(r, 3) == 0)
            continue;
        if (is_shards && c->n_settings == 0)
            shards = 2; /* the default port has room for it */
        s->def = &defs[i];
        (void)snprintf(s->value, sizeof(s->value), "%u", is_port ? port : shards);
        c->n_settings++;
    }
}

static struct config *random_config(struct fixture *f, struct random *r)
{
    struct config *c = config_create();
    random_settings(r, c);
    random_images(f, r, c);
    random_clients(r, c);
    return c;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

static char *text_of(struct fixture *f, const struct config *c)
{
    _cleanup_json_ json_t *o = NULL;
    OK(f, config_json(c, true, &o, &f->err));
    char *text = json_dumps(o, JSON_INDENT(2));
    assert_non_null(text);
    return text;
}

static char *dump_of(struct fixture *f, struct catalog *c)
{
    _cleanup_(config_destroyp) struct config *now = NULL;
    OK(f, config_load(c, &now, &f->err));
    return text_of(f, now);
}

/* Apply @text to @c; the number of differences. */
static size_t apply_text(struct fixture *f, struct catalog *c, const char *text)
{
    _cleanup_(config_destroyp) struct config *want = NULL, *have = NULL;
    _cleanup_(config_diff_destroyp) struct config_diff *d = NULL;
    OK(f, config_read(text, strlen(text), "site.json", &want, &f->err));
    OK(f, catalog_begin(c, &f->err));
    OK(f, config_load(c, &have, &f->err));
    OK(f, config_diff(have, want, &d, &f->err));
    OK(f, config_apply(f->dir, c, d, &f->err));
    OK(f, catalog_commit(c, &f->err));
    return json_array_size(d->lines);
}

static struct catalog *second_root(struct fixture *f)
{
    char dir[128];
    struct catalog *c = NULL;
    (void)snprintf(dir, sizeof(dir), "%s/second", f->dir);
    assert_int_equal(make_dirs(dir, 0755), 0);
    OK(f, catalog_create(dir, &f->err));
    OK(f, catalog_open(dir, CATALOG_WRITE, &c, &f->err));
    return c;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

static void test_config_random_sites_converge_and_go_round(void **state)
{
    struct fixture *f = *state;
    struct random r = random_new();
    make_files(f);
    _cleanup_(catalog_closep) struct catalog *second = second_root(f);
    for (int i = 0; i < ROUNDS; i++) {
        _cleanup_(config_destroyp) struct config *want = random_config(f, &r);
        _cleanup_free_ char *text = text_of(f, want);
        apply_text(f, f->c, text);
        assert_int_equal(apply_text(f, f->c, text), 0);
        _cleanup_free_ char *dump = dump_of(f, f->c);
        assert_int_equal(apply_text(f, f->c, dump), 0);
        apply_text(f, second, dump);
        _cleanup_free_ char *other = dump_of(f, second);
        assert_string_equal(dump, other);
    }
}

static void test_config_read_answers_damaged_text_with_a_sentence(void **state)
{
    struct fixture *f = *state;
    struct random r = random_new();
    static const char bytes[] = "{}[]\",:0123456789-eE.\\ truefalsnx\n\x01\x80\xff";
    for (int i = 0; i < 20; i++) {
        _cleanup_(config_destroyp) struct config *want = random_config(f, &r);
        _cleanup_free_ char *text = text_of(f, want);
        size_t len = strlen(text);
        for (int k = 0; k < 100; k++) {
            _cleanup_(config_destroyp) struct config *c = NULL;
            _cleanup_free_ char *bad = strdup(text);
            for (uint32_t n = below(&r, 4) + 1; n > 0; n--)
                bad[below(&r, (uint32_t)len)] = bytes[below(&r, sizeof(bytes) - 1)];
            f->err.msg[0] = 0;
            int ret = config_read(bad, below(&r, 4) ? len : below(&r, (uint32_t)len), "site.json", &c, &f->err);
            assert_true(ret == 0 ? c != NULL : c == NULL && strstr(f->err.msg, "site.json"));
        }
    }
}

static void test_config_failed_apply_leaves_the_catalog_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct random r = random_new();
    _cleanup_(config_destroyp) struct config *want = NULL, *have = NULL;
    _cleanup_(config_diff_destroyp) struct config_diff *d = NULL;
    make_files(f);
    do {
        config_destroy(want);
        want = random_config(f, &r);
    } while (want->n_images == 0);
    strcpy(want->images[want->n_images - 1].versions[0].path, "/nowhere/disk.raw");
    _cleanup_free_ char *before = dump_of(f, f->c);
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, config_load(f->c, &have, &f->err));
    OK(f, config_diff(have, want, &d, &f->err));
    FAILS(f, config_apply(f->dir, f->c, d, &f->err), -ENOENT, "/nowhere/disk.raw");
    catalog_rollback(f->c);
    _cleanup_free_ char *after = dump_of(f, f->c);
    assert_string_equal(before, after);
}

static void test_config_json_hides_secrets_unless_asked(void **state)
{
    struct fixture *f = *state;
    _cleanup_(config_destroyp) struct config *c = NULL;
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_client(f->c, "pc1", "52:54:00:00:00:01", &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    OK(f, config_load(f->c, &c, &f->err));
    for (int with = 0; with < 2; with++) {
        _cleanup_json_ json_t *o = NULL;
        OK(f, config_json(c, with, &o, &f->err));
        _cleanup_free_ char *text = json_dumps(o, 0);
        assert_int_equal(strstr(text, c->clients[0].chap_password) != NULL, with);
    }
}

static void test_config_path_that_is_no_utf8_is_not_dumped_wrongly(void **state)
{
    struct fixture *f = *state;
    _cleanup_(config_destroyp) struct config *c = NULL;
    _cleanup_json_ json_t *o = NULL;
    struct version_row v;
    OK(f, catalog_begin(f->c, &f->err));
    OK(f, add_image(f->c, "win", false, &f->err));
    OK(f, version_find(f->c, "win", 1, &v, &f->err));
    strcpy(v.path, "/srv/b\xfcro.raw");
    OK(f, version_update(f->c, &v, &f->err));
    OK(f, catalog_commit(f->c, &f->err));
    OK(f, config_load(f->c, &c, &f->err));
    FAILS(f, config_json(c, false, &o, &f->err), -EINVAL, "UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_config_random_sites_converge_and_go_round),
        WITH_ROOT(test_config_read_answers_damaged_text_with_a_sentence),
        WITH_ROOT(test_config_failed_apply_leaves_the_catalog_as_it_was),
        WITH_ROOT(test_config_json_hides_secrets_unless_asked),
        WITH_ROOT(test_config_path_that_is_no_utf8_is_not_dumped_wrongly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
