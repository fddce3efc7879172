#include "backup/index-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/bytes.h"
#include "core/util.h"

#define CACHE_HEAD 72U
#define IO_ENTRIES 1024U
#define IO_BYTES   (IO_ENTRIES * INDEX_ENTRY_BYTES)
static const char magic[8] = "DGINDEX\n";
static const unsigned char no_sum[16];

static void sum_of(const struct hash *h, unsigned char ret[16])
{
    char hex[HASH_HEX_LEN + 1] = "";
    hash_hex(h, hex);
    (void)hex_parse(hex, HASH_HEX_LEN, ret, 16); /* our own digits */
}

/* --- reading it ---------------------------------------------------------------------------------------------------- */

static bool head_fits(const unsigned char *p, uint64_t len, const char *stamp, uint64_t *ret_n)
{
    uint64_t bytes;
    *ret_n = get_u64(p + 16);
    return memcmp(p, magic, sizeof(magic)) == 0 && get_u32(p + 8) == 1 && memcmp(p + 24, stamp, HASH_HEX_LEN) == 0 &&
           mul_ok(*ret_n, INDEX_ENTRY_BYTES, &bytes) && bytes == len - CACHE_HEAD;
}

/* The file may go away under a mount that lasts for weeks: its disk is pulled, another machine of an NFS writes a new one. What is small is kept in
 * memory, where it is also found without a system call for each chunk. */
#define MEMORY_MAX (32ULL << 20)

/* All of it once: its check sum, the fences, and into memory where there is room. */
static int read_all(struct table *t, const unsigned char *head, struct hash *h)
{
    _cleanup_free_ unsigned char *buf = malloc(IO_BYTES);
    unsigned char sum[16];
    if (!buf)
        return -ENOMEM;
    hash_update(h, head, 56);
    hash_update(h, no_sum, sizeof(no_sum));
    for (size_t i = 0, n; i < t->n; i += n) {
        unsigned char *to = t->entries ? t->entries + i * INDEX_ENTRY_BYTES : buf;
        n = MIN((size_t)IO_ENTRIES, t->n - i);
        int r = pread_full(t->fd, to, n * INDEX_ENTRY_BYTES, t->off + (uint64_t)i * INDEX_ENTRY_BYTES);
        if (r < 0)
            return r;
        hash_update(h, to, n * INDEX_ENTRY_BYTES);
        for (size_t k = 0; k < n; k++)
            table_fence(t, i + k, to + k * INDEX_ENTRY_BYTES);
    }
    sum_of(h, sum);
    return memcmp(sum, head + 56, sizeof(sum)) == 0 ? 0 : -ESTALE;
}

