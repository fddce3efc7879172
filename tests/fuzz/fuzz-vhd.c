/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of what an image file is: any bytes give an answer or a sentence, and what is accepted lies within the file.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/image.h"
#include "core/util.h"
#include "core/vhd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool is_true)
{
    if (!is_true)
        abort();
}

/* A footer that was accepted must come out of the encoder and the decoder again. */
static void check_footer(const uint8_t *data, size_t len)
{
    struct vhd_footer a, b;
    struct err err;
    unsigned char buf[VHD_FOOTER_BYTES];
    if (vhd_footer_decode(data, len, &a, &err) != 0)
        return;
    vhd_footer_encode(&a, buf);
    must(vhd_footer_decode(buf, sizeof(buf), &b, &err) == 0);
    must(a.current_bytes == b.current_bytes && a.type == b.type && a.header_off == b.header_off);
}

/* The input with its check sum made right, so that the fields behind it are reached. */
static void check_repaired(const uint8_t *data, size_t len)
{
    unsigned char buf[VHD_FOOTER_BYTES] = "conectix";
    uint32_t sum = 0;
    for (size_t i = 8; i < sizeof(buf) && i < len; i++)
        buf[i] = data[i];
    for (size_t i = 0; i < sizeof(buf); i++)
        sum += i < 64 || i >= 68 ? buf[i] : 0;
    for (size_t i = 0; i < 4; i++)
        buf[64 + i] = (unsigned char)(~sum >> (24 - 8 * i));
    check_footer(buf, sizeof(buf));
}

static void check_file(const uint8_t *data, size_t len)
{
    struct image_info info;
    struct err err;
    char identity[IDENTITY_LEN + 1];
    _cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && pwrite_full(fd, data, len, 0) == 0);
    if (image_probe(fd, "input.vhd", &info, &err) != 0)
        return;
    must(info.data_bytes > 0 && info.data_bytes <= info.file_bytes && info.file_bytes == len);
    must(info.size_bytes % SECTOR_BYTES == 0 && info.size_bytes >= info.data_bytes);
    must(image_identity(fd, &info, identity, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_footer(data, len);
    check_repaired(data, len);
    check_file(data, len);
    return 0;
}
