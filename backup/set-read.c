/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets that are there: list, find, open their manifests and files; see set.h. */
#include "backup/set-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"

/* The name of a file of a set in sentences. @ret: PATH_MAX bytes. */
static void file_what(struct repo *r, const char *where, const char *set_id, const char *name, char *ret)
{
    (void)snprintf(ret, PATH_MAX, "'%s/%s/%s/%s'", repo_path(r), where, set_id, name); /* cut where it is too long */
}

void set_info_finish(struct set_info *s)
{
    free(s->streams);
    s->streams = NULL;
    s->n_streams = 0;
}

void set_list_free(struct set_info *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        set_info_finish(&list[i]);
    free(list);
}

/* --- one set ------------------------------------------------------------------------------------------------------- */

int set_open_folder(struct repo *r, const char *where, const char *id, struct err *err)
{
    char path[128];
    if (!set_id_ok(id))
        return err_set(err, -EINVAL, "'%s' is no name of a set", id);
    (void)snprintf(path, sizeof(path), "%s/%s", where, id);
    int fd = openat(repo_dirfd(r), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0
               ? err_sys(err, errno == ENOTDIR ? -EBADMSG : -errno, "cannot open the set '%s/%s'", repo_path(r), path)
               : fd;
}

/* As file_read(), with sentences; a missing file is damage. */
static int read_text(int dirfd, const char *what, const char *name, size_t max, char **ret, size_t *ret_len,
                     struct err *err)
{
    int r = file_read(dirfd, name, max, ret, ret_len);
    if (r == -ENOENT)
        return err_set(err, -EBADMSG, "%s has lost its file %s", what, name);
    if (r == -EFBIG)
        return err_set(err, -EBADMSG, "%s is damaged: %s is far too long", what, name);
    return r < 0 ? err_sys(err, r, "cannot read %s of %s", name, what) : 0;
}

int set_read_sums(int dirfd, const char *what, struct sums *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    char name[PATH_MAX];
    size_t len;
    int r = read_text(dirfd, what, "SHA256SUMS", SUMS_TEXT_MAX, &text, &len, err);
    (void)snprintf(name, sizeof(name), "SHA256SUMS of %s", what);
    return r < 0 ? r : sums_decode(text, len, name, ret, err);
}

static int check_sum(const struct sums *sums, const char *what, const char *name, const void *buf, size_t len,
                     struct err *err)
{
    unsigned char sha256[32];
    const struct sum *sum = sums_find(sums, name);
    if (!sum)
        return err_set(err, -EBADMSG, "%s is damaged: %s does not stand in its SHA256SUMS", what, name);
    int r = sha256_buf(buf, len, sha256);
    if (r == 0 && memcmp(sha256, sum->sha256, sizeof(sha256)) != 0)
        return err_set(err, -EBADMSG, "%s is damaged: %s is not what its SHA256SUMS says", what, name);
    return r < 0 ? err_sys(err, r, "cannot check %s of %s", name, what) : 0;
}

int set_load(struct repo *r, int dirfd, const char *what, struct set_info *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct sums sums = {0};
    size_t len = 0;
    int e = read_text(dirfd, what, "set.txt", SET_TEXT_MAX, &text, &len, err);
    if (e == 0)
        e = set_text_decode(text, len, what, repo_format(r)->id, ret, err);
    if (e == 0)
        e = set_read_sums(dirfd, what, &sums, err);
    if (e == 0)
        e = check_sum(&sums, what, "set.txt", text, len, err);
    sums_finish(&sums);
    ret->is_signed = faccessat(dirfd, "SHA256SUMS.sig", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return e;
}

/* The set @id, or why it cannot be used. -ENOMEM and errors of the disk only. */
static int load_named(struct repo *r, const char *where, const char *id, struct set_info *ret)
{
    char what[PATH_MAX];
    *ret = (struct set_info){0};
    (void)snprintf(what, sizeof(what), "the set %s", id);
    _cleanup_close_ int fd = set_open_folder(r, where, id, &ret->reason);
    ret->problem = fd < 0 ? fd : set_load(r, fd, what, ret, &ret->reason);
    if (ret->problem == 0 && strcmp(ret->id, id) != 0)
        ret->problem = err_set(&ret->reason, -EBADMSG, "the set %s is damaged: it says that it is %s", id, ret->id);
    if (ret->problem < 0)
        set_info_finish(ret);
    (void)snprintf(ret->id, sizeof(ret->id), "%s", id);
    return ret->problem == -ENOMEM ? -ENOMEM : 0;
}

/* --- all sets ------------------------------------------------------------------------------------------------------ */

struct found {
    struct set_info *s;
    size_t n, room;
};

static int add(struct found *f, struct repo *r, const char *where, const char *id)
{
    if (f->n == f->room) {
        size_t room = f->room ? 2 * f->room : 32;
        struct set_info *more = reallocarray(f->s, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        f->s = more;
        f->room = room;
    }
    int e = load_named(r, where, id, &f->s[f->n]);
    f->n += e == 0;
    return e;
}

/* Damaged ones have no number: they stand where the time in their name puts them among the others, or first. */
static int compare_sets(const void *a, const void *b)
{
    const struct set_info *x = a, *y = b;
    if (x->problem == 0 && y->problem == 0 && x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->id, y->id);
}

/* Damaged ones must not spoil the order of the rest, so the two kinds are sorted apart and damaged ones come first. */
static void sort_sets(struct found *f)
{
    size_t bad = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->s[i].problem) {
            struct set_info t = f->s[bad];
            f->s[bad++] = f->s[i];
            f->s[i] = t;
        }
    if (bad)
        qsort(f->s, bad, sizeof(*f->s), compare_sets);
    if (f->n > bad)
        qsort(f->s + bad, f->n - bad, sizeof(*f->s), compare_sets);
}

int set_list_in(struct repo *r, const char *where, struct set_info **ret, size_t *ret_n, struct err *err)
{
    int fd = openat(repo_dirfd(r), where, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct found f = {0};
    if (!d)
        return err_sys(err, errno == ENOENT ? -EBADMSG : -errno, "cannot list the folder '%s/%s'", repo_path(r), where);
    errno = 0;
    for (const struct dirent *n; e == 0 && (n = readdir(d)); errno = 0)
        if (set_id_ok(n->d_name))
            e = add(&f, r, where, n->d_name);
    if (e == 0)
        e = -errno;
    if (e < 0) {
        set_list_free(f.s, f.n);
        return err_sys(err, e, "cannot list the folder '%s/%s'", repo_path(r), where);
    }
    sort_sets(&f);
    *ret = f.s;
    *ret_n = f.n;
    return 0;
}

int set_list(struct repo *r, struct set_info **ret, size_t *ret_n, struct err *err)
{
    return set_list_in(r, "sets", ret, ret_n, err);
}

/* --- finding ------------------------------------------------------------------------------------------------------- */

/* Move list[@i] to @ret and free the rest. */
static void pick(struct set_info *list, size_t n, size_t i, struct set_info *ret)
{
    *ret = list[i];
    list[i].streams = NULL;
    list[i].n_streams = 0;
    set_list_free(list, n);
}

static int pick_latest(struct repo *r, struct set_info *list, size_t n, struct set_info *ret, struct err *err)
{
    if (n > 0 && !list[n - 1].problem) { /* damaged ones come first */
        pick(list, n, n - 1, ret);
        return 0;
    }
    set_list_free(list, n);
    return n ? err_set(err, -EBADMSG, "no set in the repository '%s' can be used; 'diskgate backup list' says why",
                       repo_path(r))
             : err_set(err, -ENOENT, "there is no set in the repository '%s' yet", repo_path(r));
}

int set_find(struct repo *r, const char *text, struct set_info *ret, struct err *err)
{
    struct set_info *list;
    size_t n, found = 0, at = 0, len = strlen(text);
    int e = set_list(r, &list, &n, err);
    if (e < 0)
        return e;
    if (strcmp(text, "latest") == 0)
        return pick_latest(r, list, n, ret, err);
    for (size_t i = 0; i < n && len > 0; i++)
        if (strncmp(list[i].id, text, len) == 0) {
            at = i;
            found++;
        }
    if (found == 1 && list[at].problem == 0) {
        pick(list, n, at, ret);
        return 0;
    }
    if (found == 1) {
        e = list[at].problem;
        *err = list[at].reason;
    } else {
        e = err_set(err, found ? -EINVAL : -ENOENT,
                    found ? "%zu sets begin with '%s'; say more of the name"
                          : "of %zu sets none is called '%s'; 'diskgate backup list' has them",
                    found ? found : n, text);
    }
    set_list_free(list, n);
    return e;
}

int set_newest_with(struct repo *r, const struct stream_id *id, struct set_info *ret, struct err *err)
{
    struct set_info *list;
    size_t n;
    int e = set_list(r, &list, &n, err);
    if (e < 0)
        return e;
    for (size_t i = n; i-- > 0 && !list[i].problem;)
        for (size_t k = 0; k < list[i].n_streams; k++)
            if (stream_id_equal(&list[i].streams[k].id, id)) {
                pick(list, n, i, ret);
                return 0;
            }
    set_list_free(list, n);
    return err_set(err, -ENOENT, "no set has it");
}

/* Does @text name stream @s? For those without a number *ret_score tells which one is meant. */
static bool names_stream(const struct stream_id *s, const char *text, uint64_t *ret_score)
{
    char full[NAME_LEN + 16];
    stream_id_text(s, full);
    *ret_score = UINT64_MAX;
    if (strcasecmp(full, text) == 0)
        return true;
    if (s->kind == STREAM_CATALOG || strcasecmp(s->name, text) != 0)
        return false;
    *ret_score = s->kind == STREAM_OVERLAY ? (s->number == 0 ? 1 : 0) : 2 + (uint64_t)s->number;
    return *ret_score > 0;
}

int set_find_stream(const struct set_info *s, const char *text, const struct set_stream **ret, struct err *err)
{
    uint64_t best = 0, score;
    for (size_t i = 0; i < s->n_streams; i++)
        if (names_stream(&s->streams[i].id, text, &score) && score > best) {
            best = score;
            *ret = &s->streams[i];
        }
    if (best)
        return 0;
    return err_set(err, -ENOENT, "the set %s has no '%s'; 'diskgate backup show' lists what it has", s->id, text);
}

/* --- files --------------------------------------------------------------------------------------------------------- */

int set_manifest_open_in(struct repo *r, const char *where, const char *set_id, const struct stream_id *id,
                         struct manifest_reader **ret, struct err *err)
{
    char name[MANIFEST_NAME_LEN + 1], what[PATH_MAX];
    struct manifest_reader *m;
    stream_file_name(id, name);
    file_what(r, where, set_id, name, what);
    _cleanup_close_ int dirfd = set_open_folder(r, where, set_id, err);
    if (dirfd < 0)
        return dirfd;
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? err_set(err, -EBADMSG, "the manifest %s is missing", what)
                               : err_sys(err, -errno, "cannot open the manifest %s", what);
    int e = manifest_open(fd, what, &m, err);
    if (e < 0)
        return e;
    const struct manifest_head *h = manifest_head(m);
    if (strcmp(h->repo, repo_format(r)->id) == 0 && h->chunk_bytes == repo_format(r)->chunk_bytes &&
        stream_id_equal(&h->id, id)) {
        *ret = m;
        return 0;
    }
    manifest_close(m);
    return err_set(err, -EBADMSG, "the manifest %s is one of something else", what);
}

int set_manifest_open(struct repo *r, const struct set_info *s, const struct stream_id *id,
                      struct manifest_reader **ret, struct err *err)
{
    return set_manifest_open_in(r, "sets", s->id, id, ret, err);
}

int set_manifest_fd(struct repo *r, const struct set_info *s, const struct stream_id *id, struct err *err)
{
    char name[MANIFEST_NAME_LEN + 1];
    stream_file_name(id, name);
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", s->id, err);
    if (dirfd < 0)
        return dirfd;
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? err_sys(err, errno == ENOENT ? -EBADMSG : -errno, "cannot open '%s' of the set %s", name, s->id)
                  : fd;
}

int set_file_read(struct repo *r, const struct set_info *s, const char *name, size_t max, char **ret, size_t *ret_len,
                  struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct sums sums = {0};
    char what[64];
    size_t len;
    (void)snprintf(what, sizeof(what), "the set %s", s->id);
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", s->id, err);
    if (dirfd < 0)
        return dirfd;
    int e = read_text(dirfd, what, name, max, &text, &len, err);
    if (e == 0)
        e = set_read_sums(dirfd, what, &sums, err);
    if (e == 0)
        e = check_sum(&sums, what, name, text, len, err);
    sums_finish(&sums);
    if (e == 0) {
        *ret = take_ptr(text);
        *ret_len = len;
    }
    return e;
}

/* --- checks -------------------------------------------------------------------------------------------------------- */

static int check_file(int dirfd, const char *what, const struct sum *sum, struct err *err)
{
    unsigned char sha256[32];
    uint64_t bytes;
    int r = sums_of_file(dirfd, sum->name, sha256, &bytes);
    if (r == -ENOENT)
        return err_set(err, -EBADMSG, "%s has lost its file %s", what, sum->name);
    if (r < 0)
        return err_sys(err, r, "cannot read %s of %s", sum->name, what);
    return memcmp(sha256, sum->sha256, sizeof(sha256)) == 0
               ? 0
               : err_set(err, -EBADMSG, "%s is damaged: %s is not what its SHA256SUMS says", what, sum->name);
}

int set_check_folder(struct repo *r, int dirfd, const char *what, struct err *err)
{
    struct set_info info = {0};
    struct sums sums = {0};
    char name[MANIFEST_NAME_LEN + 1];
    int e = set_load(r, dirfd, what, &info, err);
    if (e == 0)
        e = set_read_sums(dirfd, what, &sums, err);
    for (size_t i = 0; e == 0 && i < info.n_streams; i++) {
        stream_file_name(&info.streams[i].id, name);
        if (!sums_find(&sums, name))
            e = err_set(err, -EBADMSG, "%s is damaged: %s does not stand in its SHA256SUMS", what, name);
    }
    for (size_t i = 0; e == 0 && i < sums.n; i++)
        e = check_file(dirfd, what, &sums.rows[i], err);
    sums_finish(&sums);
    set_info_finish(&info);
    return e;
}

int set_check_sums(struct repo *r, const char *set_id, struct err *err)
{
    char what[64];
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", set_id, err);
    (void)snprintf(what, sizeof(what), "the set %s", set_id);
    return dirfd < 0 ? dirfd : set_check_folder(r, dirfd, what, err);
}

static const struct set_stream *stream_of(const struct set_info *s, const struct stream_id *id)
{
    for (size_t i = 0; i < s->n_streams; i++)
        if (stream_id_equal(&s->streams[i].id, id))
            return &s->streams[i];
    return NULL;
}

static int check_manifest(int dirfd, const char *what, const struct sums *sums, const struct stream_id *id,
                          struct err *err)
{
    char name[MANIFEST_NAME_LEN + 1];
    stream_file_name(id, name);
    const struct sum *sum = sums_find(sums, name);
    return sum ? check_file(dirfd, what, sum, err)
               : err_set(err, -EBADMSG, "%s is damaged: %s does not stand in its SHA256SUMS", what, name);
}

int set_check_stream(struct repo *r, const struct set_info *s, const struct stream_id *id, struct err *err)
{
    struct sums sums = {0};
    char what[64];
    (void)snprintf(what, sizeof(what), "the set %s", s->id);
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", s->id, err);
    int e = dirfd < 0 ? dirfd : set_read_sums(dirfd, what, &sums, err);
    const struct set_stream *at = stream_of(s, id);
    for (size_t i = 0; e == 0 && at && i < s->n_streams;
         i++) { /* as deep as there are streams: no ring goes on for ever */
        e = check_manifest(dirfd, what, &sums, &at->id, err);
        at = at->has_backing ? stream_of(s, &at->backing) : NULL;
    }
    sums_finish(&sums);
    return e;
}

int set_check_signature(struct repo *r, const char *set_id, const char *key_file, struct err *err)
{
    _cleanup_free_ char *sums = NULL, *signature = NULL;
    struct sign_key *key;
    char what[64];
    size_t n_sums = 0, n_signature = 0;
    (void)snprintf(what, sizeof(what), "the set %s", set_id);
    int e = sign_key_load(key_file, false, &key, err);
    if (e < 0)
        return e;
    _cleanup_close_ int dirfd = set_open_folder(r, "sets", set_id, err);
    e = dirfd < 0 ? dirfd : read_text(dirfd, what, "SHA256SUMS", SUMS_TEXT_MAX, &sums, &n_sums, err);
    if (e == 0 && file_read(dirfd, "SHA256SUMS.sig", SIGNATURE_LEN, &signature, &n_signature) < 0)
        e = err_set(err, -EKEYREJECTED, "%s has no signature that can be read", what);
    if (e == 0 && (e = sign_check(key, sums, n_sums, (unsigned char *)signature, n_signature)) < 0)
        err_set(err, e, "the signature of %s does not hold for the key '%s'", what, key_file);
    sign_key_destroy(key);
    return e;
}
