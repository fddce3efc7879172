/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration of a root as one value: what `diskgate dump` prints and `diskgate apply` reads.
 *
 *   catalog --config_load()--> struct config --config_json()--> JSON text
 *   JSON text --config_read()--> struct config
 *   have, want --config_diff()--> struct config_diff --config_apply()--> catalog
 *
 * It holds what an administrator decides: settings that differ from their default, images with their versions, clients with their
 * links. It holds no state: no overlays, no times, no ids, no IQNs. A path that begins with '/' is an adopted file; any other one is a
 * file of the root itself, below "images/". Lists are sorted as the lists of the command line are, slots by number; so the same
 * configuration always gives the same text.
 *
 * Threads: one at a time per object.
 */
#ifndef DISKGATE_GATEWAY_CONFIGURATION_H
#define DISKGATE_GATEWAY_CONFIGURATION_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/catalog.h"
#include "core/err.h"

#define CONFIG_FORMAT    "diskgate-config"
#define CONFIG_VERSION   1
#define CONFIG_BYTES_MAX ((size_t)64 << 20) /* of a file that is read */
#define CONFIG_LIST_MAX  65536              /* images, clients, versions of an image */

struct config_setting {
    const struct setting_def *def;
    char value[SETTING_LEN + 1]; /* in the catalog's spelling; never the default */
};

/* What FILE leaves out of format, size_bytes, identity and full_hash is "" or 0: whatever the file is. */
struct config_version {
    uint32_t number;
    char path[PATH_MAX];
    char format[16];
    uint64_t size_bytes;
    char identity[80], full_hash[64];
    char comment[COMMENT_LEN + 1];
};

struct config_image {
    char name[NAME_LEN + 1];
    bool is_data, is_hidden;
    uint64_t ram_cache_bytes;
    uint32_t current;
    char comment[COMMENT_LEN + 1];
    struct config_version *versions; /* by number, at least one */
    size_t n_versions;
};

struct config_link {
    uint32_t slot;
    uint32_t pinned; /* 0 = follows the current version */
    char image[NAME_LEN + 1];
};

struct config_client {
    char name[NAME_LEN + 1];
    char mac[MAC_LEN + 1];
    char ip[46];
    char group[NAME_LEN + 1];
    enum overlay_mode mode;
    bool is_disabled;
    uint32_t boot_default, menu_timeout_s;
    char netmask[16], gateway[16], dns[SETTING_LEN + 1];
    uint64_t ram_write_bytes;
    char comment[COMMENT_LEN + 1];
    char chap_user[64], chap_password[64]; /* both "": FILE does not tell */
    struct config_link links[SLOTS];
    size_t n_links;
};

struct config {
    struct config_setting *settings;
    struct config_image *images;
    struct config_client *clients;
    size_t n_settings, n_images, n_clients;
};

/* An empty one; NULL without memory. */
struct config *config_create(void);
void config_destroy(struct config *f); /* NULL is allowed */
static inline void config_destroyp(struct config **f)
{
    config_destroy(*f);
}

/* NULL where there is none. Names are compared without regard to case, as the catalog does. */
struct config_image *config_find_image(const struct config *f, const char *name);
struct config_version *config_find_version(const struct config_image *i, uint32_t number);
struct config_client *config_find_client(const struct config *f, const char *name);

/* --- config-dump.c ----------------------------------------------------------------------------------------------- */

/* What @c holds now, CHAP users and passwords included. */
int config_load(struct catalog *c, struct config **ret, struct err *err);

/* As a JSON object; secrets only with @with_secrets. -EINVAL when a path is no UTF-8, which JSON cannot hold. */
int config_json(const struct config *f, bool with_secrets, json_t **ret, struct err *err);

/* --- config-read.c ----------------------------------------------------------------------------------------------- */

/* Understand @len bytes of @text, strictly. @name is the file's, for sentences. -EINVAL with a sentence that names the place
 * ("clients[3].mac: ..."); -EOPNOTSUPP for a newer version. */
int config_read(const char *text, size_t len, const char *name, struct config **ret, struct err *err);

/* --- config-diff.c ----------------------------------------------------------------------------------------------- */

/* A thing of both sides. @have NULL = to be added, @want NULL = to be removed; names that differ = to be renamed. */
struct image_pair {
    const struct config_image *have, *want;
};
struct client_pair {
    const struct config_client *have, *want;
};
struct setting_pair {
    const struct config_setting *have, *want;
};

/* Borrows from both configurations. */
struct config_diff {
    struct setting_pair *settings;
    struct image_pair *images;
    struct client_pair *clients;
    size_t n_settings, n_images, n_clients; /* of all pairs, equal ones too */
    json_t *lines; /* "+ client pc3 (52:54:...)", "~ client pc1 mode volatile -> kept", "- client pc9" */
};

/* What leads from @have to @want. Links of @have get the new names of renamed images, so that they compare equal. -EINVAL where no
 * change of the catalog leads there: other content under an image's name, versions that are not there. */
int config_diff(struct config *have, const struct config *want, struct config_diff **ret, struct err *err);
void config_diff_destroy(struct config_diff *d); /* NULL is allowed */
static inline void config_diff_destroyp(struct config_diff **d)
{
    config_diff_destroy(*d);
}

/* But for name, links, secrets and the default of the boot menu, which goes with the links. */
bool client_differs(const struct config_client *a, const struct config_client *b);
bool client_secret_differs(const struct config_client *have, const struct config_client *want);
bool link_differs(const struct config_link *a, const struct config_link *b); /* NULL = none */
bool version_differs(const struct config_version *have, const struct config_version *want);
/* Of one slot, or NULL. */
const struct config_link *config_link_of(const struct config_client *cl, uint32_t slot);

/* --- config-apply.c ---------------------------------------------------------------------------------------------- */

/* Make all changes of @d inside of the caller's transaction. Files of images that are added or moved are opened, and must be what @d
 * says. A failure leaves the transaction to be rolled back. Files of removed images stay. */
int config_apply(const char *root, struct catalog *c, const struct config_diff *d, struct err *err);

#endif
