/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The catalog: the only truth about names, links, overlays and settings. SQLite; all SQL of the project is in catalog*.c.
 *
 * Order of calls:
 *   catalog_create(root)                                    once, by `init`
 *   catalog_open(root, mode) -> c
 *     readers:  image_get, client_list, view_list, ...      any order
 *     writers:  catalog_begin(c)
 *               image_add, client_set, ...                  any number
 *               catalog_commit(c)  or  catalog_rollback(c)
 *   catalog_close(c)
 *
 * (1) Every change runs inside one transaction that took the write lock at its beginning (BEGIN IMMEDIATE); calling a writer
 *     outside of one is an assertion failure.
 * (2) Every writer but garbage_done(), overlay_renew(), client_set_boot_slot() and those of catalog-boot.h leaves one audit row in the same transaction: who, when, verb, object, state before and
 *     after as JSON. Passwords are never part of it.
 * (3) catalog_open() checks the application id, user_version, the quick integrity check and the foreign keys.
 *     A newer user_version is refused, an older one is migrated (read-write mode only) in one transaction.
 * (4) A writer waits up to 30 s for another one and then fails with -EBUSY.
 *
 * Rows are plain structs with no pointers inside; a list is one malloc()ed array that the caller frees. A writer checks what
 * it is given (names, MAC, slot, mode) and says what is wrong in a sentence. Foreign keys, UNIQUE and CHECK constraints say
 * the same in the database, so that no other program can break the rules either.
 *
 * Errors (with a sentence, nothing changed): -EINVAL bad value; -ENOENT no such row; -EEXIST name or MAC taken;
 * -EBUSY the row is in use (the sentence lists by whom) or the database is locked; -EBADMSG damaged; -EOPNOTSUPP made by a
 * newer version; -EIO, -ENOSPC, -EROFS from the disk.
 *
 * Threads: one at a time per catalog; processes: any number at once.
 */
#ifndef DISKGATE_CORE_CATALOG_H
#define DISKGATE_CORE_CATALOG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/names.h"

#define CATALOG_VERSION 5 /* user_version of the newest schema */

#define COMMENT_LEN 255 /* bytes of UTF-8 without the ending zero */
#define TIME_LEN    23  /* "2026-01-31T12:00:00Z" and a reserve */

struct catalog;

enum catalog_mode { CATALOG_READ, CATALOG_WRITE };

int catalog_create(const char *root, struct err *err); /* -EEXIST when there is one already */
int catalog_open(const char *root, enum catalog_mode mode, struct catalog **ret, struct err *err);
void catalog_close(struct catalog *c); /* NULL is allowed; an open transaction is rolled back */
static inline void catalog_closep(struct catalog **c)
{
    catalog_close(*c);
}

int catalog_begin(struct catalog *c, struct err *err);
/* catalog_begin() for a transaction that makes most of the catalog: cheaper while nobody else has it open, and then readers wait for its end. */
int catalog_begin_bulk(struct catalog *c, struct err *err);
int catalog_commit(struct catalog *c, struct err *err); /* on failure the transaction is rolled back */
void catalog_rollback(struct catalog *c);

/* From here to catalog_rollback() or catalog_close() all is read from one state of the catalog, whatever others change. For reading what belongs
 * together; nothing may be written. */
int catalog_begin_read(struct catalog *c, struct err *err);

/* The whole catalog as the bytes of a database file, checked for damage; *ret is to be free()d. For a backup; changes nothing.
 * -EBADMSG: damaged. */
int catalog_copy(struct catalog *c, void **ret, size_t *ret_len, struct err *err);

/* Name that audit rows carry as "who": the caller's login, for example "root" or "sudo:anna". Default: from the process. */
void catalog_set_actor(struct catalog *c, const char *who);

/* --- settings ---------------------------------------------------------------------------------------------------- */

struct setting_def {
    const char *key, *value, *meaning; /* value = the default */
    const char *form;                  /* what is accepted, in words: "on|off", "1..65535", "an IPv4 or IPv6 address" */
    /* True if @value (SETTING_LEN + 1 bytes) has that form; brings it into one spelling in place. */
    bool (*is_valid)(const char *form, char *value);
};

