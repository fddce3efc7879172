/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The second half of a collection: what is not needed goes to trash/, what lay there long enough is deleted.
 *
 * A pack leaves packs/ in this order: its needed chunks are in complete packs (fsync), then its .toc goes, then itself. A crash in
 * between leaves a chunk twice, or a pack without .toc, which is read by the table in it.
 */
#include "backup/gc-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backup/badlist.h"
#include "backup/index-priv.h"
#include "backup/pack-priv.h"
#include "backup/store.h"
#include "core/util.h"

#define THIN_PERCENT 60

/* --- how full are they ---------------------------------------------------------------------------------------------- */

struct usage {
    const struct gc *g;
    const struct pack_id *id;
    uint64_t bytes, needed_bytes, needed; /* bytes of all chunks' frames, of those that are needed; count of these */
    bool is_hurt; /* it has chunks that a set needs, that cannot be read and that lie nowhere else */
};

/* A chunk counts in the pack that the index knows it in; a second copy elsewhere does not. */
static bool is_needed_in(const struct gc *g, const struct pack_id *id, const struct pack_entry *e)
{
    const struct gc_chunk *c = gc_find(g, &e->ref.name);
    return c && c->is_needed && !c->is_lost && c->pack == id->number;
}

static int add_usage(void *arg, const struct pack_entry *e)
{
    struct usage *u = arg;
    u->bytes += e->clen;
    const struct gc_chunk *c = gc_find(u->g, &e->ref.name);
    u->is_hurt |= !c || (c->is_lost && c->is_needed);
    if (is_needed_in(u->g, u->id, e)) {
        u->needed_bytes += e->clen;
        u->needed++;
    }
    return 0;
}

static int usage_of(struct gc *g, const struct pack_id *id, struct usage *ret, struct err *err)
{
    int how = PACK_FROM_TOC_FILE;
    *ret = (struct usage){.g = g, .id = id};
    int r = pack_entries(g->repo, id, add_usage, ret, &how, err);
    ret->is_hurt |= how == PACK_FROM_SCAN;
    return r;
}

/* --- writing again --------------------------------------------------------------------------------------------------- */

struct copy {
    struct gc *g;
    const struct pack_id *id;
    int fd;
    struct pack_writer *writer; /* the pack that is being filled; over several thin ones */
    struct pack_coder *coder;
    unsigned char *frame;
    uint32_t next_number;
    struct err *err;
};

static int finish_copy(struct copy *c)
{
    int r = c->writer ? pack_finish(c->writer, c->err) : 0;
    pack_destroy(c->writer);
    c->writer = NULL;
    return r;
}

/* Its bytes are decoded and their SHA-256 compared before they are written again. */
static int copy_entry(void *arg, const struct pack_entry *e)
{
    struct copy *c = arg;
    struct pack_entry to;
    if (!is_needed_in(c->g, c->id, e))
        return 0;
    int r = pread_full(c->fd, c->frame, e->clen, e->off);
    if (r < 0)
        return err_sys(c->err, r, "cannot read pack %s", c->id->stem);
    r = pack_encode_frame(c->coder, &e->ref, c->frame, e->clen, c->err);
    if (r == 0 && !c->writer)
        r = pack_create(c->g->repo, c->next_number++, &c->writer, c->err);
    if (r == 0 && (r = pack_reserve(c->writer, c->coder, &to)) < 0)
        err_set(c->err, r, "memory is out");
    if (r == 0)
        r = pack_write(c->writer, c->coder, &to, c->err);
    bool is_full = r == 0 && (pack_writer_bytes(c->writer) >= repo_format(c->g->repo)->pack_bytes ||
                              pack_writer_count(c->writer) >= PACK_CHUNKS_MAX);
    return is_full ? finish_copy(c) : r;
}

