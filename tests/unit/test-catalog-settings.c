/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings in the catalog: their defaults, what each takes and what it refuses. */
#include "tests/unit/catalog-fixture.h"

static void expect_setting(struct fixture *f, const char *key, const char *value)
{
    char got[SETTING_LEN + 1];
    OK(f, setting_get(f->c, key, got, &f->err));
    assert_string_equal(got, value);
}

static void test_settings_defaults_fit_their_own_forms(void **state)
{
    struct fixture *f = *state;
    size_t n;
    const struct setting_def *defs = setting_defs(&n);
    assert_true(n >= 12);
    for (size_t i = 0; i < n; i++) {
        expect_setting(f, defs[i].key, defs[i].value);
        OK(f, setting_set(f->c, defs[i].key, defs[i].value, &f->err));
        expect_setting(f, defs[i].key, defs[i].value);
    }
}

static void test_settings_take_good_values_and_return_to_the_default(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value, *stored;
    } rows[] = {
        {"gateway.address", "192.168.1.2", "192.168.1.2"},
        {"gateway.address", "FD00:0:0:0:0:0:0:1", "fd00::1"},
        {"gateway.port", "65535", "65535"},
        {"gateway.port", "003261", "3261"},
        {"gateway.shards", "64", "64"},
        {"gateway.tcp_wmem", "off", "off"},
        {"gateway.tcp_wmem", "4096  65536\t131072", "4096 65536 131072"},
        {"auth.chap", "off", "off"},
        {"auth.acl", "name", "name"},
        {"auth.acl", "address", "address"},
        {"clients.unknown", "auto", "auto"},
        {"clients.template", "lab-{}", "lab-{}"},
        {"clients.template_client", "pc1", "pc1"},
        {"clients.template_image", "", ""},
        {"clients.template_image", "win@3", "win@3"},
        {"ram.read_bytes", "8G", "8G"},
        {"fs.user", "_disk-gate1", "_disk-gate1"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        OK(f, setting_set(f->c, rows[i].key, rows[i].value, &f->err));
        expect_setting(f, rows[i].key, rows[i].stored);
    }
    uint64_t bytes;
    OK(f, setting_get_u64(f->c, "ram.read_bytes", &bytes, &f->err));
    assert_int_equal(bytes, 8 * GiB);
    OK(f, setting_set(f->c, "auth.acl", NULL, &f->err));
    expect_setting(f, "auth.acl", "off");
}

static void test_settings_refuse_bad_values_with_key_value_and_form(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *key, *value;
    } rows[] = {
        {"gateway.address", ""},
        {"gateway.address", "0.0.0.0"},
        {"gateway.address", "gateway"},
        {"gateway.address", "10.0.0"},
        {"gateway.address", "224.0.0.1"},
        {"gateway.address", "::"},
        {"gateway.port", "0"},
        {"gateway.port", "65536"},
        {"gateway.port", "-1"},
        {"gateway.port", "80x"},
        {"gateway.port", ""},
        {"gateway.shards", "0"},
        {"gateway.shards", "65"},
        {"gateway.tcp_wmem", "4096"},
        {"gateway.tcp_wmem", "1 2 3"},
        {"gateway.tcp_wmem", "9000 8000 7000"},
        {"gateway.tcp_wmem", "4096 8192 16384 32768"},
        {"gateway.tcp_wmem", "4096 8192 99999999999"},
        {"auth.chap", "yes"},
        {"auth.chap", "o"},
        {"auth.chap", "on|off"},
        {"auth.chap", ""},
        {"auth.acl", "names"},
        {"clients.unknown", "nam"},
        {"clients.template", "a b"},
        {"clients.template", "PC"},
        {"clients.template", "PC{0}"},
        {"clients.template", "PC{}{}"},
        {"clients.template_image", "a/b"},
        {"wake.address", "host"},
        {"ram.read_bytes", "much"},
        {"ram.read_bytes", "-1"},
        {"fs.user", "Root User"},
        {"fs.user", ""},
        {"tgt.threads", "1000000000000000000000"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char said[128];
        (void)snprintf(said, sizeof(said), "%s cannot be '%s'; it takes: ", rows[i].key, rows[i].value);
        FAILS(f, setting_set(f->c, rows[i].key, rows[i].value, &f->err), -EINVAL, said);
    }
    char long_value[400];
    memset(long_value, 'x', sizeof(long_value) - 1);
    long_value[sizeof(long_value) - 1] = 0;
    FAILS(f, setting_set(f->c, "clients.template", long_value, &f->err), -EINVAL, "clients.template cannot be");
    expect_setting(f, "gateway.port", "3260");
}

static void test_settings_refuse_unknown_keys_and_impossible_ports(void **state)
{
    struct fixture *f = *state;
    char value[SETTING_LEN + 1];
    FAILS(f, setting_set(f->c, "gateway.prot", "1", &f->err), -ENOENT, "no setting is called 'gateway.prot'");
    FAILS(f, setting_get(f->c, "", value, &f->err), -ENOENT, "no setting is called ''");
    OK(f, setting_set(f->c, "gateway.shards", "4", &f->err));
    FAILS(f, setting_set(f->c, "gateway.port", "65533", &f->err), -EINVAL, "leave the last shard without a port");
    expect_setting(f, "gateway.port", "3260");
    OK(f, setting_set(f->c, "gateway.port", "65532", &f->err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WRITER(test_settings_defaults_fit_their_own_forms),
        WITH_WRITER(test_settings_take_good_values_and_return_to_the_default),
        WITH_WRITER(test_settings_refuse_bad_values_with_key_value_and_form),
        WITH_WRITER(test_settings_refuse_unknown_keys_and_impossible_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
