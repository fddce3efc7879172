# SPDX-License-Identifier: GPL-2.0-or-later
"""`backup verify`: says what it read, finds what is damaged, and what it found is healed by whoever has the bytes."""

import json
import subprocess

import pytest
from support.files import MIB, make_image
from support.repository import Repository, flip_byte, with_image


@pytest.fixture
def site(root):
    return with_image(root)


def test_good_repository_is_good_and_says_what_was_read(site):
    quick = site.repository.verify("--quick")
    assert quick["read_bytes"] == 0 and quick["manifest_chunks"] > 40 and quick["problems"] == []
    data = site.repository.verify()
    assert data["packs_read"] == data["packs"] == len(site.repository.packs()) and data["read_percent"] == 100
    image = site.repository.verify("--image")
    assert image["disks"] == 2 and image["disk_bytes"] > site.image.stat().st_size
    shown = json.loads(site.repository.ok("--json", "list", site.repository.path))["sets"][0]
    assert shown["verified_level"] == "image" and shown["verified"]


def test_packs_that_were_verified_longest_ago_come_first(site):
    total, seen = len(site.repository.packs()), 0
    for _ in range(total):
        report = site.repository.verify("--percent", "1")
        assert report["packs_read"] == 1 and report["read_percent"] < 100
        seen += 1
        assert (report["oldest_read"] == "never") == (seen < total)


def test_damaged_chunk_is_found_noted_and_healed_by_the_next_backup(site):
    before = site.repository.verify()
    flip_byte(site.repository.packs()[0])
    assert site.repository.verify("--quick")["problems"] == [], "quick reads no chunk"
    report = site.repository.verify(status=13)
    assert report["chunks_bad"] == 1 and report["sets_damaged"] == 1
    assert report["affected"] == [{"set": site.repository.last, "stream": "win@1", "chunks": 1}]
    assert report["chunks_read"] == before["chunks_read"], "one bad chunk hides no other"
    assert len(list((site.repository.path / "quarantine").iterdir())) == 1
    assert site.repository.verify("--quick", status=13)["chunks_missing"] == 1, "it is noted"
    first = site.repository.last
    summary = site.repository.create()
    assert summary["chunks_new"] == 1
    healed = site.repository.verify()
    assert healed["chunks_healed"] == 1 and healed["sets_damaged"] == 0
    out = site.files / "out.raw"
    site.repository.ok("restore", site.repository.path, first, "win", out)
    assert out.read_bytes() == site.image.read_bytes(), "the older set is whole again"


def test_all_that_is_broken_is_listed(site):
    found = site.repository.packs()
    assert len(found) >= 3
    flip_byte(found[0])
    found[1].unlink()
    with open(found[2], "r+b") as file:
        file.truncate(found[2].stat().st_size // 2)
    report = site.repository.verify(status=13)
    text = "\n".join(report["problems"])
    assert all(pack.name[:6] in text for pack in found[:3]), text
    assert report["sets_damaged"] == 1


def test_damaged_manifest_and_sums_are_found(site):
    folder = site.repository.path / "sets" / site.repository.last
    flip_byte(folder / "image-win-1.manifest.zst")
    report = site.repository.verify("--quick", status=13)
    assert report["sets_damaged"] == 1 and any("image-win-1" in line for line in report["problems"])


def test_one_set_reads_only_its_packs(site):
    other = make_image(site.files / "other.raw", 8 * MIB, seed=8)
    site.ok("image", "add", "other", other)
    site.repository.create("other")
    whole, one = site.repository.verify(), site.repository.verify(site.repository.last)
    assert one["sets"] == 1 and 0 < one["packs"] < whole["packs"]


def test_bad_words_get_a_sentence(site):
    for words, status in ((("--percent", "0"), 2), (("--max-time", "soon"), 2), (("--quick", "--data"), 2), (("1999",), 1)):
        done = site.repository.run("verify", site.repository.path, *words)
        assert done.returncode == status, f"{words} -> {done.returncode} {done.stderr}"
    assert site.repository.run("verify", site.files).returncode == 10


def test_restore_test_checks_file_systems(site):
    """A whole one and one that is damaged inside: its chunks are as they were backed up, and yet it is no good."""
    good, bad = site.files / "good.raw", site.files / "bad.raw"
    for path in (good, bad):
        path.write_bytes(b"")
        with open(path, "r+b") as file:
            file.truncate(8 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(path)], check=True, timeout=60)
    with open(bad, "r+b") as file:
        file.seek(4096 + 64)
        file.write(b"\xff" * 16384)
    site.ok("image", "add", "good", good)
    site.repository.create()
    report = site.repository.verify("--restore-test")
    rows = {row["file"]: row for row in report["tests"]}
    assert rows["good/v1/disk.img"]["file_system"] == "ext4" and rows["good/v1/disk.img"]["result"] == "good"
    assert rows["win/v1/disk.img"]["result"] == "not checked"
    assert report["disks"] == 3
    site.ok("image", "add", "bad", bad)
    site.repository.create()
    report = site.repository.verify("--restore-test", status=13)
    rows = {row["file"]: row["result"] for row in report["tests"]}
    assert rows["bad/v1/disk.img"] == "damaged" and rows["good/v1/disk.img"] == "good"
    assert report["chunks_bad"] == 0


def test_another_repository_heals(site):
    """A damaged chunk and a pack that is gone; the image has gone as well."""
    other = Repository(site, "other").init("--no-reserve")
    other.create()
    found = site.repository.packs()
    flip_byte(found[0])
    found[1].unlink()
    assert site.repository.verify(status=13)["chunks_missing"] > 1
    site.image.rename(site.files / "away")
    report = json.loads(site.repository.ok("--json", "heal", site.repository.path, "--from", other.path))
    assert report["missing"] == report["healed"] > 1
    assert site.repository.verify("--quick", status=13)["sets_damaged"] == 0, "a pack is gone, but no set needs it"
    out = site.files / "out.raw"
    site.repository.ok("restore", site.repository.path, "latest", "win", out)
    assert out.read_bytes() == (site.files / "away").read_bytes()
    assert site.repository.run("heal", site.repository.path, "--from", site.repository.path).returncode in (1, 11)
