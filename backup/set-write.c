/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a set: everything in tmp/set.PID, then one rename.
 *
 *   1. packs complete and durable (store_flush)
 *   2. manifests and files written and synced; set.txt, SHA256SUMS, signature; the folder synced
 *   3. read back: every file is what SHA256SUMS says, each backing stream is in the set
 *   4. the repository is still where it was
 *   5. rename(tmp/ID, sets/ID), fsync(sets)                        <- before this nothing of the set exists
 */
#include "backup/set-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util.h"

struct set_manifest {
    struct set_manifest *next;
    struct manifest_writer *writer;
    struct manifest_head head;
    int fd;
    char name[MANIFEST_NAME_LEN + 1];
};

struct set_writer {
    struct store *store;
    struct repo *repo;
    struct set_info info;
    struct sums sums;
    struct sign_key *key;
    struct set_manifest *open; /* manifests that are being written */
    int dirfd;
    bool is_committed;
    char path[64]; /* tmp/ID */
    char what[64];
};

const char *set_writer_id(const struct set_writer *w)
{
    return w->info.id;
}

/* --- begin --------------------------------------------------------------------------------------------------------- */

#define OLDEST_S 1767225600 /* 2026-01-01: no clock that is right shows an earlier time */

static void check_clock(const struct set_info *list, size_t n, int64_t now_s, struct err *warning)
{
    char now[32], then[32];
    time_text(now, sizeof(now), now_s);
    for (size_t i = 0; i < n; i++) {
        if (list[i].problem || list[i].time_s <= now_s)
            continue;
        time_text(then, sizeof(then), list[i].time_s);
        err_set(warning, 0,
                "the clock says %s, but the set %s was made at %s: one of the two was wrong; the backup is made all "
                "the same, prune "
                "will refuse to work until that is put right",
                now, list[i].id, then);
        return;
    }
    if (now_s < OLDEST_S)
        err_set(warning, 0, "the clock of this machine says %s, which cannot be; the backup is made all the same", now);
}

