# SPDX-License-Identifier: GPL-2.0-or-later
"""Promise 1: a write that was acknowledged survives the death of any of our processes, in every overlay mode."""

import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import threading

import pytest
from support import system
from support.files import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, MIB, fallocate, make_image
from support.iscsi import file_hash

BLOCK = 4096
AREA_BLOCKS = 16384  # what iscsi-ackwrite writes: 64 MiB

MODES = pytest.mark.parametrize("mode", ["volatile", "kept"])
VICTIMS = pytest.mark.parametrize("victim", ["both processes", "worker", "opener"])


@pytest.fixture
def site(root):
    root.ok("image", "add", "win", make_image(root.files / "base.raw", AREA_BLOCKS * BLOCK))
    return root


def add_client(root, mode):
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", mode)
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win", "--mode", mode)
    root.ok("up")


def kill_file_system(root, victim="both processes"):
    """diskgate-fs is two processes: the worker, which serves and has given up root, and the opener, which has not."""
    pids = set(root.file_system_processes())
    workers = {pid for pid in pids if system.user_of(pid) != 0}
    chosen = {"both processes": pids, "worker": workers, "opener": pids - workers}[victim]
    assert chosen and workers and pids - workers, f"diskgate-fs runs as {pids}, of which {workers} without root"
    system.kill_all(chosen)
    system.wait_until(lambda: not chosen & set(root.file_system_processes()), what="diskgate-fs to be dead")


