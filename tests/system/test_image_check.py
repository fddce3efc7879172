# SPDX-License-Identifier: GPL-2.0-or-later
"""`image check` on what makes a boot slow or fail, and the one thing that it mends."""

import json
import subprocess

import pytest
from support.files import make_partitioned
from support.iscsi import file_hash

CHS = 451  # where the end of the protective MBR's entry is


@pytest.fixture
def slow(root):
    """A GPT disk whose protective MBR ends at sector 6."""
    path = root.files / "slow.raw"
    make_partitioned(path)
    with open(path, "r+b") as file:
        file.seek(CHS)
        file.write(b"\x2a\x06\xff")
    return path


def check(root, name, *options, status=0):
    done = root.run("--json", "image", "check", name, *options)
    assert done.returncode == status, done.stdout + done.stderr
    row = json.loads(done.stdout)["checks"][0]
    return " ".join(row["hints"]), " ".join(row["damage"])


def chs(path):
    return path.read_bytes()[CHS : CHS + 3]


def test_hints_leave_the_exit_status_alone(root, slow):
    root.ok("image", "add", "win", slow)
    hints, damage = check(root, "win")
    for words in ("sector 6", "EFI system partition"):
        assert words in hints
    assert damage == ""
    assert "hint: version 1: " in root.ok("image", "check", "win")


def test_data_images_get_no_hints(root, slow):
    root.ok("image", "add", "games", slow, "--data")
    assert check(root, "games") == ("", "")


def test_damage_is_exit_status_3(root, slow):
    with open(slow, "r+b") as file:
        file.seek(-512, 2)
        file.write(bytes(512))
    root.ok("image", "add", "win", slow, "--data")
    assert "backup of the GPT" in check(root, "win", status=3)[1]


def test_adopted_file_is_not_mended_and_the_way_out_is_told(root, slow):
    root.ok("image", "add", "win", slow)
    before = file_hash(slow)
    assert "--copy" in root.fails("image", "check", "win", "--mend-chs")
    assert file_hash(slow) == before


def test_copy_is_mended_and_stays_the_image(root, slow):
    root.ok("image", "add", "win", slow, "--copy")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    file = root.path / "images" / "win" / "v1.raw"
    root.ok("up")
    root.disk("pc01").write(b"\x01" * 4096, 1 << 20)
    root.ok("image", "check", "win", "--mend-chs", "-n")
    assert chs(file) == b"\x2a\x06\xff"
    root.ok("image", "check", "win", "--mend-chs")
    assert chs(file) == b"\xff\xff\xff"
    assert "sector 6" not in check(root, "win")[0]
    assert "no protective MBR that is to be mended" in root.run("image", "check", "win", "--mend-chs").stderr
    assert root.disk("pc01").hash() == file_hash(file)  # the volatile overlay began anew
    root.ok("image", "check", "win", "--mend-chs")
    assert chs(slow) == b"\x2a\x06\xff"


def test_kept_changes_stand_in_the_way_of_mending(root, slow):
    root.ok("image", "add", "win", slow, "--copy")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win", "--mode", "kept")
    file = root.path / "images" / "win" / "v1.raw"
    root.ok("up")
    root.disk("pc01").write(b"\x01" * 4096, 1 << 20)
    disk = root.disk("pc01").hash()
    assert "client reset pc01" in root.fails("image", "check", "win", "--mend-chs")
    assert chs(file) == b"\x2a\x06\xff"
    assert root.disk("pc01").hash() == disk
    root.ok("client", "reset", "pc01")
    root.ok("image", "check", "win", "--mend-chs")
    assert root.disk("pc01").hash() == file_hash(file)


def test_running_client_stands_in_the_way_of_mending(root, slow):
    root.ok("image", "add", "win", slow, "--copy")
    root.ok("client", "add", "pc01", "--mac", "52:54:00:00:00:01", "--image", "win")
    root.ok("up")
    command = ["qemu-io", "-f", "raw", root.disk("pc01").url]
    session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        session.stdin.write("read 0 4k\n")
        session.stdin.flush()
        session.stdout.readline()
        assert "client 'pc01' is running from image 'win' now: shut it down" in root.fails("image", "check", "win", "--mend-chs")
    finally:
        session.communicate("quit\n", timeout=30)
    assert chs(root.path / "images" / "win" / "v1.raw") == b"\x2a\x06\xff"
