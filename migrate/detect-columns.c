/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which columns of one table mean what.
 *
 * Every role has a function that gives a column 0 (cannot be) or a score: what the content says, 0..1, plus what the name says, at most 0.2.
 * The best column takes the role if it is LEAD before the next. Otherwise it is a question for the roles that must be right (mac, name, ip,
 * image); a role that may stay empty stays empty, with a remark. Columns that have a role take no second one, so the order of roles counts:
 * those that content alone decides come first, the name last.
 */
#include "migrate/mapping-priv.h"

#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/hints.h"
#include "migrate/text.h"

#define LEAD 0.15

typedef double score_column(const struct profile *p, size_t i, const char *name);

struct choice {
    int best, second;
    double score, second_score;
};

/* --- what a column could be ------------------------------------------------------------------------------------------ */

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static double fill(const struct profile *p, size_t i)
{
    return ratio((double)p->columns[i].filled, (double)p->rows);
}

/* Share of the values that say something where the column is called what it is looked at for: 0.0.0.0 stands where the server decides. */
static double address_share(const struct column_profile *c, uint64_t n, double hint)
{
    return hint > 0 ? ratio((double)n, (double)(c->filled - c->no_addresses)) : profile_share(c, n);
}

static double score_mac(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double share = profile_share(c, c->macs), distinct = ratio(c->different_macs, (double)c->macs);
    if (share < 0.6 || distinct < 0.5)
        return 0;
    return share * distinct * (0.8 + 0.2 * fill(p, i)) + hint_of(HINT_MAC, name);
}

/* ServerIP is no address of a client. */
static bool is_of_a_server(const char *name)
{
    static const char *const words[] = {"server", "服务器", "伺服器", "сервер", "servidor"};
    char folded[512];
    text_fold(name, folded, sizeof(folded));
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strstr(folded, words[i]))
            return true;
    return false;
}

static double score_ip(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double hint = hint_of(HINT_IP, name), share = address_share(c, c->ips, hint);
    if (share < 0.6 || is_of_a_server(name) || hint_of(HINT_GATEWAY, name) > 0.1 || hint_of(HINT_DNS, name) > 0.1 ||
        hint_of(HINT_NETMASK, name) > 0.1 || hint_of(HINT_RANGE_FIRST, name) >= HINT_MAX ||
        hint_of(HINT_RANGE_LAST, name) >= HINT_MAX)
        return 0;
    double filled = (double)(c->filled - (hint > 0 ? c->no_addresses : 0));
    return 0.5 * share + 0.5 * MIN(ratio(c->different, filled), 1.0) + hint;
}

static double score_netmask(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double hint = hint_of(HINT_NETMASK, name);
    return address_share(c, c->masks, hint) >= 0.6 || (c->filled == 0 && c->is_text && hint > 0.1) ? 0.8 + hint : 0;
}

static double score_gateway(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double hint = hint_of(HINT_GATEWAY, name);
    return hint > 0 && c->is_text && (c->filled == 0 || address_share(c, c->ips, hint) >= 0.6) ? 0.8 + hint : 0;
}

static bool is_yes_no(const struct column_profile *c)
{
    return c->filled > 0 && profile_share(c, c->bools) >= 0.9;
}

static double score_enabled(const struct profile *p, size_t i, const char *name)
{
    return is_yes_no(&p->columns[i]) && hint_of(HINT_ENABLED, name) > 0.1 ? 0.8 + hint_of(HINT_ENABLED, name) : 0;
}

static double score_disabled(const struct profile *p, size_t i, const char *name)
{
    return is_yes_no(&p->columns[i]) && hint_of(HINT_DISABLED, name) > 0.1 ? 0.8 + hint_of(HINT_DISABLED, name) : 0;
}

static bool is_plain_text(const struct column_profile *c)
{
    return c->is_text && profile_share(c, c->macs) < 0.2 && profile_share(c, c->ips) < 0.2 &&
           profile_share(c, c->masks) < 0.2 && profile_share(c, c->paths) < 0.2 && profile_share(c, c->guids) < 0.2;
}

static double score_group(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double hint = hint_of(HINT_GROUP, name);
    return hint > 0 && is_plain_text(c) && profile_share(c, c->shorts) >= (c->filled ? 0.9 : 0) ? 0.8 + hint : 0;
}

static double score_comment(const struct profile *p, size_t i, const char *name)
{
    return hint_of(HINT_COMMENT, name) > 0 && p->columns[i].is_text ? 0.8 + hint_of(HINT_COMMENT, name) : 0;
}

static double score_name(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    double hint = hint_of(HINT_NAME, name), distinct = ratio(c->different, (double)c->filled);
    if (!is_plain_text(c) || profile_share(c, c->shorts) < 0.9 || distinct < 0.5 || is_yes_no(c))
        return 0;
    if (hint < HINT_MAX && (hint_of(HINT_GROUP, name) > hint || hint_of(HINT_COMMENT, name) > hint))
        return 0;
    double content = 0.4 * distinct + 0.3 * profile_share(c, c->hosts) + 0.3 * fill(p, i);
    if (profile_share(c, c->numbers) > 0.5)
        content -= 0.4; /* numbers are more likely an id */
    if (strcmp(name, INI_SECTION_COLUMN) == 0)
        content -= 0.25; /* a section's title, where no key in it is the name */
    return content >= (hint > 0 ? 0.45 : 0.75) ? content + hint : 0;
}

