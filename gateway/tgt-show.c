/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parser of tgtadm's listing (tgt 1.0.85; Source: runs of it). Indentation is four blanks a level:
 *
 *   Target 5: IQN
 *       System information:                      Driver, State, ...
 *       I_T nexus information:
 *           I_T nexus: 2                         one for each session
 *               Initiator: NAME alias: ALIAS     a name may hold line breaks (see tgt-show.h)
 *               Connection: 0
 *                   IP Address: 127.0.0.1
 *       LUN information:
 *           LUN: 1
 *               Type: disk                       and other "Key: value" lines; unknown ones are skipped
 *       Account information:
 *           USER                                 or "USER (outgoing)"
 *       ACL information:
 *           ADDRESS, ALL or INITIATOR NAME
 *
 * Each section is there, once, in this order. A session's whole text is cut to 1 KiB by tgtd, which may swallow the newline behind it.
 */
#include "gateway/tgt-show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/util.h"

enum section { SEC_TARGET, SEC_SYSTEM, SEC_NEXUS, SEC_LUN, SEC_ACCOUNT, SEC_ACL };

static const char *const section_names[] = {
    [SEC_SYSTEM] = "System information:",   [SEC_NEXUS] = "I_T nexus information:", [SEC_LUN] = "LUN information:",
    [SEC_ACCOUNT] = "Account information:", [SEC_ACL] = "ACL information:",
};

