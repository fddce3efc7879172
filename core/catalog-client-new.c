/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients. What a client gets at its creation and keeps, whatever it is called later:
 *
 *   label         its name in lower case, "_" as "-" (an IQN does not know it), with "-2", "-3", ... where that is taken
 *   iqn           IQN_PREFIX : tag of the root : label
 *   chap_user     the label; the password is random
 *   overlay_dir   its name, with ".2", ".3", ... where any client ever had that folder
 */
#include "core/catalog-priv.h"

#include <errno.h>

#define IQN_PREFIX "iqn.2026-11.org.diskgate"

/* The first of "@base", "@base@sep2", "@base@sep3", ... for which @sql finds no row. */
static int first_free(struct catalog *c, const char *sql, const char *base, char sep, char *ret, size_t size,
                      struct err *err)
{
    int64_t found;
    for (unsigned n = 1; n < UINT32_MAX; n++) {
        (void)snprintf(ret, size, n == 1 ? "%s" : "%s%c%u", base, sep, n);
        int r = db_number(c, sql, ARGS(T(ret)), &found, err);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
    }
    return err_set(err, -EEXIST, "every name that begins with '%s' is taken", base);
}

void client_label(const char *name, char *ret)
{
    size_t n = 0;
    for (; name[n] && n < CLIENT_LABEL_LEN; n++) {
        char ch = name[n];
        ret[n] = ch == '_' ? '-' : ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch;
    }
    ret[n] = 0;
}

void client_iqn(const char *tag, const char *label, char *ret)
{
    (void)snprintf(ret, 224, IQN_PREFIX ":%s:%s", tag, label);
}

static int give_label(struct catalog *c, struct client_row *row, struct err *err)
{
    char base[CLIENT_LABEL_LEN + 1], tag[9];
    client_label(row->name, base);
    /* Both, since a client may have got another CHAP user later. */
    int r = first_free(c, "SELECT id FROM client WHERE chap_user = ?1 OR substr(iqn, -length(?1) - 1) = ':' || ?1",
                       base, '-', row->chap_user, sizeof(row->chap_user), err);
    if (r == 0)
        r = catalog_root_tag(c, tag, err);
    if (r == 0)
        client_iqn(tag, row->chap_user, row->iqn);
    return r;
}

static int give_overlay_dir(struct catalog *c, const char *name, char *ret, struct err *err)
{
    return first_free(c, CLIENT_DIR_SQL, name, '.', ret, OVERLAY_DIR_LEN + 1, err);
}

static int give_secret(struct client_row *row, struct err *err)
{
    int r = secret_new(row->chap_password);
    return r < 0 ? err_sys(err, r, "cannot make a password for client '%s'", row->name) : 0;
}

int client_give(struct catalog *c, struct client_row *row, char *ret_dir, struct err *err)
{
    int r = give_label(c, row, err);
    if (r == 0)
        r = give_secret(row, err);
    return r < 0 ? r : give_overlay_dir(c, row->name, ret_dir, err);
}
