/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of journals: any file is refused with a sentence or gives runs that can be, in the order of their numbers.
 *
 * The input is a list of steps that make a journal of two areas of 1 MiB; the first byte of each tells which:
 *   0 AREA GENERATION            the header of an area; the generation's upper two bits: of our root, of another one, of none, of version 1
 *   1 BLOCK GENERATION NUMBER ENTRIES LENGTH(2) BYTES...   a commit with a right check sum whose entries are those bytes
 *   2 BLOCK(2) OFFSET(2) LENGTH BYTES...                   any bytes anywhere
 *   3 SIZE(2)                                              the file is cut to so many blocks
 *   4 AREA BYTES(1)                                        an area's header tells another size
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/journal-file.h"
#include "core/livemap.h"

#define AREA  JOURNAL_AREA_MIN
#define ROOT  "0badcafe"
#define BYTES (2 * AREA)

struct file {
    unsigned char *p;
    uint64_t len;
};

static void put_head(struct file *f, unsigned area, uint64_t generation, uint64_t area_bytes)
{
    static const char *const roots[] = {ROOT, "another", "", ""};
    struct area_head h = {.generation = generation & 63, .area_bytes = area_bytes, .index = area};
    unsigned char *block = f->p + area * AREA;
    strcpy(h.root, roots[generation >> 6]);
    area_head_encode(&h, block);
    if (generation >> 6 < 3)
        return;
    put_u32(block + 8, 1);
    hash128(block, JOURNAL_BLOCK - 16, block + JOURNAL_BLOCK - 16);
}

static void put_commit(struct input *in, struct file *f)
{
    uint64_t off = input_byte(in) * (uint64_t)JOURNAL_BLOCK;
    struct commit_head h = {.generation = input_byte(in), .number = input_byte(in), .entries = input_byte(in)};
    size_t len = input_word(in) % (4 * JOURNAL_BLOCK);
    h.bytes = (uint32_t)round_up(COMMIT_HEAD_BYTES + len, JOURNAL_BLOCK);
    if (off + h.bytes > BYTES)
        return;
    memset(f->p + off, 0, h.bytes);
    input_take(in, f->p + off + COMMIT_HEAD_BYTES, MIN(len, in->left));
    commit_seal(&h, f->p + off);
}

static void put_bytes(struct input *in, struct file *f)
{
    uint64_t off = input_word(in) % (BYTES / JOURNAL_BLOCK) * JOURNAL_BLOCK;
    off += input_word(in) % JOURNAL_BLOCK;
    size_t len = input_byte(in);
    len = MIN(len, in->left);
    input_take(in, f->p + off, (size_t)MIN(len, BYTES - off));
}

static void step(struct input *in, struct file *f)
{
    unsigned area, n;
    uint64_t size;
    switch (input_byte(in) % 5) {
    case 0:
        area = input_byte(in) % 2;
        n = input_byte(in);
        return put_head(f, area, n, AREA);
    case 1:
        return put_commit(in, f);
    case 2:
        return put_bytes(in, f);
    case 3:
        size = input_word(in) * (uint64_t)JOURNAL_BLOCK;
        f->len = MIN(f->len, size);
        return;
    default:
        area = input_byte(in) % 2;
        n = input_byte(in);
        return put_head(f, area, 1, n * AREA / 2);
    }
}

static int apply(void *arg, const unsigned char id[16], uint64_t number, const struct map_run *runs, size_t n,
                 struct err *err)
{
    uint64_t *last = arg;
    must(number > 0 && number <= JOURNAL_NUMBER_MAX && (*last == 0 || number == *last || number == *last + 1));
    must(n > 0 && n <= JOURNAL_RUNS_MAX);
    for (size_t i = 0; i < n; i++)
        must(runs[i].n > 0 && (runs[i].state == BLOCK_PRESENT || runs[i].state == BLOCK_ZERO));
    *last = number;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static unsigned char *buf;
    if (!buf)
        buf = malloc(BYTES);
    must(buf);
    memset(buf, 0, BYTES);
    struct input in = {data, len};
    struct file f = {buf, BYTES};
    while (in.left > 0)
        step(&in, &f);
    _cleanup_close_ int fd = new_memfd();
    must(ftruncate(fd, (off_t)f.len) == 0);
    for (uint64_t off = 0; off < f.len; off += JOURNAL_BLOCK) /* stays sparse */
        if (!is_zero(buf + off, JOURNAL_BLOCK))
            must(pwrite_full(fd, buf + off, JOURNAL_BLOCK, off) == 0);
    struct journal_found found;
    struct err err = {""};
    uint64_t last = 0;
    int r = journal_replay(fd, ROOT, apply, &last, &found, &err);
    must(r == 0 || ((r == -EBADMSG || r == -EOPNOTSUPP || r == -EEXIST) && err.msg[0]));
    must(r != -EEXIST || (last == 0 && found.commits == 0));
    must(found.last_number >= last || r < 0);
    return 0;
}
