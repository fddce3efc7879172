/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parser of tgtadm's listings: what tgtd says is understood, what an initiator makes it say is not believed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"
#include "gateway/direct.h"
#include "gateway/tgt-show.h"

#define HEAD(tid, name)                                                                                                \
    "Target " tid ": " name "\n"                                                                                       \
    "    System information:\n"                                                                                        \
    "        Driver: iscsi\n"                                                                                          \
    "        State: ready\n"                                                                                           \
    "        Nop interval: 5\n"                                                                                        \
    "        Nop count: 3\n"                                                                                           \
    "    I_T nexus information:\n"

#define SESSION(sid, name)                                                                                             \
    "        I_T nexus: " sid "\n"                                                                                     \
    "            Initiator: " name " alias: none\n"                                                                    \
    "            Connection: 0\n"                                                                                      \
    "                IP Address: 127.0.0.1\n"

#define LUN(number, type, sn, thin, path)                                                                              \
    "        LUN: " number "\n"                                                                                        \
    "            Type: " type "\n"                                                                                     \
    "            SCSI ID: IET     00050000\n"                                                                          \
    "            SCSI SN: " sn "\n"                                                                                    \
    "            Size: 105 MB, Block size: 512\n"                                                                      \
    "            Online: Yes\n"                                                                                        \
    "            Removable media: No\n"                                                                                \
    "            Prevent removal: No\n"                                                                                \
    "            Readonly: No\n"                                                                                       \
    "            SWP: No\n"                                                                                            \
    "            Thin-provisioning: " thin "\n"                                                                        \
    "            Backing store type: rdwr\n"                                                                           \
    "            Backing store path: " path "\n"                                                                       \
    "            Backing store flags: \n"

#define LUNS                                                                                                           \
    "    LUN information:\n" LUN("0", "controller", "beaf50", "No", "None")                                            \
        LUN("1", "disk", "tag-5-0", "Yes", "mnt/a.img")

#define ACCESS(user, acl)                                                                                              \
    "    Account information:\n"                                                                                       \
    "        " user "\n"                                                                                               \
    "    ACL information:\n"                                                                                           \
    "        " acl "\n"

static const char plain[] =
    HEAD("5", "iqn.2026-01.x:y") SESSION("3", "iqn.2008-11.org.linux-kvm:pc") LUNS ACCESS("u1", "ALL");

static int parse(const char *text, struct tgt_state *s)
{
    struct err err = {""};
    *s = (struct tgt_state){0};
    int r = tgt_show_parse(text, s, &err);
    assert_true(r == 0 || err.msg[0] != 0);
    return r;
}

static void test_tgt_show_reads_a_target(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    assert_int_equal(parse(plain, &s), 0);
    assert_int_equal(s.n_targets, 1);
    const struct tgt_target *t = tgt_find(&s, 5);
    assert_non_null(t);
    assert_string_equal(t->name, "iqn.2026-01.x:y");
    assert_int_equal(t->n_sessions, 1);
    assert_int_equal(t->sessions[0].sid, 3);
    assert_int_equal(t->sessions[0].cid, 0);
    assert_string_equal(t->sessions[0].initiator, "iqn.2008-11.org.linux-kvm:pc");
    assert_string_equal(t->sessions[0].address, "127.0.0.1");
    const struct tgt_lun *l = tgt_find_lun(t, 1);
    assert_true(l->is_disk && l->is_online && l->is_thin);
    assert_int_equal(l->size_mb, 105);
    assert_string_equal(l->sn, "tag-5-0");
    assert_string_equal(l->path, "mnt/a.img");
    assert_string_equal(l->bstype, "rdwr");
    assert_false(tgt_find_lun(t, 0)->is_disk);
    assert_null(tgt_find_lun(t, 2));
    assert_true(tgt_has(t->accounts, t->n_accounts, "u1"));
    assert_true(tgt_has(t->acls, t->n_acls, "ALL"));
}

static void test_tgt_show_reads_nothing(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    assert_int_equal(parse("", &s), 0);
    assert_int_equal(s.n_targets, 0);
}

