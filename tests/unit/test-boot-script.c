/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iPXE scripts: what is in them, and that no name and no sentence can add a command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/util.h"
#include "gateway/boot.h"

#define IQN "iqn.2026-11.org.diskgate:abcd1234:pc1"

static struct boot_target good(void)
{
    return (struct boot_target){.client = "pc1",
                                .mac = "52:54:00:12:34:56",
                                .portal_address = "10.0.0.1",
                                .portal_port = 3261,
                                .lun = 12,
                                .iqn = IQN,
                                .initiator = IQN ":initiator",
                                .chap_user = "pc1",
                                .chap_password = "abcdefghjkmnpqrs"};
}

static char *disk(const struct boot_target *t)
{
    char *ret = NULL;
    assert_int_equal(boot_script_disk(t, &ret), 0);
    return ret;
}

static char *refuse(const char *sentence, unsigned retry_s)
{
    char *ret = NULL;
    assert_int_equal(boot_script_refuse(sentence, "52:54:00:12:34:56", retry_s, &ret), 0);
    return ret;
}

static void has(const char *script, const char *line)
{
    if (!strstr(script, line))
        fail_msg("'%s' is not in:\n%s", line, script);
}

/* Each line begins with one of our words, nothing is expanded but the MAC, and operators stand only where we put them. */
static void check_lines(const char *script, size_t lines)
{
    static const char *const begins[] = {"#!ipxe", "echo",   "set ",   "clear ", "sanboot ", "sanunhook ", ":again",
                                         "sleep ", "chain ", "exit 1", "menu ",  "item ",    "choose "};
    _cleanup_free_ char *copy = strdup(script);
    char *rest = copy;
    size_t n = 0;
    for (char *line; (line = strsep(&rest, "\n")) && (rest || *line); n++) {
        bool is_ours = false;
        for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
            is_ours = is_ours || strncmp(line, begins[i], strlen(begins[i])) == 0;
        if (!is_ours)
            fail_msg("a line that is not ours: '%s'", line);
        if (strncmp(line, "echo", 4) == 0 && strpbrk(line + 4, "$|&\\#;{}'\"`<"))
            fail_msg("an echo with more than text: '%s'", line);
        if ((strncmp(line, "item ", 5) == 0 || strncmp(line, "menu ", 5) == 0) && strpbrk(line, "$|&\\#;{}'\"`<"))
            fail_msg("an item with more than text: '%s'", line);
        if (strncmp(line, "echo -", 6) == 0)
            fail_msg("an echo with an option: '%s'", line);
        if (strncmp(line, "set ", 4) == 0 && strpbrk(line, "$|&\\#;{}'\"`<>?"))
            fail_msg("a setting with more than a word: '%s'", line);
        for (const char *p = line; *p; p++)
            if ((unsigned char)*p < ' ' || (unsigned char)*p > '~')
                fail_msg("byte %02x in '%s'", (unsigned char)*p, line);
    }
    if (lines)
        assert_int_equal(n, lines);
}

static void test_disk_script_logs_in_and_boots(void **state)
{
    struct boot_target t = good();
    _cleanup_free_ char *s = disk(&t);
    assert_int_equal(strncmp(s, "#!ipxe\n", 7), 0);
    has(s, "set initiator-iqn " IQN ":initiator\n");
    has(s, "set username pc1\nset password abcdefghjkmnpqrs\n");
    has(s, "set keep-san 1\n");
    has(s, "sanboot --keep --drive 0x80 iscsi:10.0.0.1::3261:c:" IQN " ||\n");
    has(s, "diskgate client why pc1");
    has(s, "chain --replace --autofree /boot/52-54-00-12-34-56 || goto again\n");
    check_lines(s, 0);
}

static void test_disk_script_without_chap_clears_the_login(void **state)
{
    struct boot_target t = good();
    t.chap_user = NULL;
    _cleanup_free_ char *s = disk(&t);
    has(s, "clear username ||\nclear password ||\n");
    assert_null(strstr(s, "abcdefgh"));
}

static void test_disk_script_knows_ipv6(void **state)
{
    struct boot_target t = good();
    t.portal_address = "fd00::1";
    _cleanup_free_ char *s = disk(&t);
    has(s, "iscsi:[fd00::1]::3261:c:" IQN);
}

static const char *const hostile[] = {
    "a\nreboot",    "a\r\nreboot", "a || reboot", "a && shell",   "${net0/mac}", "$${x}", "-n",
    "--help a",     "# a",         ":again",      "a\\",          "'; shell; '", "a;b",   "\x1b[2J",
    "\xc3\xa4\xff", "a\tb",        "`id`",        "<>|&*^%~[]{}", "\n\n\n",      "",
};

static void test_hostile_words_stay_words(void **state)
{
    struct boot_target plain = good();
    _cleanup_free_ char *model = disk(&plain);
    size_t lines = 0;
    for (const char *p = model; *p; p++)
        lines += *p == '\n';
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        struct boot_target t = {.client = hostile[i],
                                .mac = hostile[i],
                                .portal_address = hostile[i],
                                .iqn = hostile[i],
                                .initiator = hostile[i],
                                .chap_user = hostile[i],
                                .chap_password = hostile[i]};
        _cleanup_free_ char *s = disk(&t);
        check_lines(s, lines);
    }
}

