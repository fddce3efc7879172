/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kept overlays: what must hold after a cut in the middle of the workload of overlays-work.c.
 *
 * Every sector of every disk carries its overlay, its place and a version, which grows with each write. The log has a note when a
 * write begins, when it was acknowledged, and when a flush begins and has returned. So at each moment it is known for each sector which
 * version was acknowledged before a flush that has returned: the floor. After a cut a sector may be of that version or of any later one
 * that was begun, and nothing else.
 *
 * One of the overlays is made volatile and kept again from time to time. As long as it is volatile, a cut loses it, and it must say so.
 */
#include "tests/powercut/overlays.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* --- what is expected --------------------------------------------------------------------------------------------- */

struct version {
    uint64_t number;
    bool is_zero;
};

struct history {
    struct version *version; /* begun, rising */
    size_t count;
    uint64_t acked, floor; /* numbers */
};

#define FLUSHES 64

struct flush {
    uint64_t token, overlay;
    bool is_used;
    uint64_t acked[SECTORS];
};

struct expected {
    struct history history[OVERLAYS][SECTORS];
    struct flush flush[FLUSHES];            /* under way */
    bool swinger_is_kept, swinger_is_ready; /* ready: it has become what the catalog says */
    bool swinger_was_flushed;               /* before it became volatile */
};

static void *expected_create(void)
{
    struct expected *e = calloc(1, sizeof(*e));
    CHECK(e, "out of memory");
    e->swinger_is_kept = e->swinger_is_ready = true;
    return e;
}

static void expected_destroy(void *arg)
{
    struct expected *e = arg;
    for (unsigned i = 0; i < OVERLAYS; i++)
        for (uint64_t k = 0; k < SECTORS; k++)
            free(e->history[i][k].version);
    free(e);
}

static void begin_version(struct history *h, uint64_t number, bool is_zero_op)
{
    h->version = reallocarray(h->version, h->count + 1, sizeof(*h->version));
    CHECK(h->version, "out of memory");
    h->version[h->count++] = (struct version){number, is_zero_op};
}

static void begin_flush(struct expected *e, uint64_t overlay, uint64_t token, bool is_swing)
{
    struct flush *f = e->flush;
    if (overlay == SWINGER && !e->swinger_is_ready && !is_swing)
        return; /* it may have been volatile still */
    while (f < e->flush + FLUSHES && f->is_used && f->token + 1000 > token)
        f++; /* what a killed process left is old */
    CHECK(f < e->flush + FLUSHES, "too many flushes at once");
    f->is_used = true;
    f->token = token;
    f->overlay = overlay;
    for (uint64_t k = 0; k < SECTORS; k++)
        f->acked[k] = e->history[overlay][k].acked;
}

static void end_flush(struct expected *e, uint64_t overlay, uint64_t token)
{
    for (struct flush *f = e->flush; f < e->flush + FLUSHES; f++) {
        if (!f->is_used || f->token != token)
            continue;
        f->is_used = false;
        if (overlay == SWINGER)
            e->swinger_is_ready = true;
        if (overlay != SWINGER || e->swinger_is_kept)
            for (uint64_t k = 0; k < SECTORS; k++)
                e->history[overlay][k].floor = MAX(e->history[overlay][k].floor, f->acked[k]);
    }
}

/* A volatile overlay promises nothing, and what it promised before is over. */
static void change_mode(struct expected *e, bool is_kept)
{
    e->swinger_is_kept = is_kept;
    e->swinger_is_ready = e->swinger_was_flushed = false;
    for (uint64_t k = 0; k < SECTORS; k++) {
        e->swinger_was_flushed |= e->history[SWINGER][k].floor > 0;
        e->history[SWINGER][k].floor = 0;
    }
    for (struct flush *f = e->flush; f < e->flush + FLUSHES; f++)
        f->is_used &= f->overlay != SWINGER;
}