/* The table of all settings, in the order of the manual, *ret_n rows. */
const struct setting_def *setting_defs(size_t *ret_n);
/* Its row of @key; NULL when there is none. */
const struct setting_def *setting_find(const char *key);

#define SETTING_LEN 255

/* Value in force of @key (the default where none is stored) into @ret (SETTING_LEN + 1 bytes). -ENOENT for an unknown key. */
int setting_get(struct catalog *c, const char *key, char *ret, struct err *err);
int setting_get_u64(struct catalog *c, const char *key, uint64_t *ret, struct err *err); /* sizes take k M G T */
/* Store @value after checking it against the key's form; NULL = back to the default. */
int setting_set(struct catalog *c, const char *key, const char *value, struct err *err);

/* Short random hex name of this root, made by catalog_create(), part of every IQN. @ret holds 9 bytes. */
int catalog_root_tag(struct catalog *c, char *ret, struct err *err);

/* --- images ------------------------------------------------------------------------------------------------------ */

struct image_row {
    int64_t id;
    char name[NAME_LEN + 1];
    bool is_data;             /* not bootable: for slots 1..SLOT_MAX */
    bool is_hidden;           /* stays out of boot menus */
    uint64_t ram_cache_bytes; /* RAM for its boot set, 0 = as the settings say */
    int64_t current_id;       /* version row that links without a pin use */
    uint32_t current;         /* its number */
    char comment[COMMENT_LEN + 1];
    char created_at[TIME_LEN + 1];
};

struct version_row {
    int64_t id, image_id;
    int64_t parent_id; /* version row below, 0 = a base */
    uint32_t number;   /* 1.. within the image */
    char image[NAME_LEN + 1];
    char format[16];     /* "raw", "vhd"; later "layer" */
    char path[PATH_MAX]; /* absolute, or relative to the root */
    bool is_adopted;     /* the file belongs to the administrator and is never deleted */
    uint64_t size_bytes; /* of the virtual disk, a multiple of 512 */
    uint64_t file_bytes; /* of the file as it was recorded */
    int64_t mtime_ns;    /* of the file as it was recorded */
    char identity[80];   /* content identity, see image.h; never empty */
    char full_hash[64];  /* XXH3-128 of the whole content in hex, empty until computed */
    char comment[COMMENT_LEN + 1];
    char created_at[TIME_LEN + 1];
};

int image_get(struct catalog *c, const char *name, struct image_row *ret, struct err *err);
int image_list(struct catalog *c, struct image_row **ret, size_t *ret_n, struct err *err); /* by name */

/* Insert an image with its version 1. In: @i name, is_data, is_hidden, ram_cache_bytes, comment; @v all but ids, number, image, created_at.
 * Out: the rows as stored. */
int image_add(struct catalog *c, struct image_row *i, struct version_row *v, struct err *err);
int image_rename(struct catalog *c, const char *old, const char *name, struct err *err);
/* Store is_data, is_hidden, ram_cache_bytes and comment of row @row->id. -EBUSY when it becomes a data image and some client boots from
 * it. */
int image_set(struct catalog *c, const struct image_row *row, struct err *err);
/* -EBUSY with the list of clients that are linked to it or have an overlay over it. */
int image_remove(struct catalog *c, const char *name, struct err *err);

/* All versions of image @name (NULL: of all images), by image and number. */
int version_list(struct catalog *c, const char *name, struct version_row **ret, size_t *ret_n, struct err *err);
int version_get(struct catalog *c, int64_t id, struct version_row *ret, struct err *err);
/* Version @number of image @name; 0 = the current one. */
int version_find(struct catalog *c, const char *name, uint32_t number, struct version_row *ret, struct err *err);
/* Store path, is_adopted, file_bytes, mtime_ns, identity, full_hash and comment of the row @v->id (repair, check, apply, restore). */
int version_update(struct catalog *c, const struct version_row *v, struct err *err);

/* --- clients ----------------------------------------------------------------------------------------------------- */

#define MENU_TIMEOUT_MAX_S 3600

