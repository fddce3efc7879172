/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things that every file needs: scoped cleanup, range arithmetic, complete reads and writes.
 *
 * Threads: any number at once; nothing here keeps state.
 */
#ifndef DISKGATE_CORE_UTIL_H
#define DISKGATE_CORE_UTIL_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/err.h"

#define KiB 1024ULL
#define MiB (1024ULL * KiB)
#define GiB (1024ULL * MiB)
#define TiB (1024ULL * GiB)

#define SECTOR_BYTES 512ULL

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

/* True in a program that AddressSanitizer or ThreadSanitizer watches. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

/* --- scoped cleanup ---------------------------------------------------------------------------------------------- */

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void closep(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* nothing was written through it that was not synced before */
}

static inline void fclosep(FILE **f)
{
    if (*f)
        (void)fclose(*f); /* readers only */
}

static inline void closedirp(DIR **d)
{
    if (*d)
        (void)closedir(*d); /* readers only */
}

#define _cleanup_free_     _cleanup_(freep)
#define _cleanup_close_    _cleanup_(closep)
#define _cleanup_fclose_   _cleanup_(fclosep)
#define _cleanup_closedir_ _cleanup_(closedirp)

/* Give the owned fd or pointer away: returns it and leaves -1 or NULL behind. */
static inline int take_fd(int *fd)
{
    int ret = *fd;
    *fd = -1;
    return ret;
}

#define take_ptr(p)                                                                                                    \
    ({                                                                                                                 \
        __typeof__(p) take_ptr_ret = (p);                                                                              \
        (p) = NULL;                                                                                                    \
        take_ptr_ret;                                                                                                  \
    })

/* --- numbers from outside ---------------------------------------------------------------------------------------- */

/* True if [off, off + len) lies within [0, size) without overflow. */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* *ret = a * b; false on overflow. */
static inline bool mul_ok(uint64_t a, uint64_t b, uint64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static inline uint64_t round_down(uint64_t n, uint64_t unit)
{
    return n / unit * unit;
}

/* --- complete I/O ------------------------------------------------------------------------------------------------ */

/* Read exactly @len bytes at @off. 0; -EIO when the file ends before; a negative errno of pread. */
int pread_full(int fd, void *buf, size_t len, uint64_t off);

/* Write exactly @len bytes at @off. 0 or a negative errno of pwrite. */
int pwrite_full(int fd, const void *buf, size_t len, uint64_t off);

/* Write exactly @len bytes to a stream-like fd. 0 or a negative errno. */
int write_full(int fd, const void *buf, size_t len);

/* True if the @len bytes at @buf are all zero. */
bool is_zero(const void *buf, size_t len);

/* --- whole files ------------------------------------------------------------------------------------------------- */

/* Replace file @name in folder @dirfd by @len bytes: temp in the same folder, write, fsync, rename, fsync of the folder.
 * After a power cut the file is either the old or the new one. 0 or a negative errno; on failure the old file stays. */
int file_replace(int dirfd, const char *name, const void *buf, size_t len, unsigned mode);

/* Read a file of at most @max bytes into a fresh, zero-terminated buffer. @ret_len may be NULL.
 * 0; -EFBIG when it is larger; a negative errno of open or read. */
int file_read(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len);

/* Make folder @path and its missing parents. 0 or a negative errno. */
int make_dirs(const char *path, unsigned mode);

/* @now as ISO 8601 in UTC, "2026-01-31T12:00:00Z". @buf holds at least 24 bytes. */
void time_text(char *buf, size_t len, int64_t unix_s);

#endif