static void copy_text(char *to, const char *from)
{
    (void)snprintf(to, SET_TEXT_LEN + 1, "%s", from ? from : "");
    for (char *p = to; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

static int choose_id(struct set_writer *w, int64_t now_s, struct err *err)
{
    struct set_info *list;
    struct err warning = {0};
    size_t n;
    int r = set_list(w->repo, &list, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        w->info.number = MAX(w->info.number, list[i].number);
    w->info.number++;
    w->info.time_s = now_s;
    check_clock(list, n, now_s, &warning);
    bool taken = true;
    while (r == 0 && taken) {
        r = set_id_new(now_s, w->info.id);
        taken = false;
        for (size_t i = 0; i < n; i++)
            taken |= strcmp(list[i].id, w->info.id) == 0;
    }
    set_list_free(list, n);
    if (r < 0)
        return err_set(err, r, "cannot make a name for the set: is the clock right?");
    w->info.reason = warning;
    return 0;
}

static int make_folder(struct set_writer *w, struct err *err)
{
    (void)snprintf(w->path, sizeof(w->path), "tmp/%s", w->info.id);
    (void)snprintf(w->what, sizeof(w->what), "the set %s", w->info.id);
    if (mkdirat(repo_dirfd(w->repo), w->path, 0700) < 0)
        return err_sys(err, -errno, "cannot make '%s/%s'", repo_path(w->repo), w->path);
    w->dirfd = openat(repo_dirfd(w->repo), w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return w->dirfd < 0 ? err_sys(err, -errno, "cannot open '%s/%s'", repo_path(w->repo), w->path) : 0;
}

int set_begin(struct store *s, const struct set_params *params, struct set_writer **ret, struct err *ret_warning,
              struct err *err)
{
    _cleanup_(set_abortp) struct set_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, -ENOMEM, "memory is out");
    w->store = s;
    w->repo = store_repo(s);
    w->dirfd = -1;
    copy_text(w->info.host, params->host);
    copy_text(w->info.root, params->root);
    copy_text(w->info.comment, params->comment);
    int r = params->sign_key ? sign_key_load(params->sign_key, true, &w->key, err) : 0;
    if (r == 0)
        r = choose_id(w, MAX(params->now_s, (int64_t)0), err);
    if (r == 0)
        r = make_folder(w, err);
    if (r < 0)
        return r;
    if (ret_warning)
        *ret_warning = w->info.reason;
    *ret = take_ptr(w);
    return 0;
}

static void drop_manifest(struct set_manifest *m)
{
    manifest_destroy(m->writer);
    if (m->fd >= 0)
        (void)close(m->fd); /* synced before, or not wanted */
    free(m);
}

void set_abort(struct set_writer *w)
{
    struct err ignored;
    if (!w)
        return;
    for (struct set_manifest *m = w->open, *next; m; m = next) {
        next = m->next;
        drop_manifest(m);
    }
    if (w->dirfd >= 0)
        (void)close(w->dirfd); /* a folder */
    if (w->path[0] && !w->is_committed)
        (void)repo_remove(w->repo, w->path, &ignored); /* else the next opening does it */
    sums_finish(&w->sums);
    sign_key_destroy(w->key);
    set_info_finish(&w->info);
    free(w);
}

/* --- content ------------------------------------------------------------------------------------------------------- */

static int add_stream(struct set_writer *w, const struct manifest_head *h, struct err *err)
{
    char text[NAME_LEN + 16];
    stream_id_text(&h->id, text);
    for (size_t i = 0; i < w->info.n_streams; i++)
        if (stream_id_equal(&w->info.streams[i].id, &h->id))
            return err_set(err, -EEXIST, "'%s' is in the set already", text);
    struct set_stream *more = reallocarray(w->info.streams, w->info.n_streams + 1, sizeof(*more));
    if (!more || w->info.n_streams == SET_STREAMS_MAX)
        return err_set(err, more ? -EFBIG : -ENOMEM, more ? "too many streams in one set" : "memory is out");
    w->info.streams = more;
    more[w->info.n_streams++] = (struct set_stream){
        .id = h->id, .has_backing = h->has_backing, .backing = h->backing, .size_bytes = h->size_bytes};
    return 0;
}

static int open_new(struct set_writer *w, const char *name, struct err *err)
{
    int fd = openat(w->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_sys(err, -errno, "cannot make '%s/%s/%s'", repo_path(w->repo), w->path, name) : fd;
}

/* The file is written: make it durable and note its check sum. */
static int seal_file(struct set_writer *w, int fd, const char *name, struct err *err)
{
    unsigned char sha256[32];
    uint64_t bytes;
    int r = fsync(fd) < 0 ? -errno : sums_of_file(w->dirfd, name, sha256, &bytes);
    if (r == 0)
        r = sums_add(&w->sums, name, sha256);
    return r < 0 ? err_sys(err, r, "cannot write '%s/%s/%s'", repo_path(w->repo), w->path, name) : 0;
}

int set_manifest_begin(struct set_writer *w, struct manifest_head *head, struct manifest_writer **ret, struct err *err)
{
    char what[PATH_MAX];
    struct set_manifest *m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(err, -ENOMEM, "memory is out");
    (void)snprintf(head->repo, sizeof(head->repo), "%s", repo_format(w->repo)->id);
    (void)snprintf(head->set, sizeof(head->set), "%s", w->info.id);
    head->chunk_bytes = repo_format(w->repo)->chunk_bytes;
    m->head = *head;
    stream_file_name(&head->id, m->name);
    (void)snprintf(what, sizeof(what), "'%s/%s/%s'", repo_path(w->repo), w->path, m->name);
    m->fd = open_new(w, m->name, err);
    int r = m->fd < 0 ? m->fd : manifest_create(m->fd, what, head, &m->writer, err);
    if (r < 0) {
        drop_manifest(m);
        return r;
    }
    m->next = w->open;
    w->open = m;
    *ret = m->writer;
    return 0;
}

int set_manifest_end(struct set_writer *w, struct manifest_writer *writer, const char *image_xxh128,
                     struct manifest_tail *ret_tail, struct err *err)
{
    struct set_manifest **at = &w->open;
    while ((*at)->writer != writer)
        at = &(*at)->next;
    struct set_manifest *m = *at;
    *at = m->next;
    int r = manifest_finish(writer, image_xxh128, ret_tail, err);
    if (r == 0)
        r = seal_file(w, m->fd, m->name, err);
    if (r == 0)
        r = add_stream(w, &m->head, err);
    drop_manifest(m);
    return r;
}

/* All that the manifest names is there. */
static int check_chunks(struct set_writer *w, struct manifest_reader *m, struct err *err)
{
    struct manifest_line line;
    struct chunk_ref ref;
    char name[CHUNK_NAME_LEN + 1];
    int kind;
    while ((kind = manifest_next(m, &line, err)) > MANIFEST_END)
        if (kind == MANIFEST_CHUNK && store_has(w->store, &line.name, &ref) < 0) {
            (void)chunk_name_text(&line.name, name);
            return err_set(err, -ENOENT, "chunk %s is not in the repository any more", name);
        }
    return kind;
}

static int copy_bytes(int from, int to)
{
    char buf[64 * 1024];
    for (uint64_t off = 0;;) {
        ssize_t n = pread(from, buf, sizeof(buf), (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = write_full(to, buf, (size_t)n);
        if (r < 0)
            return r;
        off += (uint64_t)n;
    }
}

/* The copy is checked against the old set's SHA256SUMS, not against what was read. */
static int check_copy(struct set_writer *w, const struct set_info *from, const char *name, struct err *err)
{
    struct sums sums = {0};
    _cleanup_close_ int dirfd = set_open_folder(w->repo, "sets", from->id, err);
    int r = dirfd < 0 ? dirfd : set_read_sums(dirfd, "the set before", &sums, err);
    const struct sum *old = r < 0 ? NULL : sums_find(&sums, name), *copy = sums_find(&w->sums, name);
    if (r == 0 && (!old || !copy || memcmp(old->sha256, copy->sha256, 32) != 0))
        r = err_set(err, -EBADMSG, "%s of the set %s is not what its SHA256SUMS says", name, from->id);
    sums_finish(&sums);
    return r;
}

static int reuse_file(struct set_writer *w, const struct set_info *from, const struct stream_id *id, const char *name,
                      struct err *err)
{
    _cleanup_close_ int old = set_manifest_fd(w->repo, from, id, err);
    if (old < 0)
        return old;
    _cleanup_close_ int fd = open_new(w, name, err);
    if (fd < 0)
        return fd;
    int r = copy_bytes(old, fd);
    if (r < 0)
        return err_sys(err, r, "cannot copy %s of the set %s", name, from->id);
    r = seal_file(w, fd, name, err);
    return r < 0 ? r : check_copy(w, from, name, err);
}

int set_reuse(struct set_writer *w, const struct set_info *from, const struct stream_id *id, struct err *err)
{
    _cleanup_(manifest_closep) struct manifest_reader *m = NULL;
    char name[MANIFEST_NAME_LEN + 1];
    stream_file_name(id, name);
    int r = set_manifest_open(w->repo, from, id, &m, err);
    if (r == 0)
        r = check_chunks(w, m, err);
    if (r < 0)
        return r;
    r = reuse_file(w, from, id, name, err);
    if (r == 0)
        r = add_stream(w, manifest_head(m), err);
    if (r < 0) { /* the stream is read again, or the set given up */
        (void)unlinkat(w->dirfd, name, 0);
        sums_drop(&w->sums, name);
    }
    return r;
}

/* What is taken out again leaves no file behind: the next one of that name is made anew. */
static void remove_stream_file(struct set_writer *w, const char *name)
{
    (void)unlinkat(w->dirfd, name, 0); /* one that stays makes the next set_manifest_begin() fail, and says so */
    sums_drop(&w->sums, name);
}

void set_manifest_drop(struct set_writer *w, struct manifest_writer *writer)
{
    struct set_manifest **at = &w->open;
    while ((*at)->writer != writer)
        at = &(*at)->next;
    struct set_manifest *m = *at;
    *at = m->next;
    remove_stream_file(w, m->name);
    drop_manifest(m);
}

void set_drop(struct set_writer *w, const struct stream_id *id)
{
    char name[MANIFEST_NAME_LEN + 1];
    size_t i = 0;
    while (i < w->info.n_streams && !stream_id_equal(&w->info.streams[i].id, id))
        i++;
    if (i == w->info.n_streams)
        return;
    stream_file_name(id, name);
    remove_stream_file(w, name);
    w->info.streams[i] = w->info.streams[--w->info.n_streams];
}

static bool is_file_name(const char *name)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    static const char manifest[] = ".manifest.zst";
    size_t n = strlen(name), end = sizeof(manifest) - 1;
    return n > 0 && n <= SUMS_NAME_LEN && strspn(name, ok) == n && name[0] != '.' &&
           !(n >= end && strcmp(name + n - end, manifest) == 0) && strcmp(name, "set.txt") != 0 &&
           strncmp(name, "SHA256SUMS", 10) != 0;
}

static int put_file(struct set_writer *w, const char *name, const void *buf, size_t len, bool is_summed,
                    struct err *err)
{
    _cleanup_close_ int fd = open_new(w, name, err);
    if (fd < 0)
        return fd;
    int r = write_full(fd, buf, len);
    if (r == 0 && is_summed)
        return seal_file(w, fd, name, err);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? err_sys(err, r, "cannot write '%s/%s/%s'", repo_path(w->repo), w->path, name) : 0;
}

int set_file(struct set_writer *w, const char *name, const void *buf, size_t len, struct err *err)
{
    if (!is_file_name(name))
        return err_set(err, -EINVAL, "'%s' cannot be the name of a file in a set", name);
    return put_file(w, name, buf, len, true, err);
}

/* --- commit -------------------------------------------------------------------------------------------------------- */

static bool has_stream(const struct set_info *s, const struct stream_id *id)
{
    for (size_t i = 0; i < s->n_streams; i++)
        if (stream_id_equal(&s->streams[i].id, id))
            return true;
    return false;
}

static int check_backing(const struct set_info *s, struct err *err)
{
    char text[NAME_LEN + 16], below[NAME_LEN + 16];
    for (size_t i = 0; i < s->n_streams; i++) {
        const struct set_stream *st = &s->streams[i];
        if (!st->has_backing || has_stream(s, &st->backing))
            continue;
        stream_id_text(&st->id, text);
        stream_id_text(&st->backing, below);
        return err_set(err, -EINVAL, "'%s' lies on '%s', which is not in the set", text, below);
    }
    return 0;
}

static int put_set_text(struct set_writer *w, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t len;
    int r = set_text_encode(&w->info, repo_format(w->repo)->id, &text, &len);
    return r < 0 ? err_set(err, r, "memory is out") : put_file(w, "set.txt", text, len, true, err);
}

static int put_sums(struct set_writer *w, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    unsigned char signature[SIGNATURE_LEN];
    size_t len;
    int r = sums_encode(&w->sums, &text, &len);
    if (r < 0)
        return err_set(err, r, "memory is out");
    r = put_file(w, "SHA256SUMS", text, len, false, err);
    if (r == 0 && w->key)
        r = sign_make(w->key, text, len, signature) < 0
                ? err_set(err, -EIO, "the set cannot be signed")
                : put_file(w, "SHA256SUMS.sig", signature, sizeof(signature), false, err);
    return r;
}

static int publish(struct set_writer *w, struct err *err)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "sets/%s", w->info.id);
    int dirfd = repo_dirfd(w->repo);
    if (renameat(dirfd, w->path, dirfd, path) < 0)
        return err_sys(err, -errno, "cannot rename '%s/%s' to '%s'", repo_path(w->repo), w->path, path);
    w->is_committed = true;
    int r = repo_sync_dir(w->repo, "sets", err);
    return r < 0 ? err_prefix(err, r, "the set %s is there, but may be gone after a power cut", w->info.id) : 0;
}

int set_commit(struct set_writer *w, struct err *err)
{
    int r = check_backing(&w->info, err);
    if (r == 0)
        r = store_flush(w->store, err);
    if (r == 0)
        r = put_set_text(w, err);
    if (r == 0)
        r = put_sums(w, err);
    if (r == 0 && fsync(w->dirfd) < 0)
        r = err_sys(err, -errno, "cannot make '%s/%s' durable", repo_path(w->repo), w->path);
    if (r == 0)
        r = set_check_folder(w->repo, w->dirfd, w->what, err);
    if (r == 0)
        r = repo_is_there(w->repo, err);
    return r < 0 ? r : publish(w, err);
}
