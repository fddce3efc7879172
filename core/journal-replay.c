/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a journal: both areas, the older one first, each until its last good commit.
 *
 * What follows the last good commit was being written when the power went: it may be torn, and pieces of the one commit that was under
 * way may lie there in any state. A good commit of the same generation behind a bad one cannot come from that, because a commit
 * is written only after the one before it is durable: then the file is damaged, and acknowledged data would be lost in silence.
 */
#include "core/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/journal-file.h"
#include "core/util.h"

struct area {
    struct area_head head;
    unsigned char *buf;    /* all of the area, header included */
    bool is_good, is_void; /* void: nothing was ever written there */
};

static int replay_commit(const unsigned char *buf, const struct commit_head *h, journal_apply *apply, void *arg,
                         struct err *err)
{
    size_t pos = COMMIT_HEAD_BYTES;
    for (uint32_t i = 0; i < h->entries; i++) {
        unsigned char id[16];
        _cleanup_free_ struct map_run *runs = NULL;
        size_t n = 0;
        int64_t used = entry_decode(buf + pos, h->bytes - pos, id, &runs, &n);
        if (used == -ENOMEM)
            return err_sys(err, -ENOMEM, "cannot read the journal");
        if (used < 0)
            return err_set(
                err, -EBADMSG,
                "entry %u of commit %llu in the journal is damaged; put a good copy of the file back, or move "
                "it away to give up what kept overlays flushed last",
                i, (unsigned long long)h->number);
        int r = apply(arg, id, h->number, runs, n, err);
        if (r < 0)
            return r;
        pos += (size_t)used;
    }
    return 0;
}

/* Is there a good commit of this use of the area anywhere from @pos on? */
static bool more_follow(const struct area *a, size_t pos, struct commit_head *ret)
{
    for (; pos + JOURNAL_BLOCK <= a->head.area_bytes; pos += JOURNAL_BLOCK)
        if (commit_open(a->buf + pos, a->head.area_bytes - pos, ret) == 0 && ret->generation == a->head.generation)
            return true;
    return false;
}

static int replay_area(const struct area *a, journal_apply *apply, void *arg, struct journal_found *ret,
                       struct err *err)
{
    size_t pos = JOURNAL_BLOCK;
    struct commit_head h;
    while (pos + JOURNAL_BLOCK <= a->head.area_bytes) {
        int r = commit_open(a->buf + pos, a->head.area_bytes - pos, &h);
        if (r < 0 || h.generation != a->head.generation || (ret->last_number && h.number != ret->last_number + 1))
            break;
        r = replay_commit(a->buf + pos, &h, apply, arg, err);
        if (r < 0)
            return r;
        ret->commits++;
        ret->area[a->head.index].commits++;
        ret->last_number = h.number;
        pos += h.bytes;
    }
    if (!more_follow(a, pos, &h))
        return 0;
    return err_set(err, -EBADMSG,
                   "the journal is damaged at byte %llu of area %u: commit %llu follows, so flushed data of kept "
                   "overlays would be "
                   "lost; put a good copy of the file back, or move it away to give up what was flushed last",
                   (unsigned long long)pos, a->head.index, (unsigned long long)h.number);
}

static int read_area(int fd, uint64_t off, uint64_t bytes, unsigned index, struct area *a, struct err *err)
{
    a->is_void = bytes < 2ULL * JOURNAL_BLOCK;
    if (a->is_void)
        return 0;
    a->buf = malloc(bytes);
    if (!a->buf)
        return err_sys(err, -ENOMEM, "cannot read the journal");
    int r = pread_full(fd, a->buf, bytes, off);
    if (r < 0)
        return err_sys(err, r, "cannot read the journal");
    r = area_head_decode(a->buf, &a->head);
    if (r == -EOPNOTSUPP)
        return err_set(err, r, "the journal was made by a newer version of Diskgate");
    a->is_good = r == 0 && a->head.index == index && a->head.area_bytes == bytes;
    struct commit_head h;
    a->is_void = is_zero(a->buf, JOURNAL_BLOCK) && commit_open(a->buf + JOURNAL_BLOCK, bytes - JOURNAL_BLOCK, &h) < 0;
    return 0;
}

