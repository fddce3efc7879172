/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reader: chunks of a repository for work that takes long: verify, restore, mount, export.
 *
 * It holds the repository's lock while it is opened and until reader_unlock(), no longer: no backup waits for a restore. A prune that runs
 * meanwhile moves chunks into other packs. So a chunk that is not where the index says is looked for again in an index of the packs as
 * they are now, if they are not those that were there before; only what is missing then is damage.
 *
 * Threads: any number at once, each with a worker of its own; open, unlock and close one.
 */
#ifndef DISKGATE_BACKUP_RESTORE_READER_H
#define DISKGATE_BACKUP_RESTORE_READER_H

#include "backup/store.h"

struct reader;
struct reader_worker;

/* @wait_ms as of repo_open(). Errors of repo_open() and store_open(). */
int reader_open(const char *path, const char *verb, int wait_ms, struct reader **ret, struct err *err);
void reader_unlock(struct reader *r);
void reader_close(struct reader *r); /* NULL is allowed */
static inline void reader_closep(struct reader **r)
{
    reader_close(*r);
}
struct repo *reader_repo(const struct reader *r); /* borrowed */
/* The index as it is now, with what is wrong with it; borrowed until the next reader_get(). */
struct index *reader_index(const struct reader *r);

/* NULL without memory. Workers end before reader_close(). */
struct reader_worker *reader_worker_create(struct reader *r);
void reader_worker_destroy(struct reader_worker *w);
static inline void reader_worker_destroyp(struct reader_worker **w)
{
    reader_worker_destroy(*w);
}

/* As store_get(); with @ret also the SHA-256 was compared. */
int reader_get(struct reader_worker *w, const struct chunk_name *name, void *buf, struct chunk_ref *ret,
               struct err *err);
/* By the index alone: 0 and *ret; -ENOENT. */
int reader_has(struct reader *r, const struct chunk_name *name, struct chunk_ref *ret);

#endif
