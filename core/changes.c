/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tags of regions in a shared file mapping; see changes.h. The saved form is in changes-file.c.
 *
 * Storage of a page of tags (it covers 64 MiB of the disk) is allocated before it is touched: a full disk makes the map void, never a
 * SIGBUS.
 */
#include "core/changes-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/util.h"

#define MARK_PAGES_MAX 1024U /* 64 GiB in one call: a discard of a whole disk, not worth 4 MiB of marks */

struct changes {
    struct changes_place place;
    struct map_stamp stamp;
    int fd;
    size_t map_bytes;
    struct changes_head *head; /* the mapping */
    _Atomic uint32_t *tag;
    _Atomic uint8_t *has_page; /* storage of this page of tags was allocated by us */
};

/* --- names and sizes --------------------------------------------------------------------------------------------- */

struct changes_names changes_names(const struct changes_place *p)
{
    struct changes_names n;
    char id[UUID_LEN + 1];
    uuid_encode(p->stamp->overlay_id, id);
    (void)snprintf(n.live, sizeof(n.live), "%s.changes", id); /* these fit */
    (void)snprintf(n.live_new, sizeof(n.live_new), ".%s.changes.new", id);
    (void)snprintf(n.saved, sizeof(n.saved), "%u.changes", p->slot % 1000);
    (void)snprintf(n.data, sizeof(n.data), "%u.data", p->slot % 1000);
    (void)snprintf(n.map, sizeof(n.map), "%u.map", p->slot % 1000);
    return n;
}

uint64_t changes_regions(uint64_t size_bytes)
{
    return (size_bytes + CHANGES_REGION_BYTES - 1) / CHANGES_REGION_BYTES;
}

uint64_t changes_pages(uint64_t size_bytes)
{
    return (changes_regions(size_bytes) * sizeof(uint32_t) + CHANGES_PAGE - 1) / CHANGES_PAGE;
}

int changes_check_head(const struct changes_head *h, const struct map_stamp *stamp)
{
    unsigned char now[16];
    int r = machine_boot_id(now);
    if (r < 0)
        return r;
    if (memcmp(h->magic, CHANGES_MAGIC, sizeof(h->magic)) != 0 || h->version != CHANGES_VERSION)
        return -EBADMSG;
    if (memcmp(h->boot_id, now, sizeof(now)) != 0 || h->is_void || h->epoch == 0 || h->epoch == UINT32_MAX)
        return -ESTALE;
    bool is_same = memcmp(h->overlay_id, stamp->overlay_id, sizeof(h->overlay_id)) == 0;
    return is_same && h->size_bytes == stamp->size_bytes ? 0 : -ESTALE;
}

/* --- the mapping ------------------------------------------------------------------------------------------------- */