static int copy_pack(struct copy *c, const struct pack_id *id, struct err *err)
{
    char path[64];
    int how;
    pack_path(id, ".tar.zst", path);
    _cleanup_close_ int fd = openat(repo_dirfd(c->g->repo), path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open '%s/%s'", repo_path(c->g->repo), path);
    c->fd = fd;
    c->id = id;
    return pack_entries(c->g->repo, id, copy_entry, c, &how, err);
}

static int start_copy(struct copy *c, struct gc *g, struct err *err)
{
    *c = (struct copy){.g = g, .fd = -1, .next_number = index_next_number(g->index), .err = err};
    c->coder = pack_coder_create(repo_format(g->repo)->chunk_bytes, STORE_LEVEL_DEFAULT);
    c->frame = malloc(pack_frame_max());
    return c->coder && c->frame ? 0 : err_set(err, -ENOMEM, "memory is out");
}

static void end_copy(struct copy *c)
{
    pack_destroy(c->writer);
    pack_coder_destroy(c->coder);
    free(c->frame);
}

/* --- out of packs/ --------------------------------------------------------------------------------------------------- */

static int trash_file(struct gc *g, const struct pack_id *id, const char *ending, const char *folder, struct err *err)
{
    char from[64], to[96];
    pack_path(id, ending, from);
    (void)snprintf(to, sizeof(to), "%s/%s%s", folder, id->stem, ending);
    if (faccessat(repo_dirfd(g->repo), from, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    return repo_rename(g->repo, from, to, err);
}

static int trash_pack(struct gc *g, const struct pack_id *id, struct err *err)
{
    char folder[32];
    (void)snprintf(folder, sizeof(folder), "trash/%06" PRIu64, g->marks->gc + 1);
    int r = repo_make_dir(g->repo, folder, err);
    if (r == 0)
        r = trash_file(g, id, ".toc", folder, err);
    return r < 0 ? r : trash_file(g, id, ".tar.zst", folder, err);
}

/* --- sweep ----------------------------------------------------------------------------------------------------------- */

enum fate { FATE_STAYS, FATE_GOES, FATE_IS_COPIED };

static enum fate fate_of(const struct usage *u)
{
    if (u->is_hurt) /* what is damaged is never deleted: verify and a person decide */
        return FATE_STAYS;
    if (u->needed == 0)
        return FATE_GOES;
    return u->needed_bytes * 100 < u->bytes * THIN_PERCENT ? FATE_IS_COPIED : FATE_STAYS;
}

/* Decide on every pack before anything is done: one that cannot be read ends it. */
static int decide(struct gc *g, const struct pack_id *packs, size_t n, unsigned char *fate, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct usage u;
        r = usage_of(g, &packs[i], &u, err);
        fate[i] = r == 0 ? (unsigned char)fate_of(&u) : FATE_STAYS;
        g->counts->packs_trashed += fate[i] == FATE_GOES;
        g->counts->packs_rewritten += fate[i] == FATE_IS_COPIED;
    }
    g->counts->packs = n;
    return r;
}

static int carry_out(struct gc *g, const struct pack_id *packs, size_t n, const unsigned char *fate, struct err *err)
{
    struct copy c;
    int r = start_copy(&c, g, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = fate[i] == FATE_IS_COPIED ? copy_pack(&c, &packs[i], err) : 0;
    if (r == 0)
        r = finish_copy(&c);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = fate[i] == FATE_STAYS ? 0 : trash_pack(g, &packs[i], err);
    end_copy(&c);
    return r;
}

/* --- tables of packs that are gone ------------------------------------------------------------------------------------- */

struct names {
    const struct gc *g;
    bool is_wanted;
};

static int look_at_name(void *arg, const struct pack_entry *e)
{
    struct names *n = arg;
    const struct gc_chunk *c = gc_find(n->g, &e->ref.name);
    n->is_wanted |= c && c->is_lost && c->is_needed;
    return 0;
}

/* Its table of contents keeps the names of lost chunks for the backup that stores them again. Where none is needed any more it goes, too. */
static int sweep_table(struct gc *g, const struct pack_id *id, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    struct names names = {.g = g};
    struct pack_id told;
    struct err ignored;
    char path[64], folder[32];
    size_t len;
    pack_path(id, ".toc", path);
    int r = file_read(repo_dirfd(g->repo), path, TOC_TEXT_MAX, &text, &len);
    if (r < 0 || toc_decode(text, len, UINT64_MAX, repo_format(g->repo)->id, &told, look_at_name, &names, &ignored) < 0)
        return 0; /* nobody knows what it said */
    if (names.is_wanted)
        return 0;
    (void)snprintf(folder, sizeof(folder), "trash/%06" PRIu64, g->marks->gc + 1);
    r = repo_make_dir(g->repo, folder, err);
    return r < 0 ? r : trash_file(g, id, ".toc", folder, err);
}

static int sweep_tables(struct gc *g, const struct pack_id *packs, size_t n, struct err *err)
{
    _cleanup_free_ struct pack_id *gone = NULL;
    size_t n_gone = 0;
    int r = index_orphans(g->repo, packs, n, &gone, &n_gone, err);
    for (size_t i = 0; r == 0 && i < n_gone; i++)
        r = sweep_table(g, &gone[i], err);
    return r;
}

int gc_sweep(struct gc *g, struct err *err)
{
    size_t n;
    const struct pack_id *packs = index_packs(g->index, &n);
    _cleanup_free_ unsigned char *fate = calloc(n + 1, 1);
    if (!fate)
        return err_set(err, -ENOMEM, "memory is out");
    int r = decide(g, packs, n, fate, err);
    if (r < 0 || g->is_dry)
        return r;
    r = sweep_tables(g, packs, n, err); /* before packs go: theirs would be among them */
    return r < 0 ? r : carry_out(g, packs, n, fate, err);
}

/* --- trash ----------------------------------------------------------------------------------------------------------- */

struct emptying {
    struct gc *g;
    bool all;
};

static uint64_t bytes_below(int dirfd, const char *name, int depth)
{
    struct stat st;
    uint64_t sum = 0;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) || depth == 0)
        return S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            sum += bytes_below(fd, e->d_name, depth - 1);
    return sum;
}

/* Half a set in trash/ would be one that cannot be read, and end every later collection: so it is in tmp/ before it falls to pieces. */
static int empty_one(void *arg, const char *path, uint64_t number, struct err *err)
{
    const struct emptying *e = arg;
    char dying[64];
    uint64_t bytes = bytes_below(repo_dirfd(e->g->repo), path, 4);
    if (number > e->g->marks->gc && !e->all) {
        e->g->counts->trash_bytes += bytes;
        return 0;
    }
    e->g->counts->freed_bytes += bytes;
    if (e->g->is_dry)
        return 0;
    (void)snprintf(dying, sizeof(dying), "tmp/trash-%06" PRIu64, number);
    int r = repo_rename(e->g->repo, path, dying, err);
    return r < 0 ? r : repo_remove(e->g->repo, dying, err);
}

int gc_empty_trash(struct gc *g, bool all, struct err *err)
{
    struct emptying e = {g, all};
    int r = gc_each_trash(g->repo, empty_one, &e, err);
    return r < 0 || g->is_dry ? r : repo_sync_dir(g->repo, "trash", err);
}

void gc_forget_packs(struct gc *g)
{
    struct pack_id *packs;
    struct badlist bad;
    struct err ignored;
    size_t n, kept = 0;
    if (pack_list(g->repo, &packs, &n, &ignored) < 0)
        return; /* rows too many do no harm */
    for (size_t i = 0; i < g->marks->n_packs; i++)
        for (size_t k = 0; k < n; k++)
            if (strcmp(g->marks->packs[i].id.stem, packs[k].stem) == 0) {
                g->marks->packs[kept++] = g->marks->packs[i];
                break;
            }
    g->marks->n_packs = kept;
    if (badlist_load(g->repo, &bad, &ignored) == 0) {
        size_t before = bad.n;
        badlist_keep(&bad, packs, n);
        if (bad.n < before)
            (void)badlist_store(g->repo, &bad, &ignored); /* likewise */
        badlist_finish(&bad);
    }
    free(packs);
}
