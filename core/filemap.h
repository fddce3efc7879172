/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file mapped read-only, and which of its blocks were in memory when they were last read: so that bytes can be handed on
 * straight from the page cache, without a copy, by threads that must not wait for a disk.
 *
 * Nobody tells who does not own a file what of it is in memory (mincore() says "all" to others). So what was read without waiting is
 * believed to be there for a while: filemap_note() after such a read, filemap_at() before the next one. The kernel may have dropped
 * the page in between. Then whoever uses the pointer waits for the disk once, and says so with filemap_forget().
 *
 * (1) What is behind a pointer is what pread() would give at that moment: the mapping is shared.
 * (2) Only the kernel should read there, as the source of a write(): of a file that was cut off it says EFAULT, where a program gets
 *     SIGBUS.
 * (3) All of the file is there each time that a pointer is given; of one that was cut off none is. So a page that has its end in the middle
 *     does not turn into zeros where pread() would be short.
 *
 * Threads: any number at once, for all but filemap_destroy().
 */
#ifndef DISKGATE_CORE_FILEMAP_H
#define DISKGATE_CORE_FILEMAP_H

#include <stddef.h>
#include <stdint.h>

struct filemap;

/* The first @bytes of @fd, which is borrowed until the end. NULL when it cannot be, or when its file system may show a mapping other bytes
 * than a read (a network's): then there is nothing to destroy either, and all below may be called with NULL. */
struct filemap *filemap_create(int fd, uint64_t bytes);
void filemap_destroy(struct filemap *m);

/* Address of [off, off + len), good until the end; NULL when some of it may not be in memory. Within the file. */
const void *filemap_at(struct filemap *m, uint64_t off, size_t len);

/* [off, off + len) was read without waiting just now. */
void filemap_note(struct filemap *m, uint64_t off, size_t len);

/* Read [off, off + len) and keep it in memory until filemap_unpin(), or the end. Waits for the disk. 0; -EOPNOTSUPP with NULL; -ENOMEM or -EPERM
 * when the process may not lock so much memory; -EIO. Each block has one pin. */
int filemap_pin(struct filemap *m, uint64_t off, size_t len);
void filemap_unpin(struct filemap *m, uint64_t off, size_t len);

/* Nothing is known any more. */
void filemap_forget(struct filemap *m);

#endif
