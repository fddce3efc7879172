# SPDX-License-Identifier: GPL-2.0-or-later
"""`image repair`: files that were moved or renamed are found by what is in them, and never guessed."""

import os
import shutil
import subprocess

import pytest
from support import boot, iscsi
from support.files import MIB, make_image, make_vhd
from support.iscsi import Disk


@pytest.fixture
def here(root):
    path = root.files / "images"
    path.mkdir()
    for seed, name in enumerate(("win.img", "games.img"), 1):
        make_image(path / name, 2 * MIB, seed=seed)
        root.ok("image", "add", name.split(".")[0], path / name)
    root.ok("client", "add", "pc1", "--mac", "52:54:00:00:00:01", "--image", "win")
    return path


def states(root):
    return {row["name"]: row["state"] for row in root.json("image", "list")["images"]}


def place(root, name):
    return root.json("image", "show", name)["versions"][0]["path"]


def repair(root, *args, status=0):
    done = root.run("--json", "image", "repair", *args)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_repair_finds_a_folder_that_was_moved(root, here):
    moved = root.files / "new" / "deeper"
    moved.parent.mkdir()
    here.rename(moved)
    assert set(states(root).values()) == {"missing"}
    repair(root, "--search", root.files / "new")
    assert set(states(root).values()) == {"ok"}
    assert (place(root, "win"), place(root, "games")) == (str(moved / "win.img"), str(moved / "games.img"))
    root.ok("up")
    Disk(root.target("pc1"), root.files).copy(root.files / "copy.raw")
    assert (root.files / "copy.raw").read_bytes() == (moved / "win.img").read_bytes()


def test_repair_finds_files_below_another_mount_point(root, here):
    """A disk that is mounted elsewhere now: other device, other times of the folders, the same files."""
    other = root.files / "mnt"
    other.mkdir()
    for path in here.iterdir():
        shutil.copy2(path, other / path.name)
    shutil.rmtree(here)
    repair(root, "--search", other)
    assert set(states(root).values()) == {"ok"} and place(root, "win") == str(other / "win.img")


def test_repair_finds_renamed_files_without_a_search(root, here):
    (here / "win.img").rename(here / "windows 11.img")
    repair(root)
    assert states(root)["win"] == "ok" and place(root, "win") == str(here / "windows 11.img")


def test_repair_is_not_misled_by_exchanged_names(root, here):
    (here / "win.img").rename(here / "x")
    (here / "games.img").rename(here / "win.old")
    (here / "x").rename(here / "games.old")
    repair(root)
    assert (place(root, "win"), place(root, "games")) == (str(here / "games.old"), str(here / "win.old"))


def test_repair_finds_files_that_have_each_other_s_name(root, here):
    (here / "win.img").rename(here / "x")
    (here / "games.img").rename(here / "win.img")
    (here / "x").rename(here / "games.img")
    assert set(states(root).values()) == {"changed"}
    repair(root)
    assert set(states(root).values()) == {"ok"}
    assert (place(root, "win"), place(root, "games")) == (str(here / "games.img"), str(here / "win.img"))


def test_repair_finds_a_file_in_whose_place_another_one_lies(root, here):
    moved = root.files / "moved"
    moved.mkdir()
    (here / "win.img").rename(moved / "win.img")
    make_image(here / "win.img", 2 * MIB, seed=9)
    before = root.catalog_text()
    done = repair(root, status=1)
    assert "other content is at its path" in done.stderr and "image check win --accept" in done.stderr
    assert root.catalog_text() == before
    repair(root, "--search", moved)
    assert states(root)["win"] == "ok" and place(root, "win") == str(moved / "win.img")


def test_repair_leaves_a_file_with_another_time_to_the_check(root, here):
    os.utime(here / "win.img")
    before = root.catalog_text()
    repair(root)
    assert states(root)["win"] == "changed" and root.catalog_text() == before


def test_repair_finds_files_in_a_place_that_cannot_be_written_to(root, here):
    kept, mounted = root.files / "kept", root.files / "mounted"
    here.rename(kept)
    mounted.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", str(kept), str(mounted)], check=True, timeout=30)
    try:
        repair(root, "--search", mounted)
        assert set(states(root).values()) == {"ok"} and place(root, "win") == str(mounted / "win.img")
        root.ok("up")
        Disk(root.target("pc1"), root.files).copy(root.files / "copy.raw")
        assert (root.files / "copy.raw").read_bytes() == (kept / "win.img").read_bytes()
        root.ok("down")
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=30)


