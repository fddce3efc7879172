/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of formats that are refused, with the way out of each.
 *
 * A raw disk may begin with any bytes: sector 0 is a program. So
 *  - each row has a check of fields behind the magic, and only bytes that fit all of it are that format;
 *  - a magic of four bytes or less counts for nothing when the file is visibly a disk (boot signature 55 AA at 510, or a GPT header at
 *    512). One compressed file in 65536 has those two bytes by chance and passes as raw, which its client will notice at once; a
 *    disk that is refused could not be used at all.
 *
 * Sources: the formats' own specifications, and the table of `file`(1) (documented) for the archives.
 */
#include "core/image-foreign.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/bytes.h"
#include "core/util.h"

enum way { WAY_CONVERT, WAY_UNPACK, WAY_MERGE, WAY_UNLOCK, WAY_APPLY };

struct foreign {
    const char *what; /* with its article */
    enum way way;
    size_t off;
    const char *magic;
    size_t magic_len;
    bool (*fits)(
        const unsigned char *p); /* @p = FOREIGN_HEAD_BYTES, zeros behind the file's end; NULL = the magic is enough */
    const char *driver;          /* that qemu-img reads it by; NULL = it is not converted */
};

static bool fits_qcow(const unsigned char *p)
{
    return p[4] == 0 && p[5] == 0 && p[6] == 0 && p[7] >= 1 && p[7] <= 3; /* version, big-endian */
}

static bool fits_qed(const unsigned char *p)
{
    uint32_t cluster_bytes = get_u32(p + 4);
    return cluster_bytes >= 4096 && cluster_bytes <= 64U << 20 && (cluster_bytes & (cluster_bytes - 1)) == 0;
}

static bool fits_vmdk(const unsigned char *p)
{
    return get_u32(p + 4) >= 1 && get_u32(p + 4) <= 3;
}

static bool fits_vdi(const unsigned char *p)
{
    return get_u32(p + 0x44) == 0x00010001 || get_u32(p + 0x44) == 0x00000001;
}

static bool fits_luks(const unsigned char *p)
{
    return p[6] == 0 && (p[7] == 1 || p[7] == 2);
}

static bool fits_gzip(const unsigned char *p)
{
    return p[2] == 8 && (p[3] & 0xe0) == 0; /* deflate, reserved flags */
}

static bool fits_xz(const unsigned char *p)
{
    return p[6] == 0 && p[7] <= 0x0f; /* stream flags */
}

static bool fits_zstd(const unsigned char *p)
{
    return (p[4] & 0x08) == 0; /* reserved bit of the frame header */
}

static bool fits_lz4(const unsigned char *p)
{
    return (p[4] & 0xc2) == 0x40 && (p[5] & 0x8f) == 0; /* version 01, reserved bits */
}

static bool fits_bzip2(const unsigned char *p)
{
    return p[3] >= '1' && p[3] <= '9' && memcmp(p + 4, "\x31\x41\x59\x26\x53\x59", 6) == 0;
}

static bool fits_zip(const unsigned char *p)
{
    static const unsigned char methods[] = {0, 1, 6, 8, 9, 12, 14, 93, 95, 97, 98, 99};
    bool is_method = false;
    for (size_t i = 0; i < sizeof(methods); i++)
        is_method = is_method || get_u16(p + 8) == methods[i];
    return is_method && p[4] <= 63 && get_u16(p + 26) > 0; /* version needed, length of the name */
}

static bool fits_rar(const unsigned char *p)
{
    return p[6] == 0 || (p[6] == 1 && p[7] == 0);
}

/* A dynamic VHD begins with a copy of its footer. */
static bool fits_vhd_dynamic(const unsigned char *p)
{
    struct vhd_footer f;
    return vhd_footer_decode(p, VHD_FOOTER_BYTES, &f, NULL) == 0 && f.type == VHD_DYNAMIC;
}

static bool fits_vhd_differencing(const unsigned char *p)
{
    struct vhd_footer f;
    return vhd_footer_decode(p, VHD_FOOTER_BYTES, &f, NULL) == 0 && f.type == VHD_DIFFERENCING;
}

#define MAGIC(off, text) (off), (text), sizeof(text) - 1

