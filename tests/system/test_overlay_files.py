# SPDX-License-Identifier: GPL-2.0-or-later
"""`overlay check` and `overlay dump-map`: they say what lies on disk, also while it is in use."""

import errno
import json
import os
import pathlib
import struct

import pytest
from support.damage import kill_file_system
from support.files import KIB, MIB, make_image

BLOCK = 4 * KIB
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


def write_and_flush(path, block, blocks):
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, b"k" * BLOCK * blocks, block * BLOCK)
        os.fsync(fd)
    finally:
        os.close(fd)


@pytest.fixture
def kept(root):
    make_image(root.files / "base.raw", 2 * MIB, seed=5)
    root.ok("image", "add", "win", root.files / "base.raw")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    root.ok("client", "add", "pc02", "--mac", "52:54:00:00:00:02", "--image", "win")
    return root


def states(root, client="pc01", status=0):
    done = root.run("--json", "overlay", "check", client)
    assert done.returncode == status, done.stdout + done.stderr
    return {row["part"]: (row["state"], row["problem"]) for row in json.loads(done.stdout)["checks"]}


def good(**parts):
    return {part.replace("_", " "): (state, None) for part, state in parts.items()}


def test_overlay_check_finds_nothing_wrong_before_during_and_after_use(kept):
    assert states(kept) == good(map_file="none", data_file="none", live_map="none", journal="none")
    kept.ok("up")
    write_and_flush(kept.view("pc01"), 3, 2)
    write_and_flush(kept.view("pc02"), 3, 2)
    assert states(kept) == good(map_file="ok", data_file="ok", live_map="ok", journal="ok")
    assert states(kept, "pc02") == good(map_file="none", data_file="ok", live_map="ok")
    kept.ok("down")
    assert states(kept) == good(map_file="ok", data_file="ok", live_map="none", journal="ok")


def test_overlay_dump_map_shows_a_flush_in_live_map_and_journal_then_in_the_map_file(kept):
    kept.ok("up")
    write_and_flush(kept.view("pc01"), 3, 2)
    run = {"block": 3, "blocks": 2, "state": "present"}
    shown = kept.json("overlay", "dump-map", "pc01")
    assert shown["what_counts"] == "live map"
    assert shown["live_map_runs"] == [run]
    assert [{k: r[k] for k in run} for r in shown["journal_runs"] if not r["is_in_map_file"]] == [run]
    kept.ok("down")
    shown = kept.json("overlay", "dump-map", "pc01")
    assert shown["what_counts"] == "map file"
    assert shown["map_file_runs"] == [run]
    assert shown["journal_runs"] == []
    text = kept.ok("overlay", "dump-map", "pc01")
    assert "present" in text and shown["overlay_id"] in text


@pytest.mark.parametrize(
    "part, offset",
    [("map file", 4096), ("map file", 20), ("data file", -4090), ("journal", 4096 + 70)],
    ids=["map", "map-id", "data", "journal"],
)
def test_overlay_check_tells_damage_and_the_way_out(kept, part, offset):
    kept.ok("up")
    write_and_flush(kept.view("pc01"), 3, 2)
    write_and_flush(kept.view("pc01"), 9, 2)
    write_and_flush(kept.view("pc01"), 19, 2)
    journal = (kept.path / "journal").read_bytes()
    kept.ok("down")
    (kept.path / "journal").write_bytes(journal)
    name = {"map file": "overlays/pc01/0.map", "data file": "overlays/pc01/0.data", "journal": "journal"}[part]
    with open(kept.path / name, "r+b") as f:
        f.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 0x5A]))
    found = states(kept, status=3)
    assert [p for p, (state, problem) in found.items() if problem] == [part]
    problem = found[part][1]
    assert "client reset" in problem or "put a good copy" in problem or "put the right one back" in problem


def test_overlay_check_tells_a_volatile_overlay_that_was_lost(kept):
    kept.ok("up")
    write_and_flush(kept.view("pc02"), 3, 2)
    kept.ok("down")
    for path in (kept.path / "run" / "live").iterdir():
        path.unlink()
    state, problem = states(kept, "pc02", status=3)["live map"]
    assert state == "lost" and "client reset" in problem


def test_overlay_verbs_refuse_what_is_not_there(kept):
    assert "pc77" in kept.fails("overlay", "check", "pc77")
    assert "pc77" in kept.fails("overlay", "dump-map", "pc77")
    assert "slot 5" in kept.fails("overlay", "dump-map", "pc01", "--slot", "5")
    assert "slot 5" in kept.fails("overlay", "check", "pc01", "--slot", "5")


