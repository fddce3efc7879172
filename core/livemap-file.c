/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of a live map and its mapping; see docs/live-map-format.md for the layout.
 *
 *   0      header, 4096 bytes
 *   4096   directory: for each 128 MiB { u32 present leaf, u32 zero leaf }, 0 = none, 0xffffffff = ALL (zero leaves only)
 *   leafs  leaf n at leaf_off + (n - 1) * 4096
 *
 * The file is truncated to its greatest possible size at creation and stays sparse. Header and directory get storage at once, a leaf
 * just before it is first touched: on tmpfs even reading a page that has none may fault. All counters and bits are in the machine's
 * byte order: the file never leaves the boot it was made in.
 *
 * Leaves are numbered in the order of their making. Death between the counting of a leaf and its entry in the directory leaves one
 * that nobody names; the next opening takes the greatest number that is named as the count, and so makes it free again.
 */
#include "core/livemap-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/blk.h"
#include "core/names.h"
#include "core/util.h"

#define LIVE_MAGIC   "DGLIVE1"
#define LIVE_VERSION 1U

static uint64_t dir_count_of(uint64_t size_bytes)
{
    return (size_bytes + LEAF_BLOCKS * BLOCK_BYTES - 1) / (LEAF_BLOCKS * BLOCK_BYTES);
}

static uint64_t leaf_off_of(uint64_t size_bytes)
{
    return LIVE_PAGE + round_up(dir_count_of(size_bytes) * sizeof(struct live_dir), LIVE_PAGE);
}

static uint64_t file_bytes_of(uint64_t size_bytes)
{
    return leaf_off_of(size_bytes) + 2 * dir_count_of(size_bytes) * LIVE_PAGE;
}

static bool size_ok(uint64_t size_bytes)
{
    return size_bytes > 0 && size_bytes % SECTOR_BYTES == 0 && size_bytes <= LIVEMAP_SIZE_MAX;
}

int livemap_reserve(int fd, uint64_t off, uint64_t len)
{
    while (fallocate(fd, 0, (off_t)off, (off_t)len) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int map_file(int fd, uint64_t size_bytes, bool read_only, struct livemap **ret, struct err *err)
{
    struct livemap *m = calloc(1, sizeof(*m));
    if (!m)
        return err_sys(err, -ENOMEM, "cannot open the live map");
    m->map_bytes = file_bytes_of(size_bytes);
    void *p = mmap(NULL, m->map_bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        int r = -errno;
        free(m);
        return err_sys(err, r, "cannot map the live map");
    }
    (void)madvise(p, m->map_bytes,
                  MADV_RANDOM); /* a hint: one page is wanted, not those around it, for a thousand clients */
    m->fd = fd;
    m->dir_count = dir_count_of(size_bytes);
    m->leaf_max = 2 * m->dir_count;
    m->nblk = (size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    m->head = p;
    m->dir = (struct live_dir *)((char *)p + LIVE_PAGE);
    m->leaves = (unsigned char *)p + leaf_off_of(size_bytes);
    m->dirty = calloc(m->dir_count / 64 + 1, sizeof(*m->dirty));
    if (!m->dirty) {
        (void)munmap(p, m->map_bytes); /* it is ours */
        free(m);
        return err_sys(err, -ENOMEM, "cannot open the live map");
    }
    m->found_generation = atomic_load(&m->head->generation);
    lock_init(&m->lock, LOCK_MAP);
    *ret = m;
    return 0;
}

static void unmap_file(struct livemap *m)
{
    (void)munmap(m->head, m->map_bytes); /* the mapping is ours; what is in it stays in the file */
    lock_finish(&m->lock);
    free((void *)m->dirty);
    free(m);
}

int livemap_create(int fd, const struct map_stamp *stamp, struct livemap **ret, struct err *err)
{
    assert(size_ok(stamp->size_bytes));
    uint64_t bytes = file_bytes_of(stamp->size_bytes);
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)bytes) < 0)
        return err_sys(err, -errno, "cannot make a live map of %llu bytes", (unsigned long long)bytes);
    int r = livemap_reserve(fd, 0, leaf_off_of(stamp->size_bytes));
    if (r < 0)
        return err_sys(err, r, "cannot make a live map");
    struct livemap *m;
    r = map_file(fd, stamp->size_bytes, false, &m, err);
    if (r < 0)
        return r;
    struct live_header *h = m->head;
    memcpy(h->magic, LIVE_MAGIC, sizeof(h->magic));
    h->version = LIVE_VERSION;
    h->stamp = *stamp;
    h->leaf_off = leaf_off_of(stamp->size_bytes);
    r = machine_boot_id(h->boot_id);
    if (r < 0) {
        unmap_file(m);
        return err_sys(err, r, "cannot read the boot id of the machine");
    }
    atomic_store(&h->is_complete, 1);
    if (fdatasync(fd) < 0) { /* after a power cut the boot id must tell that it is old; zeros would look like damage */
        r = -errno;
        unmap_file(m);
        return err_sys(err, r, "cannot make a live map");
    }
    *ret = m;
    return 0;
}

