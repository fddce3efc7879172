# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup mount`: a backup as files; every byte is right or an error, and clients can run from it."""

import os
import random
import subprocess

import pytest
from support import system
from support.files import MIB, make_image, make_partitioned, put
from support.repository import Repository, flip_byte

SIZE = 16 * MIB


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.repository = Repository(root).init()
    root.point = root.base / "point"
    root.point.mkdir()
    root.log = root.base / "mount.log"
    yield root
    root.run("down")
    unmount(root)


def mount(site, *args):
    site.repository.ok("mount", site.repository.path, *args, site.point, "--log", site.log)


def unmount(site):
    if os.path.ismount(site.point):
        subprocess.run(["umount", str(site.point)], check=True, timeout=30)
    system.wait_until(lambda: not any("diskgate-backup" in c for c in system.processes_of(str(site.base)).values()), what="the end")


def write(site, client, data, offset):
    put(site.view(client), offset, data)


def test_files_are_the_disks(site):
    parted = site.files / "parted.raw"
    parts = make_partitioned(parted)
    site.ok("image", "add", "parted", parted)
    site.ok("up")
    write(site, "pc01", random.Random(1).randbytes(20000), 3 * MIB + 100)
    expected = site.view("pc01").read_bytes()
    site.repository.create()
    site.repository.create()
    mount(site)
    assert sorted(p.name for p in site.point.iterdir()) == [*site.repository.sets(), "latest"]
    top = site.point / "latest"
    assert (top / "win" / "v1" / "disk.img").read_bytes() == site.image.read_bytes()
    assert (top / "clients" / "pc01" / "disk0.img").read_bytes() == expected
    assert sorted(p.name for p in (top / "parted" / "v1").iterdir()) == ["disk.img", "p1.img", "p2.img"]
    whole = parted.read_bytes()
    for number, (offset, length) in enumerate(parts, 1):
        assert (top / "parted" / "v1" / f"p{number}.img").read_bytes() == whole[offset : offset + length]
    assert not (top / "parted" / "v1" / "p3.img").exists()
    with pytest.raises(OSError):
        open(top / "win" / "v1" / "disk.img", "r+b")
    with open(top / "win" / "v1" / "disk.img", "rb") as file:
        source = random.Random(5)
        content = site.image.read_bytes()
        for _ in range(200):
            offset, length = source.randrange(SIZE), source.randrange(1, 100000)
            assert os.pread(file.fileno(), length, offset) == content[offset : offset + length]
        hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
        assert hole == content.index(bytes(65536)) // (256 << 10) * (256 << 10)


def test_damaged_chunk_is_an_error_and_only_it(site):
    site.repository.create()
    flip_byte(site.repository.packs()[0])
    mount(site, "latest")
    content, errors = site.image.read_bytes(), 0
    fd = os.open(site.point / "win" / "v1" / "disk.img", os.O_RDONLY)
    for offset in range(0, SIZE, 256 << 10):
        try:
            assert os.pread(fd, 256 << 10, offset) == content[offset : offset + (256 << 10)]
        except OSError:
            errors += 1
    os.close(fd)
    assert errors == 1
    assert "cannot read chunk" in site.log.read_text()


def test_client_runs_from_a_mounted_backup(site):
    site.repository.create()
    mount(site)
    disk = site.point / site.repository.last / "win" / "v1" / "disk.img"
    site.ok("image", "add", "old", disk)
    site.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "old")
    site.ok("up")
    assert site.disk("pc02").read_all() == site.image.read_bytes()
    site.disk("pc02").write(b"mine" * 128, 0)
    assert site.disk("pc02").read_all()[:512] == b"mine" * 128
    site.ok("down")
    unmount(site)
    mount(site)
    site.ok("up")
    assert site.view("pc02").read_bytes()[1024:] == site.image.read_bytes()[1024:], "it is the same image after another mount"


def test_prune_does_not_disturb_a_mount(site):
    """All packs are replaced under it."""
    other = make_image(site.files / "other.raw", 24 * MIB, seed=9)
    site.ok("image", "add", "other", other)
    first = site.repository.create("other", "win")["set"]
    site.repository.create("win")
    mount(site, "latest")
    before = site.repository.packs()
    site.repository.ok("remove", site.repository.path, first, "--force")
    site.repository.ok("prune", site.repository.path, "--keep-last", "1", "--now")
    assert site.repository.packs() != before
    shown = site.point / "win" / "v1" / "disk.img"
    assert shown.read_bytes() == site.image.read_bytes()


def test_bad_words_get_a_sentence(site):
    for words, status in ((("1999", site.point), 1), ((site.base / "nowhere",), 1)):
        done = site.repository.run("mount", site.repository.path, *words)
        assert done.returncode == status and len(done.stderr.splitlines()) == 1, done.stderr
    done = site.repository.run("mount", site.files, site.point)
    assert done.returncode == 10
    assert not os.path.ismount(site.point)
