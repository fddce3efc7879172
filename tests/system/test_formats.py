# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks of other hypervisors: taken in by `image add`, given out by `image export`, compared by content."""

import os
import pathlib
import pty
import shutil
import signal
import subprocess
import uuid

import pytest
from support.files import KIB, MIB, make_image, make_vhd

# Our word -> qemu's driver and options. An odd number of KiB, so that nothing is rounded to cylinders by luck.
FORMATS = {
    "vhd": ("vpc", ["-o", "subformat=dynamic,force_size=on"]),
    "vhdx": ("vhdx", []),
    "vmdk": ("vmdk", []),
    "vdi": ("vdi", []),
    "qcow2": ("qcow2", []),
}
SIZE = 24 * MIB + 3 * KIB
DRIVERS = {"raw": "raw", **{word: driver for word, (driver, _) in FORMATS.items()}}

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def qemu_img(*args, cwd=None):
    subprocess.run(["qemu-img", *map(str, args)], check=True, timeout=120, cwd=cwd, stdout=subprocess.DEVNULL)


def convert(source, target, word):
    driver, options = FORMATS[word]
    qemu_img("convert", "-f", "raw", "-O", driver, *options, source, target)
    return target


def images_of(root):
    return sorted(str(path.relative_to(root.path)) for path in (root.path / "images").rglob("*"))


@pytest.fixture
def source(root):
    return make_image(root.files / "source.raw", SIZE)


def made_file(root, name):
    return pathlib.Path(root.json("image", "show", name)["versions"][0]["path"])


@pytest.mark.parametrize("word", FORMATS)
def test_disk_is_converted_with_all_its_bytes(root, source, word):
    disk = convert(source, root.files / f"disk.{word}", word)
    before = disk.read_bytes()
    done = root.run("image", "add", "win", disk)
    assert done.returncode == 0, done.stderr
    assert word in done.stderr and "converted" in done.stderr
    row = root.json("image", "show", "win")
    assert (row["format"], row["size_bytes"]) == ("raw", SIZE)
    made = made_file(root, "win")
    assert made.read_bytes() == source.read_bytes()
    assert disk.read_bytes() == before
    assert f"converted from {word}" in row["versions"][0]["comment"]
    assert made.stat().st_uid == 0 and made.stat().st_mode & 0o007 == 0
    assert made.stat().st_blocks * 512 < SIZE, "holes were written"
    root.ok("image", "check", "win")


@pytest.mark.parametrize("word", DRIVERS)
def test_exported_version_has_all_bytes_of_the_image(root, source, word):
    root.ok("image", "add", "win", source)
    target = root.files / f"out.{word}"
    root.ok("image", "export", "win@1", target, "--format", word)
    qemu_img("convert", "-f", DRIVERS[word], "-O", "raw", target, root.files / "back.raw")
    assert (root.files / "back.raw").read_bytes() == source.read_bytes()
    assert not [name for name in os.listdir(root.files) if name.startswith(".")]


@pytest.mark.parametrize("word", FORMATS)
def test_exported_disk_can_be_added_again(root, source, word):
    root.ok("image", "add", "win", source)
    target = root.files / f"out.{word}"
    root.ok("image", "export", "win", target, "--format", word)
    root.ok("image", "add", "again", target)
    back = root.files / "back.raw"
    root.ok("image", "export", "again", back)
    assert back.read_bytes() == source.read_bytes()


def test_fixed_vhd_is_exported_without_its_footer(root, source):
    root.ok("image", "add", "win", make_vhd(source, root.files / "fixed.vhd"))
    root.ok("image", "export", "win", root.files / "out.raw")
    root.ok("image", "export", "win", root.files / "out.qcow2", "--format", "qcow2")
    assert (root.files / "out.raw").read_bytes() == source.read_bytes()
    qemu_img("compare", "-f", "raw", "-F", "qcow2", source, root.files / "out.qcow2")


def test_exported_raw_file_is_sparse(root):
    path = root.files / "empty.raw"
    with open(path, "wb") as file:
        file.write(os.urandom(64 * KIB))
        file.truncate(64 * MIB)
    root.ok("image", "add", "win", path)
    root.ok("image", "export", "win", root.files / "out.raw")
    assert (root.files / "out.raw").stat().st_blocks * 512 < MIB


