# SPDX-License-Identifier: GPL-2.0-or-later
"""Direct reads: tgtd answers what is in memory by itself, nobody ever reads a byte that he must not see, and who cannot have it is served without."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest
from support import system
from support.boot import script
from support.control import ask
from support.direct import Checker, is_on, notices, stores, view_counts
from support.files import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, MIB, fallocate, make_image
from support.iscsi import call

SIZE = 64 * MIB
AREA = 8 * MIB  # what the checker works in
EXTENT = 65536
MAC = "52:54:00:00:00:01"

MODES = pytest.mark.parametrize("mode", ["volatile", "kept"])


def make_site(root, mode="volatile", up=True, seed=1):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", SIZE, seed=seed))
    root.ok("client", "add", "pc01", "--mac", MAC, "--image", "win", "--mode", mode)
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win", "--mode", mode)
    if up:
        root.ok("up")
    return root


@pytest.fixture
def site(root):
    return make_site(root)


def warm(site):
    """All of the image is in memory."""
    (site.files / "base.raw").read_bytes()


def read_disk(site, client):
    """All of it, in pieces that tgtd may answer by itself."""
    path = site.files / "read.raw"
    call("qemu-img", "dd", "-f", "raw", "-O", "raw", "bs=64k", f"if={site.disk(client).url}", f"of={path}")
    return path.read_bytes()


def base(site, offset=0, length=SIZE):
    with open(site.files / "base.raw", "rb") as file:
        file.seek(offset)
        return file.read(length)


def reopen(site, client):
    """Its LUN is closed and opened again."""
    site.ok("client", "set", client, "--disabled", "on")
    site.ok("client", "set", client, "--disabled", "off")


class Session:
    """qemu-io that stays logged in and does what it is told."""

    PROMPT = b"qemu-io> "

    def __init__(self, root, client):
        self.process = subprocess.Popen(["qemu-io", "-f", "raw", "-d", "unmap", root.disk(client).url], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        self._until_prompt()
        self.do("read 0 512")

    def _until_prompt(self):
        said = b""
        while not said.endswith(self.PROMPT):
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"qemu-io ended: {said}"
            said += piece
        return said.removesuffix(self.PROMPT).decode()

    def do(self, command):
        """The lines that it said to this."""
        self.process.stdin.write(f"{command}\n".encode())
        return self._until_prompt().splitlines()

    def reads(self, offset, content):
        """True if exactly these bytes are there."""
        said = self.do(f"read -v {offset} {len(content)}")
        assert any(line.startswith("read ") for line in said), said
        rows = [line.split(":  ", 1)[1][:48] for line in said if line[8:11] == ":  "]
        return bytes.fromhex("".join(rows)) == content

    def write(self, offset, byte, length):
        said = self.do(f"write -P {byte} {offset} {length}")
        assert any(line.startswith("wrote ") for line in said), said

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0]:
            self.process.kill()
        self.close()


# --- they work -------------------------------------------------------------------------------------------------------


def test_reads_of_what_is_in_memory_do_not_reach_diskgate_fs(site):
    warm(site)
    assert stores(site) == {"pc01": "diskgate", "pc02": "diskgate"} and is_on(site) == [True] and notices(site) == {}
    assert "Direct reads: on for 2 disks" in site.ok("status")
    assert read_disk(site, "pc01") == base(site)
    counts = view_counts(site, "pc01")
    assert counts["direct_luns"] == 1 and counts["direct_read_bytes"] > SIZE // 2
    assert counts["read_bytes"] >= SIZE, "what was read directly counts as read"
    assert view_counts(site, "pc02")["direct_reads"] == 0


def test_disks_that_were_refused_are_not_counted(site):
    (site.path / "run" / "direct.sock").unlink()
    site.ok("client", "reset", "pc02")
    assert stores(site)["pc02"] == "diskgate"
    assert "Direct reads: on for 1 of 2 disks, for the others run/tgt*.log say why not" in site.ok("status")
    assert read_disk(site, "pc02") == base(site)
    assert "cannot reach diskgate-fs" in (site.path / "run" / "tgt0.log").read_text()


def test_counts_stay_when_the_lun_closes(site):
    warm(site)
    read_disk(site, "pc01")
    before = view_counts(site, "pc01")
    reopen(site, "pc01")
    after = view_counts(site, "pc01")
    assert after["reads"] >= before["reads"] and after["read_bytes"] >= before["read_bytes"] >= SIZE


def test_client_show_tells_the_store_of_a_session(site):
    with Session(site, "pc01"):
        (row,) = site.json("client", "show", "pc01")["sessions"]
        assert row["store"] == "diskgate"


def test_every_shard_has_them(make_root):
    site = make_site(make_root(gateway_shards=2))
    warm(site)
    assert is_on(site) == [True, True]
    for client in ("pc01", "pc02"):
        assert read_disk(site, client) == base(site)
        assert view_counts(site, client)["direct_reads"] > 0


def test_two_roots_read_their_own_images(make_root):
    sites = [make_site(make_root(), seed=seed) for seed in (1, 2)]
    for one in sites:
        warm(one)
    assert base(sites[0]) != base(sites[1])
    assert all(read_disk(one, "pc01") == base(one) for one in sites)
    assert all(view_counts(one, "pc01")["direct_reads"] > 0 for one in sites)


# --- nobody reads what he must not see -------------------------------------------------------------------------------


@pytest.mark.parametrize("ram", ["auto", "0", "1M"])
@MODES
def test_reads_see_all_that_was_answered_before(make_root, mode, ram):
    site = make_site(make_root(ram_write_bytes=ram), mode)
    warm(site)
    with Checker(site, "pc01", options=("-s", 3, "-x", len(ram))) as checker:
        time.sleep(8)
        checker.goes_on()
        done = checker.stop()
    assert done["reads"] > 100 and done["writes"] > 10 and done["unmaps"] > 10 and done["refused"] == 0
    assert view_counts(site, "pc01")["direct_reads"] > 0
    with open(site.view("pc01"), "rb") as file:
        assert file.read(AREA) == checker.final.read_bytes()
    assert read_disk(site, "pc02") == base(site)


def test_checker_finds_reads_that_are_stale(site):
    """Two disks of the same image, taken for one: what is written to one of them is not seen on the other."""
    with Checker(site, "pc01", "pc02") as checker:
        status, said = checker.status()
    assert status == 1 and "not to be seen" in said


def test_checker_finds_reads_of_another_image(site):
    content = bytearray((site.files / "base.raw").read_bytes()[:AREA])
    content[AREA - 5] ^= 1
    (site.files / "other.raw").write_bytes(content)
    with Checker(site, "pc01", base="other.raw", options=("-r", 100)) as checker:
        checker.process.send_signal(signal.SIGTERM)
        status, said = checker.status()
    assert status == 1 and f"in sector {AREA // 512 - 1}" in said


@MODES
def test_reads_are_right_while_others_use_the_view(make_root, mode):
    """The same disk is written through the mount outside of the checker's area, its pages are dropped, boots are recorded."""
    site = make_site(make_root(), mode)
    warm(site)
    source, stop = random.Random(3), threading.Event()

    def write_on():
        fd = os.open(site.view("pc01"), os.O_RDWR)
        while not stop.is_set():
            offset = AREA + source.randrange((SIZE - AREA) // 4096 - 16) * 4096
            os.pwrite(fd, source.randbytes(4096 * source.randrange(1, 9)), offset)
            fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, AREA + source.randrange(AREA), 5000)
        os.close(fd)

    thread = threading.Thread(target=write_on)
    with Checker(site, "pc01") as checker:
        thread.start()
        base = os.open(site.files / "base.raw", os.O_RDONLY)
        for number in range(12):
            os.posix_fadvise(base, 0, 0, os.POSIX_FADV_DONTNEED)
            ask(site, cmd="boot", client="pc01")
            time.sleep(0.3)
            if number == 6:
                site.ok("set", "ram.write_bytes", "1M")
        os.close(base)
        stop.set()
        thread.join(30)
        checker.goes_on()
        checker.stop()


