/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of change maps, SLOT.changes and run/live/ID.changes: any bytes are refused, or give a map that says the same after it was
 * written and loaded again, and that forgets no mark.
 *
 * The input is a saved map in short: flags, the first 160 bytes of the header, then records of 40 bytes: the number of a page and 8 tags,
 * which the page repeats. Flags: 1 the check sum is right, 2 so is the number of records, 4 it fits data and map file, 8 it is of this
 * overlay, 16 magic, version and length of a region are right; 32 the input is no short form but the file; 64 it is a live map (its head of 80
 * bytes, then tags; 8 and 16 likewise).
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/stat.h>

#include "core/bytes.h"
#include "core/changes-priv.h"
#include "core/hash.h"

#define HEAD     4096U
#define RECORD   4104U
#define FILE_MAX (HEAD + 32 * RECORD)

static const struct map_stamp stamp = {.overlay_id = {7, 7, 7}, .base_identity = "base", .size_bytes = 300 * MiB + 512};

static void put_prints(int dirfd, unsigned char *p)
{
    static const char *const names[] = {"0.data", "0.map"};
    for (size_t i = 0; i < 2; i++, p += 40) {
        struct stat st;
        must(fstatat(dirfd, names[i], &st, 0) == 0);
        put_u64(p, st.st_dev);
        put_u64(p + 8, st.st_ino);
        put_u64(p + 16, (uint64_t)st.st_size);
        put_u64(p + 24, (uint64_t)st.st_mtim.tv_sec * 1000000000U + (uint64_t)st.st_mtim.tv_nsec);
        put_u64(p + 32, (uint64_t)st.st_ctim.tv_sec * 1000000000U + (uint64_t)st.st_ctim.tv_nsec);
    }
}

static size_t put_records(struct input *in, unsigned char *file)
{
    size_t n = 0;
    for (; in->left >= 40 && n < 31; n++) {
        unsigned char *p = file + HEAD + n * RECORD, tags[32];
        input_take(in, p, 8);
        input_take(in, tags, sizeof(tags));
        for (size_t i = 0; i < 4096 / sizeof(tags); i++)
            memcpy(p + 8 + i * sizeof(tags), tags, sizeof(tags));
    }
    return n;
}

static size_t expand(struct input *in, unsigned flags, int dirfd, unsigned char *file)
{
    static const unsigned char magic[8] = {'D', 'G', 'C', 'H', 'G', '\r', '\n', 0x1a};
    memset(file, 0, HEAD);
    input_take(in, file, 160);
    size_t n = put_records(in, file);
    if (flags & 2)
        put_u64(file + 56, n);
    if (flags & 4)
        put_prints(dirfd, file + 80);
    if (flags & 8) {
        memcpy(file + 16, stamp.overlay_id, 16);
        put_u64(file + 48, stamp.size_bytes);
    }
    if (flags & 16) {
        memcpy(file, magic, sizeof(magic));
        put_u32(file + 8, CHANGES_VERSION);
        put_u32(file + 12, 0);
        put_u32(file + 68, (uint32_t)CHANGES_REGION_BYTES);
    }
    size_t len = HEAD + n * RECORD;
    if (flags & 1)
        hash128(file, len, file + HEAD - 16);
    return len;
}

/* As long as a map of this disk has to be. */
static size_t expand_live(struct input *in, unsigned flags, unsigned char *file)
{
    size_t len = (size_t)((1 + changes_pages(stamp.size_bytes)) * CHANGES_PAGE);
    struct changes_head *h = (void *)file;
    must(len <= FILE_MAX);
    memset(file, 0, len);
    input_take(in, file, 80);
    if (flags & 8) {
        memcpy(h->overlay_id, stamp.overlay_id, 16);
        h->size_bytes = stamp.size_bytes;
    }
    if (flags & 16) {
        memcpy(h->magic, CHANGES_MAGIC, sizeof(h->magic));
        h->version = CHANGES_VERSION;
        must(machine_boot_id(h->boot_id) == 0);
    }
    input_take(in, file + CHANGES_PAGE, MIN(in->left, len - CHANGES_PAGE));
    return flags & 1 ? len : MIN(len, (size_t)CHANGES_PAGE + 100);
}

static bool is_refusal(int r)
{
    return r == -EBADMSG || r == -EOPNOTSUPP || r == -ESTALE || r == -ENOENT || r == -EIO;
}

/* Which regions changed after @epoch. */
static void answers(const struct changes_look *l, uint32_t epoch, unsigned char *ret)
{
    for (uint64_t i = 0; i < changes_regions(stamp.size_bytes); i++) {
        uint64_t off = i * CHANGES_REGION_BYTES;
        uint64_t n = 0, max = MIN(CHANGES_REGION_BYTES, stamp.size_bytes - off);
        int r = changes_unchanged(l, epoch, off, max, &n);
        must(r < 0 ? is_refusal(r) : n == 0 || n == max);
        ret[i] = (unsigned char)(r < 0 || n == 0);
    }
}

/* It is opened, written to, closed, and looked at again. */
static void go_on(const struct changes_place *place, bool is_live)
{
    static unsigned char before[8192], after[8192];
    struct changes_look *l = NULL;
    struct changes *c = NULL;
    char id[UUID_LEN + 1] = "";
    uint32_t epoch = 0;
    uint64_t n = 1;
    must(changes_regions(stamp.size_bytes) < sizeof(before));
    int r = is_live ? changes_look_live(place, &l) : changes_look_saved(place, &l);
    must(r == 0 || is_refusal(r));
    if (r == 0) {
        must(changes_unchanged(l, 0, stamp.size_bytes, 1, &n) == -EINVAL);
        epoch = changes_look_epoch(l);
        (void)snprintf(id, sizeof(id), "%s", changes_look_id(l));
        answers(l, epoch / 2, before);
        changes_look_close(l);
    }
    must(changes_open(place, is_live, &c) == 0); /* there is always one to go on with: a fresh one has another id */
    changes_mark(c, 100, 1);
    must(changes_save(c) == 0 || is_live);
    changes_close(c);
    if (changes_look_saved(place, &l) < 0) {
        must(is_live); /* it was void */
        return;
    }
    must(changes_unchanged(l, changes_look_epoch(l) - 1, 100 * 4096, 4096, &n) == 0 && n == 0);
    if (id[0] && strcmp(id, changes_look_id(l)) == 0) {
        must(changes_look_epoch(l) == epoch + 1);
        answers(l, epoch / 2, after);
        for (uint64_t i = 0; i < changes_regions(stamp.size_bytes); i++)
            must(after[i] == before[i] || i == 100 * 4096 / CHANGES_REGION_BYTES);
    }
    changes_look_close(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static int dirfd = -1;
    static unsigned char file[FILE_MAX] __attribute__((aligned(16)));
    if (dirfd < 0) {
        dirfd = new_folder(NULL);
        put_file(dirfd, "0.data", "data", 4);
        put_file(dirfd, "0.map", "map", 3);
    }
    struct changes_place place = {.live_fd = dirfd, .dir_fd = dirfd, .slot = 0, .stamp = &stamp};
    struct changes_names names = changes_names(&place);
    struct input in = {data, len};
    unsigned flags = input_byte(&in);
    size_t n = MIN(in.left, sizeof(file));
    if (flags & 32)
        memcpy(file, in.p, n);
    else
        n = flags & 64 ? expand_live(&in, flags, file) : expand(&in, flags, dirfd, file);
    changes_delete(&place);
    put_file(dirfd, flags & 64 ? names.live : names.saved, file, n);
    go_on(&place, flags & 64);
    return 0;
}
