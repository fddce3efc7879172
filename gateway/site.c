/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folders and settings of a root. */
#include "gateway/site.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "core/root.h"
#include "core/util.h"

static int make_folders(struct site *s, struct err *err)
{
    char run[PATH_MAX];
    int r = root_path(s->root, "run", run, err);
    if (r < 0)
        return r;
    r = make_dirs(run, 0755);
    if (r < 0)
        return err_sys(err, r, "cannot make folder '%s'", run);
    /* mkdir of a dead mount answers EEXIST as well, without asking the file system. */
    r = make_dirs(s->mount, 0755);
    return r < 0 ? err_sys(err, r, "cannot make folder '%s'", s->mount) : 0;
}

int site_open(struct site *s, const char *root, bool make, struct err *err)
{
    *s = (struct site){.run_fd = -1};
    if (strlen(root) >= sizeof(s->root))
        return err_set(err, -ENAMETOOLONG, "the path of the root is too long");
    strcpy(s->root, root);
    int r = root_path(root, "run/mnt", s->mount, err);
    if (r == 0 && make)
        r = make_folders(s, err);
    if (r < 0)
        return r;
    s->run_fd = root_open_dir(root, "run", err);
    return s->run_fd < 0 ? s->run_fd : 0;
}

void site_finish(struct site *s)
{
    closep(&s->run_fd);
    s->run_fd = -1;
}

/* A number of the catalog's settings; @max is what this program can do with. */
static int read_number(struct catalog *c, const char *key, uint64_t min, uint64_t max, unsigned *ret, struct err *err)
{
    uint64_t n;
    int r = setting_get_u64(c, key, &n, err);
    if (r < 0)
        return r;
    if (n < min || n > max)
        return err_set(err, -EINVAL, "setting %s is %llu; it must be %llu..%llu", key, (unsigned long long)n,
                       (unsigned long long)min, (unsigned long long)max);
    *ret = (unsigned)n;
    return 0;
}

static int read_access(struct site *s, struct catalog *c, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "auth.chap", value, err);
    if (r < 0)
        return r;
    s->has_chap = strcmp(value, "off") != 0;
    r = setting_get(c, "auth.acl", value, err);
    if (r < 0)
        return r;
    s->acl = strcmp(value, "off") == 0 ? ACL_OFF : strcmp(value, "address") == 0 ? ACL_ADDRESS : ACL_NAME;
    return 0;
}

static int read_direct(struct site *s, struct catalog *c, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "gateway.direct", value, err);
    if (r == 0)
        s->wants_direct = strcmp(value, "off") != 0;
    return r;
}

int site_read(struct site *s, struct catalog *c, struct err *err)
{
    char value[SETTING_LEN + 1];
    int r = setting_get(c, "gateway.address", value, err);
    if (r < 0)
        return r;
    if (strlen(value) >= sizeof(s->address))
        return err_set(err, -EINVAL, "setting gateway.address is too long: '%s'", value);
    strcpy(s->address, value);
    r = read_number(c, "gateway.shards", 1, SHARDS_MAX, &s->shards, err);
    r = r ? r : read_number(c, "gateway.port", 1, UINT16_MAX + 1 - s->shards, &s->port, err);
    r = r ? r : read_number(c, "tgt.threads", 1, 64, &s->threads, err);
    r = r ? r : setting_get(c, "gateway.tcp_wmem", s->tcp_wmem, err);
    r = r ? r : setting_get(c, "fs.user", s->fs_user, err);
    r = r ? r : read_access(s, c, err);
    r = r ? r : read_direct(s, c, err);
    return r ? r : catalog_root_tag(c, s->tag, err);
}

void site_portal(const struct site *s, unsigned k, char *ret)
{
    bool is_v6 = strchr(s->address, ':');
    (void)snprintf(ret, 80, "%s%s%s:%u", is_v6 ? "[" : "", s->address, is_v6 ? "]" : "", s->port + k); /* fits */
}
