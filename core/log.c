/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages to stderr; see log.h for the forms of a line.
 *
 * Whether stderr is the journal is decided by JOURNAL_STREAM, as systemd.exec(5) says: it names device and inode of the journal's
 * stream, and only when stderr is that very stream do priorities make sense. INVOCATION_ID alone proves nothing: it is inherited by a
 * program whose stderr was redirected to a file.
 */
#include "core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/util.h"

/* Option values of main. */
static const char *log_program = "diskgate";
static _Atomic int log_level = LOG_LEVEL_INFO;
static unsigned log_flags;
static bool log_is_journal;

static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;
    if (!text || sscanf(text, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st) < 0)
        return false;
    return st.st_dev == dev && st.st_ino == ino;
}

void log_init(const char *program, enum log_level level, unsigned flags)
{
    int saved = errno;
    log_program = program;
    log_flags = flags;
    log_is_journal = stderr_is_journal();
    log_set_level(level);
    errno = saved;
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* All that stands before the message. Returns its length, which always fits. */
static size_t prefix_text(char *buf, size_t size, enum log_level level, const char *module)
{
    static const int priorities[] = {3, 4, 6, 7}; /* Source: syslog(3), sd-daemon(3) */
    char stamp[32] = "";
    if (log_is_journal) {
        (void)snprintf(buf, size, "<%d>%.32s%s", priorities[level], module ? module : "", module ? ": " : "");
        return strlen(buf);
    }
    if (log_flags & LOG_STAMP) {
        time_text(stamp, sizeof(stamp) - 1, time(NULL));
        strcat(stamp, " ");
    }
    (void)snprintf(buf, size, "%s%.64s: %s%.32s%s", stamp, log_program, level == LOG_LEVEL_WARN ? "warning: " : "",
                   module ? module : "", module ? ": " : "");
    return strlen(buf);
}

/* A message that holds a line break or another control character (from a foreign file name) stays one line. */
static void keep_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    if (!log_wants(level))
        return;
    int saved = errno;
    char line[2048];
    size_t n = prefix_text(line, sizeof(line) - 1, level, module);
    va_list ap;
    va_start(ap, fmt);
    errno = saved;                                            /* for %m */
    (void)vsnprintf(line + n, sizeof(line) - 1 - n, fmt, ap); /* a cut message is still a message */
    va_end(ap);
    keep_one_line(line + n);
    n = strlen(line);
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored; /* there is no place left to report it to */
    errno = saved;
}
