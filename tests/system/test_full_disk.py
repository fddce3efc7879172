# SPDX-License-Identifier: GPL-2.0-or-later
"""A full disk slows clients and fails none: writes wait, everybody else goes on, and nothing that was acknowledged is missing later."""

import errno
import json
import os
import subprocess
import sys

import pytest
from support import system
from support.damage import kill_file_system
from support.files import KIB, MIB, get, make_image, put
from support.small_disk import KINDS, SmallRoot, can_make

SIZE = 16 * MIB
OWN = 256 * KIB  # of each disk was written before
FRESH = 8 * MIB  # where nobody wrote before


@pytest.fixture
def make_small(programs, request):
    """A function that makes a root on a small file system, with an image outside of it and clients that have written."""
    limit = request.node.get_closest_marker("timeout").args[0]
    roots = []

    def make(kind="ext4", **clients):
        if not can_make(kind):
            pytest.skip(f"mkfs.{kind} is not installed")
        root = SmallRoot(programs, limit - 15, kind)
        roots.append(root)
        root.init()
        root.ok("set", "ram.write_bytes", 0)  # memory would take what the disk does not
        make_image(root.files / "base.raw", SIZE)
        root.ok("image", "add", "win", root.files / "base.raw")
        for number, (name, mode) in enumerate(clients.items()):
            root.ok("client", "add", name, "--mac", f"52:54:00:00:05:{number:02x}", "--image", "win", "--mode", mode)
        root.ok("up")
        for name in clients:
            put(root.view(name), 0, name.encode()[:1] * OWN)
        return root

    yield make
    faults = [fault for root in roots for fault in root.close()]
    assert not faults, "left behind:\n" + "\n".join(faults)


WRITER = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, sys.argv[3].encode() * 262144, int(sys.argv[2]))
os.fsync(fd)
"""


def start_writer(root, name, offset, letter):
    """A process that writes 256 KiB to a view and flushes: it may have to wait."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root.view(name)), str(offset), letter], stderr=subprocess.PIPE, text=True)


def start_initiator(root, name, offset, byte):
    """The same over iSCSI."""
    command = ["qemu-io", "-f", "raw", "-c", f"write -P {byte} {offset} 256k", "-c", "flush", root.disk(name).url]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def problems_of(root):
    done = root.run("--json", "status")
    found = {row["what"]: row["problem"] for row in json.loads(done.stdout)["problems"]}
    assert done.returncode == (3 if found else 0)
    return found


