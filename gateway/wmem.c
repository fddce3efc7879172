/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tgtd of Debian 12 can be hung by one stalled client when the start size of the send buffer is below four PDUs (fixed in tgt 1.0.89).
 *
 * The kernel has these numbers once for each network namespace, so what is known of them is kept there, too, for all roots and until the machine's
 * next boot, as the numbers are: /run/diskgate/tcp_wmem-NAMESPACE
 *
 *   before   three numbers, as they were before the first root raised them
 *   ours     three numbers, as a root wrote them last
 *   ROOT     a line for each root that wants them
 *
 * (1) A file whose second line is not what the kernel has says nothing: somebody else has set the numbers since.
 * (2) A root counts while a tgtd of it runs or an `up` of it is at work; one that was killed or is gone does not.
 * (3) The file is written before the kernel's numbers are raised, and goes after they are back. It is read and written under a lock.
 */
#include "gateway/wmem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/report.h"
#include "gateway/shard.h"

#define WMEM_PATH   "/proc/sys/net/ipv4/tcp_wmem"
#define NET_PATH    "/proc/self/ns/net"
#define FOLDER      "/run/diskgate"
#define LOCK_NAME   "tcp_wmem.lock"
#define RECORD_MAX  (1 * MiB)
#define UP_LOCK     "up.lock"        /* of service.c */
#define FORMER_NAME "tcp_wmem.saved" /* in ROOT/run: the first two lines, of a Diskgate that knew one root only */

typedef unsigned long long wmem_values[3];

struct record {
    int dirfd; /* FOLDER */
    int lock;
    char name[48];
    bool is_valid; /* (1); else the rest is empty */
    wmem_values before, ours;
    char *roots; /* "/srv/a\n/srv/b\n" */
};

static void record_finish(struct record *r)
{
    free(r->roots);
    closep(&r->lock);
    closep(&r->dirfd);
}

/* --- the kernel's numbers ---------------------------------------------------------------------------------------- */

static bool wmem_parse(const char *text, wmem_values ret)
{
    return sscanf(text, "%llu %llu %llu", &ret[0], &ret[1], &ret[2]) == 3;
}

static bool wmem_read(wmem_values ret)
{
    _cleanup_free_ char *text = NULL;
    return file_read(AT_FDCWD, WMEM_PATH, 256, &text, NULL) == 0 && wmem_parse(text, ret);
}

