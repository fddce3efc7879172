# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: one sentence that names the thing, exit status 1, nothing changed."""

import gzip
import os
import sqlite3
import subprocess

import pytest
from support.files import KIB, MIB, make_image, make_vhd

# Arguments with {files} for the test's folder, and words that the sentence must hold.
TABLE = {
    "wrong MAC": (["client", "add", "new", "--mac", "52:54:00:zz:00:09"], ["52:54:00:zz:00:09"]),
    "short MAC": (["client", "add", "new", "--mac", "52:54:00"], ["52:54:00"]),
    "MAC without a digit": (["client", "add", "new", "--mac", "52:54:00:12:34:5"], ["52:54:00:12:34:5'", "11 digits", "52:54:00:12:34:05"]),
    "MAC without a digit by set": (["client", "set", "pc01", "--mac", "0:1c:42:0:0:8"], ["00:1c:42:00:00:08"]),
    "multicast MAC": (["client", "add", "new", "--mac", "01:00:5e:00:00:01"], ["01:00:5e:00:00:01"]),
    "zero MAC": (["client", "add", "new", "--mac", "000000000000"], ["000000000000"]),
    "duplicate MAC": (["client", "add", "new", "--mac", "52-54-00-00-00-01"], ["52:54:00:00:00:01", "pc01"]),
    "duplicate MAC by set": (["client", "set", "pc02", "--mac", "5254.0000.0001"], ["52:54:00:00:00:01", "pc01"]),
    "duplicate client": (["client", "add", "pc01", "--mac", "52:54:00:00:00:09"], ["pc01"]),
    "duplicate client in another case": (["client", "add", "PC01", "--mac", "52:54:00:00:00:09"], ["PC01"]),
    "bad client name": (["client", "add", "a/b", "--mac", "52:54:00:00:00:09"], ["a/b"]),
    "long client name": (["client", "add", "x" * 64, "--mac", "52:54:00:00:00:09"], ["x" * 20]),
    "bad address": (["client", "add", "new", "--mac", "52:54:00:00:00:09", "--ip", "10.0.0.300"], ["10.0.0.300"]),
    "bad mode": (["client", "add", "new", "--mac", "52:54:00:00:00:09", "--mode", "often"], ["often"]),
    "client of no image": (["client", "add", "new", "--mac", "52:54:00:00:00:09", "--image", "nope"], ["nope"]),
    "client of no version": (["client", "add", "new", "--mac", "52:54:00:00:00:09", "--image", "win@7"], ["win", "7"]),
    "client of a bad version": (["client", "add", "new", "--mac", "52:54:00:00:00:09", "--image", "win@x"], ["win@x"]),
    "boot from a data image": (["client", "link", "pc01", "games"], ["games"]),
    "unknown client": (["client", "set", "pc77", "--mode", "kept"], ["pc77"]),
    "unknown client to show": (["client", "show", "pc77"], ["pc77"]),
    "unknown client to remove": (["client", "remove", "pc77"], ["pc77"]),
    "unknown client to reset": (["client", "reset", "pc77"], ["pc77"]),
    "rename to a taken client": (["client", "rename", "pc01", "pc02"], ["pc02"]),
    "slot out of range": (["client", "link", "pc01", "games", "--slot", "99"], ["99"]),
    "slot is no number": (["client", "link", "pc01", "games", "--slot", "one"], ["one"]),
    "unlink of an empty slot": (["client", "unlink", "pc01", "--slot", "5"], ["pc01", "5"]),
    "unknown image": (["image", "show", "nope"], ["nope"]),
    "unknown image to check": (["image", "check", "nope"], ["nope"]),
    "unknown image to remove": (["image", "remove", "nope"], ["nope"]),
    "image in use": (["image", "remove", "win"], ["win", "pc01", "pc02"]),
    "rename to a taken image": (["image", "rename", "win", "games"], ["games"]),
    "rename to a bad name": (["image", "rename", "win", ".."], [".."]),
    "duplicate image": (["image", "add", "win", "{files}/spare.raw"], ["win"]),
    "missing image file": (["image", "add", "new", "{files}/nothing.raw"], ["{files}/nothing.raw"]),
    "image is a folder": (["image", "add", "new", "{files}"], ["{files}"]),
    "image is a FIFO": (["image", "add", "new", "{files}/fifo"], ["{files}/fifo"]),
    "image is empty": (["image", "add", "new", "{files}/empty.raw"], ["{files}/empty.raw"]),
    "image is a part of a qcow2": (["image", "add", "new", "{files}/over.qcow2"], ["{files}/over.qcow2", "part"]),
    "image is a qcow2 called raw, cut short": (["image", "add", "new", "{files}/qcow2.raw"], ["{files}/qcow2.raw", "cut short"]),
    "image is a VMDK descriptor": (["image", "add", "new", "{files}/disk.vmdk"], ["{files}/disk.vmdk", "VMDK"]),
    "image is a differencing VHD": (["image", "add", "new", "{files}/diff.vhd"], ["{files}/diff.vhd", "only the changes over another disk"]),
    "image is a qcow2 and --format says vdi": (
        ["image", "add", "new", "{files}/disk.qcow2", "--format", "vdi"],
        ["{files}/disk.qcow2", "qcow2", "vdi"],
    ),
    "image is a text": (["image", "add", "new", "{files}/notes.raw"], ["{files}/notes.raw", "text", "--format raw"]),
    "image is a long text": (["image", "add", "new", "{files}/long.raw", "--data", "--copy"], ["{files}/long.raw", "text"]),
    "image is compressed": (["image", "add", "new", "{files}/disk.raw.gz"], ["{files}/disk.raw.gz", "gzip"]),
    "VHD without its end": (["image", "add", "new", "{files}/short.vhd"], ["{files}/short.vhd", "cut off", "--format raw"]),
    "GPT disk without its end": (["image", "add", "new", "{files}/gpt.raw"], ["{files}/gpt.raw", "cut off", "--format raw"]),
    "MBR disk without its end": (["image", "add", "new", "{files}/mbr.raw", "--copy"], ["{files}/mbr.raw", "cut off"]),
    "VHD footer is damaged": (["image", "add", "new", "{files}/damaged.vhd"], ["{files}/damaged.vhd"]),
    "image is not what --format says": (["image", "add", "new", "{files}/spare.raw", "--format", "vhd"], ["{files}/spare.raw"]),
    "unknown format": (["image", "add", "new", "{files}/spare.raw", "--format", "floppy"], ["floppy"]),
    "bad image name": (["image", "add", "a b", "{files}/spare.raw"], ["a b"]),
    "image already adopted": (["image", "add", "new", "{files}/base.raw"], ["{files}/base.raw", "win"]),
    "unknown setting": (["set", "gateway.colour", "blue"], ["gateway.colour"]),
    "bad port": (["set", "gateway.port", "70000"], ["70000"]),
    "bad switch": (["set", "auth.chap", "maybe"], ["maybe"]),
    "bad number": (["set", "gateway.shards", "many"], ["many"]),
    "second init": (["init"], ["root", "already"]),
}

