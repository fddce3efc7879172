/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files for dnsmasq: its configuration and the folder that it serves by TFTP.
 *
 *   first request of a PC      -> undionly.kpxe (architecture 0) or efi_file (7, 9), by TFTP
 *   iPXE's request             -> http://GATEWAY:PORT/boot/${netX/mac}: iPXE says "iPXE" as its user class
 *
 *   boot.dhcp   DHCP                                       TFTP
 *   full        addresses, router, names, boot files       yes
 *   proxy       boot files only; another server has the    yes
 *               addresses and need not know of us
 *   tftp        none: another server names the boot files  yes
 *   off         as tftp; `up` does not start it, the file is for who wants to run dnsmasq by himself
 *
 * (1) A file is written only when it differs, and replaced as a whole.
 * (2) Text of the catalog is in a form that cannot end a line of the configuration; paths are quoted.
 * With the answer to iPXE's search for an IPv6 router we say "I am none" (lifetime 0): it only ends the search.
 */
#include "gateway/boot-render.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/root.h"
#include "core/util.h"
#include "gateway/boot.h"

#define TFTP_DIR      "tftp"
#define FILE_MAX_SIZE (16 * MiB)

static const char *const tftp_files[] = {BOOT_BIOS_FILE, "ipxe.efi", "snponly.efi"};

/* --- the configuration ------------------------------------------------------------------------------------------- */

/* "ROOT/run/NAME" in quotes, in which dnsmasq takes everything but quote and backslash as it is. */
static void put_path(FILE *f, const char *root, const char *name)
{
    (void)fputc('"', f); /* memory that runs out is seen at the end */
    for (const char *p = root; *p; p++) {
        if (*p == '"' || *p == '\\')
            (void)fputc('\\', f);
        (void)fputc(*p, f);
    }
    (void)fprintf(f, "/run/%s\"", name);
}

static void put_head(FILE *f, const char *root, const struct boot_net *n)
{
    (void)fprintf(f, "# Written by 'diskgate boot render' from the settings boot.*; what is changed here is lost.\n"
                     "port=0\n"
                     "no-resolv\n"
                     "no-hosts\n"
                     "no-ping\n" /* it would hold each new PC for 3 s */
                     "log-dhcp\n"
                     "log-facility=-\n");
    (void)fprintf(f, "interface=%s\nbind-interfaces\nexcept-interface=lo\n", n->interface);
    (void)fputs("enable-tftp\ntftp-root=", f);
    put_path(f, root, TFTP_DIR);
    (void)fputs("\ndhcp-leasefile=", f);
    put_path(f, root, "dnsmasq.leases");
    (void)fputc('\n', f);
}

static bool is_host_name(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-')
            return false;
    return name[len - 1] != '-';
}

static bool is_taken(const struct client_row *rows, size_t n, const char *ip)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].ip, ip) == 0)
            return true;
    return false;
}

static bool has_own_network(const struct client_row *cl)
{
    return *cl->netmask || *cl->gateway || *cl->dns;
}

