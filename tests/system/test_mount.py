# SPDX-License-Identifier: GPL-2.0-or-later
"""diskgate-fs alone, as `mount -t fuse.diskgate` and /etc/fstab start it: read-only, for inspection."""

import contextlib
import fcntl
import os
import pathlib
import subprocess

import pytest
from support import system
from support.files import MIB, error_of, make_image
from support.iscsi import file_hash

# mount(8) of type fuse.diskgate starts mount.fuse, which finds the program "diskgate" by its name, or a helper of the whole type.
HELPER = pathlib.Path("/sbin/mount.fuse.diskgate")


@pytest.fixture
def helper(programs):
    """The helper that an installation makes; the lock keeps parallel tests from taking it away from each other."""
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if HELPER.exists() and HELPER.resolve() != programs.diskgate_fs.resolve():
            pytest.skip(f"'{HELPER}' of an installation is there and is not the program under test")
        if HELPER.is_symlink() and not HELPER.exists():
            HELPER.unlink()  # of a run that was killed
        made = not HELPER.is_symlink()
        try:
            if made:
                HELPER.symlink_to(programs.diskgate_fs)
        except OSError as error:
            pytest.skip(f"'{HELPER}' cannot be made: {error.strerror}")
        yield
        if made:
            HELPER.unlink()


@pytest.fixture
def site(root, helper):
    image = make_image(root.files / "base.raw", 2 * MIB)
    root.ok("image", "add", "win", image)
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    (root.base / "look").mkdir()
    yield root
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(["umount", str(root.base / "look")], capture_output=True, timeout=30)


def mount(*args):
    done = subprocess.run(["mount", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def umount(folder, base):
    done = subprocess.run(["umount", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    system.wait_until(lambda: not system.processes_of(str(base)), what="diskgate-fs to end after umount")


def check_view(folder, image):
    assert file_hash(folder / "images/win/v1/disk.img") == file_hash(image)
    assert file_hash(folder / "clients/pc01/disk0.img") == file_hash(image)
    assert error_of(os.open, folder / "clients/pc01/disk0.img", os.O_RDWR) is not None


def test_mount_of_type_fuse_diskgate_shows_the_views_read_only(site):
    folder = site.base / "look"
    mount("-t", "fuse.diskgate", site.path, folder, "-o", "ro")
    check_view(folder, site.files / "base.raw")
    umount(folder, site.base)


def test_fstab_line_mounts_the_views(site):
    folder = site.base / "look"
    table = site.base / "fstab"
    table.write_text(f"{site.path} {folder} fuse.diskgate ro,noauto 0 0\n")
    mount("-T", table, folder)
    check_view(folder, site.files / "base.raw")
    umount(folder, site.base)


def test_read_only_mount_beside_a_running_root_disturbs_nothing(site):
    site.ok("up")
    site.disk("pc01").write(b"\x01" * 4096, 0)
    written = site.disk("pc01").hash()
    folder = site.base / "look"
    mount("-t", "fuse.diskgate", site.path, folder, "-o", "ro")
    assert file_hash(folder / "images/win/v1/disk.img") == file_hash(site.files / "base.raw")
    umount_only = subprocess.run(["umount", str(folder)], capture_output=True, text=True, timeout=60)
    assert umount_only.returncode == 0, umount_only.stderr
    assert site.disk("pc01").hash() == written


def test_mount_of_a_folder_that_is_no_root_fails_with_a_sentence(site):
    done = subprocess.run(
        ["mount", "-t", "fuse.diskgate", str(site.files), str(site.base / "look"), "-o", "ro"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0 and str(site.files) in done.stderr
    assert system.mounts_below(str(site.base)) == []