def test_overlay_dump_map_prints_the_golden_files_as_their_pages_say(kept):
    (kept.path / "overlays" / "pc01").mkdir(parents=True)
    (kept.path / "overlays" / "pc01" / "0.map").write_bytes((DATA / "mapfile-v1.map").read_bytes())
    new, old = (DATA / "journal-v1.bin").read_bytes()[:16384], (DATA / "journal-v1.bin").read_bytes()[16384:]
    (kept.path / "journal").write_bytes(new.ljust(MIB, b"\0") + old.ljust(MIB, b"\0"))
    shown = kept.json("overlay", "dump-map", "pc01")
    assert shown["map_file_overlay_id"] == "00112233-4455-6677-8899-aabbccddeeff"
    assert shown["map_file_base_identity"] == "base-identity"
    assert shown["map_file_size_bytes"] == 3 * 128 * MIB + 512
    assert shown["map_file_sequence"] == 0x0102030405060708
    assert shown["map_file_records"] == 4
    assert [(r["block"], r["blocks"], r["state"]) for r in shown["map_file_runs"]] == [
        (1, 1, "present"),
        (2, 1, "zero"),
        (3, 1, "present"),
        (32768, 32768, "zero"),
        (3 * 32768, 1, "present"),
    ]
    assert (shown["journal_commits"], shown["journal_last_number"]) == (3, 43)
    assert (shown["journal_version"], shown["journal_root"]) == (1, None)


def test_overlay_dump_map_and_check_name_a_journal_of_another_root(kept):
    new, old = (DATA / "journal-v2.bin").read_bytes()[:16384], (DATA / "journal-v2.bin").read_bytes()[16384:]
    (kept.path / "journal").write_bytes(new.ljust(MIB, b"\0") + old.ljust(MIB, b"\0"))
    shown = kept.json("overlay", "dump-map", "pc01")
    assert (shown["journal_version"], shown["journal_root"]) == (2, "0badcafe")
    assert "another root" in shown["journal_problem"] and shown["journal_commits"] == 0
    state, problem = states(kept, status=3)["journal"]
    assert state == "foreign" and "0badcafe" in problem and "move it away" in problem
    before = (kept.path / "journal").read_bytes()
    assert problem in kept.fails("up")
    assert (kept.path / "journal").read_bytes() == before
    (kept.path / "journal").unlink()
    kept.ok("up")
    own = kept.json("overlay", "dump-map", "pc01")
    assert own["journal_version"] == 2 and own["journal_root"] in kept.json("client", "show", "pc01")["iqn"]


# --- a write that was lost


def problem_of(root, client):
    rows = json.loads(root.run("--json", "status").stdout)["problems"]
    return next((row["problem"] for row in rows if client in row["what"]), None)


def test_lost_write_is_told_while_it_is_served_and_after_a_restart_until_the_administrator_decides(kept):
    """As a failed sync of the data notes it in the live map; the sync itself fails in tests/unit/test-flush-faults.c."""
    kept.ok("up")
    write_and_flush(kept.view("pc01"), 3, 2)
    (row,) = kept.json("overlay", "show", "pc01")["overlays"]
    live = kept.path / "run" / "live" / f"{row['overlay_id']}.live"
    fd = os.open(live, os.O_WRONLY)
    os.pwrite(fd, struct.pack("=I", errno.EIO), 160)  # docs/live-map-format.md, loss
    os.close(fd)
    assert "was lost (Input/output error)" in problem_of(kept, "pc01") and "client reset" in problem_of(kept, "pc01")
    with pytest.raises(OSError, match="Input/output error"):
        write_and_flush(kept.view("pc01"), 3, 2)
    kill_file_system(kept)
    kept.run("up")
    assert "was lost (Input/output error)" in problem_of(kept, "pc01") and f"run/live/{live.name}" in problem_of(kept, "pc01")
    assert problem_of(kept, "pc02") is None
    assert not kept.view("pc01").exists() and kept.view("pc02").exists()
    state, problem = states(kept, status=3)["data file"]
    assert state == "damaged" and "was lost" in problem and "client reset" in problem and live.name in problem
    kept.run("down")
    live.rename(kept.files / live.name)
    kept.ok("up")
    assert problem_of(kept, "pc01") is None
    assert kept.view("pc01").read_bytes()[3 * BLOCK : 5 * BLOCK] == b"k" * BLOCK * 2
    assert states(kept) == good(map_file="ok", data_file="ok", live_map="ok", journal="ok")
