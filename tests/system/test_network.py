# SPDX-License-Identifier: GPL-2.0-or-later
"""What the gateway sees of the network that PCs boot in: other DHCP servers, a range without a free address, and how far a PC came.

Real dnsmasqs in namespaces of their own; a small client plays the PC's network card."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest
from support import netboot, system
from support.files import MIB, make_image
from support.netboot import GATEWAY
from support.root import LIMIT_S

CLIENT = pathlib.Path(netboot.__file__).with_name("dhcp_client.py")
MAC = "52:54:00:00:00:01"
PXE = ("--vendor", "PXEClient:Arch:00000:UNDI:002001", "--arch", "0")


class Machine:
    """Another machine on the gateway's network: a namespace with one card."""

    def __init__(self, network, number, address=None):
        self.name = f"{network.name}m{number}"
        netboot.call("ip", "netns", "add", self.name)
        network.ip("link", "add", f"m{number}", "type", "veth", "peer", "name", "eth0", "netns", self.name)
        network.ip("link", "set", f"m{number}", "master", "br0", "up")
        netboot.call("ip", "-n", self.name, "link", "set", "eth0", "up")
        if address:
            netboot.call("ip", "-n", self.name, "addr", "add", f"{address}/24", "dev", "eth0")
        self.servers = []

    def inside(self):
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def ask(self, mac, *options):
        """What is offered to a card."""
        command = [*self.inside(), sys.executable, str(CLIENT), "eth0", mac, *options]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout)

    def serve_dhcp(self, folder, *options):
        """A dnsmasq that knows nothing of the gateway."""
        fixed = ["--port=0", "--interface=eth0", "--bind-interfaces", "--no-resolv", "--no-hosts", "--no-ping", "--log-facility=-", "--conf-file=/dev/null"]
        fixed += [f"--pid-file={folder}/{self.name}.pid", f"--dhcp-leasefile={folder}/{self.name}.leases", "--user=root"]
        with open(folder / f"{self.name}.log", "ab") as log:
            self.servers.append(subprocess.Popen([*self.inside(), "dnsmasq", "-k", *fixed, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        system.wait_until(lambda: (folder / f"{self.name}.pid").exists(), what="a dnsmasq to start")
        return self.servers[-1]

    def close(self):
        for server in self.servers:
            server.kill()
            server.wait(timeout=30)
        subprocess.run(["ip", "netns", "del", self.name], check=False, timeout=30)


@pytest.fixture
def network():
    for name in ("ip", "nsenter", "dnsmasq"):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
    made = netboot.Network(f"dgn{os.getpid()}")
    yield made
    faults = made.close()
    assert not faults, faults


@pytest.fixture
def machine(network):
    made = []

    def make(address=None):
        made.append(Machine(network, len(made) + 1, address))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def site(programs, network):
    made = netboot.NetRoot(programs, LIMIT_S - 15, network)
    try:
        made.init()
        for key, value in {"gateway.address": GATEWAY, "boot.dhcp": "full", "boot.dhcp_range": "10.77.0.100-10.77.0.101"}.items():
            made.ok("set", key, value)
        make_image(made.files / "base.raw", MIB)
        made.ok("image", "add", "win", made.files / "base.raw")
        made.ok("client", "add", "pc1", "--mac", MAC, "--image", "win")
        yield made
    finally:
        faults = made.close()
    assert not faults, faults


def why(site, client="pc1"):
    return " ".join(site.ok("client", "why", client).split())


def wait_why(site, text):
    system.wait_until(lambda: text in why(site), what=f"'{text}' in: {why(site)}")


def problems(site):
    return [row["problem"] for row in json.loads(site.run("--json", "status").stdout)["problems"] if row["what"] == "network"]


def notices(site):
    return [row["notice"] for row in json.loads(site.run("--json", "status").stdout)["notices"] if row["what"] == "network"]


def servers(site):
    return json.loads(site.run("--json", "status").stdout).get("dhcp_servers", [])


def daemon_log(site):
    return (site.path / "run" / "diskgated.log").read_text()


# --- how far a PC came ---


def test_why_tells_how_far_a_pc_came_before_its_script(site, machine):
    pc = machine()
    site.ok("up")
    assert "No DHCP request of 52:54:00:00:00:01 was seen" in why(site)
    pc.ask(MAC, *PXE)
    wait_why(site, "took none from here")
    pc.ask(MAC, *PXE, "--take")
    wait_why(site, "It got the address 10.77.0.10")
    assert "fetched no boot file" in why(site)
    pc.ask(MAC, *PXE, "--fetch", "undionly.kpxe")
    wait_why(site, "fetched its boot file, but the loader did not ask for http://10.77.0.1:")
    os.kill(next(iter(site.daemon_processes())), 9)  # the log alone still tells
    assert "fetched its boot file" in why(site)


def test_why_tells_of_a_start_after_the_last_boot(site, machine):
    """Yesterday it booted; today it stops before its script."""
    pc = machine()
    site.ok("up")
    fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())"
    script = [*site.network.inside(), sys.executable, "-c", fetch, f"http://{GATEWAY}:{site.boot_port}/boot/{MAC}"]
    assert "sanboot" in subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    before = why(site)
    assert "got its boot script" in before and "on its way again" not in before
    time.sleep(6)  # what follows a script at once belongs to that boot
    pc.ask(MAC, *PXE, "--take")
    wait_why(site, "it was on its way again and did not ask for a script. It got the address 10.77.0.10")


def test_proxy_dhcp_tells_of_a_pc_with_an_address_of_the_sites_server(site, machine):
    pc, server = machine(), machine("10.77.0.2")
    server.serve_dhcp(site.files, "--dhcp-range=10.77.0.120,10.77.0.130,255.255.255.0")
    site.ok("set", "boot.dhcp", "proxy")
    site.ok("up")
    offers = pc.ask(MAC, *PXE, "--offers", "2")
    assert {(o["server"], o["address"] != "0.0.0.0") for o in offers} == {("10.77.0.2", True), (GATEWAY, False)}
    wait_why(site, "It asked how to boot and was told, but fetched no boot file")
    system.wait_until(lambda: servers(site), what="the site's DHCP server to be seen")
    assert servers(site)[0]["server"] == "10.77.0.2"
    assert problems(site) == [] and notices(site) == []
    assert site.json("status")["state"] == "up"


# --- a full range ---


def test_full_range_is_told_until_there_is_room(site, machine):
    pc = machine()
    site.ok("up")
    for number in (2, 3):
        pc.ask(f"52:54:00:00:00:0{number}", "--take")
    assert problems(site) == []
    assert pc.ask(MAC, *PXE, "--offers", "0") == []
    system.wait_until(lambda: problems(site), what="the full range to be seen")
    text = problems(site)[0]
    assert "no address for 52:54:00:00:00:01" in text and "10.77.0.100-10.77.0.101" in text and "boot.dhcp_range" in text
    assert site.run("status").returncode == 3
    assert "none was left: all of boot.dhcp_range 10.77.0.100-10.77.0.101 are taken" in why(site)
    assert "dnsmasq has no address for 52:54:00:00:00:01" in daemon_log(site)
    site.ok("set", "boot.dhcp_range", "10.77.0.100-10.77.0.110")
    site.ok("target", "sync")
    assert pc.ask(MAC, *PXE, "--take")
    system.wait_until(lambda: not problems(site), what="the problem to end")


def test_range_that_is_empty_is_told_as_such(site, machine):
    pc = machine()
    site.ok("set", "boot.dhcp_range", "--default")
    site.ok("up")
    assert pc.ask(MAC, *PXE, "--offers", "0") == []
    wait_why(site, "boot.dhcp_range is empty and it has no address of its own")
    assert problems(site) == []  # which may be meant so
    assert "boot.dhcp_range is empty" in notices(site)[0]


# --- a second DHCP server ---


def test_second_dhcp_server_is_told_and_gives_no_lease_away(site, machine):
    rival = machine("10.77.0.2")
    server = rival.serve_dhcp(site.files, "--dhcp-range=10.77.0.120,10.77.0.130,255.255.255.0", "--dhcp-boot=evil.0", "--log-dhcp")
    site.ok("set", "boot.dhcp_probe_s", 1)
    site.ok("up")
    system.wait_until(lambda: problems(site), what="the second server to be seen")
    text = problems(site)[0]
    assert "another DHCP server, 10.77.0.2 (" in text and "the address 10.77.0.1" in text and "boot file evil.0" in text
    row = servers(site)[0]
    assert (row["server"], row["boot_file"], row["router"]) == ("10.77.0.2", "evil.0", "10.77.0.2")
    assert "another DHCP server, 10.77.0.2" in daemon_log(site)
    assert "Another DHCP server answers here: 10.77.0.2" in why(site) or "No DHCP request" in why(site)
    said = (site.files / f"{rival.name}.log").read_text()
    assert "DHCPOFFER" in said and "DHCPREQUEST" not in said
    assert not (site.files / f"{rival.name}.leases").exists() or (site.files / f"{rival.name}.leases").read_text() == ""
    server.kill()
    system.wait_until(lambda: not problems(site), what="its end to be seen")
    assert servers(site) == []  # nor is our own dnsmasq one


# What has the port as dhcpd has it.
HOLD = """import socket, sys, time
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if sys.argv[1:]:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
s.bind(("", 67))
print("ready", flush=True)
time.sleep(120)"""


def test_second_dhcp_server_on_this_machine_is_told_before_ours_starts(site):
    """It shares the port, and a packet that asks who is there does not come back to who sent it."""
    for interface in (["br0"], []):  # on that interface; on all of them
        rival = subprocess.Popen([*site.network.inside(), sys.executable, "-c", HOLD, *interface], stdout=subprocess.PIPE, text=True)
        try:
            assert rival.stdout.readline() == "ready\n"
            if interface:
                text = site.fails("up")
                assert "another DHCP server on this machine serves interface br0" in text and "boot.dhcp" in text
                assert site.network.processes() == [rival.pid]
            else:
                assert "another DHCP server on this machine listens on all interfaces" in site.ok("up")
        finally:
            rival.kill()
            rival.communicate(timeout=30)


def test_probe_is_off_by_its_setting(site, machine):
    rival = machine("10.77.0.2")
    rival.serve_dhcp(site.files, "--dhcp-range=10.77.0.120,10.77.0.130,255.255.255.0", "--log-dhcp")
    site.ok("set", "boot.dhcp_probe_s", 0)
    site.ok("up")
    time.sleep(3)  # three rounds of the daemon
    assert "DHCPDISCOVER" not in (site.files / f"{rival.name}.log").read_text()
    assert servers(site) == []


def test_servers_beside_a_proxy_are_counted(site, machine):
    site.ok("set", "boot.dhcp", "proxy")
    site.ok("up")
    system.wait_until(lambda: notices(site), what="the missing server to be seen")
    assert "no DHCP server answers" in notices(site)[0]
    site.ok("set", "boot.dhcp_probe_s", 1)  # counts at once, not only after the next look
    for number in (2, 3):
        one = machine(f"10.77.0.{number}")
        one.serve_dhcp(site.files, f"--dhcp-range=10.77.0.{number}0,10.77.0.{number}9,255.255.255.0")
        system.wait_until(lambda: len(servers(site)) == number - 1, what="it to be seen")  # noqa: B023
        assert len(notices(site)) == (0 if number == 2 else 1)
    assert "2 DHCP servers give addresses here: 10.77.0." in notices(site)[0]
    assert site.json("status")["state"] == "up"


# --- the log itself ---


def test_log_of_dnsmasq_is_cut_when_it_is_long(site, machine):
    pc = machine()
    site.ok("up")
    log = site.path / "run" / "dnsmasq.log"
    with open(log, "ab") as file:
        file.write(b"x" * 99 + b"\n")
        file.truncate(17 * MIB)  # zeros
    system.wait_until(lambda: log.stat().st_size < MIB, what="the log to be cut")
    assert (site.path / "run" / "dnsmasq.log.1").stat().st_size == MIB
    pc.ask(MAC, *PXE, "--take")
    wait_why(site, "It got the address")


# --- wake-up packets ---

HEAR = """import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9))
s.settimeout(60)
print("ready", flush=True)
print(s.recv(1000).hex())"""


def test_wake_up_packet_reaches_the_network_of_an_address_without_a_broadcast_address(site, machine):
    """As "ip addr add A/24" makes one."""
    pc = machine("10.77.0.3")
    hearing = subprocess.Popen([*pc.inside(), sys.executable, "-c", HEAR], stdout=subprocess.PIPE, text=True)
    try:
        assert hearing.stdout.readline() == "ready\n"
        assert "10.77.0.255" in site.ok("client", "wake", "pc1")
        assert hearing.communicate(timeout=60)[0].strip() == "ff" * 6 + MAC.replace(":", "") * 16
    finally:
        hearing.kill()
        hearing.wait(timeout=30)