class ViewWriter(threading.Thread):
    """Writes and punches through the view until the file system dies under it or it is told to stop; remembers what was acknowledged."""

    def __init__(self, view, seed):
        super().__init__()
        self.fd = os.open(view, os.O_RDWR)
        self.random = random.Random(seed)
        self.acked = {}  # block -> sequence, 0 = punched
        self.pending = None
        self.error = None
        self.must_stop = False

    def run(self):
        sequence = 0
        while not self.must_stop:
            sequence += 1
            self.pending = self.random.randrange(AREA_BLOCKS)
            try:
                if sequence % 7 == 0:
                    fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, self.pending * BLOCK, BLOCK)
                    self.acked[self.pending] = 0
                else:
                    os.pwrite(self.fd, struct.pack("<QQ", self.pending, sequence) * (BLOCK // 16), self.pending * BLOCK)
                    self.acked[self.pending] = sequence
            except OSError as error:
                self.error = error
                break
            self.pending = None
        os.close(self.fd)

    def lost(self, content):
        """Blocks that do not hold what was acknowledged last; the one that was under way may hold anything."""
        found = []
        for block, sequence in self.acked.items():
            expected = struct.pack("<QQ", block, sequence) * (BLOCK // 16) if sequence else bytes(BLOCK)
            if block != self.pending and content[block * BLOCK : (block + 1) * BLOCK] != expected:
                found.append(block)
        return found


@MODES
@VICTIMS
def test_no_acknowledged_write_is_lost_when_the_file_system_is_killed(site, mode, victim):
    add_client(site, mode)
    untouched = file_hash(site.files / "base.raw")
    for round_number in range(3):
        writer = ViewWriter(site.view("pc01"), round_number)
        writer.start()
        system.wait_until(lambda: len(writer.acked) > 500 or writer.error, what="the first writes")
        assert writer.error is None
        kill_file_system(site, victim)
        site.ok("up")
        writer.must_stop = True
        writer.join(60)
        assert not writer.is_alive(), "a write hangs after 'up'"
        content = site.disk("pc01").read_all()
        assert writer.lost(content) == []
        assert site.disk("pc02").hash() == untouched
    assert file_hash(site.files / "base.raw") == untouched


@VICTIMS
def test_target_sync_mends_a_killed_file_system_under_an_open_view(site, victim):
    add_client(site, "volatile")
    writer = ViewWriter(site.view("pc01"), 5)
    site.disk("pc02").write(b"x" * 4096, 4096)
    kill_file_system(site, victim)
    writer.start()
    site.ok("target", "sync")
    writer.must_stop = True
    writer.join(60)
    assert not writer.is_alive(), "a write hangs after 'target sync'"
    site.ok("client", "add", "pc03", "--mac", "52:54:00:00:00:03", "--image", "win")
    assert site.disk("pc03").hash() == file_hash(site.files / "base.raw")
    assert site.disk("pc02").read_all()[4096:8192] == b"x" * 4096


@MODES
def test_killed_file_system_leaves_the_written_disk_exactly_as_it_was(site, mode):
    add_client(site, mode)
    site.disk("pc01").write(random.Random(5).randbytes(3 * MIB), 512)
    site.disk("pc01").discard(MIB, MIB)
    written = site.disk("pc01").hash()
    kill_file_system(site)
    site.ok("up")
    assert site.disk("pc01").hash() == written


class AckWriter:
    """iscsi-ackwrite: an initiator that stays logged in."""

    def __init__(self, root, client):
        self.log = root.files / "ack.log"
        command = [str(root.programs.ackwrite), root.disk(client).url, str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def count(self):
        return self.log.read_bytes().count(b"\n")

    def wait_for_more(self, more, what):
        wanted = self.count() + more
        system.wait_until(lambda: self.count() >= wanted or self.process.poll() is not None, 60, what)
        assert self.process.poll() is None, self.process.stderr.read()

    def stop(self):
        """How many writes had to be repeated."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return int(out.split()[-1])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=60)

    def lost(self, content):
        acked, pending = {}, set()
        for line in self.log.read_text().splitlines():
            words = line.split()
            if len(words) == 2:
                acked[int(words[0])] = int(words[1])
            else:
                pending.add(int(words[0]))
        assert acked
        found = []
        for block, sequence in acked.items():
            expected = struct.pack("<QQ", block, sequence) * (BLOCK // 16)
            if block not in pending and content[block * BLOCK : (block + 1) * BLOCK] != expected:
                found.append(block)
        return found


@pytest.fixture
def ack_writer(site):
    if not site.programs.ackwrite.exists():
        pytest.skip("iscsi-ackwrite is not built: libiscsi-dev was missing")
    writers = []

    def make(client):
        writers.append(AckWriter(site, client))
        return writers[-1]

    yield make
    for writer in writers:
        writer.kill()


@MODES
@pytest.mark.parametrize("repair", [["up"], ["target", "sync"]], ids=["up", "target sync"])
def test_session_goes_on_after_the_file_system_was_killed_and_repaired(site, ack_writer, mode, repair):
    add_client(site, mode)
    writer = ack_writer("pc01")
    tgt = set(site.tgt_processes())
    for _ in range(2):
        writer.wait_for_more(500, "writes before the kill")
        kill_file_system(site)
        site.ok(*repair)
        writer.wait_for_more(500, "writes after the repair")
    repeated = writer.stop()
    assert set(site.tgt_processes()) == tgt
    assert writer.lost(site.disk("pc01").read_all()) == [], f"{repeated} writes were repeated"


@MODES
def test_killed_tgtd_is_started_again_by_up_and_nothing_is_lost(site, ack_writer, mode):
    add_client(site, mode)
    writer = ack_writer("pc01")
    writer.wait_for_more(500, "writes before the kill")
    file_system = set(site.file_system_processes())
    killed = set(site.tgt_processes())
    system.kill_all(killed)
    system.wait_until(lambda: not killed & set(site.tgt_processes()), what="tgtd to be dead")
    system.wait_until(lambda: writer.process.poll() is not None, what="the initiator to notice")
    site.ok("up")
    assert set(site.file_system_processes()) == file_system
    assert writer.lost(site.disk("pc01").read_all()) == []
    assert site.disk("pc02").hash() == file_hash(site.files / "base.raw")


def state(root):
    """What `status` says; its exit status 3 means that it found damage."""
    done = root.run("--json", "status")
    told = json.loads(done.stdout)["state"]
    assert done.returncode == (0 if told == "up" else 3), done
    return told


def test_status_tells_what_died(site):
    add_client(site, "volatile")
    assert state(site) == "up"
    kill_file_system(site)
    assert state(site) == "degraded"
    site.ok("up")
    assert state(site) == "up"
    system.kill_all(site.tgt_processes())
    system.wait_until(lambda: not site.tgt_processes(), what="tgtd to be dead")
    assert state(site) == "degraded"


def test_down_works_after_everything_was_killed(site):
    add_client(site, "kept")
    system.kill_all(site.file_system_processes())
    system.kill_all(site.tgt_processes())
    site.ok("down")
    assert site.leftovers() == []


def test_nothing_is_written_into_the_bare_mount_point(site):
    add_client(site, "kept")
    kill_file_system(site)
    site.ok("down")
    with contextlib.suppress(OSError):
        (site.mnt / "swallowed").write_text("x")
    assert not site.mnt.exists() or os.listdir(site.mnt) == []


@MODES
def test_session_of_another_client_is_untouched_by_changes(site, ack_writer, mode):
    add_client(site, mode)
    writer = ack_writer("pc01")
    site.ok("client", "reset", "pc02")
    site.ok("client", "add", "pc03", "--mac", "52:54:00:00:00:03", "--image", "win")
    site.ok("client", "remove", "pc02")
    site.ok("target", "sync")
    writer.wait_for_more(200, "writes after the changes")
    sessions = site.target("pc01")["sessions"]
    assert len(sessions) == 1 and sessions[0]["initiator"].endswith(":ackwrite")
    assert writer.stop() == 0
    assert writer.lost(site.disk("pc01").read_all()) == []


def test_running_client_is_removed_under_load_only_by_force(site, ack_writer):
    add_client(site, "volatile")
    writer = ack_writer("pc01")
    writer.wait_for_more(200, "the first writes")
    assert "pc01" in site.fails("client", "remove", "pc01")
    writer.wait_for_more(200, "writes after the refusal")
    site.ok("client", "remove", "pc01", "--force")
    system.wait_until(lambda: writer.process.poll() is not None, what="the session to end")
    assert {row["client"] for row in site.targets()} == {"pc02"}
    assert site.disk("pc02").hash() == file_hash(site.files / "base.raw")


def test_down_under_load_ends_the_sessions_and_leaves_nothing(site, ack_writer):
    add_client(site, "kept")
    writer = ack_writer("pc01")
    writer.wait_for_more(200, "the first writes")
    site.ok("down")
    system.wait_until(lambda: writer.process.poll() is not None, what="the session to end")
    site.ok("up")
    assert writer.lost(site.disk("pc01").read_all()) == []
