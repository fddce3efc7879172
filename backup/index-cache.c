/* SPDX-License-Identifier: GPL-2.0-or-later */
/* index.cache: a table of all chunks in the order of their names. Not synced: its check sum tells whether it can be used.
 *
 *   offset  size
 *        0     8  "DGINDEX" LF
 *        8     4  version, 1
 *       12     4  zero
 *       16     8  entries
 *       24    32  what it was made from (hex XXH3-128 of the lists of packs and of bad chunks)
 *       56    16  XXH3-128 of everything, these 16 bytes as zeros
 *       72    ..  entries, 72 bytes each (index-table.h)
 *
 * Little-endian.
 */
#include "backup/index-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/bytes.h"
#include "core/util.h"

#define CACHE_HEAD 72U
static const char magic[8] = "DGINDEX\n";

void cache_unmap(struct index *x)
{
    if (x->map)
        (void)munmap(x->map, x->map_bytes); /* it is ours */
    x->map = x->table = NULL;
    x->n_table = x->map_bytes = 0;
}

static void sum_of(const unsigned char *p, size_t len, unsigned char ret[16])
{
    static const unsigned char zeros[16];
    char hex[HASH_HEX_LEN + 1] = "";
    struct hash *h = hash_create();
    memset(ret, 0xff, 16);
    if (!h)
        return; /* then it does not fit, and the table is made anew */
    hash_update(h, p, 56);
    hash_update(h, zeros, sizeof(zeros));
    hash_update(h, p + CACHE_HEAD, len - CACHE_HEAD);
    hash_hex(h, hex);
    (void)hex_parse(hex, HASH_HEX_LEN, ret, 16); /* our own digits */
    hash_destroy(h);
}

static bool is_valid(const unsigned char *p, size_t len, const char *stamp)
{
    unsigned char sum[16];
    uint64_t bytes;
    if (memcmp(p, magic, sizeof(magic)) != 0 || get_u32(p + 8) != 1 || memcmp(p + 24, stamp, HASH_HEX_LEN) != 0 ||
        !mul_ok(get_u64(p + 16), INDEX_ENTRY_BYTES, &bytes) || bytes != len - CACHE_HEAD)
        return false;
    sum_of(p, len, sum);
    return memcmp(sum, p + 56, sizeof(sum)) == 0;
}

static void adopt(struct index *x, unsigned char *p, size_t len)
{
    cache_unmap(x);
    x->map = p;
    x->map_bytes = len;
    x->table = p + CACHE_HEAD;
    x->n_table = get_u64(p + 16);
}

static unsigned char *new_memory(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Mapped is dangerous on a disk that can be pulled, so only what would take too much memory is. */
#define COPY_MAX (64ULL << 20)

static unsigned char *get_file(int fd, size_t len)
{
    if (len > COPY_MAX) {
        void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    unsigned char *p = new_memory(len);
    if (p && pread_full(fd, p, len, 0) < 0) {
        (void)munmap(p, len); /* it is ours */
        return NULL;
    }
    return p;
}

int cache_load(struct index *x, const char *stamp)
{
    _cleanup_close_ int fd = openat(repo_dirfd(x->repo), "index.cache", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < CACHE_HEAD)
        return -ESTALE;
    size_t len = (size_t)st.st_size;
    unsigned char *p = get_file(fd, len);
    if (!p)
        return -ESTALE;
    if (!is_valid(p, len, stamp)) {
        (void)munmap(p, len); /* it is ours */
        return -ESTALE;
    }
    adopt(x, p, len);
    return 0;
}

/* --- making it ----------------------------------------------------------------------------------------------------- */

/* Both sources in the order of names; of two with one name the better one. Returns how many it put at @to (may be NULL: count only). */
static size_t merge(const struct index *x, const struct entries *more, const uint32_t *order, size_t n,
                    unsigned char *to)
{
    size_t i = 0, k = 0, count = 0;
    while (i < x->n_table || k < n) {
        const unsigned char *a = i < x->n_table ? x->table + i * INDEX_ENTRY_BYTES : NULL;
        const unsigned char *b = k < n ? more->p + (size_t)order[k] * INDEX_ENTRY_BYTES : NULL;
        bool same = a && b && memcmp(a, b, 16) == 0 && get_u32(a + 16) == get_u32(b + 16);
        bool take_a = a && (!b || index_entry_compare(a, b) < 0);
        if (to)
            memcpy(to + count * INDEX_ENTRY_BYTES, take_a ? a : b, INDEX_ENTRY_BYTES);
        count++;
        i += take_a || same;
        k += !take_a || same;
    }
    return count;
}

static void fill(const struct index *x, unsigned char *p, size_t len, const struct entries *more, const uint32_t *order,
                 size_t n, const char *stamp)
{
    memcpy(p, magic, sizeof(magic));
    put_u32(p + 8, 1);
    put_u64(p + 16, (len - CACHE_HEAD) / INDEX_ENTRY_BYTES);
    memcpy(p + 24, stamp, HASH_HEX_LEN);
    (void)merge(x, more, order, n, p + CACHE_HEAD);
    sum_of(p, len, p + 56);
}

/* Whether it works or not: the table serves this process, and the next one looks at the check sum. */
static void write_file(const struct index *x, const unsigned char *p, size_t len)
{
    int dirfd = repo_dirfd(x->repo);
    _cleanup_close_ int fd =
        openat(dirfd, "tmp/index.cache", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    if (write_full(fd, p, len) < 0 || renameat(dirfd, "tmp/index.cache", dirfd, "index.cache") < 0)
        (void)unlinkat(dirfd, "tmp/index.cache", 0); /* else the next opening does it */
}

int cache_make(struct index *x, const struct entries *more, const char *stamp, struct err *err)
{
    _cleanup_free_ uint32_t *order = NULL;
    size_t n;
    int r = entries_order(more, &order, &n);
    if (r < 0)
        return err_set(err, r, "memory is out");
    size_t len = CACHE_HEAD + merge(x, more, order, n, NULL) * INDEX_ENTRY_BYTES;
    unsigned char *p = new_memory(len);
    if (!p)
        return err_set(err, -ENOMEM, "memory is out");
    fill(x, p, len, more, order, n, stamp);
    adopt(x, p, len);
    if (repo_can_write(x->repo))
        write_file(x, p, len);
    return 0;
}
