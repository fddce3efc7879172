/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recorder: everything that this program, and each library in it, does to the files of one folder goes into a log.
 *
 * It defines open, pwrite, fsync and their kin itself, so the calls of core and of SQLite come here first. A call is carried out
 * and logged under one lock: the log's order is the order in which things happened. A sync is logged twice, when it begins and when it
 * ended, with a pause in between in which others go on; what was logged before its beginning is durable after its end, no more.
 * Some calls and notes wait a little first, so that threads meet at all places, also where nothing else would stop them.
 *
 * The log lies in shared memory, so processes may be forked and killed while it grows.
 *
 * Threads: any number at once.
 */
#ifndef DISKGATE_TESTS_RECORD_H
#define DISKGATE_TESTS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum rec_kind {
    REC_CREATE, /* name of dir becomes file, an empty one */
    REC_MKDIR,  /* name of dir becomes file, an empty folder */
    REC_RENAME, /* name of dir becomes name2 of dir2 */
    REC_LINK,   /* name2 of dir2 is the file that name of dir is */
    REC_UNLINK, /* name of dir goes */
    REC_WRITE,  /* len bytes of data at off */
    REC_PUNCH,  /* len zeros at off */
    REC_SIZE,   /* the file has len bytes now */
    REC_SYNC_BEGIN,
    REC_SYNC_END, /* off: where the log has its beginning */
    REC_NOTE,     /* something that the workload says: its own numbers in note[] */
};

#define REC_NAME_LEN 47
#define REC_NOTES    6

struct rec {
    uint32_t kind, bytes; /* of the record with its data */
    uint64_t file, dir, dir2, off, len;
    union {
        struct {
            char name[REC_NAME_LEN + 1], name2[REC_NAME_LEN + 1];
        };
        uint64_t note[REC_NOTES];
    };
    unsigned char data[];
};

struct rec_log;

struct rec_log *rec_log_create(size_t max_bytes);
void rec_log_destroy(struct rec_log *l);

/* Number by which the log names this file or folder from now on; what is made in a folder that has one gets one by itself. */
uint64_t rec_track(struct rec_log *l, int fd, const char *name);

/* From now on, in this process. NULL ends it. */
void rec_start(struct rec_log *l);

/* Syncs of files whose name contains @part ("dir": of folders) are answered and not made. NULL = none. To see that the checker finds it. */
void rec_ignore_syncs(struct rec_log *l, const char *part);

void rec_note(uint64_t kind, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* Kill the process that makes the @n-th record of the kinds in @kinds (bit n = kind n) from now on, behind it. 0 = none. */
void rec_die_after(struct rec_log *l, uint32_t kinds, uint64_t n);
/* Kill this process, between two records. */
void rec_die(void) __attribute__((noreturn));
/* After such an end, before the next process. */
void rec_mend(struct rec_log *l);

/* The record at @pos and the position behind it in *next; NULL at the end. */
const struct rec *rec_at(const struct rec_log *l, size_t pos, size_t *next);

#endif
