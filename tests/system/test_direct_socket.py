# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct reads, the side of diskgate-fs: what a store at run/direct.sock gets, and until when its reads count. The store is the test's."""

import os
import random
import shutil
import signal
import subprocess
import threading

import pytest
from support import system
from support.control import EXTENT, ask, read_extents, version
from support.files import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, MIB, fallocate, make_image
from support.store import DATA, ON, RECORD, Refused, Store

SIZE = 32 * MIB
MODES = pytest.mark.parametrize("mode", ["volatile", "kept"])


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", SIZE))
    root.ok("set", "ram.write_bytes", "0")
    return root


def start(root, mode="volatile"):
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", mode)
    root.ok("up")


def overlay_id(root):
    return root.json("overlay", "list")["overlays"][0]["overlay_id"]


def store(root):
    return Store(root, overlay_id(root))


def row(root):
    return ask(root, cmd="status")["views"][0]


def warm(root):
    """All of the base in memory: a store reads nothing else."""
    with open(root.files / "base.raw", "rb") as file:
        while file.read(MIB):
            pass


def kill_file_system(root):
    pids = set(root.file_system_processes())
    system.kill_all(pids)
    system.wait_until(lambda: not pids & set(root.file_system_processes()), what="diskgate-fs to be dead")


def worker_of(root):
    return next(pid for pid in root.file_system_processes() if system.user_of(pid) != 0)


def change(view, seed, rounds=300):
    """Writes, parts of blocks and holes at random."""
    rng = random.Random(seed)
    fd = os.open(view, os.O_RDWR)
    try:
        for _ in range(rounds):
            offset = rng.randrange(SIZE - 65536) // 512 * 512
            length = rng.choice((512, 4096, 5632, 65536))
            if rng.random() < 0.3:
                fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
            else:
                os.pwrite(fd, rng.randbytes(length), offset)
    finally:
        os.close(fd)


