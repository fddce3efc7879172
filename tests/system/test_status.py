# SPDX-License-Identifier: GPL-2.0-or-later
"""`status` tells what will hurt tomorrow, and commands refuse what an administrator cannot have meant."""

import json
import os
import shutil
import subprocess

import pytest
from support import system
from support.files import MIB, make_image
from support.iscsi import IscsiError


@pytest.fixture
def site(root):
    make_image(root.files / "base.raw", 4 * MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("up")
    return root


def problems_of(site):
    done = site.run("--json", "status")
    status = json.loads(done.stdout)
    assert done.returncode == (3 if status["problems"] else 0)
    return {row["what"]: row["problem"] for row in status["problems"]}


def test_status_tells_of_an_image_file_that_was_deleted_while_served(site):
    assert problems_of(site) == {}
    os.unlink(site.files / "base.raw")
    problem = problems_of(site)["image win"]
    assert str(site.files / "base.raw") in problem and "image repair" in problem
    assert site.disk("pc01").size() == 4 * MIB


def test_status_tells_of_an_image_file_that_was_changed_while_served(site):
    with open(site.files / "base.raw", "r+b") as file:
        file.write(b"new")
    assert "image check win" in problems_of(site)["image win"]


def test_status_tells_of_a_shard_on_its_former_port(site):
    with subprocess.Popen(["qemu-io", "-f", "raw", site.disk("pc01").url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as initiator:
        initiator.stdin.write(b"read 0 4k\n")
        initiator.stdin.flush()
        initiator.stdout.readline()
        site.run("set", "gateway.port", site.port + 1)
        assert "former" in problems_of(site)["tgtd 0"]
        initiator.stdin.close()
        initiator.wait(30)
    system.wait_until(lambda: not site.target("pc01")["sessions"], what="the end of the session")
    site.ok("target", "sync")
    assert problems_of(site) == {}


def test_address_of_another_machine_leaves_the_former_one_served(site):
    done = site.run("set", "gateway.address", "192.0.2.1")
    assert "192.0.2.1 is no address of this machine" in done.stderr
    assert "tgtd 0" in problems_of(site)
    site.ok("set", "gateway.address", "127.0.0.1")
    assert problems_of(site) == {}
    assert site.disk("pc01").size() == 4 * MIB


@pytest.mark.parametrize("name", ["catalog.db", "overlays/pc01/0.data", "run/fs.log"])
def test_files_that_diskgate_keeps_for_itself_are_no_images(site, name):
    assert "keeps for itself" in site.fails("image", "add", "own", site.path / name)


def test_block_device_is_an_image_that_is_well(site):
    make_image(site.files / "disk.raw", MIB, seed=5)
    device = subprocess.run(
        ["losetup", "--find", "--show", str(site.files / "disk.raw")], check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
    try:
        site.ok("image", "add", "device", device, "--data")
        site.ok("client", "link", "pc01", "device", "--slot", "1")
        site.ok("image", "check", "device")
        states = {row["name"]: row["state"] for row in site.json("image", "list")["images"]}
        assert states == {"win": "ok", "device": "ok"}
        assert problems_of(site) == {}
        site.ok("client", "unlink", "pc01", "--slot", "1")
        site.ok("image", "remove", "device")
    finally:
        subprocess.run(["losetup", "--detach", device], check=False, timeout=30)


def test_down_of_a_folder_that_is_no_root_says_so(site):
    done = subprocess.run(
        [str(site.programs.diskgate), "--root", str(site.files), "down"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "no Diskgate root" in done.stderr


@pytest.fixture
def small_disk(make_root, tmp_path):
    """A root whose overlays lie on an ext4 of 96 MiB."""
    root = make_root()
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.truncate(96 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(disk)], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", str(disk), str(root.path / "overlays")], check=True, timeout=60)
    shutil.rmtree(root.path / "overlays" / "lost+found")
    yield root
    root.ok("down")
    subprocess.run(["umount", str(root.path / "overlays")], check=True, timeout=60)


def test_reset_on_a_full_disk_gives_the_client_its_disk_back(small_disk):
    root = small_disk
    with open(root.files / "base.raw", "wb") as file:
        file.truncate(128 * MIB)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("set", "fs.full_wait_s", "1")
    root.ok("set", "ram.write_bytes", "0")
    root.ok("up")
    with pytest.raises(IscsiError):
        root.disk("pc01").io("write -P 1 0 60M", "write -P 2 60M 60M")
    root.ok("client", "reset", "pc01")
    root.disk("pc01").io("read -P 0 0 4k", "write -P 3 0 4k", "flush")