static void expected_step(void *arg, const struct rec *r)
{
    struct expected *e = arg;
    if (r->kind != REC_NOTE)
        return;
    uint64_t overlay = r->note[1], first = r->note[2], n = r->note[3], number = r->note[4];
    switch ((enum note)r->note[0]) {
    case NOTE_WRITE:
    case NOTE_ZERO:
        for (uint64_t k = first; k < first + n; k++)
            begin_version(&e->history[overlay][k], number, r->note[0] == NOTE_ZERO);
        break;
    case NOTE_ACK:
        for (uint64_t k = first; k < first + n; k++)
            e->history[overlay][k].acked = number;
        break;
    case NOTE_FLUSH:
        begin_flush(e, overlay, r->note[2], r->note[3]);
        break;
    case NOTE_FLUSHED:
        end_flush(e, overlay, r->note[2]);
        break;
    case NOTE_MODE:
        change_mode(e, r->note[2]);
        break;
    }
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

/* Which version is this? -1: zeros, -2: none of ours. */
static int64_t version_of(const struct sector *s, unsigned overlay, uint64_t number)
{
    struct sector want;
    if (is_zero(s, sizeof(*s)))
        return -1;
    make_sector(s->overlay - 1 == OVERLAYS ? OVERLAYS : overlay, number, s->version, &want);
    return memcmp(&want, s, sizeof(want)) == 0 ? (int64_t)s->version : -2;
}

static bool is_allowed(const struct history *h, int64_t version)
{
    if (version == 0)
        return h->floor == 0;
    for (size_t i = h->count; i-- > 0 && h->version[i].number >= h->floor;)
        if (version == -1 ? h->version[i].is_zero : h->version[i].number == (uint64_t)version && !h->version[i].is_zero)
            return true;
    return false;
}

static bool was_written(const struct expected *e, unsigned i)
{
    for (uint64_t k = 0; k < SECTORS; k++)
        if (e->history[i][k].acked)
            return true;
    return false;
}

/* Only an overlay that is not kept, or was not yet, may be lost. A volatile one that was written must be; from the moment on when it is
 * volatile, not only called so. Before, what was flushed must not be followed by an empty disk either. */
static bool check_loss(const struct expected *e, bool is_lost, unsigned i, char *why, size_t len)
{
    bool may = i == SWINGER && !(e->swinger_is_kept && e->swinger_is_ready);
    bool must =
        i == SWINGER && !e->swinger_is_kept && (e->swinger_was_flushed || (e->swinger_is_ready && was_written(e, i)));
    if (is_lost ? may : !must)
        return true;
    (void)snprintf(why, len, "overlay %u %s", i, is_lost ? "says that it is lost" : "was lost and does not say so");
    return false;
}

static bool check_overlay(const struct expected *e, struct overlay *o, unsigned i, char *why, size_t len)
{
    static struct sector buf[SECTORS];
    int r = blk_read(overlay_blk(o), buf, DISK, 0);
    if (r < 0) {
        (void)snprintf(why, len, "overlay %u cannot be read: %s", i, strerror(-r));
        return false;
    }
    for (uint64_t k = 0; k < SECTORS; k++) {
        const struct history *h = &e->history[i][k];
        int64_t version = version_of(&buf[k], i, k);
        if (is_allowed(h, version))
            continue;
        (void)snprintf(why, len, "overlay %u sector %llu: %s%lld where version %llu was flushed and %llu begun", i,
                       (unsigned long long)k,
                       version == -2   ? "foreign bytes "
                       : version == -1 ? "zeros "
                                       : "version ",
                       (long long)version, (unsigned long long)h->floor,
                       (unsigned long long)(h->count ? h->version[h->count - 1].number : 0));
        return false;
    }
    return true;
}

static bool check_once(const struct expected *e, const char *root, char *why, size_t len)
{
    struct site s;
    if (site_open(&s, root, e->swinger_is_kept) < 0) {
        (void)snprintf(why, len, "refused: %.300s", s.err.msg);
        (void)site_close(&s); /* it failed already */
        return false;
    }
    bool ok = true;
    for (unsigned i = 0; i < OVERLAYS && ok; i++)
        ok = check_loss(e, s.is_lost[i], i, why, len) && (s.is_lost[i] || check_overlay(e, s.overlay[i], i, why, len));
    if (site_close(&s) < 0 && ok) {
        (void)snprintf(why, len, "an overlay cannot be closed: %.300s", s.err.msg);
        ok = false;
    }
    return ok;
}

/* Live maps of another boot, which say nonsense. */
static void put_stale_maps(const char *root)
{
    _cleanup_close_ int live = open_folder(root, "run/live");
    for (unsigned i = 0; i < OVERLAYS; i++) {
        struct map_stamp stamp = stamp_of(i);
        struct livemap *m;
        char name[UUID_LEN + 8], text[UUID_LEN + 1];
        uuid_encode(stamp.overlay_id, text);
        (void)snprintf(name, sizeof(name), "%s.live", text);
        int fd = openat(live, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && livemap_create(fd, &stamp, &m, NULL) == 0, "cannot make a live map");
        CHECK(livemap_prepare(m, 0, BLOCKS, BLOCK_PRESENT) == 0, "cannot make a live map");
        livemap_set_present(m, 0, BLOCKS);
        CHECK(pwrite_full(fd, "another boot id", 16, 16) == 0, "cannot make a live map");
        livemap_close(m);
    }
}

static bool overlays_check(const void *e, const char *root, struct rng *rng, char *why, size_t len)
{
    if (rng_below(rng, 4) == 0)
        put_stale_maps(root);
    bool ok = check_once(e, root, why, len);
    if (ok && rng_below(rng, 8) == 0) { /* a clean end changes nothing either */
        drop_live_maps(root);
        ok = check_once(e, root, why, len);
    }
    drop_live_maps(root);
    return ok;
}

static void overlays_open_once(const void *expected, const char *root)
{
    const struct expected *e = expected;
    struct site s;
    if (site_open(&s, root, e->swinger_is_kept) == 0 || s.journal)
        (void)site_close(&s); /* what it leaves is what is looked at */
}

const struct subject overlays_subject = {
    .name = "kept overlays",
    .dirs = overlays_dirs,
    .no_garbage = ".data", /* a block that is written in place has nothing that could tell */
    .prepare = overlays_prepare,
    .work = overlays_work,
    .expect = expected_create,
    .step = expected_step,
    .forget = expected_destroy,
    .check = overlays_check,
    .open_once = overlays_open_once,
};
