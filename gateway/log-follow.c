/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file is looked up by its name in each turn, so one that was removed and made anew is followed, too.
 *
 * A program that never closes its log (dnsmasq, 60 lines for each boot) fills the disk in the end. A log that has LOG_MAX bytes is cut: its
 * last KEEP_BYTES go to NAME.1, and the writer, which must append (O_APPEND), goes on at the beginning. What it writes in that moment is lost.
 */
#include "gateway/log-follow.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/util.h"

#define LINE_BYTES  1024      /* longer lines are left out */
#define READ_BYTES  (8 * MiB) /* in one turn */
#define PIECE_BYTES (64 * KiB)
#define START_BYTES (1 * MiB)
#define LOG_MAX     (16 * MiB)
#define KEEP_BYTES  (1 * MiB)

struct log_follow {
    int dirfd, fd;
    char name[NAME_MAX + 1];
    void (*take)(void *arg, const char *line, bool is_old);
    void *arg;
    uint64_t pos;
    bool has_started;
    char line[LINE_BYTES];
    size_t line_len;
};

struct log_follow *log_follow_create(int dirfd, const char *name,
                                     void (*take)(void *arg, const char *line, bool is_old), void *arg)
{
    struct log_follow *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    *f = (struct log_follow){.dirfd = dirfd, .fd = -1, .take = take, .arg = arg};
    (void)snprintf(f->name, sizeof(f->name), "%s", name); /* fits: it is a file's name */
    return f;
}

void log_follow_destroy(struct log_follow *f)
{
    if (f)
        closep(&f->fd);
    free(f);
}

static void take_bytes(struct log_follow *f, const char *data, size_t len, bool is_old)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n') {
            if (f->line_len < LINE_BYTES - 1)
                f->line[f->line_len] = data[i] ? data[i] : '?';
            f->line_len++;
            continue;
        }
        if (f->line_len < LINE_BYTES) {
            f->line[f->line_len] = 0;
            f->take(f->arg, f->line, is_old);
        }
        f->line_len = 0;
    }
}

static int open_file(struct log_follow *f, uint64_t *ret_size)
{
    struct stat by_name, by_fd;
    if (fstatat(f->dirfd, f->name, &by_name, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(by_name.st_mode))
        return -ENOENT;
    if (f->fd >= 0 && (fstat(f->fd, &by_fd) < 0 || by_fd.st_ino != by_name.st_ino)) {
        closep(&f->fd);
        f->fd = -1;
        f->pos = f->line_len = 0;
    }
    if (f->fd < 0)
        f->fd = openat(f->dirfd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *ret_size = (uint64_t)by_name.st_size;
    if (f->pos > *ret_size) /* it was cut */
        f->pos = f->line_len = 0;
    return f->fd < 0 ? -errno : 0;
}

static void cut(struct log_follow *f, uint64_t size)
{
    char kept[NAME_MAX + 3];
    if (size < LOG_MAX)
        return;
    (void)snprintf(kept, sizeof(kept), "%s.1", f->name); /* fits */
    _cleanup_free_ char *tail = malloc(KEEP_BYTES);
    if (tail && pread_full(f->fd, tail, KEEP_BYTES, size - KEEP_BYTES) == 0)
        (void)file_replace(f->dirfd, kept, tail, KEEP_BYTES, 0640); /* without it the old lines are gone */
    _cleanup_close_ int fd = openat(f->dirfd, f->name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || ftruncate(fd, 0) < 0)
        log_warn("cannot cut '%s': %s, ignoring", f->name, strerror(errno));
    else
        f->pos = 0;
}

void log_follow_turn(struct log_follow *f)
{
    uint64_t size = 0;
    bool is_old = !f->has_started;
    f->has_started = true;
    if (open_file(f, &size) < 0)
        return;
    if (is_old)
        f->pos = size > START_BYTES ? size - START_BYTES : 0;
    uint64_t end = MIN(size, f->pos + READ_BYTES);
    _cleanup_free_ char *buf = malloc(PIECE_BYTES);
    while (buf && f->pos < end) {
        ssize_t n = pread(f->fd, buf, (size_t)MIN(end - f->pos, PIECE_BYTES), (off_t)f->pos);
        if (n <= 0)
            return;
        take_bytes(f, buf, (size_t)n, is_old);
        f->pos += (uint64_t)n;
    }
    if (f->pos >= size)
        cut(f, size);
}
