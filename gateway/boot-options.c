/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `boot options`: what another DHCP server has to say so that its PCs boot from this gateway. Each text is whole: comments in the server's own
 * form and the lines between them can be pasted as they are.
 *
 * All say the same three things: BIOS gets undionly.kpxe, UEFI (architectures 7 and 9) the iPXE for UEFI, both by TFTP from the gateway; and who
 * says "iPXE" as user class (option 77) gets the address of its script. Without the third iPXE would load itself for ever.
 *
 * Sources: dnsmasq(8); dhcpd.conf(5) and dhcp-eval(5); Kea ARM, client classification; Windows: help of netsh dhcp server and of the
 * module DhcpServer; RouterOS manual, DHCP server, matchers; OpenWrt's init script of dnsmasq, which reads /etc/dnsmasq.conf too.
 * A text is a table of pieces with the marks below, so that the lines can be read here as they will be printed.
 *
 *   @A address of the gateway   @B boot file for BIOS   @E boot file for UEFI   @U address of the scripts   @H HTTP port
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "gateway/boot-net.h"
#include "gateway/boot.h"

/* clang-format off */
#define DNSMASQ_LINES \
    "dhcp-userclass=set:ipxe,iPXE\n" \
    "dhcp-match=set:bios,option:client-arch,0\n" \
    "dhcp-match=set:efi64,option:client-arch,7\n" \
    "dhcp-match=set:efi64,option:client-arch,9\n" \
    "dhcp-boot=tag:!ipxe,tag:bios,@B,,@A\n" \
    "dhcp-boot=tag:!ipxe,tag:efi64,@E,,@A\n" \
    "dhcp-boot=tag:ipxe,@U,,@A\n"

static const char general[] =
    "How PCs find this gateway, @A\n"
    "\n"
    "1. Nothing is to be changed on the present DHCP server: proxyDHCP. It adds the boot file to the answers that the other server\n"
    "   gives; the gateway must be in the same network as the PCs.\n"
    "     diskgate set boot.dhcp proxy && diskgate up\n"
    "\n"
    "2. The present DHCP server names the boot file; the gateway serves it by TFTP.\n"
    "     diskgate set boot.dhcp tftp && diskgate up\n"
    "     option 66 (next server, TFTP server)      @A\n"
    "     option 67 (boot file), BIOS PCs           @B      client architecture (option 93) 0\n"
    "     option 67 (boot file), UEFI PCs           @E       client architecture 7 or 9\n"
    "     option 67 for user class iPXE (option 77) @U\n"
    "   The exact lines: diskgate boot options dnsmasq | isc-dhcpd | kea | windows | mikrotik | openwrt\n"
    "\n"
    "3. There is no other DHCP server: the gateway is one.\n"
    "     diskgate set boot.dhcp_range FIRST-LAST && diskgate set boot.dhcp full && diskgate up\n"
    "\n"
    "PCs behind a router: broadcasts do not pass it. Its DHCP relay must name the DHCP server, and with proxyDHCP this gateway as well:\n"
    "     Cisco:     interface of the PCs: ip helper-address DHCP-SERVER and ip helper-address @A\n"
    "     MikroTik:  /ip dhcp-relay add name=diskgate interface=PCS dhcp-server=DHCP-SERVER,@A disabled=no\n"
    "     Linux:     dhcrelay -i PCS DHCP-SERVER @A\n"
    "   proxyDHCP through a relay is not what every PC's firmware takes; options 66 and 67 (way 2) always work there.\n"
    "\n"
    "A firewall must let through to @A: UDP 67 and 4011 (DHCP), UDP 69 and the ports above 1023 (TFTP), TCP @H (scripts) and\n"
    "the TCP ports of the disks ('diskgate set' shows gateway.port and gateway.shards).\n";

static const char dnsmasq[] =
    "# dnsmasq as the present DHCP server: into /etc/dnsmasq.d/diskgate.conf, then restart it.\n"
    "# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    DNSMASQ_LINES;

