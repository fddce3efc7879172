/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of an import as a file of the root; see report-file.h. */
#include "migrate/report-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/root.h"
#include "core/util.h"

#define SPARE_BYTES                                                                                                    \
    256 /* counts have more digits in the end; what is gone and was not at first has the whole written anew */

void report_file_init(struct report_file *s, const char *root, struct staging *st)
{
    *s = (struct report_file){.root = root, .st = st, .fd = -1};
}

static void join(struct report_file *s)
{
    if (s->has_thread)
        (void)pthread_join(s->thread, NULL); /* ours, and joined once */
    s->has_thread = false;
}

void report_file_finish(struct report_file *s)
{
    if (s->has_thread)
        (void)import_told_end(s->report->plan->import, false, NULL); /* has no effect on a plan that is whole */
    join(s);
    closep(&s->fd);
    s->fd = -1;
    free(s->head);
    s->head = NULL;
}

static int open_file(struct report_file *s, struct err *err)
{
    char rel[64], path[PATH_MAX];
    (void)snprintf(rel, sizeof(rel), "imports/%lld.json", (long long)s->report->run_id);
    int e = staging_file(s->st, rel, err);
    if (e == 0)
        e = root_path(s->root, rel, path, err);
    if (e < 0)
        return e;
    s->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    return s->fd < 0 ? err_sys(err, -errno, "cannot write '%s'", path) : 0;
}

static int sync_file(struct report_file *s, struct err *err)
{
    _cleanup_close_ int dirfd = root_open_dir(s->root, "imports", err);
    if (dirfd < 0)
        return dirfd;
    return fsync(s->fd) < 0 || fsync(dirfd) < 0 ? err_sys(err, -errno, "cannot write the report of the import") : 0;
}

/* --- along with the decision -------------------------------------------------------------------------------------- */

static int write_head(struct report_file *s, struct err *err)
{
    size_t len = strlen(s->head);
    _cleanup_free_ char *text = malloc(s->room);
    if (!text)
        return err_set(err, -ENOMEM, "memory is out");
    memset(mempcpy(text, s->head, len), ' ', s->room - len);
    int e = pwrite_full(s->fd, text, s->room, 0);
    return e < 0 ? err_sys(err, e, "cannot write the report") : 0;
}

static int write_behind(struct report_file *s, struct err *err)
{
    const struct plan *p = s->report->plan;
    int e = report_rows(p, s->fd, s->room, true, err);
    if (e == 0 && strlen(s->head) > s->room) { /* the plan is whole now: s->head is there */
        s->room = strlen(s->head);
        e = report_rows(p, s->fd, s->room, true, err);
    }
    if (e == 0)
        e = write_head(s, err);
    return e < 0 ? e : sync_file(s, err);
}

static void *run(void *arg)
{
    struct report_file *s = arg;
    s->result = write_behind(s, &s->err);
    return NULL;
}

static int make_head(struct report_file *s, struct err *err)
{
    s->head = report_head(s->report);
    return s->head ? 0 : err_set(err, -ENOMEM, "memory is out");
}

static int start(struct report_file *s, struct err *err)
{
    int e = open_file(s, err);
    if (e == 0)
        e = make_head(s, err);
    if (e < 0)
        return e;
    s->room = strlen(s->head) + SPARE_BYTES;
    free(s->head);
    s->head = NULL;
    s->has_thread = pthread_create(&s->thread, NULL, run, s) == 0; /* else it is written at the end */
    return 0;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

int report_file_begin(struct report_file *s, const struct report *r, struct err *err)
{
    bool is_apart = false;
    s->report = r;
    int e = import_told_begin(r->plan->import, &is_apart, err);
    if (e == 0 && is_apart)
        e = start(s, err);
    if (!s->has_thread)
        (void)import_told_end(r->plan->import, false, NULL); /* nobody reads along */
    return e;
}

int report_file_decided(struct report_file *s, struct err *err)
{
    if (!s->has_thread)
        return s->fd < 0 ? open_file(s, err) : 0;
    int e = make_head(s, err);
    return e < 0 ? e : import_told_end(s->report->plan->import, true, err);
}

int report_file_end(struct report_file *s, struct err *err)
{
    if (s->has_thread) {
        join(s);
        if (s->result < 0)
            *err = s->err;
        return s->result;
    }
    int e = report_write(s->report, s->fd, err);
    return e < 0 ? e : sync_file(s, err);
}
