# SPDX-License-Identifier: GPL-2.0-or-later
"""A real disk of 1 GiB with an ext4 and an NTFS full of files, through the whole path."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import pytest
from support.iscsi import file_hash

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("real disks")]  # one process makes the disk, once


@pytest.fixture(scope="module")
def sample(repository):
    """A folder with the disk and the check sums of its files; no test writes to it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="diskgate-sample-", dir=os.environ.get("DISKGATE_TEST_TMP", "/var/tmp")))
    try:
        folder.chmod(0o755)
        subprocess.run(
            [str(repository / "contrib/make-sample-image"), "--sums", str(folder / "sums"), str(folder / "sample.img"), "1G"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=300,
        )
        before = file_hash(folder / "sample.img")
        yield folder
        assert file_hash(folder / "sample.img") == before, "a test wrote to the image"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def site(root, sample):
    root.sample = sample
    root.ok("image", "add", "win", sample / "sample.img")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win")
    root.ok("up")
    return root


def sums_of(root, prefix):
    with open(root.sample / "sums") as file:
        found = [line.split("  ", 1) for line in file.read().splitlines()]
    return {path[len(prefix) + 1 :]: digest for digest, path in found if path.startswith(prefix + "/")}


def test_whole_disk_reads_the_same_over_iscsi(site):
    image = site.sample / "sample.img"
    assert image.stat().st_size >= 1 << 30
    assert site.disk("pc01").hash() == file_hash(image)


def test_file_systems_are_sound_while_another_client_writes(site):
    stop = threading.Event()
    wrong = []

    def write():
        disk = site.disk("pc02")
        offset = 0
        while not stop.is_set():
            try:
                disk.io(f"write -P 0xaa {offset} 8M")
            except Exception as error:  # whatever it is, the test must see it
                wrong.append(error)
                return
            offset = (offset + (64 << 20)) % (1 << 30)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        views = site.mnt / "clients" / "pc01"
        ext4 = subprocess.run(["e2fsck", "-fn", str(views / "disk0.p1.img")], capture_output=True, text=True, timeout=120)
        assert ext4.returncode == 0, ext4.stdout + ext4.stderr
        ntfs = subprocess.run(["ntfsfix", "-n", str(views / "disk0.p2.img")], capture_output=True, text=True, timeout=120)
        assert ntfs.returncode == 0 and "successfully" in ntfs.stdout, ntfs.stdout + ntfs.stderr
    finally:
        stop.set()
        writer.join()
    assert not wrong
    assert site.disk("pc01").hash() == file_hash(site.sample / "sample.img")


@pytest.mark.parametrize("number, program", [(1, "debugfs"), (2, "ntfscat")])
def test_files_inside_the_partition_views_are_the_original_ones(site, number, program):
    view = site.mnt / "clients" / "pc01" / f"disk0.p{number}.img"
    sums = {path: digest for path, digest in sums_of(site, f"p{number}").items() if path.startswith("generated/random-")}
    assert len(sums) > 5
    for path, digest in sums.items():
        out = site.files / "one-file"
        with open(out, "wb") as file:
            if program == "debugfs":
                command = ["debugfs", "-R", f'cat "/{path}"', str(view)]
            else:
                command = ["ntfscat", "-f", str(view), path]
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL, timeout=60)
        assert file_hash(out) == digest, path
