/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of map files: any bytes are refused with a sentence or give a map that can be written again.
 *
 * The input is a map file in short: flags, the first 144 bytes of the header, then records of 48 bytes: the head of one, and 32 bytes
 * that its leaf repeats. What is left over stands at the end of the file. Flags: 1 the check sum is right, 2 the number of leaves
 * is right, 4 the input is no short form but the file.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/blk.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/mapfile.h"

#define HEAD      4096U
#define RECORD    4112U
#define FILE_MAX  (HEAD + 64 * RECORD)
#define SIZE_MOST (1ULL << 40) /* greater disks cost time and show nothing new */

static size_t put_record(struct input *in, unsigned char *p)
{
    unsigned char bits[32];
    input_take(in, p, 16);
    input_take(in, bits, sizeof(bits));
    for (size_t i = 0; i < 4096 / sizeof(bits); i++)
        memcpy(p + 16 + i * sizeof(bits), bits, sizeof(bits));
    return RECORD;
}

static size_t expand(struct input *in, unsigned flags, unsigned char *file)
{
    size_t len = HEAD, leaves = 0;
    memset(file, 0, HEAD);
    input_take(in, file, 144);
    for (; in->left >= 48 && len + 2 * RECORD < FILE_MAX; leaves++)
        len += put_record(in, file + len);
    if (flags & 2)
        put_u64(file + 56, leaves);
    size_t rest = MIN(in->left, (size_t)47);
    input_take(in, file + len, rest);
    len += rest;
    if (flags & 1)
        hash128(file, len, file + HEAD - 16);
    return len;
}

static struct livemap *new_map(const struct map_stamp *stamp)
{
    struct livemap *m = NULL;
    struct err err;
    must(livemap_create(new_memfd(), stamp, &m, &err) == 0);
    return m;
}

/* What was loaded says the same after it was written and loaded again. */
static void check_again(int dirfd, struct livemap *m, const struct mapfile_info *info)
{
    _cleanup_free_ void *a = NULL, *b = NULL;
    size_t a_len, b_len;
    struct mapfile_info again;
    struct err err;
    struct livemap *n = new_map(livemap_stamp(m));
    must(mapfile_encode(m, info->sequence, &a, &a_len) == 0);
    put_file(dirfd, "1.map", a, a_len);
    must(mapfile_load(dirfd, "1.map", n, &again, &err) == 0);
    must(mapfile_encode(n, info->sequence, &b, &b_len) == 0);
    must(a_len == b_len && memcmp(a, b, a_len) == 0);
    livemap_close(n);
}

static void check_file(int dirfd)
{
    struct mapfile_info info, loaded;
    struct err err = {""};
    int r = mapfile_info(dirfd, "0.map", &info, &err);
    must(r == 0 || ((r == -EBADMSG || r == -EOPNOTSUPP) && err.msg[0]));
    if (r < 0 || info.stamp.size_bytes > SIZE_MOST)
        return;
    struct livemap *m = new_map(&info.stamp);
    err.msg[0] = 0;
    r = mapfile_load(dirfd, "0.map", m, &loaded, &err);
    must(r == 0 || (r == -EBADMSG && err.msg[0]));
    if (r == 0)
        check_again(dirfd, m, &loaded);
    livemap_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static int dirfd = -1;
    static unsigned char file[FILE_MAX];
    if (dirfd < 0)
        dirfd = new_folder(NULL);
    struct input in = {data, len};
    unsigned flags = input_byte(&in);
    size_t n = MIN(in.left, sizeof(file));
    if (flags & 4)
        memcpy(file, in.p, n);
    else
        n = expand(&in, flags, file);
    put_file(dirfd, "0.map", file, n);
    check_file(dirfd);
    return 0;
}
