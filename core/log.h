/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of the programs: one line each, to stderr only.
 *
 *   main:     log_init("diskgate-fs", LOG_LEVEL_INFO, LOG_STAMP)
 *   anywhere: log_error("cannot extend '%s': %s", path, text)       failures that cost something
 *             log_warn("cannot read '%s': %s, retrying", ...)       failures that we survive
 *             log_info("view of '%s' attached", ...)                what an administrator wants to see
 *             log_debug("ctl", "request of process %d", ...)        only at LOG_LEVEL_DEBUG; arguments are not evaluated without
 *
 * A message is lower case, without a full stop, with paths in single quotes. It is written as
 *
 *   diskgate-fs: MESSAGE                              a terminal, a pipe, a file
 *   2026-01-31T12:00:00Z diskgate-fs: MESSAGE         with LOG_STAMP: a daemon whose stderr is a log file
 *   <3>MESSAGE                                        stderr is the journal: sd-daemon(3) priority, the journal adds the rest
 *   diskgate-fs: warning: MESSAGE                     warnings say so wherever there is no priority; debug lines name their module
 *
 * core's other files do not log: they return a number and a sentence, and the program decides. Exceptions are threads that core
 * itself runs (ctl-server.c) and debug lines.
 *
 * Each message is one write(2), so lines of several threads and processes never mix. A message that cannot be written is dropped
 * (a daemon ignores SIGPIPE, or the death of whoever reads its stderr would be its own).
 * errno is preserved. The state is option values of main, set before threads begin; the level may change at any time.
 *
 * Threads: any number at once; log_init() before start.
 */
#ifndef DISKGATE_CORE_LOG_H
#define DISKGATE_CORE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

#define LOG_STAMP 1U /* lines begin with the time */

/* @program is borrowed for the life of the process. Without a call: "diskgate", level info, no stamp. */
void log_init(const char *program, enum log_level level, unsigned flags);

/* Quietest level that is still written. */
void log_set_level(enum log_level level);

/* True if messages of @level are written. */
bool log_wants(enum log_level level);

/* Use the macros below. @module may be NULL. */
void log_write(enum log_level level, const char *module, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, NULL, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(module, ...)                                                                                         \
    do {                                                                                                               \
        if (__builtin_expect(log_wants(LOG_LEVEL_DEBUG), 0))                                                           \
            log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__);                                                           \
    } while (0)

#endif
