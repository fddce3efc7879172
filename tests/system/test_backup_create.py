# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup create`: what is in a set is of one instant, whatever clients and signals do meanwhile, and nothing is read without need."""

import contextlib
import os
import random
import signal
import sqlite3
import struct
import subprocess
import threading
import time

import pytest
from support import system
from support.files import MIB, make_image, put
from support.repository import Repository

BLOCK = 4096
SIZE = 32 * MIB
SETTLED_S = 2.2  # a file that was changed less long ago is not known by its times


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    for number, name in enumerate(("pc01", "pc02")):
        root.ok("client", "add", name, "--mac", f"52:54:00:00:00:0{number}", "--image", "win", "--mode", "kept")
    root.ok("client", "add", "guest", "--mac", "52:54:00:00:00:09", "--image", "win")
    root.repository = Repository(root).init()
    return root


def base_of(site):
    return site.image.read_bytes()


def content(site, client):
    return site.repository.disk(site.repository.last, f"client-{client}-0", base_of(site))


def write(site, client, data, offset=0):
    put(site.view(client), offset, data, sync=False)


class Stamper(threading.Thread):
    """Writes a rising count over all blocks, in order, into one disk and then into the other."""

    BLOCKS = 2000

    def __init__(self, site):
        super().__init__()
        self.views = [os.open(site.view(name), os.O_RDWR) for name in ("pc01", "pc02")]
        self.must_stop, self.error, self.count = False, None, 0

    def run(self):
        try:
            while not self.must_stop:
                self.count += 1
                for view in self.views:
                    os.pwrite(view, struct.pack("<Q", self.count) * (BLOCK // 8), self.count % self.BLOCKS * BLOCK)
        except OSError as error:
            self.error = error
        for view in self.views:
            os.close(view)

    def end(self):
        self.must_stop = True
        self.join(60)
        assert not self.is_alive(), "a write hangs"


def count_in(disk, base):
    """The newest count in a disk; every block must be what it was at that moment."""
    found = {}
    for number in range(Stamper.BLOCKS):
        block = disk[number * BLOCK : (number + 1) * BLOCK]
        if block == base[number * BLOCK : (number + 1) * BLOCK]:
            continue
        (count,) = struct.unpack("<Q", block[:8])
        assert block == block[:8] * (BLOCK // 8), f"block {number} is torn"
        found[number] = count
    newest = max(found.values(), default=0)
    for number in range(Stamper.BLOCKS):
        expected = newest - (newest - number) % Stamper.BLOCKS
        assert found.get(number, 0) == max(expected, 0), f"block {number} is not of the moment {newest}"
    return newest


def assert_one_instant(site):
    base = base_of(site)
    first, second = (count_in(content(site, name), base) for name in ("pc01", "pc02"))
    assert first in (second, second + 1), f"the disks are of the moments {first} and {second}"
    return first


def frozen_files(site):
    return sorted(p.name for p in (site.path / "run" / "frozen").iterdir())


def fill(site, client):
    """So that the backup takes a while: bytes that cannot be compressed, behind those that the stamper writes."""
    write(site, client, random.Random(client).randbytes(12 * MIB), 10 * MIB)


class Stopped:
    """A backup that was stopped by the kernel just after its disks were frozen, until finish()."""

    def __init__(self, site):
        self.repository = site.repository
        self.repository.create()  # so that the image is known and only the disks take long
        fill(site, "pc01")
        fill(site, "pc02")
        for _ in range(20):
            self.job = site.repository.start("--threads", "1", "--level", "19")
            # the side file is the last of a freeze
            system.wait_until(lambda: sum(n.endswith(".side") for n in frozen_files(site)) == 2 or self.job.poll() is not None,
                              what="the freeze")
            self.job.send_signal(signal.SIGSTOP)
            if self.job.poll() is None and frozen_files(site):
                return
            self.finish()
        raise AssertionError("the backup was too quick, twenty times")

    def finish(self, status=0):
        """(summary, what it said)"""
        with contextlib.suppress(ProcessLookupError):
            self.job.send_signal(signal.SIGCONT)
        out, said = self.job.communicate(timeout=120)
        assert self.job.returncode == status, said
        return self.repository.note(out), said


# --- one instant -------------------------------------------------------------------------------------------------------


def test_disks_of_clients_that_write_are_of_one_instant(site):
    site.ok("up")
    fill(site, "pc01")
    stamper = Stamper(site)
    stamper.start()
    for _ in range(3):
        before = stamper.count
        summary = site.repository.create()
        after = stamper.count
        assert summary["overlays"] == 2 and summary["warnings"] == []
        assert before <= assert_one_instant(site) <= after + 1
        assert stamper.error is None and frozen_files(site) == []
    stamper.end()
    assert stamper.error is None


def test_initiator_that_writes_gets_a_disk_that_was(site):
    """Over iSCSI; what was written before the backup is in it."""
    site.ok("up")
    site.disk("pc01").write(b"before" * 4096, MIB)
    backup = Stopped(site)
    site.disk("pc01").write(b"after!" * 4096, MIB)
    site.disk("pc01").discard(MIB * 20, MIB)
    summary, _ = backup.finish()
    assert summary["freezes"] == 1
    found = content(site, "pc01")
    assert found[MIB : MIB + 6 * 4096] == b"before" * 4096 and any(found[20 * MIB : 21 * MIB])
    assert not any(site.disk("pc01").read_all()[20 * MIB : 21 * MIB])


def test_killed_file_system_that_stays_dead_does_not_disturb_a_backup(site):
    site.ok("up")
    fill(site, "pc01")
    expected = site.disk("pc01").read_all()
    backup = Stopped(site)
    write(site, "pc01", b"later" * 1000, 11 * MIB)
    system.kill_all(site.file_system_processes())
    summary, _ = backup.finish()
    assert summary["freezes"] == 1
    assert content(site, "pc01") == expected


def test_file_system_that_starts_again_makes_the_backup_freeze_again(site):
    site.ok("up")
    backup = Stopped(site)
    system.kill_all(site.file_system_processes())
    site.ok("up")
    write(site, "pc02", b"later" * 1000, 20 * MIB)
    stamper = Stamper(site)
    stamper.start()
    summary, said = backup.finish()
    stamper.end()
    assert summary["freezes"] >= 2 and "frozen again" in said
    assert_one_instant(site)
    assert content(site, "pc02")[20 * MIB : 20 * MIB + 5000] == b"later" * 1000
    assert frozen_files(site) == []


def test_killed_backup_leaves_nothing_frozen(site):
    site.ok("up")
    backup = Stopped(site)
    sets = site.repository.sets()
    backup.job.kill()
    backup.job.communicate()
    write(site, "pc01", b"x" * MIB, 12 * MIB)
    system.wait_until(lambda: frozen_files(site) == [], what="the thaw")
    assert site.repository.sets() == sets
    expected = site.disk("pc01").read_all()
    site.repository.create()
    assert content(site, "pc01") == expected


@contextlib.contextmanager
def small_frozen_folder(site):
    """run/frozen has a file system of 1 MiB."""
    folder = site.path / "run" / "frozen"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(folder)], check=True, timeout=60)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


def test_full_folder_of_frozen_blocks_fails_no_write_and_the_backup_freezes_again(site):
    with small_frozen_folder(site):
        site.ok("up")
        backup = Stopped(site)
        write(site, "pc01", random.Random(5).randbytes(4 * MIB), 12 * MIB)  # more than there is room for
        expected = site.disk("pc01").read_all()
        summary, said = backup.finish()
        assert summary["freezes"] >= 2 and summary["overlays"] == 2 and "frozen again" in said
        assert content(site, "pc01") == expected


def test_folder_of_frozen_blocks_without_any_room_costs_the_clients_disks_and_says_so(site):
    with small_frozen_folder(site) as folder:
        site.ok("up")
        write(site, "pc01", b"x" * MIB, MIB)
        with open(folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        summary = site.repository.create(status=3)
        assert summary["versions"] == 1 and summary["overlays"] == 0 and summary["left_out"] == 2
        assert "no room" in summary["warnings"][0] and "run/frozen" in summary["warnings"][0]
        write(site, "pc01", b"y" * MIB, MIB)
        (folder / "filler").unlink()
        site.repository.create()
        assert content(site, "pc01")[MIB : 2 * MIB] == b"y" * MIB


def test_backup_into_a_repository_that_lost_a_pack_stores_it_again_and_warns(site):
    site.repository.create("win")
    for pack in site.repository.packs():
        pack.unlink()
    summary = site.repository.create("win", status=3)
    assert summary["chunks_new"] > 0 and "is gone" in summary["warnings"][0]
    assert site.repository.disk(site.repository.last, "image-win-1") == base_of(site)


def test_stopped_backup_goes_on_where_it_was(site):
    """By a signal, in the middle of a compression that takes long."""
    source = random.Random(3)
    words = [source.randbytes(5) for _ in range(3000)]
    site.image.write_bytes(b"".join(source.choices(words, k=SIZE // 5 + 1))[:SIZE])
    site.run("image", "check", "win", "--accept", "--force")
    job = site.repository.start("--threads", "1", "--level", "19")
    packs = site.repository.path / "tmp"
    system.wait_until(lambda: any(p.stat().st_size > MIB for p in packs.iterdir() if p.is_file()), what="some chunks")
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 130 and "stopped" in said, said
    assert site.repository.sets() == []
    summary = site.repository.create()
    assert summary["chunks_duplicate"] > 0, "what was stored is used"
    assert site.repository.disk(site.repository.last, "image-win-1") == base_of(site)


# --- only what is needed -----------------------------------------------------------------------------------------------


def changed_by_map(site, write_it):
    """Bytes of overlays that a second backup reads after @write_it()."""
    write_it()
    summary = site.repository.create()
    return summary["chunks_mapped"], summary["read_bytes"] - (site.path / "catalog.db").stat().st_size


def test_unchanged_things_are_not_read(site):
    site.ok("up")
    fill(site, "pc01")
    time.sleep(SETTLED_S)
    first = site.repository.create()
    assert first["versions_unchanged"] == 0
    mapped, read = changed_by_map(site, lambda: None)
    assert mapped >= 12 * MIB // (256 << 10) and read < 256 << 10
    mapped, read = changed_by_map(site, lambda: write(site, "pc01", b"y", 15 * MIB))
    assert read <= 3 * (256 << 10)
    assert content(site, "pc01") == site.disk("pc01").read_all()
    summary = site.repository.create("--full")
    assert summary["read_bytes"] > SIZE // 2 and summary["chunks_mapped"] == 0


def test_change_map_goes_over_ends_and_kills(site):
    site.ok("up")
    fill(site, "pc01")
    site.repository.create()
    write(site, "pc01", b"a" * BLOCK, 16 * MIB)
    site.ok("down")
    mapped, _ = changed_by_map(site, lambda: None)  # while nobody serves
    assert mapped > 30
    site.ok("up")
    write(site, "pc01", b"b" * BLOCK, 16 * MIB)
    system.kill_all(site.file_system_processes())
    mapped, _ = changed_by_map(site, lambda: None)
    assert mapped > 30
    assert content(site, "pc01")[16 * MIB : 16 * MIB + BLOCK] == b"b" * BLOCK
    site.ok("up")
    write(site, "pc01", b"c" * BLOCK, 17 * MIB)
    mapped, _ = changed_by_map(site, lambda: None)
    assert mapped > 30
    assert content(site, "pc01") == site.disk("pc01").read_all()


def test_lost_change_map_costs_a_reading_and_no_data(site):
    site.ok("up")
    fill(site, "pc01")
    site.repository.create()
    write(site, "pc01", b"a" * BLOCK, 16 * MIB)
    site.ok("down")
    for path in site.path.glob("overlays/*/*.changes"):
        path.unlink()
    mapped, read = changed_by_map(site, lambda: None)
    assert mapped == 0 and read >= 12 * MIB
    site.ok("up")
    assert content(site, "pc01") == site.disk("pc01").read_all()


def test_full_backup_tells_what_the_change_map_had_missed(site):
    site.ok("up")
    fill(site, "pc01")
    site.repository.create()
    write(site, "pc01", b"lie" * 1000, 16 * MIB)
    (path,) = [p for p in site.path.glob("run/live/*.changes") if p.stat().st_blocks > 8]
    with open(path, "r+b") as file:  # every region is said to be unchanged
        file.seek(BLOCK)
        file.write(bytes(path.stat().st_size - BLOCK))
    summary = site.repository.create("--full", status=3)
    assert summary["map_mismatches"] == 1 and "map of changes" in summary["warnings"][0]
    assert content(site, "pc01") == site.disk("pc01").read_all()


# --- what is in a set --------------------------------------------------------------------------------------------------


def streams(site, set_id):
    return sorted(p.name.split(".")[0] for p in (site.repository.path / "sets" / set_id).glob("*.manifest.zst"))


def test_named_client_takes_its_image_along(site):
    site.ok("image", "add", "other", make_image(site.files / "other.raw", 4 * MIB, seed=9))
    summary = site.repository.create("pc02")
    assert streams(site, site.repository.last) == ["catalog", "client-pc02-0", "image-win-1"]
    assert summary["versions"] == 1 and summary["overlays"] == 1
    done = site.repository.run("create", site.repository.path)
    assert "1 volatile disk" in done.stdout


@pytest.mark.parametrize("name, why", [("nobody", "no image and no client"), ("guest", "no kept overlay")])
def test_name_that_gives_nothing_is_refused(site, name, why):
    done = site.repository.run("create", site.repository.path, name)
    assert done.returncode == 1 and why in done.stderr and site.repository.sets() == []


def test_image_that_is_not_what_was_recorded_is_left_out_and_said(site):
    site.ok("image", "add", "other", make_image(site.files / "other.raw", 4 * MIB, seed=9))
    with open(site.image, "r+b") as file:
        file.write(b"changed")
    summary = site.repository.create(status=3)
    assert streams(site, site.repository.last) == ["catalog", "image-other-1"]
    assert summary["left_out"] == 3 and len(summary["warnings"]) == 3 and "image check" in summary["warnings"][0]


def test_image_that_changes_while_it_is_read_is_left_out_and_said(site):
    site.image.unlink()
    for name in ("pc01", "pc02", "guest"):
        site.ok("client", "remove", name)
    site.ok("image", "remove", "win")
    site.ok("image", "add", "win", make_image(site.image, 4 * SIZE))
    must_stop = threading.Event()

    def touch():
        mode = 0o640
        while not must_stop.wait(0.02):
            mode ^= 0o040
            os.chmod(site.image, mode)  # the file's ctime, not its mtime

    thread = threading.Thread(target=touch)
    thread.start()
    summary = site.repository.create("--level", "9", status=3)
    must_stop.set()
    thread.join()
    assert summary["versions"] == 0 and "was changed while it was read" in summary["warnings"][0]


def test_catalog_in_the_set_is_a_whole_database(site, tmp_path):
    site.repository.create()
    (tmp_path / "catalog.db").write_bytes(site.repository.disk(site.repository.last, "catalog"))
    with sqlite3.connect(tmp_path / "catalog.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert [row[0] for row in db.execute("SELECT name FROM client ORDER BY name")] == ["guest", "pc01", "pc02"]


def test_damaged_catalog_is_no_backup(site):
    site.repository.create()
    sets = site.repository.sets()
    path = site.path / "catalog.db"
    data = bytearray(path.read_bytes())
    data[5000:9000] = os.urandom(4000)
    path.write_bytes(data)
    done = site.repository.run("create", site.repository.path)
    assert done.returncode not in (0, 3) and done.stderr.strip() and site.repository.sets() == sets
    path.unlink()  # nothing that the fixture could end
    os.rename(site.path, site.base / "damaged")
