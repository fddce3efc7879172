/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of the catalog, as a list of steps, each from one user_version to the next.
 *
 *   root                         one row: the tag that is part of every IQN
 *   setting                      only what differs from the default
 *   image 1 ---- n version       image.current is a number of its own versions; version.parent_id is a version of the same image
 *   client 1 --- n link 1 --- 1 overlay
 *                   |               `-> version that the overlay was made over
 *                   `-> image, pinned version or NULL = the current one
 *   overlay_dir                  folder names that were given out once; those of clients that are here may be missing
 *   garbage                      overlays whose files may be deleted
 *   audit                        what was changed, when and by whom
 *   pending                      unknown PCs that asked for a boot script
 *   boot                         what became of each boot
 *   import_run, import_source, import_client, import_pack, import_change      see catalog-import.h
 *
 * (1) A step that has been released never changes; a new one is added behind it and CATALOG_VERSION counts up.
 * (2) A version numbered n + 1 is a sealed layer: its parent_id says over what; NULL is a base.
 * (3) Ids of clients are never given out again (AUTOINCREMENT): a client's id is the tid of its target.
 * (4) A folder's name is never given out again, for files of a removed client may still lie there: what is in overlay_dir or a client's was given out.
 * (5) Every table is STRICT, and what a writer checks is a constraint here too.
 * (6) A constraint changes by making its table anew within the step. Foreign keys are in force meanwhile, so the rows wait in a plain
 *     table, tables go from the one that refers to the one that is referred to and come back the other way round, and the count of
 *     an AUTOINCREMENT goes along.
 */
#include "core/catalog-priv.h"

#include <assert.h>
#include <stdio.h>

#include "core/util.h"

/* clang-format off */

/* A name as name_check() accepts it. */
#define IS_NAME(col) \
    " CHECK (length(" col ") BETWEEN 1 AND 63 AND " col " GLOB '[A-Za-z0-9]*'" \
    " AND " col " NOT GLOB '*[^A-Za-z0-9._-]*')"
/* The name of a folder. */
#define IS_DIR(col) \
    " CHECK (" col " GLOB '[A-Za-z0-9]*' AND " col " NOT GLOB '*[^A-Za-z0-9._-]*')" FITS(col, "79")
#define IS_BOOL(col)     " CHECK (" col " IN (0, 1))"
#define FITS(col, bytes) " CHECK (length(CAST(" col " AS BLOB)) <= " bytes ")"
#define HEX              "[0-9a-f]"
#define IS_MAC(col)      " CHECK (" col " GLOB '" HEX HEX ":" HEX HEX ":" HEX HEX ":" HEX HEX ":" HEX HEX ":" HEX HEX "')"

