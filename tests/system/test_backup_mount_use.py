# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup mount` in use: many who look at once, places where it must not go, clients that run from it while it is damaged or dies."""

import concurrent.futures
import json
import os
import pathlib
import random
import signal
import subprocess

import pytest
from support import system
from support.files import MIB, make_image, make_partitioned, make_vhd
from support.repository import Repository

SIZE = 16 * MIB
CHUNK = 256 << 10


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    root.repository = Repository(root).init("--no-reserve")
    root.point = root.base / "point"
    root.point.mkdir()
    root.log = root.base / "mount.log"
    yield root
    root.run("down")
    unmount(root)


def mount(site, *args):
    """The number of the server's process."""
    return json.loads(site.repository.ok("--json", "mount", site.repository.path, *args, site.point, "--log", site.log))["pid"]


def unmount(site):
    subprocess.run(["umount", str(site.point)], check=False, timeout=30, capture_output=True)
    system.wait_until(lambda: not any("diskgate-backup" in c for c in system.processes_of(str(site.base)).values()), what="the end")


def refused(site, *words):
    done = site.repository.run("mount", *words)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


# --- what is shown -----------------------------------------------------------------------------------------------------


def test_nobody_misses_a_partition_when_many_look_at_once(site):
    parts = make_partitioned(site.files / "parted.raw")
    site.ok("image", "add", "parted", site.files / "parted.raw")
    for _ in range(6):
        site.repository.create("parted")
    mount(site)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for name in site.repository.sets():
            paths = [site.point / name / "parted" / "v1" / f"p{1 + i % 2}.img" for i in range(16)]
            sizes = list(pool.map(lambda path: path.stat().st_size, paths))
            assert sizes == [parts[i % 2][1] for i in range(16)], name


def test_all_kinds_of_disks_are_shown(site):
    """A VHD as the disk in it, a raw file that is no multiple of a sector as the disk that PCs see, a client's disk with partitions, two slots."""
    plain = make_image(site.files / "plain.raw", 4 * MIB, seed=4)
    vhd = make_vhd(plain, site.files / "data.vhd")
    odd = site.files / "odd.raw"
    odd.write_bytes(random.Random(4).randbytes(MIB + 100))
    odd.chmod(0o644)
    parts = make_partitioned(site.files / "parted.raw")
    for name, path in (("vhd", vhd), ("odd", odd), ("parted", site.files / "parted.raw")):
        site.ok("image", "add", name, path)
    site.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "parted", "--mode", "kept")
    site.ok("client", "link", "pc01", "vhd", "--slot", "1")
    site.ok("up")
    fd = os.open(site.view("pc01"), os.O_RDWR)
    os.pwrite(fd, b"mine" * 1024, parts[1][0])
    os.fsync(fd)
    os.close(fd)
    site.repository.create()
    mount(site, "latest")
    assert (site.point / "vhd" / "v1" / "disk.img").read_bytes() == plain.read_bytes()
    assert (site.point / "odd" / "v1" / "disk.img").read_bytes() == odd.read_bytes() + bytes(412)
    folder = site.point / "clients" / "pc01"
    assert sorted(p.name for p in folder.iterdir()) == ["disk0.img", "disk0.p1.img", "disk0.p2.img", "disk1.img"]
    assert (folder / "disk0.p2.img").read_bytes()[:4096] == b"mine" * 1024
    assert (folder / "disk0.img").read_bytes() == site.view("pc01").read_bytes()
    for path in site.point.rglob("*"):
        assert path.stat().st_mode & 0o222 == 0, path
    for call in (lambda: (folder / "disk0.img").unlink(), lambda: (folder / "new").write_text("x"), lambda: os.truncate(folder / "disk0.img", 5)):
        with pytest.raises(OSError):
            call()


def test_only_root_reads_it(site):
    site.repository.create()
    mount(site, "latest")
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", str(site.point / "win" / "v1" / "disk.img")],
                          capture_output=True, timeout=60)
    assert done.returncode != 0 and done.stdout == b""


def test_index_that_is_lost_under_a_mount_hurts_nobody(site):
    """Another machine may write a new one, and caches may be deleted at any time."""
    site.repository.create()
    mount(site, "latest")
    disk = site.point / "win" / "v1" / "disk.img"
    with open(disk, "rb") as file:
        os.truncate(site.repository.path / "index.cache", 100)
        (site.repository.path / "index.cache").unlink()
        assert file.read() == site.image.read_bytes()


# --- places ------------------------------------------------------------------------------------------------------------


def test_places_where_it_must_not_go(site):
    site.repository.create()
    assert "inside of the repository" in refused(site, site.repository.path, site.repository.path / "trash")
    assert "inside of the repository" in refused(site, site.repository.path, site.repository.path)
    assert "no folder" in refused(site, site.repository.path, site.image)
    assert "cannot mount" in refused(site, site.repository.path, site.base / "nowhere")
    pid = mount(site, "latest")
    assert "already" in refused(site, site.repository.path, site.point)
    os.kill(pid, signal.SIGKILL)
    system.wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), what="the end")
    assert "umount" in refused(site, site.repository.path, site.point)
    subprocess.run(["umount", str(site.point)], check=True, timeout=30)
    mount(site, "latest")
    assert (site.point / "win" / "v1" / "disk.img").read_bytes() == site.image.read_bytes()


# --- clients -----------------------------------------------------------------------------------------------------------


def link(site, mode="kept"):
    """pc02 runs from the backup; the image that was backed up has gone."""
    site.repository.create()
    site.content = site.image.read_bytes()
    pid = mount(site, "latest")
    site.ok("image", "add", "old", site.point / "win" / "v1" / "disk.img")
    site.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "old", "--mode", mode)
    site.image.unlink()
    return pid