/* A file that was cut short or grew: its first header tells. */
static int check_size(int fd, uint64_t bytes, struct err *err)
{
    unsigned char block[JOURNAL_BLOCK];
    struct area_head h;
    if (bytes < sizeof(block) || pread_full(fd, block, sizeof(block), 0) < 0 || area_head_decode(block, &h) < 0 ||
        h.index != 0 || bytes == 2 * h.area_bytes)
        return 0;
    return err_set(
        err, -EBADMSG,
        "the journal has %llu bytes where %llu are expected; put a good copy of the file back, or move it away "
        "to give up what kept overlays flushed last",
        (unsigned long long)bytes, 2 * (unsigned long long)h.area_bytes);
}

/* An area whose header is bad. Either it was being written for the area's next use, which nobody but those needs whose commits are in their
 * map files, or it is damaged. In both cases the commits behind it are whole, because a header is durable before they change; and
 * those of the use before or after the other area's are applied, which in the first case changes nothing. */
static void save_area(struct area *a, const struct area *other, unsigned index)
{
    struct commit_head h;
    uint64_t bytes = other->head.area_bytes;
    if (commit_open(a->buf + JOURNAL_BLOCK, bytes - JOURNAL_BLOCK, &h) < 0 ||
        (h.generation + 1 != other->head.generation && h.generation != other->head.generation + 1))
        return;
    a->head = (struct area_head){.generation = h.generation, .area_bytes = bytes, .index = index};
    a->is_good = true;
}

/* Both areas are equal halves of the file. While the file is made, a header may be zero still, and the other one torn. */
static int read_areas(int fd, struct area a[2], struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the journal");
    uint64_t half = (uint64_t)st.st_size / 2;
    int r = check_size(fd, (uint64_t)st.st_size, err);
    if (r < 0)
        return r;
    if (half > JOURNAL_AREA_MAX)
        return err_set(err, -EBADMSG, "the file 'journal' is too large for a journal; move it away");
    for (unsigned i = 0; i < 2; i++) {
        r = read_area(fd, i * half, half, i, &a[i], err);
        if (r < 0)
            return r;
    }
    for (unsigned i = 0; i < 2; i++)
        if (!a[i].is_good && a[!i].is_good)
            save_area(&a[i], &a[!i], i);
    if (a[0].is_good || a[1].is_good || (a[0].is_void || a[1].is_void))
        return 0;
    return err_set(
        err, -EBADMSG,
        "the file 'journal' is no journal, or both of its headers are damaged; put a good copy back, or move it away "
        "to give up what kept overlays flushed last");
}

static void tell_area(const struct area *a, struct journal_area *ret)
{
    if (!a->is_good)
        return;
    *ret = (struct journal_area){.version = a->head.version, .generation = a->head.generation};
    memcpy(ret->root, a->head.root, sizeof(ret->root));
}

static int check_root(const struct area *a, const char *root, struct err *err)
{
    if (!a->is_good || !*root || !*a->head.root || strcmp(a->head.root, root) == 0)
        return 0;
    return err_set(err, -EEXIST,
                   "the journal belongs to another root (its tag is '%s', ours is '%s'), so what kept overlays flushed "
                   "last is not in it; put this root's own file back, or move it away to give that up",
                   a->head.root, root);
}

static int replay_both(struct area a[2], journal_apply *apply, void *arg, struct journal_found *ret, struct err *err)
{
    unsigned first = a[0].is_good && (!a[1].is_good || a[0].head.generation < a[1].head.generation) ? 0 : 1;
    int r = 0;
    for (unsigned i = 0; i < 2 && r == 0; i++) {
        const struct area *area = &a[i == 0 ? first : !first];
        if (area->is_good)
            r = replay_area(area, apply, arg, ret, err);
    }
    return r;
}

int journal_replay(int fd, const char *root, journal_apply *apply, void *arg, struct journal_found *ret,
                   struct err *err)
{
    *ret = (struct journal_found){0};
    struct area a[2] = {0};
    int r = read_areas(fd, a, err);
    for (unsigned i = 0; i < 2; i++)
        tell_area(&a[i], &ret->area[i]);
    for (unsigned i = 0; i < 2 && r == 0; i++)
        r = check_root(&a[i], root, err);
    if (r == 0)
        r = replay_both(a, apply, arg, ret, err);
    free(a[0].buf);
    free(a[1].buf);
    return r;
}