enum overlay_mode { OVERLAY_VOLATILE, OVERLAY_KEPT, OVERLAY_SUPER };
const char *overlay_mode_name(enum overlay_mode m);                                /* "volatile", "kept", "super" */
int overlay_mode_parse(const char *text, enum overlay_mode *ret, struct err *err); /* volatile|kept */

struct client_row {
    int64_t id; /* never used again after a removal; also the tid of its target */
    char name[NAME_LEN + 1];
    char mac[MAC_LEN + 1];    /* one spelling: lower case, colons */
    char ip[46];              /* empty = not fixed */
    char group[NAME_LEN + 1]; /* empty = none */
    enum overlay_mode mode;
    bool is_disabled;   /* its target is closed, its boot request is refused */
    uint32_t boot_slot; /* the slot that is LUN 1: 0, or BOOT_SLOT_FIRST.. where its PC chose that at its last boot */
    uint32_t boot_default;                 /* the slot that its boot menu takes when nobody chooses */
    uint32_t menu_timeout_s;               /* 0 = setting boot.menu_timeout_s */
    char netmask[16], gateway[16];         /* IPv4; empty = the site's */
    char dns[SETTING_LEN + 1];             /* IPv4 addresses with commas; empty = the site's */
    uint64_t ram_write_bytes;              /* RAM for what it writes, 0 = as the settings say */
    char iqn[224];                         /* of its target; given at creation, kept when the client is renamed */
    char chap_user[64], chap_password[64]; /* generated at creation */
    char comment[COMMENT_LEN + 1];
    char created_at[TIME_LEN + 1];
};

int client_get(struct catalog *c, const char *name, struct client_row *ret, struct err *err);
int client_list(struct catalog *c, struct client_row **ret, size_t *ret_n,
                struct err *err); /* by name, PC2 before PC10 */
/* In: name, mac (any usual spelling), and what client_set() stores but boot_default, which needs a link first. Out: the row as stored, with
 * iqn and secret. */
int client_add(struct catalog *c, struct client_row *row, struct err *err);
/* Store mac, ip, group, mode, is_disabled, boot_default, menu_timeout_s, netmask, gateway, dns, ram_write_bytes and comment of row
 * @row->id. A boot_default other than 0 must be linked. */
int client_set(struct catalog *c, const struct client_row *row, struct err *err);
/* 0 and one spelling of netmask, gateway and dns; -EINVAL. */
int client_network_check(struct client_row *row, struct err *err);
/* Make @slot, which must be linked and may hold a boot disk, LUN 1. At a client's boot: a writer without audit row. */
int client_set_boot_slot(struct catalog *c, const char *name, uint32_t slot, struct err *err);
int client_rename(struct catalog *c, const char *old, const char *name, struct err *err);
int client_remove(struct catalog *c, const char *name, struct err *err); /* its links and overlays go with it */

/* 0, or -EINVAL: a user is 1..63 of [A-Za-z0-9._-], a password 12..16 letters and digits (Windows wants that length). */
int client_chap_check(const char *user, const char *password, struct err *err);
/* Give a client another CHAP user and password than those it got at its creation. */
int client_set_chap(struct catalog *c, const char *name, const char *user, const char *password, struct err *err);

/* --- links and overlays ------------------------------------------------------------------------------------------ */

/* Slot 0 is the boot disk and 1..SLOT_MAX are data disks: LUN = slot + 1. BOOT_SLOT_FIRST..BOOT_SLOT_LAST are further boot disks that a
 * client's PC may choose in its boot menu; the one in client_row.boot_slot is LUN 1 in place of slot 0, the others are no LUN. */
#define SLOT_MAX        15
#define BOOT_SLOT_FIRST 16
#define BOOT_SLOT_LAST  31
#define SLOTS           (BOOT_SLOT_LAST + 1)

static inline bool slot_is_boot(uint32_t slot)
{
    return slot == 0 || (slot >= BOOT_SLOT_FIRST && slot <= BOOT_SLOT_LAST);
}

struct link_row {
    int64_t id, client_id, image_id;
    uint32_t slot;
    uint32_t pinned; /* version number, 0 = follows the image's current version */
    char client[NAME_LEN + 1];
    char image[NAME_LEN + 1];
};