static int wmem_write(const wmem_values v)
{
    char text[80];
    int len = snprintf(text, sizeof(text), "%llu %llu %llu\n", v[0], v[1], v[2]);
    _cleanup_close_ int fd = open(WMEM_PATH, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : write_full(fd, text, (size_t)len);
}

static bool is_same(const wmem_values a, const wmem_values b)
{
    return memcmp(a, b, sizeof(wmem_values)) == 0;
}

/* --- the record -------------------------------------------------------------------------------------------------- */

static int lock_folder(struct record *r)
{
    struct stat st;
    if (mkdir(FOLDER, 0755) < 0 && errno != EEXIST)
        return -errno;
    r->dirfd = open(FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (r->dirfd < 0 || stat(NET_PATH, &st) < 0)
        return -errno;
    (void)snprintf(r->name, sizeof(r->name), "tcp_wmem-%" PRIu64, (uint64_t)st.st_ino); /* fits */
    r->lock = openat(r->dirfd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return r->lock < 0 || flock(r->lock, LOCK_EX) < 0 ? -errno : 0;
}

/* The first two lines of @text, and what comes behind them; NULL when it is no record. */
static char *parse(char *text, struct record *r)
{
    char *second = strchr(text, '\n'), *rest = second ? strchr(second + 1, '\n') : NULL;
    return rest && wmem_parse(text, r->before) && wmem_parse(second, r->ours) ? rest + 1 : NULL;
}

/* @now: what the kernel has. */
static int record_open(const struct site *s, const wmem_values now, struct record *r)
{
    _cleanup_free_ char *text = NULL;
    int ret = lock_folder(r);
    if (ret < 0)
        return ret;
    if (file_read(r->dirfd, r->name, RECORD_MAX, &text, NULL) < 0)
        (void)file_read(s->run_fd, FORMER_NAME, 256, &text, NULL); /* without it there was none */
    const char *roots = text ? parse(text, r) : NULL;
    r->is_valid = roots && is_same(r->ours, now);
    r->roots = strdup(r->is_valid ? roots : "");
    return r->roots ? 0 : -ENOMEM;
}

static int record_store(const struct record *r)
{
    _cleanup_free_ char *text = NULL;
    int len = asprintf(&text, "%llu %llu %llu\n%llu %llu %llu\n%s", r->before[0], r->before[1], r->before[2],
                       r->ours[0], r->ours[1], r->ours[2], r->roots);
    return len < 0 ? -ENOMEM : file_replace(r->dirfd, r->name, text, (size_t)len, 0644);
}

static void record_remove(const struct record *r)
{
    (void)unlinkat(r->dirfd, r->name, 0); /* absent is as good, and what is left says nothing (1) */
}

/* --- who wants them ---------------------------------------------------------------------------------------------- */

/* (2) */
static bool is_wanted_by(const char *root)
{
    _cleanup_(site_finish) struct site other = {.run_fd = -1};
    pid_t pids[SHARDS_MAX];
    int unused;
    if (site_open(&other, root, false, NULL) < 0)
        return false;
    return shard_find(&other, pids) > 0 || root_locked(root, UP_LOCK, &unused);
}

/* Leave this root and those that do not count any more out. */
static void drop_roots(struct record *r, const char *self)
{
    char *from = r->roots, *to = r->roots;
    for (char *end; (end = strchr(from, '\n')); from = end + 1) {
        *end = 0;
        if (strcmp(from, self) == 0 || !is_wanted_by(from))
            continue;
        size_t len = (size_t)(end - from);
        memmove(to, from, len);
        to += len;
        *to++ = '\n';
    }
    *to = 0;
}

static int add_root(struct record *r, const char *root)
{
    char *more = NULL;
    if (asprintf(&more, "%s%s\n", r->roots, root) < 0)
        return -ENOMEM;
    free(r->roots);
    r->roots = more;
    return 0;
}

/* --- up and down ------------------------------------------------------------------------------------------------- */

/* @want into the kernel where it is more. 1 if anything changed. */
static int raise_to(const struct site *s, const wmem_values want)
{
    _cleanup_(record_finish) struct record r = {.dirfd = -1, .lock = -1};
    wmem_values now, ours;
    bool is_larger = false;
    if (!wmem_read(now))
        return -EIO;
    int ret = record_open(s, now, &r);
    for (int i = 0; i < 3; i++) {
        ours[i] = MAX(now[i], want[i]);
        is_larger = is_larger || ours[i] > now[i];
    }
    if (ret < 0 || (!is_larger && !r.is_valid)) /* large enough without us: nothing to put back one day */
        return ret < 0 && is_larger ? ret : 0;
    struct record old = r;
    drop_roots(&r, s->root);
    ret = add_root(&r, s->root);
    if (!r.is_valid)
        memcpy(r.before, now, sizeof(now));
    memcpy(r.ours, ours, sizeof(ours));
    ret = ret ? ret : record_store(&r);
    ret = ret || !is_larger ? ret : wmem_write(ours);
    if (ret < 0 && old.is_valid) { /* the others' numbers are still there, and so is what they want */
        memcpy(r.ours, old.ours, sizeof(ours));
        (void)record_store(&r); /* the failure that is reported came before */
    } else if (ret < 0) {
        record_remove(&r);
    }
    if (ret == 0)
        (void)unlinkat(s->run_fd, FORMER_NAME, 0); /* it was taken over */
    return ret < 0 ? ret : is_larger;
}

void wmem_raise(const struct site *s, json_t *report)
{
    wmem_values want, now;
    if (strcmp(s->tcp_wmem, "off") == 0 || !wmem_parse(s->tcp_wmem, want) || strchr(s->root, '\n'))
        return;
    int r = raise_to(s, want);
    if (r > 0 && wmem_read(now))
        report_change(report, "net.ipv4.tcp_wmem raised to '%llu %llu %llu'", now[0], now[1], now[2]);
    else if (r < 0)
        report_change(report, "warning: cannot raise net.ipv4.tcp_wmem to '%s': %s; one stalled client may hang a tgtd",
                      s->tcp_wmem, strerrordesc_np(-r));
}

/* The first root of the list, for a sentence. */
static int first_root(const struct record *r)
{
    return (int)strcspn(r->roots, "\n");
}

void wmem_restore(const struct site *s, json_t *report)
{
    _cleanup_(record_finish) struct record r = {.dirfd = -1, .lock = -1};
    wmem_values now;
    if (!wmem_read(now) || record_open(s, now, &r) < 0)
        return; /* nothing was raised that could be put back */
    drop_roots(&r, s->root);
    if (*r.roots) {
        (void)record_store(&r); /* else we are dropped by the next one (2) */
        report_change(report, "net.ipv4.tcp_wmem stays as it is for the root '%.*s'", first_root(&r), r.roots);
        return;
    }
    if (r.is_valid && wmem_write(r.before) == 0) /* larger buffers than before harm nobody */
        report_change(report, "net.ipv4.tcp_wmem is '%llu %llu %llu' again", r.before[0], r.before[1], r.before[2]);
    record_remove(&r);
    (void)unlinkat(s->run_fd, FORMER_NAME, 0); /* absent is as good */
}
