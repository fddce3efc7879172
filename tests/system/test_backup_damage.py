# SPDX-License-Identifier: GPL-2.0-or-later
"""Repositories that are read-only or badly damaged: what can be had is had, what is lost is named."""

import json
import subprocess

import pytest
from support.repository import Repository, flip_byte, with_image


@pytest.fixture
def site(root):
    return with_image(root)


# --- where nothing can be written --------------------------------------------------------------------------------------


@pytest.fixture
def read_only(site):
    point = site.base / "read-only"
    point.mkdir()
    subprocess.run(["mount", "--bind", str(site.repository.path), str(point)], check=True, timeout=30)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(point)], check=True, timeout=30)
    yield point
    subprocess.run(["umount", str(point)], check=True, timeout=30)


def test_repository_on_a_read_only_disk_is_verified(site, read_only):
    """All levels; what is found is said, and that it is not noted as well. Its index may be missing, too."""
    for level in ("--quick", "--data", "--image", "--restore-test"):
        done = site.repository.run("--json", "verify", read_only, level)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["noted"] is False and any("not noted" in text for text in report["warnings"])
    (site.repository.path / "index.cache").unlink()
    assert site.repository.run("verify", read_only).returncode == 0
    flip_byte(site.repository.packs()[0])
    before = sorted((p.name, p.stat().st_mtime_ns) for p in site.repository.path.iterdir())
    done = site.repository.run("--json", "verify", read_only)
    report = json.loads(done.stdout)
    assert done.returncode == 13 and report["chunks_bad"] == 1 and report["affected"][0]["stream"] == "win@1"
    assert sorted((p.name, p.stat().st_mtime_ns) for p in site.repository.path.iterdir()) == before


def test_other_verbs_on_a_read_only_disk(site, read_only):
    """Those that read do; those that write say one sentence and change nothing."""
    out = site.files / "out.raw"
    site.repository.ok("restore", read_only, "latest", "win", out)
    assert out.read_bytes() == site.image.read_bytes()
    for words in (("list", read_only), ("show", read_only, "latest"), ("status", read_only), ("prune", read_only, "-n", "--keep-last", "1")):
        site.repository.ok(*words)
    for words in (("create", read_only), ("prune", read_only, "--keep-last", "1"), ("pin", read_only, "latest"),
                  ("heal", read_only, "--from", site.repository.path)):
        done = site.repository.run(*words)
        assert done.returncode in (1, 11) and len(done.stderr.splitlines()) == 1, f"{words} {done.returncode} {done.stderr}"


# --- both tables of a pack ---------------------------------------------------------------------------------------------


def test_pack_that_lost_both_tables_and_a_chunk(site):
    """Nobody knows the name of what was in the damaged place; the manifests do, and so which sets and disks lack it."""
    pack = site.repository.packs()[0]
    lines = pack.with_name(pack.name.replace(".tar.zst", ".toc")).read_text().splitlines()
    offset, length = map(int, lines[5].split()[2:4])
    pack.with_name(pack.name.replace(".tar.zst", ".toc")).unlink()
    with open(pack, "r+b") as file:
        file.seek(offset + length // 2)
        file.write(b"\xff\x00" * 8)
        last = int(lines[-2].split()[2]) + int(lines[-2].split()[3])
        file.seek(last)  # what is behind the last chunk: the table in the pack
        file.write(b"\xaa" * (pack.stat().st_size - last))
    (site.repository.path / "index.cache").unlink()
    report = site.repository.verify(status=13)
    assert report["sets_damaged"] == 1 and report["chunks_missing"] == 1
    assert report["affected"] == [{"set": site.repository.last, "stream": "win@1", "chunks": 1}]
    assert any(pack.name[:6] in text for text in report["problems"])
    site.repository.ok("prune", site.repository.path, "--keep-last", "1")
    again = site.repository.verify(status=13)
    assert again["affected"] == report["affected"], "a writer made the table anew from what it found; what is lost stays known"
    site.repository.create()
    after = site.repository.verify()
    assert after["sets_damaged"] == 0 and after["chunks_missing"] == 0, "the next backup stored it again, and wrote the table anew"
    out = site.files / "out.raw"
    site.repository.ok("restore", site.repository.path, site.repository.sets()[0], "win", out)
    assert out.read_bytes() == site.image.read_bytes()


def test_heal_without_help(site):
    """The other one has nothing of it, and has chunks of another size."""
    other = Repository(site, "other").init("--no-reserve")
    site.repository.packs()[0].unlink()
    lost = site.repository.verify(status=13)["chunks_missing"]
    done = site.repository.run("--json", "heal", site.repository.path, "--from", other.path)
    assert done.returncode == 13
    report = json.loads(done.stdout)
    assert report["missing"] == lost and report["healed"] == 0 and report["stored_bytes"] == 0
    large = Repository(site, "large").init("--no-reserve", "--chunk", "1M")
    done = site.repository.run("heal", site.repository.path, "--from", large.path)
    assert done.returncode == 1 and "another size" in done.stderr
    for words, status in ((("heal", site.repository.path), 2), (("heal", site.repository.path, "--from", site.files), 10)):
        assert site.repository.run(*words).returncode == status
    link = site.base / "link"
    link.symlink_to(site.repository.path)
    done = site.repository.run("heal", site.repository.path, "--from", link)
    assert done.returncode == 1 and "itself" in done.stderr


def test_other_repository_that_is_damaged_as_well_heals_what_it_has(site):
    other = Repository(site, "other").init("--no-reserve")
    other.create()
    site.repository.packs()[0].unlink()
    flip_byte(other.packs()[0], 0.1)
    lost = site.repository.verify(status=13)["chunks_missing"]
    done = site.repository.run("--json", "heal", site.repository.path, "--from", other.path)
    report = json.loads(done.stdout)
    assert report["missing"] == lost and report["healed"] >= lost - 1 and done.returncode in (0, 13)
    assert site.repository.verify("--quick", status=13)["chunks_missing"] == lost - report["healed"]
