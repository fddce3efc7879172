/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 and hex digits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/sha256.h"
#include "core/util.h"

static void check_pieces(const char *text, size_t piece, const char *want)
{
    _cleanup_(sha256_destroyp) struct sha256 *s = sha256_create();
    unsigned char sum[32];
    char hex[SHA256_HEX_LEN + 1];
    assert_non_null(s);
    for (size_t at = 0, len = strlen(text); at < len; at += piece)
        assert_int_equal(sha256_update(s, text + at, MIN(piece, len - at)), 0);
    assert_int_equal(sha256_finish(s, sum), 0);
    hex_text(sum, sizeof(sum), hex);
    assert_string_equal(hex, want);
}

/* In one piece, in pieces, and out of a file. */
static void check(const char *text, const char *want)
{
    unsigned char sum[32];
    char hex[SHA256_HEX_LEN + 1];
    uint64_t bytes = 0;
    assert_int_equal(sha256_buf(text, strlen(text), sum), 0);
    hex_text(sum, sizeof(sum), hex);
    assert_string_equal(hex, want);
    for (size_t piece = 1; piece < 140; piece += 3)
        check_pieces(text, piece, want);
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0 && fflush(f) == 0, 1);
    assert_int_equal(sha256_file(fileno(f), sum, &bytes), 0);
    hex_text(sum, sizeof(sum), hex);
    assert_string_equal(hex, want);
    assert_int_equal(bytes, strlen(text));
    (void)fclose(f);
}

/* Source: FIPS 180-2, appendix B, and `sha256sum`. */
static void test_it_is_that_of_the_standard(void **state)
{
    char many[100001];
    memset(many, 'a', sizeof(many) - 1);
    many[sizeof(many) - 1] = 0;
    check("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check(many, "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee");
    many[1000] = 0;
    check(many, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
}

static void test_a_file_that_cannot_be_read_is_an_error(void **state)
{
    unsigned char sum[32];
    int pipes[2];
    assert_int_equal(sha256_file(-1, sum, NULL), -EBADF);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(sha256_file(pipes[0], sum, NULL), -ESPIPE);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void test_digits_go_both_ways(void **state)
{
    static const unsigned char bytes[] = {0x00, 0x0f, 0xa5, 0xff};
    static const char *const bad[] = {"000fa5f", "000fa5ff0", "000fa5fg", "000FA5FF", "000fa5f "};
    unsigned char back[sizeof(bytes)];
    char text[2 * sizeof(bytes) + 1];
    hex_text(bytes, sizeof(bytes), text);
    assert_string_equal(text, "000fa5ff");
    assert_int_equal(hex_parse(text, strlen(text), back, sizeof(back)), 0);
    assert_memory_equal(back, bytes, sizeof(back));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(hex_parse(bad[i], strlen(bad[i]), back, sizeof(back)), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_that_of_the_standard),
        cmocka_unit_test(test_a_file_that_cannot_be_read_is_an_error),
        cmocka_unit_test(test_digits_go_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