static void test_hostile_sentences_stay_sentences(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        _cleanup_free_ char *s = refuse(hostile[i], 5);
        check_lines(s, 0);
        assert_null(strstr(s, "\nreboot"));
    }
}

static void test_every_byte_is_harmless(void **state)
{
    char text[256];
    for (int i = 1; i < 256; i++)
        text[i - 1] = (char)i;
    text[255] = 0;
    _cleanup_free_ char *s = refuse(text, 5);
    check_lines(s, 0);
    struct boot_target t = good();
    t.client = t.mac = t.iqn = text;
    _cleanup_free_ char *d = disk(&t);
    check_lines(d, 0);
}

static void test_refusal_shows_its_lines_and_asks_again(void **state)
{
    _cleanup_free_ char *s = refuse("the file '/srv/a b.vhd' is gone\nrun 'diskgate image repair'", 7);
    assert_string_equal(s, "#!ipxe\necho\n"
                           "echo Diskgate: the file /srv/a b.vhd is gone\n"
                           "echo > run diskgate image repair\n"
                           ":again\nsleep 7 ||\n"
                           "chain --replace --autofree /boot/52-54-00-12-34-56 || goto again\n");
}

static void test_refusal_without_a_mac_takes_the_card_that_is_open(void **state)
{
    char *s = NULL;
    assert_int_equal(boot_script_refuse("no", NULL, 7, &s), 0);
    has(s, "chain --replace --autofree /boot/${netX/mac:hexhyp} || goto again\n");
    free(s);
}

static void test_script_without_a_mac_asks_with_the_first_card(void **state)
{
    char *s = NULL;
    assert_int_equal(boot_script_first_card(&s), 0);
    check_lines(s, 5);
    has(s, ":again\nsleep 1 ||\nchain --replace --autofree /boot/${net0/mac:hexhyp} || goto again\n");
    free(s);
}

static void test_refusal_for_good_ends(void **state)
{
    _cleanup_free_ char *s = refuse("no", 0);
    assert_string_equal(s, "#!ipxe\necho\necho Diskgate: no\nexit 1\n");
}

/* --- menus ------------------------------------------------------------------------------------------------------- */

static char *menu(const char *client, const struct boot_choices *ch)
{
    char *ret = NULL;
    assert_int_equal(boot_script_menu(client, "52:54:00:12:34:56", ch, &ret), 0);
    return ret;
}

static void test_menu_lists_asks_and_fetches_the_choice(void **state)
{
    struct boot_choices ch = {
        .rows = {{0, "win11 - class room"}, {17, "linux@2"}}, .n = 2, .standard = 17, .timeout_s = 9};
    _cleanup_free_ char *s = menu("pc1", &ch);
    assert_string_equal(s, "#!ipxe\nmenu Diskgate: pc1 starts from\n"
                           "item --key 1 0 1: win11 - class room\n"
                           "item --key 2 17 2: linux@2\n"
                           "choose --default 17 --timeout 9000 choice || set choice 17\n"
                           "chain --replace --autofree /boot/52-54-00-12-34-56/${choice} ||\n"
                           ":again\nsleep 15 ||\n"
                           "chain --replace --autofree /boot/52-54-00-12-34-56 || goto again\n");
    ch.timeout_s = 0;
    _cleanup_free_ char *patient = menu("pc1", &ch);
    has(patient, "choose --default 17 choice || set choice 17\n");
}

static void test_menu_texts_stay_texts(void **state)
{
    struct boot_choices ch = {.n = ARRAY_SIZE(ch.rows), .standard = BOOT_SLOT_LAST};
    for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
        for (size_t k = 0; k < ch.n; k++) {
            ch.rows[k].slot = k ? BOOT_SLOT_FIRST + (uint32_t)k - 1 : 0;
            (void)snprintf(ch.rows[k].text, sizeof(ch.rows[k].text), "img - %s", hostile[i]);
        }
        _cleanup_free_ char *s = menu(hostile[i], &ch);
        check_lines(s, 2 + ch.n + 2 + 3);
        has(s, "item 31 img - ");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_script_logs_in_and_boots),
        cmocka_unit_test(test_disk_script_without_chap_clears_the_login),
        cmocka_unit_test(test_disk_script_knows_ipv6),
        cmocka_unit_test(test_hostile_words_stay_words),
        cmocka_unit_test(test_hostile_sentences_stay_sentences),
        cmocka_unit_test(test_every_byte_is_harmless),
        cmocka_unit_test(test_refusal_shows_its_lines_and_asks_again),
        cmocka_unit_test(test_refusal_without_a_mac_takes_the_card_that_is_open),
        cmocka_unit_test(test_script_without_a_mac_asks_with_the_first_card),
        cmocka_unit_test(test_refusal_for_good_ends),
        cmocka_unit_test(test_menu_lists_asks_and_fetches_the_choice),
        cmocka_unit_test(test_menu_texts_stay_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