static void strings_free(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

static void target_finish(struct tgt_target *t)
{
    for (size_t i = 0; i < t->n_sessions; i++) {
        free(t->sessions[i].initiator);
        free(t->sessions[i].address);
    }
    for (size_t i = 0; i < t->n_luns; i++) {
        free(t->luns[i].sn);
        free(t->luns[i].path);
        free(t->luns[i].bstype);
    }
    free(t->sessions);
    free(t->luns);
    free(t->name);
    strings_free(t->accounts, t->n_accounts);
    strings_free(t->acls, t->n_acls);
}

void tgt_state_finish(struct tgt_state *s)
{
    for (size_t i = 0; i < s->n_targets; i++)
        target_finish(&s->targets[i]);
    free(s->targets);
    strings_free(s->accounts, s->n_accounts);
    *s = (struct tgt_state){0};
}

/* Make room for one more element and return it zeroed; NULL without memory. Grows at powers of two. */
static void *grow(void *list_ptr, size_t *n, size_t item)
{
    void *list;
    memcpy(&list, list_ptr, sizeof(list));
    if ((*n & (*n - 1)) == 0) {
        list = reallocarray(list, *n ? *n * 2 : 1, item);
        if (!list)
            return NULL;
        memcpy(list_ptr, &list, sizeof(list));
    }
    return memset((char *)list + (*n)++ * item, 0, item);
}

/* A copy of @text that is safe to print. */
static char *clean_dup(const char *text, size_t len)
{
    char *ret = strndup(text, len);
    for (char *p = ret; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    return ret;
}

static int replace(char **field, const char *text)
{
    free(*field);
    *field = clean_dup(text, strlen(text));
    return *field ? 0 : -ENOMEM;
}

static int add_string(char ***list, size_t *n, const char *text)
{
    char **s = grow(list, n, sizeof(*s));
    return s ? replace(s, text) : -ENOMEM;
}

/* "PREFIX" and a decimal number that ends at @stop. */
static bool number_after(const char *text, const char *prefix, char stop, uint64_t *ret, const char **ret_rest)
{
    size_t len = strlen(prefix);
    if (strncmp(text, prefix, len) != 0 || text[len] < '0' || text[len] > '9')
        return false;
    char *end;
    errno = 0;
    *ret = strtoull(text + len, &end, 10);
    if (errno || *end != stop)
        return false;
    if (ret_rest)
        *ret_rest = end;
    return true;
}

static const char *value_after(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

const struct tgt_target *tgt_find(const struct tgt_state *s, int64_t tid)
{
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i].tid == tid)
            return &s->targets[i];
    return NULL;
}

const struct tgt_lun *tgt_find_lun(const struct tgt_target *t, uint64_t lun)
{
    for (size_t i = 0; i < t->n_luns; i++)
        if (t->luns[i].lun == lun)
            return &t->luns[i];
    return NULL;
}

bool tgt_has(char *const *list, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

struct parser {
    struct tgt_state *state;
    struct tgt_target *target; /* the one that is being read; NULL before the first */
    enum section section;
};

static int parse_target(struct parser *p, const char *text)
{
    uint64_t tid;
    const char *rest;
    if (!number_after(text, "Target ", ':', &tid, &rest) || tid > INT64_MAX || rest[1] != ' ')
        return -EBADMSG;
    if ((p->target && p->section != SEC_ACL) || tgt_find(p->state, (int64_t)tid))
        return -EBADMSG;
    p->target = grow(&p->state->targets, &p->state->n_targets, sizeof(*p->target));
    if (!p->target)
        return -ENOMEM;
    p->target->tid = (int64_t)tid;
    p->section = SEC_TARGET;
    return replace(&p->target->name, rest + 2);
}

static int parse_section(struct parser *p, const char *text)
{
    if (p->section == SEC_ACL || strcmp(text, section_names[p->section + 1]) != 0)
        return -EBADMSG;
    p->section++;
    return 0;
}

static struct tgt_session *last_session(struct tgt_target *t)
{
    return t->n_sessions ? &t->sessions[t->n_sessions - 1] : NULL;
}

static int add_session(struct tgt_target *t, uint64_t sid, const char *initiator)
{
    _cleanup_free_ char *name = strdup(initiator); /* may belong to the list that moves now */
    struct tgt_session *s = name ? grow(&t->sessions, &t->n_sessions, sizeof(*s)) : NULL;
    if (!s)
        return -ENOMEM;
    s->sid = sid;
    s->cid = -1;
    return replace(&s->initiator, name) < 0 || replace(&s->address, "") < 0 ? -ENOMEM : 0;
}

static int parse_connection(struct tgt_target *t, uint64_t cid)
{
    struct tgt_session *s = last_session(t);
    if (cid > UINT16_MAX)
        return -EBADMSG;
    if (s->cid >= 0) {
        int r = add_session(t, s->sid, s->initiator);
        if (r < 0)
            return r;
        s = last_session(t);
    }
    s->cid = (int64_t)cid;
    return 0;
}

static int parse_nexus(struct tgt_target *t, size_t level, const char *text)
{
    uint64_t n;
    const char *v;
    struct tgt_session *s = last_session(t);
    if (level == 2 && number_after(text, "I_T nexus: ", 0, &n, NULL)) {
        for (size_t i = 0; i < t->n_sessions; i++)
            if (t->sessions[i].sid == n)
                return -EBADMSG;
        return add_session(t, n, "");
    }
    if (!s)
        return -EBADMSG;
    if (level == 3 && (v = value_after(text, "Initiator: "))) {
        const char *alias = strstr(v, " alias: ");
        if (!alias || *s->initiator)
            return -EBADMSG;
        free(s->initiator);
        s->initiator = clean_dup(v, (size_t)(alias - v));
        return s->initiator ? 0 : -ENOMEM;
    }
    if (level == 3 && number_after(text, "Connection: ", 0, &n, NULL))
        return parse_connection(t, n);
    if (level == 4 && s->cid >= 0 && (v = value_after(text, "IP Address: ")))
        return replace(&s->address, v);
    return -EBADMSG;
}

static int parse_lun(struct tgt_target *t, size_t level, const char *text)
{
    uint64_t n;
    const char *v;
    if (level == 2 && number_after(text, "LUN: ", 0, &n, NULL)) {
        struct tgt_lun *l = tgt_find_lun(t, n) ? NULL : grow(&t->luns, &t->n_luns, sizeof(*l));
        if (!l)
            return -EBADMSG;
        l->lun = n;
        return replace(&l->sn, "") < 0 || replace(&l->path, "") < 0 || replace(&l->bstype, "") < 0 ? -ENOMEM : 0;
    }
    if (level != 3 || t->n_luns == 0)
        return -EBADMSG;
    struct tgt_lun *l = &t->luns[t->n_luns - 1];
    if ((v = value_after(text, "Type: ")))
        l->is_disk = strcmp(v, "disk") == 0;
    else if ((v = value_after(text, "SCSI SN: ")))
        return replace(&l->sn, v);
    else if (number_after(text, "Size: ", ' ', &n, NULL))
        l->size_mb = n;
    else if ((v = value_after(text, "Online: ")))
        l->is_online = strcmp(v, "Yes") == 0;
    else if ((v = value_after(text, "Thin-provisioning: ")))
        l->is_thin = strcmp(v, "Yes") == 0;
    else if ((v = value_after(text, "Backing store type: ")))
        return replace(&l->bstype, v);
    else if ((v = value_after(text, "Backing store path: ")))
        return replace(&l->path, v);
    return strchr(text, ':') ? 0 : -EBADMSG;
}

static int parse_account(struct tgt_target *t, const char *text)
{
    static const char outgoing[] = " (outgoing)";
    size_t len = strlen(text);
    if (len > strlen(outgoing) && strcmp(text + len - strlen(outgoing), outgoing) == 0)
        return 0;
    return add_string(&t->accounts, &t->n_accounts, text);
}

static int parse_line(struct parser *p, const char *line)
{
    size_t blanks = strspn(line, " "), level = blanks / 4;
    const char *text = line + blanks;
    if (level == 0)
        return parse_target(p, line);
    if (blanks % 4 != 0 || !p->target || *text == 0)
        return -EBADMSG;
    if (level == 1)
        return parse_section(p, text);
    switch (p->section) {
    case SEC_NEXUS:
        return parse_nexus(p->target, level, text);
    case SEC_LUN:
        return parse_lun(p->target, level, text);
    case SEC_ACCOUNT:
        return level == 2 ? parse_account(p->target, text) : -EBADMSG;
    case SEC_ACL:
        return level == 2 ? add_string(&p->target->acls, &p->target->n_acls, text) : -EBADMSG;
    case SEC_SYSTEM:
        return level == 2 ? 0 : -EBADMSG;
    case SEC_TARGET:
        break;
    }
    return -EBADMSG;
}

int tgt_show_parse(const char *text, struct tgt_state *ret, struct err *err)
{
    _cleanup_free_ char *copy = strdup(text);
    if (!copy)
        return err_sys(err, -ENOMEM, "cannot read tgtd's list of targets");
    struct parser p = {.state = ret};
    size_t number = 0;
    for (char *line = copy, *next; *line; line = next) {
        size_t len = strcspn(line, "\n");
        next = line + len + (line[len] == '\n');
        line[len] = 0;
        number++;
        int r = parse_line(&p, line);
        if (r == -ENOMEM)
            return err_sys(err, r, "cannot read tgtd's list of targets");
        if (r < 0)
            return err_set(err, r, "line %zu of tgtd's list of targets is not understood: '%.80s'", number, line);
    }
    if (p.target && p.section != SEC_ACL)
        return err_set(err, -EBADMSG, "tgtd's list of targets ends in the middle of target %lld",
                       (long long)p.target->tid);
    return 0;
}

int tgt_accounts_parse(const char *text, struct tgt_state *ret, struct err *err)
{
    for (const char *line = text, *next; *line; line = next) {
        size_t len = strcspn(line, "\n");
        next = line + len + (line[len] == '\n');
        if (len <= 4 || strncmp(line, "    ", 4) != 0)
            continue;
        char **s = grow(&ret->accounts, &ret->n_accounts, sizeof(*s));
        if (!s || !(*s = clean_dup(line + 4, len - 4))) {
            ret->n_accounts -= s ? 1 : 0;
            return err_sys(err, -ENOMEM, "cannot read tgtd's list of accounts");
        }
    }
    return 0;
}

/* "Backing stores:", and below it "    NAME" or "    NAME (bsoflags ...)". */
bool tgt_store_parse(const char *text, const char *name)
{
    bool is_in = false;
    for (const char *line = text, *next; *line; line = next) {
        size_t len = strcspn(line, "\n"), blanks = strspn(line, " ");
        next = line + len + (line[len] == '\n');
        if (blanks == 0)
            is_in = strncmp(line, "Backing stores:", len) == 0;
        else if (is_in && strcspn(line + blanks, " \n") == strlen(name) &&
                 strncmp(line + blanks, name, strlen(name)) == 0)
            return true;
    }
    return false;
}

size_t tgt_conn_parse(const char *text, struct tgt_conn *ret, size_t max, bool *ret_is_odd)
{
    size_t n = 0;
    uint64_t sid = 0, number;
    bool has_session = false;
    *ret_is_odd = false;
    for (const char *line = text, *next; *line; line = next) {
        char part[64];
        size_t len = strcspn(line, "\n");
        next = line + len + (line[len] == '\n');
        size_t cut = MIN(len, sizeof(part) - 1);
        memcpy(part, line, cut);
        part[cut] = 0;
        if (number_after(part, "Session: ", 0, &number, NULL)) {
            sid = number;
            has_session = true;
        } else if (has_session && number_after(part, "    Connection: ", 0, &number, NULL)) {
            if (n < max)
                ret[n++] = (struct tgt_conn){sid, number};
        } else if (!value_after(part, "        Initiator: ") && !value_after(part, "        IP Address: ")) {
            *ret_is_odd = true;
        }
    }
    return n;
}