static const char version_1[] =
    "CREATE TABLE root ("
    "  id INTEGER PRIMARY KEY CHECK (id = 1),"
    "  tag TEXT NOT NULL CHECK (length(tag) = 8 AND tag NOT GLOB '*[^0-9a-f]*'),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23")
    ") STRICT;"

    "CREATE TABLE setting ("
    "  key TEXT PRIMARY KEY,"
    "  value TEXT NOT NULL" FITS("value", "255")
    ") STRICT;"

    "CREATE TABLE image ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL COLLATE NOCASE UNIQUE" IS_NAME("name") ","
    "  is_data INTEGER NOT NULL" IS_BOOL("is_data") ","
    "  current INTEGER NOT NULL,"
    "  comment TEXT NOT NULL" FITS("comment", "255") ","
    "  created_at TEXT NOT NULL" FITS("created_at", "23") ","
    "  FOREIGN KEY (id, current) REFERENCES version (image_id, number) DEFERRABLE INITIALLY DEFERRED"
    ") STRICT;"

    "CREATE TABLE version ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  image_id INTEGER NOT NULL REFERENCES image (id),"
    "  number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),"
    "  parent_id INTEGER CHECK (parent_id <> id),"
    "  format TEXT NOT NULL CHECK (length(format) BETWEEN 1 AND 15 AND format NOT GLOB '*[^a-z0-9]*'),"
    "  path TEXT NOT NULL CHECK (path <> '')" FITS("path", "4095") ","
    "  is_adopted INTEGER NOT NULL" IS_BOOL("is_adopted") ","
    "  size_bytes INTEGER NOT NULL CHECK (size_bytes > 0 AND size_bytes % 512 = 0),"
    "  file_bytes INTEGER NOT NULL CHECK (file_bytes >= 0),"
    "  mtime_ns INTEGER NOT NULL,"
    "  identity TEXT NOT NULL CHECK (identity <> '')" FITS("identity", "79") ","
    "  full_hash TEXT NOT NULL" FITS("full_hash", "63") ","
    "  comment TEXT NOT NULL" FITS("comment", "255") ","
    "  created_at TEXT NOT NULL" FITS("created_at", "23") ","
    "  UNIQUE (image_id, number),"
    "  UNIQUE (id, image_id),"
    "  FOREIGN KEY (parent_id, image_id) REFERENCES version (id, image_id)"
    ") STRICT;"
    "CREATE INDEX version_parent ON version (parent_id, image_id);"

    "CREATE TABLE overlay_dir ("
    "  name TEXT PRIMARY KEY COLLATE NOCASE"
    "    CHECK (name GLOB '[A-Za-z0-9]*' AND name NOT GLOB '*[^A-Za-z0-9._-]*')" FITS("name", "79")
    ") STRICT;"

    "CREATE TABLE client ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL COLLATE NOCASE UNIQUE" IS_NAME("name") ","
    "  mac TEXT NOT NULL UNIQUE" IS_MAC("mac") ","
    "  ip TEXT NOT NULL" FITS("ip", "45") ","
    "  \"group\" TEXT NOT NULL COLLATE NOCASE" FITS("\"group\"", "63") ","
    "  mode TEXT NOT NULL CHECK (mode IN ('volatile', 'kept', 'super')),"
    "  iqn TEXT NOT NULL UNIQUE CHECK (iqn GLOB 'iqn.*')" FITS("iqn", "223") ","
    "  chap_user TEXT NOT NULL UNIQUE CHECK (chap_user <> '')" FITS("chap_user", "63") ","
    "  chap_password TEXT NOT NULL CHECK (length(chap_password) BETWEEN 12 AND 16),"
    "  overlay_dir TEXT NOT NULL COLLATE NOCASE UNIQUE REFERENCES overlay_dir (name),"
    "  comment TEXT NOT NULL" FITS("comment", "255") ","
    "  created_at TEXT NOT NULL" FITS("created_at", "23")
    ") STRICT;"
    "CREATE UNIQUE INDEX client_ip ON client (ip) WHERE ip <> '';"

    "CREATE TABLE link ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  client_id INTEGER NOT NULL REFERENCES client (id) ON DELETE CASCADE,"
    "  slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 15),"
    "  image_id INTEGER NOT NULL REFERENCES image (id),"
    "  pinned INTEGER,"
    "  UNIQUE (client_id, slot),"
    "  FOREIGN KEY (image_id, pinned) REFERENCES version (image_id, number)"
    ") STRICT;"
    "CREATE INDEX link_image ON link (image_id, pinned);"

    "CREATE TABLE overlay ("
    "  link_id INTEGER PRIMARY KEY REFERENCES link (id) ON DELETE CASCADE,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  version_id INTEGER NOT NULL REFERENCES version (id),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23")
    ") STRICT;"
    "CREATE INDEX overlay_version ON overlay (version_id);"

    "CREATE TABLE garbage ("
    "  id INTEGER PRIMARY KEY,"
    "  overlay_dir TEXT NOT NULL COLLATE NOCASE REFERENCES overlay_dir (name),"
    "  slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 15),"
    "  uuid TEXT NOT NULL CHECK (length(uuid) = 36),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23") ","
    "  UNIQUE (overlay_dir, slot, uuid)"
    ") STRICT;"

    "CREATE TABLE audit ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  at TEXT NOT NULL" FITS("at", "23") ","
    "  who TEXT NOT NULL,"
    "  verb TEXT NOT NULL,"
    "  object TEXT NOT NULL,"
    "  before TEXT NOT NULL,"
    "  after TEXT NOT NULL"
    ") STRICT;";