static void test_tgt_show_reads_many_targets(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    _cleanup_free_ char *text = calloc(300, 4096);
    size_t at = 0;
    for (int i = 1; i <= 300; i++)
        at += (size_t)sprintf(text + at, HEAD("%d", "iqn.2026-01.x:pc%d") LUNS ACCESS("u%d", "10.0.0.%d"), i, i, i,
                              i % 250);
    assert_int_equal(parse(text, &s), 0);
    assert_int_equal(s.n_targets, 300);
    assert_string_equal(tgt_find(&s, 300)->accounts[0], "u300");
}

static void test_tgt_show_separates_accounts_of_both_directions(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    assert_int_equal(parse(HEAD("5", "iqn.x") LUNS ACCESS("in\n        out (outgoing)", "fd00::5"), &s), 0);
    assert_int_equal(s.targets[0].n_accounts, 1);
    assert_string_equal(s.targets[0].acls[0], "fd00::5");
}

static void test_tgt_show_keeps_a_session_without_connection(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    assert_int_equal(
        parse(HEAD("5", "iqn.x") "        I_T nexus: 9\n            Initiator: a alias: \n" LUNS ACCESS("u", "ALL"),
              &s),
        0);
    assert_int_equal(s.targets[0].n_sessions, 1);
    assert_int_equal(s.targets[0].sessions[0].cid, -1);
}

static void test_tgt_show_counts_a_second_connection(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    static const char text[] = HEAD("5", "iqn.x")
        SESSION("2", "a") "            Connection: 1\n                IP Address: ::1\n" LUNS ACCESS("u", "ALL");
    assert_int_equal(parse(text, &s), 0);
    assert_int_equal(s.targets[0].n_sessions, 2);
    assert_int_equal(s.targets[0].sessions[1].sid, 2);
    assert_int_equal(s.targets[0].sessions[1].cid, 1);
    assert_string_equal(s.targets[0].sessions[1].initiator, "a");
}

static void test_tgt_show_cleans_names_for_print(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s;
    assert_int_equal(parse(HEAD("5", "iqn.x") SESSION("2", "a\033[2Jb\r") LUNS ACCESS("u", "ALL"), &s), 0);
    assert_string_equal(s.targets[0].sessions[0].initiator, "a?[2Jb?");
}

static void test_tgt_show_refuses_forged_lines(void **state)
{
    static const char *const names[] = {
        "x\n    LUN information:\n        LUN: 7",                       /* a second LUN section */
        "x\n",                                                           /* an empty alias line */
        "x\nTarget 6: iqn.other",                                        /* a target in the middle of one */
        "x alias: none\n        I_T nexus: 2\n            Initiator: y", /* the same number twice */
        "x\n            Connection: 99999999999999999999",               /* a number too large */
        "x\n    Account information:\n        u1\n    ACL information:\n        ALL",
        "x alias: y\n" LUNS "    Account information:\n    ACL information:\nTarget 5: iqn.x\n    System information:\n"
        "    I_T nexus information:\n        I_T nexus: 4\n            Initiator: z", /* the same target twice */
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(tgt_state_finish) struct tgt_state s;
        _cleanup_free_ char *text = calloc(1, 16384);
        (void)snprintf(text, 16384, HEAD("5", "iqn.x") SESSION("2", "%s") LUNS ACCESS("u", "ALL"), names[i]);
        assert_int_equal(parse(text, &s), -EBADMSG);
    }
}

static void test_tgt_show_refuses_cut_text(void **state)
{
    _cleanup_free_ char *text = strdup(plain);
    for (size_t len = strlen(plain); len-- > 0;) {
        _cleanup_(tgt_state_finish) struct tgt_state s;
        text[len] = 0;
        int r = parse(text, &s);
        assert_true(r == 0 || r == -EBADMSG);
        if (len > 0 && len < strlen(plain) - strlen("    ACL information:\n        ALL\n"))
            assert_int_equal(r, -EBADMSG);
    }
}

static void test_tgt_show_survives_damage(void **state)
{
    _cleanup_free_ char *text = strdup(plain);
    uint32_t x = 1;
    for (int i = 0; i < 20000; i++) {
        _cleanup_(tgt_state_finish) struct tgt_state s;
        x = x * 1664525 + 1013904223;
        size_t at = (x >> 8) % strlen(plain);
        char old = text[at];
        text[at] = "\n :0 \x01L9"[x >> 29];
        int r = parse(text, &s);
        assert_true(r == 0 || r == -EBADMSG);
        if (i % 4)
            text[at] = old;
        else if (i % 64 == 0)
            strcpy(text, plain);
    }
}

