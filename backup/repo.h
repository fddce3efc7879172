/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A repository: the folder that holds backups, and who may work in it.
 *
 * Order of calls:
 *   repo_init()                                  once
 *   repo_open(path, REPO_WRITE | REPO_READ)
 *     store_open() (store.h), set_*() (set.h), gc_run() (gc.h), ...
 *     repo_unlock()                              a reader, as soon as it has its manifests and the index
 *   repo_close()
 *
 * docs/backup-format.md has every file in it. Who holds what:
 *
 *   REPO_WRITE   backup, prune, repair: flock(lock, LOCK_EX) until repo_close(): one at a time. tmp/ is emptied at the beginning. A backup
 *                disturbs no reader; prune waits for them by repo_exclude_readers().
 *   REPO_READ    list, verify, restore, mount: flock(read.lock, LOCK_SH) until repo_unlock(). Packs never change, and what prune deletes it
 *                deletes one prune later: a long reader goes on without the lock.
 *
 * The lock dies with the process. Everything is reached through the folder that was opened first: a repository on a disk that
 * was unmounted meanwhile gives errors, never files in the bare mount point; repo_is_there() tells before a success is reported.
 *
 * Files inside are changed by two ways only: a whole new file (tmp/, fsync, rename, fsync of both folders), or one that nothing
 * refers to yet. So a crash at any point leaves the old or the new state.
 *
 * Threads: open and close one; what lies between any number.
 */
#ifndef DISKGATE_BACKUP_REPO_H
#define DISKGATE_BACKUP_REPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/names.h"

#define REPO_PACK_BYTES_DEFAULT (256ULL << 20)
#define REPO_PACK_BYTES_MIN     (256ULL << 10)
#define REPO_PACK_BYTES_MAX     (1ULL << 30)
#define REPO_RESERVE_BYTES      (64ULL << 20)
#define REPO_READERS_MS         60000 /* how long prune waits for those who read lists */

struct repo_params {
    uint32_t chunk_bytes; /* 0 = CHUNK_BYTES_DEFAULT */
    uint64_t pack_bytes;  /* a pack is closed when it has reached this; 0 = the default */
    bool has_no_reserve;  /* for tiny repositories in tests */
};

struct repo_format {
    char id[UUID_LEN + 1];
    uint32_t chunk_bytes;
    uint64_t pack_bytes;
    int64_t created_s;
};

enum repo_mode { REPO_READ, REPO_WRITE };

struct repo;

/* Make a repository in @path: a folder that does not exist yet (its parent does) or is empty. Everything is durable on return.
 * -EEXIST with a sentence when one is there already or the folder is in use by something else. */
int repo_init(const char *path, const struct repo_params *params, struct err *err);

/* Open one. @wait_ms: how long to wait for whoever has it; 0 = not at all, -1 = for ever. @verb goes into the lock file, so that the other
 * one can be named ("create").
 * -ENOMEDIUM, -EOPNOTSUPP (another version or hash), -EBADMSG (format file), -EBUSY, -EROFS (REPO_WRITE on a read-only disk); each
 * with a sentence. */
int repo_open(const char *path, enum repo_mode mode, int wait_ms, const char *verb, struct repo **ret, struct err *err);
void repo_close(struct repo *r); /* NULL is allowed */
static inline void repo_closep(struct repo **r)
{
    repo_close(*r);
}

/* Writers who delete or rename what is there: nobody begins to read until repo_close(). Again: nothing. -EBUSY with a sentence. */
int repo_exclude_readers(struct repo *r, int wait_ms, struct err *err);

/* Readers: give the lock back, keep the rest. Again: nothing. */
void repo_unlock(struct repo *r);

const struct repo_format *repo_format(const struct repo *r);
const char *repo_path(const struct repo *r); /* absolute */
/* The open top folder; borrowed until repo_close(). */
int repo_dirfd(const struct repo *r);
bool repo_can_write(const struct repo *r);

/* 0 while REPO's path still leads to the folder that was opened; -ENOMEDIUM with a sentence when the disk is gone or another one is there.
 * To be called before anything is reported as done. */
int repo_is_there(const struct repo *r, struct err *err);

/* Free the reserve, so that a full disk has room for prune, and take it again (as far as there is room). 0 or a negative errno. */
int repo_reserve_release(struct repo *r);
int repo_reserve_take(struct repo *r);

/* Whole small files: as file_replace(), through tmp/ and with the sentence. @name may hold one folder ("packs/00/x.toc"). */
int repo_file_put(struct repo *r, const char *name, const void *buf, size_t len, struct err *err);
/* Make folder @name below the top, durable in its parent; one that is there is fine. */
int repo_make_dir(struct repo *r, const char *name, struct err *err);
/* fsync of folder @name below the top ("." = the top). */
int repo_sync_dir(struct repo *r, const char *name, struct err *err);
/* Rename below the top, then fsync of the folder that it went to, then of the one that it came from. */
int repo_rename(struct repo *r, const char *from, const char *to, struct err *err);
/* Delete @name with all that is in it. A missing one is fine. */
int repo_remove(struct repo *r, const char *name, struct err *err);

#endif
