/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sentences for errors; see err.h for the meaning of the numbers. */
#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap); /* a cut sentence is still a sentence */
        va_end(ap);
    }
    return code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        size_t n = strlen(err->msg);
        char text[128];
        (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", strerror_r(-code, text, sizeof(text)));
    }
    return code;
}

int err_prefix(struct err *err, int code, const char *fmt, ...)
{
    if (err) {
        char old[sizeof(err->msg)];
        memcpy(old, err->msg, sizeof(old));
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        va_end(ap);
        size_t n = strlen(err->msg);
        (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s", old);
    }
    return code;
}
