/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of overlays whose content tells what it is, and the root that they lie in; see overlays.h. */
#include "tests/powercut/overlays.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/recover.h"

#define TAG "0badcafe"

const char *const overlays_dirs[] = {".",    "overlays", "overlays/pc0", "overlays/pc1", "overlays/pc2", "overlays/pc3",
                                     "kept", NULL};

void make_sector(uint64_t overlay, uint64_t number, uint64_t version, struct sector *ret)
{
    struct rng rng = {.state = overlay * 1000003 + number * 10007 + version};
    *ret = (struct sector){.overlay = overlay + 1, .number = number, .version = version};
    for (size_t i = 0; i < ARRAY_SIZE(ret->word); i++)
        ret->word[i] = rng_next(&rng);
    hash128(ret, offsetof(struct sector, sum), ret->sum);
}

/* What all overlays lie on. Version 0, as if it were an overlay's of its own. */
static struct blk *make_base(void)
{
    struct sector s;
    int fd = memfd_create("base", MFD_CLOEXEC);
    for (uint64_t i = 0; i < SECTORS; i++) {
        make_sector(OVERLAYS, i, 0, &s);
        CHECK(pwrite_full(fd, &s, sizeof(s), i * SECTOR_BYTES) == 0, "cannot make the base");
    }
    struct blk *b = base_create(fd, DISK, DISK);
    CHECK(b, "out of memory");
    return b;
}

/* --- a root in use ------------------------------------------------------------------------------------------------ */

int open_folder(const char *root, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0, "cannot open '%s'", path);
    return fd;
}

void overlays_prepare(const char *root)
{
    char path[512];
    for (const char *const *d = overlays_dirs; *d; d++) {
        (void)snprintf(path, sizeof(path), "%s/%s", root, strcmp(*d, ".") == 0 ? "run/live" : *d);
        CHECK(make_dirs(path, 0700) == 0, "cannot make '%s'", path);
    }
}

/* ROOT/journal as diskgate-fs makes it. */
static void site_folders(struct site *s, const char *root)
{
    s->overlays_fd = open_folder(root, "overlays");
    s->live_fd = open_folder(root, "run/live");
    s->kept_fd = open_folder(root, "kept");
    for (unsigned i = 0; i < OVERLAYS; i++)
        s->dir_fd[i] = open_folder(root, overlays_dirs[2 + i]);
    _cleanup_close_ int root_fd = open_folder(root, ".");
    s->journal_fd = openat(root_fd, "journal", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(s->journal_fd >= 0 && fsync(root_fd) == 0, "cannot make the journal");
    s->base = make_base();
}

struct map_stamp stamp_of(unsigned i)
{
    return (struct map_stamp){
        .overlay_id = {(unsigned char)(i + 1), 0xaa}, .base_identity = "base", .size_bytes = DISK};
}

int site_open(struct site *s, const char *root, bool swinger_is_kept)
{
    struct recovery found;
    *s = (struct site){0};
    site_folders(s, root);
    int r = recover(s->overlays_fd, s->journal_fd, TAG, &found, &s->err);
    if (r == 0 && found.damaged)
        r = err_set(&s->err, -EBADMSG, "recovery found %llu damaged map files", (unsigned long long)found.damaged);
    if (r == 0)
        r = recover(s->overlays_fd, s->journal_fd, TAG, &found, &s->err);
    if (r == 0 && found.overlays)
        r = err_set(&s->err, -EBADMSG, "a second recovery changed map files");
    if (r == 0)
        r = journal_start(s->journal_fd, TAG, found.next_number, JOURNAL_AREA_MIN, &s->journal, &s->err);
    for (unsigned i = 0; i < OVERLAYS && r == 0; i++) {
        struct overlay_place place = {.dir_fd = s->dir_fd[i],
                                      .live_fd = s->live_fd,
                                      .has_marks = true,
                                      .kept_fd = s->kept_fd,
                                      .journal = s->journal};
        struct map_stamp stamp = stamp_of(i);
        char found_id[UUID_LEN + 1];
        r = overlay_open(&place, &stamp, i != SWINGER || swinger_is_kept, false, s->base, &s->overlay[i], found_id,
                         &s->err);
        bool is_missing =
            r == -EBADMSG && i == SWINGER && swinger_is_kept; /* it was to be kept and had no map file yet */
        if (r == -EOWNERDEAD || is_missing) {
            s->is_lost[i] = true;
            r = 0;
        }
        if (r < 0)
            (void)err_prefix(&s->err, r, "overlay %u", i);
    }
    return r;
}

int site_close(struct site *s)
{
    int r = 0;
    for (unsigned i = 0; i < OVERLAYS; i++) {
        int e = overlay_close(s->overlay[i], &s->err);
        r = r < 0 ? r : e;
    }
    if (s->journal)
        journal_stop(s->journal);
    else
        (void)close(s->journal_fd);
    for (unsigned i = 0; i < OVERLAYS; i++)
        (void)close(s->dir_fd[i]);
    (void)close(s->overlays_fd);
    (void)close(s->live_fd);
    (void)close(s->kept_fd);
    blk_destroy(s->base);
    return r;
}

void drop_live_maps(const char *root)
{
    _cleanup_close_ int live = open_folder(root, "run/live");
    _cleanup_closedir_ DIR *d = fdopendir(openat(live, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const struct dirent *e; (e = readdir(d));)
        (void)unlinkat(live, e->d_name, 0); /* "." and ".." stay */
}
