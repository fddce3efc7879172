# SPDX-License-Identifier: GPL-2.0-or-later
"""PCs boot from a gateway: from power-on to a running system, over DHCP, TFTP, HTTP and iSCSI, in a network namespace of their own.

qemu emulates (-accel tcg) also where /dev/kvm is there. A boot takes some 15 to 25 s; nothing here waits for a time to pass. Each PC keeps one
processor busy, so contrib/check runs two of these tests at a time and lets them begin first (conftest.py)."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
from support import micro_image, netboot, system
from support.iscsi import file_hash
from support.netboot import GATEWAY
from support.repository import Repository

LIMIT_S = 1200  # of one test
pytestmark = [pytest.mark.netboot, pytest.mark.timeout(LIMIT_S)]

RANGE = "10.77.0.100-10.77.0.199"


@pytest.fixture(scope="session")
def micro(programs):
    """(path, hash) of the image that all PCs boot from."""
    missing = netboot.missing()
    if missing:
        pytest.skip(f"not installed: {missing}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="diskgate-micro-", dir=os.environ.get("DISKGATE_TEST_TMP", "/var/tmp")))
    try:
        folder.chmod(0o755)
        (folder / "work").mkdir()
        try:
            image = micro_image.build(folder / "micro.raw", folder / "work", programs.build / "test-cache")
        except micro_image.Unavailable as error:
            pytest.skip(str(error))
        shutil.rmtree(folder / "work")
        yield image, file_hash(image)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Room:
    """A gateway and its PCs."""

    def __init__(self, programs, image, number):
        self.image = image
        self.network = netboot.Network(f"dg{os.getpid()}x{number}")
        self.pcs = []
        try:
            self.root = netboot.NetRoot(programs, LIMIT_S - 20, self.network)
            self.root.init()
            for key, value in {"gateway.address": GATEWAY, "boot.dhcp": "full", "boot.dhcp_range": RANGE, "boot.dhcp_router": GATEWAY}.items():
                self.root.ok("set", key, value)
            self.root.ok("image", "add", "micro", image)
        except BaseException:
            self.close()
            raise

    def add_pc(self, mode=None):
        """A PC; with a mode it is a client."""
        pc = netboot.PC(self.network, self.root.files, len(self.pcs) + 1)
        self.pcs.append(pc)
        if mode:
            self.root.ok("client", "add", pc.name, "--mac", pc.mac, "--image", "micro", "--mode", mode)
        return pc

    def close(self):
        for pc in self.pcs:
            pc.power_off()
        faults = self.root.close() if hasattr(self, "root") else []
        return faults + self.network.close()


@pytest.fixture
def make_room(programs, micro):
    rooms = []

    def make():
        rooms.append(Room(programs, micro[0], len(rooms)))
        return rooms[-1]

    yield make
    faults = [fault for room in rooms for fault in room.close()]
    assert not faults, "left behind:\n" + "\n".join(faults)
    assert file_hash(micro[0]) == micro[1], "the image that the PCs booted from was written to"


@pytest.fixture
def room(make_room):
    return make_room()


def sent_to_pcs(room, file):
    return f"{file} to 10.77.0." in (room.root.path / "run" / "dnsmasq.log").read_text()


def boot_to_end(pc, **how):
    """Power on, wait for the marker and for power-off."""
    pc.power_on(**how)
    marker = pc.marker()
    pc.wait_off()
    return marker


def test_two_pcs_boot_at_once_and_only_the_kept_one_has_its_file_again(room):
    pcs = {mode: room.add_pc(mode) for mode in ("volatile", "kept")}
    room.root.ok("up")
    first, second = {}, {}
    for markers in (first, second):
        for pc in pcs.values():
            pc.power_on()
        for mode, pc in pcs.items():
            markers[mode] = pc.marker()
            pc.wait_off()
    for mode, pc in pcs.items():
        target = room.root.target(pc.name)
        assert first[mode]["firmware"] == "bios"
        assert first[mode]["mac"] == pc.mac
        assert first[mode]["target"] == target["iqn"]
        assert first[mode]["initiator"] == target["initiator"]
        assert (first[mode]["count"], first[mode]["before"]) == ("1", "none")
    assert first["volatile"]["blob"] != first["kept"]["blob"]
    assert (second["volatile"]["count"], second["volatile"]["before"]) == ("1", "none")
    assert (second["kept"]["count"], second["kept"]["before"]) == ("2", first["kept"]["blob"])


def test_pc_with_uefi_boots_by_ipxes_own_driver(room):
    pc = room.add_pc("volatile")
    room.root.ok("set", "boot.efi_file", "ipxe.efi")
    room.root.ok("up")
    assert boot_to_end(pc, uefi=True)["firmware"] == "uefi"
    assert sent_to_pcs(room, "ipxe.efi")


# What a PC's own PXE does: asks without iPXE's user class, and starts the boot file that it is told.
PXE = """#!ipxe
set user-class PXE
dhcp net0
chain tftp://${next-server}/${filename}
"""


def test_pc_with_bios_loads_undionly_and_boots(room):
    pc = room.add_pc("volatile")
    room.root.ok("up")
    assert boot_to_end(pc, script=PXE)["firmware"] == "bios"
    assert sent_to_pcs(room, "undionly.kpxe")


def test_pc_with_two_cards_is_known_by_the_one_that_booted(room):
    """iPXE's own driver finds both cards, and calls the one that is plugged in net1."""
    pc = room.add_pc("volatile")
    idle = "52:54:00:e2:e1:01"
    room.root.ok("client", "add", "wrong", "--mac", idle, "--image", "micro")
    room.root.ok("set", "boot.efi_file", "ipxe.efi")
    room.root.ok("up")
    marker = boot_to_end(pc, uefi=True, idle_card=idle)
    assert marker["target"] == room.root.target(pc.name)["iqn"]
    assert marker["mac"] == pc.mac
    assert re.search(r"net1", pc.console())
    assert [row["client"] for row in room.root.json("log", "--boots")["boots"]] == [pc.name]


