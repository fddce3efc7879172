/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk out of a set; see restore.h. */
#include "backup/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "backup/file-shape.h"
#include "core/util.h"

#define WRITEBACK_CHUNKS 64U /* after so many the kernel is told to begin writing */

struct fill {
    struct reader *reader;
    const struct chain *chain;
    struct target *target;
    _Atomic uint64_t done, written, equal, zero; /* bytes; done: of data */
};

/* --- fill -------------------------------------------------------------------------------------------------------- */

static int write_failed(const struct target *t, int r, uint64_t off, struct err *err)
{
    return err_sys(err, r, "cannot write to '%s' at byte %llu", t->temp[0] ? t->temp : t->path,
                   (unsigned long long)off);
}

static int fill_zero(struct fill *f, void *buf, uint64_t off, size_t len, struct err *err)
{
    struct target *t = f->target;
    atomic_fetch_add(&f->zero, len);
    if (t->is_fresh || target_is_hole(t, off, len))
        return 0;
    if (pread_full(t->fd, buf, len, off) == 0 && is_zero(buf, len))
        return 0;
    int r = target_zero(t, off, len);
    atomic_fetch_add(&f->written, len);
    return r < 0 ? write_failed(t, r, off, err) : 0;
}

/* What need not be read from the repository. 1: it has to be. */
static int fill_known(struct fill *f, void *buf, uint64_t n, struct err *err)
{
    struct target *t = f->target;
    struct chunk_name name;
    uint64_t count, off = n * chain_head(f->chain)->chunk_bytes;
    size_t len = chain_len(f->chain, n);
    if (chain_find(f->chain, n, &name, &count, NULL) == CHAIN_ZERO)
        return fill_zero(f, buf, off, len, err);
    atomic_fetch_add(&f->done, len);
    if (t->is_fresh || target_is_hole(t, off, len) || pread_full(t->fd, buf, len, off) < 0 ||
        !chain_matches(f->chain, f->reader, n, buf, true))
        return 1;
    atomic_fetch_add(&f->equal, len);
    return 0;
}

static int fill_stored(struct fill *f, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    uint64_t off = n * chain_head(f->chain)->chunk_bytes;
    size_t len = chain_len(f->chain, n);
    int r = chain_read(f->chain, w, n, buf, true, err);
    if (r < 0)
        return r;
    r = pwrite_full(f->target->fd, buf, len, off);
    if (r < 0)
        return write_failed(f->target, r, off, err);
    atomic_fetch_add(&f->written, len);
    return 0;
}

static int fill_chunk(void *arg, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    struct fill *f = arg;
    uint64_t chunk_bytes = chain_head(f->chain)->chunk_bytes, end = n + 1;
    int r = fill_known(f, buf, n, err);
    if (r > 0)
        r = fill_stored(f, w, buf, n, err);
    if (r == 0 && end % WRITEBACK_CHUNKS == 0) /* a hint: the sync at the end has less to do */
        (void)sync_file_range(f->target->fd, (off_t)((end - WRITEBACK_CHUNKS) * chunk_bytes),
                              (off_t)(WRITEBACK_CHUNKS * chunk_bytes), SYNC_FILE_RANGE_WRITE);
    return r;
}

int restore_fill(const struct work *work, struct reader *r, const struct chain *c, struct target *t,
                 struct restore_counts *counts, struct err *err)
{
    struct fill f = {.reader = r, .chain = c, .target = t};
    struct crew_job job = {.work = work,
                           .reader = r,
                           .n = chain_chunks(c),
                           .step = fill_chunk,
                           .arg = &f,
                           .what = "restoring",
                           .done_bytes = &f.done,
                           .total_bytes = chain_data_bytes(c)};
    int e = crew_run(&job, err);
    counts->written_bytes += f.written;
    counts->equal_bytes += f.equal;
    counts->zero_bytes += f.zero;
    return e;
}

/* --- check ------------------------------------------------------------------------------------------------------- */

static int check_chunk(void *arg, struct reader_worker *w, void *buf, uint64_t n, struct err *err)
{
    struct fill *f = arg;
    struct target *t = f->target;
    struct chunk_name name;
    uint64_t count, off = n * chain_head(f->chain)->chunk_bytes;
    size_t len = chain_len(f->chain, n);
    bool is_data = chain_find(f->chain, n, &name, &count, NULL) == CHAIN_DATA;
    if (is_data || !target_is_hole(t, off, len)) {
        int r = pread_full(t->fd, buf, len, off);
        if (r < 0)
            return err_sys(err, r, "cannot read '%s' back at byte %llu", t->path, (unsigned long long)off);
        if (!chain_matches(f->chain, f->reader, n, buf, false))
            return err_set(err, -EIO,
                           "'%s' does not hold at byte %llu what was written there: the disk or the memory of this "
                           "machine is broken, or somebody else writes to the file",
                           t->path, (unsigned long long)off);
    }
    if (is_data)
        atomic_fetch_add(&f->done, len);
    return 0;
}

int restore_check(const struct work *work, struct reader *r, const struct chain *c, struct target *t,
                  struct restore_counts *counts, struct err *err)
{
    struct fill f = {.reader = r, .chain = c, .target = t};
    struct crew_job job = {.work = work,
                           .reader = r,
                           .n = chain_chunks(c),
                           .step = check_chunk,
                           .arg = &f,
                           .what = "checking",
                           .done_bytes = &f.done,
                           .total_bytes = chain_data_bytes(c)};
    int e = crew_run(&job, err);
    if (e == 0)
        counts->checked_bytes += chain_head(c)->size_bytes;
    return e;
}