def end(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, (out or "") + (err or "")


@pytest.mark.parametrize("kind", KINDS)
def test_full_disk_holds_writes_and_gives_them_back(make_small, kind):
    root = make_small(kind, a="volatile", b="kept", c="volatile", d="kept")
    root.fill()
    waiting = [
        start_writer(root, "a", FRESH, "A"),
        start_writer(root, "b", FRESH, "B"),
        start_initiator(root, "c", FRESH, 0x43),
    ]
    try:
        clients = {f"client {name} slot 0" for name in "abc"}
        system.wait_until(lambda: clients <= set(problems_of(root)), what="the alarms of three clients")
        assert "client d slot 0" not in problems_of(root)
        # Whoever writes where he has written before needs no room, and reads need none at all.
        put(root.view("d"), 0, b"D" * OWN)
        root.disk("d").write(b"E" * 4096, OWN - 4096)
        assert get(root.view("d"), 0, OWN) == b"D" * (OWN - 4096) + b"E" * 4096
        assert get(root.view("a"), 0, OWN) == b"a" * OWN  # another write of the same client may queue behind, in the kernel
        assert root.disk("c").io(f"read -P {ord('c')} 0 {OWN}")
        assert all(process.poll() is None for process in waiting)
        assert "no room on the overlays' disk" in (root.path / "run" / "fs.log").read_text()
        root.make_room()
        assert [end(process)[0] for process in waiting] == [0, 0, 0]
    finally:
        for process in waiting:
            process.kill()
            process.wait(30)
    system.wait_until(lambda: not clients & set(problems_of(root)), what="the end of the alarms")

    def check():
        for name in "abc":
            assert get(root.view(name), FRESH, OWN) == name.upper().encode() * OWN, name
        assert get(root.view("d"), OWN - 4096, 4096) == b"E" * 4096

    check()
    root.ok("down")
    root.ok("up")
    check()


def test_full_ram_and_full_disk_alarm_early_and_hold(make_small):
    """What clients have in RAM stays there while the disk is full, and only what has no room in either waits."""
    root = make_small(a="volatile")
    root.ok("set", "ram.write_bytes", "1M")
    root.fill()
    for number in range(3):  # 768 KiB: above 70 % of the RAM, so some is to be moved, and the disk takes nothing
        put(root.view("a"), FRESH + number * OWN, b"R" * OWN)
    system.wait_until(lambda: "memory" in problems_of(root), what="the alarm that RAM cannot be moved to disk")
    assert "make room" in problems_of(root)["memory"]
    waiting = [start_writer(root, "a", FRESH + number * OWN, "W") for number in range(3, 6)]
    try:
        system.wait_until(lambda: "client a slot 0" in problems_of(root), what="the alarm of the client")
        assert get(root.view("a"), FRESH, OWN) == b"R" * OWN
        root.make_room()
        assert [end(process)[0] for process in waiting] == [0, 0, 0]
    finally:
        for process in waiting:
            process.kill()
            process.wait(30)
    system.wait_until(lambda: not problems_of(root), what="the end of the alarms")
    for number in range(6):
        assert get(root.view("a"), FRESH + number * OWN, OWN) == (b"R" if number < 3 else b"W") * OWN, number


def test_full_disk_gives_a_request_up_after_the_time_that_is_set(make_small):
    root = make_small(a="volatile", b="kept")
    root.ok("set", "fs.full_wait_s", "1")
    root.fill()
    status, text = end(start_writer(root, "a", FRESH, "A"))
    assert status == 1 and os.strerror(errno.ENOSPC) in text
    status, text = end(start_initiator(root, "b", FRESH, 0x42))
    assert "failed" in text
    assert "given up after" in (root.path / "run" / "fs.log").read_text()
    root.make_room()
    assert end(start_writer(root, "a", FRESH, "A")) == (0, "")
    assert get(root.view("a"), FRESH, OWN) == b"A" * OWN
    assert get(root.view("b"), 0, OWN) == b"b" * OWN


def test_full_disk_never_makes_a_flush_lie(make_small):
    """What a kept disk flushed while the disk was full is there after a power cut: the journal has its room from the beginning."""
    root = make_small(a="kept", b="kept")
    root.fill()
    put(root.view("a"), 8192, b"1" * 4096)
    held = start_writer(root, "b", FRESH, "B")
    try:
        system.wait_until(lambda: "client b slot 0" in problems_of(root), what="the alarm")
        put(root.view("a"), 16384, b"2" * 4096)
        kill_file_system(root)
        end(held)
    finally:
        held.kill()
        held.wait(30)
    root.make_room()
    root.run("down")
    for live in (root.path / "run" / "live").iterdir():
        live.unlink()  # as the machine's boot does
    root.ok("up")
    assert get(root.view("a"), 8192, 4096) == b"1" * 4096
    assert get(root.view("a"), 16384, 4096) == b"2" * 4096
    assert get(root.view("b"), 0, OWN) == b"b" * OWN


CHANGES = [
    ["client", "add", "new", "--mac", "52:54:00:00:05:99", "--image", "win"],
    ["client", "set", "a", "--mode", "kept"],
    ["client", "rename", "a", "z"],
    ["client", "reset", "b"],
    ["client", "remove", "b", "--force"],
    ["image", "rename", "win", "other"],
    ["set", "boot.port", "8099"],
]
LOOKS = [["client", "list"], ["client", "show", "a"], ["image", "list"], ["target", "list"], ["overlay", "list"], ["set"], ["log"], ["dump"]]


@pytest.mark.parametrize("state", ["up", "down"])
def test_full_disk_of_the_catalog_refuses_changes_and_shows_all(make_small, state):
    root = make_small(a="volatile", b="kept")
    root.ok(state)
    before = root.catalog_text()
    root.fill()
    for words in CHANGES:
        sentence = root.fails(*words)
        assert "is full" in sentence and "nothing was changed" in sentence, sentence
        assert root.catalog_text() == before, words
    for words in LOOKS:
        root.ok(*words)
    assert root.run("status").returncode in (0, 3)
    if state == "up":
        assert get(root.view("b"), 0, OWN) == b"b" * OWN
    else:
        done = root.run("up")
        assert done.returncode in (0, 1) and (done.returncode == 0 or len(done.stderr.splitlines()) == 1), done
    root.make_room()
    root.ok("up")
    root.ok(*CHANGES[0])
    assert get(root.view("b"), 0, OWN) == b"b" * OWN