def test_client_keeps_what_it_writes_over_a_backup(site):
    """Over iSCSI, through a restart of everything and another mount; the repository stays as it is."""
    link(site)
    site.ok("up")
    disk = site.disk("pc02")
    assert disk.read_all() == site.content
    disk.write(b"mine" * 1024, CHUNK - 2048)
    expected = bytearray(site.content)
    expected[CHUNK - 2048 : CHUNK + 2048] = b"mine" * 1024
    assert disk.read_all() == expected
    site.ok("down")
    unmount(site)
    mount(site, "latest")
    site.ok("up")
    assert site.disk("pc02").read_all() == expected
    site.repository.ok("verify", site.repository.path)
    assert (site.point / "win" / "v1" / "disk.img").read_bytes() == site.content


LARGE = 192 * MIB  # so that not every chunk is looked at when an image is opened


def is_sampled(chunk):
    """core/image-identity.c: 256 samples of 4 KiB between edges of 64 KiB."""
    step = (LARGE - 128 * 1024) // 256 // 4096 * 4096
    return any((65536 + i * step + k) // CHUNK == chunk for i in range(256) for k in (0, 4095))


def damage_chunk(site, name, chunk):
    _, chunks = site.repository.manifest(site.repository.last, f"image-{name}-1")
    for table in (site.repository.path / "packs").rglob("*.toc"):
        for line in table.read_text().splitlines():
            if line.startswith(chunks[chunk] + " "):
                _, _, offset, length, _ = line.split()
                with open(table.with_name(table.name.replace(".toc", ".tar.zst")), "r+b") as file:
                    file.seek(int(offset) + int(length) // 2)
                    file.write(b"\xff\x00\xaa" * 4)
                return
    raise AssertionError("no pack has it")


@pytest.fixture
def sparse(site):
    """An image with few chunks: (path, one that is looked at when it is opened, one that is not)."""
    quiet = next(n for n in range(100, 700) if not is_sampled(n))
    loud = next(n for n in range(100, 700) if is_sampled(n))
    path = site.files / "large.raw"
    with open(path, "wb") as file:
        for number in (0, loud, quiet, LARGE // CHUNK - 1):
            file.seek(number * CHUNK)
            file.write(random.Random(number).randbytes(CHUNK))
    path.chmod(0o644)
    site.ok("image", "add", "large", path)
    site.repository.create("large")
    mount(site, "latest")
    site.ok("image", "add", "old", site.point / "large" / "v1" / "disk.img")
    site.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "old")
    unmount(site)
    return path, loud, quiet


def test_client_over_a_damaged_backup_gets_errors_and_never_wrong_bytes(site, sparse):
    path, _, quiet = sparse
    content = path.read_bytes()
    damage_chunk(site, "large", quiet)
    mount(site, "latest")
    site.ok("up")
    bad = []
    fd = os.open(site.view("pc02"), os.O_RDONLY)
    for offset in range(0, LARGE, CHUNK):
        try:
            assert os.pread(fd, CHUNK, offset) == content[offset : offset + CHUNK]
        except OSError:
            bad.append(offset // CHUNK)
    os.close(fd)
    assert bad == [quiet] and "cannot read chunk" in site.log.read_text()
    other = Repository(site, "other").init("--no-reserve")  # who has the bytes heals it under the client
    other.create("large")
    assert site.repository.run("verify", site.repository.path).returncode == 13
    site.repository.ok("heal", site.repository.path, "--from", other.path)
    assert site.view("pc02").read_bytes() == content, "without another mount"


def test_damage_that_is_found_when_the_image_is_opened_is_told(site, sparse):
    """The client is not served, the others are."""
    _, loud, _ = sparse
    damage_chunk(site, "large", loud)
    mount(site, "latest")
    site.ok("client", "add", "pc03", "--mac", "52:54:00:00:00:03", "--image", "win")
    done = site.run("up")
    assert done.returncode == 1 and "client pc02 slot 0" in done.stderr and "Input/output error" in done.stderr
    assert site.view("pc03").read_bytes() == site.image.read_bytes()


def test_server_of_the_mount_dies_under_a_client(site):
    """Errors for what is not in the client's own disk; after another mount all is there again, its own writes as well."""
    pid = link(site)
    site.ok("up")
    site.disk("pc02").write(b"mine" * 1024, 0)
    os.kill(pid, signal.SIGKILL)
    fd = os.open(site.view("pc02"), os.O_RDONLY)
    assert os.pread(fd, 4096, 0) == b"mine" * 1024
    with pytest.raises(OSError):
        for offset in range(CHUNK, SIZE, CHUNK):
            os.pread(fd, 4096, offset)
    os.close(fd)
    site.ok("down")
    subprocess.run(["umount", "-l", str(site.point)], check=True, timeout=30)
    mount(site, "latest")
    site.ok("up")
    assert site.disk("pc02").read_all() == b"mine" * 1024 + site.content[4096:]


def test_root_does_not_start_wrong_without_the_mount(site):
    """The disk of the backup is not there: the client is told, the others are served."""
    link(site)
    site.ok("up")
    site.ok("down")
    unmount(site)
    plain = make_image(site.files / "plain.raw", 4 * MIB, seed=4)
    site.ok("image", "add", "plain", plain)
    site.ok("client", "add", "pc03", "--mac", "52:54:00:00:00:03", "--image", "plain")
    done = site.run("up")
    assert done.returncode == 1 and "pc02" in done.stderr, done.stderr
    assert site.view("pc03").read_bytes() == plain.read_bytes()