/* Booting: what happened, not what was configured; so rows do not refer to clients, who may be gone. clients.template was the name of a
 * client before it became a rule for names. */
static const char version_2[] =
    "CREATE TABLE pending ("
    "  mac TEXT PRIMARY KEY" IS_MAC("mac") ","
    "  address TEXT NOT NULL" FITS("address", "45") ","
    "  number INTEGER NOT NULL UNIQUE CHECK (number >= 1),"
    "  requests INTEGER NOT NULL CHECK (requests >= 1),"
    "  first_at TEXT NOT NULL" FITS("first_at", "23") ","
    "  last_at TEXT NOT NULL" FITS("last_at", "23")
    ") STRICT;"

    "CREATE TABLE boot ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  client_id INTEGER NOT NULL,"
    "  client TEXT NOT NULL,"
    "  mac TEXT NOT NULL" IS_MAC("mac") ","
    "  address TEXT NOT NULL" FITS("address", "45") ","
    "  image TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  script_s INTEGER NOT NULL,"
    "  login_s INTEGER NOT NULL,"
    "  first_read_s INTEGER NOT NULL,"
    "  last_read_s INTEGER NOT NULL,"
    "  end_s INTEGER NOT NULL,"
    "  read_bytes INTEGER NOT NULL,"
    "  written_bytes INTEGER NOT NULL,"
    "  refused TEXT NOT NULL" FITS("refused", "255")
    ") STRICT;"
    "CREATE INDEX boot_of_client ON boot (client_id, id);"

    "DELETE FROM setting WHERE key = 'clients.template' AND value NOT LIKE '%{%}%';";

/* Boot menus: slots 16 to 31 are further boot images of a client. Disabled clients, hidden images, a client's own network settings, budgets
 * of RAM. */
static const char version_3[] =
    "ALTER TABLE client ADD COLUMN is_disabled INTEGER NOT NULL DEFAULT 0" IS_BOOL("is_disabled") ";"
    "ALTER TABLE client ADD COLUMN boot_slot INTEGER NOT NULL DEFAULT 0"
    "  CHECK (boot_slot = 0 OR boot_slot BETWEEN 16 AND 31);"
    "ALTER TABLE client ADD COLUMN boot_default INTEGER NOT NULL DEFAULT 0"
    "  CHECK (boot_default = 0 OR boot_default BETWEEN 16 AND 31);"
    "ALTER TABLE client ADD COLUMN menu_timeout_s INTEGER NOT NULL DEFAULT 0"
    "  CHECK (menu_timeout_s BETWEEN 0 AND 3600);"
    "ALTER TABLE client ADD COLUMN netmask TEXT NOT NULL DEFAULT ''" FITS("netmask", "15") ";"
    "ALTER TABLE client ADD COLUMN gateway TEXT NOT NULL DEFAULT ''" FITS("gateway", "15") ";"
    "ALTER TABLE client ADD COLUMN dns TEXT NOT NULL DEFAULT ''" FITS("dns", "255") ";"
    "ALTER TABLE client ADD COLUMN ram_write_bytes INTEGER NOT NULL DEFAULT 0 CHECK (ram_write_bytes >= 0);"

    "ALTER TABLE image ADD COLUMN is_hidden INTEGER NOT NULL DEFAULT 0" IS_BOOL("is_hidden") ";"
    "ALTER TABLE image ADD COLUMN ram_cache_bytes INTEGER NOT NULL DEFAULT 0 CHECK (ram_cache_bytes >= 0);"

    "CREATE TABLE old_link AS SELECT * FROM link;"
    "CREATE TABLE old_overlay AS SELECT * FROM overlay;"
    "CREATE TABLE old_garbage AS SELECT * FROM garbage;"
    "CREATE TABLE old_sequence AS SELECT name, seq FROM sqlite_sequence WHERE name = 'link';"
    "DROP TABLE garbage;"
    "DROP TABLE overlay;"
    "DROP TABLE link;"

    "CREATE TABLE link ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  client_id INTEGER NOT NULL REFERENCES client (id) ON DELETE CASCADE,"
    "  slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 31),"
    "  image_id INTEGER NOT NULL REFERENCES image (id),"
    "  pinned INTEGER,"
    "  UNIQUE (client_id, slot),"
    "  FOREIGN KEY (image_id, pinned) REFERENCES version (image_id, number)"
    ") STRICT;"
    "CREATE INDEX link_image ON link (image_id, pinned);"

    "CREATE TABLE overlay ("
    "  link_id INTEGER PRIMARY KEY REFERENCES link (id) ON DELETE CASCADE,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  version_id INTEGER NOT NULL REFERENCES version (id),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23")
    ") STRICT;"
    "CREATE INDEX overlay_version ON overlay (version_id);"

    "CREATE TABLE garbage ("
    "  id INTEGER PRIMARY KEY,"
    "  overlay_dir TEXT NOT NULL COLLATE NOCASE REFERENCES overlay_dir (name),"
    "  slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 31),"
    "  uuid TEXT NOT NULL CHECK (length(uuid) = 36),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23") ","
    "  UNIQUE (overlay_dir, slot, uuid)"
    ") STRICT;"

    "INSERT INTO link (id, client_id, slot, image_id, pinned) SELECT id, client_id, slot, image_id, pinned FROM old_link;"
    "INSERT INTO overlay (link_id, uuid, version_id, created_at)"
    "  SELECT link_id, uuid, version_id, created_at FROM old_overlay;"
    "INSERT INTO garbage (id, overlay_dir, slot, uuid, created_at)"
    "  SELECT id, overlay_dir, slot, uuid, created_at FROM old_garbage;"
    "DELETE FROM sqlite_sequence WHERE name = 'link';"
    "INSERT INTO sqlite_sequence (name, seq) SELECT name, seq FROM old_sequence;"
    "DROP TABLE old_link;"
    "DROP TABLE old_overlay;"
    "DROP TABLE old_garbage;"
    "DROP TABLE old_sequence;";

