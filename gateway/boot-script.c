/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iPXE scripts. Pure: text in, text out.
 *
 * iPXE expands ${...}, splits a line at blanks, and takes "||", "&&" and a leading ":" or "#" for its own; it knows no quoting. So words and
 * sentences are cut down to characters that mean nothing to it:
 *
 *   (1) A value is one word: letters, digits and . _ - : / @ =   Anything else is left out.
 *   (2) A sentence has these, blanks and , ( ) ! ? + too; quotes are left out, a semicolon is a comma, other bytes become "?". Each of its lines is one echo
 *       behind a word of ours, so that no "-" of a sentence begins an option. An item of a menu is such a line, behind its slot.
 *
 * A script never ends by itself: when the disk cannot be booted, or after a refusal, the PC asks again. It asks with the MAC in its
 * hyphen form, for iPXE takes all before a colon for a scheme; the path alone will do, iPXE knows whom it has asked.
 */
#include "gateway/boot.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

#define FAILED_RETRY_S 15

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static void put_word(FILE *f, const char *text)
{
    for (; *text; text++)
        if (is_plain(*text) || strchr("._-:/@=", *text))
            (void)fputc(*text, f); /* memory only, checked at the end; so everywhere here */
}

static char sentence_char(char c)
{
    if (is_plain(c) || strchr("._-:/@= ,()!?+", c))
        return c;
    return c == '\t' ? ' ' : c == ';' ? ',' : '?';
}

/* What can stand within a line of a sentence. */
static void put_text(FILE *f, const char *text)
{
    for (; *text; text++)
        if (!strchr("'\"`\r\n", *text))
            (void)fputc(sentence_char(*text), f);
}

/* One echo for each line of @sentence. */
static void put_sentence(FILE *f, const char *sentence)
{
    const char *begin = "echo Diskgate: ";
    bool is_new = true;
    for (const char *p = sentence; *p; p++) {
        if (*p == '\n') {
            (void)fputs(is_new ? "" : "\n", f);
            is_new = true;
        } else if (!strchr("'\"`\r", *p)) {
            if (is_new)
                (void)fputs(begin, f);
            begin = "echo > ";
            is_new = false;
            (void)fputc(sentence_char(*p), f);
        }
    }
    (void)fputs(is_new ? "" : "\n", f);
}

static void put_chain(FILE *f, const char *mac)
{
    (void)fputs("chain --replace --autofree /boot/", f);
    if (mac)
        for (const char *p = mac; *p; p++)
            (void)fputc(is_plain(*p) ? *p : '-', f);
    else
        (void)fputs("${netX/mac:hexhyp}", f);
}

static void put_retry(FILE *f, const char *mac, unsigned retry_s)
{
    (void)fprintf(f, ":again\nsleep %u ||\n", retry_s);
    put_chain(f, mac);
    (void)fputs(" || goto again\n", f);
}

static void put_setting(FILE *f, const char *name, const char *value)
{
    if (!value) {
        (void)fprintf(f, "clear %s ||\n", name); /* of a script before */
        return;
    }
    (void)fprintf(f, "set %s ", name);
    put_word(f, value);
    (void)fputc('\n', f);
}

/* iscsi:SERVER:PROTOCOL:PORT:LUN:TARGET, LUN in hex. Source: RFC 4173, section 5. */
static void put_uri(FILE *f, const struct boot_target *t)
{
    bool is_v6 = strchr(t->portal_address, ':');
    (void)fputs(is_v6 ? "iscsi:[" : "iscsi:", f);
    put_word(f, t->portal_address);
    (void)fprintf(f, "%s::%u:%x:", is_v6 ? "]" : "", t->portal_port, t->lun);
    put_word(f, t->iqn);
}

static void put_failure(FILE *f, const char *client)
{
    (void)fputs("echo\necho Diskgate: this PC could not start from its disk, the lines above say how far it came.\n"
                "echo > On the server, diskgate client why ",
                f);
    put_word(f, client);
    (void)fputs(" says more. Trying again soon.\n", f);
}

static int finish(FILE *f, char **text, char **ret)
{
    bool is_bad = ferror(f);
    if (fclose(f) == EOF || is_bad) {
        free(*text);
        return -ENOMEM;
    }
    *ret = *text;
    return 0;
}

int boot_script_disk(const struct boot_target *t, char **ret)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return -ENOMEM;
    (void)fputs("#!ipxe\necho Diskgate: this PC is ", f);
    put_word(f, t->client);
    (void)fputc('\n', f);
    put_setting(f, "initiator-iqn", t->initiator);
    put_setting(f, "username", t->chap_user);
    put_setting(f, "password", t->chap_user ? t->chap_password : NULL);
    put_setting(f, "keep-san", "1");
    (void)fputs("sanboot --keep --drive 0x80 ", f);
    put_uri(f, t);
    (void)fputs(" ||\n", f); /* back here, whatever it said, the system did not start */
    (void)fputs("sanunhook --drive 0x80 ||\n", f);
    put_failure(f, t->client);
    put_retry(f, t->mac, FAILED_RETRY_S);
    return finish(f, &text, ret);
}

/* iPXE puts one blank between words, however many there are. The digits 1 to 9 choose at once. Escape, and a console that cannot show a menu, take the default. */
int boot_script_menu(const char *client, const char *mac, const struct boot_choices *ch, char **ret)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return -ENOMEM;
    (void)fputs("#!ipxe\nmenu Diskgate: ", f);
    put_word(f, client);
    (void)fputs(" starts from\n", f);
    for (size_t i = 0; i < ch->n; i++) {
        if (i < 9)
            (void)fprintf(f, "item --key %zu %u %zu: ", i + 1, ch->rows[i].slot, i + 1);
        else
            (void)fprintf(f, "item %u ", ch->rows[i].slot);
        put_text(f, ch->rows[i].text);
        (void)fputc('\n', f);
    }
    (void)fprintf(f, "choose --default %u ", ch->standard);
    if (ch->timeout_s > 0)
        (void)fprintf(f, "--timeout %u000 ", ch->timeout_s);
    (void)fprintf(f, "choice || set choice %u\n", ch->standard);
    put_chain(f, mac);
    (void)fputs("/${choice} ||\n", f);
    put_retry(f, mac, FAILED_RETRY_S);
    return finish(f, &text, ret);
}

int boot_script_refuse(const char *sentence, const char *mac, unsigned retry_s, char **ret)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return -ENOMEM;
    (void)fputs("#!ipxe\necho\n", f);
    put_sentence(f, sentence);
    if (retry_s > 0)
        put_retry(f, mac, retry_s);
    else
        (void)fputs("exit 1\n", f);
    return finish(f, &text, ret);
}

int boot_script_first_card(char **ret)
{
    *ret = strdup(
        "#!ipxe\necho Diskgate: this iPXE is too old to tell which card it started from, so its first one counts.\n"
        ":again\nsleep 1 ||\nchain --replace --autofree /boot/${net0/mac:hexhyp} || goto again\n");
    return *ret ? 0 : -ENOMEM;
}
