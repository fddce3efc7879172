/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Import: names, addresses and labels that are taken; see catalog-import-priv.h.
 *
 *   the set     hashes of 64 bits in memory, of a fixed size, of what this import gives to new clients
 *   a table     (import_name, import_ip, import_label) what clients have that are here, and all that comes once the set is full
 *
 * A text whose hash is another one's would be taken for that one: once in a hundred million imports of a hundred thousand rows some client would be
 * called "-2" for nothing. What is stored is checked by the catalog's own constraints.
 */
#include "core/catalog-import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog-import-priv.h"
#include "core/util.h"

#define SET_SLOTS (1u << 19) /* 4 MiB */
#define SET_FULL  (SET_SLOTS / 4 * 3)

struct import_taken {
    uint64_t *slots; /* hashes, 0 = free */
    size_t used;
    bool is_in_table[IMPORT_KINDS];
};

static const struct {
    const char *any, *take;
} tables[IMPORT_KINDS] = {
    [IMPORT_KIND_NAME] = {"SELECT EXISTS (SELECT 1 FROM import_name)",
                          "INSERT INTO import_name (name, client_id, is_weak) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"},
    [IMPORT_KIND_IP] = {"SELECT EXISTS (SELECT 1 FROM import_ip)",
                        "INSERT INTO import_ip (ip, client_id, is_weak) VALUES (?, ?, 0) ON CONFLICT DO NOTHING"},
    [IMPORT_KIND_LABEL] = {"SELECT EXISTS (SELECT 1 FROM import_label)",
                           "INSERT INTO import_label (label, client_id) VALUES (?, ?) ON CONFLICT DO NOTHING"},
};

static uint64_t mixed(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}

/* Letters in one case: other characters become one, too, which are not in names and addresses. */
static uint64_t add_word(uint64_t h, uint64_t word)
{
    return mixed((h ^ (word | 0x2020202020202020ULL)) * 0x9e3779b97f4a7c15ULL);
}

uint64_t import_key_hash(const char *key, unsigned kind)
{
    size_t n = strlen(key);
    uint64_t h = 0xcbf29ce484222325ULL ^ (uint64_t)n << 8 ^ kind,
             word; /* the length: what a last word has too little of is filled up */
    for (; n >= sizeof(word); n -= sizeof(word), key += sizeof(word)) {
        memcpy(&word, key, sizeof(word));
        h = add_word(h, word);
    }
    for (word = 0; n > 0; n--)
        word = word << 8 | (unsigned char)key[n - 1];
    return mixed(add_word(h, word));
}

void import_taken_destroy(struct import_taken *t)
{
    if (!t)
        return;
    free(t->slots);
    free(t);
}

/* Begin anew: a set without entries, and tables as they are. */
int import_taken_begin(struct import *im, struct err *err)
{
    struct import_taken *t = calloc(1, sizeof(*t));
    import_taken_destroy(im->taken);
    im->taken = t;
    if (t)
        t->slots = calloc(SET_SLOTS, sizeof(*t->slots));
    return t && t->slots ? 0 : err_sys(err, -ENOMEM, "cannot give names");
}

int import_taken_look(struct import *im, enum import_kind kind, bool *ret_any, struct err *err)
{
    int64_t any = 0;
    int r = db_number(im->c, tables[kind].any, ARGS(), &any, err);
    im->taken->is_in_table[kind] = any != 0;
    if (ret_any)
        *ret_any = any != 0;
    return r;
}

static size_t home(uint64_t hash)
{
    return (hash >> 32) % SET_SLOTS;
}

static uint64_t *slot_of(const struct import_taken *t, uint64_t hash)
{
    size_t i = home(hash);
    while (t->slots[i] && t->slots[i] != hash)
        i = (i + 1) % SET_SLOTS;
    return &t->slots[i];
}

void import_take_soon(const struct import *im, enum import_kind kind, const char *text)
{
    __builtin_prefetch(&im->taken->slots[home(import_key_hash(text, kind))], 1);
}

bool import_is_given(const struct import *im, enum import_kind kind, const char *text)
{
    return *slot_of(im->taken, import_key_hash(text, kind) | 1) != 0;
}

int import_take(struct import *im, enum import_kind kind, const char *text, int64_t owner, struct err *err)
{
    struct import_taken *t = im->taken;
    uint64_t hash = import_key_hash(text, kind) | 1; /* never 0 */
    uint64_t *slot = slot_of(t, hash);
    if (*slot)
        return 0;
    if (!t->is_in_table[kind] && t->used < SET_FULL) {
        *slot = hash;
        t->used++;
        return 1;
    }
    t->is_in_table[kind] = true;
    int r = import_run_kept(im, tables[kind].take, ARGS(T(text), N(owner)), err);
    return r < 0 ? r : sqlite3_changes(im->c->db) > 0;
}
