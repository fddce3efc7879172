/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of configuration files: what is understood says the same when it is printed and read again; all else gets a sentence. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "core/ctl.h"
#include "gateway/configuration.h"

static struct config *read_again(json_t *o)
{
    struct err err = {""};
    struct config *f = NULL;
    _cleanup_free_ char *text = json_dumps(o, JSON_INDENT(2));
    must(text && config_read(text, strlen(text), "again", &f, &err) == 0);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_(config_destroyp) struct config *f = NULL, *g = NULL;
    _cleanup_json_ json_t *a = NULL, *b = NULL;
    struct err err = {""};
    int r = config_read((const char *)data, len, "input", &f, &err);
    must(r == 0 || ((r == -EINVAL || r == -EOPNOTSUPP) && err.msg[0]));
    if (r < 0)
        return 0;
    must(config_json(f, true, &a, &err) == 0);
    g = read_again(a);
    must(config_json(g, true, &b, &err) == 0 && json_equal(a, b));
    return 0;
}
