# SPDX-License-Identifier: GPL-2.0-or-later
"""Kept overlays whose files are gone, all of ROOT/overlays perhaps: they are missed, and nobody else is kept waiting."""

import json
import shutil

import pytest
from support.damage import assert_alive, fill, kill_file_system, pattern_of
from support.files import MIB, make_image
from support.repository import Repository

SIZE = 16 * MIB
FILLED = len(pattern_of("pc01"))


@pytest.fixture
def site(root):
    make_image(root.files / "base.raw", SIZE, seed=4)
    root.ok("image", "add", "win", root.files / "base.raw")
    for number, (name, mode) in enumerate([("pc01", "kept"), ("pc02", "kept"), ("pc03", "volatile")]):
        root.ok("client", "add", name, "--mac", f"52:54:00:00:07:{number:02x}", "--image", "win", "--mode", mode)
    root.ok("up")
    fill(root, "pc01")
    return root


def problems_of(root):
    done = root.run("--json", "status")
    return {row["what"]: row["problem"] for row in json.loads(done.stdout)["problems"]}


def is_base(root, name):
    return root.view(name).read_bytes() == (root.files / "base.raw").read_bytes()


def has_pattern(root, name):
    return root.view(name).read_bytes()[:FILLED] == pattern_of(name)


def marks_of(root):
    ids = {row["overlay_id"]: row["client"] for row in root.json("overlay", "list")["overlays"]}
    return sorted(ids.get(path.name, path.name) for path in (root.path / "kept").iterdir())


def forget_live_maps(root):
    """As the machine's boot does."""
    for live in (root.path / "run" / "live").iterdir():
        live.unlink()


def lose_overlays(root):
    root.ok("down")
    away = root.files / "overlays"
    shutil.rmtree(away, ignore_errors=True)
    shutil.move(root.path / "overlays", away)
    forget_live_maps(root)
    return away


def test_overlays_that_are_gone_are_missed_and_the_others_boot(site):
    assert marks_of(site) == ["pc01", "pc02"]
    away = lose_overlays(site)
    site.ok("client", "add", "pc04", "--mac", "52:54:00:00:07:04", "--image", "win", "--mode", "kept")
    site.run("up")
    told = problems_of(site)
    for name in ("pc01", "pc02"):  # one was written to, the other was not: nobody knows any more
        (problem,) = [text for what, text in told.items() if name in what]
        assert "are gone" in problem and "mounted" in problem and "diskgate client reset" in problem
        assert not site.view(name).exists()
        done = site.run("--json", "overlay", "check", name)
        rows = {row["part"]: row for row in json.loads(done.stdout)["checks"]}
        assert done.returncode == 3 and rows["map file"]["state"] == "missing" and "client reset" in rows["map file"]["problem"]
    assert is_base(site, "pc03") and is_base(site, "pc04")
    assert not list((site.path / "overlays").glob("pc0[12]/0.*"))

    site.ok("client", "reset", "pc02")  # one way out
    assert is_base(site, "pc02")
    assert marks_of(site) == ["pc01", "pc02", "pc04"]
    site.ok("overlay", "check", "pc02")

    site.ok("down")  # the other one
    for path in (away / "pc01").iterdir():
        shutil.move(path, site.path / "overlays" / "pc01" / path.name)
    site.ok("up")
    assert has_pattern(site, "pc01")
    assert_alive(site)


def test_overlays_that_are_gone_are_missed_after_a_crash_and_a_boot(site):
    kill_file_system(site)
    site.run("down")
    forget_live_maps(site)
    shutil.rmtree(site.path / "overlays")
    site.run("up")
    assert any("are gone" in text for text in problems_of(site).values())
    assert not site.view("pc01").exists() and is_base(site, "pc03")


def test_no_client_is_alarmed_that_has_lost_nothing(site):
    dumped = site.files / "configuration.json"
    dumped.write_text(site.ok("dump"))
    site.ok("client", "reset", "pc01")
    site.ok("client", "set", "pc02", "--mode", "volatile")
    assert marks_of(site) == ["pc01"]
    site.ok("client", "set", "pc02", "--mode", "kept")
    assert marks_of(site) == ["pc01", "pc02"]
    site.ok("down")
    site.ok("client", "set", "pc02", "--mode", "volatile")
    site.ok("client", "set", "pc03", "--mode", "kept")
    site.ok("up")
    assert marks_of(site) == ["pc01", "pc03"]
    site.ok("client", "remove", "pc03")
    assert marks_of(site) == ["pc01"]
    assert problems_of(site) == {}
    lose_overlays(site)
    for name in ("pc01", "pc02"):
        site.ok("client", "remove", name)
    site.ok("apply", dumped)
    site.ok("up")
    assert problems_of(site) == {}
    assert all(is_base(site, name) for name in ("pc01", "pc02", "pc03"))


def test_a_root_of_an_earlier_version_gets_its_marks(site):
    site.ok("down")
    shutil.rmtree(site.path / "kept")
    site.ok("up")
    assert has_pattern(site, "pc01")
    assert marks_of(site) == ["pc01", "pc02"]


def test_backup_leaves_out_and_says_what_is_gone(site):
    site.ok("down")
    shutil.rmtree(site.path / "overlays" / "pc01")
    forget_live_maps(site)
    repository = Repository(site).init()
    summary = repository.create(status=3)
    assert summary["left_out"] == 1
    (warning,) = summary["warnings"]
    assert "pc01" in warning and "are gone" in warning and "mounted" in warning
    site.ok("client", "reset", "pc01")
    assert repository.create()["left_out"] == 0
