/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From paths to answers, and one line in the log for each boot event.
 *
 * The log is bounded in time: a flood of refusals leaves LOG_LINES lines a minute and a count of the rest.
 */
#include "gateway/boot-http.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "core/json.h"
#include "core/log.h"
#include "core/util.h"
#include "gateway/boot.h"
#include "gateway/http.h"

#define BOOT_PATH "/boot/"
#define LOG_LINES 60

struct boot_http {
    struct http *http;
    char root[PATH_MAX];
    char tag[16];
    int64_t minute; /* of the log lines that are counted; the worker's, as the next two */
    unsigned lines, dropped;
};

static void answer_text(struct http_answer *ret, const char *text)
{
    ret->type = "text/plain; charset=utf-8";
    if (asprintf(&ret->body, "%s\n", text) < 0)
        ret->body = NULL;
}

static bool is_boot_path(const char *path)
{
    return strncmp(path, BOOT_PATH, strlen(BOOT_PATH)) == 0;
}

/* --- log --------------------------------------------------------------------------------------------------------- */

static bool may_log(struct boot_http *b)
{
    int64_t minute = (int64_t)time(NULL) / 60;
    if (minute != b->minute) {
        if (b->dropped > 0)
            log_warn("%u more requests were refused within a minute", b->dropped);
        b->minute = minute;
        b->lines = b->dropped = 0;
    }
    if (b->lines++ < LOG_LINES)
        return true;
    b->dropped++;
    return false;
}

/* What came from the network becomes one line of plain text. */
static void plain(const char *text, char *ret, size_t max)
{
    size_t n = 0;
    for (; *text && n + 1 < max; text++)
        ret[n++] = *text == '\n' ? ' ' : *text < ' ' || *text > '~' ? '?' : *text;
    ret[n] = 0;
}

static void tell(struct boot_http *b, const char *mac, const char *address, const char *refusal)
{
    char who[40], why[512];
    plain(mac, who, sizeof(who));
    plain(refusal, why, sizeof(why));
    if (!*why)
        log_info("boot of %s at %s: script sent", who, address);
    else if (may_log(b))
        log_info("boot of %s at %s refused: %s", who, address, why);
}

/* --- handlers ---------------------------------------------------------------------------------------------------- */

static void handle(void *arg, const char *path, const char *address, struct http_answer *ret)
{
    struct boot_http *b = arg;
    const char *mac = path + strlen(BOOT_PATH);
    struct err err = {0};
    ret->type = "text/plain; charset=utf-8";
    if (boot_event(b->root, mac, address, &ret->body, &err) < 0) {
        log_error("boot of a PC at %s: memory is out", address);
        return;
    }
    tell(b, mac, address, err.msg);
}

static void refuse(void *arg, const char *path, const char *sentence, struct http_answer *ret)
{
    ret->type = "text/plain; charset=utf-8";
    if (!is_boot_path(path))
        answer_text(ret, sentence);
    else if (boot_script_refuse(sentence, NULL, 0, &ret->body) < 0)
        ret->body = NULL;
}

static bool quick(void *arg, const char *path, struct http_answer *ret)
{
    const struct boot_http *b = arg;
    if (strcmp(path, BOOT_PATH) == 0) {
        ret->type = "text/plain; charset=utf-8";
        if (boot_script_first_card(&ret->body) < 0)
            ret->body = NULL;
        return true;
    }
    if (is_boot_path(path))
        return false;
    if (strcmp(path, "/status") == 0) {
        _cleanup_json_ json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "program", "diskgated", "version",
                                             DISKGATE_VERSION, "tag", b->tag, "pid", (int)getpid());
        ret->type = "application/json";
        ret->body = j ? json_dumps(j, JSON_COMPACT) : NULL;
        return true;
    }
    ret->status = 404;
    answer_text(ret, "this is the boot service of Diskgate; PCs ask for /boot/MAC");
    return true;
}

int boot_http_start(const char *root, const char *tag, const char *address, unsigned port, struct boot_http **ret,
                    struct err *err)
{
    struct boot_http *b = calloc(1, sizeof(*b));
    if (!b)
        return err_sys(err, -ENOMEM, "cannot serve the boot scripts");
    (void)snprintf(b->root, sizeof(b->root), "%s", root); /* fits */
    (void)snprintf(b->tag, sizeof(b->tag), "%s", tag);    /* fits */
    struct http_options o = {
        .address = address, .port = port, .handle = handle, .quick = quick, .refuse = refuse, .arg = b};
    int r = http_start(&o, &b->http, err);
    if (r < 0) {
        free(b);
        return r;
    }
    *ret = b;
    return 0;
}

void boot_http_stop(struct boot_http *b)
{
    if (!b)
        return;
    http_stop(b->http);
    free(b);
}
