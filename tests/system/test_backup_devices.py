# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup restore` to block devices: only with --force, never to one that is used or too small, and what is there afterwards is the disk."""

import contextlib
import json
import os
import random
import subprocess

import pytest
from support.files import MIB, make_image, make_partitioned
from support.repository import Repository, flip_byte

SIZE = 8 * MIB


@pytest.fixture
def site(root):
    root.image = make_image(root.files / "base.raw", SIZE)
    root.ok("image", "add", "win", root.image)
    root.repository = Repository(root).init("--no-reserve")
    root.repository.create()
    return root


@contextlib.contextmanager
def loop(path, size, *options):
    """A device of @size random bytes."""
    path.write_bytes(random.Random(3).randbytes(size))
    done = subprocess.run(["losetup", "--show", "-f", *options, str(path)], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=True, timeout=30)


def restore(site, *args, status=0):
    done = site.repository.run("--json", "restore", site.repository.path, *args)
    assert done.returncode == status, f"{args} -> {done.returncode}\n{done.stdout}{done.stderr}"
    if status:
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr
    return json.loads(done.stdout)


def content_of(device):
    with open(device, "rb") as file:
        return file.read()


def test_disk_goes_onto_a_device(site):
    """Holes and all: nothing of what was there is left where the disk has zeros; what lies behind the disk is nobody's business."""
    with loop(site.files / "device", SIZE + MIB) as device:
        before = content_of(device)
        assert "--force" in restore(site, "latest", "win", device, status=1)
        assert content_of(device) == before
        summary = restore(site, "latest", "win", device, "--force")
        assert summary["path"] == device and summary["checked_bytes"] == SIZE
        after = content_of(device)
        assert after[:SIZE] == site.image.read_bytes() and after[SIZE:] == before[SIZE:]
        again = restore(site, "latest", "win", device, "--force")
        assert again["written_bytes"] == 0 and again["equal_bytes"] > 0, "only what differs is written"
        assert not [p.name for p in site.files.iterdir() if p.name not in ("base.raw", "device")]
        assert not os.path.exists(device + ".restoring") and not os.path.exists(device + ".partial")


def test_device_that_is_too_small_or_read_only_stays_as_it_is(site):
    with loop(site.files / "device", SIZE - 512) as device:
        before = content_of(device)
        assert f"has {SIZE - 512} bytes and the disk needs {SIZE}" in restore(site, "latest", "win", device, "--force", status=14)
        assert content_of(device) == before
    with loop(site.files / "device", SIZE, "-r") as device:
        before = content_of(device)
        assert device in restore(site, "latest", "win", device, "--force", status=1)
        assert content_of(device) == before


def test_device_in_use_is_refused(site):
    """Mounted; a partition of it is mounted; and the file behind it, while it is attached."""
    point = site.base / "point"
    point.mkdir()
    with loop(site.files / "device", SIZE) as device:
        subprocess.run(["mkfs.ext4", "-q", device], check=True, timeout=60)
        subprocess.run(["mount", device, str(point)], check=True, timeout=30)
        try:
            (point / "mine").write_text("precious")
            assert "is in use" in restore(site, "latest", "win", device, "--force", status=1)
            assert (point / "mine").read_text() == "precious"
            assert "is in use" in restore(site, "latest", "win", site.files / "device", "--force", status=1)
            assert (point / "mine").read_text() == "precious"
        finally:
            subprocess.run(["umount", str(point)], check=True, timeout=30)
        restore(site, "latest", "win", device, "--force")
        assert content_of(device) == site.image.read_bytes()


def test_damage_is_found_before_or_while_a_device_is_written(site):
    """A chunk that is known to be bad stops it before; nothing was changed."""
    flip_byte(site.repository.packs()[0])
    with loop(site.files / "device", SIZE) as device:
        assert "damaged" in restore(site, "latest", "win", device, "--force", status=13)
        assert site.repository.run("verify", site.repository.path).returncode == 13
        before = content_of(device)
        assert "is in no pack that can be read" in restore(site, "latest", "win", device, "--force", status=13)
        assert content_of(device) == before


def kernel_parts(device):
    name = os.path.basename(device)
    return sorted(p for p in os.listdir(f"/sys/block/{name}") if p.startswith(name))


def test_partitions_of_a_restored_device_are_there(site):
    """Where the kernel understands such tables at all, it looks at them again."""
    parts = make_partitioned(site.files / "parted.raw")
    site.ok("image", "add", "parted", site.files / "parted.raw")
    site.repository.create()
    with loop(site.files / "device", 32 * MIB, "-P") as device:
        with open(device, "r+b") as file:
            file.write((site.files / "parted.raw").read_bytes())
        subprocess.run(["blockdev", "--rereadpt", device], timeout=30, capture_output=True, check=False)
        known = kernel_parts(device)
        with open(device, "r+b") as file:
            file.write(bytes(MIB))
        subprocess.run(["blockdev", "--rereadpt", device], timeout=30, capture_output=True, check=False)
        restore(site, "latest", "parted", device, "--force")
        listed = json.loads(subprocess.run(["sfdisk", "--json", device], capture_output=True, text=True, check=True, timeout=30).stdout)
        assert [(p["start"] * 512, p["size"] * 512) for p in listed["partitiontable"]["partitions"]] == parts
        assert kernel_parts(device) == known