/* Imports: what a foreign source said about a client and what was stored here, for each origin; what a run changed, for its undo. Rows do not
 * refer to clients and images, which may be removed at any time. */
static const char version_4[] =
    "CREATE TABLE import_run ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  at TEXT NOT NULL" FITS("at", "23") ","
    "  who TEXT NOT NULL,"
    "  origin TEXT NOT NULL CHECK (origin <> '')" FITS("origin", "15") ","
    "  source TEXT NOT NULL,"
    "  sha256 TEXT NOT NULL,"
    "  summary TEXT NOT NULL,"
    "  is_undone INTEGER NOT NULL" IS_BOOL("is_undone")
    ") STRICT;"

    "CREATE TABLE import_source ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  key TEXT NOT NULL UNIQUE CHECK (key <> ''),"
    "  raw TEXT NOT NULL,"
    "  image_id INTEGER NOT NULL,"
    "  run_id INTEGER NOT NULL REFERENCES import_run (id),"
    "  image_run_id INTEGER NOT NULL,"
    "  is_added INTEGER NOT NULL" IS_BOOL("is_added")
    ") STRICT;"

    "CREATE TABLE import_client ("
    "  mac TEXT NOT NULL" IS_MAC("mac") ","
    "  origin TEXT NOT NULL,"
    "  client_id INTEGER NOT NULL,"
    "  run_id INTEGER NOT NULL REFERENCES import_run (id),"
    "  is_created INTEGER NOT NULL" IS_BOOL("is_created") ","
    "  is_gone INTEGER NOT NULL" IS_BOOL("is_gone") ","
    "  source_id TEXT NOT NULL,"
    "  src TEXT NOT NULL,"
    "  given TEXT NOT NULL,"
    "  PRIMARY KEY (mac, origin)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX import_client_run ON import_client (run_id, client_id);"

    "CREATE TABLE import_change ("
    "  id INTEGER PRIMARY KEY,"
    "  run_id INTEGER NOT NULL REFERENCES import_run (id),"
    "  client_id INTEGER NOT NULL,"
    "  mac TEXT NOT NULL" IS_MAC("mac") ","
    "  before TEXT NOT NULL,"
    "  after TEXT NOT NULL,"
    "  was_tracked INTEGER NOT NULL" IS_BOOL("was_tracked") ","
    "  src TEXT NOT NULL,"
    "  given TEXT NOT NULL,"
    "  was_gone INTEGER NOT NULL" IS_BOOL("was_gone")
    ") STRICT;"
    "CREATE INDEX import_change_run ON import_change (run_id, client_id);";

