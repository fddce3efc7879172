/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a mounted repository shows, without FUSE (mount-fuse.h).
 *
 *   IMAGE/vN/disk.img   p1.img ...                    versions and their partitions
 *   clients/NAME/disk0.img   disk0.p1.img ...         clients' disks as their PCs see them: the overlay over its version
 *
 * of one set; or, where none is named, each set's in a folder of its name, and `latest` -> the newest one. Sets that come later are not
 * shown. Times are the set's, numbers of files come from their paths: the same in every mount, so that a client may be linked to such an
 * image for longer than one mount lasts.
 *
 * Manifests are read, and compared with SHA256SUMS, when a disk is first opened, and dropped when nobody has it open any more. Partitions are looked for when a folder is first
 * looked into.
 *
 * Threads: any number at once, but for create and destroy.
 */
#ifndef DISKGATE_BACKUP_MOUNT_H
#define DISKGATE_BACKUP_MOUNT_H

#include "backup/restore-reader.h"

struct mount;
struct mount_node;

enum mount_kind { MOUNT_DIR, MOUNT_FILE, MOUNT_LINK };

struct mount_info {
    enum mount_kind kind;
    uint64_t ino, size_bytes;
    int64_t time_s;
    const char *target; /* MOUNT_LINK */
};

/* @reader and @key_file are borrowed. @set may be NULL. @key_file: whose signature all sets that are shown must have, now and whenever a disk is
 * opened; may be NULL. */
int mount_create(struct reader *reader, const char *set, const char *key_file, struct mount **ret, struct err *err);
void mount_destroy(struct mount *m);
/* Before anything is read: threads begin here. 0 or -ENOMEM. */
int mount_start(struct mount *m);

/* NULL where there is nothing. */
const struct mount_node *mount_find(struct mount *m, const char *path);
void mount_stat(const struct mount_node *n, struct mount_info *ret);
/* Entries of a folder: number @i, NULL behind the last. */
const struct mount_node *mount_entry(struct mount *m, const struct mount_node *dir, size_t i, const char **ret_name);

/* 0 or a negative errno. */
int mount_open(const struct mount_node *n);
void mount_close(const struct mount_node *n);
/* Of an open file: bytes read, less at its end; -EIO and others, never wrong bytes. */
int64_t mount_read(const struct mount_node *n, void *buf, size_t len, uint64_t off);
/* As lseek(2) with SEEK_DATA and SEEK_HOLE. */
int64_t mount_seek(const struct mount_node *n, uint64_t off, bool want_data);

#endif