static const char isc_dhcpd[] =
    "# ISC dhcpd: into /etc/dhcp/dhcpd.conf outside of (or into) the PCs' subnet, then restart it.\n"
    "# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    "option diskgate-arch code 93 = unsigned integer 16;\n"
    "next-server @A;\n"
    "if exists user-class and option user-class = \"iPXE\" {\n"
    "    filename \"@U\";\n"
    "} elsif option diskgate-arch = 00:07 or option diskgate-arch = 00:09 {\n"
    "    filename \"@E\";\n"
    "} else {\n"
    "    filename \"@B\";\n"
    "}\n";

static const char kea[] =
    "// Kea: the classes go into \"Dhcp4\" of /etc/kea/kea-dhcp4.conf, to others that are there; then restart it.\n"
    "// The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    "{\n"
    "    \"Dhcp4\": {\n"
    "        \"client-classes\": [\n"
    "            {\n"
    "                \"name\": \"diskgate-ipxe\",\n"
    "                \"test\": \"substring(option[77].hex, 0, 4) == 'iPXE'\",\n"
    "                \"next-server\": \"@A\",\n"
    "                \"boot-file-name\": \"@U\"\n"
    "            },\n"
    "            {\n"
    "                \"name\": \"diskgate-efi\",\n"
    "                \"test\": \"(option[93].hex == 0x0007 or option[93].hex == 0x0009) and not member('diskgate-ipxe')\",\n"
    "                \"next-server\": \"@A\",\n"
    "                \"boot-file-name\": \"@E\"\n"
    "            },\n"
    "            {\n"
    "                \"name\": \"diskgate-bios\",\n"
    "                \"test\": \"option[93].hex == 0x0000 and not member('diskgate-ipxe')\",\n"
    "                \"next-server\": \"@A\",\n"
    "                \"boot-file-name\": \"@B\"\n"
    "            }\n"
    "        ]\n"
    "    }\n"
    "}\n";

/* netsh knows user classes but no policies, so architectures need the module DhcpServer (since Windows Server 2012). */
static const char windows[] =
    "# Windows DHCP server, as administrator. For all scopes; for one scope only, 'netsh dhcp server scope NETWORK set optionvalue' and\n"
    "# the parameter -ScopeId NETWORK.\n"
    "# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    "#\n"
    "# In a command prompt: what BIOS PCs get, and the address of the script for iPXE.\n"
    "netsh dhcp server add class \"Diskgate iPXE\" \"PCs that run iPXE\" \"iPXE\" 0 a\n"
    "netsh dhcp server set optionvalue 066 STRING \"@A\"\n"
    "netsh dhcp server set optionvalue 067 STRING \"@B\"\n"
    "netsh dhcp server set optionvalue 066 STRING user=\"Diskgate iPXE\" \"@A\"\n"
    "netsh dhcp server set optionvalue 067 STRING user=\"Diskgate iPXE\" \"@U\"\n"
    "#\n"
    "# In PowerShell (Windows Server 2012 and later): UEFI PCs. iPXE on them is told apart by its class, as above.\n"
    "Add-DhcpServerv4Class -Name 'Diskgate UEFI 7' -Type Vendor -Data 'PXEClient:Arch:00007'\n"
    "Add-DhcpServerv4Class -Name 'Diskgate UEFI 9' -Type Vendor -Data 'PXEClient:Arch:00009'\n"
    "Add-DhcpServerv4Policy -Name 'Diskgate iPXE' -Condition OR -UserClass EQ,'Diskgate iPXE' -ProcessingOrder 1\n"
    "Set-DhcpServerv4OptionValue -PolicyName 'Diskgate iPXE' -OptionId 66 -Value '@A'\n"
    "Set-DhcpServerv4OptionValue -PolicyName 'Diskgate iPXE' -OptionId 67 -Value '@U'\n"
    "Add-DhcpServerv4Policy -Name 'Diskgate UEFI' -Condition OR -VendorClass EQ,'Diskgate UEFI 7*','Diskgate UEFI 9*' -ProcessingOrder 2\n"
    "Set-DhcpServerv4OptionValue -PolicyName 'Diskgate UEFI' -OptionId 66 -Value '@A'\n"
    "Set-DhcpServerv4OptionValue -PolicyName 'Diskgate UEFI' -OptionId 67 -Value '@E'\n";

static const char mikrotik[] =
    "# MikroTik RouterOS 7.4 or later, in its terminal. DHCP1 is the name of the DHCP server ('/ip dhcp-server print').\n"
    "# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    "/ip dhcp-server network set [find] next-server=@A boot-file-name=@B\n"
    "/ip dhcp-server option add name=diskgate-server code=66 value=\"s'@A'\"\n"
    "/ip dhcp-server option add name=diskgate-efi code=67 value=\"s'@E'\"\n"
    "/ip dhcp-server option add name=diskgate-script code=67 value=\"s'http://@A:@H/boot/\\${netX/mac}'\"\n"
    "/ip dhcp-server option sets add name=diskgate-efi options=diskgate-server,diskgate-efi\n"
    "/ip dhcp-server option sets add name=diskgate-script options=diskgate-server,diskgate-script\n"
    "/ip dhcp-server matcher add name=diskgate-script server=DHCP1 code=77 value=iPXE option-set=diskgate-script\n"
    "/ip dhcp-server matcher add name=diskgate-efi7 server=DHCP1 code=93 value=0x0007 option-set=diskgate-efi\n"
    "/ip dhcp-server matcher add name=diskgate-efi9 server=DHCP1 code=93 value=0x0009 option-set=diskgate-efi\n"
    "# The matchers are asked from top to bottom: the one for iPXE must stay the first.\n";

static const char openwrt[] =
    "# OpenWrt, in a shell on the router. Its dnsmasq reads /etc/dnsmasq.conf besides what uci says.\n"
    "# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up\n"
    "cat >>/etc/dnsmasq.conf <<'DISKGATE'\n"
    DNSMASQ_LINES
    "DISKGATE\n"
    "/etc/init.d/dnsmasq restart\n";
/* clang-format on */

static const struct {
    const char *name, *text;
} servers[] = {{"dnsmasq", dnsmasq}, {"isc-dhcpd", isc_dhcpd}, {"kea", kea},
               {"windows", windows}, {"mikrotik", mikrotik},   {"openwrt", openwrt}};

static const char *find_text(const char *server, struct err *err)
{
    if (!server)
        return general;
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
        if (strcasecmp(servers[i].name, server) == 0)
            return servers[i].text;
    (void)err_set(err, -EINVAL, "'%.60s' is none of: dnsmasq, isc-dhcpd, kea, windows, mikrotik, openwrt", server);
    return NULL;
}

/* @text with its marks filled in. */
static void put_text(FILE *f, const char *text, const struct boot_net *n)
{
    for (const char *p = text; *p; p++) {
        if (*p != '@') {
            (void)fputc(*p, f); /* memory that runs out is seen at the end */
            continue;
        }
        switch (*++p) {
        case 'A':
            (void)fputs(n->address, f);
            break;
        case 'B':
            (void)fputs(BOOT_BIOS_FILE, f);
            break;
        case 'E':
            (void)fputs(n->efi_file, f);
            break;
        case 'H':
            (void)fprintf(f, "%u", n->http_port);
            break;
        case 'U':
            (void)fputs(n->url, f);
            break;
        }
    }
}

int boot_options(struct catalog *c, const char *server, char **ret, struct err *err)
{
    struct boot_net n;
    char *text = NULL;
    size_t len;
    const char *source = find_text(server, err);
    int r = source ? boot_net_read(&n, c, err) : -EINVAL;
    if (r < 0)
        return r == -EINVAL && source ? -EADDRNOTAVAIL : r; /* -EINVAL says that there is no such server */
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return err_sys(err, -ENOMEM, "cannot make the lines");
    put_text(f, source, &n);
    bool is_short = ferror(f);
    if (fclose(f) == EOF || is_short) {
        free(text);
        return err_sys(err, -ENOMEM, "cannot make the lines");
    }
    *ret = text;
    return 0;
}