/* Imports of many clients. What is remembered of new ones is many rows of import_client in one, until the next import of that origin
 * (catalog-import-pack.c). overlay_dir holds the folders that no client has any more, or that garbage lies in, and no longer one more row for each client:
 * a folder was given out when it is there or some client's. */
static const char version_5[] =
    "CREATE TABLE import_pack ("
    "  id INTEGER PRIMARY KEY,"
    "  run_id INTEGER NOT NULL REFERENCES import_run (id),"
    "  data BLOB NOT NULL"
    ") STRICT;"
    "CREATE INDEX import_pack_run ON import_pack (run_id);"

    "CREATE TABLE old_client AS SELECT * FROM client;"
    "CREATE TABLE old_link AS SELECT * FROM link;"
    "CREATE TABLE old_overlay AS SELECT * FROM overlay;"
    "CREATE TABLE old_sequence AS SELECT name, seq FROM sqlite_sequence WHERE name IN ('client', 'link');"
    "DROP TABLE overlay;"
    "DROP TABLE link;"
    "DROP TABLE client;"

    "CREATE TABLE client ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL COLLATE NOCASE UNIQUE" IS_NAME("name") ","
    "  mac TEXT NOT NULL UNIQUE" IS_MAC("mac") ","
    "  ip TEXT NOT NULL" FITS("ip", "45") ","
    "  \"group\" TEXT NOT NULL COLLATE NOCASE" FITS("\"group\"", "63") ","
    "  mode TEXT NOT NULL CHECK (mode IN ('volatile', 'kept', 'super')),"
    "  iqn TEXT NOT NULL UNIQUE CHECK (iqn GLOB 'iqn.*')" FITS("iqn", "223") ","
    "  chap_user TEXT NOT NULL UNIQUE CHECK (chap_user <> '')" FITS("chap_user", "63") ","
    "  chap_password TEXT NOT NULL CHECK (length(chap_password) BETWEEN 12 AND 16),"
    "  overlay_dir TEXT NOT NULL COLLATE NOCASE UNIQUE" IS_DIR("overlay_dir") ","
    "  comment TEXT NOT NULL" FITS("comment", "255") ","
    "  created_at TEXT NOT NULL" FITS("created_at", "23") ","
    "  is_disabled INTEGER NOT NULL DEFAULT 0" IS_BOOL("is_disabled") ","
    "  boot_slot INTEGER NOT NULL DEFAULT 0 CHECK (boot_slot = 0 OR boot_slot BETWEEN 16 AND 31),"
    "  boot_default INTEGER NOT NULL DEFAULT 0 CHECK (boot_default = 0 OR boot_default BETWEEN 16 AND 31),"
    "  menu_timeout_s INTEGER NOT NULL DEFAULT 0 CHECK (menu_timeout_s BETWEEN 0 AND 3600),"
    "  netmask TEXT NOT NULL DEFAULT ''" FITS("netmask", "15") ","
    "  gateway TEXT NOT NULL DEFAULT ''" FITS("gateway", "15") ","
    "  dns TEXT NOT NULL DEFAULT ''" FITS("dns", "255") ","
    "  ram_write_bytes INTEGER NOT NULL DEFAULT 0 CHECK (ram_write_bytes >= 0)"
    ") STRICT;"
    "CREATE UNIQUE INDEX client_ip ON client (ip) WHERE ip <> '';"

    "CREATE TABLE link ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  client_id INTEGER NOT NULL REFERENCES client (id) ON DELETE CASCADE,"
    "  slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 31),"
    "  image_id INTEGER NOT NULL REFERENCES image (id),"
    "  pinned INTEGER,"
    "  UNIQUE (client_id, slot),"
    "  FOREIGN KEY (image_id, pinned) REFERENCES version (image_id, number)"
    ") STRICT;"
    "CREATE INDEX link_image ON link (image_id, pinned);"

    "CREATE TABLE overlay ("
    "  link_id INTEGER PRIMARY KEY REFERENCES link (id) ON DELETE CASCADE,"
    "  uuid TEXT NOT NULL UNIQUE CHECK (length(uuid) = 36),"
    "  version_id INTEGER NOT NULL REFERENCES version (id),"
    "  created_at TEXT NOT NULL" FITS("created_at", "23")
    ") STRICT;"
    "CREATE INDEX overlay_version ON overlay (version_id);"

    "INSERT INTO client (id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment, created_at,"
    "  is_disabled, boot_slot, boot_default, menu_timeout_s, netmask, gateway, dns, ram_write_bytes)"
    "  SELECT id, name, mac, ip, \"group\", mode, iqn, chap_user, chap_password, overlay_dir, comment, created_at,"
    "  is_disabled, boot_slot, boot_default, menu_timeout_s, netmask, gateway, dns, ram_write_bytes FROM old_client;"
    "INSERT INTO link (id, client_id, slot, image_id, pinned) SELECT id, client_id, slot, image_id, pinned FROM old_link;"
    "INSERT INTO overlay (link_id, uuid, version_id, created_at)"
    "  SELECT link_id, uuid, version_id, created_at FROM old_overlay;"
    "DELETE FROM sqlite_sequence WHERE name IN ('client', 'link');"
    "INSERT INTO sqlite_sequence (name, seq) SELECT name, seq FROM old_sequence;"
    "DROP TABLE old_client;"
    "DROP TABLE old_link;"
    "DROP TABLE old_overlay;"
    "DROP TABLE old_sequence;"

    "DELETE FROM overlay_dir WHERE name IN (SELECT overlay_dir FROM client)"
    "  AND name NOT IN (SELECT overlay_dir FROM garbage);"
    "CREATE TRIGGER client_leaves_its_folder AFTER DELETE ON client BEGIN"
    "  INSERT INTO overlay_dir (name) SELECT old.overlay_dir"
    "    WHERE NOT EXISTS (SELECT 1 FROM overlay_dir WHERE name = old.overlay_dir);"
    " END;"
    "CREATE TRIGGER client_keeps_its_folder BEFORE UPDATE OF overlay_dir ON client"
    "  WHEN new.overlay_dir IS NOT old.overlay_dir COLLATE BINARY BEGIN"
    "  SELECT raise(ABORT, 'a client keeps its folder');"
    " END;"
    "CREATE TRIGGER garbage_is_in_a_folder BEFORE INSERT ON garbage BEGIN"
    "  INSERT INTO overlay_dir (name) SELECT new.overlay_dir"
    "    WHERE NOT EXISTS (SELECT 1 FROM overlay_dir WHERE name = new.overlay_dir);"
    " END;";