int cache_load(struct index *x, const char *stamp)
{
    _cleanup_close_ int fd = openat(repo_dirfd(x->repo), "index.cache", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_(hash_destroyp) struct hash *h = hash_create();
    unsigned char head[CACHE_HEAD];
    struct table t;
    struct stat st;
    uint64_t n = 0;
    if (!h || fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < CACHE_HEAD ||
        pread_full(fd, head, sizeof(head), 0) < 0 || !head_fits(head, (uint64_t)st.st_size, stamp, &n) ||
        table_init(&t, fd, CACHE_HEAD, (size_t)n) < 0)
        return -ESTALE;
    (void)take_fd(&fd);
    bool is_kept = st.st_size <= (off_t)MEMORY_MAX && table_make_room(&t);
    if (read_all(&t, head, h) < 0) {
        table_finish(&t);
        return -ESTALE;
    }
    if (is_kept)
        table_leave_file(&t);
    table_finish(&x->table);
    x->table = t;
    return 0;
}

/* --- making it ----------------------------------------------------------------------------------------------------- */

/* Where entries go: counted only, or written. */
struct sink {
    int fd; /* -1: counted */
    size_t n;
    uint64_t off;
    unsigned char *buf;
    size_t len;
    struct hash *hash;
    struct table *table;
};

static int sink_flush(struct sink *s)
{
    int r = s->len > 0 ? pwrite_full(s->fd, s->buf, s->len, s->off) : 0;
    hash_update(s->hash, s->buf, s->len);
    s->off += s->len;
    s->len = 0;
    return r;
}

static int sink_put(struct sink *s, const unsigned char *entry)
{
    size_t i = s->n++;
    if (s->fd < 0)
        return 0;
    table_fence(s->table, i, entry);
    memcpy(s->buf + s->len, entry, INDEX_ENTRY_BYTES);
    s->len += INDEX_ENTRY_BYTES;
    return s->len == IO_BYTES ? sink_flush(s) : 0;
}

/* Both sources in the order of names; of two with one name the better one. */
static int merge(struct index *x, const uint32_t *order, size_t n, struct sink *to)
{
    size_t i = 0, k = 0;
    int r = 0;
    while (r == 0 && (i < x->table.n || k < n)) {
        const unsigned char *a = i < x->table.n ? table_entry(&x->table, i) : NULL;
        const unsigned char *b = k < n ? x->fresh.p + (size_t)order[k] * INDEX_ENTRY_BYTES : NULL;
        if (i < x->table.n && !a)
            return -EIO;
        bool same = a && b && memcmp(a, b, 16) == 0 && get_u32(a + 16) == get_u32(b + 16);
        bool take_a = a && (!b || index_entry_compare(a, b) < 0);
        r = sink_put(to, take_a ? a : b);
        i += take_a || same;
        k += !take_a || same;
    }
    return r;
}

static int put_head(struct sink *s, const char *stamp)
{
    unsigned char head[CACHE_HEAD] = {0};
    memcpy(head, magic, sizeof(magic));
    put_u32(head + 8, 1);
    put_u64(head + 16, s->table->n);
    memcpy(head + 24, stamp, strlen(stamp)); /* none where nobody else shall take it */
    hash_update(s->hash, head, 56);
    hash_update(s->hash, no_sum, sizeof(no_sum));
    return pwrite_full(s->fd, head, sizeof(head), 0);
}

static int write_table(struct index *x, const uint32_t *order, size_t n, const char *stamp, struct table *t)
{
    _cleanup_(hash_destroyp) struct hash *h = hash_create();
    _cleanup_free_ unsigned char *buf = malloc(IO_BYTES);
    struct sink s = {.fd = t->fd, .off = CACHE_HEAD, .buf = buf, .hash = h, .table = t};
    unsigned char sum[16];
    if (!h || !buf)
        return -ENOMEM;
    int r = put_head(&s, stamp);
    if (r == 0)
        r = merge(x, order, n, &s);
    if (r == 0)
        r = sink_flush(&s);
    if (r < 0)
        return r;
    sum_of(h, sum);
    return pwrite_full(t->fd, sum, sizeof(sum), 56);
}

/* A file for the table, in the order in which they are tried. With @is_kept the first has a name. */
static int open_place(const struct index *x, int place, bool is_kept)
{
    int dirfd = repo_dirfd(x->repo), fd = -1;
    if (place == 0 && repo_can_write(x->repo)) {
        fd = openat(dirfd, "tmp/index.cache", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd >= 0 && !is_kept)
            (void)unlinkat(dirfd, "tmp/index.cache", 0); /* else the next opening does it */
    }
    if (place == 1)
        fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (place == 2)
        fd = memfd_create("diskgate-index", MFD_CLOEXEC);
    return fd;
}

static int make_at(struct index *x, int place, const uint32_t *order, size_t n, size_t count, const char *stamp,
                   struct table *ret)
{
    bool is_kept = place == 0 && *stamp;
    int dirfd = repo_dirfd(x->repo), fd = open_place(x, place, is_kept);
    if (fd < 0)
        return -EIO; /* the next place */
    int r = table_init(ret, fd, CACHE_HEAD, count);
    if (r < 0) {
        (void)close(fd); /* a cache */
        return r;
    }
    r = write_table(x, order, n, stamp, ret);
    if (r < 0)
        table_finish(ret);
    if (is_kept && (r < 0 || renameat(dirfd, "tmp/index.cache", dirfd, "index.cache") < 0))
        (void)unlinkat(dirfd, "tmp/index.cache", 0); /* the table serves this process all the same */
    return r;
}

int cache_make(struct index *x, const char *stamp, struct err *err)
{
    _cleanup_free_ uint32_t *order = NULL;
    struct sink count = {.fd = -1};
    struct table t = {0};
    size_t n;
    int r = entries_order(&x->fresh, &order, &n);
    if (r == 0)
        r = merge(x, order, n, &count);
    if (r == 0)
        r = -EIO;
    for (int place = 0; r == -EIO && place <= 2; place++) {
        r = make_at(x, place, order, n, count.n, stamp ? stamp : "", &t);
        if (r < 0 && r != -ENOMEM) /* a full disk, for example */
            r = -EIO;
    }
    if (r < 0)
        return err_sys(err, r, "cannot keep the list of chunks in mind");
    table_finish(&x->table);
    x->table = t;
    entries_finish(&x->fresh);
    return 0;
}