def test_another_disk_in_the_place_of_a_lun_is_read_and_no_other(site):
    warm(site)
    make_image(site.files / "second.raw", SIZE, seed=9)
    site.ok("image", "add", "second", site.files / "second.raw")
    site.disk("pc01").write(b"\x5a" * MIB, 3 * MIB)
    assert read_disk(site, "pc01")[3 * MIB : 4 * MIB] == b"\x5a" * MIB
    site.ok("client", "reset", "pc01")
    assert read_disk(site, "pc01") == base(site)
    site.ok("client", "link", "pc01", "second")
    assert read_disk(site, "pc01") == (site.files / "second.raw").read_bytes()
    assert view_counts(site, "pc01")["direct_reads"] > 0


def test_reset_under_a_session_ends_it_and_no_read_sees_the_next_disk(site):
    warm(site)
    with Checker(site, "pc01") as checker:
        time.sleep(1)
        checker.goes_on()
        site.ok("client", "reset", "pc01", "--force")
        status, said = checker.status()
    assert status == 3 and "session was lost" in said
    assert read_disk(site, "pc01") == base(site)


def test_boot_record_misses_nothing_that_is_read_directly(site):
    """More reads than the ring has room for, and nobody empties it in between."""
    warm(site)
    numbers = list(range(100, 800, 2))
    ask(site, cmd="boot", client="pc01")
    site.disk("pc01").io(*[f"read -q {number * EXTENT + 8192} 4096" for number in numbers])
    assert view_counts(site, "pc01")["direct_reads"] > 200
    ask(site, cmd="boot", client="pc01")
    told = ask(site, cmd="settle")["images"][0]
    # the initiator itself has looked at the beginning and the end of the disk
    assert told["boots"] == 1 and len(numbers) <= told["boot_extents"] <= len(numbers) + 4


