/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition names and look-ups; see tree-part.h. */
#include "fusefs/tree-part.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"
#include "core/util.h"

bool part_key_equal(const struct part_key *a, const struct part_key *b)
{
    return a->number == b->number && a->off == b->off && a->len == b->len;
}

bool part_name_parse(const char *name, char *ret_disk, size_t room, unsigned *ret_number)
{
    unsigned slot, number;
    int end = 0;
    char again[32];
    if (sscanf(name, "disk%2u.p%3u.img%n", &slot, &number, &end) == 2 && end > 0 && name[end] == 0)
        (void)snprintf(ret_disk, room, "disk%u.img", slot);
    else if (sscanf(name, "p%3u.img%n", &number, &end) == 1 && end > 0 && name[end] == 0)
        (void)snprintf(ret_disk, room, "disk.img");
    else
        return false;
    part_name(ret_disk, number, again, sizeof(again));
    *ret_number = number;
    return number > 0 && strcmp(name, again) == 0; /* one spelling only: no leading zeros, no blanks */
}

void part_name(const char *disk, unsigned number, char *ret, size_t room)
{
    size_t stem = strlen(disk) - strlen(".img");
    if (strcmp(disk, "disk.img") == 0)
        (void)snprintf(ret, room, "p%u.img", number);
    else
        (void)snprintf(ret, room, "%.*s.p%u.img", (int)stem, disk, number);
}

static int read_view(void *arg, void *buf, size_t len, uint64_t off)
{
    struct view *v = arg;
    return view_is_revoked(v) ? -ESTALE : blk_read(v->blk, buf, len, off);
}

static int read_table(struct view *whole, struct part_key *ret, size_t *ret_n)
{
    _cleanup_free_ struct part *parts = calloc(PART_MAX, sizeof(*parts));
    char table[8];
    size_t n = 0, count = 0;
    struct err err;
    if (!parts)
        return -ENOMEM;
    int r = part_list(read_view, whole, whole->blk->size, parts, &n, table, &err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        const struct part *p = &parts[i];
        if (p->is_outside || p->is_extended || p->len == 0 || p->len % SECTOR_BYTES != 0 ||
            !range_ok(p->off, p->len, whole->blk->size))
            continue;
        ret[count++] = (struct part_key){.number = p->number, .off = p->off, .len = p->len};
    }
    *ret_n = count;
    return 0;
}

int part_find(struct view *whole, unsigned number, struct part_key *ret)
{
    struct part_key keys[PART_MAX];
    size_t n = 0;
    int r = read_table(whole, keys, &n);
    if (r < 0)
        return r == -EBADMSG ? -ENOENT : r;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].number != number)
            continue;
        *ret = keys[i];
        return 0;
    }
    return -ENOENT;
}

size_t part_keys(struct view *whole, struct part_key *ret)
{
    size_t n = 0;
    int r = read_table(whole, ret, &n);
    if (r < 0)
        log_debug("part", "partition table cannot be read: %s", strerror(-r));
    return r < 0 ? 0 : n;
}
