/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reports as JSON objects. */
#include "gateway/report.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_LEN 2048

json_t *report_new(void)
{
    return json_pack("{s:[], s:[]}", "problems", "changes");
}

static bool has_problem(const json_t *list, const char *what, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(row, "what")), what) == 0 &&
            strcmp(json_string_value(json_object_get(row, "problem")), text) == 0)
            return true;
    }
    return false;
}

void report_problem(json_t *report, const char *what, const char *fmt, ...)
{
    char text[LINE_LEN];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap); /* a cut sentence is still a sentence */
    va_end(ap);
    json_t *list = json_object_get(report, "problems");
    if (list && !has_problem(list, what, text))
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "problem", text)); /* see report.h */
}

void report_change(json_t *report, const char *fmt, ...)
{
    char text[LINE_LEN];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_t *changes = json_object_get(report, "changes");
    for (size_t i = 0; i < json_array_size(changes); i++)
        if (strcmp(json_string_value(json_array_get(changes, i)), text) == 0)
            return;                                          /* said in an earlier round */
    (void)json_array_append_new(changes, json_string(text)); /* see report.h */
}

size_t report_problems(const json_t *report)
{
    return json_array_size(json_object_get(report, "problems"));
}