static double score_key(const struct profile *p, size_t i, const char *name)
{
    const struct column_profile *c = &p->columns[i];
    bool is_number = profile_share(c, c->ints) >= 1 || profile_share(c, c->guids) >= 1;
    if (!profile_is_key(p, i) || !is_number)
        return 0;
    return 0.5 + hint_of(HINT_KEY, name) + (i == 0 ? 0.1 : 0) - 0.001 * (double)i;
}

/* --- choosing -------------------------------------------------------------------------------------------------------- */

static struct choice choose(const struct profile *p, const struct mapping *m, score_column *score)
{
    struct choice ch = {-1, -1, 0, 0};
    for (size_t i = 0; i < p->table->column_count; i++) {
        double s = mapping_uses_column(m, (int)i) ? 0 : score(p, i, p->table->columns[i].name);
        if (s > ch.score) {
            ch.second = ch.best;
            ch.second_score = ch.score;
            ch.best = (int)i;
            ch.score = s;
        } else if (s > ch.second_score) {
            ch.second = (int)i;
            ch.second_score = s;
        }
    }
    return ch;
}

static bool is_clear(const struct choice *ch)
{
    return ch->second < 0 || ch->score - ch->second_score >= LEAD - 1e-9;
}

static void say_choice(struct mapping *m, const struct profile *p, enum role role, const struct choice *ch)
{
    char a[160], b[160];
    mapping_ask(m, "; question: %s = %s or %s ? Both fit (%.2f and %.2f). Write the right one.", role_name(role),
                text_shown(p->table->columns[ch->best].name, a, sizeof(a)),
                text_shown(p->table->columns[ch->second].name, b, sizeof(b)), ch->score, ch->second_score);
}

static const char *said_by_name(double hint)
{
    return hint >= HINT_MAX ? "; the name says so" : hint > 0 ? "; the name hints at it" : "";
}

/* A role that may stay empty. */
static struct item *take(struct mapping *m, const struct profile *p, enum role role, score_column *score)
{
    struct choice ch = choose(p, m, score);
    if (ch.best < 0)
        return NULL;
    if (!is_clear(&ch)) {
        say_choice(m, p, role, &ch);
        return NULL;
    }
    return mapping_add_item(m, role, ch.best);
}

/* A role that must be right. */
static struct item *must_take(struct mapping *m, const struct profile *p, enum role role, score_column *score,
                              bool *ret_is_open)
{
    struct choice ch = choose(p, m, score);
    if (ch.best >= 0 && !is_clear(&ch)) {
        say_choice(m, p, role, &ch);
        m->open_roles |= 1u << role;
        *ret_is_open = true;
    }
    return ch.best < 0 ? NULL : mapping_add_item(m, role, ch.best);
}

static void explain(struct item *i, const struct profile *p, uint64_t n, const char *what, enum hint h)
{
    if (!i)
        return;
    const struct column_profile *c = &p->columns[i->columns[0]];
    const char *name = p->table->columns[i->columns[0]].name;
    bool is_address = h == HINT_IP || h == HINT_NETMASK || h == HINT_GATEWAY || h == HINT_DNS;
    char none[60] = "";
    if (is_address && c->no_addresses)
        (void)snprintf(none, sizeof(none), ", %llu say that there is none", (unsigned long long)c->no_addresses);
    text_format(i->evidence, sizeof(i->evidence), "%llu of %llu values are %s%s, %llu different%s",
                (unsigned long long)n, (unsigned long long)c->filled, what, none,
                (unsigned long long)(h == HINT_MAC ? c->distinct_macs : c->distinct), said_by_name(hint_of(h, name)));
}

static void explain_texts(struct item *i, const struct profile *p, enum hint h)
{
    if (i)
        explain(i, p, p->columns[i->columns[0]].shorts, "short texts", h);
}

/* dns = all columns with such a name, in their order; a list of addresses in one text is as good. */
static void take_dns(struct mapping *m, const struct profile *p)
{
    for (size_t i = 0; i < p->table->column_count; i++) {
        const struct column_profile *c = &p->columns[i];
        const char *name = p->table->columns[i].name;
        double hint = hint_of(HINT_DNS, name);
        bool is_known = c->filled == 0 || address_share(c, c->ips, hint) >= 0.5 || hint >= HINT_MAX;
        if (hint <= 0 || !c->is_text || !is_known || mapping_uses_column(m, (int)i))
            continue;
        explain(mapping_add_item(m, ROLE_DNS, (int)i), p, c->ips, "IP addresses", HINT_DNS);
    }
}