# --- diskgate-fs dies ------------------------------------------------------------------------------------------------


def kill_file_system(site):
    system.kill_all(site.file_system_processes())
    system.wait_until(lambda: not site.file_system_processes(), what="the end of diskgate-fs")


def test_reads_go_on_while_diskgate_fs_is_dead(site):
    warm(site)
    with Session(site, "pc01") as session:
        content = base(site, 5 * MIB, 16384)
        assert session.reads(5 * MIB, content)
        kill_file_system(site)
        assert session.reads(5 * MIB, content)
        assert session.reads(9 * MIB, base(site, 9 * MIB, 16384))
        site.ok("up")
        session.write(5 * MIB, 0x77, 8192)
        assert session.reads(5 * MIB, b"\x77" * 8192 + content[8192:])
        counts = view_counts(site, "pc01")
        assert counts["direct_luns"] == 1
    assert read_disk(site, "pc01")[5 * MIB : 5 * MIB + 8192] == b"\x77" * 8192


def test_reads_go_on_while_diskgate_fs_stands_still(site):
    warm(site)
    went_on = threading.Event()

    def signal_all(number):
        for pid in site.file_system_processes():
            os.kill(pid, number)

    def go_on():
        went_on.set()
        signal_all(signal.SIGCONT)

    watchdog = threading.Timer(60, go_on)
    with Session(site, "pc01") as session:
        signal_all(signal.SIGSTOP)
        watchdog.start()
        try:
            for offset in range(MIB, 40 * MIB, MIB):
                assert session.reads(offset, base(site, offset, 8192))
            assert not went_on.is_set(), "a read waited for diskgate-fs"
        finally:
            watchdog.cancel()
            go_on()
        session.write(MIB, 0x33, 4096)
        assert session.reads(MIB, b"\x33" * 4096 + base(site, MIB + 4096, 4096))


def test_tgtd_that_died_gets_them_again(site):
    warm(site)
    system.kill_all(site.tgt_processes())
    system.wait_until(lambda: not site.tgt_processes(), what="the end of tgtd")
    site.ok("up")
    assert stores(site) == {"pc01": "diskgate", "pc02": "diskgate"}
    assert read_disk(site, "pc01") == base(site)
    assert view_counts(site, "pc01")["direct_reads"] > 0