/* --- sync -------------------------------------------------------------------------------------------------------- */

struct syncing {
    struct target *target;
    int code;
    struct err err;
};

static void *run_sync(void *arg)
{
    struct syncing *s = arg;
    s->code = target_sync(s->target, &s->err);
    return NULL;
}

/* The disk writes what is left while the hashes are compared. Both must succeed; a disk that cannot write is the better sentence. */
static int sync_and_check(const struct work *work, struct reader *reader, const struct chain *c, struct target *t,
                          struct restore_counts *counts, struct err *err)
{
    struct syncing s = {.target = t};
    pthread_t thread;
    bool is_beside = pthread_create(&thread, NULL, run_sync, &s) == 0;
    if (!is_beside)
        (void)run_sync(&s);
    int r = s.code == 0 || is_beside ? restore_check(work, reader, c, t, counts, err) : 0;
    if (is_beside)
        (void)pthread_join(thread, NULL); /* it is ours and ends */
    if (s.code == 0)
        return r;
    *err = s.err;
    return s.code;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

/* Name of the file, where DEST is a folder. */
static void file_name(const struct stream_id *id, char *ret, size_t room)
{
    if (id->kind == STREAM_CATALOG)
        (void)snprintf(ret, room, "catalog.db");
    else if (id->kind == STREAM_OVERLAY)
        (void)snprintf(ret, room, "%s-disk%u.img", id->name, id->number);
    else
        (void)snprintf(ret, room, "%s-v%u.img", id->name, id->number);
}

static int find_stream(const struct set_info *s, const char *what, const struct set_stream **ret, struct err *err)
{
    size_t disks = 0;
    if (what)
        return set_find_stream(s, what, ret, err);
    for (size_t i = 0; i < s->n_streams; i++)
        if (s->streams[i].id.kind != STREAM_CATALOG && ++disks == 1)
            *ret = &s->streams[i];
    return disks == 1 ? 0
                      : err_set(err, -EINVAL,
                                "the set %s has %zu disks; say which one ('diskgate backup show' lists them), or --all",
                                s->id, disks);
}

/* How long a file with this disk is: a raw file is as long as the one that was backed up. */
static int find_length(struct reader *reader, const struct set_info *s, const struct set_stream *st, uint64_t *ret,
                       struct err *err)
{
    struct file_shape shape;
    int r = file_shape_read(reader_repo(reader), s, &st->id, &shape, err);
    *ret = st->size_bytes;
    if (r == 0 && shape.tail_len == 0 && round_up(shape.data_bytes, SECTOR_BYTES) == st->size_bytes)
        *ret = shape.data_bytes;
    return r == -ENOENT ? 0 : r;
}

static int restore_stream(const struct work *work, struct reader *reader, const struct set_info *s,
                          const struct set_stream *st, const struct restore_params *p, struct restore_report *ret,
                          struct err *err)
{
    _cleanup_(chain_closep) struct chain *c = NULL;
    char file[NAME_LEN + 32];
    struct target t;
    int r = find_length(reader, s, st, &ret->size_bytes, err);
    if (r == 0)
        r = chain_open(reader, s, &st->id, NULL, &c, err);
    if (r < 0)
        return r;
    reader_unlock(reader);
    file_name(&st->id, file, sizeof(file));
    const struct target_params target = {.dest = p->dest,
                                         .file = file,
                                         .avoid = repo_path(reader_repo(reader)),
                                         .size_bytes = chain_head(c)->size_bytes,
                                         .file_bytes = ret->size_bytes,
                                         .data_bytes = chain_data_bytes(c),
                                         .set_time_s = s->time_s,
                                         .is_forced = p->is_forced};
    r = target_open(&target, &t, err);
    if (r < 0)
        return r;
    r = restore_fill(work, reader, c, &t, &ret->counts, err);
    if (r == 0 && !p->has_no_check)
        r = sync_and_check(work, reader, c, &t, &ret->counts, err);
    if (r == 0)
        r = target_commit(&t, err); /* which syncs */
    target_close(&t);
    (void)snprintf(ret->path, sizeof(ret->path), "%s", t.path); /* of one size */
    (void)snprintf(ret->image_xxh128, sizeof(ret->image_xxh128), "%s", chain_tail(c)->image_xxh128);
    hex_text(chain_tail(c)->tree_sha256, 32, ret->tree_sha256);
    return r;
}

int restore_disk(const struct work *work, const struct restore_params *p, struct restore_report *ret, struct err *err)
{
    _cleanup_(reader_closep) struct reader *reader = NULL;
    struct set_info s = {0};
    const struct set_stream *st = NULL;
    *ret = (struct restore_report){0};
    int r = reader_open(p->repo, "restore", p->wait_ms, &reader, err);
    if (r == 0)
        r = set_find(reader_repo(reader), p->set, &s, err);
    if (r == 0 && p->key_file)
        r = set_check_signature(reader_repo(reader), s.id, p->key_file, err);
    if (r == 0)
        r = find_stream(&s, p->what, &st, err);
    if (r == 0) /* damage of other disks of the set is no reason to keep this one back */
        r = set_check_stream(reader_repo(reader), &s, &st->id, err);
    if (r == 0) {
        memcpy(ret->set, s.id, sizeof(ret->set));
        stream_id_text(&st->id, ret->stream);
        r = restore_stream(work, reader, &s, st, p, ret, err);
    }
    set_info_finish(&s);
    return r;
}
