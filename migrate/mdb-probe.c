/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first page of an Access file; see mdb-probe.h. */
#include "migrate/mdb-probe.h"

#include <errno.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define MAGIC_AT     4
#define VERSION_AT   20
#define HIDDEN_AT    24
#define CODE_PAGE_AT 60
#define KEY_AT       62
#define PASSWORD_AT  66
#define DATE_AT      114

/* --- what is it? -------------------------------------------------------------------------------------------------- */

static bool begins(const unsigned char *p, size_t len, size_t at, const char *magic, size_t n)
{
    return range_ok(at, n, len) && memcmp(p + at, magic, n) == 0;
}

static bool is_plain_text(const unsigned char *p, size_t len)
{
    size_t n = MIN(len, (size_t)512);
    for (size_t i = 0; i < n; i++)
        if (p[i] < ' ' && p[i] != '\n' && p[i] != '\r' && p[i] != '\t')
            return false;
    return n > 0;
}

struct kind {
    size_t at, n;
    const char *magic, *name;
    const char *way, *text_way; /* out, when it was given as a database, and as text */
};

#define UNPACK    "unpack it first"
#define ADD_IMAGE "images are added with 'diskgate image add'"
#define EXPORT    "export its table of clients as CSV, and import that with 'diskgate migrate csv'"
#define OTHER     "give the file with the clients itself"