@MODES
def test_reads_are_right_when_diskgate_fs_dies_and_is_repaired(make_root, mode):
    site = make_site(make_root(), mode)
    warm(site)
    with Checker(site, "pc01") as checker:
        for repair in (["up"], ["target", "sync"]):
            time.sleep(1)
            kill_file_system(site)
            time.sleep(0.5)
            site.ok(*repair)
            time.sleep(1)
            checker.goes_on()
        done = checker.stop()
    assert done["refused"] > 0, "no command met the dead file system"
    with open(site.view("pc01"), "rb") as file:
        assert file.read(AREA) == checker.final.read_bytes()
    assert view_counts(site, "pc01")["direct_luns"] == 1


# --- and without them all goes on ------------------------------------------------------------------------------------


def test_setting_turns_them_off_and_on(site):
    tgtd = site.tgt_processes()
    site.ok("set", "gateway.direct", "off")
    assert stores(site) == {"pc01": "rdwr", "pc02": "rdwr"} and notices(site) == {}
    assert "Direct reads: off by gateway.direct" in site.ok("status")
    assert read_disk(site, "pc01") == base(site)
    assert view_counts(site, "pc01")["direct_reads"] == 0
    site.ok("set", "gateway.direct", "on")
    assert stores(site) == {"pc01": "diskgate", "pc02": "diskgate"}
    assert site.tgt_processes() == tgtd, "a tgtd that has the library needs no other life"


def test_change_of_the_setting_leaves_sessions_alone(site):
    warm(site)
    with Checker(site, "pc01") as checker:
        for value in ("off", "on", "off"):
            site.ok("set", "gateway.direct", value)
            site.ok("target", "sync")
            assert stores(site)["pc01"] == "diskgate"
            assert stores(site)["pc02"] == ("diskgate" if value == "on" else "rdwr")
            checker.goes_on()
        assert "until their next boot" in site.ok("status")
        checker.stop()


def test_change_of_the_setting_is_followed_at_the_next_boot(make_root):
    site = make_site(make_root(), "kept")
    with Session(site, "pc01"):
        site.ok("set", "gateway.direct", "off")
        assert site.target("pc01")["next_store"] == "rdwr"
    assert stores(site)["pc01"] == "diskgate"
    assert "sanboot" in script(site, MAC)
    assert stores(site)["pc01"] == "rdwr" and "next_store" not in site.target("pc01")


def test_shard_without_the_library_is_started_anew_when_nobody_is_logged_in(make_root):
    site = make_site(make_root(gateway_direct="off"))
    assert is_on(site) == [False] and stores(site)["pc01"] == "rdwr"
    with Checker(site, "pc01") as checker:
        site.ok("set", "gateway.direct", "on")
        assert "was started without" in notices(site)["direct reads of tgtd 0"]
        assert stores(site) == {"pc01": "rdwr", "pc02": "rdwr"}
        checker.goes_on()
        checker.stop()
    assert "no library for direct reads" in site.ok("target", "sync")
    assert stores(site) == {"pc01": "diskgate", "pc02": "diskgate"} and notices(site) == {}
    assert site.run("target", "sync").stdout.startswith("nothing to do")


def assert_plain_and_right(site):
    assert stores(site) == {"pc01": "rdwr", "pc02": "rdwr"} and is_on(site) == [False]
    assert read_disk(site, "pc01") == base(site)
    site.disk("pc02").write(b"\x11" * 4096, MIB)
    assert read_disk(site, "pc02")[MIB : MIB + 4096] == b"\x11" * 4096


def test_missing_library_is_told_and_all_is_served(root, monkeypatch):
    monkeypatch.setenv("DISKGATE_STORE_LIBRARY", "/nowhere/libdiskgate-store.so")
    site = make_site(root)
    assert "cannot open the library '/nowhere/libdiskgate-store.so'" in notices(site)["direct reads"]
    assert_plain_and_right(site)