static int check_header(const struct live_header *h, struct err *err)
{
    unsigned char now[16];
    if (memcmp(h->magic, LIVE_MAGIC, sizeof(h->magic)) != 0 || !h->is_complete)
        return err_set(err, -EBADMSG, "the live map is not complete");
    int r = machine_boot_id(now);
    if (r < 0)
        return err_sys(err, r, "cannot read the boot id of the machine");
    if (memcmp(h->boot_id, now, sizeof(now)) != 0)
        return err_set(err, -ESTALE, "the live map is from before the machine's last boot");
    if (h->version != LIVE_VERSION || h->features != 0)
        return err_set(err, -EOPNOTSUPP, "the live map was made by another version of diskgate-fs");
    const struct map_stamp *s = &h->stamp;
    if (!size_ok(s->size_bytes) || h->leaf_off != leaf_off_of(s->size_bytes) ||
        !memchr(s->base_identity, 0, sizeof(s->base_identity)))
        return err_set(err, -EBADMSG, "the header of the live map is damaged");
    return 0;
}

/* Take note of leaf @n, which the directory names, and count it. False when it cannot be: out of bounds, or named before. */
static bool claim_leaf(const struct livemap *m, uint32_t n, unsigned char *seen, uint32_t *named)
{
    if (n == LEAF_NONE)
        return true;
    if (n > m->leaf_max || n > atomic_load(&m->head->leaf_count) || seen[n / 8] >> (n % 8) & 1)
        return false;
    seen[n / 8] |= (unsigned char)(1U << (n % 8));
    ++*named;
    return true;
}

/* Check the directory; *ret_count is the greatest leaf that it names. Who writes needs that there are no gaps: leaves are numbered in the
 * order of their making. Who only reads may look while another is making some. */
static int check_directory(const struct livemap *m, bool read_only, uint32_t *ret_count, struct err *err)
{
    _cleanup_free_ unsigned char *seen = calloc(1, m->leaf_max / 8 + 1);
    if (!seen)
        return err_sys(err, -ENOMEM, "cannot open the live map");
    uint32_t count = 0, named = 0;
    for (uint64_t i = 0; i < m->dir_count; i++) {
        uint32_t p = atomic_load(&m->dir[i].leaf[PLANE_PRESENT]), z = atomic_load(&m->dir[i].leaf[PLANE_ZERO]);
        if (z == LEAF_ALL)
            z = LEAF_NONE;
        if (!claim_leaf(m, p, seen, &named) || !claim_leaf(m, z, seen, &named))
            return err_set(err, -EBADMSG, "entry %llu of the live map's directory is damaged", (unsigned long long)i);
        count = MAX(count, MAX(p, z));
    }
    if (named != count && !read_only)
        return err_set(err, -EBADMSG, "the directory of the live map lacks entries");
    *ret_count = count;
    return 0;
}

/* Make sure of the storage of all that will be touched: a file that was copied may have lost some. */
static int take_over(struct livemap *m, uint32_t count, struct err *err)
{
    int r = livemap_reserve(m->fd, 0, m->head->leaf_off + count * LIVE_PAGE);
    if (r < 0)
        return err_sys(err, r, "cannot open the live map");
    atomic_store(&m->head->leaf_count, count);
    return 0;
}

int livemap_open(int fd, bool read_only, struct livemap **ret, struct err *err)
{
    struct live_header h;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the live map");
    int r = pread_full(fd, &h, sizeof(h), 0);
    if (r < 0)
        return err_set(err, -EBADMSG, "the live map is cut short");
    r = check_header(&h, err);
    if (r < 0)
        return r;
    if ((uint64_t)st.st_size != file_bytes_of(h.stamp.size_bytes))
        return err_set(err, -EBADMSG, "the live map has the wrong size");
    struct livemap *m;
    r = map_file(fd, h.stamp.size_bytes, read_only, &m, err);
    if (r < 0)
        return r;
    uint32_t count = 0;
    r = check_directory(m, read_only, &count, err);
    if (r == 0 && !read_only)
        r = take_over(m, count, err);
    if (r < 0) {
        unmap_file(m);
        return r;
    }
    livemap_mark_dirty(m);
    *ret = m;
    return 0;
}

void livemap_close(struct livemap *m)
{
    if (!m)
        return;
    (void)close(m->fd); /* nothing is buffered in the descriptor */
    unmap_file(m);
}

int livemap_end_file(int dirfd, const char *name)
{
    struct live_header h;
    struct err ignored;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int r = pread_full(fd, &h, sizeof(h), 0) < 0 ? -EBADMSG : check_header(&h, &ignored);
    if (r < 0) /* nobody has it, and it is not ours to change */
        return r;
    uint32_t next = h.generation + 1; /* nobody else counts: whoever serves this root does it in one thread */
    return pwrite_full(fd, &next, sizeof(next), offsetof(struct live_header, generation));
}