static const struct foreign foreigns[] = {
    {"a qcow2 disk", WAY_CONVERT, MAGIC(0, "QFI\xfb"), fits_qcow, "qcow2"},
    {"a qed disk", WAY_CONVERT, MAGIC(0, "QED\0"), fits_qed},
    {"a VHDX disk", WAY_CONVERT, MAGIC(0, "vhdxfile"), NULL, "vhdx"},
    {"a differencing VHD", WAY_MERGE, MAGIC(0, "conectix"), fits_vhd_differencing},
    {"a dynamic VHD", WAY_CONVERT, MAGIC(0, "conectix"), fits_vhd_dynamic, "vpc"},
    {"a VMDK disk", WAY_CONVERT, MAGIC(0, "KDMV"), fits_vmdk, "vmdk"},
    {"a VMDK disk", WAY_CONVERT, MAGIC(0, "COWD"), fits_vmdk},
    {"a VMDK descriptor", WAY_CONVERT, MAGIC(0, "# Disk DescriptorFile"), NULL},
    {"a VDI disk", WAY_CONVERT, MAGIC(0x40, "\x7f\x10\xda\xbe"), fits_vdi, "vdi"},
    {"a Parallels disk", WAY_CONVERT, MAGIC(0, "WithoutFreeSpace"), NULL},
    {"a Parallels disk", WAY_CONVERT, MAGIC(0, "WithouFreSpacExt"), NULL},
    {"a Bochs disk", WAY_CONVERT, MAGIC(0, "Bochs Virtual HD Image"), NULL},
    {"a LUKS volume", WAY_UNLOCK, MAGIC(0, "LUKS\xba\xbe"), fits_luks},
    {"a Windows image archive (WIM)", WAY_APPLY, MAGIC(0, "MSWIM\0\0\0"), NULL},
    {"gzip-compressed", WAY_UNPACK, MAGIC(0, "\x1f\x8b"), fits_gzip},
    {"xz-compressed", WAY_UNPACK,
     MAGIC(0, "\xfd"
              "7zXZ\0"),
     fits_xz},
    {"zstd-compressed", WAY_UNPACK, MAGIC(0, "\x28\xb5\x2f\xfd"), fits_zstd},
    {"lz4-compressed", WAY_UNPACK, MAGIC(0, "\x04\x22\x4d\x18"), fits_lz4},
    {"bzip2-compressed", WAY_UNPACK, MAGIC(0, "BZh"), fits_bzip2},
    {"a zip archive", WAY_UNPACK, MAGIC(0, "PK\x03\x04"), fits_zip},
    {"a 7z archive", WAY_UNPACK, MAGIC(0, "7z\xbc\xaf\x27\x1c"), NULL},
    {"a rar archive", WAY_UNPACK, MAGIC(0, "Rar!\x1a\x07"), fits_rar},
    {"a tar archive", WAY_UNPACK,
     MAGIC(257, "ustar\0"
                "00"),
     NULL},
    {"a tar archive", WAY_UNPACK, MAGIC(257, "ustar  \0"), NULL},
};

static const struct foreign dmg = {"an Apple disk image (DMG)", WAY_CONVERT, MAGIC(0, "koly"), NULL};

static bool looks_like_disk(const unsigned char *p)
{
    return (p[510] == 0x55 && p[511] == 0xaa) || memcmp(p + 512, "EFI PART", 8) == 0;
}

static const struct foreign *detect(const unsigned char *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(foreigns); i++) {
        const struct foreign *f = &foreigns[i];
        if (memcmp(p + f->off, f->magic, f->magic_len) != 0 || (f->fits && !f->fits(p)))
            continue;
        if (f->magic_len <= 4 && f->fits != fits_bzip2 && looks_like_disk(p))
            continue;
        return f;
    }
    return NULL;
}

/* "koly", version 4, a header of 512 bytes, all big-endian. */
static bool is_dmg(const unsigned char *tail)
{
    return memcmp(tail, "koly\0\0\0\4\0\0\2\0", 12) == 0;
}

static int refuse(const struct foreign *f, const char *path, struct err *err)
{
    switch (f->way) {
    case WAY_CONVERT:
        return err_set(err, -EOPNOTSUPP,
                       "'%s' is %s; only raw disks and fixed VHDs can be served: run qemu-img convert -O raw '%s' "
                       "'%s.raw' and add that",
                       path, f->what, path, path);
    case WAY_UNPACK:
        return err_set(err, -EOPNOTSUPP, "'%s' is %s, not a disk: unpack it first and add the disk that is in it", path,
                       f->what);
    case WAY_MERGE:
        return err_set(err, -EOPNOTSUPP,
                       "'%s' is %s, only a part of a disk: merge it into its parent first (for example with Merge-VHD "
                       "of Hyper-V), "
                       "then convert the parent with qemu-img convert -O raw and add that",
                       path, f->what);
    case WAY_UNLOCK:
        return err_set(err, -EOPNOTSUPP,
                       "'%s' is %s, which no client can boot: unlock it with cryptsetup open, copy the disk in it to a "
                       "file and add that",
                       path, f->what);
    case WAY_APPLY:
    default:
        return err_set(
            err, -EOPNOTSUPP,
            "'%s' is %s, not a disk: install it on a disk first (for example with wimapply or DISM) and add that disk",
            path, f->what);
    }
}

int foreign_check(const void *head, size_t head_len, const void *tail, const char *path, struct err *err)
{
    unsigned char p[FOREIGN_HEAD_BYTES] = {0};
    memcpy(p, head, MIN(head_len, sizeof(p)));
    const struct foreign *f = detect(p);
    if (!f && tail && is_dmg(tail) && !looks_like_disk(p))
        f = &dmg;
    return f ? refuse(f, path, err) : 0;
}

const char *foreign_driver(const void *head, size_t head_len)
{
    unsigned char p[FOREIGN_HEAD_BYTES] = {0};
    memcpy(p, head, MIN(head_len, sizeof(p)));
    const struct foreign *f = detect(p);
    bool is_qcow1 = f && f->fits == fits_qcow && p[7] == 1;
    return f && !is_qcow1 ? f->driver : NULL;
}

int foreign_refuse_vhd(enum vhd_type type, const char *path, struct err *err)
{
    const struct foreign f = {
        .what = type == VHD_DIFFERENCING ? "a differencing VHD" : "a dynamic VHD",
        .way = type == VHD_DIFFERENCING ? WAY_MERGE : WAY_CONVERT,
    };
    return refuse(&f, path, err);
}