USAGE = {
    "no verb": [],
    "unknown verb": ["fly"],
    "unknown verb of a noun": ["image", "fly"],
    "missing argument": ["image", "add", "win"],
    "empty argument": ["client", "add", "", "--mac", "52:54:00:00:00:09"],
    "too many arguments": ["client", "show", "a", "b"],
    "unknown option": ["client", "list", "--fly"],
    "option without value": ["client", "set", "pc01", "--mac"],
}


def make_differencing(path):
    """A dynamic VHD becomes one that lacks its parent: type 4 in both copies of the footer."""
    data = bytearray(path.read_bytes())
    for at in (0, len(data) - 512):
        data[at + 60 : at + 68] = (4).to_bytes(4, "big") + bytes(4)
        data[at + 64 : at + 68] = (~sum(data[at : at + 512]) & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(data)


def make_files(folder):
    make_image(folder / "spare.raw", MIB, seed=2)
    (folder / "empty.raw").touch()
    (folder / "notes.raw").write_text("Größe: 40 GB\r\n\tfür Raum 3")
    (folder / "long.raw").write_text("0123456789abcde\n" * 65536)
    os.mkfifo(folder / "fifo")
    for options in (
        ["-f", "qcow2", folder / "disk.qcow2", "8M"],
        ["-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", folder / "over.qcow2"],
        ["-f", "vmdk", "-o", "subformat=monolithicFlat", folder / "disk.vmdk", "8M"],
        ["-f", "vpc", folder / "diff.vhd", "8M"],
    ):
        subprocess.run(["qemu-img", "create", "-q", *map(str, options)], check=True, timeout=60)
    (folder / "qcow2.raw").write_bytes((folder / "disk.qcow2").read_bytes()[:70000])
    make_differencing(folder / "diff.vhd")
    (folder / "disk.raw.gz").write_bytes(gzip.compress((folder / "spare.raw").read_bytes()))
    vhd = bytearray(make_vhd(folder / "spare.raw", folder / "damaged.vhd").read_bytes())
    vhd[-512 + 60] ^= 0xFF  # the disk type, under the check sum
    (folder / "damaged.vhd").write_bytes(vhd)
    (folder / "short.vhd").write_bytes(vhd[:-100_000])
    for table in ("gpt", "mbr"):
        disk = folder / f"{table}.raw"
        with open(disk, "xb") as file:
            file.truncate(8 * MIB)
        label = {"gpt": "gpt", "mbr": "dos"}[table]
        subprocess.run(["sfdisk", "-q", disk], input=f"label: {label}\n2048,12000\n", text=True, check=True, timeout=60)
        os.truncate(disk, 3 * MIB)


@pytest.fixture
def site(root):
    make_files(root.files)
    root.ok("image", "add", "win", make_image(root.files / "base.raw", MIB))
    root.ok("image", "add", "games", make_image(root.files / "games.raw", MIB, seed=3), "--data")
    for number in (1, 2):
        root.ok("client", "add", f"pc0{number}", "--mac", f"52:54:00:00:00:0{number}", "--image", "win")
    return root


def test_bad_input_is_refused_by_one_sentence_and_changes_nothing(site):
    before = site.catalog_text()
    faults = []
    for name, (args, words) in TABLE.items():
        done = site.run(*[text.format(files=site.files) for text in args])
        wanted = [text.format(files=site.files) for text in words]
        missing = [text for text in wanted if text.lower() not in done.stderr.lower()]
        if done.returncode != 1 or len(done.stderr.splitlines()) != 1 or missing or done.stdout:
            faults.append(f"{name}: status {done.returncode}, without {missing}: {done.stdout!r} {done.stderr!r}")
        if site.catalog_text() != before:
            faults.append(f"{name}: the catalog has changed")
            before = site.catalog_text()
    assert not faults, "\n".join(faults)


def test_wrong_usage_has_exit_status_2(site):
    before = site.catalog_text()
    for name, args in USAGE.items():
        done = site.run(*args)
        assert done.returncode == 2 and done.stderr and not done.stdout, f"{name}: {done}"
    assert site.catalog_text() == before


def test_bad_input_while_everything_runs_changes_nothing_either(site):
    site.ok("up")
    before = site.catalog_text(), site.targets()
    site.fails("image", "remove", "win")
    site.fails("client", "add", "pc03", "--mac", "52:54:00:00:00:01")
    site.fails("client", "link", "pc01", "nope")
    assert (site.catalog_text(), site.targets()) == before


def test_image_with_a_session_cannot_be_removed(site):
    site.ok("up")
    assert "pc01" in site.fails("image", "remove", "win")
    assert site.disk("pc01").can_log_in()


def test_root_without_catalog_is_named_and_nothing_is_made(programs, site):
    nowhere = site.base / "nowhere"
    done = subprocess.run(
        [str(programs.diskgate), "--root", str(nowhere), "client", "list"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1 and str(nowhere) in done.stderr and len(done.stderr.splitlines()) == 1
    assert not nowhere.exists()


@pytest.mark.parametrize("damage", ["text", "middle", "empty"])
def test_damaged_catalog_is_named_and_left_as_it_is(site, damage):
    path = site.path / "catalog.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"this is no database at all\n" * 400)
    elif damage == "middle":
        content[4096 : 8 * KIB] = b"\xff" * (4 * KIB)
    else:
        content = bytearray()
    path.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        (site.path / f"catalog.db{suffix}").unlink(missing_ok=True)
    assert "catalog.db" in site.fails("client", "list")
    assert "catalog.db" in site.fails("client", "remove", "pc01")
    assert path.read_bytes() == content


def test_catalog_of_a_newer_version_is_refused(site):
    with sqlite3.connect(site.path / "catalog.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = site.catalog_text()
    assert "newer" in site.fails("client", "list")
    assert "newer" in site.fails("client", "remove", "pc01")
    assert site.catalog_text() == before


def test_damaged_map_of_a_kept_disk_closes_its_client_only(root):
    image = make_image(root.files / "base.raw", 2 * MIB)
    root.ok("image", "add", "win", image)
    for number in (1, 2):
        root.ok("client", "add", f"pc0{number}", "--mac", f"52:54:00:00:00:0{number}", "--image", "win", "--mode", "kept")
    root.ok("up")
    root.disk("pc01").write(b"\x01" * 4096, 0)
    root.ok("down")
    (path,) = (root.path / "overlays" / "pc01").glob("*.map")
    content = bytearray(path.read_bytes())
    content[: 4 * KIB] = os.urandom(4 * KIB)
    path.write_bytes(content)
    # The live map is gone with the machine's boot only; without it the durable one is all there is.
    for live in (root.path / "run").rglob("live/*"):
        live.unlink()
    said = root.run("up")
    assert said.returncode == 1 and "pc01" in said.stdout + said.stderr
    assert not root.target("pc01").get("sessions")
    assert root.disk("pc02").can_log_in()
    assert not root.disk("pc01").can_log_in()
    assert path.read_bytes() == content
