# SPDX-License-Identifier: GPL-2.0-or-later
"""Damage of what a whole root needs, or of an image: a sentence that names the file, and the way out that it names works.

As in test_damage.py every client's disk was filled with its own pattern before.
"""

import os
import sqlite3

import pytest
from support.damage import BLOCK, FILLED, SIZE, assert_alive, cut, fill, flip, kill_file_system, pattern_of, put
from support.files import KIB, MIB, make_image, make_partitioned, make_vhd

CLIENTS = ("pc01", "pc02", "pc03")
AREA = 8 * MIB  # of a journal


def make_site(root, mode="kept"):
    make_image(root.files / "base.raw", SIZE, seed=4)
    root.ok("image", "add", "win", root.files / "base.raw")
    for number, name in enumerate(CLIENTS):
        root.ok("client", "add", name, "--mac", f"52:54:00:00:02:{number:02x}", "--image", "win", "--mode", mode)
    root.ok("up")
    for name in CLIENTS:
        fill(root, name)
    return root


def assert_contents(root, names=CLIENTS):
    for name in names:
        assert root.view(name).read_bytes()[:FILLED] == pattern_of(name), name


def stop(root, ending):
    if ending == "clean":
        root.ok("down")
    else:
        kill_file_system(root)


# --- journal

JOURNAL = {
    "empty": None,  # one that was never written to; nobody misses anything after a clean end
    "foreign": lambda own, other: b"this is a letter to my landlord\n" * 1000,
    "cut": cut(AREA + 100),
    "short": cut(5000),
    "both-headers": lambda own, other: put(0, b"\xff" * 64)(put(AREA, b"\xff" * 64)(own, other), other),
    "first-header": flip(20),
    "second-header": flip(AREA + 20),
    "commit": flip(BLOCK + 100),
    "future-version": put(8, b"\x03"),
    "swapped": lambda own, other: other,
}


NEEDS_COMMITS = {"short", "first-header", "second-header", "commit"}  # after a clean end there are none


def journal_of_another(make_root):
    other = make_site(make_root())
    kill_file_system(other)
    return (other.path / "journal").read_bytes()


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_damaged_journal_is_named_and_moved_away_on_the_administrators_word(make_root, ending):
    """What was flushed is in map files after a clean end, and in live maps while the machine runs: nothing is lost with the journal."""
    foreign = journal_of_another(make_root)
    root = make_site(make_root())
    path = root.path / "journal"
    refused = set()
    for case, change in JOURNAL.items():
        if ending == "clean" and case in NEEDS_COMMITS:
            continue
        stop(root, ending)
        path.write_bytes(change(path.read_bytes(), foreign) if change else b"")
        done = root.run("up")
        if done.returncode != 0:
            assert done.returncode == 1 and "journal" in done.stderr, f"{case}: {done}"
            assert len(done.stderr.splitlines()) == 1 and ("move it away" in done.stderr or "newer" in done.stderr), f"{case}: {done.stderr}"
            refused.add(case)
            path.rename(root.files / f"journal.{case}")
            root.ok("up")
        assert_alive(root)
        assert_contents(root)
    assert {"foreign", "cut", "both-headers", "future-version", "swapped"} <= refused


def test_damaged_journal_after_a_power_cut_gives_up_nothing_that_was_in_map_files(root):
    make_site(root)
    root.ok("down")  # the patterns are in map files now
    root.ok("up")
    fd = os.open(root.view("pc01"), os.O_RDWR)
    os.pwrite(fd, b"\x55" * BLOCK, SIZE - BLOCK)
    os.fsync(fd)
    os.close(fd)
    kill_file_system(root)
    root.run("down")
    for live in (root.path / "run" / "live").iterdir():
        live.unlink()  # as the machine's boot does
    path = root.path / "journal"
    path.write_bytes(b"\xff" * (2 * AREA))
    assert "journal" in root.fails("up")
    path.rename(root.files / "journal.bad")
    root.ok("up")
    assert_contents(root)
    for name in CLIENTS[1:]:
        assert root.view(name).read_bytes()[FILLED:] == (root.files / "base.raw").read_bytes()[FILLED:]


