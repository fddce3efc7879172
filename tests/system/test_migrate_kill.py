# SPDX-License-Identifier: GPL-2.0-or-later
"""An import and an undo that die just before each of the calls that change a file: what is there then is all of it or nothing, and no file is left."""

import os
import subprocess

import pytest
from support import system
from support.files import MIB, make_image

pytestmark = pytest.mark.timeout(600)

SELDOM = 9  # of the many writes every ninth
MADE = ("ax", "bx")  # images that are converted into the root


@pytest.fixture(autouse=True)
def programs_in_path(programs, monkeypatch):
    monkeypatch.setenv("PATH", f"{programs.build / 'migrate'}:{os.environ['PATH']}")


@pytest.fixture
def importing(root):
    """The words of an import that makes two images and adopts one."""
    folder = root.files / "images"
    folder.mkdir()
    for seed, name in enumerate(("a", "b"), 1):
        raw = make_image(folder / f"{name}.img", 1 * MIB, seed=seed)
        subprocess.run(["qemu-img", "convert", "-O", "vhdx", str(raw), str(folder / f"{name}x.vhdx")], check=True, timeout=60)
        (folder / f"{name}x.vhdx").chmod(0o644)
    table = root.files / "clients.csv"
    images = ("a.img", "ax.vhdx", "bx.vhdx")
    table.write_text("Computer;MAC;Image\n" + "".join(f"pc{n};00-1B-21-00-00-{n:02};D:\\{name}\n" for n, name in enumerate(images, 1)))
    return ["migrate", "csv", table, "--map-path", f"D:={folder}"]


@pytest.fixture
def die(programs, root):
    """A function that runs a command that dies before its @at-th call; returns whether it died."""
    library = programs.build / "tests" / "system" / "helpers" / "die-at.so"
    assert library.exists(), f"'{library}' is not built"
    imports = root.path / "imports"

    def is_clean():
        return not imports.exists() or all(path.suffix == ".json" for path in imports.iterdir())

    def run(args, at, log=None):
        more = {"LD_PRELOAD": str(library), "DIE_PROGRAM": "diskgate-migrate", "DIE_AT": str(at), **({"DIE_LOG": str(log)} if log else {})}
        done = subprocess.run(
            root.command(*args, "-q"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **more}, timeout=120,
        )  # fmt: skip
        assert done.returncode in (0, -9, 137), f"call {at}: {done.returncode}"
        system.wait_until(is_clean, what="the helper that cleans up")
        return done.returncode != 0

    return run


@pytest.fixture
def points(root, die):
    """A function that runs a command to its end and returns the numbers of the calls before which it is to die."""

    def find(args):
        log = root.files / "calls"
        assert not die(args, 0, log)
        calls = log.read_text().split()
        log.unlink()
        assert len(calls) > 50 and "fdatasync" in calls
        return [n for n, name in enumerate(calls, 1) if name not in ("write", "pwrite") or n % SELDOM == 0]

    return find


def check_all_or_nothing(root, at):
    """Returns whether the import is there."""
    clients = [row["name"] for row in root.json("client", "list")["clients"]]
    images = {row["name"]: row["state"] for row in root.json("image", "list")["images"]}
    files = sorted(str(path.relative_to(root.path / "images")) for path in (root.path / "images").rglob("*"))
    left = sorted(path.name for path in (root.path / "imports").glob("*")) if (root.path / "imports").exists() else []
    if not clients:
        assert (images, files) == ({}, []), f"call {at}: {images} {files}"
        return False
    assert clients == ["pc1", "pc2", "pc3"] and images == {"a": "ok", "ax": "ok", "bx": "ok"}, f"call {at}: {clients} {images}"
    assert files == sorted([*MADE, *(f"{name}/v1.raw" for name in MADE)]), f"call {at}: {files}"
    assert f"{last_import(root)}.json" in left, f"call {at}: no report"
    return True


def last_import(root):
    return max(int(row["object"].split()[1]) for row in root.json("log")["log"] if row["verb"] == "import")


def test_import_that_dies_anywhere_is_all_there_or_not_at_all(root, importing, die, points):
    numbers = points(importing)
    assert check_all_or_nothing(root, 0)
    root.ok("migrate", "undo", last_import(root))
    seen = set()
    for at in numbers:
        died = die(importing, at)
        is_there = check_all_or_nothing(root, at)
        seen.add((died, is_there))
        if is_there:
            run = last_import(root)
            assert root.json(*importing)["counts"]["unchanged"] == 3, f"call {at}"
            root.ok("migrate", "undo", run)
    assert {(True, False), (True, True)} <= seen


def test_undo_that_dies_anywhere_is_done_or_not_at_all(root, importing, die, points):
    root.ok(*importing)
    numbers = points(["migrate", "undo", last_import(root)])
    assert not check_all_or_nothing(root, 0)
    seen = set()
    for at in numbers:
        if not root.json("client", "list")["clients"]:
            root.ok(*importing)
        died = die(["migrate", "undo", last_import(root)], at)
        seen.add((died, check_all_or_nothing(root, at)))
    assert {(True, False), (True, True)} <= seen


def test_death_of_the_program_that_makes_an_image_is_a_sentence_and_leaves_nothing(root, importing, programs):
    library = programs.build / "tests" / "system" / "helpers" / "die-at.so"
    for at in (1, 4):
        more = {"LD_PRELOAD": str(library), "DIE_PROGRAM": "diskgate", "DIE_AT": str(at)}
        done = subprocess.run(
            root.command(*importing, "-q"), stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **more}, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "nothing was imported, for the image 'ax' cannot be made" in done.stderr.splitlines()[-1]
        assert not check_all_or_nothing(root, at) and list((root.path / "imports").iterdir()) == []
    root.ok(*importing)