def test_library_that_is_none_is_told_and_all_is_served(root, monkeypatch):
    (root.files / "library.so").write_bytes(b"this is no library")
    monkeypatch.setenv("DISKGATE_STORE_LIBRARY", str(root.files / "library.so"))
    site = make_site(root)
    assert "tgt0.log" in notices(site)["direct reads of tgtd 0"]
    assert_plain_and_right(site)
    assert site.run("target", "sync").stdout.startswith("nothing to do"), "a tgtd that does not take it is not started again and again"


def test_library_whose_path_the_loader_cannot_take_is_told(root, monkeypatch):
    (root.files / "my library.so").touch()
    monkeypatch.setenv("DISKGATE_STORE_LIBRARY", str(root.files / "my library.so"))
    site = make_site(root)
    assert "have no blank and no colon" in notices(site)["direct reads"]
    assert_plain_and_right(site)


def test_tgtd_of_an_unknown_version_gets_no_library(root, monkeypatch):
    bin_dir = root.files / "bin"
    bin_dir.mkdir()
    real = subprocess.run(["which", "tgtd"], capture_output=True, text=True, check=True).stdout.strip()
    (bin_dir / "tgtd").write_text(f'#!/bin/sh\n[ "$1" = -V ] && echo 1.0.98 && exit\nexec {real} "$@"\n')
    (bin_dir / "tgtd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    site = make_site(root)
    assert "version '1.0.98'" in notices(site)["direct reads"]
    assert_plain_and_right(site)


@contextlib.contextmanager
def in_place_of_the_socket(site, serve):
    """Somebody else listens there; @serve handles each connection."""
    folder = os.open(site.path / "run", os.O_RDONLY | os.O_DIRECTORY)
    path = f"/proc/self/fd/{folder}/direct.sock"
    os.rename(path, f"{path}.away")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    kept = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
                serve(kept[-1])

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield kept
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for one in kept:
            one.close()
        os.rename(f"{path}.away", path)
        os.close(folder)


def say_nothing(_connection):
    pass


def say_nonsense(connection):
    with contextlib.suppress(OSError):
        connection.send(random.Random(1).randbytes(40))


def close_at_once(connection):
    connection.close()


def send_wrong_files(connection):
    """The form of a good answer, with files that are none of the disk's."""
    with contextlib.suppress(OSError):
        asked = connection.recv(64)
        fds = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(4)]
        answer = asked[:8] + bytes(8) + SIZE.to_bytes(8, "little") + SIZE.to_bytes(8, "little")
        socket.send_fds(connection, [answer], fds)
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("serve", [say_nothing, say_nonsense, close_at_once, send_wrong_files])
def test_who_is_not_diskgate_fs_behind_the_socket_is_not_believed(site, serve):
    warm(site)
    with in_place_of_the_socket(site, serve) as asked:
        reopen(site, "pc01")
        assert asked, "nobody asked"
        assert read_disk(site, "pc01") == base(site)
        assert view_counts(site, "pc01")["direct_reads"] == 0
        site.disk("pc01").write(b"\x42" * 4096, 4096)
        assert read_disk(site, "pc01")[4096:8192] == b"\x42" * 4096


def test_lun_that_finds_no_socket_is_served_all_the_same(site):
    warm(site)
    (site.path / "run" / "direct.sock").rename(site.path / "run" / "direct.sock.away")
    reopen(site, "pc01")
    assert stores(site)["pc01"] == "diskgate"
    assert read_disk(site, "pc01") == base(site)
    assert view_counts(site, "pc01")["direct_luns"] == 0
    (site.path / "run" / "direct.sock.away").rename(site.path / "run" / "direct.sock")
    reopen(site, "pc01")
    assert read_disk(site, "pc01") == base(site)


def test_library_stays_out_of_the_environment_of_what_tgtd_starts(site):
    """And nothing but tgtd has it loaded."""
    (tgtd,) = site.tgt_processes()
    with open(f"/proc/{tgtd}/maps") as file:
        assert "libdiskgate-store.so" in file.read()
    for pid in system.processes_of(str(site.path)):
        with open(f"/proc/{pid}/maps") as file:
            assert pid == tgtd or "libdiskgate-store" not in file.read()
