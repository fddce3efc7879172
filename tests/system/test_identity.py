# SPDX-License-Identifier: GPL-2.0-or-later
"""An image that was changed behind our back is never served; put back, it is."""

import os
import shutil

import pytest
from support.files import MIB, make_image
from support.iscsi import file_hash


def one_byte(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2 + 12345)  # between the samples of the content identity
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def first_byte(path):
    with open(path, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def truncated(path):
    os.truncate(path, path.stat().st_size - MIB)


def grown(path):
    os.truncate(path, path.stat().st_size + MIB)


def replaced(path):
    path.unlink()
    make_image(path, 16 * MIB, seed=99)


def removed(path):
    path.unlink()


CHANGES = [one_byte, first_byte, truncated, grown, replaced, removed]


@pytest.fixture
def site(root):
    """pc01 on image win, pc02 on image linux, both kept; a true copy of win's file lies beside it."""
    for name, seed in (("win", 1), ("linux", 2)):
        root.ok("image", "add", name, make_image(root.files / f"{name}.raw", 16 * MIB, seed=seed))
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "linux", "--mode", "kept")
    shutil.copy2(root.files / "win.raw", root.files / "true.raw")
    return root


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_image_is_refused_at_up_while_others_are_served(site, change):
    site.ok("up")
    url = site.disk("pc01")
    site.ok("down")
    path = site.files / "win.raw"
    change(path)

    done = site.run("up")
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert "win" in text and len(done.stderr.splitlines()) >= 1
    assert not url.can_log_in()
    assert site.disk("pc02").hash() == file_hash(site.files / "linux.raw")

    path.unlink(missing_ok=True)
    shutil.copy2(site.files / "true.raw", path)
    site.ok("up")
    assert site.disk("pc01").hash() == file_hash(path)


@pytest.mark.parametrize("change", [one_byte, truncated, replaced], ids=lambda change: change.__name__)
def test_image_changed_while_it_runs_is_refused_by_target_sync_or_the_next_up(site, change):
    site.ok("up")
    disk = site.disk("pc01")
    change(site.files / "win.raw")
    site.run("target", "sync")
    site.ok("down")
    done = site.run("up")
    assert done.returncode == 1 and "win" in done.stdout + done.stderr
    assert not disk.can_log_in()


def test_image_check_finds_the_change_and_changes_nothing(site):
    assert site.run("image", "check", "win").returncode == 0
    one_byte(site.files / "win.raw")
    before = site.catalog_text()
    done = site.run("image", "check", "win")
    assert done.returncode in (1, 3) and "win" in done.stdout + done.stderr
    assert site.catalog_text() == before


def test_touched_but_equal_image_is_served_once_its_full_hash_is_known(site):
    site.ok("image", "check", "win")
    os.utime(site.files / "win.raw", (1, 1))
    site.ok("up")
    assert site.disk("pc01").hash() == file_hash(site.files / "true.raw")


def test_kept_writes_survive_a_refused_up(site):
    site.ok("up")
    site.disk("pc01").write(b"\x42" * 4096, 4096)
    written = site.disk("pc01").hash()
    site.ok("down")
    path = site.files / "win.raw"
    path.rename(site.files / "away.raw")
    assert site.run("up").returncode == 1
    (site.files / "away.raw").rename(path)
    site.ok("up")
    assert site.disk("pc01").hash() == written