@pytest.fixture
def site_dhcp(room):
    """The DHCP server of the site, on a machine of its own, that knows nothing of a gateway."""
    name = f"{room.network.name}d"
    netboot.call("ip", "netns", "add", name)
    server = None
    try:
        room.network.ip("link", "add", "site", "type", "veth", "peer", "name", "eth0", "netns", name)
        room.network.ip("link", "set", "site", "master", "br0", "up")
        netboot.call("ip", "-n", name, "addr", "add", "10.77.0.2/24", "dev", "eth0")
        netboot.call("ip", "-n", name, "link", "set", "eth0", "up")
        options = ["--port=0", "--interface=eth0", "--bind-interfaces", "--no-resolv", "--no-hosts", "--no-ping", "--log-facility=-"]
        options += ["--dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0", "--user=root", "--conf-file=/dev/null"]
        options += [f"--pid-file={room.root.files}/site.pid", f"--dhcp-leasefile={room.root.files}/site.leases"]
        server = subprocess.Popen(["nsenter", f"--net=/run/netns/{name}", "dnsmasq", "-k", *options], stdin=subprocess.DEVNULL)
        yield server
    finally:
        if server:
            server.kill()
            server.wait(timeout=30)
        subprocess.run(["ip", "netns", "del", name], check=False, timeout=30)


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
def test_pc_boots_by_proxy_dhcp_beside_the_sites_server(room, site_dhcp, uefi):
    room.root.ok("set", "boot.dhcp", "proxy")
    pc = room.add_pc("volatile")
    room.root.ok("up")
    assert boot_to_end(pc, uefi=uefi)["firmware"] == ("uefi" if uefi else "bios")
    assert not uefi or sent_to_pcs(room, "snponly.efi")
    assert site_dhcp.poll() is None


def booted_images(room):
    return [row["image"] for row in room.root.json("log", "--boots")["boots"]]


def test_menu_takes_its_default_after_the_timeout_and_another_disk_by_a_key(room):
    other = room.root.files / "other.raw"
    shutil.copyfile(room.image, other)
    room.root.ok("image", "add", "other", other, "-m", "for repairs")
    pc = room.add_pc("kept")
    room.root.ok("client", "link", pc.name, "other", "--menu")
    room.root.ok("client", "set", pc.name, "--boot-default", "other", "--menu-timeout", "1")
    room.root.ok("up")
    assert boot_to_end(pc)["count"] == "1"
    assert re.search(r"2: other - for repairs", pc.console())
    assert booted_images(room) == ["other"]
    room.root.ok("client", "set", pc.name, "--menu-timeout", "3600")
    pc.power_on()
    pc.wait_for(r"2: other - for repairs")
    pc.press("1")
    pc.wait_for(r"Booting from SAN device")
    assert booted_images(room) == ["other", "micro"]


# Only asks for an address, and shows what it was told.
ASK = """#!ipxe
dhcp net0
echo NET ${net0/ip} ${net0/netmask} ${net0/gateway} ${net0/dns}
"""


def test_pc_is_told_the_network_settings_of_its_client(room):
    own, other = room.add_pc("volatile"), room.add_pc("volatile")
    settings = {"--ip": "10.77.0.50", "--netmask": "255.255.0.0", "--gateway": "10.77.3.4", "--dns": "10.77.5.6"}
    room.root.ok("client", "set", own.name, *(word for pair in settings.items() for word in pair))
    room.root.ok("up")
    for pc in (own, other):
        pc.power_on(script=ASK)
    own.wait_for(r"^NET 10\.77\.0\.50 255\.255\.0\.0 10\.77\.3\.4 10\.77\.5\.6$")
    other.wait_for(rf"^NET 10\.77\.0\.1\d\d 255\.255\.255\.0 {re.escape(GATEWAY)} ?$")


