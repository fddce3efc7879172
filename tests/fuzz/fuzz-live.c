/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of live maps: any file is refused with a sentence or can be read and written within its bounds.
 *
 * The input is a live map in short: flags, the first 160 bytes of the header, a number n and n entries of the directory, then 16 bytes
 * for each leaf, which repeats them. Flags: 1 of this boot, 2 complete and with the right size and leaf offset, 4 opened read-only,
 * 8 cut short by the last two bytes of the input.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/blk.h"
#include "core/livemap.h"
#include "core/names.h"

#define PAGE      4096ULL
#define SIZE_MOST (1ULL << 36)

static void put_boot_id(unsigned char *head)
{
    must(machine_boot_id(head + 16) == 0);
}

static uint64_t get_size(const unsigned char *head)
{
    uint64_t size;
    memcpy(&size, head + 128, sizeof(size));
    return size;
}

/* Make the head fit to its size; the size of the file that belongs to it. */
static uint64_t mend(unsigned char *head, uint64_t *ret_leaf_off)
{
    uint64_t size = get_size(head) % SIZE_MOST / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES;
    uint64_t dirs = (size + LEAF_BLOCKS * BLOCK_BYTES - 1) / (LEAF_BLOCKS * BLOCK_BYTES);
    uint32_t one = 1;
    *ret_leaf_off = PAGE + round_up(dirs * 8, PAGE);
    memcpy(head, "DGLIVE1", 8);
    memcpy(head + 128, &size, sizeof(size));
    memcpy(head + 136, ret_leaf_off, sizeof(*ret_leaf_off));
    memcpy(head + 144, &one, sizeof(one));
    head[48 + LIVEMAP_IDENTITY_LEN] = 0;
    return *ret_leaf_off + 2 * dirs * PAGE;
}

static void put_leaves(struct input *in, int fd, uint64_t off, uint64_t end)
{
    for (; in->left >= 16 && off + PAGE <= end; off += PAGE) {
        unsigned char bits[16], leaf[PAGE];
        input_take(in, bits, sizeof(bits));
        for (size_t i = 0; i < sizeof(leaf); i++)
            leaf[i] = bits[i % sizeof(bits)];
        must(pwrite_full(fd, leaf, sizeof(leaf), off) == 0);
    }
}

static int make_file(struct input *in, unsigned flags)
{
    unsigned char head[160], dir[512 * 8];
    int fd = new_memfd();
    input_take(in, head, sizeof(head));
    size_t n = input_byte(in) * 8;
    input_take(in, dir, n);
    uint64_t leaf_off = 2 * PAGE, bytes = 16 * PAGE;
    if (flags & 1)
        put_boot_id(head);
    if (flags & 2)
        bytes = mend(head, &leaf_off);
    must(ftruncate(fd, (off_t)bytes) == 0);
    must(pwrite_full(fd, head, sizeof(head), 0) == 0);
    n = (size_t)MIN(n, bytes - PAGE);
    must(pwrite_full(fd, dir, n, PAGE) == 0);
    put_leaves(in, fd, leaf_off, bytes);
    uint64_t cut = flags & 8 ? input_word(in) : bytes;
    must(ftruncate(fd, (off_t)MIN(bytes, cut)) == 0);
    return fd;
}

static void read_all(const struct livemap *m)
{
    uint64_t blk = 0, end = livemap_block_count(m);
    for (unsigned i = 0; blk < end && i < 5000; i++) {
        enum block_state s;
        uint64_t n = livemap_run(m, blk, end - blk, &s);
        must(n >= 1 && n <= end - blk && s <= BLOCK_ZERO);
        blk += n;
    }
}

static enum block_state state_of(const struct livemap *m, uint64_t blk)
{
    enum block_state s;
    must(livemap_run(m, blk, 1, &s) == 1);
    return s;
}

/* New leaves get numbers that nobody has: what is written here must not show up elsewhere. */
static void write_some(struct livemap *m)
{
    uint64_t end = livemap_block_count(m), last = end - 1;
    enum block_state before = state_of(m, last / 2);
    if (livemap_prepare(m, 0, 1, BLOCK_PRESENT) == 0)
        livemap_set_present(m, 0, 1);
    if (livemap_prepare(m, last, 1, BLOCK_ZERO) == 0)
        livemap_set_zero(m, last, 1);
    must(last == 0 || state_of(m, 0) == BLOCK_PRESENT);
    must(state_of(m, last) == BLOCK_ZERO);
    must(last / 2 == 0 || last / 2 == last || state_of(m, last / 2) == before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    unsigned flags = input_byte(&in);
    struct err err = {""};
    struct livemap *m = NULL;
    int fd = make_file(&in, flags), r = livemap_open(fd, flags & 4, &m, &err);
    must(r == 0 || ((r == -EBADMSG || r == -EOPNOTSUPP || r == -ESTALE) && err.msg[0]));
    if (r < 0) {
        (void)close(fd);
        return 0;
    }
    read_all(m);
    if (!(flags & 4))
        write_some(m);
    livemap_close(m);
    return 0;
}