int link_list(struct catalog *c, const char *client, struct link_row **ret, size_t *ret_n,
              struct err *err); /* NULL: all */
/* Link @client's @slot to @image at version @pinned (0 = current). An existing link of that slot is replaced, its overlay
 * becomes garbage, unless it lies over the version that the new link asks for: then it stays. -EEXIST when the slot is linked to
 * just that already. Slot 0 and the boot slots take boot images only, data images go to slots 1..SLOT_MAX. */
int link_set(struct catalog *c, const char *client, uint32_t slot, const char *image, uint32_t pinned, struct err *err);
/* Also makes slot 0 the default of the client's boot menu where it was this one. A boot slot that goes leaves boot_slot as it is: LUN 1 stays
 * closed until the client's next boot, for its PC may run from it and must not find another disk in its place. */
int link_remove(struct catalog *c, const char *client, uint32_t slot, struct err *err);

/* Drop the overlay of one slot (@slot < 0: of all slots) of @client: a new overlay id over the link's version takes its
 * place; the old one becomes garbage and its files go when diskgate-fs next attaches the view. */
int overlay_reset(struct catalog *c, const char *client, int slot, struct err *err);
/* The same at a client's boot: a writer without audit row, for it happens at every boot and nobody changed anything. */
int overlay_renew(struct catalog *c, const char *client, int slot, struct err *err);

#define OVERLAY_DIR_LEN 79 /* the client's name and, where that folder was ever used before, a suffix: "pc1", "pc1.2" */

/* One view = one link with all that is needed to build its stack of layers. */
struct view_row {
    int64_t link_id, client_id;
    char client[NAME_LEN + 1];
    uint32_t slot;
    char image[NAME_LEN + 1];
    enum overlay_mode mode;
    char overlay_id[UUID_LEN + 1]; /* changes with every reset and relink */
    char overlay_dir[OVERLAY_DIR_LEN +
                     1]; /* folder below ROOT/overlays, given at creation, kept when the client is renamed */
    int64_t version_id;  /* the version that the overlay was made over */
    uint32_t version;    /* its number */
    uint32_t current;    /* number of the version that the link asks for: the pin or the image's current one */
    uint64_t size_bytes;
    uint64_t ram_write_bytes; /* quota of the client, 0 = as the settings say */
};

/* All views, by client name and slot; of one client when @client is not NULL. */
int view_list(struct catalog *c, const char *client, struct view_row **ret, size_t *ret_n, struct err *err);

/* --- garbage ----------------------------------------------------------------------------------------------------- */

/* An overlay that nothing refers to any more, because of a reset, a relink, an unlink or the removal of its client. Its files may still
 * lie at ROOT/overlays/OVERLAY_DIR/SLOT.*, and may be deleted if their header carries overlay_id and only then: the place may already hold
 * the overlay that took over, or nothing at all (an overlay that was never attached has no files).
 *
 * Use: who attaches a view and finds files with another id than its row's deletes them if (dir, slot, id) is in this list, and refuses
 * if not. garbage_done() follows after the files are gone, or when the place holds another id or nothing; never before.
 * A folder below ROOT/overlays is never given to another client, so a lost row costs space and nothing else. */
struct garbage_row {
    char overlay_dir[OVERLAY_DIR_LEN + 1];
    uint32_t slot;
    char overlay_id[UUID_LEN + 1];
    char created_at[TIME_LEN + 1]; /* when it became garbage */
};

int garbage_list(struct catalog *c, struct garbage_row **ret, size_t *ret_n, struct err *err); /* oldest first */
/* Forget the row (overlay_dir, slot, overlay_id). A writer without audit row; 0 also when the row is not there. */
int garbage_done(struct catalog *c, const struct garbage_row *row, struct err *err);

/* --- audit ------------------------------------------------------------------------------------------------------- */

struct audit_row {
    int64_t id;
    char at[TIME_LEN + 1];
    char who[64], verb[32], object[NAME_LEN * 2 + 2];
    char before[2048], after[2048]; /* JSON, cut values are marked by "..." */
};

/* The newest @limit rows (0 = all), oldest first. */
int audit_list(struct catalog *c, size_t limit, struct audit_row **ret, size_t *ret_n, struct err *err);

#endif
