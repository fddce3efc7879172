/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzing of tgtadm's listings, which an initiator may write into: no text is taken for more than one target of a number. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "gateway/tgt-show.h"

static void check_target(const struct tgt_state *s, const struct tgt_target *t)
{
    must(t->name && tgt_find(s, t->tid) == t);
    for (size_t i = 0; i < t->n_luns; i++)
        must(tgt_find_lun(t, t->luns[i].lun) == &t->luns[i]);
    for (size_t i = 0; i < t->n_sessions; i++)
        must(t->sessions[i].initiator && t->sessions[i].address);
    for (size_t i = 0; i < t->n_acls; i++)
        must(tgt_has(t->acls, t->n_acls, t->acls[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_free_ char *text = malloc(len + 1);
    struct tgt_state s = {0};
    struct tgt_conn conns[8];
    struct err err = {""};
    bool is_odd;
    must(text);
    memcpy(text, data, len);
    text[len] = 0;
    int r = tgt_show_parse(text, &s, &err);
    must(r == 0 || (r == -EBADMSG && err.msg[0]));
    for (size_t i = 0; r == 0 && i < s.n_targets; i++)
        check_target(&s, &s.targets[i]);
    tgt_state_finish(&s);
    s = (struct tgt_state){0};
    err.msg[0] = 0;
    r = tgt_accounts_parse(text, &s, &err);
    must(r == 0 || (r == -EBADMSG && err.msg[0]));
    tgt_state_finish(&s);
    must(tgt_conn_parse(text, conns, ARRAY_SIZE(conns), &is_odd) <= ARRAY_SIZE(conns));
    return 0;
}
