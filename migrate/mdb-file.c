/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An open Access file; see mdb-lib.h.
 *
 * libmdb opens files by their path only, and the jailed child has no right to do so. It gets an open descriptor, so libmdb is given the first
 * page from memory and then the descriptor in place of that.
 */
#include "migrate/mdb-lib.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"

void mdb_no_memory(void)
{
    (void)fputs("memory is out\n", stderr);
    abort();
}

void mdb_decode(struct mdb_file *f, const unsigned char *src, size_t len)
{
    bool is_there;
    if (f->header->is_jet3) {
        gbk_guess_add(&f->guess, src, len);
        is_there = text_from_charset(&f->text, f->charset, src, len, &f->replaced);
    } else {
        is_there = text_from_jet4(&f->text, src, len, &f->replaced);
    }
    if (!is_there)
        mdb_no_memory();
}

/* Nothing in the environment may change how the file is read. */
static void settle_environment(const char *charset)
{
    static const char *const names[] = {"MDBICONV", "MDB_JET3_CHARSET", "MDBPATH", "MDBOPTS", "MDB_DEBUG"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        (void)unsetenv(names[i]); /* valid names */
    if (charset)
        (void)setenv("MDB_JET3_CHARSET", charset,
                     1); /* for what libmdb decodes itself: names of columns, which are not used */
}

/* libmdb's stream, now of the descriptor. Takes @fd. */
static int use_descriptor(struct mdb_file *f, int fd, uint64_t size)
{
    FILE *stream = mdb_stream_open(fd, size);
    if (!stream) {
        (void)close(fd); /* read only */
        return -ENOMEM;
    }
    (void)fclose(f->mdb->f->stream); /* of memory */
    f->mdb->f->stream = stream;
    return 0;
}

int mdb_file_open(struct mdb_file *f, int fd_given, const struct mdb_header *h, const char *charset, struct err *err)
{
    _cleanup_close_ int fd = fd_given;
    unsigned char page[MDB_HEADER_BYTES];
    struct stat st;
    *f = (struct mdb_file){.header = h, .charset = (iconv_t)-1};
    settle_environment(charset);
    if (fstat(fd, &st) < 0 || pread_full(fd, page, sizeof(page), 0) < 0)
        return err_set(err, -EBADMSG, "its first page cannot be read");
    f->bytes = (uint64_t)st.st_size;
    f->pages = f->bytes / h->page_bytes;
    if (charset && (f->charset = iconv_open("UTF-8", charset)) == (iconv_t)-1)
        return err_set(err, -EBADMSG, "its character set '%s' is not known here", charset);
    f->mdb = mdb_open_buffer(page, sizeof(page), MDB_NOFLAGS);
    if (!f->mdb) {
        mdb_file_close(f);
        return err_set(err, -EBADMSG, "the Access library cannot open it");
    }
    int r = use_descriptor(f, take_fd(&fd), f->bytes);
    if (r == 0 && (size_t)f->mdb->fmt->pg_size != h->page_bytes)
        r = -EBADMSG;
    if (r < 0)
        mdb_file_close(f);
    return r < 0 ? err_set(err, r, "the Access library cannot read it") : 0;
}

void mdb_file_close(struct mdb_file *f)
{
    if (f->mdb)
        mdb_close(f->mdb);
    f->mdb = NULL;
    if (f->charset != (iconv_t)-1)
        (void)iconv_close(f->charset); /* nothing is held there */
    f->charset = (iconv_t)-1;
    text_buf_finish(&f->text);
    text_buf_finish(&f->raw);
}