def test_repair_in_a_room_that_runs_keeps_its_sessions(root, here):
    root.ok("image", "add", "big", make_image(here / "big.img", 64 * MIB, seed=5))
    for number in (2, 3):
        root.ok("client", "add", f"pc{number}", "--mac", f"52:54:00:00:00:{number:02}", "--image", "big")
    root.ok("up")
    moved = root.files / "moved"
    with boot.session(root, iscsi.url_of(root.target("pc2"))) as pc:
        here.rename(moved)
        repair(root, "--search", moved)
        assert len(root.target("pc2")["sessions"]) == 1 and pc.poll() is None
        Disk(root.target("pc3"), root.files).copy(root.files / "copy.raw")
        assert (root.files / "copy.raw").read_bytes() == (moved / "big.img").read_bytes()
        assert pc.poll() is None
    root.ok("down")
    root.ok("up")
    Disk(root.target("pc1"), root.files).copy(root.files / "copy.raw")
    assert (root.files / "copy.raw").read_bytes() == (moved / "win.img").read_bytes()


def test_repair_of_an_image_of_the_root_knows_whose_file_it_is(root, here):
    """A file that was carried out of the root is adopted where it lies; one in another folder of the root stays the root's own."""
    root.ok("image", "add", "own", make_image(root.files / "own.raw", 1 * MIB, seed=7), "--copy")
    (root.files / "own.raw").unlink()
    images = root.path / "images"
    (images / "own").rename(images / "renamed")
    repair(root, "--search", images)
    version = root.json("image", "show", "own")["versions"][0]
    assert (version["path"], version["is_adopted"]) == (str(images / "renamed" / "v1.raw"), False)
    outside = root.files / "carried.raw"
    (images / "renamed" / "v1.raw").rename(outside)
    repair(root, "--search", root.files)
    version = root.json("image", "show", "own")["versions"][0]
    assert (version["path"], version["is_adopted"]) == (str(outside), True)
    root.ok("image", "remove", "own")
    assert outside.exists()


@pytest.mark.parametrize("way", ["copy", "two folders"])
def test_repair_takes_none_of_two_candidates(root, here, way):
    second = root.files / "second"
    second.mkdir()
    shutil.copy2(here / "win.img", second / ("win.img" if way == "two folders" else "copy.img"))
    (here / "win.img").rename(second / "moved.img")
    before = root.catalog_text()
    done = repair(root, "win", "--search", second, status=1)
    assert "2 files have its content" in done.stderr and root.catalog_text() == before
    (second / "moved.img").unlink()
    repair(root, "win", "--search", second)
    assert states(root)["win"] == "ok"


def test_repair_counts_one_file_under_two_names_once(root, here):
    (here / "win.img").rename(here / "a.img")
    os.link(here / "a.img", here / "b.img")
    repair(root, "--search", here)
    assert states(root)["win"] == "ok"


@pytest.mark.parametrize("full_hash", [False, True], ids=["samples", "full hash"])
def test_repair_refuses_the_right_name_with_other_content(root, here, full_hash):
    if full_hash:
        root.ok("image", "check", "win")
    wrong = root.files / "wrong"
    wrong.mkdir()
    content = bytearray((here / "win.img").read_bytes())
    content[MIB + 5000 if full_hash else 100] ^= 1
    (wrong / "win.img").write_bytes(content)
    (here / "win.img").unlink()
    before = root.catalog_text()
    done = repair(root, "win", "--search", wrong, status=1)
    assert "no file with its content" in done.stderr and root.catalog_text() == before


def test_repair_does_not_take_what_another_image_lies_at(root, here):
    shutil.copy2(here / "win.img", here / "twin.img")
    root.ok("image", "add", "twin", here / "twin.img")
    (here / "win.img").unlink()
    done = repair(root, "win", status=1)
    assert "is the image 'twin' already" in done.stderr and states(root)["win"] == "missing"


def test_repair_tells_a_vhd_from_the_raw_disk_in_it(root, here):
    make_vhd(here / "win.img", here / "disk.vhd")
    root.ok("image", "add", "vhd", here / "disk.vhd")
    other = root.files / "other"
    other.mkdir()
    (here / "disk.vhd").rename(other / "disk.bin")
    repair(root, "vhd", "--search", other)
    assert states(root)["vhd"] == "ok" and place(root, "vhd") == str(other / "disk.bin")


def test_repair_dry_run_changes_nothing(root, here):
    (here / "win.img").rename(here / "new.img")
    before = root.catalog_text()
    repair(root, "-n")
    assert root.catalog_text() == before and states(root)["win"] == "missing"


def test_repair_says_that_nothing_is_missing(root, here):
    assert "no image file is missing" in root.ok("image", "repair")