/* NULL when it is not known. */
static const struct kind *kind_of(const unsigned char *p, size_t len)
{
    static const struct kind kinds[] = {
        {0, 16, "SQLite format 3", "an SQLite database", EXPORT, EXPORT},
        {4, 15, "MSISAM Database", "a Microsoft Money file", OTHER, OTHER},
        {0, 4, "PK\3\4", "a ZIP archive (or a file of Office, such as .xlsx)", UNPACK,
         UNPACK ", or save its table as CSV there"},
        {0, 6, "Rar!\x1a\x07", "a RAR archive", UNPACK, UNPACK},
        {0, 6, "7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK, UNPACK},
        {0, 2, "\x1f\x8b", "a gzip file", UNPACK, UNPACK},
        {0, 8, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office file, or an Access database with Office encryption",
         "open it in Access and remove the password (File, Info, Decrypt Database)", "save its table as CSV there"},
        {0, 2, "MZ", "a Windows program", OTHER, OTHER},
        {0, 4,
         "\x7f"
         "ELF",
         "a program", OTHER, OTHER},
        {0, 8, "conectix", "a VHD disk image", ADD_IMAGE, ADD_IMAGE},
        {0, 8, "vhdxfile", "a VHDX disk image", ADD_IMAGE, ADD_IMAGE},
        {0, 4, "QFI\xfb", "a qcow2 disk image", ADD_IMAGE, ADD_IMAGE},
    };
    static const struct kind zeros = {0, 0, "", "nothing but zeros", "copy it again", "copy it again"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (begins(p, len, kinds[i].at, kinds[i].magic, kinds[i].n))
            return &kinds[i];
    return len > 0 && is_zero(p, len) ? &zeros : NULL;
}

static bool is_access(const unsigned char *p, size_t len)
{
    return begins(p, len, 0, "\0\1\0\0", 4) &&
           (begins(p, len, MAGIC_AT, "Standard Jet DB", 16) || begins(p, len, MAGIC_AT, "Standard ACE DB", 16));
}

static int refuse_other(const unsigned char *p, size_t len, const char *path, struct err *err)
{
    static const struct kind text = {
        0, 0, "", "plain text", "CSV is imported with 'diskgate migrate csv', leases with 'diskgate migrate leases'",
        ""};
    const struct kind *k = kind_of(p, len);
    if (len == 0)
        return err_set(err, -EBADMSG, "'%s' is empty (0 bytes): copy it again while CCBoot is stopped", path);
    if (!k && is_plain_text(p, len))
        k = &text;
    if (k)
        return err_set(err, -EOPNOTSUPP, "'%s' is no Access database but %s: %s", path, k->name, k->way);
    return err_set(err, -EOPNOTSUPP, "'%s' is no Access database, it does not begin as one: " OTHER, path);
}

int mdb_probe_text(const unsigned char *p, size_t len, const char *path, struct err *err)
{
    const struct kind *k = is_plain_text(p, len) ? NULL : kind_of(p, len);
    if (is_access(p, len))
        return err_set(err, -EOPNOTSUPP,
                       "'%s' is no text but an Access database: import it with 'diskgate migrate ccboot'", path);
    return k ? err_set(err, -EOPNOTSUPP, "'%s' is no text but %s: %s", path, k->name, k->text_way) : 0;
}

/* --- the hidden part ---------------------------------------------------------------------------------------------- */

static void uncover(unsigned char *p, size_t len)
{
    static const unsigned char key[4] = {0xc7, 0xda, 0x39, 0x6b};
    unsigned char s[256], i = 0, j = 0;
    for (unsigned k = 0; k < 256; k++)
        s[k] = (unsigned char)k;
    for (unsigned k = 0; k < 256; k++) {
        j = (unsigned char)(j + s[k] + key[k % 4]);
        unsigned char t = s[k];
        s[k] = s[j];
        s[j] = t;
    }
    j = 0;
    for (size_t n = 0; n < len; n++) {
        i++;
        j = (unsigned char)(j + s[i]);
        unsigned char t = s[i];
        s[i] = s[j];
        s[j] = t;
        p[n] ^= s[(unsigned char)(s[i] + s[j])];
    }
}

static bool has_password(const struct mdb_header *h, const unsigned char *p)
{
    unsigned char mask[4] = {0}, any = 0;
    double date;
    uint64_t bits = get_u64(p + DATE_AT);
    memcpy(&date, &bits, sizeof(date));
    if (!h->is_jet3 && date > -2e9 && date < 2e9)
        put_u32(mask, (uint32_t)(int32_t)date);
    for (size_t i = 0; i < (h->is_jet3 ? 20 : 40); i++)
        any |= p[PASSWORD_AT + i] ^ mask[i % 4];
    return any != 0;
}

static void read_hidden(struct mdb_header *h, const unsigned char *page, uint32_t *ret_key)
{
    unsigned char p[160];
    memcpy(p, page, sizeof(p));
    uncover(p + HIDDEN_AT, h->is_jet3 ? 126 : 128);
    h->code_page = p[CODE_PAGE_AT] | (unsigned)p[CODE_PAGE_AT + 1] << 8;
    h->has_password = has_password(h, p);
    *ret_key = get_u32(p + KEY_AT);
    h->is_encoded = *ret_key != 0;
}

/* --- the header --------------------------------------------------------------------------------------------------- */

static int read_version(const unsigned char *p, const char *path, struct mdb_header *h, struct err *err)
{
    static const char *const formats[] = {
        "Access 97 (Jet 3)",    "Access 2000-2003 (Jet 4)", "Access 2007 (ACE 12)", "Access 2010 (ACE 14)",
        "Access 2013 (ACE 15)", "Access 2016 (ACE 16)",     "Access 2019 (ACE 17)",
    };
    h->version = p[VERSION_AT];
    if (h->version >= ARRAY_SIZE(formats))
        return err_set(
            err, -EOPNOTSUPP,
            "'%s' is an Access database of the unknown version %u: save it in Access in the format 2002-2003 (.mdb)",
            path, h->version);
    h->format = formats[h->version];
    h->is_jet3 = h->version == 0;
    h->is_ace = h->version >= 2;
    h->page_bytes = h->is_jet3 ? 2048 : 4096;
    return 0;
}

int mdb_probe(const unsigned char *p, size_t len, uint64_t file_bytes, const char *path, struct mdb_header *ret,
              struct err *err)
{
    struct mdb_header h = {0};
    uint32_t key = 0;
    if (!is_access(p, len))
        return refuse_other(p, len, path, err);
    if (len < MDB_HEADER_BYTES)
        return err_set(err, -EBADMSG, "'%s' is cut off: an Access database has more than %zu bytes; copy it again",
                       path, len);
    int r = read_version(p, path, &h, err);
    if (r < 0)
        return r;
    if (file_bytes < 3 * h.page_bytes)
        return err_set(err, -EBADMSG, "'%s' is cut off: it holds no tables; copy it again", path);
    read_hidden(&h, p, &key);
    if (h.is_ace && key != 0)
        return err_set(
            err, -EOPNOTSUPP,
            "'%s' has Office encryption, which cannot be read here: open it in Access exclusively and remove the "
            "password (File, Info, Decrypt Database), then try again",
            path);
    *ret = h;
    return 0;
}