static void take_enabled(struct mapping *m, const struct profile *p)
{
    struct item *yes = take(m, p, ROLE_ENABLED, score_enabled);
    struct item *no = take(m, p, ROLE_DISABLED, score_disabled);
    if (yes && no) { /* they could contradict each other in a row */
        mapping_ask(m, "; remark: the columns for enabled and for disabled are both used; a client is disabled if one "
                       "of them says so.");
    }
    if (yes)
        explain(yes, p, p->columns[yes->columns[0]].bools, "yes or no", HINT_ENABLED);
    if (no)
        explain(no, p, p->columns[no->columns[0]].bools, "yes or no", HINT_DISABLED);
}

static void take_key(struct mapping *m, const struct profile *p)
{
    struct choice ch = choose(p, m, score_key);
    if (ch.best >= 0) /* the first one of several: nothing hangs on it but what the report calls a row */
        explain(mapping_add_item(m, ROLE_KEY, ch.best), p, p->columns[ch.best].filled, "numbers", HINT_KEY);
}

/* --- a table ---------------------------------------------------------------------------------------------------------- */

static double penalties(const struct profile *p, const struct mapping *m, int mac, char *why, size_t size)
{
    const struct column_profile *c = &p->columns[mac];
    bool has_image = mapping_item(m, ROLE_IMAGE) || mapping_item(m, ROLE_DATA), has_name = mapping_item(m, ROLE_NAME);
    double minus = 0;
    if (hint_of(HINT_OLD, p->table->name) > 0) {
        minus += 0.4;
        text_add_sentence(why, size, "Its name says that it holds copies, logs or old rows.");
    }
    if (ratio((double)p->rows, c->different_macs) > 1.3) {
        minus += ratio((double)c->macs, c->different_macs) > 1.3 ? 0.3 : 0.1;
        if (p->is_sample)
            text_add_sentence(why, size, "It seems to have %.1f rows for each MAC.",
                              ratio((double)p->rows, c->different_macs));
        else
            text_add_sentence(why, size, "%llu rows have %llu different MACs.", (unsigned long long)p->rows,
                              (unsigned long long)c->distinct_macs);
    }
    if (!has_image && !has_name) {
        bool is_list = m->source->table_count == 1 && mapping_item(m, ROLE_IP) && p->table->column_count <= 4;
        minus += is_list ? 0.1 : 0.5; /* a short list of MACs and addresses is one of clients */
        text_add_sentence(why, size, "It has neither an image nor a name beside the MAC.");
    }
    return minus;
}

static double weigh(const struct profile *p, struct mapping *m, int mac)
{
    double content =
        score_mac(p, (size_t)mac, p->table->columns[mac].name) - hint_of(HINT_MAC, p->table->columns[mac].name);
    double score = 0.6 * content, names = hint_of(HINT_MAC, p->table->columns[mac].name) * 0.5;
    score += mapping_item(m, ROLE_IMAGE) || mapping_item(m, ROLE_DATA) ? 0.2 : 0;
    score += mapping_item(m, ROLE_NAME) ? 0.1 : 0;
    score += mapping_item(m, ROLE_IP) ? 0.1 : 0;
    names += hint_of(HINT_CLIENT, p->table->name) * 0.5;
    score += MIN(names, HINT_MAX) - penalties(p, m, mac, m->evidence, sizeof(m->evidence));
    return MAX(score, 0.0);
}

double detect_roles(struct detect *d, int table, struct mapping *m, bool *ret_is_open)
{
    const struct profile *p = d->profiles[table];
    m->table = table;
    struct item *mac = must_take(m, p, ROLE_MAC, score_mac, ret_is_open);
    if (!mac)
        return 0;
    explain(mac, p, p->columns[mac->columns[0]].macs, "MACs", HINT_MAC);
    struct item *ip = must_take(m, p, ROLE_IP, score_ip, ret_is_open);
    if (ip)
        explain(ip, p, p->columns[ip->columns[0]].ips, "IP addresses", HINT_IP);
    struct item *mask = take(m, p, ROLE_NETMASK, score_netmask);
    if (mask)
        explain(mask, p, p->columns[mask->columns[0]].masks, "network masks", HINT_NETMASK);
    struct item *gateway = take(m, p, ROLE_GATEWAY, score_gateway);
    if (gateway)
        explain(gateway, p, p->columns[gateway->columns[0]].ips, "IP addresses", HINT_GATEWAY);
    take_dns(m, p);
    take_enabled(m, p);
    detect_images(d, m, ret_is_open);
    detect_group(d, m);
    if (!mapping_item(m, ROLE_GROUP))
        explain_texts(take(m, p, ROLE_GROUP, score_group), p, HINT_GROUP);
    struct item *comment = take(m, p, ROLE_COMMENT, score_comment);
    if (comment)
        explain(comment, p, p->columns[comment->columns[0]].filled, "texts", HINT_COMMENT);
    explain_texts(must_take(m, p, ROLE_NAME, score_name, ret_is_open), p, HINT_NAME);
    take_key(m, p);
    char how[160];
    profile_how(p, how, sizeof(how));
    if (*how)
        text_add_sentence(m->evidence, sizeof(m->evidence), "%s", how);
    m->score = weigh(p, m, mac->columns[0]);
    return m->score;
}
