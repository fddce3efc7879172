# SPDX-License-Identifier: GPL-2.0-or-later
"""A network of its own with PCs that boot from it: namespace, bridge, and qemu under emulation (never KVM: it may hang)."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from . import system
from .root import Root

GATEWAY = "10.77.0.1"
OVMF = pathlib.Path("/usr/share/OVMF")
IPXE_KERNEL = "/usr/lib/ipxe/ipxe.lkrn"
NEEDED = ("ip", "nsenter", "dnsmasq", "qemu-system-x86_64", "tgtd")
BOOT_S = 400  # from one thing that a PC says to the next; twenty times less where it has a processor of its own
FILES = ("/usr/lib/ipxe/undionly.kpxe", IPXE_KERNEL, "/usr/lib/ipxe/qemu/efi-virtio.rom", str(OVMF / "OVMF_CODE_4M.fd"))


def missing():
    """What a network boot needs and this machine has not; "" when nothing is missing."""
    return ", ".join([name for name in NEEDED if not shutil.which(name)] + [path for path in FILES if not os.path.exists(path)])


def call(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=30)


class Network:
    """One namespace with a bridge at 10.77.0.1 and a tap for each PC. Nothing of the host's network is touched."""

    def __init__(self, name):
        self.name = name
        self.taps = 0
        call("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", "br0", "type", "bridge", "stp_state", 0, "forward_delay", 0)
        self.ip("addr", "add", f"{GATEWAY}/24", "dev", "br0")
        self.ip("addr", "add", "fd00:e2e::1/64", "dev", "br0", "nodad")
        self.ip("link", "set", "br0", "up")

    def ip(self, *words):
        call("ip", "-n", self.name, *words)

    def inside(self):
        """Words before a command that is to run in it; the mount namespace stays, so that mounts made later are seen."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def add_tap(self):
        self.taps += 1
        tap = f"tap{self.taps}"
        self.ip("tuntap", "add", "dev", tap, "mode", "tap")
        self.ip("link", "set", tap, "master", "br0", "up")
        return tap

    def processes(self):
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False, timeout=30)
        return [int(pid) for pid in done.stdout.split()]

    def close(self):
        """Faults: what still ran in it."""
        faults = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                faults.append(f"process {pid} in the namespace: {pathlib.Path(f'/proc/{pid}/cmdline').read_text()}".replace("\0", " "))
        system.kill_all(self.processes())
        subprocess.run(["ip", "netns", "del", self.name], check=False, timeout=30)
        return faults


class NetRoot(Root):
    """A root all of whose commands and daemons run in a network's namespace."""

    def __init__(self, programs, limit_s, network):
        self.network = network
        super().__init__(programs, limit_s)

    def command(self, *args):
        return [*self.network.inside(), *super().command(*args)]

    def daemon_processes(self):
        """{pid: command line} of this root's diskgated."""
        return {p: c for p, c in system.processes_of(str(self.path)).items() if "diskgated" in c.split(" ")[0]}


class Failed(AssertionError):
    """A PC that did not get as far as it should; the text has its console's last lines."""


class PC:
    """A virtual PC without a disk. Its console is one log: firmware, iPXE, GRUB and kernel."""

    def __init__(self, network, folder, number):
        self.name = f"pc{number}"
        self.mac = f"52:54:00:e2:e0:{number:02x}"
        self.network = network
        self.tap = network.add_tap()
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self.qemu = None
        self.boots = 0

    def _firmware(self, uefi):
        if not uefi:
            return ["-machine", "pc,graphics=off"], ""
        variables = self.folder / f"{self.name}.vars"
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", variables)
        flash = [f"file={OVMF}/OVMF_CODE_4M.fd,readonly=on", f"file={variables}"]
        # Without a ROM of iPXE on the card the firmware's own PXE is what asks for a boot file.
        return ["-machine", "q35,graphics=off", *sum((["-drive", f"if=pflash,format=raw,{text}"] for text in flash), [])], ",romfile="

    def power_on(self, role="off", uefi=False, script=None, idle_card=None):
        """Boot from the network. With a script it is iPXE on a medium that runs the script, and the card has no ROM. An idle card, given by
        its MAC, comes before the PC's own one and is plugged into nothing."""
        assert self.qemu is None
        self.boots += 1
        self.log = self.folder / f"{self.name}.{self.boots}.log"
        machine, rom = self._firmware(uefi)
        if script:
            (self.folder / f"{self.name}.ipxe").write_text(script)
            machine += ["-kernel", IPXE_KERNEL, "-initrd", f"{self.folder}/{self.name}.ipxe"]
            rom = ",romfile="
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64", "-m", "256", "-smp", "1", *machine, "-nodefaults"]
        command += ["-vga", "none", "-display", "none", "-no-reboot", "-device", "virtio-rng-pci", "-smbios", f"type=1,serial={role}"]
        if idle_card:
            command += ["-netdev", "hubport,id=idle,hubid=0", "-device", f"virtio-net-pci,netdev=idle,mac={idle_card},romfile="]
        command += ["-netdev", f"tap,id=n,ifname={self.tap},script=no,downscript=no"]
        command += ["-device", f"virtio-net-pci,netdev=n,mac={self.mac},bootindex=1{rom}"]
        command += ["-serial", f"file:{self.log}", "-name", self.name]
        command += ["-monitor", f"unix:{self.name}.monitor,server=on,wait=off"]
        with open(self.folder / f"{self.name}.qemu.log", "ab") as output:
            self.qemu = subprocess.Popen([*self.network.inside(), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder)

    def press(self, key):
        """A key of its keyboard, as qemu's monitor calls it."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(self.folder / f"{self.name}.monitor"))
            monitor.sendall(f"sendkey {key}\n".encode())
            said = b""
            while said.count(b"(qemu) ") < 2:  # its greeting, and the end of the command
                said += monitor.recv(4096)

    def power_off(self):
        """At once, as by pulling the plug."""
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait(timeout=30)
            self.qemu = None

    def console(self):
        try:
            text = self.log.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", ""))

    def _fail(self, what):
        lines = [line for line in self.console().splitlines() if line.strip()][-15:]
        said = (self.folder / f"{self.name}.qemu.log").read_text(errors="replace")[-400:]
        raise Failed(f"{self.name}: {what}; its console ends with:\n" + "\n".join(lines) + f"\n{said}")

    def wait_for(self, pattern, seconds=BOOT_S):
        """The match of a pattern on the console; fails early when the PC says E2E-FAIL or is off."""
        end = time.monotonic() + seconds
        while True:
            is_off = self.qemu is None or self.qemu.poll() is not None
            text = self.console()
            found = re.search(pattern, text, re.MULTILINE)
            if found:
                return found
            if "E2E-FAIL" in text:
                self._fail("it says E2E-FAIL")
            if is_off:
                self._fail(f"it is off and never said /{pattern}/")
            if time.monotonic() > end:
                self._fail(f"no /{pattern}/ within {seconds} s")
            time.sleep(0.1)

    def marker(self, seconds=BOOT_S):
        """What it said when its system had started: {"host", "count", ...}."""
        line = self.wait_for(r"^E2E-MARKER (.*)\n", seconds)[1]
        return dict(word.split("=", 1) for word in line.split())

    def wait_off(self, seconds=BOOT_S):
        try:
            self.qemu.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._fail(f"it is not off within {seconds} s")
        self.qemu = None
        if "E2E-FAIL" in self.console():
            self._fail("it says E2E-FAIL")