static int reserve(int fd, uint64_t off, uint64_t len)
{
    while (fallocate(fd, 0, (off_t)off, (off_t)len) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int map_file(struct changes *c)
{
    uint64_t pages = changes_pages(c->stamp.size_bytes);
    c->map_bytes = (size_t)((1 + pages) * CHANGES_PAGE);
    c->has_page = calloc(pages, sizeof(*c->has_page));
    if (!c->has_page)
        return -ENOMEM;
    void *p = mmap(NULL, c->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    c->head = p;
    c->tag = (_Atomic uint32_t *)((char *)p + CHANGES_PAGE);
    return 0;
}

int changes_new_file(int fd, const struct map_stamp *stamp, const unsigned char id[16], uint32_t epoch)
{
    struct changes_head h = {.version = CHANGES_VERSION, .size_bytes = stamp->size_bytes, .epoch = epoch};
    uint64_t bytes = (1 + changes_pages(stamp->size_bytes)) * CHANGES_PAGE;
    memcpy(h.magic, CHANGES_MAGIC, sizeof(h.magic));
    memcpy(h.id, id, sizeof(h.id));
    memcpy(h.overlay_id, stamp->overlay_id, sizeof(h.overlay_id));
    int r = machine_boot_id(h.boot_id);
    if (r == 0 && ftruncate(fd, (off_t)bytes) < 0)
        r = -errno;
    if (r == 0)
        r = reserve(fd, 0, CHANGES_PAGE);
    return r < 0 ? r : pwrite_full(fd, &h, sizeof(h), 0);
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* The file that an earlier process of this boot left. Its epoch may be one that a backup has read the overlay under while nobody
 * served it, so the next one begins. */
static int take_over(struct changes *c, const struct changes_names *n)
{
    struct changes_head h;
    struct stat st;
    _cleanup_close_ int fd = openat(c->place.live_fd, n->live, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    int r = pread_full(fd, &h, sizeof(h), 0);
    if (r == 0)
        r = changes_check_head(&h, &c->stamp);
    if (r == 0 && (uint64_t)st.st_size != (1 + changes_pages(c->stamp.size_bytes)) * CHANGES_PAGE)
        r = -EBADMSG;
    if (r < 0)
        return r;
    c->fd = take_fd(&fd);
    return 0;
}

static int fill_new(const struct changes *c, int fd, bool has_saved)
{
    unsigned char id[16];
    char text[UUID_LEN + 1];
    int r = has_saved ? changes_load_saved(&c->place, fd) : -ENOENT;
    if (r == 0)
        return 0;
    if (ftruncate(fd, 0) < 0)
        return -errno;
    r = uuid_new(text);
    if (r == 0)
        r = uuid_decode(text, id);
    return r < 0 ? r : changes_new_file(fd, &c->stamp, id, 1);
}

static int make_new(struct changes *c, const struct changes_names *n, bool has_saved)
{
    _cleanup_close_ int fd =
        openat(c->place.live_fd, n->live_new, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fill_new(c, fd, has_saved);
    if (r == 0 && renameat(c->place.live_fd, n->live_new, c->place.live_fd, n->live) < 0)
        r = -errno;
    if (r < 0)
        (void)unlinkat(c->place.live_fd, n->live_new, 0); /* the next one truncates it */
    else
        c->fd = take_fd(&fd);
    return r;
}

/* From here on the saved form is a lie. @goes_on: an earlier process may have deleted it and ended before that was durable.
 * 0 or a negative errno. */
static int drop_saved(const struct changes_place *p, const struct changes_names *n, bool goes_on)
{
    int r = unlinkat(p->dir_fd, n->saved, 0) < 0 ? -errno : 0;
    if (r < 0 && (r != -ENOENT || !goes_on))
        return r == -ENOENT ? 0 : r;
    return fsync(p->dir_fd) < 0 ? -errno : 0;
}

static int open_files(struct changes *c, bool goes_on)
{
    struct changes_names n = changes_names(&c->place);
    int r = goes_on ? take_over(c, &n) : -ENOENT;
    if (r < 0)
        r = make_new(c, &n, !goes_on);
    if (r == 0)
        r = drop_saved(&c->place, &n, goes_on);
    if (r == 0)
        r = map_file(c);
    if (r == 0)
        atomic_fetch_add(&c->head->epoch, 1);
    return r;
}

int changes_open(const struct changes_place *place, bool goes_on, struct changes **ret)
{
    struct changes *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->stamp = *place->stamp;
    c->place = *place;
    c->place.stamp = &c->stamp;
    c->fd = -1;
    int r = open_files(c, goes_on);
    if (r < 0) {
        changes_close(c);
        changes_delete(place);
        return r;
    }
    *ret = c;
    return 0;
}

void changes_close(struct changes *c)
{
    if (!c)
        return;
    if (c->head)
        (void)munmap(c->head, c->map_bytes); /* the mapping is ours; what is in it stays in the file */
    closep(&c->fd);
    free((void *)c->has_page);
    free(c);
}

void changes_delete(const struct changes_place *place)
{
    struct changes_names n = changes_names(place);
    (void)unlinkat(place->live_fd, n.live, 0); /* what stays does not fit any more */
    (void)unlinkat(place->dir_fd, n.saved, 0);
}

/* --- marks ------------------------------------------------------------------------------------------------------- */

static int need_page(struct changes *c, uint64_t page)
{
    if (atomic_load_explicit(&c->has_page[page], memory_order_acquire))
        return 0;
    int r = reserve(c->fd, (1 + page) * CHANGES_PAGE, CHANGES_PAGE); /* twice is no harm */
    if (r == 0)
        atomic_store_explicit(&c->has_page[page], 1, memory_order_release);
    return r;
}

void changes_mark(struct changes *c, uint64_t blk, uint64_t n)
{
    uint64_t first = blk * BLOCK_BYTES / CHANGES_REGION_BYTES;
    uint64_t last = (blk + n - 1) * BLOCK_BYTES / CHANGES_REGION_BYTES;
    uint64_t page = first / CHANGES_PAGE_TAGS, end = last / CHANGES_PAGE_TAGS + 1;
    if (atomic_load_explicit(&c->head->is_void, memory_order_relaxed))
        return;
    int r = end - page > MARK_PAGES_MAX ? -E2BIG : 0;
    for (; r == 0 && page < end; page++)
        r = need_page(c, page);
    if (r < 0) {
        atomic_store(&c->head->is_void, 1);
        return;
    }
    uint32_t now = atomic_load_explicit(&c->head->epoch, memory_order_relaxed);
    for (uint64_t i = first; i <= last; i++)
        if (atomic_load_explicit(&c->tag[i], memory_order_relaxed) != now)
            atomic_store_explicit(&c->tag[i], now, memory_order_relaxed);
}

void changes_end_epoch(struct changes *c, char *ret_id, uint32_t *ret_epoch)
{
    ret_id[0] = 0;
    *ret_epoch = 0;
    uint32_t now = atomic_load(&c->head->epoch);
    if (now >= UINT32_MAX - 1)
        atomic_store(&c->head->is_void, 1); /* for good */
    else if (atomic_load(&c->head->is_void)) {
        char fresh[UUID_LEN + 1];
        if (uuid_new(fresh) < 0 || uuid_decode(fresh, c->head->id) < 0)
            return;
        atomic_store(&c->head->is_void, 0);
    }
    if (atomic_load(&c->head->is_void))
        return;
    atomic_store(&c->head->epoch, now + 1);
    uuid_encode(c->head->id, ret_id);
    *ret_epoch = now;
}

/* --- clean end --------------------------------------------------------------------------------------------------- */

int changes_save(struct changes *c)
{
    struct changes_names n = changes_names(&c->place);
    int r = atomic_load(&c->head->is_void) ? -ESTALE : changes_write_saved(&c->place, c->fd);
    (void)unlinkat(c->place.live_fd, n.live, 0); /* as the live map: it goes with a clean end */
    return r;
}
