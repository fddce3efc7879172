/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of an import as a file of the root; see report-file.h. */
#include "migrate/report-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "core/root.h"
#include "core/util.h"

#define BUFFER_BYTES 131072

static int open_file(struct report_file *s, struct staging *st, struct err *err)
{
    char rel[64], path[PATH_MAX];
    (void)snprintf(rel, sizeof(rel), "imports/%lld.json", (long long)s->report->run_id);
    int e = staging_file(st, rel, err);
    if (e == 0)
        e = root_path(s->root, rel, path, err);
    if (e < 0)
        return e;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    s->f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!s->f) {
        e = err_sys(err, -errno, "cannot write '%s'", path);
        closep(&fd);
        return e;
    }
    s->buffer = malloc(BUFFER_BYTES);
    if (s->buffer)
        (void)setvbuf(s->f, s->buffer, _IOFBF, BUFFER_BYTES); /* else the usual one */
    return 0;
}

static int sync_file(struct report_file *s, struct err *err)
{
    _cleanup_close_ int dirfd = root_open_dir(s->root, "imports", err);
    if (dirfd < 0)
        return dirfd;
    return fsync(fileno(s->f)) < 0 || fsync(dirfd) < 0 ? err_sys(err, -errno, "cannot write the report of the import")
                                                       : 0;
}

static int write_file(struct report_file *s, struct err *err)
{
    int e = report_write(s->report, s->f, err);
    return e < 0 ? e : sync_file(s, err);
}

static void *write_aside(void *arg)
{
    struct report_file *s = arg;
    s->result = write_file(s, &s->err);
    return NULL;
}

int report_file_begin(struct report_file *s, const char *root, const struct report *r, struct staging *st,
                      struct err *err)
{
    *s = (struct report_file){.report = r, .root = root};
    bool is_apart = false;
    int e = import_rows_apart(r->plan->import, &is_apart, err);
    if (e == 0)
        e = open_file(s, st, err);
    if (e == 0 && is_apart)
        s->has_thread = pthread_create(&s->thread, NULL, write_aside, s) == 0; /* else it is written at the end */
    return e;
}

int report_file_end(struct report_file *s, bool is_wanted, struct err *err)
{
    int e = 0;
    if (s->has_thread) {
        (void)pthread_join(s->thread, NULL); /* ours, and joined once */
        e = s->result;
        if (e < 0)
            *err = s->err;
    } else if (is_wanted) {
        e = write_file(s, err);
    }
    if (fclose(s->f) == EOF && e == 0)
        e = err_sys(err, -errno, "cannot write the report of the import");
    free(s->buffer);
    return e;
}
