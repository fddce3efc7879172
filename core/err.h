/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors: a negative errno for the program, one sentence for the administrator.
 *
 * Functions return 0 (or a count) or a negative errno with one meaning each:
 *
 *   -EINVAL      bad input: a name, number, MAC or option that cannot be
 *   -ENOENT      the named thing does not exist
 *   -EEXIST      the name or MAC is taken
 *   -EBUSY       claimed or used by another
 *   -EBADMSG     damaged data: a check sum, a magic or a bound does not hold
 *   -EOPNOTSUPP  a format, version or feature that this build does not know
 *   -ESTALE      what lies below is not what it was: changed image, overlay of another base, revoked view
 *   -EOWNERDEAD  a volatile overlay whose map went with the machine's power while its client wrote
 *   -EROFS       write to a read-only view
 *   -ENOSPC      no room, or a write beyond the end of a disk
 *   -EIO         the device said so
 *   -ECANCELED   another thread gave up what this one waited for
 *
 * Cold paths take a last parameter `struct err *err` and leave one sentence there: the thing, what is wrong, the way out.
 * Hot paths return the number alone. Bad input is never an assert.
 *
 * Threads: a struct err belongs to its caller.
 */
#ifndef DISKGATE_CORE_ERR_H
#define DISKGATE_CORE_ERR_H

struct err {
    char msg[1024];
};

/* Store the sentence in @err (NULL is allowed: the sentence is dropped) and return @code, a negative errno. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set(), with ": " and the text of @code's errno behind the sentence. */
int err_sys(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the sentence that @err holds. Returns @code. */
int err_prefix(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