static const struct schema_step steps_of_catalog[] = {
    {1, version_1},
    {2, version_2},
    {3, version_3},
    {4, version_4},
    {5, version_5},
};
/* clang-format on */

static_assert(ARRAY_SIZE(steps_of_catalog) == CATALOG_VERSION, "one step for each user_version");

const struct schema_step *schema_steps(size_t *ret_n)
{
    *ret_n = ARRAY_SIZE(steps_of_catalog);
    return steps_of_catalog;
}

/* The steps above the version found now that the write lock is held: another program may have migrated a moment ago. */
static int migrate_locked(struct catalog *c, const struct schema_step *steps, size_t n, struct err *err)
{
    int64_t version;
    int r = db_number(c, "PRAGMA user_version", ARGS(), &version, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        char pragma[48];
        if (steps[i].user_version <= version)
            continue;
        (void)snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", steps[i].user_version);
        r = db_exec(c, steps[i].sql, err);
        if (r == 0)
            r = db_exec(c, pragma, err);
        if (r < 0)
            return err_prefix(err, r, "cannot bring the catalog to version %d", steps[i].user_version);
    }
    return r;
}

int schema_migrate(struct catalog *c, const struct schema_step *steps, size_t n, struct err *err)
{
    int r = db_exec(c, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    r = migrate_locked(c, steps, n, err);
    if (r == 0)
        r = db_exec(c, "COMMIT", err);
    if (r < 0 && !sqlite3_get_autocommit(c->db))
        (void)db_exec(c, "ROLLBACK", NULL); /* the failure that is reported came before */
    return r;
}
