/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The data step: every chunk of a pack, wherever the index thinks that it lies.
 *
 * What is read is what the pack's own table says, so a second copy of a chunk is checked as well. A chunk that is bad here and whole in another pack
 * is healed: no set needs this copy.
 */
#include "backup/verify-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backup/pack-priv.h"

/* --- the list ---------------------------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
    const struct verify_pack *x = a, *y = b;
    if (x->verified_s != y->verified_s)
        return x->verified_s < y->verified_s ? -1 : 1;
    return x->id.number < y->id.number ? -1 : x->id.number > y->id.number;
}

/* Open it, note its length, and see whether it is that pack. -EBADMSG with a sentence. */
static int open_pack(struct verify *v, struct verify_pack *p, struct err *err)
{
    unsigned char head[PACK_HEAD_BYTES];
    struct repo_format format;
    struct pack_id told;
    struct stat st;
    char path[64];
    struct repo *repo = reader_repo(v->reader);
    pack_path(&p->id, ".tar.zst", path);
    _cleanup_close_ int fd = openat(repo_dirfd(repo), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, -errno, "pack %s", p->id.stem);
    p->bytes = (uint64_t)st.st_size;
    if (pread_full(fd, head, sizeof(head), 0) < 0)
        return err_set(err, -EBADMSG, "pack %s cannot be read", p->id.stem);
    int r = pack_head_decode(head, sizeof(head), &format, &told, err);
    if (r < 0)
        return err_prefix(err, -EBADMSG, "pack %s", p->id.stem);
    if (strcmp(told.stem, p->id.stem) != 0 || strcmp(format.id, repo_format(repo)->id) != 0)
        return err_set(err, -EBADMSG, "pack %s is in truth pack %s of repository %s", p->id.stem, told.stem, format.id);
    return take_fd(&fd);
}

static int list_one(struct verify *v, const struct marks *marks, const struct pack_id *id, size_t place)
{
    struct verify_pack *p = &v->packs[v->n_packs];
    const struct pack_mark *mark = marks_pack(marks, id->stem);
    struct err why;
    *p = (struct verify_pack){.id = *id, .place = place, .verified_s = mark ? mark->verified_s : 0};
    bool is_needed = !v->p->set;
    for (size_t i = 0; i < v->n_sets && !is_needed; i++)
        is_needed = v->sets[i].packs[place] != 0;
    if (!is_needed)
        return 0;
    _cleanup_close_ int fd = open_pack(v, p, &why);
    if (fd == -ENOMEM)
        return fd;
    if (fd < 0) {
        p->is_bad = true;
        verify_problem(v, "%s", why.msg);
    }
    v->report->packs++;
    v->report->pack_bytes += p->bytes;
    v->n_packs++;
    return 0;
}

int verify_list_packs(struct verify *v, struct err *err)
{
    struct marks marks = {0};
    struct err ignored;
    size_t n;
    const struct pack_id *ids = index_packs(reader_index(v->reader), &n);
    v->packs = calloc(n + 1, sizeof(*v->packs));
    if (!v->packs)
        return err_sys(err, -ENOMEM, "cannot list the packs");
    (void)marks_load(reader_repo(v->reader), &marks, &ignored); /* without it no pack was ever verified */
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = list_one(v, &marks, &ids[i], i);
    marks_finish(&marks);
    qsort(v->packs, v->n_packs, sizeof(*v->packs), by_age);
    if (*index_problems(reader_index(v->reader)))
        verify_problem(v, "%s", index_problems(reader_index(v->reader)));
    return r < 0 ? err_sys(err, r, "cannot list the packs") : 0;
}

/* --- one pack ---------------------------------------------------------------------------------------------------- */

struct tool { /* of one thread at a time */
    struct tool *next;
    struct pack_coder *coder;
    unsigned char *frame;
};

struct scan {
    struct verify *v;
    struct verify_pack *pack;
    int fd;
    struct pack_entry *entries;
    size_t n, room;
    pthread_mutex_t lock; /* protects tools and v->bad; held over nothing */
    struct tool *tools;
    _Atomic uint64_t *done; /* bytes of packs, of the whole run */
    _Atomic uint64_t bad;   /* that lie nowhere else */
};

static int add_entry(void *arg, const struct pack_entry *e)
{
    struct scan *s = arg;
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        struct pack_entry *more = reallocarray(s->entries, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        s->entries = more;
        s->room = room;
    }
    s->entries[s->n++] = *e;
    return 0;
}

static void free_tool(struct tool *t)
{
    if (!t)
        return;
    pack_coder_destroy(t->coder);
    free(t->frame);
    free(t);
}

static struct tool *take_tool(struct scan *s)
{
    pthread_mutex_lock(&s->lock);
    struct tool *t = s->tools;
    if (t)
        s->tools = t->next;
    pthread_mutex_unlock(&s->lock);
    if (t)
        return t;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->coder = pack_coder_create(repo_format(reader_repo(s->v->reader))->chunk_bytes, 1);
    t->frame = malloc(pack_frame_max());
    if (t->coder && t->frame)
        return t;
    free_tool(t);
    return NULL;
}

static void put_tool(struct scan *s, struct tool *t)
{
    pthread_mutex_lock(&s->lock);
    t->next = s->tools;
    s->tools = t;
    pthread_mutex_unlock(&s->lock);
}

