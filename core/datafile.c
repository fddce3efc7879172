/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data file of an overlay, little-endian; see datafile.h.
 *
 *   0                            the disk's bytes, sparse, up to the disk's size rounded up to 4096
 *   file size - 4096             tail: "DGDATA\r\n", u32 version 1, u32 flags, 16 bytes of overlay id, u64 size of the disk, zeros
 */
#include "core/datafile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/blk.h"
#include "core/names.h"
#include "core/util.h"

#define DATA_VERSION 1U
#define FLAG_USED    1U
#define FLAGS_OFF    12U /* in the tail */

static const char data_magic[8] = {'D', 'G', 'D', 'A', 'T', 'A', '\r', '\n'};

static uint64_t tail_off(uint64_t size_bytes)
{
    return round_up(size_bytes, BLOCK_BYTES);
}

static void encode_tail(const struct map_stamp *stamp, unsigned char *p)
{
    uint32_t version = htole32(DATA_VERSION);
    uint64_t size = htole64(stamp->size_bytes);
    memset(p, 0, DATAFILE_TAIL_BYTES);
    memcpy(p, data_magic, sizeof(data_magic));
    memcpy(p + 8, &version, sizeof(version));
    memcpy(p + 16, stamp->overlay_id, 16);
    memcpy(p + 32, &size, sizeof(size));
}

/* The owner that the tail of a file of @file_bytes tells; false when there is no tail of that very size and version. */
static bool read_tail(int fd, uint64_t file_bytes, unsigned char ret_id[16])
{
    unsigned char p[40];
    uint32_t version;
    uint64_t size;
    if (file_bytes < DATAFILE_TAIL_BYTES || pread_full(fd, p, sizeof(p), file_bytes - DATAFILE_TAIL_BYTES) < 0)
        return false;
    memcpy(&version, p + 8, sizeof(version));
    memcpy(&size, p + 32, sizeof(size));
    if (memcmp(p, data_magic, sizeof(data_magic)) != 0 || le32toh(version) != DATA_VERSION ||
        le64toh(size) > file_bytes || tail_off(le64toh(size)) + DATAFILE_TAIL_BYTES != file_bytes)
        return false;
    memcpy(ret_id, p + 16, 16);
    return true;
}

int datafile_create(int dirfd, const char *name, const struct map_stamp *stamp, struct err *err)
{
    unsigned char tail[DATAFILE_TAIL_BYTES];
    encode_tail(stamp, tail);
    if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
        return err_sys(err, -errno, "cannot replace '%s'", name);
    _cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(err, -errno, "cannot make the overlay's data '%s'", name);
    uint64_t off = tail_off(stamp->size_bytes);
    int r = ftruncate(fd, (off_t)(off + sizeof(tail))) < 0 ? -errno : pwrite_full(fd, tail, sizeof(tail), off);
    if (r < 0)
        return err_sys(err, r, "cannot make the overlay's data '%s' of %llu bytes", name,
                       (unsigned long long)stamp->size_bytes);
    return take_fd(&fd);
}

static int check(int fd, const char *name, const struct map_stamp *stamp, struct err *err)
{
    static const char way_out[] = "put the file back from a backup, or drop the overlay with 'diskgate client reset'";
    uint64_t want = tail_off(stamp->size_bytes) + DATAFILE_TAIL_BYTES;
    unsigned char id[16];
    char text[UUID_LEN + 1];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_sys(err, -errno, "cannot read the overlay's data '%s'", name);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != want)
        return err_set(err, -EBADMSG, "the overlay's data '%s' has %llu bytes where %llu are expected; %s", name,
                       (unsigned long long)st.st_size, (unsigned long long)want, way_out);
    if (!read_tail(fd, want, id))
        return err_set(err, -EBADMSG, "the tail of the overlay's data '%s' is damaged; %s", name, way_out);
    uuid_encode(id, text);
    if (memcmp(id, stamp->overlay_id, sizeof(id)) != 0)
        return err_set(err, -EBADMSG, "the data '%s' belongs to another overlay (%s); %s", name, text, way_out);
    return 0;
}

int datafile_open(int dirfd, const char *name, const struct map_stamp *stamp, bool read_only, struct err *err)
{
    _cleanup_close_ int fd = openat(dirfd, name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, -EBADMSG,
                       "the overlay's data '%s' is missing; put the file back from a backup, or drop the overlay with "
                       "'diskgate client reset'",
                       name);
    if (fd < 0)
        return err_sys(err, -errno, "cannot open the overlay's data '%s'", name);
    int r = check(fd, name, stamp, err);
    return r < 0 ? r : take_fd(&fd);
}

bool datafile_owner(int dirfd, const char *name, unsigned char ret_id[16])
{
    struct stat st;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && read_tail(fd, (uint64_t)st.st_size, ret_id);
}

int datafile_mark_used(int fd, int dirfd)
{
    struct stat st;
    uint32_t flags = htole32(FLAG_USED);
    if (fstat(fd, &st) < 0)
        return -errno;
    int r = pwrite_full(fd, &flags, sizeof(flags), (uint64_t)st.st_size - DATAFILE_TAIL_BYTES + FLAGS_OFF);
    if (r < 0)
        return r;
    return fsync(fd) < 0 || fsync(dirfd) < 0 ? -errno : 0;
}

bool datafile_is_used(int dirfd, const char *name)
{
    uint32_t flags = 0;
    struct stat st;
    _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size < DATAFILE_TAIL_BYTES)
        return false;
    off_t tail = st.st_size - (off_t)DATAFILE_TAIL_BYTES, data = lseek(fd, 0, SEEK_DATA);
    if (pread_full(fd, &flags, sizeof(flags), (uint64_t)tail + FLAGS_OFF) == 0 && (le32toh(flags) & FLAG_USED))
        return true;
    return data >= 0 && data < tail; /* made by a release that did not mark */
}