/* Options for one client alone, by the tag that its dhcp-host line sets. */
static void put_own_options(FILE *f, const struct client_row *cl)
{
    const struct {
        const char *name, *value;
    } rows[] = {{"netmask", cl->netmask}, {"router", cl->gateway}, {"dns-server", cl->dns}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (*rows[i].value)
            (void)fprintf(f, "dhcp-option=tag:client%" PRId64 ",option:%s,%s\n", cl->id, rows[i].name, rows[i].value);
}

/* One line for each client with an address or network settings of its own; dnsmasq does not start when an address comes twice. */
static int put_hosts(FILE *f, struct catalog *c, struct err *err)
{
    _cleanup_free_ struct client_row *rows = NULL;
    size_t n = 0;
    struct in_addr v4;
    int r = client_list(c, &rows, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        bool has_ip = inet_pton(AF_INET, rows[i].ip, &v4) == 1, has_own = has_own_network(&rows[i]);
        if (!has_ip && !has_own)
            continue;
        bool is_second = has_ip && is_taken(rows, i, rows[i].ip), has_name = is_host_name(rows[i].name);
        (void)fprintf(f, "%sdhcp-host=%s", is_second ? "# given to another client: " : "", rows[i].mac);
        if (has_own)
            (void)fprintf(f, ",set:client%" PRId64, rows[i].id);
        (void)fprintf(f, "%s%s%s%s\n", has_ip ? "," : "", has_ip ? rows[i].ip : "", has_name ? "," : "",
                      has_name ? rows[i].name : "");
        put_own_options(f, &rows[i]);
    }
    if (rows)
        explicit_bzero(rows, n * sizeof(*rows)); /* secrets */
    return r;
}

/* An empty value tells dnsmasq to say nothing where it would name itself. */
static int put_full(FILE *f, struct catalog *c, const struct boot_net *n, struct err *err)
{
    (void)fprintf(f, "dhcp-authoritative\ndhcp-range=%s,%s,%s,%s\n", *n->first ? n->first : n->network,
                  *n->first ? n->last : "static", n->mask, n->lease);
    (void)fprintf(f, "dhcp-option=option:router%s%s\n", *n->router ? "," : "", n->router);
    (void)fprintf(f, "dhcp-option=option:dns-server%s%s\n", *n->dns ? "," : "", n->dns);
    if (n->has_ra)
        (void)fprintf(f, "enable-ra\nra-param=%s,60,0\ndhcp-range=::,constructor:%s,ra-only\n", n->interface,
                      n->interface);
    return put_hosts(f, c, err);
}

static void put_proxy(FILE *f, const struct boot_net *n)
{
    (void)fprintf(f, "dhcp-range=%s,proxy,%s\n", n->network, n->mask);
    (void)fprintf(f, "pxe-service=tag:!ipxe,x86PC,\"Diskgate\",%s\n", BOOT_BIOS_FILE);
    (void)fprintf(f, "pxe-service=tag:!ipxe,BC_EFI,\"Diskgate\",%s\n", n->efi_file);
    (void)fprintf(f, "pxe-service=tag:!ipxe,x86-64_EFI,\"Diskgate\",%s\n", n->efi_file);
}

static void put_boot(FILE *f, const struct boot_net *n)
{
    (void)fputs("dhcp-userclass=set:ipxe,iPXE\n"
                "dhcp-match=set:bios,option:client-arch,0\n"
                "dhcp-match=set:efi64,option:client-arch,7\n"
                "dhcp-match=set:efi64,option:client-arch,9\n",
                f);
    (void)fprintf(f, "dhcp-boot=tag:!ipxe,tag:bios,%s,,%s\n", BOOT_BIOS_FILE, n->address);
    (void)fprintf(f, "dhcp-boot=tag:!ipxe,tag:efi64,%s,,%s\n", n->efi_file, n->address);
    (void)fprintf(f, "dhcp-boot=tag:ipxe,%s,,%s\n", n->url, n->address);
}

int boot_render_conf(const char *root, struct catalog *c, const struct boot_net *n, char **ret, struct err *err)
{
    char *text = NULL;
    size_t len;
    if (strpbrk(root, "\n\r"))
        return err_set(err, -EINVAL, "dnsmasq cannot work in a root whose path has a line break");
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot make dnsmasq's configuration");
    int r = 0;
    put_head(f, root, n);
    if (n->mode == DHCP_FULL)
        r = put_full(f, c, n, err);
    if (n->mode == DHCP_PROXY)
        put_proxy(f, n);
    if (n->mode == DHCP_FULL || n->mode == DHCP_PROXY)
        put_boot(f, n);
    bool is_short = ferror(f);
    is_short = fclose(f) == EOF || is_short;
    if (r == 0 && is_short)
        r = err_sys(err, -ENOMEM, "cannot make dnsmasq's configuration");
    if (r < 0)
        free(text);
    else
        *ret = text;
    return r;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/* Make file @name of folder @dirfd these bytes. 1 when it was written, 0 when it was like that. */
static int put_file(int dirfd, const char *folder, const char *name, const char *data, size_t len, json_t *list,
                    struct err *err)
{
    _cleanup_free_ char *old = NULL;
    size_t old_len = 0;
    int r = file_read(dirfd, name, FILE_MAX_SIZE, &old, &old_len);
    bool is_new = r < 0 || old_len != len || memcmp(old, data, len) != 0;
    if (is_new) {
        r = file_replace(dirfd, name, data, len, 0644);
        if (r < 0)
            return err_sys(err, r, "cannot write '%s/%s'", folder, name);
    }
    char path[PATH_MAX + NAME_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name); /* fits */
    (void)json_array_append_new(list, json_pack("{s:s, s:I, s:b}", "path", path, "size_bytes", (json_int_t)len,
                                                "is_new", is_new)); /* a list too short is all that can happen */
    return is_new;
}

static int copy_ipxe(int tftp_fd, const char *folder, const struct boot_net *n, const char *name, json_t *list,
                     struct err *err)
{
    char path[SETTING_LEN + 32];
    _cleanup_free_ char *data = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", n->ipxe_folder, name); /* fits */
    int r = file_read(AT_FDCWD, path, FILE_MAX_SIZE, &data, &len);
    if (r == -ENOENT)
        return err_set(err, r,
                       "there is no '%s': install iPXE with 'apt-get install ipxe', or set boot.ipxe_folder to where "
                       "its files are",
                       path);
    if (r < 0)
        return err_sys(err, r, "cannot read '%s'", path);
    if (len == 0)
        return err_set(err, -EBADMSG, "'%s' is empty; install the package ipxe again", path);
    return put_file(tftp_fd, folder, name, data, len, list, err);
}

static int put_tftp(const char *root, const struct boot_net *n, json_t *list, struct err *err)
{
    char folder[PATH_MAX];
    int count = 0, r = root_path(root, "run/" TFTP_DIR, folder, err);
    if (r < 0)
        return r;
    r = make_dirs(folder, 0755);
    if (r < 0)
        return err_sys(err, r, "cannot make folder '%s'", folder);
    _cleanup_close_ int fd = root_open_dir(root, "run/" TFTP_DIR, err);
    if (fd < 0)
        return fd;
    for (size_t i = 0; i < ARRAY_SIZE(tftp_files); i++) {
        r = copy_ipxe(fd, folder, n, tftp_files[i], list, err);
        if (r < 0)
            return r;
        count += r;
    }
    return count;
}

static int put_conf(const char *root, struct catalog *c, const struct boot_net *n, json_t *list, struct err *err)
{
    char folder[PATH_MAX];
    _cleanup_free_ char *text = NULL;
    int r = boot_render_conf(root, c, n, &text, err);
    r = r ? r : root_path(root, "run", folder, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = root_open_dir(root, "run", err);
    return fd < 0 ? fd : put_file(fd, folder, DNSMASQ_CONF, text, strlen(text), list, err);
}

int boot_render_files(const char *root, struct catalog *c, json_t **ret_files, struct err *err)
{
    struct boot_net n;
    json_t *list = json_array();
    int r = boot_net_read(&n, c, err);
    r = r ? r : boot_net_find(&n, err);
    int copied = r ? r : put_tftp(root, &n, list, err);
    r = copied < 0 ? copied : put_conf(root, c, &n, list, err);
    if (r < 0 || !ret_files)
        json_decref(list);
    else
        *ret_files = list;
    return r < 0 ? r : copied + r;
}