def test_unknown_pc_reads_on_its_screen_what_to_do(room):
    pc = room.add_pc()
    room.root.ok("up")
    pc.power_on()
    pc.wait_for(rf"MAC {pc.mac}, is not known here")
    pc.wait_for(rf"^> diskgate client add NAME --mac {pc.mac} --image IMAGE$")


def test_pc_that_was_unknown_boots_once_it_is_added(room):
    pc = room.add_pc()
    room.root.ok("set", "clients.unknown", "ask")
    room.root.ok("up")
    pc.power_on()
    pc.wait_for(r"waits for approval")
    room.root.ok("client", "add", pc.name, "--mac", pc.mac, "--image", "micro")
    assert pc.marker()["count"] == "1"
    pc.wait_off()


# Somebody who brings iPXE along and names another PC's disk.
THIEF = """#!ipxe
dhcp net0
set initiator-iqn {initiator}
set username {chap_user}
set password {password}
sanboot iscsi:{host}::{port}:1:{iqn} || echo THIEF ${{errno}}
"""


def test_nobody_boots_another_pcs_disk_without_its_password(room):
    owner, thief = room.add_pc("kept"), room.add_pc("volatile")
    room.root.ok("up")
    target = room.root.target(owner.name)
    host, port = target["portal"].rsplit(":", 1)
    thief.power_on(script=THIEF.format(**target, host=host, port=port, password="WrongWrongWrong1"))
    thief.wait_for(r"Operation not permitted|Permission denied")
    assert "GRUB" not in thief.console()
    assert room.root.target(owner.name)["sessions"] == []


def test_pc_whose_image_is_gone_reads_it_on_its_screen_and_boots_when_it_is_back(room):
    image = room.root.files / "other.raw"
    shutil.copyfile(room.image, image)
    room.root.ok("image", "add", "other", image)
    pc = room.add_pc("volatile")
    room.root.ok("client", "link", pc.name, "other")
    image.rename(room.root.files / "away.raw")
    room.root.run("up")
    pc.power_on()
    pc.wait_for(r"cannot be served")
    (room.root.files / "away.raw").rename(image)
    room.root.ok("target", "sync")
    assert pc.marker()["count"] == "1"
    pc.wait_off()


def ticks(pc):
    """Of whole lines: it may be writing one."""
    return [int(number) for number in re.findall(r"^E2E-TICK (\d+)\n", pc.console(), re.MULTILINE)]


def kill(processes):
    assert processes
    system.kill_all(processes)  # a child of the daemon may have ended by itself


def test_running_pc_goes_on_when_the_gateways_programs_die(room):
    pc = room.add_pc("volatile")
    room.root.ok("up")
    pc.power_on(role="stay")
    pc.wait_for(r"^E2E-TICK 3\n")
    kill({p for p, c in room.root.daemon_processes().items()})
    pc.wait_for(rf"^E2E-TICK {ticks(pc)[-1] + 2}\n")  # needs no control plane
    kill(room.root.tgt_processes())
    room.root.ok("up")
    pc.wait_for(rf"^E2E-TICK {ticks(pc)[-1] + 3}\n")
    assert len(re.findall(r"^E2E-MARKER", pc.console(), re.MULTILINE)) == 1
    assert ticks(pc) == list(range(1, len(ticks(pc)) + 1))


def test_pc_that_was_reset_boots_again_and_the_loader_gets_a_fresh_disk(room):
    """Its session is still there when it asks again; its own TCP says that it is dead."""
    pc = room.add_pc("volatile")
    room.root.ok("up")
    pc.power_on(role="stay")
    pc.wait_for(r"^E2E-TICK 1\n")
    pc.power_off()
    assert room.root.target(pc.name)["sessions"]
    assert boot_to_end(pc)["count"] == "1"


def test_pc_boots_from_a_mounted_backup(room):
    """The image that was backed up is not needed; what the PC writes goes into its own disk, and the repository stays as it was."""
    root, point = room.root, room.root.base / "point"
    repository = Repository(root).init("--no-reserve")
    repository.create("micro")
    point.mkdir()
    repository.ok("mount", repository.path, "latest", point, "--log", root.base / "mount.log")
    try:
        root.ok("image", "add", "backup", point / "micro" / "v1" / "disk.img")
        pc = room.add_pc(None)
        root.ok("client", "add", pc.name, "--mac", pc.mac, "--image", "backup", "--mode", "kept")
        root.ok("up")
        assert [boot_to_end(pc)["count"] for _ in range(2)] == ["1", "2"]
        assert file_hash(point / "micro" / "v1" / "disk.img") == file_hash(room.image)
        root.ok("down")
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True, timeout=30)
    repository.ok("verify", repository.path)