static int note_bad(struct scan *s, const struct pack_entry *e)
{
    struct chunk_place place;
    struct verify *v = s->v;
    struct index *x = reader_index(v->reader);
    if (index_find(x, &e->ref.name, &place) == 0 && place.pack != s->pack->id.number) {
        pthread_mutex_lock(&s->lock);
        v->report->chunks_healed++;
        pthread_mutex_unlock(&s->lock);
        return 0;
    }
    (void)index_forget(x, &e->ref.name); /* known to be bad already: the same */
    s->bad++;
    pthread_mutex_lock(&s->lock);
    struct bad_copy *more = reallocarray(v->bad, v->n_bad + 1, sizeof(*more));
    if (more) {
        v->bad = more;
        v->bad[v->n_bad++] = (struct bad_copy){e->ref.name, s->pack->id, e->off, e->clen};
    }
    pthread_mutex_unlock(&s->lock);
    return more ? 0 : -ENOMEM;
}

static bool is_whole(const struct scan *s, struct tool *t, const struct pack_entry *e, void *buf)
{
    unsigned char sha256[32];
    return e->clen <= pack_frame_max() && e->ref.len <= repo_format(reader_repo(s->v->reader))->chunk_bytes &&
           pread_full(s->fd, t->frame, e->clen, e->off) == 0 &&
           pack_decode(t->coder, &e->ref, t->frame, e->clen, buf) == 0 && sha256_buf(buf, e->ref.len, sha256) == 0 &&
           memcmp(sha256, e->ref.sha256, sizeof(sha256)) == 0;
}

static int read_entry(void *arg, struct reader_worker *w, void *buf, uint64_t i, struct err *err)
{
    struct scan *s = arg;
    const struct pack_entry *e = &s->entries[i];
    struct tool *t = take_tool(s);
    if (!t)
        return err_sys(err, -ENOMEM, "cannot read pack %s", s->pack->id.stem);
    bool ok = is_whole(s, t, e, buf);
    put_tool(s, t);
    *s->done += e->clen;
    int r = ok ? 0 : note_bad(s, e);
    return r < 0 ? err_sys(err, r, "cannot read pack %s", s->pack->id.stem) : 0;
}

static int scan_entries(struct scan *s, uint64_t total, struct err *err)
{
    const struct crew_job job = {.work = s->v->work,
                                 .reader = s->v->reader,
                                 .n = s->n,
                                 .step = read_entry,
                                 .arg = s,
                                 .what = "verifying",
                                 .done_bytes = s->done,
                                 .total_bytes = total};
    pthread_mutex_init(&s->lock, NULL);
    int r = crew_run(&job, err);
    for (struct tool *t = s->tools, *next; t; t = next) {
        next = t->next;
        free_tool(t);
    }
    pthread_mutex_destroy(&s->lock);
    return r;
}

static void count_pack(struct scan *s)
{
    struct verify_report *report = s->v->report;
    for (size_t i = 0; i < s->n; i++)
        report->read_bytes += s->entries[i].clen;
    report->chunks_read += s->n;
    report->chunks_bad += s->bad;
    report->packs_read++;
    s->pack->is_read = true;
    s->pack->is_bad |= s->bad > 0;
    s->pack->verified_s = time(NULL);
    if (s->bad > 0)
        verify_problem(s->v, "pack %s: %llu of %zu chunks are damaged", s->pack->id.stem,
                       (unsigned long long)atomic_load(&s->bad), s->n);
}

static int read_pack(struct verify *v, struct verify_pack *p, _Atomic uint64_t *done, struct err *err)
{
    struct scan s = {.v = v, .pack = p, .done = done};
    struct err why;
    int how;
    _cleanup_close_ int fd = open_pack(v, p, &why);
    if (fd == -ENOENT) /* a prune that runs meanwhile took it away; one that is missing was told of */
        return 0;
    char path[64];
    pack_path(&p->id, ".tar.zst", path);
    s.fd = fd >= 0 ? take_fd(&fd)
                   : openat(repo_dirfd(reader_repo(v->reader)), path,
                            O_RDONLY | O_CLOEXEC | O_NOFOLLOW); /* a bad head hides no chunk */
    if (s.fd < 0)
        return 0;                                           /* told of by the list */
    (void)posix_fadvise(s.fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* a hint */
    int r = pack_entries(reader_repo(v->reader), &p->id, add_entry, &s, &how, &why);
    if (r == 0)
        r = scan_entries(&s, v->report->pack_bytes, err);
    else if (r == -ENOMEM)
        r = err_sys(err, r, "cannot read pack %s", p->id.stem);
    else
        r = 0; /* nothing in it can be read; the index said so */
    if (r == 0)
        count_pack(&s);
    (void)posix_fadvise(s.fd, 0, 0, POSIX_FADV_DONTNEED); /* likewise: others need the memory */
    (void)close(s.fd);                                    /* read only */
    free(s.entries);
    return r;
}

/* --- as many as there is time for -------------------------------------------------------------------------------- */

static bool is_enough(const struct verify *v, size_t i, uint64_t done, int64_t start_s)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    if (i == 0)
        return false;
    if (v->p->max_time_s > 0 && now.tv_sec - start_s >= v->p->max_time_s)
        return true;
    return v->p->percent > 0 && done * 100 >= v->report->pack_bytes * v->p->percent;
}

int verify_packs(struct verify *v, struct err *err)
{
    _Atomic uint64_t done = 0;
    struct timespec start;
    int r = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &start); /* cannot fail with this clock */
    for (size_t i = 0; r == 0 && i < v->n_packs && !is_enough(v, i, done, start.tv_sec); i++)
        r = read_pack(v, &v->packs[i], &done, err);
    return r;
}
