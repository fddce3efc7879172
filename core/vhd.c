/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHD footer; the layout is the table in vhd.h.
 *
 * The check sum is looked at first: behind a wrong one every other complaint would be misleading.
 * Lenient where writers are known to differ and nothing depends on it: geometry, time stamp, creator, reserved bytes, and the offset of
 * the dynamic header in a fixed VHD (seen: all ones in 8 and in 4 bytes; qemu and the specification's text differ).
 */
#include "core/vhd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

#define COOKIE       "conectix"
#define COOKIE_BYTES 8
#define SUM_OFF      64

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void put64(unsigned char *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

bool vhd_has_cookie(const void *buf, size_t len)
{
    return len >= COOKIE_BYTES && memcmp(buf, COOKIE, COOKIE_BYTES) == 0;
}

static uint32_t check_sum(const unsigned char *p, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        if (i < SUM_OFF || i >= SUM_OFF + 4)
            sum += p[i];
    return ~sum;
}

static void get_letters(const unsigned char *p, char ret[5])
{
    for (int i = 0; i < 4; i++)
        ret[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char)p[i] : '?';
    ret[4] = 0;
}

static int check_fields(const struct vhd_footer *f, uint32_t type, struct err *err)
{
    if (f->version >> 16 != 1)
        return err_set(err, -EOPNOTSUPP, "VHD footer: version 0x%08" PRIx32 " at offset 12 is not known (1.0 is)",
                       f->version);
    if (f->features & ~3U)
        return err_set(err, -EOPNOTSUPP, "VHD footer: features 0x%08" PRIx32 " at offset 8 are not known", f->features);
    if (type < VHD_FIXED || type > VHD_DIFFERENCING)
        return err_set(err, -EOPNOTSUPP, "VHD footer: disk type %" PRIu32 " at offset 60 is not known (2, 3, 4 are)",
                       type);
    if (f->current_bytes == 0 || f->current_bytes % SECTOR_BYTES != 0 || f->current_bytes > INT64_MAX)
        return err_set(err, -EBADMSG,
                       "VHD footer: current size %" PRIu64 " at offset 48 is not a positive multiple of 512",
                       f->current_bytes);
    if (type != VHD_FIXED && f->header_off % SECTOR_BYTES != 0)
        return err_set(err, -EBADMSG, "VHD footer: header offset %" PRIu64 " at offset 16 is not a multiple of 512",
                       f->header_off);
    return 0;
}

int vhd_footer_decode(const void *buf, size_t len, struct vhd_footer *ret, struct err *err)
{
    const unsigned char *p = buf;
    if ((len != VHD_FOOTER_BYTES && len != VHD_FOOTER_BYTES_OLD) || !vhd_has_cookie(p, len))
        return err_set(err, -EBADMSG, "VHD footer: no cookie 'conectix' in %zu bytes", len);
    uint32_t sum = check_sum(p, len);
    if (sum != get_be32(p + SUM_OFF))
        return err_set(err, -EBADMSG, "VHD footer: check sum 0x%08" PRIx32 " at offset 64 should be 0x%08" PRIx32,
                       get_be32(p + SUM_OFF), sum);
    struct vhd_footer f = {
        .features = get_be32(p + 8),
        .version = get_be32(p + 12),
        .header_off = get_be64(p + 16),
        .timestamp_s = get_be32(p + 24),
        .creator_version = get_be32(p + 32),
        .original_bytes = get_be64(p + 40),
        .current_bytes = get_be64(p + 48),
        .cylinders = (uint16_t)(p[56] << 8 | p[57]),
        .heads = p[58],
        .sectors = p[59],
        .is_saved_state = p[84] == 1,
    };
    get_letters(p + 28, f.creator);
    get_letters(p + 36, f.creator_system);
    memcpy(f.id, p + 68, sizeof(f.id));
    uint32_t type = get_be32(p + 60);
    int r = check_fields(&f, type, err);
    if (r < 0)
        return r;
    f.type = (enum vhd_type)type;
    *ret = f;
    return 0;
}

void vhd_footer_encode(const struct vhd_footer *f, void *ret)
{
    unsigned char *p = ret;
    memset(p, 0, VHD_FOOTER_BYTES);
    memcpy(p, COOKIE, COOKIE_BYTES);
    put32(p + 8, f->features);
    put32(p + 12, f->version);
    put64(p + 16, f->header_off);
    put32(p + 24, f->timestamp_s);
    memcpy(p + 28, f->creator, 4);
    put32(p + 32, f->creator_version);
    memcpy(p + 36, f->creator_system, 4);
    put64(p + 40, f->original_bytes);
    put64(p + 48, f->current_bytes);
    p[56] = (unsigned char)(f->cylinders >> 8);
    p[57] = (unsigned char)f->cylinders;
    p[58] = f->heads;
    p[59] = f->sectors;
    put32(p + 60, (uint32_t)f->type);
    memcpy(p + 68, f->id, sizeof(f->id));
    p[84] = f->is_saved_state;
    put32(p + SUM_OFF, check_sum(p, VHD_FOOTER_BYTES));
}
