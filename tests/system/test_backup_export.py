# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup export`: a disk as a new file, whole or not there, whatever is in it and whatever happens."""

import os
import random
import shutil
import signal
import subprocess

import pytest
from support import system
from support.files import MIB, make_image
from support.repository import Repository

SIZE = 16 * MIB


@pytest.fixture
def site(root):
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not installed")
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.repository = Repository(root).init("--no-reserve")
    root.folder = root.base / "exports"
    root.folder.mkdir()
    return root


def export(site, *words, status=0):
    done = site.repository.run("export", site.repository.path, "latest", *words)
    assert done.returncode == status, f"{words} -> {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr


def raw_of(path):
    back = path.with_suffix(".back")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(path), str(back)], check=True, timeout=120)
    content = back.read_bytes()
    back.unlink()
    return content


def test_disk_of_a_client_as_its_pc_sees_it(site):
    site.ok("up")
    fd = os.open(site.view("pc01"), os.O_RDWR)
    os.pwrite(fd, random.Random(1).randbytes(20000), 3 * MIB + 100)
    os.fsync(fd)
    os.close(fd)
    expected = site.view("pc01").read_bytes()
    site.repository.create()
    for name, words in (("a.qcow2", ("--format", "qcow2")), ("a.raw", ("--format", "raw"))):
        export(site, "pc01", site.folder / name, *words)
    assert raw_of(site.folder / "a.qcow2") == expected == (site.folder / "a.raw").read_bytes()
    assert sorted(p.name for p in site.folder.iterdir()) == ["a.qcow2", "a.raw"]


def test_disk_that_says_it_is_a_qcow2_is_a_raw_disk_all_the_same(site):
    """A client can write a header that names a file of the server as its backing file."""
    secret = site.files / "secret"
    secret.write_bytes(b"secret!!" * 65536)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(site.files / "header"), "4M"], check=True, timeout=60)
    header = (site.files / "header").read_bytes()
    site.ok("up")
    fd = os.open(site.view("pc01"), os.O_RDWR)
    os.pwrite(fd, header, 0)
    os.fsync(fd)
    os.close(fd)
    expected = site.view("pc01").read_bytes()
    assert expected[:4] == b"QFI\xfb"
    site.repository.create()
    export(site, "pc01", site.folder / "out.qcow2", "--format", "qcow2")
    content = raw_of(site.folder / "out.qcow2")
    assert content == expected and b"secret!!" not in content


def test_what_is_there_and_what_cannot_be(site):
    site.repository.create()
    mine = site.folder / "mine"
    mine.write_text("mine")
    dangling = site.folder / "dangling"
    dangling.symlink_to(site.base / "elsewhere")
    for words, status, said in (((mine,), 1, "there already"), ((site.folder,), 1, "there already"), ((dangling,), 1, "there already"),
                                ((site.folder / "no" / "where",), 1, "where"), ((site.repository.path / "packs" / "x",), 1, "inside of the repository"),
                                ((site.folder / "x", "--format", "vmdk"), 2, "vmdk")):
        for more in ((), ("--format", "qcow2")):
            if "--format" in words and more:
                continue
            assert said in export(site, "win", *words, *more, status=status)
    assert "nix" in export(site, "nix", site.folder / "x", status=1)
    assert mine.read_text() == "mine" and sorted(p.name for p in site.folder.iterdir()) == ["dangling", "mine"]
    assert not (site.base / "elsewhere").exists()


@pytest.mark.parametrize("size", [4, 20])  # for the raw copy, and for both
def test_full_disk_leaves_nothing(site, size):
    site.repository.create()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(site.folder)], check=True, timeout=30)
    try:
        export(site, "win", site.folder / "out.qcow2", "--format", "qcow2", status=14)
        assert list(site.folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(site.folder)], check=True, timeout=30)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_export_that_was_ended_can_be_made_again(site, sign):
    site.repository.create()
    out = site.folder / "out.qcow2"
    words = site.repository.command("export", site.repository.path, "latest", "win", out, "--format", "qcow2")
    job = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    system.wait_until(lambda: any(site.folder.iterdir()) or job.poll() is not None, what="the export")
    job.send_signal(sign)
    job.wait(timeout=60)
    if sign == signal.SIGTERM and job.returncode != 0:
        assert job.returncode == 130
        assert [p.name for p in site.folder.iterdir()] in ([], ["out.qcow2.partial.raw.partial"]), "what is not whole has no other name"
    out.unlink(missing_ok=True)
    export(site, "win", out, "--format", "qcow2")
    assert raw_of(out) == site.image.read_bytes()
    assert [p.name for p in site.folder.iterdir()] == ["out.qcow2"]