static void test_tgt_show_reads_accounts(void **state)
{
    _cleanup_(tgt_state_finish) struct tgt_state s = {0};
    assert_int_equal(tgt_accounts_parse("Account list:\n    u1\n    u2\n", &s, NULL), 0);
    assert_int_equal(s.n_accounts, 2);
    assert_string_equal(s.accounts[1], "u2");
}

static void test_tgt_conn_finds_the_forger(void **state)
{
    struct tgt_conn c[4];
    bool is_odd;
    static const char good[] =
        "Session: 3\n    Connection: 0\n        Initiator: iqn.a\n        IP Address: 127.0.0.1\n"
        "Session: 2\n    Connection: 1\n        Initiator: iqn.b\n        IP Address: 127.0.0.1\n";
    assert_int_equal(tgt_conn_parse(good, c, 4, &is_odd), 2);
    assert_false(is_odd);
    assert_int_equal(c[1].sid, 2);
    assert_int_equal(c[1].cid, 1);
    assert_int_equal(tgt_conn_parse(good, c, 1, &is_odd), 1);
    static const char odd[] =
        "Session: 3\n    Connection: 0\n        Initiator: iqn.a\n    LUN information:\n        IP Address: ::1\n";
    assert_int_equal(tgt_conn_parse(odd, c, 4, &is_odd), 1);
    assert_true(is_odd);
    assert_int_equal(tgt_conn_parse("", c, 4, &is_odd), 0);
    assert_false(is_odd);
}

static void test_tgt_store_is_found_by_its_whole_name(void **state)
{
    static const char text[] =
        "System:\n    State: ready\n    diskgate\nLLDs:\n    iscsi: ready\nBacking stores:\n"
        "    diskgate2\n    rdwr (bsoflags sync:direct)\n    null\nDevice types:\n    disk\n    aio\n";
    assert_true(tgt_store_parse(text, "rdwr"));
    assert_true(tgt_store_parse(text, "null"));
    assert_true(tgt_store_parse(text, "diskgate2"));
    assert_false(tgt_store_parse(text, "diskgate"));
    assert_false(tgt_store_parse(text, "aio"));
    assert_false(tgt_store_parse("", "rdwr"));
    assert_false(tgt_store_parse("Backing stores:\n    rdw", "rdwr"));
    assert_true(tgt_store_parse("Backing stores:\n    rdwr", "rdwr"));
}

static void test_direct_knows_versions_that_were_looked_at(void **state)
{
    static const char *const good[] = {"1.0.85\n", "1.0.97", "1.0.90\n"};
    static const char *const bad[] = {"",      "1.0.84\n", "1.0.98\n",  "1.1.90\n",    "2.0.85\n",
                                      "1.0\n", "1.0.85a",  "1.0.85 \n", "tgtd 1.0.85", "1.0.85\n\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(direct_knows_version(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(direct_knows_version(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tgt_show_reads_a_target),
        cmocka_unit_test(test_tgt_show_reads_nothing),
        cmocka_unit_test(test_tgt_show_reads_many_targets),
        cmocka_unit_test(test_tgt_show_separates_accounts_of_both_directions),
        cmocka_unit_test(test_tgt_show_keeps_a_session_without_connection),
        cmocka_unit_test(test_tgt_show_counts_a_second_connection),
        cmocka_unit_test(test_tgt_show_cleans_names_for_print),
        cmocka_unit_test(test_tgt_show_refuses_forged_lines),
        cmocka_unit_test(test_tgt_show_refuses_cut_text),
        cmocka_unit_test(test_tgt_show_survives_damage),
        cmocka_unit_test(test_tgt_show_reads_accounts),
        cmocka_unit_test(test_tgt_conn_finds_the_forger),
        cmocka_unit_test(test_tgt_store_is_found_by_its_whole_name),
        cmocka_unit_test(test_direct_knows_versions_that_were_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