# --- catalog


def catalog_cases(own, other):
    """{case: {suffix: content}} of the database and what lies beside it."""
    garbage = os.urandom(32 * KIB)
    frames = b"\x37\x7f\x06\x82" + (3007000).to_bytes(4, "big") + (4096).to_bytes(4, "big") + bytes(20) + garbage
    return {
        "empty": {"": b""},
        "foreign": {"": b"this is no database at all\n" * 400},
        "cut": {"": own[: len(own) // 2]},
        "short": {"": own[:50]},
        "magic": {"": flip(3)(own, other)},
        "page": {"": put(4096, b"\xff" * 4096)(own, other)},
        "every-page": {"": b"".join(own[at : at + 4000] + b"\xff" * 96 for at in range(0, len(own), 4096))},
        "future-version": {"": put(60, b"\0\0\0\x63")(own, other)},
        "another-program": {"": put(68, b"\0\0\0\x01")(own, other)},
        "wal-garbage": {"-wal": garbage},
        "wal-frames": {"-wal": frames},
        "wal-empty": {"-wal": b""},
        "shm-garbage": {"-shm": garbage},
    }


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_damaged_catalog_is_named_and_a_good_copy_is_the_way_out(root, ending):
    make_site(root)
    path = root.path / "catalog.db"
    copy = root.files / "copy.db"
    with sqlite3.connect(path) as db:
        db.execute("VACUUM INTO ?", (str(copy),))
    db.close()
    good = copy.read_bytes()
    before = root.catalog_text()
    stop(root, ending)
    for case, files in catalog_cases(good, b"").items():
        for suffix in ("", "-wal", "-shm"):
            (root.path / f"catalog.db{suffix}").unlink(missing_ok=True)
        path.write_bytes(good)
        for suffix, content in files.items():
            (root.path / f"catalog.db{suffix}").write_bytes(content)
        done = root.run("up")
        if "" in files:
            assert done.returncode == 1 and "catalog.db" in done.stderr and len(done.stderr.splitlines()) == 1, f"{case}: {done}"
            assert path.read_bytes() == files[""], case
            path.write_bytes(good)
            root.ok("client", "list")
        else:
            assert done.returncode == 0, f"{case}: {done}"
            assert_alive(root)
            assert_contents(root)
            stop(root, ending)
        assert root.catalog_text() == before, case
    root.ok("up")
    assert_contents(root)


def test_running_clients_go_on_while_the_catalog_is_damaged(root):
    make_site(root)
    path = root.path / "catalog.db"
    good = path.read_bytes()
    disk = root.disk("pc01")
    path.write_bytes(b"\xff" * len(good))
    assert "catalog.db" in root.fails("status")
    assert "catalog.db" in root.fails("client", "reset", "pc02")
    assert_contents(root)
    disk.write(b"\x11" * BLOCK, SIZE - BLOCK)
    path.write_bytes(good)
    root.ok("up")
    assert_contents(root)


# --- images

FOOTER = {
    "cut": lambda own: own[:-512],
    "half": lambda own: own[:-300],
    "cookie": lambda own: flip(len(own) - 512)(own, None),
    "sum": lambda own: flip(len(own) - 512 + 64)(own, None),
    "type": lambda own: flip(len(own) - 512 + 63)(own, None),
    "size": lambda own: flip(len(own) - 512 + 52)(own, None),
    "foreign": lambda own: own[:-512] + b"x" * 512,
    "future-version": lambda own: put(len(own) - 512 + 12, b"\0\2")(own, None),
}


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_damaged_vhd_footer_closes_the_clients_of_that_image_only(root, ending):
    make_image(root.files / "plain.raw", SIZE, seed=4)
    root.ok("image", "add", "plain", root.files / "plain.raw")
    root.ok("client", "add", "other", "--mac", "52:54:00:00:03:ff", "--image", "plain", "--mode", "kept")
    originals = {}
    for number, case in enumerate(FOOTER):
        make_image(root.files / "raw", SIZE, seed=number)
        file = make_vhd(root.files / "raw", root.files / f"{case}.vhd")
        originals[case] = file, file.read_bytes(), file.stat()
        root.ok("image", "add", case, file)
        root.ok("client", "add", f"pc-{case}", "--mac", f"52:54:00:00:03:{number:02x}", "--image", case, "--mode", "kept")
    root.ok("up")
    names = ["other"] + [f"pc-{case}" for case in FOOTER]
    for name in names:
        fill(root, name)
    stop(root, ending)
    for case, change in FOOTER.items():
        file, content, st = originals[case]
        file.write_bytes(change(content))
        os.utime(file, ns=(st.st_atime_ns, st.st_mtime_ns))  # the content alone must tell
    done = root.run("up")
    assert done.returncode == 1
    assert_alive(root)
    assert_contents(root, ["other"])
    for row in root.targets():
        if row["client"] != "other":
            case = row["client"].removeprefix("pc-")
            assert row["state"] == "closed" and case in row["problem"], row
            assert not root.view(row["client"]).exists()
            assert root.run("image", "check", case).returncode in (1, 3)
    for file, content, st in originals.values():
        file.write_bytes(content)
        os.utime(file, ns=(st.st_atime_ns, st.st_mtime_ns))
    root.ok("up")
    assert_contents(root, names)


TABLES = {
    "mbr-all-ones": {0: b"\xff" * 510 + b"\x55\xaa"},
    "mbr-loop": {0: bytes(446) + bytes([0, 0, 0, 0, 5, 0, 0, 0]) + (1).to_bytes(4, "little") + (60000).to_bytes(4, "little") + bytes(48) + b"\x55\xaa"},
    "gpt-header-sum": {512 + 16: b"\0\0\0\0"},
    "gpt-entries": {1024: b"\xff" * 4096},
    "gpt-no-header": {512: b"x" * 512},
    "gpt-future": {512 + 8: b"\0\0\2\0"},
}


@pytest.mark.parametrize("ending", ["clean", "killed"])
def test_damaged_partition_table_hides_partitions_and_nothing_else(root, ending):
    """Of an image and of a client's own disk: the views of the disks stay, each with its own bytes."""
    for number, (case, changes) in enumerate(TABLES.items()):
        path = root.files / f"{case}.raw"
        make_partitioned(path, 32 * MIB)
        with open(path, "r+b") as file:
            for at, content in changes.items():
                file.seek(at)
                file.write(content)
        root.ok("image", "add", case, path)
        root.ok("client", "add", f"pc-{case}", "--mac", f"52:54:00:00:04:{number:02x}", "--image", case)
    make_partitioned(root.files / "good.raw", 32 * MIB)
    root.ok("image", "add", "good", root.files / "good.raw")
    root.ok("client", "add", "own", "--mac", "52:54:00:00:04:fe", "--image", "good", "--mode", "kept")
    root.ok("client", "add", "whole", "--mac", "52:54:00:00:04:ff", "--image", "good", "--mode", "kept")
    root.ok("up")
    good = (root.files / "good.raw").read_bytes()
    whole = root.mnt / "clients" / "whole" / "disk0.p1.img"
    assert whole.read_bytes() == good[1 * MIB : 9 * MIB]
    for case, changes in TABLES.items():
        folder = root.mnt / "images" / case / "v1"
        assert (folder / "disk.img").read_bytes() == (root.files / f"{case}.raw").read_bytes()
        assert (root.mnt / "clients" / f"pc-{case}" / "disk0.img").stat().st_size == 32 * MIB
        for part in folder.glob("p*.img"):
            assert part.stat().st_size <= 32 * MIB
        fd = os.open(root.view("own"), os.O_RDWR)
        for at, content in changes.items():
            os.pwrite(fd, content, at)
        os.fsync(fd)
        os.close(fd)
        list((root.mnt / "clients" / "own").iterdir())
        if case in ("mbr-loop", "gpt-future"):
            stop(root, ending)
            root.ok("up")
            assert_alive(root)
        content = root.view("own").read_bytes()
        assert all(content[at : at + len(new)] == new for at, new in changes.items())
        list((root.mnt / "clients" / "own").iterdir())
        assert whole.read_bytes() == good[1 * MIB : 9 * MIB]
