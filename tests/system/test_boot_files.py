# SPDX-License-Identifier: GPL-2.0-or-later
"""What a PC meets before its script: dnsmasq's configuration, its life with `up` and `down`, and the lines for other DHCP servers.

Each configuration is read by the real program where Debian has it."""

import json
import os
import shutil
import subprocess

import pytest
from support import netboot
from support.files import MIB, make_image
from support.netboot import GATEWAY
from support.root import LIMIT_S

SCRIPT = f"http://{GATEWAY}:8080/boot/${{netX/mac}}"
RANGE = "10.77.0.100-10.77.0.199"


@pytest.fixture
def network(request):
    for name in ("ip", "nsenter"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    made = netboot.Network(f"dgf{os.getpid()}")
    yield made
    faults = made.close()
    assert not faults, faults


@pytest.fixture
def root(programs, network):
    made = netboot.NetRoot(programs, LIMIT_S - 15, network)
    made.init()
    made.ok("set", "gateway.address", GATEWAY)
    made.ok("set", "boot.port", 8080)  # nobody else is in its network
    yield made
    faults = made.close()
    assert not faults, faults


def need(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


def accepts(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def conf(root):
    return root.path / "run" / "dnsmasq.conf"


def lines(root):
    return conf(root).read_text().splitlines()


# --- boot render ---


@pytest.mark.parametrize("mode", ["off", "tftp", "proxy", "full"])
def test_dnsmasq_accepts_what_render_writes(root, mode):
    need("dnsmasq")
    root.ok("set", "boot.dhcp", mode)
    root.ok("set", "boot.dhcp_range", RANGE)
    root.ok("set", "boot.dhcp_dns", "10.77.0.1, 10.77.0.2")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--ip", "10.77.0.51")
    root.ok("boot", "render")
    accepts("dnsmasq", "--test", f"--conf-file={conf(root)}")
    assert ("dhcp-host=52:54:00:00:00:01,10.77.0.51,pc01" in lines(root)) == (mode == "full")
    assert (f"dhcp-boot=tag:ipxe,{SCRIPT},,{GATEWAY}" in lines(root)) == (mode in ("full", "proxy"))
    assert ("dhcp-range=10.77.0.0,proxy,255.255.255.0" in lines(root)) == (mode == "proxy")
    for name in ("undionly.kpxe", "ipxe.efi", "snponly.efi"):
        copied = root.path / "run" / "tftp" / name
        assert not copied.is_symlink()
        assert copied.read_bytes() == open(f"/usr/lib/ipxe/{name}", "rb").read()


def test_render_leaves_alone_what_is_right(root):
    root.ok("boot", "render")
    files = [conf(root), *sorted((root.path / "run" / "tftp").iterdir())]
    before = [file.stat() for file in files]
    told = root.json("boot", "render")["files"]
    assert [file.stat() for file in files] == before
    assert [row["is_new"] for row in told] == [False] * 4
    files[1].write_bytes(b"damaged")
    assert [row["path"] for row in root.json("boot", "render")["files"] if row["is_new"]] == [str(files[1])]


def test_render_writes_paths_that_dnsmasq_takes_for_more(root):
    need("dnsmasq")
    odd = root.base / 'a "b", c\\d #e'
    root.path.rename(odd)
    root.path = odd
    root.ok("set", "boot.dhcp", "tftp")
    root.ok("boot", "render")
    accepts("dnsmasq", "--test", f"--conf-file={conf(root)}")


def test_render_says_what_is_missing(root):
    empty = root.files / "empty"
    empty.mkdir()
    root.ok("set", "boot.ipxe_folder", empty)
    assert "apt-get install ipxe" in root.fails("boot", "render")
    root.ok("set", "boot.ipxe_folder", "--default")
    root.ok("set", "gateway.address", "10.99.0.1")
    assert "no interface" in root.fails("boot", "render")
    root.ok("set", "gateway.address", "127.0.0.1")
    assert "gateway.address" in root.fails("boot", "render")
    root.ok("set", "gateway.address", GATEWAY)
    root.ok("set", "boot.dhcp_range", "10.88.0.100-10.88.0.199")
    assert "boot.dhcp_range" in root.fails("boot", "render")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("boot.dhcp", "yes"),
        ("boot.dhcp_range", "10.77.0.199-10.77.0.100"),
        ("boot.dhcp_range", "10.77.0.100"),
        ("boot.dhcp_router", "10.77.0.1,10.77.0.2"),
        ("boot.dhcp_dns", "10.77.0.1\n10.77.0.2"),
        ("boot.dhcp_lease", "1m"),
        ("boot.dhcp_lease", "12"),
        ("boot.interface", "eth0\ndhcp-script=/bin/sh"),
        ("boot.ipxe_folder", "relative"),
        ("boot.ipxe_folder", "/a\nb"),
    ],
)
def test_settings_of_booting_are_checked(root, key, value):
    said = root.run("set", key, value)
    assert said.returncode == 1, said
    assert key in said.stderr


# --- up and down ---


def dnsmasq_part(root):
    return next((part for part in root.json("status")["parts"] if part["part"] == "dnsmasq"), None)


def test_up_starts_dnsmasq_follows_the_catalog_and_down_stops_it(root):
    need("dnsmasq")
    root.ok("set", "boot.dhcp", "full")
    root.ok("up")
    first = dnsmasq_part(root)
    assert first["state"] == "up"
    root.ok("up")
    assert dnsmasq_part(root)["pid"] == first["pid"]
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--ip", "10.77.0.51")
    second = dnsmasq_part(root)
    assert second["state"] == "up"
    assert second["pid"] != first["pid"]
    assert "dhcp-host=52:54:00:00:00:01,10.77.0.51,pc01" in lines(root)
    root.ok("set", "boot.dhcp", "off")
    assert dnsmasq_part(root) is None
    root.ok("set", "boot.dhcp", "tftp")
    assert dnsmasq_part(root)["state"] == "up"
    killed = dnsmasq_part(root)["pid"]
    os.kill(killed, 9)
    root.ok("up")
    assert dnsmasq_part(root)["state"] == "up"
    assert dnsmasq_part(root)["pid"] != killed
    root.ok("down")
    assert not (root.path / "run" / "dnsmasq.pid").exists()
    assert root.network.processes() == []


# Another TFTP server.
HOLDER = "import pathlib, socket, sys, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 69)); pathlib.Path(sys.argv[1]).touch(); time.sleep(120)"


def test_up_names_another_tftp_server_on_this_machine_and_leaves_nothing(root):
    need("dnsmasq")
    root.ok("set", "boot.dhcp", "tftp")
    make_image(root.files / "base.raw", 2 * MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    other = subprocess.Popen([*root.network.inside(), "python3", "-c", HOLDER, str(root.files / "held")], stdin=subprocess.DEVNULL)
    try:
        netboot.system.wait_until((root.files / "held").exists, what="the other server")
        assert "in use" in root.fails("up")
        assert root.network.processes() == [other.pid]
    finally:
        other.kill()
        other.wait(timeout=30)
    root.ok("up")


# --- boot options ---

SERVERS = ["dnsmasq", "isc-dhcpd", "kea", "windows", "mikrotik", "openwrt"]


@pytest.mark.parametrize("server", SERVERS)
def test_lines_for_other_servers_name_all_that_a_pc_needs(root, server):
    root.ok("set", "boot.efi_file", "ipxe.efi")
    text = root.ok("boot", "options", server).replace("\\$", "$")
    for word in (GATEWAY, "undionly.kpxe", "ipxe.efi", SCRIPT, "iPXE"):
        assert word in text
    assert root.json("boot", "options", server)["text"].replace("\\$", "$").split() == text.split()


def test_options_without_a_server_names_all_of_them_and_the_other_ways(root):
    text = root.ok("boot", "options")
    for word in (*SERVERS, "proxyDHCP", "option 66", "option 67", "ip helper-address", SCRIPT):
        assert word in text
    assert "mikrotik" in root.run("boot", "options", "bind").stderr
    assert root.run("boot", "options", "bind").returncode == 2


def test_dnsmasq_accepts_its_lines(root):
    need("dnsmasq")
    path = root.files / "lines.conf"
    path.write_text(root.ok("boot", "options", "dnsmasq"))
    accepts("dnsmasq", "--test", f"--conf-file={path}")


def test_openwrts_dnsmasq_accepts_its_lines(root):
    need("dnsmasq")
    text = root.ok("boot", "options", "openwrt")
    path = root.files / "lines.conf"
    path.write_text(text.split("<<'DISKGATE'\n")[1].split("\nDISKGATE\n")[0] + "\n")
    accepts("dnsmasq", "--test", f"--conf-file={path}")
    accepts("sh", "-n", "-c", text)


def test_dhcpd_accepts_its_lines(root):
    need("dhcpd")
    path = root.files / "dhcpd.conf"
    path.write_text("subnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.100 10.77.0.199; }\n" + root.ok("boot", "options", "isc-dhcpd"))
    accepts("dhcpd", "-t", "-cf", str(path))


def test_kea_accepts_its_lines(root):
    need("kea-dhcp4")
    text = root.ok("boot", "options", "kea")
    path = root.files / "kea.conf"
    path.write_text(text)
    accepts("kea-dhcp4", "-t", str(path))
    json.loads("".join(line for line in text.splitlines() if not line.startswith("//")))


# --- examples ---

EXAMPLES = {
    "dnsmasq-beside.conf": "dnsmasq", "isc-dhcpd.conf": "isc-dhcpd", "kea-dhcp4.json": "kea", "windows.ps1": "windows",
    "mikrotik.rsc": "mikrotik", "openwrt.sh": "openwrt", "any-server.txt": None,
}  # fmt: skip


def check_example(repository, name, text):
    """DISKGATE_WRITE_EXAMPLES=1 writes them anew."""
    path = repository / "contrib" / "dhcp" / name
    if os.environ.get("DISKGATE_WRITE_EXAMPLES"):
        path.write_text(text)
    assert path.read_text() == text, f"{path} is not what the program prints; write it anew with DISKGATE_WRITE_EXAMPLES=1"
    return path


def test_examples_for_other_servers_are_what_boot_options_prints(root, repository):
    for name, server in EXAMPLES.items():
        path = check_example(repository, name, root.ok("boot", "options", *([server] if server else [])))
        if server == "dnsmasq" and shutil.which("dnsmasq"):
            accepts("dnsmasq", "--test", f"--conf-file={path}")
        if server == "kea" and shutil.which("kea-dhcp4"):
            accepts("kea-dhcp4", "-t", str(path))
        if server == "openwrt":
            accepts("sh", "-n", str(path))


@pytest.mark.parametrize("mode", ["full", "proxy", "tftp"])
def test_examples_for_dnsmasq_are_what_boot_render_writes(root, repository, mode):
    root.ok("set", "boot.dhcp", mode)
    root.ok("set", "boot.dhcp_range", RANGE)
    root.ok("set", "boot.dhcp_router", "10.77.0.254")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--ip", "10.77.0.51")
    root.ok("boot", "render")
    text = conf(root).read_text().replace(str(root.path), "/var/lib/diskgate").replace("br0", "eth0")
    path = check_example(repository, f"dnsmasq-{mode}.conf", text)
    if shutil.which("dnsmasq"):
        accepts("dnsmasq", "--test", f"--conf-file={path}")