def compare(root, disk):
    """What the store reads by itself is what the mount shows; how many of its reads that were, in hundredths."""
    answered = 0
    fd = os.open(root.view("pc01"), os.O_RDONLY)
    try:
        for number in range(SIZE // 16384):
            got = disk.read(number * 16384, 16384)
            want = os.pread(fd, 16384, number * 16384)
            assert got is None or got == want, f"at byte {number * 16384}"
            answered += got is not None
    finally:
        os.close(fd)
    return answered * 100 // (SIZE // 16384)


@MODES
def test_store_reads_what_the_mount_shows(site, mode):
    start(site, mode)
    warm(site)
    with store(site) as disk:
        assert disk.size == disk.base_bytes == SIZE
        assert compare(site, disk) > 90
        change(site.view("pc01"), 1)
        assert compare(site, disk) > 90
        assert row(site)["direct_luns"] >= 1
    with store(site) as disk:  # and one that comes later
        assert compare(site, disk) > 90


def test_blocks_in_ram_are_read_through_the_mount(site):
    site.ok("set", "ram.write_bytes", "64M")
    start(site)
    warm(site)
    with store(site) as disk:
        assert disk.flags & (ON | DATA) == ON | DATA
        change(site.view("pc01"), 2)
        assert disk.flags & (ON | DATA) == ON
        assert 20 < compare(site, disk) < 90
        site.ok("client", "set", "pc01", "--mode", "kept")
        change(site.view("pc01"), 3)
        compare(site, disk)
    assert row(site)["ram_bytes"] == 0


def test_mode_that_changes_to_and_fro_is_never_read_wrongly(site):
    start(site, "kept")
    warm(site)
    with store(site) as disk:
        for number in range(6):
            change(site.view("pc01"), number, 60)
            compare(site, disk)
            if number == 2:
                site.ok("set", "ram.write_bytes", "4M")
            site.ok("client", "set", "pc01", "--mode", "volatile" if number % 2 == 0 else "kept")


@pytest.mark.parametrize("how", ["reset", "link", "remove"])
def test_overlay_that_ends_is_read_by_nobody(site, how):
    site.ok("image", "add", "other", make_image(site.files / "other.raw", SIZE, seed=7))
    start(site)
    warm(site)
    old = overlay_id(site)
    with store(site) as disk:
        assert disk.read(0, 4096)
        if how == "reset":
            site.ok("client", "reset", "pc01")
        elif how == "link":
            site.ok("client", "link", "pc01", "other")
        else:
            site.ok("client", "remove", "pc01")
        assert disk.flags == 0 and disk.read(0, 4096) is None
    with pytest.raises(Refused, match="2"):
        Store(site, old)
    if how != "remove":
        with store(site) as disk:
            compare(site, disk)


def test_rename_of_a_client_changes_nothing(site):
    start(site)
    warm(site)
    with store(site) as disk:
        site.ok("client", "rename", "pc01", "hall")
        assert disk.read(0, 4096)
        site.ok("client", "rename", "hall", "pc01")
        compare(site, disk)


@MODES
def test_store_goes_on_while_diskgate_fs_is_dead_and_no_longer(site, mode):
    start(site, mode)
    warm(site)
    change(site.view("pc01"), 4)
    before = site.view("pc01").read_bytes()
    with store(site) as disk:
        kill_file_system(site)
        told = [disk.read(n * 16384, 16384) for n in range(SIZE // 16384)]
        assert sum(t is not None for t in told) > len(told) * 9 // 10
        assert all(t in (None, before[n * 16384 : (n + 1) * 16384]) for n, t in enumerate(told))
        site.ok("up")
        change(site.view("pc01"), 5)
        assert disk.read(0, 4096) is None
        with store(site) as fresh:
            assert compare(site, fresh) > 90
    assert row(site)["state"] == "ready"


def test_overlay_that_is_dropped_while_its_folder_is_gone_is_read_by_nobody(site):
    start(site)
    warm(site)
    with store(site) as disk:
        kill_file_system(site)
        assert disk.read(0, 4096)
        shutil.rmtree(site.path / "overlays")
        (site.path / "overlays").mkdir(mode=0o700)
        site.run("client", "reset", "pc01")  # it may say that diskgate-fs is dead
        site.ok("up")
        assert disk.read(0, 4096) is None
        with store(site) as fresh:
            assert fresh.read(0, 4096)


@MODES
def test_down_turns_the_board_off_and_takes_the_socket_away(site, mode):
    start(site, mode)
    warm(site)
    with store(site) as disk:
        assert disk.read(0, 4096)
        site.ok("down")
        assert disk.flags == 0 and disk.read(0, 4096) is None
        assert not (site.path / "run/direct.sock").exists()
        site.ok("up")
        assert disk.read(0, 4096) is None
        with store(site) as fresh:
            compare(site, fresh)


def test_base_that_changes_is_read_through_the_mount(site):
    start(site)
    warm(site)
    base = site.files / "base.raw"
    times = os.stat(base)
    with store(site) as disk:
        assert disk.read(0, 4096)
        os.utime(base)
        site.run("target", "sync")
        assert not disk.flags & ON and disk.read(0, 4096) is None
        os.utime(base, ns=(times.st_atime_ns, times.st_mtime_ns))
        site.ok("target", "sync")
        assert disk.flags & ON and disk.read(0, 4096)


def test_reads_are_counted_and_stay_so_when_the_lun_closes(site):
    start(site)
    warm(site)
    before = row(site)
    with store(site) as disk:
        for number in range(10):
            assert disk.read(number * 8192, 8192)
        told = row(site)
        assert told["direct_reads"] - before["direct_reads"] == 10 and told["direct_read_bytes"] - before["direct_read_bytes"] == 81920
        assert told["reads"] - before["reads"] == 10 and told["read_bytes"] - before["read_bytes"] == 81920
    system.wait_until(lambda: row(site)["direct_luns"] == before["direct_luns"], what="the LUN to be forgotten")
    assert row(site)["reads"] - before["reads"] == 10


def test_boot_is_learnt_from_both_ways_of_reading(site):
    start(site)
    warm(site)
    ask(site, cmd="boot", client="pc01")
    with store(site) as disk:
        assert disk.flags & RECORD
        for number in range(40):
            assert disk.read(number * EXTENT, 4096)
        read_extents(site.view("pc01"), range(40, 60))
        for number in range(60, 80):
            assert disk.read(number * EXTENT, 4096)
        ask(site, cmd="boot", client="pc01")
        told = version(site)
        assert told["boots"] == 1 and told["boot_extents"] == 80
        assert told["hits"] >= 80


def test_connections_that_end_leave_nothing_open(site):
    start(site)
    worker = worker_of(site)

    def descriptors():
        return len(os.listdir(f"/proc/{worker}/fd"))

    luns = row(site)["direct_luns"]
    before = descriptors()
    for _ in range(30):
        store(site).close()
    for _ in range(30):
        with pytest.raises(Refused, match="2"):
            Store(site, "00000000-0000-4000-8000-000000000000")
    system.wait_until(lambda: row(site)["direct_luns"] == luns, what="the connections to be gone")
    system.wait_until(lambda: descriptors() <= before, what="their descriptors to be closed")


def test_ask_is_answered_while_a_round_hangs(site):
    """tgtd stands still while it waits: the opener that does not answer must not hold it up."""
    start(site)
    warm(site)
    ident = overlay_id(site)
    opener = next(pid for pid in site.file_system_processes() if system.user_of(pid) == 0)
    os.kill(opener, signal.SIGSTOP)
    try:
        waiting = subprocess.Popen(site.command("target", "sync"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        threading.Event().wait(1)
        with Store(site, ident) as disk:
            assert disk.read(0, 4096)
        assert waiting.poll() is None
    finally:
        os.kill(opener, signal.SIGCONT)
    assert waiting.wait(60) == 0


def test_two_roots_do_not_serve_each_other(site, make_root):
    start(site)
    other = make_root()
    other.ok("image", "add", "win", make_image(other.files / "base.raw", SIZE, seed=9))
    other.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    other.ok("up")
    with pytest.raises(Refused, match="2"):
        Store(other, overlay_id(site))
    for root in (site, other):
        warm(root)
        with store(root) as disk:
            assert compare(root, disk) > 90
