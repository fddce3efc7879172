# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks of an image that cannot be read: whoever reads them gets an error, everybody else notices nothing, and it heals by itself.

The image is a loop device over a file of nbdfuse, served by nbdkit, which fails reads as long as a file exists. The errors of an overlay's own disk are
tested below the file system calls, in tests/unit/test-flush-faults.c: no device that fails on demand can be had without device-mapper.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from support import system
from support.files import KIB, MIB, get, make_image, put
from support.iscsi import IscsiError

SIZE = 16 * MIB
BAD = 9 * MIB  # nobody reads there before the disk fails
OWN = 256 * KIB


class FailingDisk:
    """A block device whose reads fail while the file `switch` exists."""

    def __init__(self, folder, source):
        self.folder = folder
        self.mount = folder / "mount"
        self.mount.mkdir(parents=True)
        self.file = self.mount / "base.raw"
        self.path = None
        self.switch = folder / "broken"
        self.processes = []
        self.socket = folder / "nbd.sock"
        self.start(
            "nbdkit", "-f", "-U", str(self.socket), "-r", "--filter=error", "file", str(source),
            "error-pread=EIO", "error-pread-rate=100%", f"error-pread-file={self.switch}",
        )  # fmt: skip
        try:
            system.wait_until(self.socket.exists, what="nbdkit")
            self.start("nbdfuse", "-r", str(self.file), "--unix", str(self.socket))
            system.wait_until(lambda: os.path.ismount(self.mount), what="nbdfuse")
            self.path = self.losetup("--find", "--show", "--read-only", str(self.file)).strip()
        except BaseException:
            self.close()
            raise

    def start(self, *command):
        self.processes.append(subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def losetup(self, *words):
        return subprocess.run(["losetup", *words], check=True, capture_output=True, text=True, timeout=30).stdout

    def breaks(self):
        self.switch.touch()
        for path in (self.path, self.file):  # what the kernel has read already it would give out still
            fd = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)

    def heals(self):
        self.switch.unlink(missing_ok=True)

    def close(self):
        self.heals()
        if self.path:
            subprocess.run(["losetup", "--detach", self.path], check=False, timeout=30)
        subprocess.run(["umount", "-l", str(self.mount)], check=False, timeout=30, stderr=subprocess.DEVNULL)
        for process in reversed(self.processes):
            process.kill()
            process.wait(30)


@pytest.fixture
def site(root):
    if not shutil.which("nbdkit") or not shutil.which("nbdfuse"):
        pytest.skip("nbdkit and nbdfuse are not installed")
    failing = None
    try:
        root.content = make_image(root.files / "source.raw", SIZE, seed=6).read_bytes()
        failing = FailingDisk(root.files / "failing", root.files / "source.raw")
        root.failing = failing
        root.ok("image", "add", "win", failing.path)
        root.ok("image", "add", "good", make_image(root.files / "good.raw", SIZE, seed=8))
        for number, (name, image, mode) in enumerate([("a", "win", "volatile"), ("b", "win", "kept"), ("c", "good", "kept")]):
            root.ok("client", "add", name, "--mac", f"52:54:00:00:06:{number:02x}", "--image", image, "--mode", mode)
        root.ok("up")
        yield root
    finally:
        if failing:
            failing.heals()
        root.down()
        if failing:
            failing.close()


def problems_of(root):
    done = root.run("--json", "status")
    return done.returncode, {row["what"]: row["problem"] for row in json.loads(done.stdout)["problems"]}


def log_of(root):
    return (root.path / "run" / "fs.log").read_text()


def test_failing_base_reaches_only_who_reads_the_bad_block_and_heals(site):
    for name in "abc":
        put(site.view(name), 0, name.encode() * OWN)
    put(site.view("b"), BAD, b"own" * 4096)  # it has this block itself
    assert problems_of(site) == (0, {})
    site.failing.breaks()
    with pytest.raises(OSError, match="Input/output error"):
        get(site.view("a"), BAD, 4096)
    with pytest.raises(IscsiError, match=r"\(3\).*0x1100"):  # MEDIUM ERROR, unrecovered read error
        site.disk("a").io(f"read {BAD} 4096")
    with pytest.raises(OSError, match="Input/output error"):
        put(site.view("a"), BAD + MIB, b"part of a block")  # the rest of it cannot be had
    lines = [line for line in log_of(site).splitlines() if "'a'" in line and site.failing.path in line]
    assert lines and all(re.search(rf"block at byte {BAD}\b", line) or f"byte {BAD + MIB}" in line for line in lines), log_of(site)
    status, problems = problems_of(site)
    assert status == 3 and "client a slot 0" in problems
    assert not {"client b slot 0", "client c slot 0"} & set(problems)
    # Blocks that are the client's own, whole blocks that are written now, and other images.
    assert get(site.view("a"), 0, OWN) == b"a" * OWN
    put(site.view("a"), BAD + 2 * MIB, b"new!" * 1024)
    assert get(site.view("a"), BAD + 2 * MIB, 4096) == b"new!" * 1024
    assert get(site.view("b"), BAD, 12288) == b"own" * 4096
    assert site.disk("b").io(f"read -P {ord('b')} 0 {OWN}")
    assert site.disk("c").hash()
    site.disk("c").write(b"\x77" * 4096, MIB)
    site.failing.heals()
    assert get(site.view("a"), BAD, 4096) == site.content[BAD : BAD + 4096]
    assert site.disk("a").io(f"read {BAD} 4096")
    put(site.view("a"), BAD + MIB, b"part of a block")
    assert get(site.view("a"), BAD + MIB, 4096) == b"part of a block" + site.content[BAD + MIB + 15 : BAD + MIB + 4096]


def test_failing_base_at_up_closes_its_clients_only(site):
    put(site.view("b"), 0, b"b" * OWN)
    site.ok("down")
    site.failing.breaks()
    done = site.run("up")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "win" in said and "Input/output error" in said, said
    assert {row["client"]: row["state"] for row in site.targets()} == {"a": "closed", "b": "closed", "c": "open"}
    assert site.disk("c").size() == SIZE
    site.failing.heals()
    site.ok("up")
    assert get(site.view("b"), 0, OWN) == b"b" * OWN
    assert get(site.view("a"), BAD, 4096) == site.content[BAD : BAD + 4096]