def test_file_that_only_its_owner_may_read_is_converted(root, source):
    for number, owner in enumerate((0, 1234)):
        disk = convert(source, root.files / f"disk{number}.qcow2", "qcow2")
        os.chown(disk, owner, owner)
        disk.chmod(0o600)
        root.ok("image", "add", f"win{number}", disk)
        assert made_file(root, f"win{number}").read_bytes() == source.read_bytes()


def test_disk_that_refers_to_other_files_is_refused(root, source):
    files = root.files
    shutil.copy(source, files / "secret.raw")
    qemu_img("create", "-q", "-f", "qcow2", "-b", "secret.raw", "-F", "raw", "backing.qcow2", cwd=files)
    qemu_img("create", "-q", "-f", "qcow2", "-o", "data_file=outside.raw", "datafile.qcow2", "8M", cwd=files)
    convert(source, files / "base.vmdk", "vmdk")
    qemu_img("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "backing.vmdk", cwd=files)
    qemu_img("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "extent.vmdk", "8M", cwd=files)
    for name in ("backing.qcow2", "datafile.qcow2", "backing.vmdk", "extent.vmdk"):
        sentence = root.fails("image", "add", "win", files / name)
        assert name in sentence and "qemu-img convert" in sentence
    assert images_of(root) == []
    assert root.json("image", "list")["images"] == []


def test_differencing_vhdx_is_refused_with_a_way_out(root, source):
    disk = convert(source, root.files / "child.avhdx", "vhdx")
    root.ok("image", "add", "whole", disk)
    content = bytearray(disk.read_bytes())
    entry = content.index(uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le)  # file parameters: block size, flags
    flags = content.index(b"metadata") + int.from_bytes(content[entry + 16 : entry + 20], "little") + 4
    content[flags] |= 2  # it has a parent
    disk.write_bytes(content)
    sentence = root.fails("image", "add", "win", disk)
    assert "differencing VHDX" in sentence and "Merge-VHD" in sentence and "child.avhdx" in sentence


def test_sparse_vmdk_with_a_descriptor_of_foreign_extents_is_refused(root, source):
    """Capacity 0 in the header makes qemu read the embedded descriptor, which may name any file."""
    files = root.files
    disk = convert(source, files / "evil.vmdk", "vmdk")
    data = bytearray(disk.read_bytes())
    data[12:20] = bytes(8)
    at = int.from_bytes(data[28:36], "little") * 512
    text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2048 FLAT "{source}" 0\n'
    data[at : at + 1024] = text.encode().ljust(1024, b"\0")
    disk.write_bytes(data)
    assert "evil.vmdk" in root.fails("image", "add", "win", disk)
    assert images_of(root) == []


def test_encrypted_disk_is_refused(root, source):
    disk = convert(source, root.files / "secret.qcow2", "qcow2")
    with open(disk, "r+b") as file:
        file.seek(32)
        file.write((2).to_bytes(4, "big"))  # crypt_method LUKS
    assert "encrypted" in root.fails("image", "add", "win", disk)


@pytest.mark.parametrize("word", FORMATS)
def test_disk_that_was_cut_short_is_refused(root, source, word):
    disk = convert(source, root.files / f"disk.{word}", word)
    os.truncate(disk, disk.stat().st_size // 2)
    sentence = root.fails("image", "add", "win", disk)
    assert disk.name in sentence and "cut short" in sentence
    assert images_of(root) == []


def test_dry_run_of_a_conversion_makes_nothing(root, source):
    disk = convert(source, root.files / "disk.qcow2", "qcow2")
    assert "dry run" in root.ok("image", "add", "win", disk, "-n")
    assert images_of(root) == [] and root.json("image", "list")["images"] == []


def add_without_room(root, disk, *options):
    """What `image add` says in a root that has 6 MiB; it leaves nothing there."""
    place = root.base / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M", "none", str(place)], check=True, timeout=30)
    try:
        command = [str(root.programs.diskgate), "--root", str(place / "root")]
        subprocess.run([*command, "init", "-q"], check=True, timeout=30, capture_output=True)
        done = subprocess.run([*command, *options, "image", "add", "win", str(disk)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1, done.stderr
        assert not list((place / "root").glob("images/*"))
        return done.stderr
    finally:
        subprocess.run(["umount", str(place)], check=True, timeout=30)


def test_conversion_without_room_is_refused_first(root, source):
    text = add_without_room(root, convert(source, root.files / "disk.qcow2", "qcow2"))
    assert "free" in text and len(text.splitlines()) == 1, text


def test_full_disk_in_the_middle_leaves_nothing(root):
    """A compressed disk needs more room than its file has bytes."""
    raw = root.files / "zeros.raw"
    raw.write_bytes(b"diskgate" * (2 * MIB))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, root.files / "packed.qcow2")
    assert "No space left" in add_without_room(root, root.files / "packed.qcow2", "-q")


def big_disk(folder):
    """Enough that a conversion takes a while."""
    path = folder / "big.raw"
    with open(path, "wb") as file:
        block = os.urandom(MIB)
        for _ in range(512):
            file.write(block)
    return path


@pytest.mark.parametrize("verb", ["add", "export"])
def test_interrupt_leaves_nothing(root, verb):
    raw = big_disk(root.files)
    if verb == "add":
        qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, root.files / "big.qcow2")
        args = ["image", "add", "win", root.files / "big.qcow2"]
    else:
        root.ok("image", "add", "win", raw)
        args = ["image", "export", "win", root.files / "out.qcow2", "--format", "qcow2"]
    before = sorted(os.listdir(root.files))
    read_fd, write_fd = os.pipe()
    child = subprocess.Popen(
        root.command(*args, "--progress", write_fd), pass_fds=[write_fd], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.close(write_fd)
    assert os.read(read_fd, 100), "no progress"
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)
    os.close(read_fd)
    assert child.returncode != 0, said
    assert sorted(os.listdir(root.files)) == before
    if verb == "add":
        assert images_of(root) == [] and root.json("image", "list")["images"] == []


def test_progress_lines_end_with_all(root, source):
    disk = convert(source, root.files / "disk.qcow2", "qcow2")
    read_fd, write_fd = os.pipe()
    done = subprocess.run(
        root.command("image", "add", "win", disk, "--progress", write_fd), pass_fds=[write_fd], capture_output=True, timeout=60
    )
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        lines = [tuple(map(int, line.split())) for line in pipe]
    assert done.returncode == 0
    assert lines[-1] == (SIZE, SIZE) and lines == sorted(lines)


def test_export_replaces_no_file_without_force(root, source):
    root.ok("image", "add", "win", source)
    target = root.files / "out.raw"
    target.write_bytes(b"precious")
    assert "--force" in root.fails("image", "export", "win", target)
    assert target.read_bytes() == b"precious"
    root.ok("image", "export", "win", target, "--force")
    assert target.read_bytes() == source.read_bytes()


def test_export_never_writes_to_a_file_of_an_image(root, source):
    root.ok("image", "add", "win", source)
    root.ok("image", "add", "other", make_image(root.files / "other.raw", MIB, seed=5))
    root.ok("image", "add", "own", source, "--copy")
    os.link(source, root.files / "second-name.raw")
    os.symlink(source, root.files / "link.raw")
    before = source.read_bytes()
    for target in (source, root.files / "second-name.raw", root.files / "link.raw", made_file(root, "own"), root.path / "catalog.db"):
        root.fails("image", "export", "other", target, "--force")
    assert source.read_bytes() == before and made_file(root, "own").read_bytes() == before


def test_changed_image_is_not_exported(root, source):
    root.ok("image", "add", "win", source)
    with open(source, "r+b") as file:
        file.write(b"changed")
    root.fails("image", "export", "win", root.files / "out.raw")
    assert not (root.files / "out.raw").exists()


def test_bar_is_drawn_on_a_terminal_only(root):
    """A terminal gets no lines of numbers, and without one there is no bar."""
    disk = root.files / "big.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", big_disk(root.files), disk)
    leader, follower = pty.openpty()
    child = subprocess.Popen(root.command("-q", "image", "add", "win", disk), stderr=subprocess.PIPE, stdout=follower)
    said = child.communicate(timeout=120)[1]
    os.close(follower)
    os.close(leader)
    assert child.returncode == 0 and said == b""
