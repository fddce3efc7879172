/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text files of unknown character set, read as UTF-8 by iconv, in blocks.
 *
 * The bytes that iconv cannot use yet (half a character) stay at the beginning of the block for the next time. A byte order mark is left out.
 */
#include "migrate/text-file.h"

#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/util.h"
#include "migrate/mdb-probe.h"
#include "migrate/source.h"
#include "migrate/text.h"

#define BLOCK_BYTES 65536
#define GUESS_BYTES (4u << 20)

struct text_file {
    int fd;
    struct stat opened;
    iconv_t cd;
    char charset[32];
    bool is_guess, is_start, is_end;
    unsigned unit; /* bytes to skip when they are no character */
    uint64_t damaged;
    size_t have;
    char block[BLOCK_BYTES];
};

const char *text_file_charset(const struct text_file *f)
{
    return f->charset;
}

void text_file_say_guess(const struct text_file *f, struct source *s)
{
    if (f->is_guess)
        source_note(s, false,
                    "its character set is not said; it was read as %s: look at the names, and give the right one with "
                    "--charset if they are wrong",
                    f->charset);
}

uint64_t text_file_damaged(const struct text_file *f)
{
    return f->damaged;
}

bool text_file_has_changed(const struct text_file *f)
{
    struct stat now;
    return fstat(f->fd, &now) < 0 || now.st_size != f->opened.st_size ||
           now.st_mtim.tv_sec != f->opened.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->opened.st_mtim.tv_nsec;
}

void text_file_close(struct text_file *f)
{
    if (!f)
        return;
    if (f->cd != (iconv_t)-1)
        (void)iconv_close(f->cd); /* nothing to flush: it only reads */
    if (f->fd >= 0)
        (void)close(f->fd); /* reading */
    free(f);
}

static int find_out(struct text_file *f, const char *path, const char *charset, struct err *err)
{
    size_t len = MIN((size_t)f->opened.st_size, (size_t)GUESS_BYTES);
    _cleanup_free_ unsigned char *head = malloc(len + 1);
    if (!head)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    int r = pread_full(f->fd, head, len, 0);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", path);
    r = mdb_probe_text(head, len, text_quote(path), err);
    if (r < 0 || (charset && *charset))
        return r;
    (void)snprintf(f->charset, sizeof(f->charset), "%s", charset_guess(head, len, &f->is_guess));
    return 0;
}

/* iconv's own options (//IGNORE) are not for files from outside. */
static bool is_charset_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len < 32 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") == len;
}

static int open_charset(struct text_file *f, struct err *err)
{
    if (is_charset_name(f->charset))
        f->cd = iconv_open("UTF-8", strcasecmp(f->charset, "UTF-16") == 0 ? "UTF-16LE" : f->charset);
    if (f->cd == (iconv_t)-1)
        return err_set(err, -EINVAL,
                       "there is no character set '%s'; examples: UTF-8, UTF-16LE, GBK, BIG5, CP1251, CP1252",
                       text_quote(f->charset));
    f->unit = strncasecmp(f->charset, "UTF-16", 6) == 0 || strncasecmp(f->charset, "UCS-2", 5) == 0   ? 2
              : strncasecmp(f->charset, "UTF-32", 6) == 0 || strncasecmp(f->charset, "UCS-4", 5) == 0 ? 4
                                                                                                      : 1;
    return 0;
}

int text_file_open(const char *path, const char *charset, struct text_file **ret, struct err *err)
{
    _cleanup_(text_file_closep) struct text_file *f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(err, -ENOMEM, "there is not enough memory to read the file");
    f->cd = (iconv_t)-1;
    f->is_start = true;
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (f->fd < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    if (fstat(f->fd, &f->opened) < 0)
        return err_sys(err, -errno, "cannot read '%s'", path);
    if (charset && *charset && strlen(charset) < sizeof(f->charset))
        strcpy(f->charset, charset);
    int r = find_out(f, path, charset, err);
    if (r == 0 && !*f->charset)
        r = err_set(err, -EINVAL, "there is no character set '%s'", text_quote(charset));
    if (r == 0)
        r = open_charset(f, err);
    if (r == 0)
        *ret = take_ptr(f);
    return r;
}

int text_file_rewind(struct text_file *f)
{
    f->have = 0;
    f->damaged = 0;
    f->is_end = false;
    f->is_start = true;
    (void)iconv(f->cd, NULL, NULL, NULL, NULL); /* back to the initial state: cannot fail */
    return lseek(f->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int fill(struct text_file *f)
{
    while (!f->is_end && f->have < sizeof(f->block)) {
        ssize_t n = read(f->fd, f->block + f->have, sizeof(f->block) - f->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        f->is_end = n == 0;
        f->have += (size_t)n;
    }
    return 0;
}

/* Convert from the block; stops when the buffer is full or the rest of the block is half a character. */
static size_t convert(struct text_file *f, char *buf, size_t size)
{
    char *in = f->block, *out = buf;
    size_t in_left = f->have, out_left = size;
    while (in_left > 0) {
        size_t r = iconv(f->cd, &in, &in_left, &out, &out_left);
        bool is_bad = r == (size_t)-1 && (errno == EILSEQ || (errno == EINVAL && f->is_end));
        if (!is_bad || out_left < 3)
            break;
        size_t skip = MIN((size_t)f->unit, in_left);
        memcpy(out, "\xef\xbf\xbd", 3);
        out += 3;
        out_left -= 3;
        in += skip;
        in_left -= skip;
        f->damaged++;
        (void)iconv(f->cd, NULL, NULL, NULL, NULL); /* as above */
    }
    memmove(f->block, in, in_left);
    f->have = in_left;
    return size - out_left;
}

long text_file_read(struct text_file *f, char *buf, size_t size)
{
    size_t n = 0;
    while (n == 0) {
        int r = fill(f);
        if (r < 0)
            return r;
        if (f->have == 0)
            return 0;
        n = convert(f, buf, size);
        if (n > 0 && f->is_start && n >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0) {
            n -= 3;
            memmove(buf, buf + 3, n);
        }
        f->is_start = false;
    }
    return (long)n;
}

int text_file_load(struct text_file *f, const char *path, size_t max, char **ret, struct err *err)
{
    size_t len = 0, size = 0;
    _cleanup_free_ char *text = NULL;
    for (;;) {
        if (size - len < 4096) {
            size = size ? size * 2 : 65536;
            char *more = realloc(text, size);
            if (!more)
                return err_set(err, -ENOMEM, "there is not enough memory to read '%s'", path);
            text = more;
        }
        long n = text_file_read(f, text + len, MIN(size - len - 1, max + 1 - len));
        if (n < 0)
            return err_sys(err, (int)n, "cannot read '%s'", path);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len + 16 > max)
            return err_set(err, -EFBIG, "'%s' is larger than %zu MiB, too large for such a file", path, max >> 20);
    }
    for (size_t i = 0; i < len; i++)
        if (text[i] == 0) {
            text[i] = '?';
            f->damaged++;
        }
    text[len] = 0;
    *ret = take_ptr(text);
    return 0;
}
