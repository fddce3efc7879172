/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files capture*.c share: one stream on its way into the set.
 *
 * Threads: one at a time.
 */
#ifndef DISKGATE_BACKUP_CAPTURE_PRIV_H
#define DISKGATE_BACKUP_CAPTURE_PRIV_H

#include "backup/capture.h"

struct stream {
    struct capture *c;
    struct source source;
    struct manifest_head head;
    struct manifest_writer *out;
    struct manifest_map *parent;        /* NULL: none */
    const struct changes_look *changes; /* with a parent that it fits: what did not change after `since` */
    uint32_t since;
    bool is_checking; /* all is read, and the change map compared */
    struct hash *whole;
    const char *bytes;   /* a stream in memory instead of a source */
    uint64_t data_until; /* from where we are to there is nothing but data */
    uint64_t same_until; /* likewise, nothing that changed after `since` */
};

void stream_finish(struct stream *s);

/* The newest set with this stream, and its manifest. 0 or a negative errno; it is no failure: without a parent everything is read. */
int stream_find_parent(const struct capture *c, const struct stream_id *id, struct set_info *ret_set,
                       struct manifest_map **ret);

/* What is true only once all is read. */
typedef int last_look(const struct stream *s, struct err *err);

/* All of it, chunk by chunk, and its manifest into the set. @look may be NULL. After a failure nothing of it is in the set. */
int stream_run(struct stream *s, last_look *look, struct err *err);

#endif
