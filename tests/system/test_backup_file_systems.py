# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup verify --restore-test` with the file systems of guests: good, damaged, in use."""

import shutil
import subprocess

import pytest
from support.files import MIB
from support.repository import Repository


@pytest.fixture
def site(root):
    root.repository = Repository(root).init()
    return root


def make_file_system(path, size, *command):
    path.write_bytes(b"")
    with open(path, "r+b") as file:
        file.truncate(size)
    subprocess.run([*command, str(path)], check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path.chmod(0o644)
    return path


# name, size, how it is made, what checks it, what is damaged: (offset, bytes)
FILE_SYSTEMS = {
    "ntfs": (16 * MIB, ("mkfs.ntfs", "-q", "-F", "-f"), "ntfsfix", (21 * 1024, b"\xff" * 4096)),
    "xfs": (320 * MIB, ("mkfs.xfs", "-q", "-f"), "xfs_repair", (512, b"\xff" * 512)),
    "vfat": (16 * MIB, ("mkfs.vfat",), "fsck.fat", (4 * 512, b"\x55" * 512)),
}
NTFS_FIRST_RECORD = 16 * 1024


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_restore_test_knows_other_file_systems(site, kind):
    """A good one, and one that its program finds damaged; or the report says that nobody looked."""
    size, command, checker, (offset, junk) = FILE_SYSTEMS[kind]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    good = make_file_system(site.files / "good.raw", size, *command)
    site.ok("image", "add", "good", good)
    site.repository.create("good")
    has_checker = shutil.which(checker) is not None
    (row,) = site.repository.verify(site.repository.last, "--restore-test")["tests"]
    assert row["file"] == "good/v1/disk.img" and row["file_system"] == kind
    assert row["result"] == ("good" if has_checker else "not checked"), row
    bad = site.files / "bad.raw"
    bad.write_bytes(good.read_bytes())
    with open(bad, "r+b") as file:
        file.seek(offset)
        file.write(junk)
    site.ok("image", "add", "bad", bad)
    if kind == "ntfs":  # the record by which others know that it is one
        worse = site.files / "worse.raw"
        content = bytearray(good.read_bytes())
        content[NTFS_FIRST_RECORD : NTFS_FIRST_RECORD + 4096] = b"\xff" * 4096
        worse.write_bytes(content)
        site.ok("image", "add", "worse", worse)
    site.repository.create("bad", *(["worse"] if kind == "ntfs" else []))
    for row in site.repository.verify(site.repository.last, "--restore-test", status=13 if has_checker else 0)["tests"]:
        assert row["result"] == ("damaged" if has_checker else "not checked"), row
        assert row["file_system"] == kind


def test_file_system_in_use_is_no_damage(site):
    """As the disk of a client that writes: nobody unmounted it."""
    disk = make_file_system(site.files / "used.raw", 16 * MIB, "mkfs.vfat")
    with open(disk, "r+b") as file:
        file.seek(0x25 if disk.read_bytes()[0x26] == 0x29 else 0x41)
        file.write(b"\x01")
    site.ok("image", "add", "used", disk)
    site.repository.create("used")
    (row,) = site.repository.verify(site.repository.last, "--restore-test")["tests"]
    assert row["result"] in ("in use", "not checked"), row
